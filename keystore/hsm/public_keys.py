"""A public key object's attributes as DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256K1,
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute

from keystore.algorithms import KeyKind
from keystore.errors import HsmFault
from keystore.hsm.mechanisms import EC_PARAMETERS

if TYPE_CHECKING:
    from keystore.algorithms import KeySpec
    from keystore.hsm.session import Key, Session

CURVES = {"secp256r1": SECP256R1(), "secp384r1": SECP384R1(), "secp521r1": SECP521R1(), "secp256k1": SECP256K1()}


def public_key_info(session: Session, public: Key, spec: KeySpec) -> bytes:
    """DER SubjectPublicKeyInfo of the object. Raises: `HsmFault` if it is not a public key of that spec."""
    try:
        return _read(session, public, spec).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise HsmFault(f"the HSM's public key is not a valid {spec.name} key") from error


def _read(session: Session, public: Key, spec: KeySpec) -> EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey:
    if spec.kind is KeyKind.RSA:
        modulus = int.from_bytes(session.read(public, Attribute.MODULUS), "big")
        exponent = int.from_bytes(session.read(public, Attribute.PUBLIC_EXPONENT), "big")
        if modulus.bit_length() != spec.bits:
            raise ValueError("modulus of another length")
        return RSAPublicNumbers(exponent, modulus).public_key()
    if spec.curve is None or session.read(public, Attribute.EC_PARAMS) != EC_PARAMETERS[spec.curve]:
        raise ValueError("another curve")
    point = _octets(session.read(public, Attribute.EC_POINT))
    if spec.kind is KeyKind.EDWARDS:
        return Ed25519PublicKey.from_public_bytes(point)
    return EllipticCurvePublicKey.from_encoded_point(CURVES[spec.curve], point)


def _octets(der: bytes) -> bytes:
    """The content of a DER OCTET STRING of less than 256 octets (PKCS#11 v2.40, 2.3.3)."""
    header = 2 if der[1:2] < b"\x80" else 3
    if der[:1] != b"\x04" or (header == 3 and der[1:2] != b"\x81") or der[header - 1] != len(der) - header:
        raise ValueError("not a DER OCTET STRING")
    return der[header:]
