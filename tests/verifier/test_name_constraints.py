"""Name constraints: what an authority may certify, kind by kind, and where OpenSSL says the same."""

from __future__ import annotations

import io
import ipaddress
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from tests.verifier import pki
from tests.verifier.cms_builder import Options, sign
from verifier import Rejected, VerifiedArtifact, name_constraints, parse_trust, verify_artifact

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"content"
ROOT = pki.root("Constraining Root")


def distinguished(**parts: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(getattr(NameOID, oid), value) for oid, value in parts.items()])


ACME = distinguished(COUNTRY_NAME="DE", ORGANIZATION_NAME="Acme")
DIRECTORY = x509.DirectoryName
DNS, URI, MAIL = x509.DNSName, x509.UniformResourceIdentifier, x509.RFC822Name
ANY_ADDRESS = x509.IPAddress(ipaddress.ip_network("0.0.0.0/0"))


def limited(
    permitted: list[x509.GeneralName] | None = None,
    excluded: list[x509.GeneralName] | None = None,
    *,
    issuer: pki.Identity | None = None,
    critical: bool = True,
) -> pki.Identity:
    constraints = x509.NameConstraints(permitted or None, excluded or None)
    profile = replace(pki.AUTHORITY, extra=((constraints, critical),))
    return pki.issue("Limited", pki.key("p256", "limited"), issuer or ROOT, profile)


def leaf(issuer: pki.Identity, *names: x509.GeneralName, subject: x509.Name | str = "release") -> pki.Identity:
    extra = ((x509.SubjectAlternativeName(names), False),) if names else ()
    return pki.issue(subject, pki.key("p256", "named"), issuer, pki.Profile(extra=extra))


def verify(signer: pki.Identity, *between: pki.Identity, anchor: pki.Identity = ROOT) -> VerifiedArtifact:
    options = Options(certificates=(signer.certificate, *(each.certificate for each in between)))
    return verify_artifact(
        io.BytesIO(CONTENT), sign(CONTENT, signer, options), parse_trust(pki.pem(anchor.certificate))
    )


def refusal(signer: pki.Identity, *between: pki.Identity, anchor: pki.Identity = ROOT) -> str:
    with pytest.raises(Rejected) as caught:
        verify(signer, *between, anchor=anchor)
    return str(caught.value)


