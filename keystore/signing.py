"""A private key opened for one intent: signs in the HSM and verifies what came back before anybody sees it.

No library checks what the HSM returned, and none downstream would notice a signature by another key: so every signature
is checked here with the published public key, where no format can forget it.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keystore.algorithms import Scheme
from keystore.errors import HsmFault, Unsupported
from keystore.software_keys import MLDSA_PUBLIC, verify_mu, verify_prehashed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

    from keystore.algorithms import SigningAlgorithm
    from keystore.api import BackingKey, HardwareToken, SigningKeyInfo

_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = MappingProxyType(
    {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
)
_HASHERS: Final = MappingProxyType({"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512})
_PREHASHED: Final = MappingProxyType({name: Prehashed(algorithm) for name, algorithm in _HASHES.items()})
_ECDSA: Final = MappingProxyType({name: ECDSA(prehashed) for name, prehashed in _PREHASHED.items()})
_PSS: Final = MappingProxyType(
    {
        name: padding.PSS(mgf=padding.MGF1(algorithm), salt_length=algorithm.digest_size)
        for name, algorithm in _HASHES.items()
    }
)
_PKCS1V15: Final = padding.PKCS1v15()
_AT_ONCE: Final = 16  # signatures for which a session of the HSM is borrowed: others wait for one


@lru_cache(maxsize=4_096)
def load_public_key(der: bytes) -> PublicKeyTypes:
    """The public key of a DER SubjectPublicKeyInfo. Raises `HsmFault` if it is none."""
    try:
        return load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise HsmFault("the published public key cannot be read") from exc


class HsmSigningKey:
    """Satisfies `keystore.api.SigningKey`. Made by `Keystore.signing_key` alone, for one durable intent."""

    __slots__ = ("_algorithm", "_backing", "_token", "info", "public_key")

    def __init__(self, token: HardwareToken, backing: BackingKey, info: SigningKeyInfo, public_key: bytes) -> None:
        self.info = info
        self.public_key = load_public_key(public_key)
        self._token = token
        self._backing = backing
        self._algorithm: SigningAlgorithm = info.algorithm

    def sign(self, message: bytes) -> bytes:
        """Hash, where the algorithm hashes, and sign. See `keystore.api.SigningKey`."""
        name = self._algorithm.hash_name
        return self._sign(message if name is None else _HASHERS[name](message).digest())

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign a digest of the algorithm's own hash. See `keystore.api.SigningKey`."""
        self._require_digest(digest)
        return self._sign(digest)

    def sign_digests(self, digests: Sequence[bytes]) -> Iterator[bytes]:
        """The same of each, for less. See `keystore.api.SigningKey`."""
        for start in range(0, len(digests), _AT_ONCE):
            some = digests[start : start + _AT_ONCE]
            for digest in some:
                self._require_digest(digest)
            yield from self._sign_each(some)

    def _require_digest(self, digest: bytes) -> None:
        name = self._algorithm.hash_name
        if name is None:
            raise Unsupported(f"{self._algorithm.name} signs whole messages, not digests", field="digest")
        size = _HASHES[name].digest_size
        if len(digest) != size:
            raise Unsupported(f"{self._algorithm.name} takes a {name} digest of {size} octets", field="digest")

    def sign_mu(self, _mu: bytes) -> bytes:
        """Refused: the HSM has no key that takes a message representative."""
        raise Unsupported(f"{self._algorithm.name} does not sign a message representative", field="mu")

    def _sign(self, data: bytes) -> bytes:
        """Sign what the mechanism takes."""
        return self._verified(self._token.sign(self._backing, self._algorithm, data), data)

    def _sign_each(self, inputs: Sequence[bytes]) -> Iterator[bytes]:
        """What was made before a fault is given out before it is raised: whoever keeps a record is to know of it."""
        made: list[bytes] = []
        fault: Exception | None = None
        try:
            self._token.sign_each(self._backing, self._algorithm, inputs, made)
        except Exception as error:  # noqa: BLE001 - raised below, whatever it is
            fault = error
        yield from map(self._verified, made, inputs)
        if fault is not None:
            raise fault

    def _verified(self, answer: bytes, data: bytes) -> bytes:
        """What the HSM returned, in its published form, once that verifies."""
        try:
            signature = _ecdsa_der(answer) if self._algorithm.scheme is Scheme.ECDSA else answer
            verify_signature(self.public_key, self._algorithm, signature, data)
        except (InvalidSignature, ValueError) as exc:
            raise HsmFault(f"the HSM's signature by key {self.info.key_id} does not verify") from exc
        return signature


def _ecdsa_der(answer: bytes) -> bytes:
    """r and s of equal length to `ECDSA-Sig-Value`, RFC 3279 section 2.2.3."""
    half, odd = divmod(len(answer), 2)
    if odd:
        raise ValueError("r and s are not of equal length")
    return encode_dss_signature(int.from_bytes(answer[:half], "big"), int.from_bytes(answer[half:], "big"))


def verify_signature(public_key: PublicKeyTypes, algorithm: SigningAlgorithm, signature: bytes, data: bytes) -> None:
    """`data` is the digest, or the message where the algorithm signs messages. Raises `InvalidSignature`, also where
    the public key is not of the algorithm's kind."""
    name = algorithm.hash_name or ""
    if isinstance(public_key, EllipticCurvePublicKey) and algorithm.scheme is Scheme.ECDSA:
        public_key.verify(signature, data, _ECDSA[name])
    elif isinstance(public_key, RSAPublicKey) and algorithm.scheme is Scheme.PKCS1V15:
        public_key.verify(signature, data, _PKCS1V15, _PREHASHED[name])
    elif isinstance(public_key, RSAPublicKey) and algorithm.scheme is Scheme.PSS:
        public_key.verify(signature, data, _PSS[name], _PREHASHED[name])
    elif isinstance(public_key, Ed25519PublicKey) and algorithm.scheme is Scheme.EDDSA:
        public_key.verify(signature, data)
    elif isinstance(public_key, Ed25519PublicKey) and algorithm.scheme is Scheme.EDDSA_PH:
        verify_prehashed(public_key, signature, data)
    elif isinstance(public_key, MLDSA_PUBLIC) and algorithm.scheme is Scheme.ML_DSA:
        public_key.verify(signature, data)
    else:
        raise InvalidSignature("the public key is of another kind")


def is_signature(public_key: bytes, algorithm: SigningAlgorithm, signature: bytes, data: bytes) -> bool:
    """Whether this is a signature in its published form, over what the mechanism takes (a digest, or a message).

    `public_key` is DER SubjectPublicKeyInfo. False for octets that are no signature at all, too.
    """
    try:
        verify_signature(load_public_key(public_key), algorithm, signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def is_signature_over_mu(public_key: bytes, _algorithm: SigningAlgorithm, signature: bytes, mu: bytes) -> bool:
    """The same for ML-DSA over a message representative of 64 octets (FIPS 204 section 6.2)."""
    try:
        verify_mu(load_public_key(public_key), signature, mu)
    except InvalidSignature:
        return False
    return True
