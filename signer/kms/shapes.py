"""How requests of AWS KMS are written down, once: a struct for each operation, its constraints in the types.

Member names are AWS's, in Python's spelling (`key_id` is `KeyId`); what AWS bounds, `Meta` bounds (botocore's model of
KMS has the same numbers, and a test holds these types against it). Blobs are `bytes`, times are seconds since the
epoch. Members that are not known are ignored, as AWS does; one that is null counts as absent.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from signer.kms.errors import invalid, unsupported


class Shape(msgspec.Struct, rename="pascal", kw_only=True, omit_defaults=True):
    """Base of every structure, in requests and within them."""


class Request(Shape):
    """Base of every operation's request."""


SECRET: Final = {"secret": True}  # `Meta(extra=SECRET)`: a refusal does not show the value
KeyId = Annotated[str, Meta(min_length=1, max_length=2048)]
AliasName = Annotated[str, Meta(min_length=1, max_length=256, pattern="^[a-zA-Z0-9:/_-]+$(?!\\n)")]
GrantTokens = Annotated[list[Annotated[str, Meta(min_length=1, max_length=8192)]], Meta(min_length=0, max_length=10)]
EncryptionContext = dict[str, str]
Ciphertext = Annotated[bytes, Meta(min_length=1, max_length=6144)]
Plaintext = Annotated[bytes, Meta(min_length=1, max_length=4096)]
PublicKeyBlob = Annotated[bytes, Meta(min_length=1, max_length=8192)]
Limit = Annotated[int, Meta(ge=1, le=1000)]
Marker = Annotated[str, Meta(min_length=1, max_length=1024, pattern="^[\\u0020-\\u00FF]*$(?!\\n)")]
NumberOfBytes = Annotated[int, Meta(ge=1, le=1024)]
PolicyName = Annotated[str, Meta(min_length=1, max_length=128, pattern="^[\\w]+$(?!\\n)")]
PolicyText = Annotated[
    str, Meta(min_length=1, max_length=131072, pattern="^[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+$(?!\\n)")
]
Description = Annotated[str, Meta(min_length=0, max_length=8192)]
PrincipalId = Annotated[str, Meta(min_length=1, max_length=256, pattern="^[\\w+=,.@:/-]+$(?!\\n)")]
ServicePrincipal = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        pattern="^([A-Za-z0-9\\-]+)\\.([A-Za-z0-9\\-]+)(\\.[A-Za-z0-9\\-]+)+$(?!\\n)",
    ),
]
Region = Annotated[str, Meta(min_length=1, max_length=32, pattern="^([a-z]+-){2,3}\\d+$(?!\\n)")]
MaterialId = Annotated[str, Meta(min_length=64, max_length=64, pattern="^[a-f0-9]+$(?!\\n)")]
CustomKeyStoreId = Annotated[str, Meta(min_length=1, max_length=64)]
EpochSeconds = float  # as JSON 1.1 writes times; `moment` reads it

KeyUsage = Literal["SIGN_VERIFY", "ENCRYPT_DECRYPT", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT", "ENCAPSULATE_DECAPSULATE"]
KeySpec = Literal[
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    "SYMMETRIC_DEFAULT",
    "HMAC_224",
    "HMAC_256",
    "HMAC_384",
    "HMAC_512",
    "SM2",
    "ML_DSA_44",
    "ML_DSA_65",
    "ML_DSA_87",
    "ECC_NIST_EDWARDS25519",
    "ML_KEM_512",
    "ML_KEM_768",
    "ML_KEM_1024",
]
CustomerMasterKeySpec = Literal[
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    "SYMMETRIC_DEFAULT",
    "HMAC_224",
    "HMAC_256",
    "HMAC_384",
    "HMAC_512",
    "SM2",
]
DataKeyPairSpec = Literal[
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    "SM2",
    "ECC_NIST_EDWARDS25519",
    "ML_KEM_512",
    "ML_KEM_768",
    "ML_KEM_1024",
]
DataKeySpec = Literal["AES_256", "AES_128"]
MessageType = Literal["RAW", "DIGEST", "EXTERNAL_MU"]
SigningAlgorithm = Literal[
    "RSASSA_PSS_SHA_256",
    "RSASSA_PSS_SHA_384",
    "RSASSA_PSS_SHA_512",
    "RSASSA_PKCS1_V1_5_SHA_256",
    "RSASSA_PKCS1_V1_5_SHA_384",
    "RSASSA_PKCS1_V1_5_SHA_512",
    "ECDSA_SHA_256",
    "ECDSA_SHA_384",
    "ECDSA_SHA_512",
    "SM2DSA",
    "ML_DSA_SHAKE_256",
    "ED25519_SHA_512",
    "ED25519_PH_SHA_512",
]
EncryptionAlgorithm = Literal["SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "SM2PKE"]
MacAlgorithm = Literal["HMAC_SHA_224", "HMAC_SHA_256", "HMAC_SHA_384", "HMAC_SHA_512"]
KeyAgreementAlgorithm = Literal["ECDH"]
EncapsulationAlgorithm = Literal["ML_KEM"]
Origin = Literal["AWS_KMS", "EXTERNAL", "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"]


class UseRequest(Request):
    """Base of every request to use a key: whom a grant of the moment allows it, and whether it is tried alone."""

    grant_tokens: GrantTokens | None = None
    dry_run: bool | None = None


class Recipient(Shape):
    """An attested enclave or trusted platform module, to which the result is to be encrypted."""

    key_encryption_algorithm: Literal["RSAES_OAEP_SHA_256"] | None = None
    attestation_document: Annotated[bytes, Meta(min_length=1, max_length=262144)] | None = None


def refuse_recipient(recipient: Recipient | None) -> None:
    """Raises `UnsupportedOperationException`: no attestation of an enclave is checked here."""
    if recipient is not None:
        msg = "Recipient is not supported: this service checks no enclave's attestation"
        raise unsupported(msg, field="recipient")


_LATEST: Final = 253402300799  # 9999-12-31T23:59:59Z


def moment(seconds: EpochSeconds, *, member: str) -> datetime:
    """A time of the request. Raises `ValidationException`."""
    if not 0 <= seconds <= _LATEST:
        msg = f"1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must be a time"
        raise invalid(msg, field=member)
    return datetime.fromtimestamp(seconds, UTC)
