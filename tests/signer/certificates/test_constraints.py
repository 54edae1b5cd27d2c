"""Name constraints: the CA says them, its leaves keep them; what would break them is refused before it is signed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from keystore.algorithms import Purpose
from signer.certificates import authority, constraints
from signer.certificates.request import parse_subject
from signer.errors import Unprocessable
from tests.signer.formats.support import accepts, write_pem
from tests.software_key import software_key

if TYPE_CHECKING:
    from pathlib import Path

    from tests.software_key import SoftwareKey

NOW = datetime.now(UTC).replace(microsecond=0)
WITHIN = parse_subject("O=Example,C=DE")


def issued(root_key: SoftwareKey, root: bytes, common_name: str = "release") -> bytes:
    subject = software_key("ECC_NIST_P256", Purpose.ARTIFACT)
    return authority.issue_leaf(
        root_key,
        root,
        public_key=subject.public_key_der,
        purpose=Purpose.ARTIFACT,
        common_name=common_name,
        key_id="6f0e7a52-6a0b-4a35-9d53-0d6ac1ee6f10",
        now=NOW,
    )


def spared_constraint(key: SoftwareKey) -> bytes:
    """The same CA by name and key, without the constraint: what a thief of its signature could have it issue."""
    name = parse_subject("CN=CA,O=Example,C=DE")
    public_key = key.private_key.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    assert isinstance(key.private_key, ec.EllipticCurvePrivateKey)
    usage = authority._key_usage("key_cert_sign", "crl_sign")
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public_key)
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=9))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .sign(key.private_key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def test_leaves_lie_below_the_name_and_openssl_holds_them_to_it(tmp_path: Path) -> None:
    key = software_key("ECC_NIST_P256", Purpose.CA)
    bound = authority.self_signed(key, common_name="CA", now=NOW, within=WITHIN)
    free = spared_constraint(key)
    extension = x509.load_der_x509_certificate(bound).extensions.get_extension_for_class(x509.NameConstraints)
    assert extension.critical
    assert extension.value.permitted_subtrees == [x509.DirectoryName(WITHIN)]
    inside, outside = issued(key, bound), issued(key, free)
    assert x509.load_der_x509_certificate(inside).subject == parse_subject("CN=release,O=Example,C=DE")

    def verified(root: bytes, leaf: bytes) -> bool:
        files = ("-CAfile", write_pem(tmp_path, "root.pem", root), write_pem(tmp_path, "leaf.pem", leaf))
        return accepts("openssl", "verify", "-x509_strict", *files)

    assert verified(bound, inside)
    assert verified(free, outside)
    assert not verified(bound, outside)


@pytest.mark.parametrize("subject", ["CN=release", "CN=x,O=Other,C=DE", "CN=x,O=Example,C=FR", "C=DE", "O=Example"])
def test_a_subject_outside_is_refused(subject: str) -> None:
    key = software_key("ECC_NIST_P256", Purpose.CA)
    issuer = x509.load_der_x509_certificate(authority.self_signed(key, common_name="CA", now=NOW, within=WITHIN))
    constraints.require_within(issuer, parse_subject("CN=x,OU=Team,O=Example,C=DE"), [])
    with pytest.raises(Unprocessable, match="do not allow"):
        constraints.require_within(issuer, parse_subject(subject), [])


@pytest.mark.parametrize(
    ("permitted", "excluded", "uri", "allowed"),
    [
        ("example.com", None, "https://example.com/x", True),
        ("example.com", None, "https://www.example.com/x", False),
        (".example.com", None, "https://www.example.com/x", True),
        ("example.com", None, "urn:uuid:1", False),
        (None, "example.com", "https://example.com/", False),
        (None, "example.com", "urn:uuid:1", True),
    ],
)
def test_constraints_on_uris(permitted: str | None, excluded: str | None, uri: str, allowed: bool) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    allowed_hosts, forbidden_hosts = (
        None if host is None else [x509.UniformResourceIdentifier(host)] for host in (permitted, excluded)
    )
    issuer = (
        x509.CertificateBuilder()
        .subject_name(WITHIN)
        .issuer_name(WITHIN)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=9))
        .add_extension(x509.NameConstraints(allowed_hosts, forbidden_hosts), critical=True)
        .sign(key, hashes.SHA256())
    )
    names = [x509.UniformResourceIdentifier(uri)]
    if allowed:
        constraints.require_within(issuer, WITHIN, names)
        return
    with pytest.raises(Unprocessable, match="do not allow"):
        constraints.require_within(issuer, WITHIN, names)
