"""Chains for code signing: each rule of RFC 5280 that is checked, by a chain that breaks only it."""

from __future__ import annotations

import io
import ipaddress
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.verifier import pki
from tests.verifier.cms_builder import Options, sign
from tests.verifier.trust_builder import authority_entry, bundle
from verifier import VerificationError, VerifiedArtifact, parse_trust, verify_artifact
from verifier.report import describe
from verifier.times import format_time, parse_time

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


def two_anchors(first: pki.Identity, second: pki.Identity, signed_by: pki.Identity, *between: pki.Identity) -> str:
    """What becomes of a file when two authorities are trusted: the last name of the chain, or the code."""
    certificates = (signed_by.certificate, *(each.certificate for each in between))
    trust = parse_trust(pki.pem(first.certificate, second.certificate))
    signature = sign(CONTENT, signed_by, Options(certificates=certificates))
    try:
        return verify_artifact(io.BytesIO(CONTENT), signature, trust, at=NOW).certificates[-1].subject
    except VerificationError as error:
        return error.code


def test_one_chain_of_several_is_enough() -> None:
    """An issuer that two roots certified: the chain that holds is found, wherever it stands, and reported."""
    old, new = pki.root("Old Root"), pki.root("New Root")
    key = pki.key("p256", "crossed")
    by_old = pki.issue("Crossed", key, old, replace(AUTHORITY, not_after=NOW - timedelta(hours=1)))
    by_new = pki.issue("Crossed", key, new, AUTHORITY)
    release = signer(by_new)
    for between in ((by_old, by_new), (by_new, by_old)):
        assert two_anchors(old, new, release, *between) == "CN=New Root"
    assert two_anchors(old, pki.root(), release, by_old, by_new) == "certificate_expired"
    assert two_anchors(pki.root(), pki.root("Third Root"), release, by_old, by_new) == "untrusted_signer"


def test_two_authorities_of_one_name_and_two_keys() -> None:
    """The key decides, not the name: the namesake next to the real one is neither asked nor in the way."""
    namesake = pki.issue("Test Root", pki.key("p256", "namesake"), None, AUTHORITY)
    by_namesake = signer(namesake)
    assert two_anchors(namesake, pki.root(), signer()) == "CN=Test Root"
    assert two_anchors(pki.root(), namesake, by_namesake) == "CN=Test Root"
    assert code(by_namesake) == code(by_namesake, namesake) == code(signer(), anchor=namesake) == "untrusted_signer"


def test_issuers_of_one_name_and_two_keys_in_the_message() -> None:
    real, namesake = authority("Issuing", pki.root()), pki.issue("Issuing", pki.key("p256", "x"), None, AUTHORITY)
    for between in ((real, namesake), (namesake, real)):
        assert len(verify(signer(real), *between).certificates) == 3


def test_a_leaf_that_signed_itself_vouches_for_nobody() -> None:
    alone = pki.issue("alone", pki.key("p256", "alone"))
    assert code(alone) == "untrusted_signer"
    dressed_up = pki.issue("Test Root", pki.key("p256", "alone"))  # self-issued under the authority's name
    assert code(dressed_up) == "untrusted_signer"


def test_a_leaf_of_the_authoritys_name_is_judged_like_any_other() -> None:
    """Subject and issuer alike, another key: self-issued (RFC 5280 section 6.1), and still a leaf."""
    namesake = pki.issue("Test Root", pki.key("p256", "same name"), pki.root())
    assert [each.subject for each in verify(namesake).certificates] == ["CN=Test Root", "CN=Test Root"]
    lacking = pki.issue("Test Root", pki.key("p256", "same name"), pki.root(), Profile(purposes=None))
    assert code(lacking) == "certificate_not_suitable"


def test_path_length_counts_an_authoritys_own_renewals_too() -> None:
    """Stricter than RFC 5280 section 6.1.4 (l): nobody gets a longer chain by repeating a name."""
    flat = authority("Flat Root", None, replace(AUTHORITY, path_length=0))
    renewed = pki.issue("Flat Root", pki.key("p256", "renewed"), flat, AUTHORITY)
    assert code(signer(renewed), renewed, anchor=flat) == "certificate_not_suitable"


def test_path_length_of_an_issuer_in_the_middle() -> None:
    middle = authority("Issuing", pki.root(), replace(AUTHORITY, path_length=0))
    assert len(verify(signer(middle), middle).certificates) == 3
    below = authority("Below", middle)
    assert code(signer(below), below, middle) == "certificate_not_suitable"


def test_a_leaf_certifies_nobody() -> None:
    """The classic: an ordinary certificate used as an issuer."""
    ordinary = signer()
    assert code(pki.issue("child", pki.key("p256", "child"), ordinary), ordinary) == "certificate_not_suitable"


