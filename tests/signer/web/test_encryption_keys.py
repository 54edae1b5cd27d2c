"""Published keys that strangers encrypt to: public key, certificate and trust bundle, as the standalone verifier reads
them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography import x509

from tests.signer.certificates.outside import LEAF, outside_chain
from tests.signer.web.refusal import assert_refused
from verifier import Indeterminate, certified_recipient, parse_trust, recipient_of

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

KEEPER: Final = "user/key-admin"


@pytest.fixture(scope="module")
def inbox(service: ServiceInProcess) -> Any:
    return service.make_key("inbox", "RSA_2048", "encrypt", published=True)


@pytest.fixture(scope="module")
def meeting(service: ServiceInProcess) -> Any:
    return service.make_key("meeting", "ECC_NIST_P256", "agree", published=True)


def read(service: ServiceInProcess, path: str) -> bytes:
    answer = service.call(None, "GET", path)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_data()


def allowed_usage(chain: bytes) -> set[str]:
    usage = x509.load_pem_x509_certificates(chain)[0].extensions.get_extension_for_class(x509.KeyUsage).value
    names = ("digital_signature", "key_encipherment", "key_agreement", "data_encipherment", "key_cert_sign")
    return {name for name in names if getattr(usage, name)}


def test_the_trust_bundle_names_a_key_to_encrypt_to(service: ServiceInProcess, inbox: Any) -> None:
    trust = parse_trust(read(service, "/v1/trust"))
    found = recipient_of(trust, key="inbox")
    assert (found.key_id, found.key_version) == (inbox["id"], 1)
    assert inbox["algorithms"] == [each.name for key in trust.keys if key.name == "inbox" for each in key.encryption]
    bare = parse_trust(read(service, "/v1/keys/inbox/public-key"))
    assert recipient_of(bare, sha256=found.sha256).sha256 == found.sha256


@pytest.mark.usefixtures("inbox")
def test_its_certificate_is_for_encryption_and_for_nothing_else(service: ServiceInProcess) -> None:
    chain = read(service, "/v1/keys/inbox/certificate")
    assert allowed_usage(chain) == {"key_encipherment"}
    trust = parse_trust(read(service, "/v1/trust"))
    found = certified_recipient(chain, trust, require_crl=True)
    listed = recipient_of(trust, key="inbox")
    assert (found.key_id, found.key_version, found.sha256) == (listed.key_id, 1, listed.sha256)
    assert certified_recipient(chain, parse_trust(read(service, "/v1/ca"))).key_id == found.key_id


def test_a_key_that_agrees_is_certified_for_that(service: ServiceInProcess, meeting: Any) -> None:
    assert allowed_usage(read(service, "/v1/keys/meeting/certificate")) == {"key_agreement"}
    assert all(key.key_id != meeting["id"] for key in parse_trust(read(service, "/v1/trust")).keys)


def test_nobody_is_told_to_encrypt_to_a_key_that_does_not_decrypt(service: ServiceInProcess) -> None:
    service.make_key("closing", "RSA_2048", "encrypt", published=True)
    assert recipient_of(parse_trust(read(service, "/v1/trust")), key="closing")
    service.made(KEEPER, "POST", "/v1/keys/closing/disable", {})
    with pytest.raises(Indeterminate, match="unknown_key"):
        recipient_of(parse_trust(read(service, "/v1/trust")), key="closing")


@pytest.mark.usefixtures("inbox", "meeting")
def test_a_key_that_signs_nothing_signs_no_request(service: ServiceInProcess) -> None:
    for key in ("inbox", "meeting"):
        answer = service.call(KEEPER, "POST", f"/v1/keys/{key}/csr", {"subject": "CN=x"})
        assert_refused(answer, 409, "wrong_purpose")


@pytest.mark.usefixtures("meeting")
def test_an_outside_certificate_must_allow_what_the_key_does(service: ServiceInProcess) -> None:
    public_key = read(service, "/v1/keys/meeting/public-key?format=der")
    for usage in ("digital_signature", "key_encipherment"):
        chain = outside_chain(public_key, leaf=replace(LEAF, usage=usage))
        answer = service.call(KEEPER, "PUT", "/v1/keys/meeting/certificate", {"chain": chain})
        assert "keyAgreement" in assert_refused(answer, 422, "unprocessable", "chain")
    chain = outside_chain(public_key, leaf=replace(LEAF, usage="key_agreement"))
    service.made(KEEPER, "PUT", "/v1/keys/meeting/certificate", {"chain": chain})


def test_a_secret_key_cannot_be_published(service: ServiceInProcess) -> None:
    for spec, purpose in (("SYMMETRIC_DEFAULT", "encrypt"), ("HMAC_256", "mac")):
        body = {"spec": spec, "purpose": purpose, "published": True}
        answer = service.call(KEEPER, "POST", "/v1/keys", body)
        assert answer.status_code == 422
        assert answer.get_json()["field"] == "published"
