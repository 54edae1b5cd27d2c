"""Bare signatures over files, and how files are read."""

from __future__ import annotations

import hashlib
import io
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.verifier import pki
from tests.verifier.trust_builder import authority_entry, bundle, key_entry
from verifier import VerificationError, parse_trust, verify_artifact
from verifier.artifacts import files

if TYPE_CHECKING:
    from pathlib import Path

    from verifier import VerifiedArtifact

CONTENT = b"\x7fELF and so on" * 999
HASHES = {256: hashes.SHA256(), 384: hashes.SHA384(), 512: hashes.SHA512()}


def rsa_signature(scheme: str, bits: int, salt: int | None = None) -> bytes:
    signer = pki.key("rsa2048")
    assert isinstance(signer, rsa.RSAPrivateKey)
    digest = HASHES[bits]
    if scheme == "PSS":
        return signer.sign(CONTENT, padding.PSS(padding.MGF1(digest), salt or digest.digest_size), digest)
    return signer.sign(CONTENT, padding.PKCS1v15(), digest)


def ecdsa_signature(kind: str, bits: int) -> bytes:
    signer = pki.key(kind)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    return signer.sign(CONTENT, ec.ECDSA(HASHES[bits]))


def ed25519_signature(content: bytes = CONTENT) -> bytes:
    signer = pki.key("ed25519")
    assert isinstance(signer, ed25519.Ed25519PrivateKey)
    return signer.sign(content)


def verify(kind: str, signature: bytes, content: bytes = CONTENT, algorithm: str | None = None) -> VerifiedArtifact:
    trust = parse_trust(pki.public_pem(pki.key(kind)))
    return verify_artifact(io.BytesIO(content), signature, trust, algorithm=algorithm)


def code_of(kind: str, signature: bytes, content: bytes = CONTENT, algorithm: str | None = None) -> str:
    with pytest.raises(VerificationError) as caught:
        verify(kind, signature, content, algorithm)
    return caught.value.code


@pytest.mark.parametrize("bits", HASHES)
@pytest.mark.parametrize(("scheme", "prefix"), [("PSS", "RSASSA_PSS"), ("PKCS1", "RSASSA_PKCS1_V1_5")])
def test_rsa(scheme: str, prefix: str, bits: int) -> None:
    facts = verify("rsa2048", rsa_signature(scheme, bits))
    assert facts.key.algorithm == f"{prefix}_SHA_{bits}"
    assert facts.digests[f"sha{bits}"] == hashlib.new(f"sha{bits}", CONTENT).hexdigest()


@pytest.mark.parametrize("first", [b"{", b"\x30", b" ", b"-"])
def test_signature_that_begins_like_another_format(first: bytes) -> None:
    """RSA signatures are random bytes: one in 256 begins like JSON, and one like DER."""
    signature = b""
    while not signature.startswith(first):
        signature = rsa_signature("PSS", 256)
    assert verify("rsa2048", signature, algorithm="RSASSA_PSS_SHA_256").signature_format == "raw"


@pytest.mark.parametrize(("kind", "bits"), [("p256", 256), ("p384", 384), ("p521", 512), ("secp256k1", 256)])
def test_ecdsa(kind: str, bits: int) -> None:
    assert verify(kind, ecdsa_signature(kind, bits)).key.algorithm == f"ECDSA_SHA_{bits}"


def test_ed25519_within_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verify("ed25519", ed25519_signature()).key.algorithm == "ED25519_SHA_512"
    assert code_of("ed25519", ed25519_signature(), CONTENT + b"x") == "signature_invalid"
    monkeypatch.setattr(files, "MAXIMUM_MESSAGE_BYTES", len(CONTENT) - 1)
    assert code_of("ed25519", ed25519_signature()) == "unsupported_size"


@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_tampered(kind: str) -> None:
    signature = rsa_signature("PKCS1", 256) if kind == "rsa2048" else ecdsa_signature("p256", 256)
    assert code_of(kind, signature, CONTENT[:-1]) == "signature_invalid"
    assert code_of(kind, signature[:-1] + bytes((signature[-1] ^ 1,))) == "signature_invalid"
    assert code_of(kind, signature + b"\x00") == "signature_invalid"
    assert code_of(kind, b"") == "signature_invalid"


