"""Keys for the tests of the token, and a check of raw signatures by `cryptography`, which the HSM side does not use."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keystore.algorithms import SIGNING_ALGORITHMS, Scheme, SigningAlgorithm
from keystore.api import BackingKey, GeneratedKey
from keystore.hsm import Token
from tests.hsm_support import DOMAIN

MESSAGE = b"what is signed"
P256 = SIGNING_ALGORITHMS["ECDSA_SHA_256"]
_HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}


def backing_key(version_id: str, spec: str, made: GeneratedKey, domain: str = DOMAIN) -> BackingKey:
    return BackingKey(version_id, spec, None if made.wrapped is None else domain, made.wrapped, made.token_label)


def new_key(token: Token, name: str, spec: str = "ECC_NIST_P256") -> tuple[BackingKey, bytes]:
    """(backing key, public key) of a key just made."""
    made = token.generate(spec, DOMAIN, f"key/{name}")
    return backing_key(name, spec, made), made.public_key


def input_of(algorithm: SigningAlgorithm, message: bytes = MESSAGE) -> bytes:
    """What `Token.sign` takes: the digest, or the message for PureEdDSA."""
    return message if algorithm.hash_name is None else hashlib.new(algorithm.hash_name, message).digest()


def verify(public_key: bytes, algorithm: SigningAlgorithm, signature: bytes, message: bytes = MESSAGE) -> None:
    """Raises `InvalidSignature`."""
    key = load_der_public_key(public_key)
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, message)
        return
    assert algorithm.hash_name is not None
    digest, known = input_of(algorithm, message), _HASHES[algorithm.hash_name]
    if isinstance(key, ec.EllipticCurvePublicKey):
        half = len(signature) // 2
        r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
        key.verify(utils.encode_dss_signature(r, s), digest, ec.ECDSA(utils.Prehashed(known)))
        return
    assert isinstance(key, rsa.RSAPublicKey)
    if algorithm.scheme is Scheme.PSS:
        pss = padding.PSS(mgf=padding.MGF1(known), salt_length=known.digest_size)
        key.verify(signature, digest, pss, utils.Prehashed(known))
    else:
        key.verify(signature, digest, padding.PKCS1v15(), utils.Prehashed(known))
