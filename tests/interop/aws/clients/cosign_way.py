"""What cosign asks of AWS KMS, asked by boto3: https, ids that are UUIDs, and the first of a key's algorithms.

cosign is a Go program, and no package has it built. It takes `awskms://HOST/ID`, puts https before the host, describes
the key, chooses hash and algorithm by `SigningAlgorithms[0]`, and signs a digest.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any, Final
from urllib.parse import urlsplit

import boto3

from tests.interop.aws.clients.told import given, tell

_UUID: Final = r"[A-Fa-f0-9]{8}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{12}"
_REFERENCE: Final = re.compile(
    rf"^awskms://([^/]*)/({_UUID}|arn:(?:aws|aws-us-gov|aws-cn):kms:[a-z0-9-]+:\d{{12}}:key/{_UUID})$"
)
PAYLOAD: Final = b'{"critical": {"type": "cosign container image signature"}}'


def signed(reference: str) -> dict[str, Any]:
    found = _REFERENCE.fullmatch(reference)
    assert found, reference
    kms = boto3.client("kms", endpoint_url=f"https://{found[1]}")
    key = kms.describe_key(KeyId=found[2])["KeyMetadata"]
    assert (key["KeyUsage"], key["Enabled"]) == ("SIGN_VERIFY", True)
    algorithm = key["SigningAlgorithms"][0]
    digest = hashlib.new(f"sha{algorithm[-3:]}", PAYLOAD).digest()
    members = {"KeyId": found[2], "Message": digest, "MessageType": "DIGEST", "SigningAlgorithm": algorithm}
    signature = kms.sign(**members)["Signature"]
    assert kms.verify(**members, Signature=signature)["SignatureValid"]
    return {"algorithm": algorithm, "signature": signature, "public": kms.get_public_key(KeyId=found[2])["PublicKey"]}


def main() -> None:
    keys, host = given()["keys"], urlsplit(os.environ["AWS_ENDPOINT_URL_KMS"]).netloc
    ids = {name: keys[name].rpartition("/")[2] for name in ("sign", "sign-384", "rsa")}
    told = {name: signed(f"awskms://{host}/{key_id}") for name, key_id in ids.items()}
    tell(payload=PAYLOAD, signed={**told, "by ARN": signed(f"awskms://{host}/{keys['sign']}")})


if __name__ == "__main__":
    main()
