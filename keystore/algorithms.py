"""The closed table of key specs, algorithms and purposes: what may be asked of which key.

Checked before the HSM is ever called: SoftHSM does not check a key's type against a mechanism, and the wrong pair kills
its process. Names of specs and algorithms are those of AWS KMS. Nothing here does IO.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class KeyKind(StrEnum):
    """The mathematics of a key, or of a key pair."""

    RSA = "RSA"
    EC = "EC"
    EDWARDS = "EDWARDS"
    AES = "AES"
    HMAC = "HMAC"
    ML_DSA = "ML_DSA"
    ML_KEM = "ML_KEM"


class Scheme(StrEnum):
    """How a signature is computed from a digest, or, for EdDSA and ML-DSA, from the message itself."""

    PKCS1V15 = "PKCS1V15"  # RFC 8017 section 8.2
    PSS = "PSS"  # RFC 8017 section 8.1, MGF1 with the same hash, salt as long as the hash
    ECDSA = "ECDSA"  # FIPS 186-5 section 6
    EDDSA = "EDDSA"  # RFC 8032, pure
    EDDSA_PH = "EDDSA_PH"  # RFC 8032 section 5.1, Ed25519ph without a context: it hashes the message by itself
    ML_DSA = "ML_DSA"  # FIPS 204, hedged, without a context


class Purpose(StrEnum):
    """What a key is for. One key has one purpose, fixed when it is made."""

    ARTIFACT = "artifact"
    JWT = "jwt"
    SAML = "saml"
    GENERAL = "general"
    ENCRYPT = "encrypt"
    MAC = "mac"
    AGREE = "agree"
    ENCAPSULATE = "encapsulate"
    CA = "ca"
    LOG = "log"
    SECRETS = "secrets"  # what the service must be able to read back, such as the secrets of access keys


class KeyUse(StrEnum):
    """The one thing that the HSM lets a backing key do, given to it anew whenever it is unwrapped."""

    SIGN = "sign"  # signatures and MACs
    DECRYPT = "decrypt"  # and encrypt, where the key is secret
    AGREE = "agree"


class Protection(StrEnum):
    """Where a key's private or secret half is used."""

    HSM = "hsm"
    SOFTWARE = "software"  # in this process; it is stored encrypted under a key that is in the HSM


class Origin(StrEnum):
    """Where a key's material comes from."""

    AWS_KMS = "AWS_KMS"  # made here; the name is AWS's
    EXTERNAL = "EXTERNAL"  # imported


@dataclass(frozen=True, slots=True)
class KeySpec:
    """A kind of key or key pair. `bits` is the modulus length (RSA), the field size (curves), the length of a secret
    key, or the parameter set's number (ML-DSA, ML-KEM)."""

    name: str
    kind: KeyKind
    bits: int
    curve: str | None = None  # RFC 5480 / SEC 2 name, as in openssl

    @property
    def has_public_key(self) -> bool:
        """Whether it is a key pair; the others are secret keys."""
        return self.kind not in (KeyKind.AES, KeyKind.HMAC)


@dataclass(frozen=True, slots=True)
class SigningAlgorithm:
    """One row of the table. `hash_name` is hashlib's name, None where the message itself is signed."""

    name: str
    kind: KeyKind
    scheme: Scheme
    hash_name: str | None
    jws: str | None  # RFC 7518 section 3.1, RFC 8037
    xml_signature: str | None  # RFC 9231


_RSA: Final = KeyKind.RSA
_DSIG_MORE: Final = "http://www.w3.org/2001/04/xmldsig-more#"

KEY_SPECS: Final[Mapping[str, KeySpec]] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            KeySpec("RSA_2048", _RSA, 2048),
            KeySpec("RSA_3072", _RSA, 3072),
            KeySpec("RSA_4096", _RSA, 4096),
            KeySpec("ECC_NIST_P256", KeyKind.EC, 256, "secp256r1"),
            KeySpec("ECC_NIST_P384", KeyKind.EC, 384, "secp384r1"),
            KeySpec("ECC_NIST_P521", KeyKind.EC, 521, "secp521r1"),
            KeySpec("ECC_SECG_P256K1", KeyKind.EC, 256, "secp256k1"),
            KeySpec("ECC_NIST_EDWARDS25519", KeyKind.EDWARDS, 255, "ed25519"),
            KeySpec("SYMMETRIC_DEFAULT", KeyKind.AES, 256),
            *(KeySpec(f"HMAC_{bits}", KeyKind.HMAC, bits) for bits in (224, 256, 384, 512)),
            *(KeySpec(f"ML_DSA_{number}", KeyKind.ML_DSA, number) for number in (44, 65, 87)),
            *(KeySpec(f"ML_KEM_{number}", KeyKind.ML_KEM, number) for number in (768, 1024)),
        )
    }
)

