"""Issuers: who tokens and assertions speak for."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from keystore.api import Issuer
from keystore.errors import Conflict as Taken
from signer.errors import Conflict, Unprocessable

if TYPE_CHECKING:
    from keystore.keystore import Keystore
    from signer.request import NewIssuer


# The members that name places of other people's; each may be absent.
ENDPOINTS: Final = ("jwks_uri", "authorization_endpoint", "token_endpoint", "sign_on_url")
# RFC 3986 section 2 without `?` and `#`: even an empty query or fragment makes another URL to who compares text.
_URL_CHARACTERS: Final = re.compile(r"[A-Za-z0-9\-._~:/@!$&'()*+,;=%\[\]]+")
_WITH_QUERY: Final = re.compile(r"[A-Za-z0-9\-._~:/@!$&'()*+,;=%\[\]?]+")  # RFC 6749 section 3.1: no fragment


class IssuerAdministration:
    """Every change to issuers."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore

    def create(self, body: NewIssuer) -> Issuer:
        """A new issuer. Raises `Unprocessable` for what is no such URL, `Conflict` if the name is taken."""
        require_issuer_url(body.url)
        for member in ENDPOINTS:
            endpoint = getattr(body, member)
            if endpoint is not None:
                require_endpoint(endpoint, member)
        if not body.name.isprintable():  # `$` of the body's pattern lets a last line feed pass
            msg = "name is 1 to 63 of a-z, 0-9 and -"
            raise Unprocessable(msg, field="name")
        entity_id = body.entity_id or body.url
        if any(character.isspace() or not character.isprintable() for character in entity_id):
            msg = "entity_id is a URI without white space"
            raise Unprocessable(msg, field="entity_id")
        issuer = Issuer(
            str(uuid.uuid4()),
            body.name,
            body.url,
            entity_id,
            self._keystore.clock(),
            jwks_uri=body.jwks_uri,
            authorization_endpoint=body.authorization_endpoint,
            token_endpoint=body.token_endpoint,
            sign_on_url=body.sign_on_url,
        )
        try:
            self._keystore.create_issuer(issuer)
        except Taken as taken:
            msg = f"there is an issuer {body.name} already"
            raise Conflict(msg, field="name") from taken
        return issuer


def require_issuer_url(url: str) -> None:
    """An issuer is a URL with host, without query or fragment (OpenID Connect Core section 2); http on loopback
    only. Raises `Unprocessable`."""
    _require_url(url, "url", _URL_CHARACTERS, "credentials, query and fragment")


def require_endpoint(url: str, member: str) -> None:
    """An endpoint is such a URL too, which may have a query (RFC 6749 sections 3.1 and 3.2). Raises `Unprocessable`."""
    _require_url(url, member, _WITH_QUERY, "credentials and fragment")


def _require_url(url: str, member: str, characters: re.Pattern[str], without: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port  # read, since only reading it shows that it is none
    except ValueError as error:
        msg = f"{member} is not a URL"
        raise Unprocessable(msg, field=member) from error
    local = host in ("localhost", "127.0.0.1", "::1")
    if not host or "@" in parts.netloc or not characters.fullmatch(url):
        msg = f"{member} is an https URL without {without}"
        raise Unprocessable(msg, field=member)
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        msg = f"{member} must be https (http only for this machine's own address)"
        raise Unprocessable(msg, field=member)