# permitted, excluded, names of the leaf, whether it is allowed, whether OpenSSL 3.0 says so too
CASES = {
    "dns permitted itself": ([DNS("acme.example")], [], [DNS("acme.example")], True, True),
    "dns permitted below": ([DNS("acme.example")], [], [DNS("a.b.ACME.example")], True, True),
    "dns beside": ([DNS("acme.example")], [], [DNS("notacme.example")], False, True),
    "dns one of two": ([DNS("acme.example")], [], [DNS("acme.example"), DNS("evil.example")], False, True),
    "dns either of two": ([DNS("a.example"), DNS("b.example")], [], [DNS("b.example")], True, True),
    "dns excluded": ([], [DNS("acme.example")], [DNS("www.acme.example")], False, True),
    "dns excluded in permitted": ([DNS("example")], [DNS("bad.example")], [DNS("x.bad.example")], False, True),
    "dns excluded with a last dot": ([], [DNS("acme.example")], [DNS("acme.example.")], False, False),
    "dns excluded behind a wildcard": ([], [DNS("a.acme.example")], [DNS("*.acme.example")], False, False),
    "dns everything excluded": ([], [DNS("")], [DNS("acme.example")], False, True),
    "dns empty label": ([DNS("example")], [], [DNS("a..example")], False, False),
    "dns does not limit uris": ([DNS("acme.example")], [], [URI("https://evil.example/")], True, True),
    "uri host": ([URI("acme.example")], [], [URI("https://acme.example/release")], True, True),
    "uri host is not its children": ([URI("acme.example")], [], [URI("https://a.acme.example/")], False, True),
    "uri children": ([URI(".acme.example")], [], [URI("https://a.acme.example:8443/x")], True, True),
    "uri children are not the host": ([URI(".acme.example")], [], [URI("https://acme.example/")], False, True),
    "uri with a user": ([URI("acme.example")], [], [URI("https://acme.example@evil.example/")], False, True),
    "uri with a backslash": ([URI("acme.example")], [], [URI("https://evil.example\\@acme.example/")], False, True),
    "uri excluded in capitals": ([], [URI("acme.example")], [URI("HTTPS://ACME.example/")], False, True),
    "urn has no host": ([URI("acme.example")], [], [URI("urn:uuid:0")], False, True),
    "urn has no host to exclude": ([], [URI("acme.example")], [URI("urn:uuid:0")], False, True),
    "uri with an address": ([URI("acme.example")], [], [URI("https://192.0.2.1/")], False, True),
    "mail box": ([MAIL("ci@acme.example")], [], [MAIL("ci@ACME.example")], True, True),
    "mail other box": ([MAIL("ci@acme.example")], [], [MAIL("root@acme.example")], False, True),
    "mail host": ([MAIL("acme.example")], [], [MAIL("root@acme.example")], True, True),
    "mail children": ([MAIL(".acme.example")], [], [MAIL("root@a.acme.example")], True, True),
    "mail children are not the host": ([MAIL(".acme.example")], [], [MAIL("root@acme.example")], False, True),
    "mail excluded in capitals": ([], [MAIL("ci@acme.example")], [MAIL("CI@acme.example")], False, False),
    "mail without a host": ([MAIL("acme.example")], [], [MAIL("acme.example")], False, True),
    "address": (
        [x509.IPAddress(ipaddress.ip_network("192.0.2.0/24"))],
        [],
        [x509.IPAddress(ipaddress.ip_address("192.0.2.7"))],
        True,
        True,
    ),
    "address excluded": ([], [ANY_ADDRESS], [x509.IPAddress(ipaddress.ip_address("192.0.2.7"))], False, True),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("constraints")
    (path / "root.pem").write_bytes(pki.pem(ROOT.certificate))
    return path


def openssl_accepts(folder: Path, signer: pki.Identity, between: pki.Identity) -> bool:
    (folder / "leaf.pem").write_bytes(pki.pem(signer.certificate))
    (folder / "between.pem").write_bytes(pki.pem(between.certificate))
    command = ["openssl", "verify", "-CAfile", "root.pem", "-untrusted", "between.pem", "leaf.pem"]
    return subprocess.run(command, cwd=folder, capture_output=True, timeout=60).returncode == 0


@pytest.mark.parametrize(("permitted", "excluded", "names", "allowed", "as_openssl"), CASES.values(), ids=CASES.keys())
def test_alternative_names(
    folder: Path,
    permitted: list[x509.GeneralName],
    excluded: list[x509.GeneralName],
    names: list[x509.GeneralName],
    allowed: bool,
    as_openssl: bool,
) -> None:
    issuer = limited(permitted, excluded)
    signer = leaf(issuer, *names)
    if allowed:
        assert verify(signer, issuer)
    else:
        message = refusal(signer, issuer)
        assert message.startswith("certificate_not_suitable: The authority CN=Limited may not certify the name ")
    # Where the two differ, this verifier is the stricter one.
    assert openssl_accepts(folder, signer, issuer) is (allowed or not as_openssl)


SUBJECTS = {
    "as it is": (ACME, True),
    "with more": (distinguished(COUNTRY_NAME="DE", ORGANIZATION_NAME="Acme", COMMON_NAME="release"), True),
    "other case and spaces": (distinguished(COUNTRY_NAME="DE", ORGANIZATION_NAME=" ACME "), True),
    "another organization": (distinguished(COUNTRY_NAME="DE", ORGANIZATION_NAME="Evil"), False),
    "in another order": (distinguished(ORGANIZATION_NAME="Acme", COUNTRY_NAME="DE"), False),
    "less": (distinguished(COUNTRY_NAME="DE"), False),
}


@pytest.mark.parametrize(("subject", "inside"), SUBJECTS.values(), ids=SUBJECTS.keys())
def test_distinguished_names(folder: Path, subject: x509.Name, inside: bool) -> None:
    permitting, excluding = limited([DIRECTORY(ACME)]), limited([], [DIRECTORY(ACME)])
    for issuer, allowed in ((permitting, inside), (excluding, not inside)):
        signer = leaf(issuer, subject=subject)
        if allowed:
            assert verify(signer, issuer)
        else:
            assert "may not certify the name" in refusal(signer, issuer)
        assert openssl_accepts(folder, signer, issuer) is allowed


def test_the_subjects_mail_address_counts() -> None:
    issuer = limited([MAIL("acme.example")])
    assert verify(leaf(issuer, subject=distinguished(EMAIL_ADDRESS="ci@acme.example")), issuer)
    assert "ci@evil.example" in refusal(leaf(issuer, subject=distinguished(EMAIL_ADDRESS="ci@evil.example")), issuer)


def test_a_mail_address_that_is_none() -> None:
    issuer = limited([DNS("example")])
    odd = x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, "cé@acme.example")])
    assert "A mail address" in refusal(leaf(issuer, subject=odd), issuer)


