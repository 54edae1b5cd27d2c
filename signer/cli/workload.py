"""The identity that a CI job or a pod has by itself: its OIDC token, exchanged for a short session.

So no long-lived secret stands in a job's settings. The token is taken from SEALMARK_OIDC_TOKEN (GitLab's `id_tokens`),
from the file that SEALMARK_OIDC_TOKEN_FILE names (Kubernetes), or asked of GitHub, whose jobs with `id-token: write`
have an address for it. It is sent to the service alone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import click
import httpx

from signer.cli.credentials import secret_from_text
from signer.cli.errors import CommandFailed
from signer.cli.retry import RetryLimits, TryAgain, retrying

TOKEN_VARIABLE = "SEALMARK_OIDC_TOKEN"
FILE_VARIABLE = "SEALMARK_OIDC_TOKEN_FILE"
AUDIENCE_VARIABLE = "SEALMARK_OIDC_AUDIENCE"
ROLE_VARIABLE = "SEALMARK_OIDC_ROLE"
GITHUB_URL_VARIABLE = "ACTIONS_ID_TOKEN_REQUEST_URL"
GITHUB_TOKEN_VARIABLE = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
_LONGEST_TOKEN = 16 * 1024
_LARGEST_ANSWER = 64 * 1024
_TIMEOUT = httpx.Timeout(10.0)


class Poster(Protocol):
    """What is needed of a client without a credential."""

    def post(self, path: str, body: Mapping[str, object]) -> Mapping[str, object]: ...


def audience_for(url: str, given: str | None = None) -> str:
    """Whom the token is asked for: as given, else SEALMARK_OIDC_AUDIENCE, else the service's own address."""
    return given or os.environ.get(AUDIENCE_VARIABLE) or url.rstrip("/")


def find_identity_token(audience: str) -> str | None:
    """The token of this job or pod; None where it has none."""
    text, path = os.environ.get(TOKEN_VARIABLE), os.environ.get(FILE_VARIABLE)
    if text and path:
        raise click.UsageError(f"{TOKEN_VARIABLE} and {FILE_VARIABLE} are both set: unset one")
    if text:
        return checked_token(text, TOKEN_VARIABLE)
    if path:
        return read_token_file(Path(path))
    if os.environ.get(GITHUB_URL_VARIABLE):
        return github_token(audience)
    return None


def read_token_file(path: Path) -> str:
    """The token in a file, which its cluster may let others read: it lives for minutes."""
    try:
        with path.open("rb") as stream:
            content = stream.read(_LONGEST_TOKEN + 1)
    except OSError as exc:
        raise CommandFailed(f"{path} cannot be read: {exc.strerror}", code="unreadable_file") from exc
    return checked_token(content.decode("ascii", errors="replace"), f"the token file {path}")


def checked_token(text: str, source: str) -> str:
    """A JWT by its form. Its value is never part of an error."""
    token = text.strip()
    if len(token) > _LONGEST_TOKEN or token.count(".") != 2 or any(not "!" <= each <= "~" for each in token):
        raise CommandFailed(f"{source} does not hold one token of the form eyJ….eyJ….…", code="bad_token")
    return token


def github_token(audience: str) -> str:
    """A fresh token of this GitHub Actions job (GitHub Docs, "OpenID Connect reference")."""
    address, secret = os.environ.get(GITHUB_URL_VARIABLE, ""), os.environ.get(GITHUB_TOKEN_VARIABLE, "")
    if not address or not secret:
        raise CommandFailed(
            "this job may not ask GitHub for a token: give it `permissions: id-token: write`", code="no_identity"
        )
    try:
        url = httpx.URL(address).copy_merge_params({"audience": audience})
    except (httpx.InvalidURL, ValueError) as exc:
        raise CommandFailed(f"{GITHUB_URL_VARIABLE} is not a URL", code="bad_token") from exc
    if url.scheme != "https" and not (url.scheme == "http" and url.host in ("127.0.0.1", "localhost", "::1")):
        raise CommandFailed(f"{GITHUB_URL_VARIABLE} is not https", code="bad_token")
    headers = {"Authorization": f"Bearer {secret_from_text(secret, GITHUB_TOKEN_VARIABLE)}"}
    answer = retrying(RetryLimits(attempts=4, seconds=30), time.sleep)(lambda: _asked(url, headers))
    try:
        value = json.loads(answer).get("value")
    except (ValueError, AttributeError, RecursionError) as exc:
        raise CommandFailed("GitHub's answer holds no token", code="no_identity") from exc
    if not isinstance(value, str):
        raise CommandFailed("GitHub's answer holds no token", code="no_identity")
    return checked_token(value, "GitHub's answer")


def _asked(url: httpx.URL, headers: Mapping[str, str]) -> bytes:
    try:
        with httpx.Client(timeout=_TIMEOUT, follow_redirects=False, trust_env=url.scheme == "https") as client:
            answer = client.get(url, headers=dict(headers))
    except httpx.HTTPError as exc:
        raise TryAgain(f"GitHub cannot be asked for a token: {type(exc).__name__}", code="no_identity") from exc
    if answer.status_code >= 500 or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise TryAgain(f"GitHub was asked for a token and answered {answer.status_code}", code="no_identity")
    if not answer.is_success or len(answer.content) > _LARGEST_ANSWER:
        raise CommandFailed(f"GitHub was asked for a token and answered {answer.status_code}", code="no_identity")
    return answer.content


def exchange(client: Poster, token: str, role: str | None, audience: str) -> tuple[str, str, int]:
    """A session for the token: (its own token, its role, how many seconds it lives). Each token is taken once."""
    asked = role or os.environ.get(ROLE_VARIABLE)
    body = {"subject_token": token, **({"role": asked} if asked else {})}
    try:
        answer = client.post("/v1/token-exchange", body)
    except CommandFailed as refusal:
        if refusal.code != "unauthenticated":
            raise
        message = (
            f"{refusal.message}. The token was asked for, or should be for, the audience {audience}. A token is "
            "taken once: for several commands with the same one, type `sealmark login` once and use its --token-out"
        )
        raise CommandFailed(message, code=refusal.code, request_id=refusal.request_id) from refusal
    session, name, seconds = answer.get("access_token"), answer.get("name"), answer.get("expires_in")
    if not isinstance(session, str) or not isinstance(name, str) or not isinstance(seconds, int):
        raise CommandFailed("the answer holds no session: is this address Sealmark's?", code="unreachable")
    return secret_from_text(session, "the token in the answer"), name, seconds
