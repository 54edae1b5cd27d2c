"""The bodies of the calls that encrypt, make MACs, agree and verify: as `signer.request`, for those keys."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from signer.request import Body, KeyReference, ShortText

MAXIMUM_PLAINTEXT = 4096  # octets, as in AWS KMS; what is longer is encrypted with a data key
MAXIMUM_CIPHERTEXT = 6144
MAXIMUM_CONTEXT = 8192  # octets of names and values together
MAXIMUM_DATA_KEY = 1024  # octets

Plaintext = Annotated[bytes, Meta(min_length=1, max_length=MAXIMUM_PLAINTEXT)]
Ciphertext = Annotated[bytes, Meta(min_length=1, max_length=MAXIMUM_CIPHERTEXT)]
Message = Annotated[bytes, Meta(min_length=1, max_length=4096)]
Octets = Annotated[int, Meta(ge=1, le=MAXIMUM_DATA_KEY)]
VersionNumber = Annotated[int, Meta(ge=1)]
EncryptionContext = Annotated[
    dict[
        Annotated[str, Meta(min_length=1, max_length=MAXIMUM_CONTEXT)], Annotated[str, Meta(max_length=MAXIMUM_CONTEXT)]
    ],
    Meta(max_length=256, description="not secret: it is recorded, policies ask of it, and decryption needs it again"),
]
DataKeyPairSpec = Literal[
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    "ECC_NIST_EDWARDS25519",
]


class Encryption(Body):
    """`POST /v1/keys/{key}/encrypt`"""

    plaintext: Plaintext
    algorithm: ShortText | None = None
    context: EncryptionContext | None = None


class Decryption(Body):
    """`POST /v1/keys/{key}/decrypt`. `key_version` is for RSA alone, whose ciphertexts do not name theirs."""

    ciphertext: Ciphertext
    algorithm: ShortText | None = None
    context: EncryptionContext | None = None
    key_version: VersionNumber | None = None


class ReEncryption(Body):
    """`POST /v1/keys/{key}/re-encrypt`: from the key of the path to `destination`, without showing the plaintext."""

    ciphertext: Ciphertext
    destination: KeyReference
    algorithm: ShortText | None = None
    context: EncryptionContext | None = None
    key_version: VersionNumber | None = None
    destination_algorithm: ShortText | None = None
    destination_context: EncryptionContext | None = None


class DataKey(Body):
    """`POST /v1/keys/{key}/data-keys`: one of `spec` and `number_of_bytes`; neither is AES_256."""

    spec: Literal["AES_256", "AES_128"] | None = None
    number_of_bytes: Octets | None = None
    context: EncryptionContext | None = None


class DataKeyPair(Body):
    """`POST /v1/keys/{key}/data-key-pairs`"""

    spec: DataKeyPairSpec
    context: EncryptionContext | None = None


class MacBody(Body):
    """`POST /v1/keys/{key}/macs`"""

    message: Message
    algorithm: ShortText | None = None


class MacVerification(Body):
    """`POST /v1/keys/{key}/macs/verify`. `key_version`: the active one, if absent."""

    message: Message
    mac: Annotated[bytes, Meta(min_length=1, max_length=6144)]
    algorithm: ShortText | None = None
    key_version: VersionNumber | None = None


class SignatureVerification(Body):
    """`POST /v1/keys/{key}/signatures/verify`: exactly one of `message`, `digest` and, of ML-DSA, `mu`."""

    signature: Annotated[bytes, Meta(min_length=1, max_length=6144)]
    message: bytes | None = None
    digest: bytes | None = None
    mu: bytes | None = None
    algorithm: ShortText | None = None


class Agreement(Body):
    """`POST /v1/keys/{key}/shared-secrets`. `public_key` is the other side's DER SubjectPublicKeyInfo."""

    public_key: Annotated[bytes, Meta(min_length=1, max_length=8192)]
    algorithm: ShortText | None = None
    key_version: VersionNumber | None = None


class Encapsulation(Body):
    """`POST /v1/keys/{key}/encapsulate`: a fresh shared secret under the key's public half (ML-KEM, FIPS 203)."""

    algorithm: ShortText | None = None


class Decapsulation(Body):
    """`POST /v1/keys/{key}/decapsulate`: a ciphertext's shared secret. `key_version`: the active one, if absent."""

    ciphertext: Ciphertext
    algorithm: ShortText | None = None
    key_version: VersionNumber | None = None


class RandomOctets(Body):
    """`POST /v1/random`"""

    number_of_bytes: Octets = 32