@pytest.mark.parametrize("critical", [True, False])
def test_kinds_that_cannot_be_judged_are_refused(critical: bool) -> None:
    other = x509.OtherName(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    for kind in (other, x509.RegisteredID(x509.ObjectIdentifier("1.2.3.4"))):
        for issuer in (limited([kind], critical=critical), limited([], [kind], critical=critical)):
            assert "limits names of a kind" in refusal(leaf(issuer), issuer)


def test_constraints_that_are_not_critical_hold_too() -> None:
    issuer = limited([DNS("acme.example")], critical=False)
    assert "evil.example" in refusal(leaf(issuer, DNS("evil.example")), issuer)


def test_constraints_of_the_trusted_root_hold() -> None:
    constraints = x509.NameConstraints([DNS("acme.example")], None)
    root = pki.issue("Own Root", pki.key("p256", "own"), None, replace(pki.AUTHORITY, extra=((constraints, True),)))
    assert verify(leaf(root, DNS("acme.example")), anchor=root)
    assert "evil.example" in refusal(leaf(root, DNS("evil.example")), anchor=root)


def test_constraints_reach_every_certificate_below() -> None:
    issuer = limited([DNS("acme.example")])
    named = x509.SubjectAlternativeName([DNS("evil.example")])
    below = pki.issue("Below", pki.key("p256", "below"), issuer, replace(pki.AUTHORITY, extra=((named, False),)))
    assert "of CN=Below" in refusal(leaf(below), below, issuer)
    wider = limited([DNS("example")], issuer=limited([DNS("acme.example")]))
    inner = leaf(wider, DNS("evil.example"))
    assert "evil.example" in refusal(inner, wider, limited([DNS("acme.example")]))


def test_an_authoritys_renewal_is_exempt_and_its_leaf_is_not() -> None:
    """RFC 5280 section 6.1.3 (b): a self-issued certificate in the middle is the authority's own word about itself."""
    issuer = limited([DIRECTORY(distinguished(COMMON_NAME="release"))])
    renewed = pki.issue("Limited", pki.key("p256", "renewed"), issuer, pki.AUTHORITY)
    assert verify(leaf(renewed), renewed, issuer)
    assert "of CN=Limited" in refusal(leaf(issuer, subject="Limited"), issuer)


def test_too_many_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_constraints, "MAXIMUM_COMPARISONS", 3)
    issuer = limited([DNS("example")])
    assert verify(leaf(issuer, DNS("a.example"), DNS("b.example")), issuer)
    message = refusal(leaf(issuer, *(DNS(f"{each}.example") for each in "abc")), issuer)
    assert message.startswith("too_large")
