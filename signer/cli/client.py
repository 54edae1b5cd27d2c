"""The HTTP client of the commands: one answer or one `CommandFailed`, with timeouts, and retries where they are safe.

The token is sent to the address given and nowhere else: no redirects, and no plain HTTP to another machine.
"""

from __future__ import annotations

import ipaddress
import json
import ssl
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from types import TracebackType
from typing import Self

import click
import httpx

from signer.cli.approval_wait import HEADER, Approval, current_approval, obtain
from signer.cli.errors import CommandFailed, Unreachable
from signer.cli.options import Settings, current_settings
from signer.cli.output import note
from signer.cli.proving import Proof
from signer.cli.retry import RetryLimits, TryAgain, parse_retry_after, retrying
from signer.cli.workload import audience_for, exchange, find_identity_token

# A batch of 1,000 signatures takes an HSM its time; a connection does not.
_TIMEOUT = httpx.Timeout(120.0, connect=10.0)
_SAFE_TO_REPEAT = frozenset({"GET", "PUT", "DELETE"})

Json = Mapping[str, object]


def package_version() -> str:
    """The version of the installed distribution."""
    try:
        return metadata.version("sealmark")
    except metadata.PackageNotFoundError:
        return "unknown"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def checked_url(text: str) -> httpx.URL:
    """The service's address; a usage error where it is none, or where a token sent to it could be read on the way."""
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as exc:
        raise click.UsageError(f"{text!r} is not a URL") from exc
    if url.scheme not in ("http", "https") or not url.host:
        raise click.UsageError(f"{text!r} is not a URL of the form https://HOST[:PORT]")
    if url.userinfo or url.query or url.fragment:
        raise click.UsageError("the service's URL must not hold a user, a query or a fragment")
    if url.scheme == "http" and not _is_loopback(url.host):
        raise click.UsageError(f"refusing plain http to {url.host}: your token could be read on the way; use https")
    return url


