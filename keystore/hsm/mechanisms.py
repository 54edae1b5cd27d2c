"""The closed table from (key spec, signing algorithm) to what the HSM is asked for, and from spec to key generation.

A pair that is not here never reaches C_SignInit: SoftHSM does not check a key's type against a mechanism, and an EC key
with a DSA mechanism ends its process.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pkcs11 import MGF, Attribute, KeyType, Mechanism
from pkcs11.mechanisms import KDF, GCMParams

from keystore.algorithms import (
    KEY_SPECS,
    SIGNING_ALGORITHMS,
    SIGNING_PURPOSES,
    KeyKind,
    KeyUse,
    Purpose,
    Scheme,
    algorithms_for,
)
from keystore.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystore.algorithms import KeySpec, SigningAlgorithm
    from keystore.hsm.attributes import Template

# DER DigestInfo up to the digest (RFC 8017 section 9.2, note 1).
_DIGEST_INFO: Final = MappingProxyType(
    {
        "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
        "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
        "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
    }
)
_PSS_HASH: Final = MappingProxyType(
    {
        "sha256": (Mechanism.SHA256, MGF.SHA256),
        "sha384": (Mechanism.SHA384, MGF.SHA384),
        "sha512": (Mechanism.SHA512, MGF.SHA512),
    }
)
# DER: object identifiers of RFC 5480 section 2.1.1.1 and SEC 2; a PrintableString for Edwards (PKCS#11 v3.0, 2.3.5).
EC_PARAMETERS: Final = MappingProxyType(
    {
        "secp256r1": bytes.fromhex("06082a8648ce3d030107"),
        "secp384r1": bytes.fromhex("06052b81040022"),
        "secp521r1": bytes.fromhex("06052b81040023"),
        "secp256k1": bytes.fromhex("06052b8104000a"),
        "ed25519": b"\x13\x0cedwards25519",
    }
)
KEY_TYPES: Final = MappingProxyType(
    {
        KeyKind.RSA: KeyType.RSA,
        KeyKind.EC: KeyType.EC,
        KeyKind.EDWARDS: KeyType.EC_EDWARDS,
        KeyKind.AES: KeyType.AES,
        KeyKind.HMAC: KeyType.GENERIC_SECRET,
    }
)
# What a key of each kind can be unwrapped for.
_USES: Final = MappingProxyType(
    {
        KeyKind.RSA: (KeyUse.SIGN, KeyUse.DECRYPT),
        KeyKind.EC: (KeyUse.SIGN, KeyUse.AGREE),
        KeyKind.EDWARDS: (KeyUse.SIGN,),
        KeyKind.AES: (KeyUse.DECRYPT,),
        KeyKind.HMAC: (KeyUse.SIGN,),
    }
)
_GENERATION: Final = MappingProxyType(
    {
        KeyKind.RSA: Mechanism.RSA_PKCS_KEY_PAIR_GEN,
        KeyKind.EC: Mechanism.EC_KEY_PAIR_GEN,
        KeyKind.EDWARDS: Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
    }
)
AES_GENERATION: Final = Mechanism.AES_KEY_GEN
HMAC_GENERATION: Final = Mechanism.GENERIC_SECRET_KEY_GEN
_SECRET_GENERATION: Final = MappingProxyType({KeyKind.AES: AES_GENERATION, KeyKind.HMAC: HMAC_GENERATION})
GCM_NONCE: Final = 12  # octets (SP 800-38D section 8.2.2, a nonce of random bits)
GCM_TAG: Final = 16


@dataclass(frozen=True, slots=True)
class Call:
    """A mechanism with its parameter: for PSS hash, mask generation and salt length in octets, for ECDH the key
    derivation (none), nothing shared, and the other side's point."""

    mechanism: Mechanism
    parameter: tuple[Mechanism, MGF, int] | tuple[KDF, None, bytes] | GCMParams | None = None


HMAC_SHA256: Final = Call(Mechanism.SHA256_HMAC)
AES_ECB: Final = Call(Mechanism.AES_ECB)
RAW_RSA: Final = Call(Mechanism.RSA_X_509)
_HMAC: Final = MappingProxyType(
    {
        "HMAC_SHA_224": Call(Mechanism.SHA224_HMAC),
        "HMAC_SHA_256": HMAC_SHA256,
        "HMAC_SHA_384": Call(Mechanism.SHA384_HMAC),
        "HMAC_SHA_512": Call(Mechanism.SHA512_HMAC),
    }
)


