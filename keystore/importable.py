"""What key material may be imported, how it may be wrapped on the way, and what stands in it. Nothing here does IO.

Which wrapping algorithm fits which key spec is as AWS KMS documents it ("Select a wrapping algorithm" in its developer
guide). A private key is PKCS #8 (RFC 5958) in DER; a secret key is its bare octets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

from keystore.algorithms import ENCRYPTION_ALGORITHMS, KEY_SPECS, KeyKind, Protection, Purpose
from keystore.ciphertexts import UNDECIPHERABLE
from keystore.errors import IncorrectKeyMaterial, Undecipherable, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystore.algorithms import KeySpec, UseAlgorithm


@dataclass(frozen=True, slots=True)
class WrappingAlgorithm:
    """How material travels: under the RSA key itself (RSAES-OAEP, RFC 8017 section 7.1), or under an AES key (AES-KWP,
    RFC 5649) that travels before it under the RSA key."""

    name: str
    code: int  # in import tokens; never another's
    oaep: UseAlgorithm  # how the RSA key decrypts
    with_aes: bool


_OAEP_SHA_1: Final = ENCRYPTION_ALGORITHMS["RSAES_OAEP_SHA_1"]
_OAEP_SHA_256: Final = ENCRYPTION_ALGORITHMS["RSAES_OAEP_SHA_256"]
WRAPPING_ALGORITHMS: Final[Mapping[str, WrappingAlgorithm]] = MappingProxyType(
    {
        row.name: row
        for row in (
            WrappingAlgorithm("RSAES_OAEP_SHA_1", 1, _OAEP_SHA_1, with_aes=False),
            WrappingAlgorithm("RSAES_OAEP_SHA_256", 2, _OAEP_SHA_256, with_aes=False),
            WrappingAlgorithm("RSA_AES_KEY_WRAP_SHA_1", 3, _OAEP_SHA_1, with_aes=True),
            WrappingAlgorithm("RSA_AES_KEY_WRAP_SHA_256", 4, _OAEP_SHA_256, with_aes=True),
        )
    }
)
WRAPPING_SPECS: Final = ("RSA_2048", "RSA_3072", "RSA_4096")
_PURPOSES: Final = frozenset({Purpose.GENERAL, Purpose.ENCRYPT, Purpose.MAC, Purpose.AGREE})
_KINDS: Final = frozenset({KeyKind.RSA, KeyKind.EC, KeyKind.EDWARDS, KeyKind.AES, KeyKind.HMAC})
_CARRIER: Final = 32  # octets: AES-256
_SECRET: Final = frozenset({KeyKind.AES, KeyKind.HMAC})


def check_importable(spec: str, purpose: Purpose, protection: Protection) -> None:
    """Raises `Unsupported` unless a key of this kind may be one whose material is imported."""
    kind = KEY_SPECS[spec].kind
    if purpose not in _PURPOSES:
        raise Unsupported(f"a key for {purpose} is made here: its material cannot be imported", field="origin")
    if kind not in _KINDS:
        raise Unsupported(f"the material of {spec} keys cannot be imported", field="origin")
    if kind is KeyKind.EDWARDS and protection is not Protection.SOFTWARE:
        raise Unsupported(
            f"the HSM cannot wrap {spec} keys, and keeps only those that it made: material can be imported where the "
            "operator allows software keys of the spec ([keys] software_specs in sealmark.toml)",
            field="origin",
        )


def check_wrapping(spec: str, algorithm: str, wrapping_spec: str) -> WrappingAlgorithm:
    """The row of a wrapping algorithm that may carry material of this spec. Raises `Unsupported` naming the member."""
    row = WRAPPING_ALGORITHMS.get(algorithm)
    if row is None:
        raise Unsupported(f"material is wrapped by {', '.join(WRAPPING_ALGORITHMS)}", field="wrapping_algorithm")
    if wrapping_spec not in WRAPPING_SPECS:
        raise Unsupported(f"wrapping keys are {', '.join(WRAPPING_SPECS)}", field="wrapping_key_spec")
    kind = KEY_SPECS[spec].kind
    if kind in _SECRET and row.with_aes:
        raise Unsupported(f"{spec} material is short enough for RSAES_OAEP alone", field="wrapping_algorithm")
    if kind is KeyKind.RSA and not row.with_aes:
        raise Unsupported(f"{spec} material is too long for {algorithm}: RSA_AES_KEY_WRAP", field="wrapping_algorithm")
    if spec == "ECC_NIST_P521" and wrapping_spec == "RSA_2048" and not row.with_aes:
        raise Unsupported(f"{spec} material is too long for {algorithm} by RSA_2048", field="wrapping_algorithm")
    return row


@dataclass(frozen=True, slots=True)
class Material:
    """Key material in the clear, for a moment: `parts` by name, to be wiped. `public_key` is empty for a secret key.

    Parts: `value` (a secret key, an EC scalar, an Ed25519 seed), or `modulus`, `public_exponent`, `private_exponent`,
    `prime_1`, `prime_2`, `exponent_1`, `exponent_2`, `coefficient` (RFC 8017 section 3.2); integers are big-endian.
    """

    spec: KeySpec
    public_key: bytes
    parts: Mapping[str, bytearray] = field(repr=False)

    def wipe(self) -> None:
        """Overwrites the parts, as well as Python can."""
        for part in self.parts.values():
            part[:] = bytes(len(part))


def unwrapped(row: WrappingAlgorithm, octets: bytes, carried: bytes) -> bytes:
    """The material: what the RSA key carried, or what is wrapped by the AES key that it carried.

    `octets` is what OAEP gave, `carried` what follows it in the request (empty for OAEP alone). Raises
    `Undecipherable`, the same for everything that is wrong.
    """
    if not row.with_aes:
        return octets
    try:
        if len(octets) != _CARRIER:
            raise ValueError("an AES key of another length")
        return aes_key_unwrap_with_padding(octets, carried)
    except (InvalidUnwrap, ValueError):
        raise Undecipherable(UNDECIPHERABLE) from None


def parse_material(spec: KeySpec, octets: bytes) -> Material:
    """The material of a key of this spec. Raises `IncorrectKeyMaterial`, which never says what was sent."""
    if spec.kind in _SECRET:
        if len(octets) * 8 != spec.bits:
            raise IncorrectKeyMaterial(f"the key material of a {spec.name} key has {spec.bits // 8} octets")
        return Material(spec, b"", {"value": bytearray(octets)})
    wrong = IncorrectKeyMaterial(f"the key material is not a {spec.name} private key, PKCS #8 in DER")
    try:
        key = load_der_private_key(octets, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):  # the last: a raw key of another length
        raise wrong from None
    parts = _parts(spec, key)
    if parts is None:
        raise wrong
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Material(spec, public, parts)


def _parts(spec: KeySpec, key: object) -> Mapping[str, bytearray] | None:
    """None for a key of another spec. The library has checked that private and public half belong together."""
    if isinstance(key, RSAPrivateKey) and spec.kind is KeyKind.RSA and key.key_size == spec.bits:
        numbers = key.private_numbers()
        if not 65537 <= numbers.public_numbers.e < 2**32:
            return None
        return {
            "modulus": _octets(numbers.public_numbers.n),
            "public_exponent": _octets(numbers.public_numbers.e),
            "private_exponent": _octets(numbers.d),
            "prime_1": _octets(numbers.p),
            "prime_2": _octets(numbers.q),
            "exponent_1": _octets(numbers.dmp1),
            "exponent_2": _octets(numbers.dmq1),
            "coefficient": _octets(numbers.iqmp),
        }
    if isinstance(key, EllipticCurvePrivateKey) and spec.kind is KeyKind.EC and key.curve.name == spec.curve:
        scalar = key.private_numbers().private_value
        return {"value": bytearray(scalar.to_bytes((spec.bits + 7) // 8, "big"))}
    if isinstance(key, Ed25519PrivateKey) and spec.kind is KeyKind.EDWARDS:
        return {"value": bytearray(key.private_bytes_raw())}
    return None


def _octets(number: int) -> bytearray:
    return bytearray(number.to_bytes((number.bit_length() + 7) // 8, "big"))
