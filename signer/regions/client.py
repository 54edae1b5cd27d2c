"""Calls another region's service: an address and a credential that stand in the configuration, within a time limit.

No redirect is followed, and no more is read than an answer can be.
"""

from __future__ import annotations

import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import httpx
import msgspec

from signer.decoding import decode
from signer.errors import MalformedRequest, SealmarkError, ServiceUnavailable

if TYPE_CHECKING:
    from signer.regions.settings import RegionSettings
    from signer.regions.statements import ReplicaStatement

PATH: Final = "/v1/replicas"
NOT_THERE: Final = ("not_found", "key_id")  # code and field: the key is not in that region
LARGEST_ANSWER: Final = 64 * 1024  # octets
_TIMEOUT: Final = httpx.Timeout(10.0, connect=3.0)  # seconds; the other side unwraps and tries every version


# What the other region says of the request; all else is between the two deployments, and for their operators.
_OF_THE_REQUEST: Final = frozenset(
    {
        *("conflict", "wrong_state", "unprocessable", "unsupported", "malformed_request", "separation_of_duties"),
        *("limit_exceeded", "request_too_large"),
    }
)


class Unreachable(ServiceUnavailable):
    """No answer, or none that says what became of it: it may have been taken."""


class RefusedThere(SealmarkError):
    """The other region refuses, and has changed nothing. `code` is its own."""

    def __init__(self, region: str, code: str, detail: str, field: str | None) -> None:
        super().__init__(f"{region} refuses it: {detail}", field=field)
        self.code = code


class Taken(msgspec.Struct):
    """What the other region answers: how the key is there now."""

    key_id: str
    region: str
    state: str


class _Problem(msgspec.Struct):
    code: str
    detail: str = ""
    field: str | None = None


def send(region: RegionSettings, statement: ReplicaStatement) -> Taken:
    """Says it there. Raises: `RefusedThere`, `Unreachable`."""
    status, body = _posted(region, msgspec.json.encode(statement))
    try:
        if status == HTTPStatus.OK:
            return decode(body, Taken)
        problem = msgspec.json.decode(body, type=_Problem)
    except (MalformedRequest, msgspec.MsgspecError) as error:
        raise Unreachable(f"{region.name} answered {status}, and not as Sealmark does") from error
    if problem.code not in _OF_THE_REQUEST and (problem.code, problem.field) != NOT_THERE:
        raise Unreachable(f"{region.name} answered {status} {problem.code}")
    raise RefusedThere(region.name, problem.code, problem.detail, problem.field)


def _posted(region: RegionSettings, body: bytes) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json", "User-Agent": "sealmark", "Accept-Encoding": "identity"}
    found = bytearray()
    try:
        if region.token_file is not None:
            headers["Authorization"] = f"Bearer {region.token_file.read_text(encoding='ascii').strip()}"
        with (
            httpx.Client(timeout=_TIMEOUT, follow_redirects=False, trust_env=False, verify=_context(region)) as client,
            client.stream("POST", region.url + PATH, content=body, headers=headers) as answer,
        ):
            for chunk in answer.iter_bytes():
                found += chunk
                if len(found) > LARGEST_ANSWER:
                    raise Unreachable(f"{region.name} answered more than {LARGEST_ANSWER} octets")
            return answer.status_code, bytes(found)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeDecodeError, ValueError) as error:
        raise Unreachable(f"{region.name} cannot be reached: {type(error).__name__}") from error


def _context(region: RegionSettings) -> ssl.SSLContext | bool:
    if not region.url.startswith("https:"):
        return True
    context = ssl.create_default_context(cafile=region.ca)
    if region.client_certificate is not None:
        context.load_cert_chain(region.client_certificate, region.client_key)
    return context
