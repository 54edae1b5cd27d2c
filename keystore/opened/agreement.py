"""An EC key for key agreement, opened for one intent: the HSM multiplies, after the other side's point was checked."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from keystore.algorithms import KEY_SPECS
from keystore.errors import Unsupported

if TYPE_CHECKING:
    from keystore.api import BackingKey, HardwareToken, OpenedKeyInfo

_CURVES: Final = MappingProxyType({spec.name: spec.curve for spec in KEY_SPECS.values() if spec.curve is not None})


class HsmAgreementKey:
    """Satisfies `keystore.api.AgreementKey`."""

    __slots__ = ("_backing", "_token", "info")

    def __init__(self, token: HardwareToken, backing: BackingKey, info: OpenedKeyInfo) -> None:
        self.info = info
        self._token = token
        self._backing = backing

    def shared_secret(self, peer: bytes) -> bytes:
        """See `keystore.api.AgreementKey`. Raises: `Unsupported`, as `peer_point`."""
        return self._token.agree(self._backing, peer_point(self.info.spec, peer))


def peer_point(spec: str, peer: bytes) -> bytes:
    """The other side's point, uncompressed (SEC 1 section 2.3.3), known to be on the key's own curve.

    A point off the curve would give the private key away bit by bit. `peer` is DER SubjectPublicKeyInfo.
    Raises: `Unsupported` for what is no public key, of another curve, or off it.
    """
    try:
        key = load_der_public_key(peer)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Unsupported(_wanted(spec), field="public_key") from error
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name != _CURVES.get(spec):
        raise Unsupported(_wanted(spec), field="public_key")
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != peer:
        raise Unsupported(f"{_wanted(spec)}, in its one encoding: named curve, uncompressed point", field="public_key")
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _wanted(spec: str) -> str:
    return f"give the other side's public key as DER SubjectPublicKeyInfo, a point of the curve of {spec}"
