"""A private key that lives in the HSM, in the shape that libraries want.

`cryptography`'s X.509 builders, signxml and PyJWT take private keys of `cryptography`'s types. Each class here is one:
it signs with a `SigningKey`, shows its public half, and refuses everything that would need the private numbers. A key
signs by its own algorithm alone, so a padding or a hash that a library chose otherwise is refused, and so is a digest
in place of the message. What the HSM returned is checked by the `SigningKey`, not here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding

from keystore.algorithms import KeyKind, Scheme
from signer.errors import Unprocessable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed
    from cryptography.utils import Buffer

    from keystore.algorithms import SigningAlgorithm
    from keystore.api import SigningKey

HASHES: Final[dict[str, hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


def own_hash(algorithm: SigningAlgorithm) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    """The hash that the algorithm names; None for PureEdDSA, as X.509 builders want it."""
    return None if algorithm.hash_name is None else HASHES[algorithm.hash_name]


def own_padding(algorithm: SigningAlgorithm) -> rsa_padding.PKCS1v15 | rsa_padding.PSS | None:
    """The padding of an RSA algorithm, else None. PSS: MGF1 and salt by the same hash (RFC 8017 section 9.1)."""
    chosen_hash = own_hash(algorithm)
    if algorithm.scheme is Scheme.PSS and chosen_hash is not None:
        return rsa_padding.PSS(mgf=rsa_padding.MGF1(chosen_hash), salt_length=chosen_hash.digest_size)
    return rsa_padding.PKCS1v15() if algorithm.scheme is Scheme.PKCS1V15 else None


def _refuse_private_half() -> NoReturn:
    message = "the private key lives in the HSM: it signs, and does nothing else"
    raise Unprocessable(message)


class _HsmKey:
    """What the three shapes share: the `SigningKey`, and a refusal of everything but signing."""

    __slots__ = ("signing_key",)

    def __init__(self, signing_key: SigningKey) -> None:
        self.signing_key = signing_key

    def private_numbers(self) -> NoReturn:
        _refuse_private_half()

    def private_bytes(self, *arguments: object, **options: object) -> NoReturn:
        _refuse_private_half()

    def private_bytes_raw(self) -> NoReturn:
        _refuse_private_half()

    def decrypt(self, *arguments: object, **options: object) -> NoReturn:
        _refuse_private_half()

    def exchange(self, *arguments: object, **options: object) -> NoReturn:
        _refuse_private_half()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def _require_own(self, asked: object, own: object, what: str) -> None:
        """A `Prehashed` is of another type than every hash, so it is refused here too."""
        if type(asked) is not type(own) or asked != own:
            message = f"the key signs messages by {self.signing_key.info.algorithm.name} alone, not by another {what}"
            raise Unprocessable(message)


class HsmRsaKey(_HsmKey, rsa.RSAPrivateKey):
    """An RSA key in the HSM. `sign` takes the padding and the hash of its one algorithm."""

    __slots__ = ("_public_key",)

    def __init__(self, signing_key: SigningKey, public_key: rsa.RSAPublicKey) -> None:
        super().__init__(signing_key)
        self._public_key = public_key

    def public_key(self) -> rsa.RSAPublicKey:
        return self._public_key

    @property
    def key_size(self) -> int:
        return self._public_key.key_size

    def sign(
        self,
        data: Buffer,
        padding: rsa_padding.AsymmetricPadding,
        algorithm: Prehashed | hashes.HashAlgorithm | NoDigestInfo,
    ) -> bytes:
        """RSA octets (RFC 8017 section 8)."""
        self._require_own(padding, own_padding(self.signing_key.info.algorithm), "padding")
        self._require_own(algorithm, own_hash(self.signing_key.info.algorithm), "hash")
        return self.signing_key.sign(bytes(data))


class HsmEllipticCurveKey(_HsmKey, ec.EllipticCurvePrivateKey):
    """A key on a Weierstrass curve in the HSM. `sign` takes ECDSA with the hash of its one algorithm."""

    __slots__ = ("_public_key",)

    def __init__(self, signing_key: SigningKey, public_key: ec.EllipticCurvePublicKey) -> None:
        super().__init__(signing_key)
        self._public_key = public_key

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public_key

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public_key.curve

    @property
    def key_size(self) -> int:
        return self._public_key.key_size

    def sign(self, data: Buffer, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """DER `ECDSA-Sig-Value` (RFC 3279 section 2.2.3)."""
        if not isinstance(signature_algorithm, ec.ECDSA) or signature_algorithm.deterministic_signing:
            self._require_own(signature_algorithm, None, "scheme")
        self._require_own(signature_algorithm.algorithm, own_hash(self.signing_key.info.algorithm), "hash")
        return self.signing_key.sign(bytes(data))


class HsmEd25519Key(_HsmKey, ed25519.Ed25519PrivateKey):
    """An Ed25519 key in the HSM."""

    __slots__ = ("_public_key",)

    def __init__(self, signing_key: SigningKey, public_key: ed25519.Ed25519PublicKey) -> None:
        super().__init__(signing_key)
        self._public_key = public_key

    def public_key(self) -> ed25519.Ed25519PublicKey:
        return self._public_key

    def sign(self, data: Buffer) -> bytes:
        """64 octets (RFC 8032 section 5.1.6)."""
        return self.signing_key.sign(bytes(data))


HsmKey = HsmRsaKey | HsmEllipticCurveKey | HsmEd25519Key


def private_key_for(key: SigningKey) -> HsmKey:
    """The key in the shape of `cryptography`'s private keys.

    Raises: `Unprocessable` where the algorithm is not one of the key's kind, or the kind has no such shape.
    """
    public_key = key.public_key
    kind = key.info.algorithm.kind
    if isinstance(public_key, rsa.RSAPublicKey) and kind is KeyKind.RSA:
        return HsmRsaKey(key, public_key)
    if isinstance(public_key, ec.EllipticCurvePublicKey) and kind is KeyKind.EC:
        return HsmEllipticCurveKey(key, public_key)
    if isinstance(public_key, ed25519.Ed25519PublicKey) and kind is KeyKind.EDWARDS:
        return HsmEd25519Key(key, public_key)
    message = f"{key.info.algorithm.name} is not an algorithm of this kind of key"
    raise Unprocessable(message, field="algorithm")
