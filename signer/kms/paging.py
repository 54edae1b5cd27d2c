"""Lists in pages: `Limit` and `Marker` in, `Truncated` and `NextMarker` out.

A marker says behind what its list goes on; it is opaque to callers, and one that is none of ours is refused.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from signer.kms.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence


def after(marker: str | None, member: str) -> str | None:
    """Behind what a page of this list begins; None: at the beginning. Raises `Refusal`: `InvalidMarkerException`."""
    if marker is None:
        return None
    try:
        told = base64.urlsafe_b64decode(marker.encode("ascii")).decode()
    except (binascii.Error, ValueError) as error:
        raise _foreign() from error
    of, separator, last = told.partition(":")
    if not separator or of != member or _marker(last, member) != marker:
        raise _foreign()
    return last


def page(member: str, shown: Sequence[object], last: str | None) -> dict[str, object]:
    """A page's members; `last` is behind what the next one begins, None where there is none."""
    following = {} if last is None else {"NextMarker": _marker(last, member)}
    return {member: list(shown), "Truncated": last is not None, **following}


def _marker(last: str, member: str) -> str:
    return base64.urlsafe_b64encode(f"{member}:{last}".encode()).decode()


def _foreign() -> Refusal:
    return Refusal("InvalidMarkerException", "Could not deserialize marker.", code="malformed_request", field="marker")
