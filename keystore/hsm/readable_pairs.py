"""Key pairs that the HSM makes for a caller's own use: session objects that are read once and destroyed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pkcs11 import Attribute

from keystore.algorithms import KeyKind
from keystore.api import DataKeyPair
from keystore.errors import HsmFault
from keystore.hsm.mechanisms import KEY_TYPES, generation
from keystore.hsm.public_keys import CURVES, public_key_info
from keystore.hsm.templates import readable_key_pair

if TYPE_CHECKING:
    from keystore.algorithms import KeySpec
    from keystore.hsm.session import Key, Session

_Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def make_readable_pair(session: Session, spec: KeySpec) -> DataKeyPair:
    """A pair of the HSM's own random. Raises: `HsmFault` if its halves do not belong together."""
    mechanism, parameters = generation(spec)
    public, private = session.generate_key_pair(mechanism, *readable_key_pair(KEY_TYPES[spec.kind], parameters))
    try:
        published = public_key_info(session, public, spec)
        key = _private_key(session, private, spec)
    except ValueError as error:
        raise HsmFault(f"the HSM's {spec.name} key cannot be read") from error
    finally:
        session.destroy(private)
        session.destroy(public)
    if key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != published:
        raise HsmFault(f"the halves of the HSM's {spec.name} key do not belong together")
    return DataKeyPair(published, key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def _private_key(session: Session, private: Key, spec: KeySpec) -> _Private:
    def number(attribute: Attribute) -> int:
        return int.from_bytes(session.read(private, attribute), "big")

    if spec.kind is KeyKind.EDWARDS:
        return ed25519.Ed25519PrivateKey.from_private_bytes(session.read(private, Attribute.VALUE))
    if spec.kind is KeyKind.EC:
        return ec.derive_private_key(number(Attribute.VALUE), CURVES[spec.curve or ""])
    return rsa.RSAPrivateNumbers(
        p=number(Attribute.PRIME_1),
        q=number(Attribute.PRIME_2),
        d=number(Attribute.PRIVATE_EXPONENT),
        dmp1=number(Attribute.EXPONENT_1),
        dmq1=number(Attribute.EXPONENT_2),
        iqmp=number(Attribute.COEFFICIENT),
        public_numbers=rsa.RSAPublicNumbers(number(Attribute.PUBLIC_EXPONENT), number(Attribute.MODULUS)),
    ).private_key()
