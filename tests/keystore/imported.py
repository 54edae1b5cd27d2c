"""What a caller does that imports key material: keys of its own, wrapped as AWS KMS documents it."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_public_key,
    load_pem_private_key,
)

from keystore.algorithms import KEY_SPECS, KeyKind, KeyUse
from tests.keystore.support import TokenProxy

if TYPE_CHECKING:
    from keystore.api import GeneratedKey

FIXED: Final = Path(__file__).parent / "fixed_keys"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_HASHES: Final = {"SHA_1": hashes.SHA1(), "SHA_256": hashes.SHA256()}  # noqa: S303 - what AWS KMS offers
_CURVES: Final[dict[str | None, type[ec.EllipticCurve]]] = {
    "secp256r1": ec.SECP256R1,
    "secp384r1": ec.SECP384R1,
    "secp521r1": ec.SECP521R1,
    "secp256k1": ec.SECP256K1,
}


@lru_cache
def private_key(spec: str) -> PrivateKey:
    """The one key of a spec that these tests import. Those of RSA are written down: to make them takes seconds."""
    row = KEY_SPECS[spec]
    if row.kind is KeyKind.RSA:
        loaded = load_pem_private_key((FIXED / f"rsa-{row.bits}.pem").read_bytes(), None)
        assert isinstance(loaded, rsa.RSAPrivateKey)
        return loaded
    if row.kind is KeyKind.EC:
        return ec.generate_private_key(_CURVES[row.curve]())
    return ed25519.Ed25519PrivateKey.generate()


def pkcs8(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def material_of(spec: str) -> bytes:
    """Fresh octets of a secret key, or the one private key of the spec."""
    row = KEY_SPECS[spec]
    return pkcs8(private_key(spec)) if row.has_public_key else os.urandom(row.bits // 8)


def wrapped(public_key: bytes, algorithm: str, material: bytes) -> bytes:
    """The material as `ImportKeyMaterial` takes it."""
    key = load_der_public_key(public_key)
    assert isinstance(key, rsa.RSAPublicKey)
    chosen = _HASHES[f"SHA_{algorithm.rpartition('_')[2]}"]
    oaep = padding.OAEP(padding.MGF1(chosen), chosen, None)
    if algorithm.startswith("RSAES"):
        return key.encrypt(material, oaep)
    carrier = os.urandom(32)
    return key.encrypt(carrier, oaep) + aes_key_wrap_with_padding(carrier, material)


class OneWrappingKey(TokenProxy):
    """A token that makes one wrapping key of each spec and gives it out again: they take the time that RSA takes."""

    _made: Final[dict[tuple[str, str, str], GeneratedKey]] = {}

    def generate(self, spec: str, domain_label: str, token_label: str, use: KeyUse = KeyUse.SIGN) -> GeneratedKey:
        if not token_label.startswith("import/"):
            return super().generate(spec, domain_label, token_label, use)
        name = (self.info.serial, domain_label, spec)
        if name not in self._made:
            self._made[name] = super().generate(spec, domain_label, token_label, use)
        return self._made[name]