def test_ecdsa_has_one_encoding() -> None:
    signature = ecdsa_signature("p256", 256)
    r, s = decode_dss_signature(signature)
    fixed = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert code_of("p256", fixed) == "signature_invalid"
    longer = signature[:1] + bytes((signature[1] + 1, 2, signature[3] + 1, 0)) + signature[4:]
    assert code_of("p256", longer) == "signature_invalid"  # r with a needless leading zero


def test_pss_salt_must_be_as_long_as_the_hash() -> None:
    assert code_of("rsa2048", rsa_signature("PSS", 256, salt=20)) == "signature_invalid"


def test_format_can_be_demanded() -> None:
    signature = ecdsa_signature("p256", 256)
    trust = parse_trust(pki.public_pem(pki.key("p256")))
    assert verify_artifact(io.BytesIO(CONTENT), signature, trust, signature_format="raw").signature_format == "raw"
    with pytest.raises(VerificationError, match="malformed"):
        verify_artifact(io.BytesIO(CONTENT), signature, trust, signature_format="cms")
    with pytest.raises(ValueError, match="signature_format"):
        verify_artifact(io.BytesIO(CONTENT), signature, trust, signature_format="pgp")  # type: ignore[arg-type]


def test_another_key_is_rejected() -> None:
    with pytest.raises(VerificationError, match="signature_invalid"):
        verify_artifact(
            io.BytesIO(CONTENT), ecdsa_signature("p256", 256), parse_trust(pki.public_pem(pki.key("p256", "other")))
        )


def test_demanded_algorithm_is_kept() -> None:
    signature = rsa_signature("PSS", 256)
    assert verify("rsa2048", signature, algorithm="RSASSA_PSS_SHA_256")
    assert code_of("rsa2048", signature, algorithm="RSASSA_PKCS1_V1_5_SHA_256") == "signature_invalid"
    assert code_of("rsa2048", signature, algorithm="ECDSA_SHA_256") == "algorithm_mismatch"


def test_bundle_limits_algorithm_purpose_and_time() -> None:
    signature = rsa_signature("PSS", 256)

    def code(**changes: object) -> str:
        entry = key_entry(pki.key("rsa2048"), "RSASSA_PSS_SHA_256", **changes)
        trust = parse_trust(bundle([entry]))
        try:
            facts = verify_artifact(io.BytesIO(CONTENT), signature, trust)
        except VerificationError as error:
            return error.code
        return f"verified by {facts.signer}"

    assert code() == "verified by release"
    assert code(algorithms=["RSASSA_PKCS1_V1_5_SHA_256"]) == "signature_invalid"
    assert code(purpose="general") == "no_trust"
    assert code(not_after="2021-01-01T00:00:00Z") == "key_expired"


def test_bare_signature_under_an_authority_alone_is_not_decided() -> None:
    trust = parse_trust(bundle([], [authority_entry(pki.root().certificate)]))
    with pytest.raises(VerificationError, match="no_trust"):
        verify_artifact(io.BytesIO(CONTENT), ecdsa_signature("p256", 256), trust)


def test_path_and_stream_give_the_same_facts(tmp_path: Path) -> None:
    path = tmp_path / "tool.bin"
    path.write_bytes(CONTENT)
    trust = parse_trust(pki.public_pem(pki.key("p256")))
    signature = ecdsa_signature("p256", 256)
    from_path = verify_artifact(path, signature, trust)
    assert from_path.name == "tool.bin"
    with path.open("rb") as stream:
        assert verify_artifact(stream, signature, trust).digests == from_path.digests
        assert not stream.closed
    with pytest.raises(VerificationError, match="unreadable_file"):
        verify_artifact(tmp_path / "missing", signature, trust)
    with pytest.raises(VerificationError, match="unreadable_file"):
        verify_artifact(io.StringIO("text"), signature, trust)  # type: ignore[arg-type]


def test_large_file_is_read_in_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "large"
    size = 64 * 1024 * 1024
    with path.open("wb") as stream:
        stream.truncate(size)
    trust = parse_trust(pki.public_pem(pki.key("p256")))
    tracemalloc.start()
    try:
        with pytest.raises(VerificationError, match="signature_invalid"):
            verify_artifact(path, ecdsa_signature("p256", 256), trust, algorithm="ECDSA_SHA_256")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * files.CHUNK_BYTES
