"""JSON read strictly: UTF-8, unique members, exact numbers, no lone surrogates (RFC 8259, RFC 7493 section 2).

Python's `json` accepts duplicate members, NaN, Infinity, UTF-16 and unpaired surrogates, and keeps integers that other
readers round; two readers could then see two different messages under one signature.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

MAXIMUM_DEPTH: Final = 64  # of objects and arrays inside each other, the outermost object being the first
MAXIMUM_INTEGER: Final = 2**53 - 1  # RFC 7493 section 2.2: a reader that has doubles only rounds what is larger
_TOO_DEEP: Final = "the JSON is nested too deeply"

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"


def _unique_members(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member name occurs twice in one object")
    return members


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return number


def _exact(text: str) -> int:
    # Its length first: a very long number takes long to read.
    if len(text) > len(str(-MAXIMUM_INTEGER)) or abs(int(text)) > MAXIMUM_INTEGER:
        raise ValueError("an integer is larger than 2^53 - 1, so that readers would disagree about it")
    return int(text)


def _check_depth(value: JsonValue) -> None:
    level, depth = [value], 0
    while level := [each for each in level if isinstance(each, (dict, list))]:  # tuples are quicker here than unions
        depth += 1
        if depth > MAXIMUM_DEPTH:
            raise ValueError(_TOO_DEEP)
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique_members, parse_constant=_no_constant, parse_float=_finite, parse_int=_exact
)


def parse_object(data: bytes) -> dict[str, JsonValue]:
    """The one JSON object in `data`. ValueError with the reason for anything else."""
    try:
        value: JsonValue = _DECODER.decode(data.decode("utf-8"))
        _check_depth(value)
        if b"\\u" in data:
            # An escaped lone surrogate has no UTF-8 form: nothing that prints or compares it downstream would agree.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        raise ValueError("the text is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON at character {error.pos}") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def check_members(value: dict[str, JsonValue], where: str, *, exactly: AbstractSet[str]) -> None:
    """ValueError unless the object has exactly these members. `where` names it in the message."""
    if unknown := sorted(value.keys() - exactly):
        raise ValueError(f"{where} has an unknown member {unknown[0]!r}")
    if missing := sorted(exactly - value.keys()):
        raise ValueError(f"{where} lacks the member {missing[0]!r}")
