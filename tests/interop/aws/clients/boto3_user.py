"""boto3 as a key user: signs, encrypts, makes data keys and MACs, and administers nothing."""

from __future__ import annotations

import hashlib
from typing import Any

import boto3

from tests.interop.aws.clients.told import flipped, given, refusal, tell

MESSAGE = b"released by boto3"
CONTEXT = {"tenant": "blue", "purpose": "backup"}


def signatures(kms: Any, keys: dict[str, str]) -> dict[str, Any]:
    """One of each message type, checked by the service too; and what it says of a changed message."""
    made = {}
    for key, algorithm in (
        ("sign", "ECDSA_SHA_256"),
        ("rsa", "RSASSA_PSS_SHA_256"),
        ("rsa", "RSASSA_PKCS1_V1_5_SHA_512"),
    ):
        hashed = hashlib.new(f"sha{algorithm[-3:]}", MESSAGE).digest()
        for message, kind in ((MESSAGE, "RAW"), (hashed, "DIGEST")):
            members = {"KeyId": keys[key], "SigningAlgorithm": algorithm, "Message": message, "MessageType": kind}
            signature = kms.sign(**members)["Signature"]
            assert kms.verify(**members, Signature=signature)["SignatureValid"]
            tampered = refusal(kms.verify, **members, Signature=flipped(signature))
            other = refusal(kms.verify, **{**members, "Message": flipped(message)}, Signature=signature)
            made[f"{algorithm} {kind}"] = {"key": key, "signature": signature, "refused": [tampered, other]}
    return made


def encryption(kms: Any, keys: dict[str, str]) -> dict[str, Any]:
    """Decrypted without naming the key; and refused with a bit changed, or in another context."""
    blob = kms.encrypt(KeyId=keys["data"], Plaintext=b"secret", EncryptionContext=CONTEXT)["CiphertextBlob"]
    opened = kms.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)
    pairs = {"tenantb": "lue", "purpose": "backup"}  # the same letters, with another bound between name and value
    again = kms.re_encrypt(CiphertextBlob=blob, SourceEncryptionContext=CONTEXT, DestinationKeyId=keys["data"])
    return {
        "opened": opened["Plaintext"],
        "by": opened["KeyId"],
        "re-encrypted": kms.decrypt(CiphertextBlob=again["CiphertextBlob"])["Plaintext"],
        "refused": [
            *(refusal(kms.decrypt, CiphertextBlob=flipped(blob, at), EncryptionContext=CONTEXT) for at in (0, 20, -1)),
            refusal(kms.decrypt, CiphertextBlob=blob),
            refusal(kms.decrypt, CiphertextBlob=blob, EncryptionContext=pairs),
        ],
    }


def data_keys(kms: Any, keys: dict[str, str]) -> dict[str, Any]:
    key = kms.generate_data_key(KeyId=keys["data"], KeySpec="AES_256")
    pair = kms.generate_data_key_pair(KeyId=keys["data"], KeyPairSpec="ECC_NIST_P256")
    return {
        "key": [key["Plaintext"], kms.decrypt(CiphertextBlob=key["CiphertextBlob"])["Plaintext"]],
        "pair": [
            pair["PublicKey"],
            pair["PrivateKeyPlaintext"],
            kms.decrypt(CiphertextBlob=pair["PrivateKeyCiphertextBlob"])["Plaintext"],
        ],
    }


def codes(kms: Any, keys: dict[str, str]) -> list[str]:
    members = {"KeyId": keys["mac"], "Message": MESSAGE, "MacAlgorithm": "HMAC_SHA_256"}
    mac = kms.generate_mac(**members)["Mac"]
    assert kms.verify_mac(**members, Mac=mac)["MacValid"]
    return [refusal(kms.verify_mac, **members, Mac=flipped(mac))]


def main() -> None:
    told = given()
    keys, kms = told["keys"], boto3.client("kms")
    found = kms.get_public_key(KeyId=keys["sign"])
    tell(
        public_keys={name: kms.get_public_key(KeyId=keys[name])["PublicKey"] for name in ("sign", "rsa")},
        specs=[found["KeySpec"], found["CustomerMasterKeySpec"]],
        signatures=signatures(kms, keys),
        encryption=encryption(kms, keys),
        data_keys=data_keys(kms, keys),
        macs_refused=codes(kms, keys),
        decrypted=kms.decrypt(
            KeyId=keys["rsa-encrypt"],
            CiphertextBlob=bytes.fromhex(told["sealed"]),
            EncryptionAlgorithm="RSAES_OAEP_SHA_256",
        )["Plaintext"],
        random=len(kms.generate_random(NumberOfBytes=64)["Plaintext"]),
        refused={
            "create": refusal(kms.create_key),
            "delete": refusal(kms.schedule_key_deletion, KeyId=keys["data"], PendingWindowInDays=7),
            "policy": refusal(kms.put_key_policy, KeyId=keys["data"], Policy=told["policy"]),
            "usage": refusal(kms.sign, KeyId=keys["rsa-encrypt"], Message=b"x", SigningAlgorithm="RSASSA_PSS_SHA_256"),
            "absent": refusal(kms.encrypt, KeyId="00000000-0000-4000-8000-000000000000", Plaintext=b"x"),
        },
    )


if __name__ == "__main__":
    main()
