"""The issuing CA: `openssl verify` accepts what it makes, a lying HSM's certificates never come out."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from keystore.algorithms import CALLER_PURPOSES, KEY_SPECS, PURPOSES, SIGNING_PURPOSES, KeyKind, Purpose
from keystore.errors import HsmFault
from signer.certificates import authority, chain
from signer.errors import ServiceUnavailable, Unprocessable
from tests.signer.formats.support import accepts, write_pem
from tests.software_key import LyingKey, generate, information, new_key, software_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.software_key import SoftwareKey

NOW = datetime.now(UTC).replace(microsecond=0)
KEY_ID = "6f0e7a52-6a0b-4a35-9d53-0d6ac1ee6f10"
AUTHORITY_SPECS = [spec for spec in PURPOSES[Purpose.CA] if spec != "RSA_4096"]
SUBJECTS = [
    (spec, purpose)
    for purpose in CALLER_PURPOSES
    if purpose in SIGNING_PURPOSES
    for spec in PURPOSES[purpose]
    if spec not in {"RSA_3072", "RSA_4096"} and KEY_SPECS[spec].kind is not KeyKind.ML_DSA  # which have none
]


def authority_of(spec: str = "ECC_NIST_P256") -> tuple[SoftwareKey, bytes]:
    key = software_key(spec, Purpose.CA)
    return key, authority.self_signed(key, common_name="Sealmark CA", now=NOW)


def leaf_for(
    key: SoftwareKey, authority_key: SoftwareKey, root: bytes, *, now: datetime = NOW, common_name: str = "release"
) -> bytes:
    return authority.issue_leaf(
        authority_key,
        root,
        public_key=key.public_key_der,
        purpose=key.info.purpose,
        common_name=common_name,
        key_id=KEY_ID,
        now=now,
    )


def usages(certificate: x509.Certificate) -> tuple[set[str], bool]:
    extension = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
    )
    return {name for name in names if getattr(extension.value, name)}, extension.critical


@pytest.mark.parametrize("authority_spec", AUTHORITY_SPECS)
@pytest.mark.parametrize(("spec", "purpose"), SUBJECTS)
def test_openssl_accepts_every_leaf(tmp_path: Path, authority_spec: str, spec: str, purpose: Purpose) -> None:
    authority_key, root = authority_of(authority_spec)
    leaf = leaf_for(software_key(spec, purpose), authority_key, root)
    files = ("-CAfile", write_pem(tmp_path, "root.pem", root), write_pem(tmp_path, "leaf.pem", leaf))
    assert accepts("openssl", "verify", "-x509_strict", "-check_ss_sig", *files)
    other = authority.self_signed(new_key("ECC_NIST_P256", Purpose.CA), common_name="Sealmark CA", now=NOW)
    files = ("-CAfile", write_pem(tmp_path, "other.pem", other), write_pem(tmp_path, "leaf.pem", leaf))
    assert not accepts("openssl", "verify", *files)


def test_the_authority_says_that_it_issues_leaves_only() -> None:
    key, root = authority_of()
    certificate = x509.load_der_x509_certificate(root)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    assert usages(certificate) == ({"key_cert_sign", "crl_sign"}, True)
    assert certificate.public_key() == key.public_key
    assert certificate.not_valid_after_utc == NOW + timedelta(days=3650)
    assert certificate.not_valid_before_utc <= NOW
    assert certificate.subject.rfc4514_string() == "CN=Sealmark CA"


@pytest.mark.parametrize(("spec", "purpose"), SUBJECTS)
def test_a_leaf_says_what_its_purpose_needs(spec: str, purpose: Purpose) -> None:
    authority_key, root = authority_of()
    key = software_key(spec, purpose)
    certificate = x509.load_der_x509_certificate(leaf_for(key, authority_key, root))
    issuer = x509.load_der_x509_certificate(root)
    extensions = certificate.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    assert usages(certificate) == ({"digital_signature"}, True)
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"urn:uuid:{KEY_ID}"]
    subject_identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority_identifier = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert authority_identifier.key_identifier == subject_identifier.digest
    assert certificate.public_key() == key.public_key
    assert certificate.subject.rfc4514_string() == "CN=release"
    assert certificate.issuer == issuer.subject
    assert certificate.not_valid_after_utc == NOW + timedelta(days=365)
    usage = [extension.value for extension in extensions if isinstance(extension.value, x509.ExtendedKeyUsage)]
    expected = {
        Purpose.ARTIFACT: [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])],
        Purpose.JWT: [x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.37")])],
        Purpose.GENERAL: [x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36")])],
        Purpose.SAML: [],
    }
    assert usage == expected[purpose]


def test_serial_numbers_are_long_and_all_different() -> None:
    authority_key, root = authority_of()
    key = software_key("ECC_NIST_P256", Purpose.JWT)
    leaves = [x509.load_der_x509_certificate(leaf_for(key, authority_key, root)) for _ in range(20)]
    serials = {leaf.serial_number for leaf in leaves}
    assert len(serials) == 20
    assert all(1 << 128 <= serial < 1 << 129 for serial in serials)


def test_a_leaf_never_outlives_its_issuer_nor_begins_before_it() -> None:
    authority_key, root = authority_of()
    issuer = x509.load_der_x509_certificate(root)
    key = software_key("ECC_NIST_P256", Purpose.JWT)
    late = x509.load_der_x509_certificate(leaf_for(key, authority_key, root, now=NOW + timedelta(days=3600)))
    assert late.not_valid_after_utc == issuer.not_valid_after_utc
    early = x509.load_der_x509_certificate(leaf_for(key, authority_key, root, now=issuer.not_valid_before_utc))
    assert early.not_valid_before_utc == issuer.not_valid_before_utc


@pytest.mark.parametrize("days", [-1, 3650, 4000])
def test_an_authority_out_of_its_time_issues_nothing(days: int) -> None:
    authority_key, root = authority_of()
    with pytest.raises(ServiceUnavailable, match="out of its time"):
        leaf_for(software_key("ECC_NIST_P256", Purpose.JWT), authority_key, root, now=NOW + timedelta(days=days))


@pytest.mark.parametrize("common_name", ["a" * 65, ""])
def test_a_name_that_is_no_common_name_gives_way_to_the_keys_id(common_name: str) -> None:
    authority_key, root = authority_of()
    leaf = leaf_for(software_key("ECC_NIST_P256", Purpose.JWT), authority_key, root, common_name=common_name)
    assert x509.load_der_x509_certificate(leaf).subject.rfc4514_string() == f"CN={KEY_ID}"


LIES: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda signature: bytes(len(signature)),
    "nothing": lambda _: b"",
    "truncated": lambda signature: signature[:-1],
    "one bit": lambda signature: signature[:-1] + bytes((signature[-1] ^ 1,)),
    "another key's": lambda _: new_key("ECC_NIST_P256", Purpose.CA).sign(b"x"),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "RSA_3072"])
def test_a_certificate_that_does_not_verify_never_comes_out(lie: str, spec: str) -> None:
    honest, root = authority_of(spec)
    liar = LyingKey(honest.private_key, information(spec, Purpose.CA), LIES[lie])
    with pytest.raises(HsmFault, match="does not verify"):
        authority.self_signed(liar, common_name="Sealmark CA", now=NOW)
    with pytest.raises(HsmFault, match="does not verify"):
        leaf_for(software_key("ECC_NIST_P256", Purpose.JWT), liar, root)


def test_the_authoritys_certificate_is_that_of_its_key() -> None:
    _, root = authority_of()
    with pytest.raises(ServiceUnavailable, match="nothing was issued"):
        leaf_for(software_key("ECC_NIST_P256", Purpose.JWT), new_key("ECC_NIST_P256", Purpose.CA), root)


def test_a_leaf_issues_nothing() -> None:
    authority_key, root = authority_of()
    key = software_key("ECC_NIST_P256", Purpose.GENERAL)
    leaf = leaf_for(key, authority_key, root)
    with pytest.raises(ServiceUnavailable, match="is no CA's"):
        leaf_for(software_key("ECC_NIST_P256", Purpose.JWT), key, leaf)


def test_what_the_service_keeps_and_is_no_certificate_is_refused() -> None:
    with pytest.raises(ServiceUnavailable, match="cannot be read"):
        leaf_for(software_key("ECC_NIST_P256", Purpose.JWT), authority_of()[0], b"no certificate")


@pytest.mark.parametrize("purpose", [Purpose.CA, Purpose.LOG])
def test_the_services_own_purposes_get_no_leaf(purpose: Purpose) -> None:
    authority_key, root = authority_of()
    key = software_key("ECC_NIST_P256" if purpose is Purpose.CA else "ECC_NIST_EDWARDS25519", purpose)
    with pytest.raises(Unprocessable) as refusal:
        leaf_for(key, authority_key, root)
    assert refusal.value.field == "purpose"


def test_only_a_ca_key_gets_a_ca_certificate() -> None:
    with pytest.raises(Unprocessable, match="purpose ca"):
        authority.self_signed(software_key("ECC_NIST_P256", Purpose.GENERAL), common_name="x", now=NOW)


@pytest.mark.parametrize(
    "public_key",
    [
        b"",
        b"no key",
        x25519.X25519PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    ],
    ids=["empty", "no key", "no key that signs"],
)
def test_what_cannot_be_certified_is_refused(public_key: bytes) -> None:
    authority_key, root = authority_of()
    with pytest.raises(Unprocessable) as refusal:
        authority.issue_leaf(
            authority_key,
            root,
            public_key=public_key,
            purpose=Purpose.GENERAL,
            common_name="x",
            key_id=KEY_ID,
            now=NOW,
        )
    assert refusal.value.field == "public_key"


def test_the_pem_of_a_chain_is_what_openssl_reads(tmp_path: Path) -> None:
    authority_key, root = authority_of()
    leaf = leaf_for(software_key("ECC_NIST_P256", Purpose.JWT), authority_key, root)
    path = write_pem(tmp_path, "chain.pem", leaf, root)
    ders = []
    for part in path.read_text().split("-----END CERTIFICATE-----\n")[:-1]:
        text = part + "-----END CERTIFICATE-----\n"
        command = ("openssl", "x509", "-outform", "DER")
        ders.append(subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout)
    assert ders == [leaf, root]
    assert x509.load_pem_x509_certificates(path.read_bytes())[0].public_bytes(Encoding.PEM).decode() == chain.pem(
        [leaf]
    )


def test_a_chain_is_linked_or_refused() -> None:
    authority_key, root = authority_of()
    key = software_key("ECC_NIST_P256", Purpose.GENERAL)
    leaf = leaf_for(key, authority_key, root)
    chain.require_linked([leaf, root])
    chain.require_linked([root])
    stranger = authority.self_signed(new_key("ECC_NIST_P256", Purpose.CA), common_name="Sealmark CA", now=NOW)
    for wrong in ([], [leaf], [root, leaf], [leaf, stranger], [leaf, leaf, root]):
        with pytest.raises(ServiceUnavailable):
            chain.require_linked(wrong)


def test_a_lying_leaf_issuer_with_a_valid_signature_is_no_authority() -> None:
    """A self-made chain through a leaf: names and signatures fit, but the middle one may not issue."""
    authority_key, root = authority_of()
    middle_key = software_key("ECC_NIST_P384", Purpose.GENERAL)
    middle = leaf_for(middle_key, authority_key, root)
    subject = generate("ECC_NIST_P256").public_key()
    certificate = x509.load_der_x509_certificate(middle)
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(certificate.subject)
        .public_key(subject)
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .sign(middle_key.private_key, hashes.SHA384())
    )
    with pytest.raises(ServiceUnavailable, match="no CA's"):
        chain.require_linked([forged.public_bytes(Encoding.DER), middle, root])


def test_a_certificate_for_another_key_never_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in the library that builds it, which nothing downstream would notice."""
    authority_key, root = authority_of()
    build = authority._builder
    other = new_key("ECC_NIST_P256", Purpose.JWT).public_key
    monkeypatch.setattr(authority, "_builder", lambda _, *rest: build(other, *rest))
    with pytest.raises(HsmFault, match="does not verify"):
        leaf_for(software_key("ECC_NIST_P256", Purpose.JWT), authority_key, root)
