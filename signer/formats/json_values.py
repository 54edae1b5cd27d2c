"""What a caller's JSON values must be before the service signs them: values that every reader reads alike.

`sealmark-verifier` refuses what is refused here, so nothing else may be signed.
"""

from __future__ import annotations

import math
from typing import Final

from signer.errors import Unprocessable

MAXIMUM_INTEGER: Final = 2**53 - 1  # RFC 7493 section 2.2: readers that have doubles only round what is larger


def require_text(value: str, field: str) -> None:
    """Refuse half a surrogate pair: UTF-8 has no such thing, and readers disagree about what it becomes."""
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        message = "the text holds half a surrogate pair"
        raise Unprocessable(message, field=field)


def require_value(value: object, field: str, *, depth: int, deepest: int) -> None:
    """Pass for a JSON value (RFC 8259) that all readers read alike (RFC 7493): no NaN, no infinity, no rounded integer.

    `depth` is where it stands, the outermost object being 1; `deepest` how deep objects and arrays may stand.

    Raises: `Unprocessable` naming `field`.
    """
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, int):
        if abs(value) > MAXIMUM_INTEGER:
            message = f"integers go up to {MAXIMUM_INTEGER}: many readers round what is larger; send it as a string"
            raise Unprocessable(message, field=field)
    elif isinstance(value, str):
        require_text(value, field)
    elif isinstance(value, float):
        if not math.isfinite(value):
            message = "NaN and infinity are not JSON"
            raise Unprocessable(message, field=field)
    elif isinstance(value, (dict, list)):
        if depth > deepest:
            message = f"objects and arrays may stand {deepest} deep inside each other"
            raise Unprocessable(message, field=field)
        _require_members(value, field, depth, deepest)
    else:
        message = "the value is not JSON"
        raise Unprocessable(message, field=field)


def _require_members(value: dict[object, object] | list[object], field: str, depth: int, deepest: int) -> None:
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):
                message = "members of objects have names that are strings"
                raise Unprocessable(message, field=field)
            require_text(name, field)
    for member in value.values() if isinstance(value, dict) else value:
        require_value(member, field, depth=depth + 1, deepest=deepest)
