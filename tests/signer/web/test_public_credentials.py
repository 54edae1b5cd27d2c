"""Who may bind which certificate or key to whom, and what is refused; what is bound never leaves a question."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keystore.access import Change
from keystore.api import PrincipalRecord
from keystore.errors import WrongState
from signer.administration.public_credentials import MOST_USABLE
from signer.authn.possession import prove, statement
from tests.signer.authn.by_hand import public_pem
from tests.signer.authn.certificates import FOR_CLIENTS, certificate, pem
from tests.signer.service import PEOPLE
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from tests.signer.authn.by_hand import PrivateKey
    from tests.signer.service import ServiceInProcess

PATH: Final = "/v1/principals/{}/public-credentials"
PRESENT: Final = datetime.now(UTC)
LATER: Final = PRESENT + timedelta(days=2)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def new_certificate(key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType) -> str:
    return pem(certificate(*(extensions or (FOR_CLIENTS,)), key=key, begins=PRESENT - timedelta(days=1), ends=LATER))


def proof(principal: str, key: PrivateKey) -> str:
    return base64.b64encode(prove(principal, key)).decode()


def request_key(key: PrivateKey, **members: object) -> dict[str, object]:
    return {"match": "request-key", "public_key": public_pem(key), **members}


KINDS: Final[dict[str, PrivateKey]] = {
    "ecdsa-p256-sha256": new_key(),
    "ecdsa-p384-sha384": ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "rsa-pss-sha512": rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("who", PEOPLE)
def test_everybody_keeps_their_own(own_service: ServiceInProcess, who: str) -> None:
    key = new_key()
    path = PATH.format(who)
    made = own_service.made(who, "POST", path, request_key(key, proof=proof(who, key), label="mine"))
    assert (made["principal"], made["created_by"], made["label"], made["state"]) == (who, who, "mine", "enabled")
    assert made["public_key"] == public_pem(key)
    assert made in own_service.made(who, "GET", path)["public_credentials"]
    gone = own_service.made(who, "DELETE", f"{path}/{made['id']}")
    assert gone == {**made, "state": "revoked"}
    assert_refused(own_service.call(who, "DELETE", f"{path}/{made['id']}"), 409, "wrong_state")
    assert gone in own_service.made(who, "GET", path)["public_credentials"]  # what it signed is still to be checked


@pytest.mark.parametrize("who", [name for name in PEOPLE if name != "user/admin"])
@pytest.mark.parametrize("whose", ["role/ci", "user/admin", "user/auditor", "role/nobody", "user/root"])
def test_nobody_but_an_administrator_keeps_anothers(own_service: ServiceInProcess, who: str, whose: str) -> None:
    if who == whose:
        return
    key = new_key()
    path = PATH.format(whose)
    said = set()
    for method, where, body in (
        ("POST", path, request_key(key, proof=proof(whose, key))),
        ("GET", path, None),
        ("DELETE", f"{path}/7c1d2a5e-93b4-4d0f-8a6b-2f1e0c9d8b7a", None),
    ):
        said.add(assert_refused(own_service.call(who, method, where, body), 403, "duty_forbids"))
    # Word for word the same for one that is there, one that is not, and one that is disabled.
    assert said == {f"the credentials of {whose} are for {whose} itself and for an administrator"}


@pytest.mark.parametrize("algorithm", KINDS)
def test_the_algorithm_is_read_from_the_key(own_service: ServiceInProcess, algorithm: str) -> None:
    made = own_service.made("user/admin", "POST", PATH.format("role/ci"), request_key(KINDS[algorithm]))
    assert made["algorithm"] == algorithm
    key = KINDS[algorithm]
    own = proof("role/ci", key)
    again = own_service.call("role/ci", "POST", PATH.format("role/ci"), request_key(key, proof=own))
    assert_refused(again, 409, "conflict", "public_key")
    other = proof("role/other", key)
    taken = own_service.call("role/other", "POST", PATH.format("role/other"), request_key(key, proof=other))
    assert_refused(taken, 409, "conflict", "public_key")  # whoever holds it: it would speak for two


def spoilt_proofs(key: PrivateKey) -> dict[str, str | None]:
    message = statement("role/ci", key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    return {
        "none": None,
        "empty": "",
        "of another key": proof("role/ci", ed25519.Ed25519PrivateKey.generate()),
        "for another principal": proof("role/other", key),
        "of another text": base64.b64encode(key.sign(message + b"\n")).decode(),
    }


@pytest.mark.parametrize("what", ["none", "empty", "of another key", "for another principal", "of another text"])
def test_ones_own_key_needs_proof_that_it_is_ones_own(own_service: ServiceInProcess, what: str) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    body = request_key(key, proof=spoilt_proofs(key)[what])
    assert_refused(own_service.call("role/ci", "POST", PATH.format("role/ci"), body), 422, "unprocessable", "proof")
    if what != "none":  # an administrator need not send one, but a wrong one is refused
        by_administrator = own_service.call("user/admin", "POST", PATH.format("role/ci"), body)
        assert_refused(by_administrator, 422, "unprocessable", "proof")


def test_an_administrators_own_key_needs_proof_too(own_service: ServiceInProcess) -> None:
    answer = own_service.call("user/admin", "POST", PATH.format("user/admin"), request_key(new_key()))
    assert_refused(answer, 422, "unprocessable", "proof")


@pytest.mark.parametrize("who", ["role/ci", "user/admin"])
def test_nobody_binds_a_name_to_themselves(own_service: ServiceInProcess, who: str) -> None:
    body = {"match": "uri", "name": "spiffe://shop.example/mine"}
    assert_refused(own_service.call(who, "POST", PATH.format(who), body), 403, "duty_forbids", "match")


def test_a_certificate_is_recognised_by_its_key_or_as_it_is(own_service: ServiceInProcess) -> None:
    key, path = new_key(), PATH.format("role/ci")
    shown = {"certificate": new_certificate(key), "proof": proof("role/ci", key)}
    first = own_service.made("role/ci", "POST", path, {"match": "certificate", **shown})
    # A second certificate of the same key may be pinned beside it, by the same principal alone.
    renewed = {**shown, "certificate": new_certificate(key)}
    own_service.made("role/ci", "POST", path, {"match": "certificate", **renewed})
    by_key = {"match": "public-key", **shown}
    assert_refused(own_service.call("role/ci", "POST", path, by_key), 409, "conflict", "certificate")
    others = {"match": "certificate", "certificate": new_certificate(key)}
    taken = own_service.call("user/admin", "POST", PATH.format("role/other"), others)
    assert_refused(taken, 409, "conflict", "certificate")
    for one in own_service.made("role/ci", "GET", path)["public_credentials"]:
        if one["match"] == "certificate":
            own_service.made("role/ci", "DELETE", f"{path}/{one['id']}")
    second = own_service.made("role/ci", "POST", path, by_key)
    assert (first["algorithm"], second["algorithm"]) == (None, None)
    assert first["public_key"] == second["public_key"] == public_pem(key)


def test_a_name_is_bound_once(own_service: ServiceInProcess) -> None:
    for body in ({"match": "uri", "name": "spiffe://shop.example/once"}, {"match": "dns", "name": "once.example"}):
        made = own_service.made("user/admin", "POST", PATH.format("role/ci"), body)
        for principal in ("role/ci", "role/other"):
            taken = own_service.call("user/admin", "POST", PATH.format(principal), body)
            assert_refused(taken, 409, "conflict", "name")
        own_service.made("user/admin", "DELETE", f"{PATH.format('role/ci')}/{made['id']}")
        assert own_service.made("user/admin", "POST", PATH.format("role/other"), body)["principal"] == "role/other"


WEAK: Final[dict[str, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey]] = {
    "a short RSA key": rsa.generate_private_key(65537, 1024),  # noqa: S505 - that it is weak is what is tried
    "an RSA key of exponent 3": rsa.generate_private_key(3, 2048),
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    "X25519": x25519.X25519PrivateKey.generate(),
}


@pytest.mark.parametrize("what", WEAK)
def test_keys_outside_the_closed_table_are_refused(own_service: ServiceInProcess, what: str) -> None:
    written = WEAK[what].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    body = {"match": "request-key", "public_key": written}
    answer = own_service.call("user/admin", "POST", PATH.format("role/ci"), body)
    assert "P-256" in assert_refused(answer, 422, "unprocessable", "public_key")


BAD: Final[dict[str, tuple[dict[str, Any], int, str, str]]] = {
    "no PEM": ({"match": "request-key", "public_key": "x"}, 422, "unprocessable", "public_key"),
    "a key for a certificate": (
        {"match": "public-key", "certificate": public_pem(new_key())},
        422,
        "unprocessable",
        "certificate",
    ),
    "two certificates": (
        {"match": "public-key", "certificate": new_certificate(new_key()) + new_certificate(new_key())},
        422,
        "unprocessable",
        "certificate",
    ),
    "an authority": (
        {
            "match": "public-key",
            "certificate": new_certificate(new_key(), x509.BasicConstraints(ca=True, path_length=None)),
        },
        422,
        "unprocessable",
        "certificate",
    ),
    "another member": ({"match": "dns", "public_key": "x"}, 422, "unprocessable", "name"),
    "a member too many": ({"match": "dns", "name": "a.example", "public_key": "x"}, 422, "unprocessable", "public_key"),
    "a pattern": ({"match": "dns", "name": "*.example"}, 422, "unprocessable", "name"),
    "capitals": ({"match": "dns", "name": "A.example"}, 422, "unprocessable", "name"),
    "a line feed": ({"match": "dns", "name": "a.example\n"}, 422, "unprocessable", "name"),
    "no URI": ({"match": "uri", "name": "shop.example"}, 422, "unprocessable", "name"),
    "a URI with an asterisk": ({"match": "uri", "name": "spiffe://shop.example/*"}, 422, "unprocessable", "name"),
    "over already": (
        {"match": "dns", "name": "a.example", "expires_at": "2020-01-01T00:00:00Z"},
        422,
        "unprocessable",
        "expires_at",
    ),
    "a proof of a name": ({"match": "dns", "name": "a.example", "proof": "AAAA"}, 422, "unprocessable", "proof"),
    "another match": ({"match": "subject", "name": "CN=ci"}, 422, "malformed_request", "match"),
    "no time zone": (
        {"match": "dns", "name": "a.example", "expires_at": "2040-01-01T00:00:00"},
        422,
        "malformed_request",
        "expires_at",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_bound_is_refused_and_named(own_service: ServiceInProcess, what: str) -> None:
    body, status, code, field = BAD[what]
    assert_refused(own_service.call("user/admin", "POST", PATH.format("role/ci"), body), status, code, field)


def test_who_is_not_there_or_not_enabled_gets_no_credential(own_service: ServiceInProcess) -> None:
    body = {"match": "dns", "name": "nobody.example"}
    for method, path in (("POST", PATH.format("role/nobody")), ("GET", PATH.format("role/nobody"))):
        answer = own_service.call("user/admin", method, path, body if method == "POST" else None)
        assert_refused(answer, 404, "not_found", "name")
    own_service.made("user/admin", "POST", "/v1/principals", {"name": "role/paused", "duty": "key-user"})
    own_service.services.keystore.set_principal_state("role/paused", "disabled")
    answer = own_service.call("user/admin", "POST", PATH.format("role/paused"), body)
    assert_refused(answer, 409, "wrong_state")


def test_break_glass_gets_no_further_credential(own_service: ServiceInProcess) -> None:
    """Else an administrator could make its own key root's, and reach keys by it."""
    root = PrincipalRecord("user/root", "root", "enabled", PRESENT, "user/admin")
    own_service.services.keystore.create_principal(root)
    answer = own_service.call("user/admin", "POST", PATH.format("user/root"), request_key(new_key()))
    assert_refused(answer, 409, "wrong_state")


