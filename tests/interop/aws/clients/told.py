"""What the clients' programs have in common: keys come in and results go out as JSON, refusals by their names."""

from __future__ import annotations

import base64
import json
import sys
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable


def given() -> dict[str, Any]:
    """What the test wrote to the program."""
    found: dict[str, Any] = json.load(sys.stdin)
    return found


def tell(**results: object) -> None:
    """Bytes are written in base64."""
    json.dump(results, sys.stdout, default=lambda value: base64.b64encode(value).decode())


def refusal(call: Callable[..., object], **members: object) -> str:
    """The exception's name by the service model. Raises `AssertionError` where nothing is refused."""
    try:
        call(**members)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    raise AssertionError(f"{call} with {members} was not refused")


def flipped(content: bytes, at: int = -1) -> bytes:
    """The same with one bit changed."""
    changed = bytearray(content)
    changed[at] ^= 1
    return bytes(changed)
