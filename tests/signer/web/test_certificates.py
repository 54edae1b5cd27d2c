"""Requests, outside chains, renewal, revocation and the revocation list over HTTP; stock openssl reads them."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import delete

from keystore.api import CertificateOrigin
from keystore.db.schema import CERTIFICATES
from keystore.errors import HsmUnavailable
from signer.config import CertificateConfiguration
from tests.signer.certificates.outside import LEAF, outside_chain
from tests.signer.formats.support import accepts, write
from tests.signer.service import MovedClock, ServiceInProcess, running_service
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keystore.hsm import Token

KEEPER: Final = "user/key-admin"
FILE: Final = {"artifacts": [{"name": "a", "size": 1, "digests": {"sha256": "ab" * 32}}], "formats": ["cms"]}
CLAIMS: Final = {"claims": {"sub": "s"}}
JWT: Final[dict[str, object]] = {"purpose": "jwt", "audiences": ["https://api.example"], "max_ttl": 600}
SAML: Final[dict[str, object]] = {
    "purpose": "saml",
    "audiences": ["https://sp.example"],
    "recipients": ["https://sp.example/acs"],
}


class Moved:
    """A service whose clock a test can move."""

    def __init__(self, service: ServiceInProcess, clock: MovedClock) -> None:
        self.service = service
        self.clock = clock


@pytest.fixture
def moved(token: Token, tmp_path: Path) -> Iterator[Moved]:
    clock = MovedClock(datetime.now(UTC))
    with running_service(token, tmp_path, clock=clock) as service:
        yield Moved(service, clock)


def administer(service: ServiceInProcess, key: str, call: str, body: object = None, method: str = "POST") -> Any:
    return service.made(KEEPER, method, f"/v1/keys/{key}/{call}", body)


def text(service: ServiceInProcess, path: str) -> str:
    answer = service.call(None, "GET", path)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_data(as_text=True)


def revocation_list(service: ServiceInProcess) -> x509.CertificateRevocationList:
    return x509.load_der_x509_crl(service.call(None, "GET", "/v1/ca/crl").get_data())


def number(found: x509.CertificateRevocationList) -> int:
    return found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def made_in_hsm(service: ServiceInProcess, path: str) -> int:
    """How many intents a public GET leaves behind: what it makes the HSM do."""
    return len(service.intents(service.call(None, "GET", path).headers["X-Request-Id"]))


def openssl_takes(service: ServiceInProcess, folder: Path, leaf: str) -> bool:
    files = [
        write(folder, name, text(service, path)) for name, path in (("ca", "/v1/ca"), ("crl", "/v1/ca/crl?format=pem"))
    ]
    return accepts(
        *("openssl", "verify", "-crl_check", "-x509_strict", "-CAfile", files[0], "-CRLfile", files[1]),
        write(folder, "leaf", leaf),
    )


# requests


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"spec": "RSA_2048", "algorithm": "RSASSA_PSS_SHA_256"},
        {"purpose": "general", "spec": "ECC_NIST_EDWARDS25519"},
        JWT,
        SAML,
    ],
)
def test_openssl_takes_a_request_of_every_kind_of_key(
    service: ServiceInProcess, tmp_path: Path, members: dict[str, object]
) -> None:
    key = service.made(KEEPER, "POST", "/v1/keys", {"spec": "ECC_NIST_P256", "purpose": "artifact", **members})["id"]
    body = {"subject": "CN=release,O=Example,C=DE", "dns_names": ["a.example"], "uris": ["spiffe://example/ci"]}
    answer = service.call(KEEPER, "POST", f"/v1/keys/{key}/csr", body)
    request = write(tmp_path, "csr", answer.get_json()["csr"])
    assert accepts("openssl", "req", "-verify", "-noout", "-in", request)
    read = x509.load_pem_x509_csr(request.read_bytes())
    assert read.subject == x509.Name.from_rfc4514_string("CN=release,O=Example,C=DE")
    intents = service.intents(answer.headers["X-Request-Id"])
    assert [intent["action"] for intent in intents] == ["RequestCertificate"] * 2
    assert sorted(intent["version"] or 0 for intent in intents) == [0, 1]
    outcomes = service.outcomes(answer.headers["X-Request-Id"])
    assert [outcome["outcome"] for outcome in outcomes] == ["succeeded", "succeeded"]
    assert [outcome["signature_sha256"] is not None for outcome in outcomes] == [True, False]


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"subject": "release"}, "unprocessable", "subject"),
        ({"subject": "CN="}, "unprocessable", "subject"),
        ({"subject": "CN=a\u0007b"}, "unprocessable", "subject"),
        ({"subject": "UID=root"}, "unprocessable", "subject"),
        ({"subject": "CN=" + "a" * 600}, "malformed_request", "subject"),
        ({"dns_names": ["a b"]}, "unprocessable", "dns_names[0]"),
        ({"dns_names": ["ok.example", "A.example"]}, "unprocessable", "dns_names[1]"),
        ({"uris": ["no scheme"]}, "unprocessable", "uris[0]"),
        ({"tbs": "AAAA"}, "malformed_request", "tbs"),
    ],
)
def test_a_request_says_bounded_names_and_nothing_else(
    service: ServiceInProcess, body: dict[str, object], code: str, field: str
) -> None:
    key = service.make_key(f"csr-{abs(hash(str(body)))}")["id"]
    answer = service.call(KEEPER, "POST", f"/v1/keys/{key}/csr", body)
    assert answer.status_code == 422
    assert (answer.get_json()["code"], answer.get_json()["field"].replace("`", "")) == (code, field)


def test_the_authoritys_own_key_is_nobodys_to_request_for_or_revoke(service: ServiceInProcess) -> None:
    authority, _ = service.services.certification.authority()
    for call, body in (("csr", None), ("certificate/renew", None), ("certificate/revoke", {"reason": "superseded"})):
        answer = service.call(KEEPER, "POST", f"/v1/keys/{authority.id}/{call}", body)
        assert_refused(answer, 404, "not_found", "key")


# an outside CA


def test_an_installed_chain_is_used_everywhere(service: ServiceInProcess) -> None:
    key = service.make_key("installed")["id"]
    (version,) = service.services.keystore.get_key(key).versions
    chain = outside_chain(version.public_key)
    installed = administer(service, key, "certificate", {"chain": chain}, "PUT")
    assert (installed["origin"], installed["key_version"]) == ("installed", 1)
    assert text(service, f"/v1/keys/{key}/certificate") == chain
    (result,) = service.made("role/ci", "POST", f"/v1/keys/{key}/artifacts", FILE)["results"]
    leaf = x509.load_pem_x509_certificates(chain.encode())[0]
    assert leaf.public_bytes(Encoding.DER) in base64.b64decode(result["signatures"]["cms"])
    jwk = service.call(None, "GET", f"/v1/keys/{key}/public-key?format=jwk").get_json()
    assert base64.b64decode(jwk["x5c"][0]) == leaf.public_bytes(Encoding.DER)
    described = service.made(KEEPER, "GET", f"/v1/keys/{key}")["versions"][0]["certificate"]
    assert described["origin"] == "installed"

    refused = service.call(KEEPER, "POST", f"/v1/keys/{key}/certificate/renew")
    assert "replace_installed" in assert_refused(refused, 409, "wrong_state")
    renewed = administer(service, key, "certificate/renew", {"replace_installed": True})
    assert renewed["origin"] == "built-in"
    assert text(service, f"/v1/keys/{key}/certificate") != chain


def test_key_sets_and_metadata_show_the_installed_chain(own_service: ServiceInProcess) -> None:
    service = own_service
    for alias, members in (("out-jwt", JWT), ("out-saml", SAML)):
        key = service.made(KEEPER, "POST", "/v1/keys", {"alias": alias, "spec": "ECC_NIST_P256", **members})["id"]
        (version,) = service.services.keystore.get_key(key).versions
        chain = outside_chain(version.public_key, leaf=replace(LEAF, extended=()))
        administer(service, key, "certificate", {"chain": chain}, "PUT")
        encoded = base64.b64encode(x509.load_pem_x509_certificates(chain.encode())[0].public_bytes(Encoding.DER))
        path = "/.well-known/jwks.json" if alias == "out-jwt" else "/saml/metadata"
        assert encoded.decode() in text(service, path).replace("\n", "")


def test_a_chain_for_another_key_changes_nothing(service: ServiceInProcess) -> None:
    key, other = (service.make_key(alias)["id"] for alias in ("chain-a", "chain-b"))
    before = text(service, f"/v1/keys/{key}/certificate")
    chain = outside_chain(service.services.keystore.get_key(other).versions[0].public_key)
    answer = service.call(KEEPER, "PUT", f"/v1/keys/{key}/certificate", {"chain": chain})
    assert "another public key" in assert_refused(answer, 422, "unprocessable", "chain")
    answer = service.call(KEEPER, "PUT", f"/v1/keys/{key}/certificate", {"chain": chain, "version": 7})
    assert_refused(answer, 422, "unprocessable", "version")
    assert text(service, f"/v1/keys/{key}/certificate") == before


# renewal


def test_renewal_keeps_the_key_and_changes_the_serial_number(service: ServiceInProcess, tmp_path: Path) -> None:
    key = service.make_key("renewed")["id"]
    old = text(service, f"/v1/keys/{key}/certificate")
    public_key = text(service, f"/v1/keys/{key}/public-key")
    renewed = administer(service, key, "certificate/renew", {"days": 30})
    new = text(service, f"/v1/keys/{key}/certificate")
    assert text(service, f"/v1/keys/{key}/public-key") == public_key
    first, second = (x509.load_pem_x509_certificate(chain.encode()) for chain in (old, new))
    assert first.public_key() == second.public_key()
    assert first.serial_number != second.serial_number
    assert renewed["serial"] == f"{second.serial_number:x}"
    assert timedelta(days=29) < second.not_valid_after_utc - datetime.now(UTC) <= timedelta(days=30)
    for chain in (old, new):
        assert openssl_takes(service, tmp_path, chain)


@pytest.mark.parametrize("days", [0, -1, 1826, "30", 1.5])
def test_a_renewal_is_bounded(service: ServiceInProcess, days: object) -> None:
    key = service.make_key(f"bounded-{days}".replace(".", "_"))["id"]
    answer = service.call(KEEPER, "POST", f"/v1/keys/{key}/certificate/renew", {"days": days})
    assert_refused(answer, 422, "malformed_request", "days")


def test_a_key_without_certificates_gets_none_by_renewal(service: ServiceInProcess) -> None:
    key = service.make_key("bare", purpose="general")["id"]
    assert_refused(service.call(KEEPER, "POST", f"/v1/keys/{key}/certificate/renew"), 409, "wrong_state")


def test_nothing_is_signed_with_a_certificate_that_has_ended(moved: Moved) -> None:
    service = moved.service
    key = service.make_key("ending")["id"]
    moved.clock.move(timedelta(days=366))
    answer = service.call("role/ci", "POST", f"/v1/keys/{key}/artifacts", FILE)
    assert "has ended: renew it" in assert_refused(answer, 409, "wrong_state")
    administer(service, key, "certificate/renew")
    assert service.call("role/ci", "POST", f"/v1/keys/{key}/artifacts", FILE).status_code == 200


# revocation


def test_openssl_takes_a_good_certificate_and_refuses_a_revoked_one(
    own_service: ServiceInProcess, tmp_path: Path
) -> None:
    service = own_service
    good, bad = (service.make_key(alias)["id"] for alias in ("good", "bad"))
    leaves = {key: text(service, f"/v1/keys/{key}/certificate") for key in (good, bad)}
    assert all(openssl_takes(service, tmp_path, leaf) for leaf in leaves.values())
    before = number(revocation_list(service))
    revoked = administer(service, bad, "certificate/revoke", {"reason": "superseded"})
    assert revoked["version_revoked"] is False
    assert openssl_takes(service, tmp_path, leaves[good])
    assert not openssl_takes(service, tmp_path, leaves[bad])
    found = revocation_list(service)
    assert number(found) == before + 1
    entry = found.get_revoked_certificate_by_serial_number(int(revoked["certificates"][0]["serial"], 16))
    assert entry is not None
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.superseded
    answer = service.call("role/ci", "POST", f"/v1/keys/{bad}/artifacts", FILE)
    assert "is revoked: renew it" in assert_refused(answer, 409, "wrong_state")
    shown = service.call(None, "GET", f"/v1/keys/{bad}/certificate")
    assert shown.headers["Sealmark-Revocation-Reason"] == "superseded"
    again = service.call(KEEPER, "POST", f"/v1/keys/{bad}/certificate/revoke", {"reason": "superseded"})
    assert_refused(again, 409, "wrong_state")
    administer(service, bad, "certificate/renew")
    assert openssl_takes(service, tmp_path, text(service, f"/v1/keys/{bad}/certificate"))
    assert not openssl_takes(service, tmp_path, leaves[bad])
    assert service.call("role/ci", "POST", f"/v1/keys/{bad}/artifacts", FILE).status_code == 200


def test_revocation_reaches_the_certificates_that_were_renewed(own_service: ServiceInProcess) -> None:
    key = own_service.make_key("twice")["id"]
    administer(own_service, key, "certificate/renew")
    revoked = administer(own_service, key, "certificate/revoke", {"reason": "unspecified"})
    serials = [int(one["serial"], 16) for one in revoked["certificates"]]
    assert len(serials) == 2
    for serial in serials:
        entry = revocation_list(own_service).get_revoked_certificate_by_serial_number(serial)
        assert entry is not None
        assert len(entry.extensions) == 0  # an unspecified reason is not said


def test_the_list_is_read_by_openssl_and_is_whole(own_service: ServiceInProcess, tmp_path: Path) -> None:
    document = own_service.call(None, "GET", "/v1/ca/crl")
    assert document.mimetype == "application/pkix-crl"
    path = write(tmp_path, "crl.der", document.get_data())
    read = subprocess.run(
        ["openssl", "crl", "-inform", "DER", "-noout", "-text", "-in", path], capture_output=True, check=True, text=True
    ).stdout
    for wanted in ("Version 2", "X509v3 CRL Number", "X509v3 Authority Key Identifier", "Next Update"):
        assert wanted in read
    found = revocation_list(own_service)
    assert found.next_update_utc is not None
    assert found.next_update_utc - found.last_update_utc == timedelta(days=7)
    assert_refused(own_service.call(None, "GET", "/v1/ca/crl?format=xml"), 422, "malformed_request", "format")


def test_strangers_do_not_make_the_hsm_sign_the_list(moved: Moved) -> None:
    service, path = moved.service, "/v1/ca/crl"
    first = revocation_list(service)
    assert [made_in_hsm(service, each) for each in (path, path, "/v1/trust")] == [0, 0, 0]
    moved.clock.move(timedelta(days=3, hours=12))
    assert made_in_hsm(service, path) == 1
    assert made_in_hsm(service, path) == 0
    assert number(revocation_list(service)) == number(first) + 1
    moved.clock.move(timedelta(days=6))
    service.services.upkeep.once(moved.clock())
    assert made_in_hsm(service, path) == 0
    assert number(revocation_list(service)) == number(first) + 2


def test_an_ended_certificate_stays_on_one_more_list(moved: Moved) -> None:
    service = moved.service
    key = service.make_key("gone")["id"]
    administer(service, key, "certificate/renew", {"days": 2})
    revoked = administer(service, key, "certificate/revoke", {"reason": "superseded"})
    with_all = {int(one["serial"], 16) for one in revoked["certificates"]}
    assert {entry.serial_number for entry in revocation_list(service)} == with_all
    moved.clock.move(timedelta(days=4))  # the short one has ended since the last list
    assert {entry.serial_number for entry in revocation_list(service)} == with_all
    moved.clock.move(timedelta(days=4))
    assert len(list(revocation_list(service))) == 1


def test_a_list_that_lacks_a_revocation_is_not_shown(moved: Moved, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the HSM is away a revocation still stands; the list that does not name it is no longer served, and those
    who ask on and on make no work."""
    service = moved.service
    key = service.make_key("away")["id"]
    tried = []

    def away(*_: object) -> None:
        tried.append(1)
        raise HsmUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(service.services.keystore, "signing_key", away)
        revoked = administer(service, key, "certificate/revoke", {"reason": "superseded"})
        for path in ("/v1/ca/crl", "/v1/trust") * 3:
            assert service.call(None, "GET", path).status_code == 503
        assert len(tried) == 1
    assert service.call(None, "GET", "/v1/ca/crl").status_code == 503
    moved.clock.move(timedelta(seconds=10))
    serial = int(revoked["certificates"][0]["serial"], 16)
    assert revocation_list(service).get_revoked_certificate_by_serial_number(serial) is not None


