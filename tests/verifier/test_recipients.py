"""Whom `encrypt` encrypts to: keys of a trust bundle, bare keys, certified keys; and whom it refuses."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.verifier import pki
from tests.verifier.trust_builder import KEY_ID, authority_entry, bundle, key_entry
from verifier import Indeterminate, Recipient, Rejected, certified_recipient, parse_trust, recipient_of
from verifier.keys import load_public_key
from verifier.revocation import load_revocation_lists
from verifier.trust_report import describe_trust

if TYPE_CHECKING:
    from verifier import Trust

OTHER_ID = KEY_ID.replace("0", "1")
BOTH = ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256")
KEY = pki.key("rsa2048")
FINGERPRINT = hashlib.sha256(pki.spki(KEY)).hexdigest()


def entry(label: str = "", *algorithms: str, **changes: object) -> dict[str, object]:
    key = pki.key("rsa2048", label) if label else KEY
    return key_entry(key, *(algorithms or BOTH), **{"purpose": "encrypt", "name": "inbox", **changes})


def trust(*entries: dict[str, object], authorities: list[dict[str, object]] | None = None) -> Trust:
    return parse_trust(bundle(list(entries), authorities))


# Keys of a trust bundle


def test_the_one_key_to_encrypt_to_needs_no_name() -> None:
    signs = key_entry(pki.key("p256"), "ECDSA_SHA_256", key_id=OTHER_ID)
    for key in (None, "inbox", KEY_ID):
        found = recipient_of(trust(signs, entry()), key=key)
        assert (found.key_id, found.key_version, found.name, found.sha256) == (KEY_ID, 1, "inbox", FINGERPRINT)
        assert found.algorithm.name == "RSAES_OAEP_SHA_256"


def test_an_algorithm_must_be_the_keys() -> None:
    only = trust(entry("", "RSAES_OAEP_SHA_1"))
    assert recipient_of(only).algorithm.name == "RSAES_OAEP_SHA_1"
    with pytest.raises(Rejected, match="algorithm_mismatch"):
        recipient_of(only, algorithm="RSAES_OAEP_SHA_256")
    with pytest.raises(ValueError, match="one of RSAES_OAEP_SHA_256, RSAES_OAEP_SHA_1"):
        recipient_of(only, algorithm="RSAES_PKCS1_V1_5")
    with pytest.raises(Rejected, match="algorithm_mismatch"):
        recipient_of(trust(entry("", "SM2PKE")))


def test_a_key_that_signs_is_not_encrypted_to() -> None:
    signs = key_entry(KEY, "RSASSA_PSS_SHA_256", *BOTH)
    with pytest.raises(Rejected, match="key_not_for_this_purpose"):
        recipient_of(trust(signs), key="release")
    with pytest.raises(Indeterminate, match="no_trust"):
        recipient_of(trust(signs))


def test_a_key_to_encrypt_to_signs_nothing() -> None:
    (key,) = trust(entry("", *BOTH, "RSASSA_PSS_SHA_256")).keys
    assert (key.algorithms, {each.name for each in key.encryption}) == ((), set(BOTH))
    assert not key.speaks_for("artifact")
    (shown,) = describe_trust(trust(entry()), pki.NOW).keys
    assert shown.algorithms == BOTH


def test_only_an_rsa_key_has_oaep() -> None:
    with pytest.raises(Indeterminate, match="cannot make"):
        trust(key_entry(pki.key("p256"), *BOTH, purpose="encrypt"))
    with pytest.raises(Rejected, match="algorithm_mismatch"):
        recipient_of(parse_trust(pki.public_pem(pki.key("p256"))))


def test_the_newest_version_that_counts_is_taken() -> None:
    later = (pki.NOW + timedelta(days=9)).isoformat().replace("+00:00", "Z")
    versions = (
        entry("1"),
        entry("2", key_version=2),
        entry("3", key_version=3, revoked_at="2024-01-01T00:00:00Z"),
        entry("4", key_version=4, not_before=later),
    )
    assert recipient_of(trust(*versions)).key_version == 2
    with pytest.raises(Rejected, match="key_revoked"):
        recipient_of(trust(versions[2]))
    with pytest.raises(Rejected, match="key_not_yet_valid"):
        recipient_of(trust(versions[3]))
    with pytest.raises(Rejected, match="key_expired"):
        recipient_of(trust(entry(not_after="2024-01-01T00:00:00Z")))


def test_two_keys_must_be_told_apart() -> None:
    both = trust(entry(), entry("1", key_id=OTHER_ID))
    for key in (None, "inbox"):
        with pytest.raises(ValueError, match=f"by its id: inbox .{KEY_ID}., inbox .{OTHER_ID}."):
            recipient_of(both, key=key)
    assert recipient_of(both, key=OTHER_ID).key_id == OTHER_ID
    with pytest.raises(Indeterminate, match="unknown_key"):
        recipient_of(both, key="outbox")


def test_a_fingerprint_is_held_against_the_key() -> None:
    pem = parse_trust(pki.public_pem(KEY))
    colons = ":".join(FINGERPRINT[at : at + 2] for at in range(0, 64, 2)).upper()
    for given in (FINGERPRINT, colons):
        assert recipient_of(pem, sha256=given).sha256 == FINGERPRINT
    with pytest.raises(Rejected, match="key_mismatch"):
        recipient_of(pem, sha256="0" * 64)
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        recipient_of(pem, sha256=FINGERPRINT[:32])


# Certified keys


def usage(**changes: bool) -> tuple[x509.ExtensionType, bool]:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: changes.get(name, False) for name in names}), True


NAME = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"urn:uuid:{KEY_ID}")])
ENCIPHERS = pki.Profile(digital_signature=None, purposes=None, extra=(usage(key_encipherment=True), (NAME, False)))
LEAF = pki.issue("inbox", KEY, pki.root(), ENCIPHERS)
ROOT = parse_trust(pki.pem(pki.root().certificate))


def certified(profile: pki.Profile = ENCIPHERS, key: pki.PrivateKey = KEY, by: Trust = ROOT) -> Recipient:
    return certified_recipient(pki.pem(pki.issue("inbox", key, pki.root(), profile).certificate), by)


def test_a_certified_key_is_encrypted_to() -> None:
    whole = pki.pem(LEAF.certificate, pki.root().certificate)
    found = certified_recipient(whole, ROOT, sha256=FINGERPRINT)
    assert (found.name, found.key_id, found.sha256) == ("CN=inbox", KEY_ID, FINGERPRINT)
    assert [each.subject for each in found.certificates] == ["CN=inbox", "CN=Test Root"]
    assert found.not_covered


def test_a_bundles_authority_vouches_for_what_it_may() -> None:
    authority = pki.root().certificate
    may = trust(authorities=[authority_entry(authority, "encrypt")])
    assert certified(by=may).key_id == KEY_ID
    with pytest.raises(Indeterminate, match="no_trust"):
        certified(by=trust(authorities=[authority_entry(authority, "artifact")]))
    revoked = entry(revoked_at="2024-01-01T00:00:00Z")
    with pytest.raises(Rejected, match="key_revoked"):
        certified(by=trust(revoked, authorities=[authority_entry(authority, "encrypt")]))
    signs = key_entry(KEY, "RSASSA_PSS_SHA_256")
    with pytest.raises(Rejected, match="key_not_for_this_purpose"):
        certified(by=trust(signs, authorities=[authority_entry(authority, "encrypt")]))


@pytest.mark.parametrize(
    ("profile", "code"),
    [
        (pki.Profile(), "certificate_not_suitable"),  # a code signer's
        (pki.Profile(digital_signature=None, purposes=None), "certificate_not_suitable"),
        (pki.Profile(digital_signature=None, extra=(usage(key_encipherment=True),)), "certificate_not_suitable"),
        (
            pki.Profile(ca=True, digital_signature=None, purposes=None, extra=(usage(key_encipherment=True),)),
            "certificate_not_suitable",
        ),
        (
            pki.Profile(
                digital_signature=None,
                purposes=None,
                not_after=pki.NOW - timedelta(hours=1),
                extra=(usage(key_encipherment=True),),
            ),
            "certificate_expired",
        ),
    ],
)
def test_a_certificate_for_something_else_is_refused(profile: pki.Profile, code: str) -> None:
    with pytest.raises(Rejected, match=code):
        certified(profile)


def test_a_certificate_for_any_use_is_taken() -> None:
    any_use = (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)
    assert certified(pki.Profile(digital_signature=None, purposes=any_use, extra=(usage(key_encipherment=True),)))


def test_a_key_of_another_kind_and_a_stranger_are_refused() -> None:
    with pytest.raises(Rejected, match="algorithm_mismatch"):
        certified(key=pki.key("p256"))
    with pytest.raises(Rejected, match="untrusted_signer"):
        certified(by=parse_trust(pki.pem(pki.root("Other Root").certificate)))
    with pytest.raises(Indeterminate, match="invalid_trust"):
        certified_recipient(b"nothing", ROOT)


def test_a_revoked_certificate_is_refused() -> None:
    lists = load_revocation_lists(pki.crl_der(pki.crl(pki.root(), LEAF.certificate)))
    clean = load_revocation_lists(pki.crl_der(pki.crl(pki.root())))
    chain = pki.pem(LEAF.certificate)
    with pytest.raises(Rejected, match="certificate_revoked"):
        certified_recipient(chain, ROOT, crls=lists)
    with pytest.raises(Indeterminate, match="revocation_unknown"):
        certified_recipient(chain, ROOT, require_crl=True)
    assert certified_recipient(chain, ROOT, crls=clean, require_crl=True).not_covered == ()


def test_the_builder_writes_what_the_reader_takes() -> None:
    (listed,) = json.loads(bundle([entry()]))["keys"]
    assert load_public_key(base64.b64decode(listed["public_key"])) == KEY.public_key()