def _tls_context(address: httpx.URL, proof: Proof) -> ssl.SSLContext | bool:
    """How the service is known. A plain call trusts no authority and reads none, which takes longer than a call."""
    if proof.certificate is not None:
        return proof.certificate.context()
    return True if address.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Client:
    """One connection to the service. Use as a context manager."""

    def __init__(
        self,
        url: str,
        proof: Proof | None = None,
        *,
        approval: Approval | None = None,
        limits: RetryLimits | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        address = checked_url(url)
        headers = {
            "User-Agent": f"sealmark/{package_version()}",
            "Accept": "application/json, application/problem+json, */*",
        }
        proof = proof if proof is not None else Proof()
        if proof.token is not None:
            headers["Authorization"] = f"Bearer {proof.token}"
        if proof.certificate is not None and address.scheme != "https":
            raise click.UsageError("a client certificate is shown by TLS: the service's URL must be https")
        self._signer = proof.signer
        self._limits = limits if limits is not None else RetryLimits()
        self._sleep = sleep
        self._approval = approval if approval is not None else Approval()
        self._shown_url = text_of_address(address)
        self._http = httpx.Client(
            base_url=address,
            headers=headers,
            timeout=_TIMEOUT,
            follow_redirects=False,
            verify=_tls_context(address, proof),
            # A proxy of the environment would see the token of a plain call to this very machine.
            trust_env=address.scheme == "https",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, query: Mapping[str, str] | None = None, *, request_id: str | None = None) -> Json:
        """The JSON object at `path`; `request_id` is recorded with the call as the caller's own."""
        return json_object(self._call("GET", path, query=query, request_id=request_id))

    def get_bytes(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """What stands at `path`, as it is."""
        return self._call("GET", path, query=query).content

    @contextmanager
    def lines(self, path: str, query: Mapping[str, str]) -> Iterator[Iterator[str]]:
        """The lines at `path`, as they come. Raises `Unreachable` where they break off."""
        request = self._http.build_request("GET", path, params=query)
        if self._signer is not None:
            self._signer.sign(request)
        try:
            response = self._http.send(request, stream=True)
            try:
                if not response.is_success:
                    response.read()
                    raise problem(response)
                yield response.iter_lines()
            finally:
                response.close()
        except httpx.TransportError as exc:
            text = str(exc) or type(exc).__name__
            raise Unreachable(f"the connection to {self._shown_url} broke: {text}") from exc

    def post(self, path: str, body: Json) -> Json:
        """Change the service's state; repeated only where the service turned the call away unread (429)."""
        return json_object(self._call("POST", path, body=body))

    def post_signing(self, path: str, body: Json) -> Json:
        """Ask for signatures: with an Idempotency-Key, so that a repeated call gives the first one's answer."""
        return json_object(self._call("POST", path, body=body, idempotency_key=str(uuid.uuid4())))

    def put(self, path: str, body: Json) -> Json:
        """Set what stands at `path`."""
        return json_object(self._call("PUT", path, body=body))

    def delete(self, path: str, body: Json | None = None) -> Json:
        """Delete what stands at `path`."""
        return json_object(self._call("DELETE", path, body=body))

    def pages(self, path: str, member: str, only: Mapping[str, str] | None = None) -> Iterator[Json]:
        """Every item of a list that comes in pages by cursor; `only` says which items."""
        seen: set[str] = set()
        query: dict[str, str] = dict(only or {})
        while True:
            page = self.get(path, query or None)
            items = page.get(member)
            if not isinstance(items, list):
                raise Unreachable(f"the answer has no list {member!r}")
            for item in items:
                yield as_object(item, member)
            cursor = page.get("next_cursor")
            if cursor is None:
                return
            if not isinstance(cursor, str) or cursor in seen:
                raise Unreachable("the list's pages do not come to an end")
            seen.add(cursor)
            query = {**(only or {}), "cursor": cursor}

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        query: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        request_id: str | None = None,
    ) -> httpx.Response:
        """One call; where others must approve it and the command is to wait for them, once more when they have."""
        known = {"Idempotency-Key": idempotency_key, "X-Request-Id": request_id}
        named = {name: value for name, value in known.items() if value is not None}
        given = {} if self._approval.given is None or method == "GET" else {HEADER: self._approval.given}
        try:
            return self._call_once(method, path, body, query, named | given)
        except CommandFailed as refused:
            if refused.code != "approval_required" or self._approval.wait is None:
                if refused.code == "approval_required":
                    note("This command asks for approval and goes on with it if --wait is added; --approval ID later.")
                raise
        released = obtain(self, self._approval, method, path, body or {}, self._sleep)
        return self._call_once(method, path, body, query, named | {HEADER: released})

    def _call_once(
        self, method: str, path: str, body: Json | None, query: Mapping[str, str] | None, headers: dict[str, str]
    ) -> httpx.Response:
        request = self._http.build_request(method, path, params=query, json=body, headers=headers)
        # What an approval releases is released once: repeated, the call would be told that it was used.
        repeatable = "Idempotency-Key" in headers or (method in _SAFE_TO_REPEAT and HEADER not in headers)

        def attempt() -> httpx.Response:
            return self._checked(self._send(request, repeatable), repeatable)

        return retrying(self._limits, self._sleep)(attempt)

    def _send(self, request: httpx.Request, repeatable: bool) -> httpx.Response:
        if self._signer is not None:
            self._signer.sign(request)  # each attempt: a signature is taken once
        try:
            return self._http.send(request)
        except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
            raise Unreachable(f"no service answers at {self._shown_url}: {exc}") from exc
        except httpx.TransportError as exc:
            message = f"the connection to {self._shown_url} broke: {str(exc) or type(exc).__name__}"
            if repeatable:
                raise TryAgain(message, code="unreachable") from exc
            raise Unreachable(f"{message}; it is not known whether the call was carried out") from exc
        except httpx.DecodingError as exc:
            raise Unreachable("the answer cannot be decoded") from exc

    def _checked(self, response: httpx.Response, repeatable: bool) -> httpx.Response:
        if response.is_success:
            return response
        failure = problem(response)
        busy = response.status_code == httpx.codes.TOO_MANY_REQUESTS
        later = response.status_code == httpx.codes.SERVICE_UNAVAILABLE or failure.code == "request_in_progress"
        if busy or (later and repeatable):
            again = TryAgain(failure.message, code=failure.code, field=failure.field, request_id=failure.request_id)
            again.retry_after = parse_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            raise again
        raise failure


def text_of_address(url: httpx.URL) -> str:
    """The address without a trailing slash."""
    return str(url).rstrip("/")


def open_client(settings: Settings | None = None, *, limits: RetryLimits | None = None) -> Client:
    """A client of the current command; a call that needs a token is refused before it is made where there is none.

    Where no token is given, the job's or pod's own identity is exchanged for one (`signer.cli.workload`).
    """
    found = settings if settings is not None else current_settings()
    proof = found.proof() or _session(found.url)
    if not proof:
        raise click.UsageError(
            "no token: set SEALMARK_TOKEN or give --token-file FILE (or another credential); a CI job needs none with "
            "its own identity (SEALMARK_OIDC_TOKEN, SEALMARK_OIDC_TOKEN_FILE, or GitHub's `id-token: write`)"
        )
    return Client(found.url, proof, approval=current_approval(), limits=limits)


def _session(url: str) -> Proof | None:
    audience = audience_for(url)
    identity = find_identity_token(audience)
    if identity is None:
        return None
    with Client(url, None) as client:
        return Proof(token=exchange(client, identity, None, audience)[0])


def open_public_client() -> Client:
    """A client for what anyone may read; a credential is shown where there is one, for keys that are not published."""
    found = current_settings()
    return Client(found.url, found.proof())


def problem(response: httpx.Response) -> CommandFailed:
    """The failure that an answer describes (RFC 9457), or one that says that the answer is not the service's."""
    try:
        members = json.loads(response.content)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict) or not isinstance(members.get("code"), str):
        return Unreachable(
            f"HTTP {response.status_code} without a problem description from {response.url.copy_with(query=None)}: "
            "is this address Sealmark's?"
        )

    def text(name: str) -> str | None:
        value = members.get(name)
        return value if isinstance(value, str) and value else None

    message = text("detail") or text("title") or f"HTTP {response.status_code}"
    return CommandFailed(message, code=members["code"], field=text("field"), request_id=text("request_id"))


def json_object(response: httpx.Response) -> Json:
    """The JSON object that an answer holds; an empty answer (204) is an empty object."""
    if not response.content:
        return {}
    try:
        value = json.loads(response.content)
    except (ValueError, RecursionError) as exc:
        raise Unreachable("the answer is not JSON: is this address Sealmark's?") from exc
    return as_object(value, "answer")


def as_object(value: object, what: str) -> Json:
    """`value`, which must be a JSON object."""
    if not isinstance(value, dict):
        raise Unreachable(f"the {what} is not a JSON object: is this address Sealmark's?")
    return value


def text_member(members: Json, name: str) -> str:
    """A member of an answer that must be a text."""
    value = members.get(name)
    if not isinstance(value, str):
        raise Unreachable(f"the answer has no text {name!r}")
    return value