def test_a_revocation_that_vanishes_from_the_database_is_missed(moved: Moved) -> None:
    service = moved.service
    key = service.make_key("vanished")["id"]
    revoked = administer(service, key, "certificate/revoke", {"reason": "key_compromise"})
    gone = delete(CERTIFICATES).where(CERTIFICATES.c.serial == revoked["certificates"][0]["serial"])
    with service.services.keystore.database.write() as connection:
        connection.execute(gone)
    assert_refused(service.call(None, "GET", "/v1/ca/crl"), 503, "integrity_failure")
    assert_refused(service.call(None, "GET", "/v1/trust"), 503, "integrity_failure")


def test_a_revocation_of_an_installed_certificate_is_not_ours_to_list(own_service: ServiceInProcess) -> None:
    key = own_service.make_key("theirs")["id"]
    (version,) = own_service.services.keystore.get_key(key).versions
    administer(own_service, key, "certificate", {"chain": outside_chain(version.public_key)}, "PUT")
    revoked = administer(own_service, key, "certificate/revoke", {"reason": "superseded"})
    origins = {one["serial"]: one["origin"] for one in revoked["certificates"]}
    assert sorted(origins.values()) == [CertificateOrigin.BUILT_IN.value, CertificateOrigin.INSTALLED.value]
    listed = {f"{entry.serial_number:x}" for entry in revocation_list(own_service)}
    assert [origin for serial, origin in origins.items() if serial in listed] == ["built-in"]