# Where they are allowed (`software_specs`), keys of these specs are used in this process. The module has none of them
# but Ed25519, of which it lacks the prehashed variant.
SOFTWARE_SPECS: Final = tuple(
    spec.name for spec in KEY_SPECS.values() if spec.kind in (KeyKind.ML_DSA, KeyKind.ML_KEM, KeyKind.EDWARDS)
)
SOFTWARE_ONLY: Final = tuple(name for name in SOFTWARE_SPECS if KEY_SPECS[name].kind is not KeyKind.EDWARDS)
# Specs of AWS KMS that nothing here makes, and why.
NOT_OFFERED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ML_KEM_512": "neither the HSM module nor the service's cryptographic library has it",
        "SM2": "neither the HSM module nor a well-kept library for Python has it",
    }
)
ED25519_PH: Final = "ED25519_PH_SHA_512"  # by software keys alone: SoftHSM's EdDSA is the pure one

SIGNING_ALGORITHMS: Final[Mapping[str, SigningAlgorithm]] = MappingProxyType(
    {
        row.name: row
        for row in (
            *(
                SigningAlgorithm(
                    f"RSASSA_PKCS1_V1_5_SHA_{bits}",
                    _RSA,
                    Scheme.PKCS1V15,
                    f"sha{bits}",
                    f"RS{bits}",
                    f"{_DSIG_MORE}rsa-sha{bits}",
                )
                for bits in (256, 384, 512)
            ),
            *(
                SigningAlgorithm(f"RSASSA_PSS_SHA_{bits}", _RSA, Scheme.PSS, f"sha{bits}", f"PS{bits}", None)
                for bits in (256, 384, 512)
            ),
            *(
                SigningAlgorithm(
                    f"ECDSA_SHA_{bits}",
                    KeyKind.EC,
                    Scheme.ECDSA,
                    f"sha{bits}",
                    f"ES{bits}",
                    f"{_DSIG_MORE}ecdsa-sha{bits}",
                )
                for bits in (256, 384, 512)
            ),
            SigningAlgorithm("ED25519_SHA_512", KeyKind.EDWARDS, Scheme.EDDSA, None, "EdDSA", None),
            SigningAlgorithm(ED25519_PH, KeyKind.EDWARDS, Scheme.EDDSA_PH, None, None, None),
            SigningAlgorithm("ML_DSA_SHAKE_256", KeyKind.ML_DSA, Scheme.ML_DSA, None, None, None),
        )
    }
)


@dataclass(frozen=True, slots=True)
class UseAlgorithm:
    """An algorithm that makes no signature. `hash_name` is hashlib's name, None where it has none."""

    name: str
    kind: KeyKind
    hash_name: str | None = None


def _uses(*rows: UseAlgorithm) -> Mapping[str, UseAlgorithm]:
    return MappingProxyType({row.name: row for row in rows})


ENCRYPTION_ALGORITHMS: Final = _uses(
    UseAlgorithm("SYMMETRIC_DEFAULT", KeyKind.AES),  # AES-256-GCM
    UseAlgorithm("RSAES_OAEP_SHA_256", _RSA, "sha256"),  # RFC 8017 section 7.1, MGF1 with the same hash, no label
    UseAlgorithm("RSAES_OAEP_SHA_1", _RSA, "sha1"),
)
MAC_ALGORITHMS: Final = _uses(
    *(UseAlgorithm(f"HMAC_SHA_{bits}", KeyKind.HMAC, f"sha{bits}") for bits in (224, 256, 384, 512))
)
AGREEMENT_ALGORITHMS: Final = _uses(UseAlgorithm("ECDH", KeyKind.EC))  # SP 800-56A, one-pass: the x coordinate
ENCAPSULATION_ALGORITHMS: Final = _uses(UseAlgorithm("ML_KEM", KeyKind.ML_KEM))  # FIPS 203

_PKCS1 = tuple(f"RSASSA_PKCS1_V1_5_SHA_{bits}" for bits in (256, 384, 512))
_PSS = tuple(f"RSASSA_PSS_SHA_{bits}" for bits in (256, 384, 512))
_RSA_SPECS = ("RSA_2048", "RSA_3072", "RSA_4096")


