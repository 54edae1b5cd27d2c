"""Pages by cursor: `?limit=1..1000&cursor=…`, answered with `next_cursor` (null on the last page).

A cursor is opaque to callers: the id of the last row shown, base64url.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from flask import request

from signer.authn.sigv4_request import PARAMETERS as SIGNATURE_PARAMETERS
from signer.errors import MalformedRequest

DEFAULT_LIMIT: Final = 100
LARGEST_LIMIT: Final = 1000
_LIMIT: Final = re.compile(r"[1-9][0-9]{0,3}")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}")
_FOREIGN_CURSOR: Final = "cursor is not one that this service gave"
QUERY: Final = {"limit": f"rows a page, 1 to {LARGEST_LIMIT}", "cursor": "`next_cursor` of the page before"}


@dataclass(frozen=True, slots=True)
class Page:
    """What is asked for: at most `limit` rows whose id sorts after `after`."""

    limit: int
    after: str | None


def requested_page(*more: str) -> Page:
    """The page that the query asks for; `more` are parameters that the call has besides. Raises `MalformedRequest`."""
    require_known_parameters("limit", "cursor", *more)
    limit = request.args.get("limit", str(DEFAULT_LIMIT))
    if not _LIMIT.fullmatch(limit) or not 1 <= int(limit) <= LARGEST_LIMIT:
        msg = f"limit is a whole number from 1 to {LARGEST_LIMIT}"
        raise MalformedRequest(msg, field="limit")
    return Page(int(limit), _decoded(request.args.get("cursor")))


def next_cursor(last_id: str | None) -> str | None:
    """The cursor for what comes after `last_id`; None where there is no more."""
    return None if last_id is None else base64.urlsafe_b64encode(last_id.encode()).decode()


def number_after(page: Page) -> int:
    """The number that a page goes on from, for rows that are numbered; 0 for the first. Raises `MalformedRequest`."""
    if page.after is None:
        return 0
    if not _NUMBER.fullmatch(page.after):
        raise MalformedRequest(_FOREIGN_CURSOR, field="cursor")
    return int(page.after)


def require_known_parameters(*known: str) -> None:
    """Refuses any query parameter that the call does not have, or has twice."""
    for name, values in request.args.lists():
        if (name not in known and name not in SIGNATURE_PARAMETERS) or len(values) != 1:
            msg = f"unknown or repeated query parameter; this call has {', '.join(known) or 'none'}"
            raise MalformedRequest(msg, field=name)


def asked_parameters() -> dict[str, str]:
    """The call's own query parameters, without those of a presigned request's signature."""
    return {name: value for name, value in request.args.to_dict().items() if name not in SIGNATURE_PARAMETERS}


def _decoded(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise MalformedRequest(_FOREIGN_CURSOR, field="cursor") from error
