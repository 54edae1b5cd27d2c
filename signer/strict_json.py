"""JSON of strangers read strictly: UTF-8, unique members, finite numbers, whole characters (RFC 8259, RFC 7493).

Python's own reader takes the last of two members of one name; another reader takes the first. What is judged here must
be what every reader sees.
"""

from __future__ import annotations

import json
import math
from typing import Final

MAXIMUM_DEPTH: Final = 32
MAXIMUM_INTEGER: Final = 2**53 - 1  # RFC 7493 section 2.2


def parse_object(data: bytes) -> dict[str, object]:
    """The one JSON object in `data`. Raises `ValueError` with the reason."""
    try:
        value: object = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_exact,
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair has no UTF-8 form
    except UnicodeError:
        raise ValueError("it is not UTF-8") from None
    except json.JSONDecodeError:
        raise ValueError("it is not JSON") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    _require_depth(value, MAXIMUM_DEPTH)
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice in one object")
    return members


def _refuse_constant(_name: str) -> float:
    raise ValueError("NaN and infinity are not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return number


def _exact(text: str) -> int:
    if len(text) > len(str(-MAXIMUM_INTEGER)) or abs(int(text)) > MAXIMUM_INTEGER:
        raise ValueError("an integer is larger than 2^53 - 1")
    return int(text)


def _require_depth(value: object, left: int) -> None:
    if not isinstance(value, dict | list):
        return
    if left == 0:
        raise ValueError("it is nested too deeply")
    for inner in value.values() if isinstance(value, dict) else value:
        _require_depth(inner, left - 1)