def test_a_credential_is_revoked_by_whose_it_is(own_service: ServiceInProcess) -> None:
    made = own_service.made(
        "user/admin", "POST", PATH.format("role/ci"), {"match": "dns", "name": "revoked-by.example"}
    )
    elsewhere = own_service.call("role/other", "DELETE", f"{PATH.format('role/other')}/{made['id']}")
    absent = own_service.call("role/other", "DELETE", f"{PATH.format('role/other')}/{'0' * 36}")
    answers = [{**one.get_json(), "request_id": ""} for one in (elsewhere, absent)]
    assert answers[0] == answers[1]
    assert answers[0]["code"] == "not_found"


def test_there_is_an_end_to_how_many(own_service: ServiceInProcess) -> None:
    own_service.made("user/admin", "POST", "/v1/principals", {"name": "role/many", "duty": "key-user"})
    path = PATH.format("role/many")
    for number in range(MOST_USABLE):
        own_service.made("user/admin", "POST", path, {"match": "dns", "name": f"n{number}.many.example"})
    more = {"match": "dns", "name": "more.many.example"}
    assert_refused(own_service.call("user/admin", "POST", path, more), 409, "wrong_state")
    pages: list[str] = []
    query = "?limit=30"
    while True:
        page = own_service.made("user/admin", "GET", path + query)
        pages += [one["id"] for one in page["public_credentials"]]
        if page["next_cursor"] is None:
            break
        query = f"?limit=30&cursor={page['next_cursor']}"
    assert len(pages) == len(set(pages)) == MOST_USABLE
    own_service.made("user/admin", "DELETE", f"{path}/{pages[0]}")
    own_service.made("user/admin", "POST", path, more)


