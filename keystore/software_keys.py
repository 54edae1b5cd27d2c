"""Keys of `protection: software`: the mathematics of specs that the HSM module lacks, and nothing of where keys lie.

A private key is its seed: 32 octets for Ed25519 (RFC 8032) and ML-DSA (FIPS 204), 64 for ML-KEM (FIPS 203, d and z).
The libraries keep a loaded key in memory of their own and wipe it when it is dropped; what Python makes of octets on
the way stays until its memory is used again.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA44PrivateKey,
    MLDSA44PublicKey,
    MLDSA65PrivateKey,
    MLDSA65PublicKey,
    MLDSA87PrivateKey,
    MLDSA87PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
    MLKEM1024PrivateKey,
    MLKEM1024PublicKey,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keystore.algorithms import KeyKind, Scheme
from keystore.errors import Undecipherable, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystore.algorithms import KeySpec, SigningAlgorithm

MLDSAPrivateKey: TypeAlias = MLDSA44PrivateKey | MLDSA65PrivateKey | MLDSA87PrivateKey
MLKEMPrivateKey: TypeAlias = MLKEM768PrivateKey | MLKEM1024PrivateKey
PrivateKey: TypeAlias = Ed25519PrivateKey | MLDSAPrivateKey | MLKEMPrivateKey
MLDSA_PUBLIC: Final = (MLDSA44PublicKey, MLDSA65PublicKey, MLDSA87PublicKey)
MLKEM_PUBLIC: Final = (MLKEM768PublicKey, MLKEM1024PublicKey)
MU_OCTETS: Final = 64  # FIPS 204, algorithm 7, step 6


@dataclass(frozen=True, slots=True)
class _Kind:
    """How keys of one spec are made: the library's class, and the length of a seed in octets."""

    private: type[MLDSAPrivateKey | MLKEMPrivateKey]
    seed: int


_KINDS: Final[Mapping[tuple[KeyKind, int], _Kind]] = MappingProxyType(
    {
        (KeyKind.ML_DSA, 44): _Kind(MLDSA44PrivateKey, 32),
        (KeyKind.ML_DSA, 65): _Kind(MLDSA65PrivateKey, 32),
        (KeyKind.ML_DSA, 87): _Kind(MLDSA87PrivateKey, 32),
        (KeyKind.ML_KEM, 768): _Kind(MLKEM768PrivateKey, 64),
        (KeyKind.ML_KEM, 1024): _Kind(MLKEM1024PrivateKey, 64),
    }
)


def seed_octets(spec: KeySpec) -> int:
    """How long the seed of a spec is. Raises `Unsupported` for a spec of which there are no software keys."""
    if spec.kind is KeyKind.EDWARDS:
        return 32
    kind = _KINDS.get((spec.kind, spec.bits))
    if kind is None:
        raise Unsupported(f"there are no software keys of {spec.name}", field="spec")
    return kind.seed


def load(spec: KeySpec, seed: bytes) -> PrivateKey:
    """The private key of a seed. Raises `Unsupported`; `ValueError` for a seed of another length."""
    if len(seed) != seed_octets(spec):
        raise ValueError("a seed of another length")
    if spec.kind is KeyKind.EDWARDS:
        return Ed25519PrivateKey.from_private_bytes(seed)
    return _KINDS[spec.kind, spec.bits].private.from_seed_bytes(seed)


def public_half(key: PrivateKey) -> bytes:
    """DER SubjectPublicKeyInfo (RFC 8410, RFC 9881, RFC 9935)."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def sign(key: PrivateKey, algorithm: SigningAlgorithm, message: bytes) -> bytes:
    """A signature over the message itself, by the algorithm's scheme. Raises `Unsupported` for a key of another."""
    if algorithm.scheme is Scheme.ML_DSA and isinstance(key, MLDSAPrivateKey):
        return key.sign(message)
    if algorithm.scheme is Scheme.EDDSA and isinstance(key, Ed25519PrivateKey):
        return key.sign(message)
    if algorithm.scheme is Scheme.EDDSA_PH and isinstance(key, Ed25519PrivateKey):
        return _sign_prehashed(key, message)
    raise Unsupported(f"a key of another kind signs with {algorithm.name}", field="algorithm")


def sign_mu(key: PrivateKey, mu: bytes) -> bytes:
    """ML-DSA over a message representative that the caller worked out (FIPS 204 section 6.2, external μ)."""
    if not isinstance(key, MLDSAPrivateKey):
        raise Unsupported("only an ML-DSA key signs a message representative", field="mu")
    require_mu(mu)
    return key.sign_mu(mu)


def require_mu(mu: bytes) -> None:
    """Raises `Unsupported` unless it is as long as a message representative."""
    if len(mu) != MU_OCTETS:
        raise Unsupported(f"a message representative has {MU_OCTETS} octets, this one has {len(mu)}", field="mu")


def encapsulate(public_key: object) -> tuple[bytes, bytes]:
    """(shared secret of 32 octets, ciphertext), FIPS 203 algorithm 20."""
    if not isinstance(public_key, MLKEM_PUBLIC):
        raise Unsupported("only an ML-KEM key encapsulates", field="key")
    return public_key.encapsulate()


def decapsulate(key: PrivateKey, ciphertext: bytes) -> bytes:
    """The shared secret, 32 octets; of a ciphertext that was changed another one (FIPS 203, implicit rejection).

    Raises `Undecipherable` for one of another length.
    """
    if not isinstance(key, MLKEMPrivateKey):
        raise Unsupported("only an ML-KEM key decapsulates", field="key")
    try:
        return key.decapsulate(ciphertext)
    except ValueError:
        raise Undecipherable("the ciphertext is not one that this key opens") from None


def _sign_prehashed(key: Ed25519PrivateKey, message: bytes) -> bytes:
    # Imported here: of all workers only those of a deployment that has such keys need it.
    from nacl.bindings import (
        crypto_sign_ed25519ph_final_create,
        crypto_sign_ed25519ph_state,
        crypto_sign_ed25519ph_update,
    )

    state = crypto_sign_ed25519ph_state()
    crypto_sign_ed25519ph_update(state, message)
    return crypto_sign_ed25519ph_final_create(state, key.private_bytes_raw() + key.public_key().public_bytes_raw())


def verify_prehashed(public_key: Ed25519PublicKey, signature: bytes, message: bytes) -> None:
    """Ed25519ph, RFC 8032 section 5.1.7. Raises `InvalidSignature`."""
    from nacl.bindings import (
        crypto_sign_ed25519ph_final_verify,
        crypto_sign_ed25519ph_state,
        crypto_sign_ed25519ph_update,
    )
    from nacl.exceptions import CryptoError

    state = crypto_sign_ed25519ph_state()
    crypto_sign_ed25519ph_update(state, message)
    try:
        good = crypto_sign_ed25519ph_final_verify(state, signature, public_key.public_bytes_raw())
    except (CryptoError, ValueError) as exc:
        raise InvalidSignature from exc
    if not good:
        raise InvalidSignature


def verify_mu(public_key: object, signature: bytes, mu: bytes) -> None:
    """ML-DSA over a message representative. Raises `InvalidSignature`, `Unsupported` for another kind of key."""
    if not isinstance(public_key, MLDSA_PUBLIC):
        raise Unsupported("only an ML-DSA key signs a message representative", field="mu")
    require_mu(mu)
    public_key.verify_mu(signature, mu)
