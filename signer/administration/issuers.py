"""Issuers: who tokens and assertions speak for."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from keystore.api import Issuer
from keystore.errors import Conflict as Taken
from signer.errors import Conflict, Unprocessable

if TYPE_CHECKING:
    from keystore.keystore import Keystore
    from signer.request import NewIssuer


class IssuerAdministration:
    """Every change to issuers."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore

    def create(self, body: NewIssuer) -> Issuer:
        """A new issuer. Raises `Unprocessable` for what is no issuer URL, `Conflict` if the name is taken."""
        require_issuer_url(body.url)
        entity_id = body.entity_id or body.url
        if any(character.isspace() or not character.isprintable() for character in entity_id):
            msg = "entity_id is a URI without white space"
            raise Unprocessable(msg, field="entity_id")
        issuer = Issuer(str(uuid.uuid4()), body.name, body.url, entity_id, datetime.now(UTC))
        try:
            self._keystore.create_issuer(issuer)
        except Taken as taken:
            msg = f"there is an issuer {body.name} already"
            raise Conflict(msg, field="name") from taken
        return issuer


def require_issuer_url(url: str) -> None:
    """An issuer is a URL with host, without query or fragment (OpenID Connect Core section 2); http on loopback
    only."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        msg = "url is not a URL"
        raise Unprocessable(msg, field="url") from error
    local = host in ("localhost", "127.0.0.1", "::1")
    if (
        not host
        or parts.query
        or parts.fragment
        or parts.username
        or not url.isascii()
        or not url.isprintable()
        or " " in url
    ):
        msg = "url is an https URL without credentials, query and fragment"
        raise Unprocessable(msg, field="url")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        msg = "url must be https (http only for this machine's own address)"
        raise Unprocessable(msg, field="url")
