"""Bare signatures that nobody makes around anything else: Ed25519ph and ML-DSA, made here by other implementations."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from Crypto.Hash import SHA512
from Crypto.Signature import eddsa
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey, MLDSA65PublicKey, MLDSA87PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from dilithium_py.ml_dsa import ML_DSA_44, ML_DSA_65, ML_DSA_87

from tests.verifier import pki
from tests.verifier.trust_builder import bundle, key_entry
from verifier import VerificationError, edwards, parse_trust, verify_artifact
from verifier.artifacts import files
from verifier.keys import describe_key, load_public_key
from verifier.thumbprint import thumbprint

if TYPE_CHECKING:
    from verifier import VerifiedArtifact

CONTENT = b"a file that is signed as it is" * 100
PREHASHED, ML_DSA = "ED25519_PH_SHA_512", "ML_DSA_SHAKE_256"
Kind = type[MLDSA44PublicKey] | type[MLDSA65PublicKey] | type[MLDSA87PublicKey]
SETS: dict[str, tuple[Any, Kind]] = {
    "ML-DSA-44": (ML_DSA_44, MLDSA44PublicKey),
    "ML-DSA-65": (ML_DSA_65, MLDSA65PublicKey),
    "ML-DSA-87": (ML_DSA_87, MLDSA87PublicKey),
}
ORDER = 2**252 + 27742317777372353535851937790883648493


@cache
def ml_dsa(name: str) -> tuple[bytes, bytes]:
    """(public key in PEM, signature over the content)."""
    theirs, kind = SETS[name]
    public, private = theirs.keygen()
    pem = kind.from_public_bytes(public).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem, theirs.sign(private, CONTENT)


@cache
def prehashed() -> tuple[bytes, bytes]:
    key = pki.key("ed25519")
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    signer = eddsa.new(eddsa.import_private_key(key.private_bytes_raw()), "rfc8032")
    return pki.public_pem(key), signer.sign(SHA512.new(CONTENT))


def verify(pem: bytes, signature: bytes, content: bytes = CONTENT, algorithm: str | None = None) -> VerifiedArtifact:
    return verify_artifact(io.BytesIO(content), signature, parse_trust(pem), algorithm=algorithm)


def code_of(pem: bytes, signature: bytes, content: bytes = CONTENT, algorithm: str | None = None) -> str:
    with pytest.raises(VerificationError) as caught:
        verify(pem, signature, content, algorithm)
    return caught.value.code


@pytest.mark.parametrize("name", SETS)
def test_an_ml_dsa_signature(name: str) -> None:
    pem, signature = ml_dsa(name)
    verified = verify(pem, signature)
    assert (verified.key.algorithm, verified.key.kind) == (ML_DSA, name)
    assert verify(pem, signature, algorithm=ML_DSA).key.sha256 == verified.key.sha256
    assert code_of(pem, signature, CONTENT + b"x") == "signature_invalid"
    for position in (0, len(signature) // 2, len(signature) - 1):
        changed = bytearray(signature)
        changed[position] ^= 1
        assert code_of(pem, bytes(changed)) == "signature_invalid"
    for wrong in (signature[:-1], signature + b"x"):
        assert code_of(pem, wrong) == "signature_invalid"
    assert code_of(pem, signature, algorithm=PREHASHED) == "algorithm_mismatch"


def test_an_ed25519_signature_over_a_hash() -> None:
    pem, signature = prehashed()
    assert verify(pem, signature).key.algorithm == PREHASHED
    assert code_of(pem, signature, CONTENT + b"x") == "signature_invalid"
    assert code_of(pem, signature, algorithm="ED25519_SHA_512") == "signature_invalid"
    for position in range(0, 64, 9):
        changed = bytearray(signature)
        changed[position] ^= 1
        assert code_of(pem, bytes(changed)) == "signature_invalid"
    key = pki.key("ed25519")
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    pure = key.sign(CONTENT)
    assert verify(pem, pure).key.algorithm == "ED25519_SHA_512"
    assert code_of(pem, pure, algorithm=PREHASHED) == "signature_invalid"


def test_the_vector_of_the_rfc_and_its_other_encodings() -> None:
    """RFC 8032 section 7.3; S is below the order, R in its one encoding."""
    public = bytes.fromhex("ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf")
    signature = bytes.fromhex(
        "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41"
        "31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406"
    )
    assert edwards.is_prehashed_signature(public, signature, b"abc")
    scalar = int.from_bytes(signature[32:], "little")
    malleable = signature[:32] + (scalar + ORDER).to_bytes(32, "little")
    for wrong in (malleable, b"\xff" * 32 + signature[32:], signature[:63], signature + b"\x00", b""):
        assert not edwards.is_prehashed_signature(public, wrong, b"abc")
    assert not edwards.is_prehashed_signature(public, signature, b"abd")


def test_a_listed_key_makes_what_it_is_listed_for_alone() -> None:
    _, signature = prehashed()
    entry = key_entry(pki.key("ed25519"), "ED25519_SHA_512")
    trust = parse_trust(bundle(keys=[entry]))
    with pytest.raises(VerificationError) as caught:
        verify_artifact(io.BytesIO(CONTENT), signature, trust)
    assert caught.value.code == "signature_invalid"


def test_a_file_that_does_not_fit_into_memory_is_not_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAXIMUM_MESSAGE_BYTES", len(CONTENT) - 1)
    for pem, signature in (ml_dsa("ML-DSA-44"), prehashed()):
        assert code_of(pem, signature) == "unsupported_size"


def test_what_an_ml_dsa_key_is_called() -> None:
    theirs, kind = SETS["ML-DSA-65"]
    public, _ = theirs.keygen()
    key = load_public_key(kind.from_public_bytes(public).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    assert describe_key(key) == "ML-DSA-65"
    assert len(thumbprint(key)) == 43