@dataclass(frozen=True, slots=True)
class SigningCall:
    """How an algorithm is asked for: `prefix` goes before the data; `data_length` is None where any message will do."""

    mechanism: Call
    prefix: bytes
    data_length: int | None
    signature_length: int  # octets

    def input(self, data: bytes) -> bytes:
        """What C_Sign is given. Raises: `Unsupported` if the data is not of the algorithm's length."""
        if self.data_length is not None and len(data) != self.data_length:
            raise Unsupported(
                f"the digest has {len(data)} octets, the algorithm takes {self.data_length}", field="digest"
            )
        return self.prefix + data if self.prefix else data


def _signing_call(spec: KeySpec, algorithm: SigningAlgorithm) -> SigningCall:
    if algorithm.hash_name is None:
        return SigningCall(Call(Mechanism.EDDSA), b"", None, 64)
    digest_size = hashlib.new(algorithm.hash_name).digest_size
    octets = (spec.bits + 7) // 8
    if algorithm.scheme is Scheme.ECDSA:
        return SigningCall(Call(Mechanism.ECDSA), b"", digest_size, 2 * octets)
    if algorithm.scheme is Scheme.PKCS1V15:
        return SigningCall(Call(Mechanism.RSA_PKCS), _DIGEST_INFO[algorithm.hash_name], digest_size, octets)
    hash_mechanism, mgf = _PSS_HASH[algorithm.hash_name]
    pss = Call(Mechanism.RSA_PKCS_PSS, (hash_mechanism, mgf, digest_size))
    return SigningCall(pss, b"", digest_size, octets)


_SIGNING: Final[Mapping[tuple[str, str], SigningCall]] = MappingProxyType(
    {
        (spec.name, name): _signing_call(spec, SIGNING_ALGORITHMS[name])
        for spec in KEY_SPECS.values()
        for name in sorted({name for purpose in SIGNING_PURPOSES for name in algorithms_for(purpose, spec.name)})
    }
)


def signing_call(spec: str, algorithm: str) -> SigningCall:
    """Raises: `Unsupported` for a pair that is not in the closed table."""
    try:
        return _SIGNING[spec, algorithm]
    except KeyError:
        raise Unsupported(f"a {spec} key does not sign with {algorithm}", field="algorithm") from None


def mac_call(spec: str, algorithm: str) -> Call:
    """Raises: `Unsupported` for a pair that is not in the closed table."""
    if algorithm not in algorithms_for(Purpose.MAC, spec):
        raise Unsupported(f"a {spec} key makes no MAC with {algorithm}", field="algorithm")
    return _HMAC[algorithm]


def gcm_call(nonce: bytes, associated: bytes) -> Call:
    """AES-GCM with a whole tag. The module reads both where they are: the call has to outlive the operation."""
    return Call(Mechanism.AES_GCM, GCMParams(nonce, associated, GCM_TAG * 8))


def ecdh_call(point: bytes) -> Call:
    """ECDH whose secret is the x coordinate itself, with a point in its uncompressed form."""
    return Call(Mechanism.ECDH1_DERIVE, (KDF.NULL, None, point))


def require_use(spec: KeySpec, use: KeyUse) -> None:
    """Raises: `Unsupported` for a use that keys of this kind do not have."""
    if use not in _USES.get(spec.kind, ()):
        raise Unsupported(f"a {spec.name} key is not there to {use}", field="spec")


def key_spec(name: str) -> KeySpec:
    """Raises: `Unsupported` for a spec that is not in the closed table."""
    try:
        return KEY_SPECS[name]
    except KeyError:
        raise Unsupported(f"there is no key spec {name!r}", field="spec") from None


def generation(spec: KeySpec) -> tuple[Mechanism, Template]:
    """The mechanism and the public key's parameters with which a pair of this spec is made."""
    if spec.kind is KeyKind.RSA:
        return _GENERATION[spec.kind], {Attribute.MODULUS_BITS: spec.bits, Attribute.PUBLIC_EXPONENT: b"\x01\x00\x01"}
    if spec.curve is None:
        raise Unsupported(f"{spec.name} names no curve", field="spec")
    return _GENERATION[spec.kind], {Attribute.EC_PARAMS: EC_PARAMETERS[spec.curve]}


def secret_generation(spec: KeySpec) -> Mechanism | None:
    """The mechanism with which a secret key of this spec is made; None for a spec of key pairs."""
    return _SECRET_GENERATION.get(spec.kind)
