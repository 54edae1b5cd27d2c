"""Software keys behind the `SigningKey` protocol, for tests of what is built on it: no HSM and no keystore.

`LyingKey` returns what a broken or hostile HSM would; the keystore's own SigningKey would catch it, this one does not.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keystore.algorithms import KEY_SPECS, SIGNING_ALGORITHMS, KeyKind, Purpose, Scheme, algorithms_for
from keystore.api import SigningKeyInfo
from keystore.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_HASHES: Final = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
_CURVES: Final[dict[str | None, type[ec.EllipticCurve]]] = {
    "secp256r1": ec.SECP256R1,
    "secp384r1": ec.SECP384R1,
    "secp521r1": ec.SECP521R1,
    "secp256k1": ec.SECP256K1,
}

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


def generate(spec: str) -> PrivateKey:
    """A new private key of a spec of the closed table."""
    row = KEY_SPECS[spec]
    if row.kind is KeyKind.RSA:
        return rsa.generate_private_key(public_exponent=65537, key_size=row.bits)
    if row.kind is KeyKind.EC:
        return ec.generate_private_key(_CURVES[row.curve]())
    return ed25519.Ed25519PrivateKey.generate()


class SoftwareKey:
    """A `SigningKey` over a private key in memory."""

    def __init__(self, private_key: PrivateKey, info: SigningKeyInfo) -> None:
        self.private_key = private_key
        self.info = info
        self.messages: list[bytes] = []  # what was asked of it, for tests

    @property
    def public_key(self) -> PublicKey:
        return self.private_key.public_key()

    @property
    def public_key_der(self) -> bytes:
        return self.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, message: bytes) -> bytes:
        self.messages.append(message)
        if isinstance(self.private_key, ed25519.Ed25519PrivateKey):
            return self.private_key.sign(message)
        return self._sign_digest(hashlib.new(str(self.info.algorithm.hash_name), message).digest())

    def sign_digest(self, digest: bytes) -> bytes:
        return self._sign_digest(digest)

    def sign_digests(self, digests: Sequence[bytes]) -> Iterator[bytes]:
        return map(self.sign_digest, digests)

    def sign_mu(self, _mu: bytes) -> bytes:
        message = "only ML-DSA signs a message representative"
        raise Unsupported(message)

    def _sign_digest(self, digest: bytes) -> bytes:
        algorithm = self.info.algorithm
        if algorithm.hash_name is None or isinstance(self.private_key, ed25519.Ed25519PrivateKey):
            message = "PureEdDSA signs messages"
            raise Unsupported(message)
        chosen_hash = _HASHES[algorithm.hash_name]
        prehashed = utils.Prehashed(chosen_hash)
        if isinstance(self.private_key, ec.EllipticCurvePrivateKey):
            return self.private_key.sign(digest, ec.ECDSA(prehashed))
        if algorithm.scheme is Scheme.PSS:
            pss = padding.PSS(mgf=padding.MGF1(chosen_hash), salt_length=chosen_hash.digest_size)
            return self.private_key.sign(digest, pss, prehashed)
        return self.private_key.sign(digest, padding.PKCS1v15(), prehashed)


class LyingKey(SoftwareKey):
    """A `SigningKey` whose signatures went through `lie` on their way."""

    def __init__(self, private_key: PrivateKey, info: SigningKeyInfo, lie: Callable[[bytes], bytes]) -> None:
        super().__init__(private_key, info)
        self._lie = lie

    def sign(self, message: bytes) -> bytes:
        return self._lie(super().sign(message))

    def sign_digest(self, digest: bytes) -> bytes:
        return self._lie(super().sign_digest(digest))


def information(spec: str, purpose: Purpose, algorithm: str | None = None) -> SigningKeyInfo:
    """What such a key would say of itself; the algorithm by default is the purpose's first."""
    chosen = algorithm or algorithms_for(purpose, spec)[0]
    return SigningKeyInfo(
        key_id="6f0e7a52-6a0b-4a35-9d53-0d6ac1ee6f10",
        version_id="e2b6d1d2-7bb5-4a39-a0c5-40e6a6f4e7d3",
        version=1,
        spec=spec,
        purpose=purpose,
        algorithm=SIGNING_ALGORITHMS[chosen],
    )


def new_key(spec: str, purpose: Purpose, algorithm: str | None = None) -> SoftwareKey:
    """A fresh key."""
    return SoftwareKey(generate(spec), information(spec, purpose, algorithm))


@lru_cache(maxsize=64)
def software_key(spec: str, purpose: Purpose, algorithm: str | None = None) -> SoftwareKey:
    """The same key each time it is asked for: RSA keys take long to make."""
    return new_key(spec, purpose, algorithm)