def test_of_two_who_bind_one_name_at_the_same_time_one_does(own_service: ServiceInProcess) -> None:
    body = {"match": "dns", "name": "race.example"}
    with ThreadPoolExecutor(4) as threads:
        answers = list(
            threads.map(
                lambda principal: own_service.client.application.test_client().post(
                    PATH.format(principal),
                    json=body,
                    headers={"Authorization": f"Bearer {own_service.tokens['user/admin']}"},
                ),
                ["role/ci", "role/other", "user/auditor", "user/key-admin"],
            )
        )
    assert sorted(one.status_code for one in answers) == [201, 409, 409, 409]


def test_the_trail_shows_who_enrolled_whom(own_service: ServiceInProcess) -> None:
    answer = own_service.call(
        "user/admin", "POST", PATH.format("role/ci"), {"match": "uri", "name": "spiffe://shop.example/trail"}
    )
    (outcome,) = own_service.outcomes(answer.headers["X-Request-Id"])
    assert (outcome["principal"], outcome["action"], outcome["outcome"]) == (
        "user/admin",
        "CreateCredential",
        "succeeded",
    )
    assert json.loads(outcome["detail"]) == {
        "credential": answer.get_json()["id"],
        "match": "uri",
        "principal": "role/ci",
        "value": "spiffe://shop.example/trail",
    }


def test_a_principal_deleted_meanwhile_gets_nothing(
    own_service: ServiceInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check and the write are one transaction: what was enabled a moment ago does not count."""
    own_service.made("user/admin", "POST", "/v1/principals", {"name": "role/leaving", "duty": "key-user"})
    administration = own_service.services.public_credentials
    monkeypatch.setattr(
        administration,
        "require_credentials_may_be_added",
        lambda principal: own_service.services.keystore.delete_principal(principal, Change("user/admin", PRESENT)),
    )
    body = {"match": "dns", "name": "leaving.example"}
    assert_refused(
        own_service.call("user/admin", "POST", PATH.format("role/leaving"), body), 409, "wrong_state", "name"
    )
    with pytest.raises(WrongState):
        own_service.services.keystore.set_principal_state("role/leaving", "enabled")
