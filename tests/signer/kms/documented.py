"""What AWS documents of each key spec: usages, algorithms, message types (AWS KMS Developer Guide, "Key spec
reference"; API Reference, Sign and CreateKey). Written down apart from the service's own tables."""

from __future__ import annotations

from typing import Final

RSA: Final = ("RSA_2048", "RSA_3072", "RSA_4096")
CURVES: Final = {"ECC_NIST_P256": 256, "ECC_NIST_P384": 384, "ECC_NIST_P521": 512, "ECC_SECG_P256K1": 256}
ML_DSA: Final = ("ML_DSA_44", "ML_DSA_65", "ML_DSA_87")
ML_KEM: Final = ("ML_KEM_768", "ML_KEM_1024")
HMAC: Final = {f"HMAC_{bits}": f"HMAC_SHA_{bits}" for bits in (224, 256, 384, 512)}
MESSAGE_TYPES: Final = ("RAW", "DIGEST", "EXTERNAL_MU")

# Spec → usages.
USAGES: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(RSA, ("SIGN_VERIFY", "ENCRYPT_DECRYPT")),
    **dict.fromkeys(CURVES, ("SIGN_VERIFY", "KEY_AGREEMENT")),
    "ECC_SECG_P256K1": ("SIGN_VERIFY",),
    "ECC_NIST_EDWARDS25519": ("SIGN_VERIFY",),
    **dict.fromkeys(ML_DSA, ("SIGN_VERIFY",)),
    "SYMMETRIC_DEFAULT": ("ENCRYPT_DECRYPT",),
    **dict.fromkeys(HMAC, ("GENERATE_VERIFY_MAC",)),
    **dict.fromkeys(ML_KEM, ("ENCAPSULATE_DECAPSULATE",)),
}


def _digests(bits: int) -> dict[str, int | None]:
    return {"RAW": None, "DIGEST": bits // 8}


# Spec → algorithm → message type → how long the message must be (None: as it likes).
SIGNATURES: Final[dict[str, dict[str, dict[str, int | None]]]] = {
    **{
        spec: {
            f"RSASSA_{scheme}_SHA_{bits}": _digests(bits)
            for scheme in ("PSS", "PKCS1_V1_5")
            for bits in (256, 384, 512)
        }
        for spec in RSA
    },
    **{spec: {f"ECDSA_SHA_{bits}": _digests(bits)} for spec, bits in CURVES.items()},
    "ECC_NIST_EDWARDS25519": {"ED25519_SHA_512": {"RAW": None}, "ED25519_PH_SHA_512": {"DIGEST": 64}},
    **{spec: {"ML_DSA_SHAKE_256": {"RAW": None, "EXTERNAL_MU": 64}} for spec in ML_DSA},
}
ENCRYPTION: Final[dict[str, tuple[str, ...]]] = {
    "SYMMETRIC_DEFAULT": ("SYMMETRIC_DEFAULT",),
    **dict.fromkeys(RSA, ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256")),
}
