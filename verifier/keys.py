"""Public keys: which ones are strong enough to be believed, and the one place where a signature is checked."""

from __future__ import annotations

import base64
import hashlib
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey, MLDSA65PublicKey, MLDSA87PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from verifier import edwards, moduli
from verifier.algorithms import ALGORITHMS, HASHES, KeyKind, SignatureAlgorithm

if TYPE_CHECKING:
    from collections.abc import Mapping

MLDSAPublicKey: TypeAlias = MLDSA44PublicKey | MLDSA65PublicKey | MLDSA87PublicKey
PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | MLDSAPublicKey

MINIMUM_RSA_BITS: Final = 2048
MAXIMUM_RSA_BITS: Final = 8192  # a bigger modulus buys nothing and costs whoever verifies
MINIMUM_RSA_EXPONENT: Final = 65537  # FIPS 186-5 section 5.1: 2^16 < e < 2^256, odd
MAXIMUM_RSA_EXPONENT: Final = 2**256
CURVES: Final = frozenset({"secp256r1", "secp384r1", "secp521r1", "secp256k1"})
_KINDS: Final = "only RSA, ECDSA, Ed25519 and ML-DSA keys are allowed"
# Parameter set → its name and its signatures' length in bytes (FIPS 204, table 2).
_ML_DSA: Final[Mapping[type[MLDSAPublicKey], tuple[str, int]]] = MappingProxyType(
    {
        MLDSA44PublicKey: ("ML-DSA-44", 2420),
        MLDSA65PublicKey: ("ML-DSA-65", 3309),
        MLDSA87PublicKey: ("ML-DSA-87", 4627),
    }
)
_PEM: Final = re.compile(rb"-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]*)-----END PUBLIC KEY-----")


class WeakKeyError(ValueError):
    """A public key that this package never believes: too short, a bad exponent, a curve or kind outside the list."""


def check_public_key(key: object) -> PublicKey:
    """The same key, if it is one that may sign anything at all. WeakKeyError says why not."""
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        check_rsa_numbers(numbers.n, numbers.e)
        return key
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in CURVES:
            raise WeakKeyError(f"the curve {key.curve.name} is not allowed")
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        if not edwards.is_public_key(key.public_bytes_raw()):
            raise WeakKeyError("an Ed25519 key must be a point of the curve's prime order, in its one encoding")
        return key
    if isinstance(key, MLDSAPublicKey):
        return key
    raise WeakKeyError(_KINDS)


def check_rsa_numbers(modulus: int, exponent: int) -> None:
    """WeakKeyError for a modulus or an exponent that no RSA key may have (FIPS 186-5 section 5.1, SP 800-89)."""
    if not MINIMUM_RSA_BITS <= modulus.bit_length() <= MAXIMUM_RSA_BITS:
        raise WeakKeyError(f"an RSA key must have {MINIMUM_RSA_BITS} to {MAXIMUM_RSA_BITS} bits")
    if not MINIMUM_RSA_EXPONENT <= exponent < MAXIMUM_RSA_EXPONENT or exponent % 2 == 0:
        raise WeakKeyError("an RSA key's exponent must be odd and at least 65537, below 2^256")
    if fault := moduli.fault_of(modulus):
        raise WeakKeyError(f"the RSA key cannot be safe: {fault}")


def load_public_key(encoded: bytes) -> PublicKey:
    """A checked key from DER SubjectPublicKeyInfo (RFC 5280 section 4.1). ValueError for one that is not.

    Only the one encoding is read that the key would be written in: named curves and uncompressed points (RFC 5480), RSA
    keys as rsaEncryption. An RSA key that is bound to PSS parameters is refused: the library would forget them.
    """
    try:
        key = check_public_key(load_der_public_key(encoded))
    except UnsupportedAlgorithm:
        raise WeakKeyError(_KINDS) from None
    if subject_public_key_info(key) != encoded:
        raise ValueError("a public key is not in the one encoding that is read")
    return key


def load_pem_public_key(data: bytes) -> PublicKey:
    """A checked key from the one PEM block `PUBLIC KEY` in `data`. ValueError for anything else."""
    blocks = _PEM.findall(data)
    if len(blocks) != 1:
        raise ValueError("it does not hold one PEM public key")
    return load_public_key(base64.b64decode(b"".join(blocks[0].split()), validate=True))


def key_kind(key: PublicKey) -> KeyKind:
    """The column of the algorithm list that the key belongs to."""
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "EC"
    return "EDWARDS" if isinstance(key, ed25519.Ed25519PublicKey) else "ML_DSA"


def describe_key(key: PublicKey) -> str:
    """The key's kind and size in a person's words: `RSA 3072`, `EC secp256r1`, `Ed25519`, `ML-DSA-65`."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    return "Ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else parameter_set(key)


def parameter_set(key: MLDSAPublicKey) -> str:
    """The set's name in FIPS 204: `ML-DSA-44`, `ML-DSA-65`, `ML-DSA-87`."""
    return next(name for kind, (name, _) in _ML_DSA.items() if isinstance(key, kind))


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
    if isinstance(key, ed25519.Ed25519PublicKey):
        return len(signature) == 64
    return len(signature) == next(size for kind, (_, size) in _ML_DSA.items() if isinstance(key, kind))


def check_message(algorithm: SignatureAlgorithm, key: PublicKey, signature: bytes, message: bytes) -> None:
    """InvalidSignature unless `signature` is this key's over the whole message under this algorithm."""
    if algorithm.hash_name is not None:
        check_digest(algorithm, key, signature, hashlib.new(algorithm.hash_name, message).digest())
        return
    if key_kind(key) != algorithm.key_kind:
        raise InvalidSignature
    if algorithm.scheme == "EDDSA_PH":
        if not edwards.is_prehashed_signature(_raw_octets(key), signature, message):
            raise InvalidSignature
        return
    if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise InvalidSignature  # those sign digests
    key.verify(signature, message)  # RFC 8032, pure; FIPS 204, with an empty context


def _raw_octets(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def check_digest(algorithm: SignatureAlgorithm, key: PublicKey, signature: bytes, digest: bytes) -> None:
    """InvalidSignature unless `signature` is this key's over the digest. Never for those that sign messages.

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
