"""Tink: envelope encryption under a key of the service, and a keyset that is kept encrypted by it."""

from __future__ import annotations

import boto3
import tink
from tink import aead, secret_key_access
from tink.integration import awskms

from tests.interop.aws.clients.told import flipped, given, tell


def refused(cipher: aead.Aead, content: bytes, associated: bytes) -> bool:
    try:
        cipher.decrypt(content, associated)
    except tink.TinkError:
        return True
    return False


def main() -> None:
    aead.register()
    uri = f"aws-kms://{given()['keys']['data']}"
    remote = awskms.new_client(boto3_client=boto3.client("kms"), key_uri=uri).get_aead(uri)
    envelope = aead.KmsEnvelopeAead(aead.aead_key_templates.AES256_GCM, remote)
    sealed = envelope.encrypt(b"row 17", b"table users")
    handle = tink.new_keyset_handle(aead.aead_key_templates.AES128_GCM)
    kept = tink.json_proto_keyset_format.serialize_encrypted(handle, remote, b"keyset")
    again = tink.json_proto_keyset_format.parse_encrypted(kept, remote, b"keyset")
    plain = tink.json_proto_keyset_format.serialize(again, secret_key_access.TOKEN)
    tell(
        opened=envelope.decrypt(sealed, b"table users"),
        refused={
            "data key": refused(envelope, flipped(sealed, 40), b"table users"),
            "content": refused(envelope, flipped(sealed), b"table users"),
            "associated data": refused(envelope, sealed, b"table orders"),
            "context": refused(remote, remote.encrypt(b"x", b"a"), b"b"),
        },
        keyset=plain == tink.json_proto_keyset_format.serialize(handle, secret_key_access.TOKEN),
    )


if __name__ == "__main__":
    main()