@pytest.mark.parametrize("reason", ["ca_compromise", "certificate_hold", "remove_from_crl", "", None, 1])
def test_other_reasons_are_refused(service: ServiceInProcess, reason: object) -> None:
    key = service.make_key(f"reason-{reason}-x")["id"]
    answer = service.call(KEEPER, "POST", f"/v1/keys/{key}/certificate/revoke", {"reason": reason})
    assert_refused(answer, 422, "malformed_request", "reason")


# addresses


def test_leaves_name_where_the_authority_and_its_list_are(own_service: ServiceInProcess) -> None:
    settings = CertificateConfiguration("http://ca.example/v1/ca", "http://ca.example/v1/ca/crl", leaf_days=10)
    certification = own_service.services.certification
    key = own_service.make_key("addressed")["id"]
    before = certification._configuration
    certification._configuration = settings
    try:
        administer(own_service, key, "certificate/renew")
    finally:
        certification._configuration = before
    leaf = x509.load_pem_x509_certificate(text(own_service, f"/v1/keys/{key}/certificate").encode())
    access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    points = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert [entry.access_location.value for entry in access] == ["http://ca.example/v1/ca"]
    assert [name.value for point in points for name in point.full_name or ()] == ["http://ca.example/v1/ca/crl"]
    assert leaf.not_valid_after_utc - datetime.now(UTC) < timedelta(days=10)
