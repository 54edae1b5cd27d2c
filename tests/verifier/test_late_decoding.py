"""What fuzzing found: the library decodes certificates and lists late, far from the call that reads them.

Each is damaged in one place that `load_der_x509_certificate` or `load_der_x509_crl` itself does not look at.
"""

from __future__ import annotations

import base64
import io

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.fuzz import fuzz_crl
from tests.verifier import cms_builder, pki
from tests.verifier.trust_builder import authority_entry, bundle
from verifier import VerificationError, load_certificates, parse_trust, verify_artifact
from verifier.certificates import load_certificate
from verifier.revocation import load_revocation_lists
from verifier.trust import Authority, Trust

LEAF = pki.leaf().certificate.public_bytes(Encoding.DER)
ROOT = pki.root().certificate.public_bytes(Encoding.DER)
KEY_USAGE, CONSTRAINTS = bytes.fromhex("0603551d0f"), bytes.fromhex("0603551d13")
COMMON_NAME = bytes.fromhex("06035504030c")
COUNTRY = bytes.fromhex("06035504060c")
LIST = fuzz_crl.seeds()[0]

DAMAGES = {
    "a name of no known type": (COMMON_NAME, COMMON_NAME[:-1] + b"\x0d"),
    "a name that is not UTF-8": (b"Test Root", b"Test\xff\xff\xff\xffx"),
    "an extension twice": (KEY_USAGE, CONSTRAINTS),
    "an extension of another form": (KEY_USAGE, bytes.fromhex("0603551d25")),
    "a country of nine letters": (COMMON_NAME, COUNTRY),
}


def damaged(data: bytes, name: str) -> bytes:
    old, new = DAMAGES[name]
    assert old in data
    return data.replace(old, new, 1)


def wrap(data: bytes, label: str = "CERTIFICATE") -> bytes:
    return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (label.encode(), base64.encodebytes(data), label.encode())


@pytest.mark.parametrize("name", DAMAGES)
def test_certificates(name: str) -> None:
    with pytest.raises(ValueError, match="not a well-formed certificate"):
        load_certificate(damaged(LEAF, name))
    for read in (load_certificates, parse_trust):
        with pytest.raises(VerificationError) as caught:
            read(wrap(damaged(ROOT, name)))
        assert caught.value.code == "invalid_trust"


@pytest.mark.parametrize("name", DAMAGES)
def test_certificates_in_a_trust_bundle_and_in_a_signature(name: str) -> None:
    entry = authority_entry(pki.root().certificate)
    entry["certificate"] = "".join(wrap(damaged(ROOT, name)).decode().splitlines()[1:-1])
    with pytest.raises(VerificationError) as caught:
        parse_trust(bundle(authorities=[entry]))
    assert caught.value.code == "invalid_trust"
    signature = cms_builder.sign(b"content", pki.leaf())
    start = signature.index(LEAF)
    broken = signature[:start] + damaged(LEAF, name) + signature[start + len(LEAF) :]
    with pytest.raises(VerificationError) as caught:
        verify_artifact(io.BytesIO(b"content"), broken, Trust(authorities=(Authority(pki.root().certificate),)))
    assert caught.value.code == "malformed"


@pytest.mark.filterwarnings("ignore")
def test_what_the_library_only_warns_of_is_refused_where_warnings_are_not_errors() -> None:
    name = "a country of nine letters"
    assert x509.load_der_x509_certificate(damaged(LEAF, name)).issuer
    with pytest.raises(ValueError, match="not a well-formed certificate"):
        load_certificate(damaged(LEAF, name))
    with pytest.raises(VerificationError):
        load_revocation_lists(damaged(LIST, name))


def test_the_library_itself_notices_late() -> None:
    """If this fails the library reads at once, and reading everything here has lost its reason."""
    certificate = x509.load_der_x509_certificate(damaged(LEAF, "a name of no known type"))
    with pytest.raises(ValueError, match="issuer"):
        _ = certificate.issuer
    certificate = x509.load_der_x509_certificate(damaged(LEAF, "an extension twice"))
    with pytest.raises(x509.DuplicateExtension):
        _ = certificate.extensions


@pytest.mark.parametrize("name", ["a name of no known type", "a name that is not UTF-8", "a country of nine letters"])
def test_revocation_lists(name: str) -> None:
    for data in (damaged(LIST, name), wrap(damaged(LIST, name), "X509 CRL")):
        with pytest.raises(VerificationError) as caught:
            load_revocation_lists(data)
        assert caught.value.code == "invalid_crl"


def test_a_revocation_list_of_another_version() -> None:
    assert b"\x02\x01\x01\x30" in LIST
    with pytest.raises(VerificationError) as caught:
        load_revocation_lists(LIST.replace(b"\x02\x01\x01\x30", b"\x02\x01\x2d\x30", 1))
    assert caught.value.code == "invalid_crl"


def test_a_certificate_of_version_1_is_none_to_sign_with() -> None:
    signer = pki.key("p256")
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    bare = (
        x509.CertificateBuilder()
        .subject_name(pki.name("x"))
        .issuer_name(pki.name("x"))
        .public_key(signer.public_key())
        .serial_number(1)
        .not_valid_before(pki.NOW)
        .not_valid_after(pki.NOW + pki.DAY)
        .sign(signer, hashes.SHA256())
    )
    with pytest.raises(ValueError, match="not a version 3 certificate with extensions"):
        load_certificate(bare.public_bytes(Encoding.DER))
    assert load_certificates(pki.pem(bare)) == (bare,)
