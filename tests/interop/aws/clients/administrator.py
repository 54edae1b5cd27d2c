"""boto3 as a key administrator: makes the keys that the other clients use, and may use none of them."""

from __future__ import annotations

from typing import Final

import boto3

from tests.interop.aws.clients.told import given, refusal, tell

MADE: Final = {
    "sign": ("ECC_NIST_P256", "SIGN_VERIFY"),
    "sign-384": ("ECC_NIST_P384", "SIGN_VERIFY"),
    "rsa": ("RSA_2048", "SIGN_VERIFY"),
    "rsa-encrypt": ("RSA_2048", "ENCRYPT_DECRYPT"),
    "data": ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
    "mac": ("HMAC_256", "GENERATE_VERIFY_MAC"),
}
TAGS: Final = [
    {"TagKey": "PGPName", "TagValue": "Releases"},
    {"TagKey": "PGPEmail", "TagValue": "releases@shop.example"},
]


def main() -> None:
    policy, kms = given()["policy"], boto3.client("kms")
    made = {
        name: kms.create_key(KeySpec=spec, KeyUsage=usage, Policy=policy, Description=name)["KeyMetadata"]
        for name, (spec, usage) in MADE.items()
    }
    for name, key in made.items():
        kms.create_alias(AliasName=f"alias/{name}", TargetKeyId=key["KeyId"])
    kms.create_alias(AliasName="alias/PGP_KEY", TargetKeyId=made["rsa"]["KeyId"])  # the name that pgpkms looks for
    kms.tag_resource(KeyId=made["rsa"]["KeyId"], Tags=TAGS)
    kms.enable_key_rotation(KeyId=made["data"]["KeyId"], RotationPeriodInDays=180)
    listed = [key["KeyId"] for page in kms.get_paginator("list_keys").paginate() for key in page["Keys"]]
    sign = {"KeyId": made["sign"]["Arn"], "Message": b"mine", "SigningAlgorithm": "ECDSA_SHA_256"}
    tell(
        keys={name: key["Arn"] for name, key in made.items()},
        published=kms.get_public_key(KeyId=made["rsa-encrypt"]["KeyId"])["PublicKey"],
        ids=[key["KeyId"] for key in made.values()],
        listed=listed,
        rotation=kms.get_key_rotation_status(KeyId=made["data"]["KeyId"])["RotationPeriodInDays"],
        refused={
            "sign": refusal(kms.sign, **sign),
            "encrypt": refusal(kms.encrypt, KeyId=made["data"]["Arn"], Plaintext=b"mine"),
            "decrypt": refusal(kms.decrypt, KeyId=made["data"]["Arn"], CiphertextBlob=b"mine"),
            "mac": refusal(kms.generate_mac, KeyId=made["mac"]["Arn"], Message=b"mine", MacAlgorithm="HMAC_SHA_256"),
        },
    )


if __name__ == "__main__":
    main()
