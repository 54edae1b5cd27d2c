"""The emergency: a compromised version ends at once, everywhere that something is published."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

KEEPER: Final = "user/key-admin"
MEMBERS: Final[dict[str, dict[str, object]]] = {
    "artifact": {},
    "general": {"published": True},
    "jwt": {"audiences": ["https://api.example"], "max_ttl": 600},
    "saml": {"audiences": ["https://sp.example"], "recipients": ["https://sp.example/acs"]},
}
USES: Final[dict[str, tuple[str, dict[str, object]]]] = {
    "artifact": (
        "artifacts",
        {"artifacts": [{"name": "a", "size": 1, "digests": {"sha256": "ab" * 32}}], "formats": ["cms"]},
    ),
    "general": ("signatures", {"message": "AAAA"}),
    "jwt": ("jwts", {"claims": {"sub": "s"}}),
    "saml": ("assertions", {"subject": "s", "audience": "https://sp.example", "recipient": "https://sp.example/acs"}),
}


def make(service: ServiceInProcess, purpose: str) -> str:
    body = {"spec": "ECC_NIST_P256", "purpose": purpose, "users": ["role/ci"], **MEMBERS[purpose]}
    return str(service.made(KEEPER, "POST", "/v1/keys", body)["id"])


def administer(service: ServiceInProcess, key: str, call: str, body: object = None) -> Any:
    return service.made(KEEPER, "POST", f"/v1/keys/{key}/{call}", body)


def states(described: Any) -> list[str]:
    return [version["state"] for version in described["versions"]]


def signs(service: ServiceInProcess, key: str, purpose: str) -> int | str:
    """The version that signed, or the detail of the refusal."""
    call, body = USES[purpose]
    answer = service.call("role/ci", "POST", f"/v1/keys/{key}/{call}", body)
    if answer.status_code == 200:
        return int(answer.get_json()["results"][0]["key_version"])
    return assert_refused(answer, 409, "wrong_state")


def published_kids(service: ServiceInProcess) -> set[str]:
    return {key["kid"] for key in service.call(None, "GET", "/.well-known/jwks.json").get_json()["keys"]}


def trusted(service: ServiceInProcess, key: str) -> dict[int, object]:
    bundle = service.call(None, "GET", "/v1/trust").get_json()
    return {entry["key_version"]: entry["revoked_at"] for entry in bundle["keys"] if entry["key_id"] == key}


def listed(service: ServiceInProcess) -> set[str]:
    document = service.call(None, "GET", "/v1/ca/crl").get_data()
    return {f"{entry.serial_number:x}" for entry in x509.load_der_x509_crl(document)}


@pytest.mark.parametrize("purpose", MEMBERS)
def test_the_new_version_signs_at_once_and_all_earlier_ones_end(own_service: ServiceInProcess, purpose: str) -> None:
    service = own_service
    key = make(service, purpose)
    administer(service, key, "rotate")  # for jwt and saml one that is still pending
    described = administer(service, key, "rotate", {"now": True, "revoke": "key_compromise"})
    assert states(described) == ["revoked", "revoked", "active"]
    assert [version["revocation_reason"] for version in described["versions"]] == ["key_compromise"] * 2 + [None]
    assert signs(service, key, purpose) == 3
    serials = [version["certificate"]["serial"] for version in described["versions"]]
    assert [serial in listed(service) for serial in serials] == [True, True, False]
    marks = trusted(service, key)
    assert [marks[version] is not None for version in (1, 2, 3)] == [True, True, False]
    for version in (1, 2):
        for half in ("public-key", "certificate"):
            answer = service.call(None, "GET", f"/v1/keys/{key}/{half}?version={version}")
            assert answer.status_code == 200
            assert answer.headers["Sealmark-Revocation-Reason"] == "key_compromise"
            assert answer.headers["Sealmark-Revoked-At"].endswith("Z")
    assert "Sealmark-Revoked-At" not in service.call(None, "GET", f"/v1/keys/{key}/public-key").headers


def test_key_set_and_metadata_lose_a_revoked_version_at_once(own_service: ServiceInProcess) -> None:
    service = own_service
    tokens, assertions = make(service, "jwt"), make(service, "saml")
    old = administer(service, tokens, "rotate")["versions"][0]["kid"]
    chain = service.call(None, "GET", f"/v1/keys/{assertions}/certificate").get_data()
    leaf = base64.b64encode(x509.load_pem_x509_certificates(chain)[0].public_bytes(Encoding.DER)).decode()
    assert old in published_kids(service)
    assert leaf in _metadata(service)
    for key in (tokens, assertions):
        administer(service, key, "rotate", {"now": True, "revoke": "key_compromise"})
    assert old not in published_kids(service)
    assert leaf not in _metadata(service)


def _metadata(service: ServiceInProcess) -> str:
    return service.call(None, "GET", "/saml/metadata").get_data(as_text=True).replace("\n", "")


@pytest.mark.parametrize("purpose", MEMBERS)
def test_a_key_whose_signing_version_is_compromised_stands_still_until_it_is_rotated(
    own_service: ServiceInProcess, purpose: str
) -> None:
    service = own_service
    key = make(service, purpose)
    revoked = administer(service, key, "certificate/revoke", {"reason": "key_compromise"})
    assert (revoked["version_revoked"], revoked["key_version"]) == (True, 1)
    refusal = signs(service, key, purpose)
    assert "version 1 of the key, which would sign, is revoked: rotate the key" in str(refusal)
    # The half that anybody gets without naming a version is never a revoked one.
    assert_refused(service.call(None, "GET", f"/v1/keys/{key}/public-key"), 409, "wrong_state")
    for call, body in (
        ("csr", None),
        ("certificate/renew", None),
        ("certificate/renew", {"version": 1}),
        ("certificate/revoke", {"reason": "key_compromise", "version": 1}),
    ):
        assert_refused(service.call(KEEPER, "POST", f"/v1/keys/{key}/{call}", body), 409, "wrong_state")
    assert states(administer(service, key, "rotate", {"now": True})) == ["revoked", "active"]
    assert signs(service, key, purpose) == 2


def test_revoking_a_retired_version_leaves_the_signing_one_alone(own_service: ServiceInProcess) -> None:
    key = make(own_service, "artifact")
    administer(own_service, key, "rotate")
    administer(own_service, key, "certificate/revoke", {"reason": "key_compromise", "version": 1})
    assert signs(own_service, key, "artifact") == 2
    assert trusted(own_service, key)[2] is None


def test_revoking_a_pending_version_keeps_the_active_one_signing(own_service: ServiceInProcess) -> None:
    key = make(own_service, "jwt")
    pending = administer(own_service, key, "rotate")["versions"][1]["kid"]
    assert pending in published_kids(own_service)
    administer(own_service, key, "certificate/revoke", {"reason": "key_compromise", "version": 2})
    assert pending not in published_kids(own_service)
    assert signs(own_service, key, "jwt") == 1


def test_a_revoked_certificate_is_no_longer_published_beside_its_key(own_service: ServiceInProcess) -> None:
    """The key itself still counts where tokens are checked by key; its certificate is no longer shown with it."""
    key = make(own_service, "jwt")
    administer(own_service, key, "certificate/revoke", {"reason": "superseded"})
    kid = own_service.made(KEEPER, "GET", f"/v1/keys/{key}")["versions"][0]["kid"]
    (shown,) = [
        each
        for each in own_service.call(None, "GET", "/.well-known/jwks.json").get_json()["keys"]
        if each["kid"] == kid
    ]
    assert "x5c" not in shown


@pytest.mark.parametrize("body", [{"revoke": "key_compromise"}, {"now": False, "revoke": "key_compromise"}])
def test_a_revocation_cannot_wait_for_its_successor(service: ServiceInProcess, body: dict[str, object]) -> None:
    key = make(service, "jwt")
    assert_refused(service.call(KEEPER, "POST", f"/v1/keys/{key}/rotate", body), 422, "unprocessable", "revoke")
    assert states(service.made(KEEPER, "GET", f"/v1/keys/{key}")) == ["active"]


def test_what_is_revoked_stays_revoked_with_its_first_reason(own_service: ServiceInProcess) -> None:
    key = make(own_service, "artifact")
    first = administer(own_service, key, "rotate", {"now": True, "revoke": "key_compromise"})["versions"][0]
    second = administer(own_service, key, "rotate", {"now": True, "revoke": "superseded"})["versions"]
    assert second[0] == first
    assert second[1]["revocation_reason"] == "superseded"
