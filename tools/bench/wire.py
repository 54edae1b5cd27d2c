"""AWS's protocol, as its clients speak it: requests to `POST /` with AWS Signature Version 4, answers read back.

The signature is computed here, by the AWS General Reference's steps, and not by the service's own code.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.bench.operations import Item, Operation

_MEDIA_TYPE: Final = "application/x-amz-json-1.1"
_SIGNED: Final = "content-type;host;x-amz-date;x-amz-target"
# AWS's name of each operation, and its members by those of the native API.
_NAMES: Final = {"signatures": "Sign", "encrypt": "Encrypt", "data-keys": "GenerateDataKey"}
_ASKED: Final = {
    "digest": "Message",
    "algorithm": "SigningAlgorithm",
    "plaintext": "Plaintext",
    "context": "EncryptionContext",
    "spec": "KeySpec",
}
_ANSWERED: Final = {"Signature": "signature", "CiphertextBlob": "ciphertext", "Plaintext": "plaintext"}


@dataclass(frozen=True, slots=True)
class AwsKms:
    """Satisfies `operations.Wire`. Requests are good for five minutes."""

    access_key_id: str
    secret: str = field(repr=False)
    region: str = "us-east-1"
    name: str = "AWS KMS"

    def requests(
        self, address: str, _token: str, alias: str, operation: Operation, batches: Sequence[Sequence[Item]]
    ) -> tuple[bytes, ...]:
        """One request for each batch of one."""
        key = self._signing_key(date := datetime.now(UTC))
        target = f"TrentService.{_NAMES[operation.path]}"
        return tuple(self._request(address, target, _body(alias, item), date, key) for (item,) in batches)

    def results(self, answer: bytes) -> list[Item]:
        """The one result."""
        return [{ours: value for name, value in json.loads(answer).items() if (ours := _ANSWERED.get(name))}]

    def _request(self, address: str, target: str, body: bytes, date: datetime, key: bytes) -> bytes:
        moment = f"{date:%Y%m%dT%H%M%SZ}"
        headers = f"content-type:{_MEDIA_TYPE}\nhost:{address}\nx-amz-date:{moment}\nx-amz-target:{target}\n"
        canonical = f"POST\n/\n\n{headers}\n{_SIGNED}\n{hashlib.sha256(body).hexdigest()}"
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{moment}\n{self._scope(date)}\n{hashed}"
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        return (
            f"POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: {_MEDIA_TYPE}\r\nX-Amz-Date: {moment}\r\n"
            f"X-Amz-Target: {target}\r\nContent-Length: {len(body)}\r\n"
            f"Authorization: AWS4-HMAC-SHA256 Credential={self.access_key_id}/{self._scope(date)}, "
            f"SignedHeaders={_SIGNED}, Signature={signature}\r\n\r\n"
        ).encode() + body

    def _scope(self, date: datetime) -> str:
        return f"{date:%Y%m%d}/{self.region}/kms/aws4_request"

    def _signing_key(self, date: datetime) -> bytes:
        key = f"AWS4{self.secret}".encode()
        for part in self._scope(date).split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return key


def _body(alias: str, item: Item) -> bytes:
    asked: dict[str, Any] = {"KeyId": f"alias/{alias}"}
    if "digest" in item:
        asked["MessageType"] = "DIGEST"
    for name, value in item.items():
        asked[_ASKED[name]] = value
    return json.dumps(asked).encode()
