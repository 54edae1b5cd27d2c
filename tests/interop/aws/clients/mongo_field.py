"""libmongocrypt (C): client-side field level encryption of MongoDB, whose own SigV4 and KMS requests ask the service.

The library says what is to be sent where; sending it, and keeping the encrypted data key, is the driver's part.
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import bson
from pymongocrypt.errors import MongoCryptError
from pymongocrypt.options import MongoCryptOptions
from pymongocrypt.synchronous.explicit_encrypter import ExplicitEncrypter
from pymongocrypt.synchronous.state_machine import MongoCryptCallback

from tests.interop.aws.clients.told import flipped, given, tell

if TYPE_CHECKING:
    from collections.abc import Iterator

DETERMINISTIC = "AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic"


class Driver(MongoCryptCallback):  # type: ignore[misc]
    """What a MongoDB driver does for the library. The key vault is a list."""

    def __init__(self) -> None:
        self.vault: list[bytes] = []
        self.asked: list[str] = []

    def kms_request(self, kms_context: Any) -> None:
        host, _, port = kms_context.endpoint.rpartition(":")
        message = kms_context.message
        self.asked += [line.decode() for line in message.split(b"\r\n") if line.lower().startswith(b"x-amz-target")]
        trusted = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
        with (
            socket.create_connection((host, int(port)), timeout=20) as plain,
            trusted.wrap_socket(plain, server_hostname=host) as connection,
        ):
            connection.sendall(message)
            while kms_context.bytes_needed > 0:
                kms_context.feed(connection.recv(kms_context.bytes_needed))

    def fetch_keys(self, filter: bytes) -> Iterator[bytes]:  # noqa: A002 - the library's name
        wanted = bson.decode(filter)
        assert wanted
        yield from self.vault

    def insert_data_key(self, data_key: bytes) -> Any:
        self.vault.append(data_key)
        return bson.decode(data_key)["_id"]

    def bson_encode(self, doc: Any) -> bytes:
        return bytes(bson.encode(doc))

    def collection_info(self, database: Any, filter: Any) -> Any:  # noqa: A002
        raise NotImplementedError

    def mark_command(self, database: Any, cmd: Any) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is held."""


def encrypter(driver: Driver) -> ExplicitEncrypter:
    credentials = {
        "accessKeyId": os.environ["AWS_ACCESS_KEY_ID"],
        "secretAccessKey": os.environ["AWS_SECRET_ACCESS_KEY"],
    }
    return ExplicitEncrypter(driver, MongoCryptOptions({"aws": credentials}))


def main() -> None:
    arn = given()["keys"]["data"]
    endpoint = urlsplit(os.environ["AWS_ENDPOINT_URL_KMS"]).netloc
    driver = Driver()
    writer = encrypter(driver)
    key_id = writer.create_data_key("aws", {"region": os.environ["AWS_REGION"], "key": arn, "endpoint": endpoint})
    value = bson.encode({"v": "457-55-5462"})
    sealed = writer.encrypt(value, DETERMINISTIC, key_id=bytes(key_id))
    opened = encrypter(driver).decrypt(sealed)  # another process would begin as empty as this
    (document,) = driver.vault
    kept = bson.decode(document)
    material = bson.Binary(flipped(kept["keyMaterial"], 30), 0)
    driver.vault = [bson.encode({**kept, "keyMaterial": material})]
    try:
        encrypter(driver).decrypt(sealed)
        refused = ""
    except MongoCryptError as error:
        refused = str(error)
    tell(
        opened=bson.decode(opened)["v"], hidden=b"457-55-5462" not in bytes(sealed), asked=driver.asked, refused=refused
    )


if __name__ == "__main__":
    main()
