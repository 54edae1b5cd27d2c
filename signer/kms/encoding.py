"""Results as AWS writes them: blobs in base64, times as seconds since the epoch, no member without a value."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


def encode(content: object) -> bytes:
    """The body of an answer; empty where an operation has no output at all (None)."""
    return b"" if content is None else msgspec.json.encode(_plain(content))


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return _members(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.timestamp() if isinstance(value, datetime) else value


def _members(content: Mapping[str, object]) -> dict[str, object]:
    return {name: _plain(value) for name, value in content.items() if value is not None}
