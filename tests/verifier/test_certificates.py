"""Chains for code signing: each rule of RFC 5280 that is checked, by a chain that breaks only it."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.verifier import pki
from tests.verifier.cms_builder import Options, sign
from verifier import VerificationError, VerifiedArtifact, parse_trust, verify_artifact

CONTENT = b"content"
AUTHORITY, DAY, NOW, Profile = pki.AUTHORITY, pki.DAY, pki.NOW, pki.Profile

UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


def authority(label: str, issuer: pki.Identity | None, profile: pki.Profile = AUTHORITY) -> pki.Identity:
    return pki.issue(label, pki.key("p256", label), issuer, profile)


def verify(
    signer: pki.Identity, *between: pki.Identity, anchor: pki.Identity | None = None, days: int = 0
) -> VerifiedArtifact:
    options = Options(certificates=(signer.certificate, *(each.certificate for each in between)))
    trust = parse_trust(pki.pem((anchor or pki.root()).certificate))
    at = NOW + timedelta(days=days)
    return verify_artifact(io.BytesIO(CONTENT), sign(CONTENT, signer, options), trust, at=at)


def code(signer: pki.Identity, *between: pki.Identity, anchor: pki.Identity | None = None, days: int = 0) -> str:
    with pytest.raises(VerificationError) as caught:
        verify(signer, *between, anchor=anchor, days=days)
    return caught.value.code


def signer(issuer: pki.Identity | None = None, profile: pki.Profile | None = None) -> pki.Identity:
    return pki.issue("signer", pki.key("p256", "signer"), issuer or pki.root(), profile)


def test_one_two_and_three_levels() -> None:
    assert len(verify(signer()).certificates) == 2
    first = authority("Issuing", pki.root())
    assert len(verify(signer(first), first).certificates) == 3
    second = authority("Issuing Two", first)
    assert len(verify(signer(second), second, first).certificates) == 4
    third = authority("Issuing Three", second)
    assert code(signer(third), third, second, first) == "untrusted_signer"  # longer than any chain that is walked


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (Profile(digital_signature=False), "certificate_not_suitable"),
        (Profile(digital_signature=None), "certificate_not_suitable"),
        (Profile(purposes=None), "certificate_not_suitable"),
        (Profile(purposes=(ExtendedKeyUsageOID.SERVER_AUTH,)), "certificate_not_suitable"),
        (Profile(purposes=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)), "certificate_not_suitable"),
        (Profile(ca=True), "certificate_not_suitable"),
        (Profile(not_after=NOW - timedelta(hours=1)), "certificate_expired"),
        (Profile(not_before=NOW + DAY), "certificate_not_yet_valid"),
        (
            Profile(extra=((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),)),
            "certificate_not_suitable",
        ),
        (Profile(digest=hashes.SHA224()), "untrusted_signer"),
    ],
)
def test_leaf(profile: pki.Profile, expected: str) -> None:
    assert code(signer(profile=profile)) == expected


def test_unknown_extension_that_is_not_critical_is_ignored() -> None:
    extra = ((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), False),)
    assert verify(signer(profile=Profile(extra=extra)))


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (replace(AUTHORITY, ca=False), "certificate_not_suitable"),
        (replace(AUTHORITY, ca=None), "certificate_not_suitable"),
        (replace(AUTHORITY, key_cert_sign=False, digital_signature=True), "certificate_not_suitable"),
        (replace(AUTHORITY, digital_signature=None), "certificate_not_suitable"),
        (replace(AUTHORITY, purposes=(ExtendedKeyUsageOID.SERVER_AUTH,)), "certificate_not_suitable"),
        (replace(AUTHORITY, not_after=NOW - timedelta(hours=1)), "certificate_expired"),
    ],
)
def test_intermediate(profile: pki.Profile, expected: str) -> None:
    middle = authority("Issuing", pki.root(), profile)
    assert code(signer(middle), middle) == expected


def test_path_length() -> None:
    flat = authority("Flat Root", None, replace(AUTHORITY, path_length=0))
    assert verify(signer(flat), anchor=flat)
    middle = authority("Issuing", flat)
    assert code(signer(middle), middle, anchor=flat) == "certificate_not_suitable"


def test_authority_must_be_valid_too() -> None:
    assert verify(signer(profile=Profile(not_after=NOW + 4000 * DAY)), days=89)
    assert code(signer(profile=Profile(not_after=NOW + 4000 * DAY)), days=91) == "certificate_expired"


def test_name_alone_is_no_chain() -> None:
    forged = pki.issue("Test Root", pki.key("p256", "forged root"), None, AUTHORITY)
    assert code(signer(forged), forged) == "untrusted_signer"


def test_weak_keys() -> None:
    weak = pki.issue("weak", pki.key("p224"), pki.root())
    assert code(weak) == "weak_key"
    weak_root = pki.issue("Weak Root", pki.key("p224", "root"), None, AUTHORITY)
    with pytest.raises(VerificationError, match="invalid_trust"):
        verify(signer(weak_root), anchor=weak_root)


def test_the_authority_itself_signs_no_files() -> None:
    assert code(pki.root()) in {"untrusted_signer", "certificate_not_suitable"}
