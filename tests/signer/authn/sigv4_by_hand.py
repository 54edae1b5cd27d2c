"""Signature Version 4 by hand, for plain paths and queries: as a caller's own code would, and wrong where a test asks
for it."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from signer.call import Call

if TYPE_CHECKING:
    from collections.abc import Mapping

    from werkzeug.test import TestResponse

    from tests.signer.service import ServiceInProcess


@dataclass(frozen=True)
class AccessKey:
    id: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


def made(service: ServiceInProcess, who: str, principal: str = "role/ci", **body: object) -> AccessKey:
    """An access key of a principal; `who` is its name, or a token of it."""
    answer = service.made(who, "POST", f"/v1/principals/{principal}/access-keys", body)
    return AccessKey(answer["access_key_id"], answer["secret_access_key"], answer["session_token"])


@dataclass(frozen=True)
class Signed:
    """A request and how it is signed. `unsigned` headers are sent and not signed."""

    key: AccessKey
    method: str = "GET"
    target: str = "/v1/whoami"
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    unsigned: Mapping[str, str] = field(default_factory=dict)
    moment: datetime = field(default_factory=lambda: datetime.now(UTC))
    scope_date: str | None = None
    region: str = "us-east-1"
    service: str = "kms"
    terminator: str = "aws4_request"
    payload: str | None = None
    host: str = "localhost"
    expires: int | None = None  # presigned

    @property
    def date(self) -> str:
        return f"{self.moment:%Y%m%dT%H%M%SZ}"

    @property
    def scope(self) -> str:
        return "/".join((self.scope_date or self.date[:8], self.region, self.service, self.terminator))

    def _plain_headers(self) -> dict[str, str]:
        found = {"host": self.host, **{name.lower(): value for name, value in self.headers.items()}}
        if self.body and "content-type" not in found:
            found["content-type"] = "application/json"
        if self.expires is None:
            found["x-amz-date"] = self.date
            if self.key.token is not None:
                found["x-amz-security-token"] = self.key.token
        return found

    def _signature(self, query: str) -> str:
        headers = self._plain_headers()
        lines = [f"{name}:{headers[name]}" for name in sorted(headers)]
        names, path = ";".join(sorted(headers)), self.target.partition("?")[0]
        payload = self.payload or hashlib.sha256(self.body).hexdigest()
        canonical = "\n".join([self.method, path, query, *lines, "", names, payload])
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{self.date}\n{self.scope}\n{hashed}"
        key = f"AWS4{self.key.secret}".encode()
        for part in self.scope.split("/"):
            key = hmac.new(key, part.encode(), "sha256").digest()
        return hmac.new(key, text.encode(), "sha256").hexdigest()

    def sent_target(self) -> str:
        path, _, query = self.target.partition("?")
        if self.expires is None:
            return self.target
        given = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.key.id}/{self.scope}",
            "X-Amz-Date": self.date,
            "X-Amz-Expires": str(self.expires),
            "X-Amz-SignedHeaders": ";".join(sorted(self._plain_headers())),
            **({} if self.key.token is None else {"X-Amz-Security-Token": self.key.token}),
        }
        parts = [*filter(None, query.split("&")), *(f"{name}={quote(value, safe='')}" for name, value in given.items())]
        return f"{path}?{'&'.join(parts)}&X-Amz-Signature={self._signature('&'.join(sorted(parts)))}"

    def sent_headers(self) -> dict[str, str]:
        headers = self._plain_headers()
        if self.expires is None:
            query = "&".join(sorted(filter(None, self.target.partition("?")[2].split("&"))))
            names = ";".join(sorted(headers))
            headers["authorization"] = (
                f"AWS4-HMAC-SHA256 Credential={self.key.id}/{self.scope}, SignedHeaders={names}, "
                f"Signature={self._signature(query)}"
            )
        return {**headers, **self.unsigned}


def send(service: ServiceInProcess, signed: Signed, **changed: Any) -> TestResponse:
    """As it was signed, but for what `changed` says of target, method, body or headers (None takes one away)."""
    headers: dict[str, str | None] = {**signed.sent_headers(), **changed.get("headers", {})}
    return service.client.open(
        changed.get("target", signed.sent_target()),
        method=changed.get("method", signed.method),
        data=changed.get("body", signed.body) or None,
        headers={name: value for name, value in headers.items() if value is not None},
    )


def call_of(signed: Signed, *, source: str = "127.0.0.1", **changed: Any) -> Call:
    """The same as the pipeline sees it, without HTTP in between."""
    given: dict[str, str | None] = {**signed.sent_headers(), **changed.get("headers", {})}
    headers = {name: value for name, value in given.items() if value is not None}
    return Call(
        request_id="0" * 32,
        caller_request_id=None,
        source=source,
        authorization=headers.get("authorization"),
        idempotency_key=None,
        body=changed.get("body", signed.body),
        method=changed.get("method", signed.method),
        target=changed.get("target", signed.sent_target()),
        headers=headers,
    )
