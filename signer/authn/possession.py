"""Proof that whoever registers a public key for itself holds the private one: a signature that names the principal.

Without it anybody could claim a certificate or a key of somebody else, and make theirs ambiguous.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from signer.authn.request_keys import der_of, fingerprint

if TYPE_CHECKING:
    from signer.authn.request_keys import RequestKey

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

_PURPOSE: Final = "sealmark public credential v1"
_PSS: Final = padding.PSS(padding.MGF1(hashes.SHA512()), hashes.SHA512.digest_size)


def statement(principal: str, public_key: bytes) -> bytes:
    """What is signed: three lines (purpose, principal, hex SHA-256 of the DER SubjectPublicKeyInfo), each with a line
    feed."""
    return f"{_PURPOSE}\n{principal}\n{fingerprint(public_key)}\n".encode()


def prove(principal: str, key: PrivateKey) -> bytes:
    """The signature of the statement: Ed25519, DER ECDSA with the curve's hash, or RSA-PSS with SHA-512."""
    message = statement(principal, der_of(key.public_key()))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(message, ec.ECDSA(_hash_of(key.curve)))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, _PSS, hashes.SHA512())
    return key.sign(message)


def is_proved(principal: str, key: RequestKey, proof: bytes) -> bool:
    """Whether `proof` is that signature by the private half of `key`."""
    message = statement(principal, der_of(key))
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(proof, message, ec.ECDSA(_hash_of(key.curve)))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(proof, message, _PSS, hashes.SHA512())
        else:
            key.verify(proof, message)
    except InvalidSignature:
        return False
    return True


def _hash_of(curve: ec.EllipticCurve) -> hashes.HashAlgorithm:
    return hashes.SHA384() if isinstance(curve, ec.SECP384R1) else hashes.SHA256()
