"""JSON: what the strict reader accepts is one object that every reader of JSON understands alike."""

from __future__ import annotations

import json

from verifier.strict_json import parse_object

NAME = "strict_json"


def seeds() -> list[bytes]:
    """Every kind of value, and what is at the border of what is read."""
    return [
        b'{"a":1,"b":-0.5e3,"c":true,"d":null,"e":"\\u00fc\\ud83d\\ude00","f":[1,[2,{"g":{}}]]}',
        b'{"integer":9007199254740991,"small":-9007199254740991,"float":1e300}',
        b'{"deep":' + b"[" * 63 + b"]" * 63 + b"}",
        b'{"twice":1,"twice":2}',
        b'{"n":NaN,"i":Infinity}',
        b'{"half":"\\ud800"}',
        json.dumps({"text": "é" * 40, "list": list(range(20))}, ensure_ascii=False, indent=1).encode(),
    ]


def one(data: bytes) -> None:
    """Refused with ValueError, or written and read again without a change."""
    try:
        value = parse_object(data)
    except ValueError:
        return
    again = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    if parse_object(again) != value:
        raise AssertionError("the object is another one when it is written and read again")
