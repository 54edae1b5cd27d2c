"""Public keys: which ones are strong enough to be believed, and the one place where a signature is checked."""

from __future__ import annotations

import hashlib
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from verifier.algorithms import ALGORITHMS, HASHES, KeyKind, SignatureAlgorithm

PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

MINIMUM_RSA_BITS = 2048
MAXIMUM_RSA_BITS = 8192  # a bigger modulus buys nothing and costs whoever verifies
MINIMUM_RSA_EXPONENT = 65537  # FIPS 186-5 section 5.1: 2^16 < e < 2^256, odd
MAXIMUM_RSA_EXPONENT = 2**256
CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1", "secp256k1"})


class WeakKeyError(ValueError):
    """A public key that this package never believes: too short, a bad exponent, a curve or kind outside the list."""


def check_public_key(key: object) -> PublicKey:
    """The same key, if it is one that may sign anything at all. WeakKeyError says why not."""
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        if not MINIMUM_RSA_BITS <= key.key_size <= MAXIMUM_RSA_BITS or numbers.n % 2 == 0:
            raise WeakKeyError(f"an RSA key must have {MINIMUM_RSA_BITS} to {MAXIMUM_RSA_BITS} bits")
        if not MINIMUM_RSA_EXPONENT <= numbers.e < MAXIMUM_RSA_EXPONENT or numbers.e % 2 == 0:
            raise WeakKeyError("an RSA key's exponent must be odd and at least 65537")
        return key
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in CURVES:
            raise WeakKeyError(f"the curve {key.curve.name} is not allowed")
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    raise WeakKeyError("only RSA, ECDSA and Ed25519 keys are allowed")


def load_public_key(subject_public_key_info: bytes) -> PublicKey:
    """A checked key from DER SubjectPublicKeyInfo (RFC 5280 section 4.1). ValueError for one that is not."""
    try:
        return check_public_key(load_der_public_key(subject_public_key_info))
    except UnsupportedAlgorithm:
        raise WeakKeyError("only RSA, ECDSA and Ed25519 keys are allowed") from None


def key_kind(key: PublicKey) -> KeyKind:
    """The column of the algorithm list that the key belongs to."""
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA"
    return "EC" if isinstance(key, ec.EllipticCurvePublicKey) else "EDWARDS"


def describe_key(key: PublicKey) -> str:
    """The key's kind and size in a person's words: `RSA 3072`, `EC secp256r1`, `Ed25519`."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return f"EC {key.curve.name}" if isinstance(key, ec.EllipticCurvePublicKey) else "Ed25519"


def subject_public_key_info(key: PublicKey) -> bytes:
    """DER SubjectPublicKeyInfo: two keys are the same key when these bytes are equal."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def fingerprint(key: PublicKey) -> str:
    """SHA-256 of the SubjectPublicKeyInfo, lower-case hex."""
    return hashlib.sha256(subject_public_key_info(key)).hexdigest()


def algorithms_of(key: PublicKey) -> tuple[SignatureAlgorithm, ...]:
    """Every row of the list that the kind of this key can make."""
    return tuple(row for row in ALGORITHMS.values() if row.key_kind == key_kind(key))


def may_be_signature_of(key: PublicKey, signature: bytes) -> bool:
    """Whether the bytes have the length that this key's signatures have: saves digests that no key could use."""
    if isinstance(key, rsa.RSAPublicKey):
        return len(signature) == (key.key_size + 7) // 8
    if isinstance(key, ec.EllipticCurvePublicKey):
        # SEQUENCE of two INTEGERs, each at most one byte longer than the field, and headers of 2 to 3 bytes.
        return 8 <= len(signature) <= 2 * ((key.key_size + 7) // 8 + 3) + 3 and signature[:1] == b"\x30"
    return len(signature) == 64


def check_message(algorithm: SignatureAlgorithm, key: PublicKey, signature: bytes, message: bytes) -> None:
    """InvalidSignature unless `signature` is this key's over the whole message under this algorithm."""
    if algorithm.hash_name is not None:
        check_digest(algorithm, key, signature, hashlib.new(algorithm.hash_name, message).digest())
        return
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise InvalidSignature
    key.verify(signature, message)


def check_digest(algorithm: SignatureAlgorithm, key: PublicKey, signature: bytes, digest: bytes) -> None:
    """InvalidSignature unless `signature` is this key's over the digest. Never for Ed25519, which signs messages.

    PSS has MGF1 with the same hash and a salt as long as the hash (RFC 7518 section 3.5), ECDSA is DER (RFC 3279
    section 2.2.3).
    """
    if algorithm.hash_name is None or key_kind(key) != algorithm.key_kind:
        raise InvalidSignature
    digest_of = HASHES[algorithm.hash_name]
    if isinstance(key, rsa.RSAPublicKey):
        scheme: padding.AsymmetricPadding = padding.PKCS1v15()
        if algorithm.scheme == "PSS":
            scheme = padding.PSS(mgf=padding.MGF1(digest_of), salt_length=digest_of.digest_size)
        key.verify(signature, digest, scheme, Prehashed(digest_of))
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, digest, ec.ECDSA(Prehashed(digest_of)))
