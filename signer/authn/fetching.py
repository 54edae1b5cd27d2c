"""Fetches an issuer's documents: the only connections that the service opens by itself, to addresses that an
administrator wrote down.

https, or http on this machine alone; no redirect is followed; no more is read than a key set can be; and all of it
within one time limit, whatever the other side does.
"""

from __future__ import annotations

import ipaddress
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx

from signer import strict_json
from signer.authn.token_keys import parse_key_set

if TYPE_CHECKING:
    from keystore.trust import TrustedIssuer
    from signer.authn.token_keys import KeySet

LARGEST_DOCUMENT: Final = 256 * 1024  # octets
TIME_LIMIT: Final = 5.0  # seconds, for discovery and key set together
_TIMEOUT: Final = httpx.Timeout(TIME_LIMIT)
DISCOVERY_PATH: Final = "/.well-known/openid-configuration"  # OpenID Connect Discovery section 4


class NotFetched(Exception):
    """There is no key set to be had just now; the message says why, for the log."""


def fetch_key_set(issuer: TrustedIssuer) -> KeySet:
    """The issuer's key set as it is published now. Raises `NotFetched`, after `TIME_LIMIT` at the latest."""
    result: Future[KeySet] = Future()
    # A thread of its own: a peer that sends an octet now and then passes every timeout of a read.
    threading.Thread(target=_complete, args=(result, issuer), name="fetch-key-set", daemon=True).start()
    try:
        return result.result(TIME_LIMIT)
    except TooLate:
        raise NotFetched(f"no whole answer within {TIME_LIMIT:.0f} s") from None


def _complete(result: Future[KeySet], issuer: TrustedIssuer) -> None:
    try:
        result.set_result(_key_set(issuer))
    except NotFetched as reason:
        result.set_exception(reason)
    except Exception as error:  # noqa: BLE001 - whoever waits must be told, whatever it is; a stranger's words are not
        result.set_exception(NotFetched(f"{type(error).__name__} while the key set was fetched"))


def _key_set(issuer: TrustedIssuer) -> KeySet:
    url = issuer.jwks_url or _discovered(issuer.url)
    try:
        return parse_key_set(_document(url))
    except ValueError as reason:
        raise NotFetched(f"the key set at {_shown(url)}: {reason}") from None


def _discovered(issuer_url: str) -> str:
    """Where the issuer says that its keys are: at its own origin. Elsewhere is for an administrator to write down."""
    try:
        document = strict_json.parse_object(_document(issuer_url.rstrip("/") + DISCOVERY_PATH))
    except ValueError as reason:
        raise NotFetched(f"the discovery document of {issuer_url}: {reason}") from None
    if document.get("issuer") != issuer_url:
        raise NotFetched("the discovery document is of another issuer")
    url = document.get("jwks_uri")
    if not isinstance(url, str) or not url.isascii():
        raise NotFetched("the discovery document has no jwks_uri")
    try:
        elsewhere = _origin(url) != _origin(issuer_url)
    except ValueError:
        raise NotFetched("the discovery document's jwks_uri is not a URL") from None
    if elsewhere:
        raise NotFetched(f"jwks_uri is at another origin, {_shown(url)}: if that is right, set it as jwks_url")
    return url


def _document(url: str) -> bytes:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise NotFetched(f"{_shown(url)} is not https")
    headers = {"Accept": "application/json", "User-Agent": "sealmark", "Accept-Encoding": "identity"}
    found = bytearray()
    try:
        # The environment's proxies and CAs count for what is elsewhere, not for this machine.
        with (
            httpx.Client(timeout=_TIMEOUT, follow_redirects=False, trust_env=parts.scheme == "https") as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                redirected = " (redirects are not followed)" if answer.is_redirect else ""
                raise NotFetched(f"{_shown(url)} answered {answer.status_code}{redirected}")
            for chunk in answer.iter_bytes():
                found += chunk
                if len(found) > LARGEST_DOCUMENT:
                    raise NotFetched(f"{_shown(url)} answered more than {LARGEST_DOCUMENT} octets")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotFetched(f"{_shown(url)} cannot be fetched: {type(error).__name__}") from error
    return bytes(found)


def is_loopback(host: str) -> bool:
    """Whether the host is this machine, by its name alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    default = {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", parts.port or default


def _shown(url: str) -> str:
    """Without user and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"
