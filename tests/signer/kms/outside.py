"""The other end: signatures and MACs verified, ciphertexts opened and made, by libraries and keys of others."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from Crypto.Hash import SHA512
from Crypto.Signature import eddsa
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

HASHES: Final = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512(), "1": hashes.SHA1()}  # noqa: S303 - OAEP's


def verify(public_key: bytes, algorithm: str, message: bytes, signature: bytes) -> None:
    """Raises unless the signature over the message is the key's. Ed25519ph: `message` is what the caller sent."""
    key = load_der_public_key(public_key)
    chosen = HASHES.get(algorithm.rpartition("_")[2])
    if isinstance(key, rsa.RSAPublicKey):
        assert chosen is not None
        pss = padding.PSS(padding.MGF1(chosen), chosen.digest_size)
        key.verify(signature, message, pss if "PSS" in algorithm else padding.PKCS1v15(), chosen)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        assert chosen is not None
        key.verify(signature, message, ec.ECDSA(chosen))
    elif isinstance(key, ed25519.Ed25519PublicKey):
        theirs = eddsa.new(eddsa.import_public_key(key.public_bytes(Encoding.Raw, PublicFormat.Raw)), "rfc8032")
        theirs.verify(SHA512.new(message) if "_PH_" in algorithm else message, signature)
    else:
        assert isinstance(key, mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey)
        key.verify(signature, message)


def content(public_key: bytes, algorithm: str, message_type: str, message: bytes) -> bytes:
    """What is sent in place of a message, by its type."""
    if message_type == "RAW":
        return message
    if message_type == "DIGEST":
        return hashlib.new(f"sha{algorithm.rpartition('_')[2]}", message).digest()
    key = load_der_public_key(public_key)
    assert isinstance(key, mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey)
    hasher = mldsa.MLDSAMuHasher(key)
    hasher.update(message)
    return hasher.finalize()


def oaep(algorithm: str) -> padding.OAEP:
    chosen = HASHES[algorithm.rpartition("_")[2]]
    return padding.OAEP(padding.MGF1(chosen), chosen, None)


def open_symmetric(material: bytes, ciphertext: bytes, context: bytes) -> bytes:
    """By the form that docs/adr/0033 writes down: 34 octets of header, 12 of nonce; the header and the context are
    associated data."""
    return AESGCM(material).decrypt(ciphertext[34:46], ciphertext[46:], ciphertext[:34] + context)


def mac(material: bytes, algorithm: str, message: bytes) -> bytes:
    return hmac.new(material, message, f"sha{algorithm.rpartition('_')[2]}").digest()


def public_half(private_key: bytes) -> bytes:
    """Of a private key in DER PKCS #8, its DER SubjectPublicKeyInfo."""
    loaded = load_der_private_key(private_key, None)
    return loaded.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