def _rows(
    rsa_specs: tuple[str, ...], rsa: tuple[str, ...], others: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    return {**dict.fromkeys(rsa_specs, rsa), **others}


_CURVE_WITH_ITS_HASH = {
    "ECC_NIST_P256": ("ECDSA_SHA_256",),
    "ECC_NIST_P384": ("ECDSA_SHA_384",),
    "ECC_NIST_P521": ("ECDSA_SHA_512",),
}

# purpose -> spec -> algorithms a key may be made with; the first is the default. An absent spec is not allowed.
PURPOSES: Final[Mapping[Purpose, Mapping[str, tuple[str, ...]]]] = MappingProxyType(
    {
        # Ed25519 artifact keys make DSSE only: Sigstore and OpenSSL 3.0 refuse the rest.
        Purpose.ARTIFACT: _rows(
            _RSA_SPECS,
            ("RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PSS_SHA_256"),
            {**_CURVE_WITH_ITS_HASH, "ECC_NIST_EDWARDS25519": ("ED25519_SHA_512",)},
        ),
        Purpose.JWT: _rows(
            _RSA_SPECS,
            (_PKCS1[0], _PSS[0], *_PKCS1[1:], *_PSS[1:]),
            {**_CURVE_WITH_ITS_HASH, "ECC_NIST_EDWARDS25519": ("ED25519_SHA_512",)},
        ),
        Purpose.SAML: _rows(
            _RSA_SPECS,
            ("RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_512"),
            {name: _CURVE_WITH_ITS_HASH[name] for name in ("ECC_NIST_P256", "ECC_NIST_P384")},
        ),
        # Raw signatures, chosen per request among every algorithm of the spec.
        Purpose.GENERAL: _rows(
            _RSA_SPECS,
            (*_PKCS1, *_PSS),
            {
                **_CURVE_WITH_ITS_HASH,
                "ECC_SECG_P256K1": ("ECDSA_SHA_256",),
                "ECC_NIST_EDWARDS25519": ("ED25519_SHA_512", ED25519_PH),
                **dict.fromkeys(("ML_DSA_44", "ML_DSA_65", "ML_DSA_87"), ("ML_DSA_SHAKE_256",)),
            },
        ),
        Purpose.CA: _rows(
            ("RSA_3072", "RSA_4096"),
            ("RSASSA_PKCS1_V1_5_SHA_256",),
            {name: _CURVE_WITH_ITS_HASH[name] for name in ("ECC_NIST_P256", "ECC_NIST_P384")},
        ),
        Purpose.LOG: {"ECC_NIST_EDWARDS25519": ("ED25519_SHA_512",)},
        Purpose.ENCRYPT: _rows(
            _RSA_SPECS, ("RSAES_OAEP_SHA_256", "RSAES_OAEP_SHA_1"), {"SYMMETRIC_DEFAULT": ("SYMMETRIC_DEFAULT",)}
        ),
        Purpose.MAC: {f"HMAC_{bits}": (f"HMAC_SHA_{bits}",) for bits in (224, 256, 384, 512)},
        Purpose.AGREE: dict.fromkeys(("ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"), ("ECDH",)),
        Purpose.ENCAPSULATE: dict.fromkeys(("ML_KEM_768", "ML_KEM_1024"), ("ML_KEM",)),
        Purpose.SECRETS: {"SYMMETRIC_DEFAULT": ("SYMMETRIC_DEFAULT",)},
    }
)

# Purposes that a caller may ask for; the others belong to the service's own code.
CALLER_PURPOSES: Final = (
    Purpose.ARTIFACT,
    Purpose.JWT,
    Purpose.SAML,
    Purpose.GENERAL,
    Purpose.ENCRYPT,
    Purpose.MAC,
    Purpose.AGREE,
    Purpose.ENCAPSULATE,
)
_USES: Final = MappingProxyType(
    {Purpose.ENCRYPT: KeyUse.DECRYPT, Purpose.SECRETS: KeyUse.DECRYPT, Purpose.AGREE: KeyUse.AGREE}
)
# Purposes whose keys sign; the published half of the others verifies nothing.
SIGNING_PURPOSES: Final = frozenset(
    {Purpose.ARTIFACT, Purpose.JWT, Purpose.SAML, Purpose.GENERAL, Purpose.CA, Purpose.LOG}
)
# What AWS KMS calls what a key is for: KeyUsage.
KEY_USAGES: Final[Mapping[Purpose, str]] = MappingProxyType(
    {
        **dict.fromkeys(SIGNING_PURPOSES, "SIGN_VERIFY"),
        Purpose.ENCRYPT: "ENCRYPT_DECRYPT",
        Purpose.SECRETS: "ENCRYPT_DECRYPT",
        Purpose.MAC: "GENERATE_VERIFY_MAC",
        Purpose.AGREE: "KEY_AGREEMENT",
        Purpose.ENCAPSULATE: "ENCAPSULATE_DECAPSULATE",
    }
)
# Purposes whose request picks one of the spec's algorithms; every other key has the one that it was made with.
_FREE: Final = frozenset({Purpose.GENERAL, Purpose.ENCRYPT, Purpose.MAC, Purpose.AGREE, Purpose.ENCAPSULATE})


def algorithms_for(purpose: Purpose, spec: str, protection: Protection = Protection.HSM) -> tuple[str, ...]:
    """The algorithms that a key of this purpose, spec and protection may be made with, the default first; empty: not
    allowed."""
    named = PURPOSES[purpose].get(spec, ())
    if protection is Protection.SOFTWARE:
        return named if spec in SOFTWARE_SPECS else ()
    return () if spec in SOFTWARE_ONLY else tuple(name for name in named if name != ED25519_PH)


def key_algorithms(purpose: Purpose, spec: str, chosen: str, protection: Protection) -> tuple[str, ...]:
    """What one finished key does: its one chosen algorithm, or, where each request picks one, every one of its spec."""
    return algorithms_for(purpose, spec, protection) if purpose in _FREE else (chosen,)


def use_of(purpose: Purpose) -> KeyUse:
    """What the HSM lets a key of this purpose do."""
    return _USES.get(purpose, KeyUse.SIGN)
