"""The AWS Encryption SDK for Python: master key provider, and the keyrings of the Material Providers Library."""

from __future__ import annotations

from typing import Any

import aws_encryption_sdk
import boto3
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import CreateAwsKmsKeyringInput, CreateAwsKmsRsaKeyringInput
from aws_encryption_sdk import Algorithm, CommitmentPolicy, StrictAwsKmsMasterKeyProvider
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from tests.interop.aws.clients.told import flipped, given, tell

CONTEXT = {"tenant": "blue"}
CONTENT = b"a file of the backup" * 100


def carried(client: Any, **by: object) -> dict[str, Any]:
    """Encrypted, decrypted; and what becomes of it with one bit changed, in its first data key and at its end."""
    message, _ = client.encrypt(source=CONTENT, encryption_context=CONTEXT, **by)
    reader = {name: value for name, value in by.items() if name != "algorithm"}
    opened, header = client.decrypt(source=message, **reader)
    refused = []
    for at in (400, len(message) - 1):
        try:
            client.decrypt(source=flipped(message, at), **reader)
            refused.append("")
        except Exception as error:  # noqa: BLE001 - each part of the library has errors of its own
            refused.append(type(error).__name__)
    return {
        "whole": opened == CONTENT,
        "context": {**header.encryption_context, **CONTEXT} == header.encryption_context,
        "refused": refused,
    }


def main() -> None:
    keys, kms = given()["keys"], boto3.client("kms")
    client = aws_encryption_sdk.EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
    library = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
    keyring = library.create_aws_kms_keyring(CreateAwsKmsKeyringInput(kms_key_id=keys["data"], kms_client=kms))
    public = load_der_public_key(kms.get_public_key(KeyId=keys["rsa-encrypt"])["PublicKey"])
    rsa_keyring = library.create_aws_kms_rsa_keyring(
        CreateAwsKmsRsaKeyringInput(
            kms_key_id=keys["rsa-encrypt"],
            public_key=public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            encryption_algorithm="RSAES_OAEP_SHA_256",
            kms_client=kms,
        )
    )
    unsigned = Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY  # an RSA keyring takes no other kind
    tell(
        provider=carried(client, key_provider=StrictAwsKmsMasterKeyProvider(key_ids=[keys["data"]])),
        keyring=carried(client, keyring=keyring),
        rsa_keyring=carried(client, keyring=rsa_keyring, algorithm=unsigned),
    )


if __name__ == "__main__":
    main()