@pytest.mark.parametrize(("profile", "where"), [(AUTHORITY, "issuer"), (Profile(), "leaf")])
def test_unknown_critical_extensions_anywhere(profile: pki.Profile, where: str) -> None:
    odd = replace(profile, extra=((UNKNOWN, True),))
    middle = authority("Issuing", pki.root(), odd if where == "issuer" else AUTHORITY)
    assert code(signer(middle, odd if where == "leaf" else None), middle) == "certificate_not_suitable"
    policies = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), None)])
    constrained = replace(profile, extra=((x509.PolicyConstraints(0, None), True), (policies, False)))
    middle = authority("Issuing", pki.root(), constrained if where == "issuer" else AUTHORITY)
    assert code(signer(middle, constrained if where == "leaf" else None), middle) == "certificate_not_suitable"


def test_alternative_names_may_be_critical() -> None:
    """RFC 5280 section 4.2.1.6 wants them so where the subject is empty."""
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("urn:uuid:0")])
    assert verify(pki.issue(x509.Name([]), pki.key("p256", "signer"), pki.root(), Profile(extra=((names, True),))))


def test_facts_of_the_whole_chain() -> None:
    middle = authority("Issuing", pki.root())
    release = signer(middle)
    facts = verify(release, middle, days=1)
    chain = (release, middle, pki.root())
    assert [each.sha256 for each in facts.certificates] == [
        each.certificate.fingerprint(hashes.SHA256()).hex() for each in chain
    ]
    assert [each.issuer for each in facts.certificates] == ["CN=Issuing", "CN=Test Root", "CN=Test Root"]
    assert [int(each.serial, 16) for each in facts.certificates] == [each.certificate.serial_number for each in chain]
    assert (facts.time.judged_at, facts.time.basis) == (NOW + DAY, "given")
    (entry,) = facts.key.entries
    assert (entry.kind, entry.name, entry.purposes) == ("authority", "CN=Test Root", None)
    text = describe(facts)
    for each in facts.certificates:
        assert each.serial in text
        assert each.sha256 in text
        assert f"until {format_time(each.not_after)}" in text
    assert f"at {format_time(NOW + DAY)} (the time given)" in text
    assert "revocation was not checked: no revocation list of CN=Test Root was given" in text
    assert "revocation was not checked: no revocation list of CN=Issuing was given" in text


def entry_code(release: pki.Identity, at: str | None = None, **changes: object) -> str:
    trust = parse_trust(bundle([], [authority_entry(pki.root().certificate, **changes)]))
    moment = NOW if at is None else parse_time(at)
    try:
        return verify_artifact(io.BytesIO(CONTENT), sign(CONTENT, release), trust, at=moment).key.trusted_by
    except VerificationError as error:
        return error.code


def test_the_window_of_an_authority() -> None:
    release = signer()
    before, after = (format_time(NOW + shift) for shift in (-timedelta(hours=1), timedelta(hours=1)))
    assert entry_code(release, not_before=before, not_after=after) == "authority"
    assert entry_code(release, at=before, not_before=before) == entry_code(release, at=after, not_after=after)
    assert entry_code(release, not_before=after) == "authority_not_yet_valid"
    assert entry_code(release, not_after=before) == "authority_expired"


def test_the_identities_of_an_authority() -> None:
    def release(*names: x509.GeneralName) -> pki.Identity:
        extra = ((x509.SubjectAlternativeName(names), False),) if names else ()
        return signer(profile=Profile(extra=extra))

    uri, mail = x509.UniformResourceIdentifier("urn:uuid:0"), x509.RFC822Name("ci@acme.example")
    both = ["urn:uuid:0", "ci@acme.example"]
    assert entry_code(release(uri), identities=["urn:uuid:0"]) == "authority"
    assert entry_code(release(uri, mail), identities=both) == "authority"
    assert entry_code(release(uri), identities=["urn:uuid:0 ", "urn:uuid:00"]) == "identity_mismatch"
    assert entry_code(release(uri, mail), identities=["urn:uuid:0"]) == "identity_mismatch"  # each has to be listed
    assert entry_code(release(), identities=both) == "identity_mismatch"
    # A common name is no identity, whatever it says.
    plain = pki.issue("urn:uuid:0", pki.key("p256", "signer"), pki.root())
    assert entry_code(plain, identities=["urn:uuid:0"]) == "identity_mismatch"
    # What cannot be an identity does not count as one either.
    address = x509.IPAddress(ipaddress.ip_address("192.0.2.1"))
    assert entry_code(release(address), identities=["192.0.2.1"]) == "identity_mismatch"
