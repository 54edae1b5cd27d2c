"""Calls of AWS's wire protocol, made of the operations' own structs: valid members, bounds, and what fits nothing.

The OpenAPI document tells of `POST /` as one call with open members, so a generator of documents never gets past the
first look. Here each member has a value of its type most of the time, and one of another kind otherwise.
"""

from __future__ import annotations

import base64
import json
import random
import time
from typing import TYPE_CHECKING, Any, Final

import httpx
import msgspec
from msgspec import inspect

from signer.kms.operations import MEDIA_TYPE, OPERATIONS
from tests.hostile.canaries import Canaries

if TYPE_CHECKING:
    from tests.hostile.scene import Scene

TEXTS: Final = (
    "",
    "a",
    "alias/app",
    "\x00",
    "é\u2028",
    "../../etc/passwd",
    "'; --",
    "arn:aws:kms:a:b:key/c",
    "9" * 300,
)
STRANGE: Final[tuple[Any, ...]] = (
    None,
    True,
    -1,
    2**63,
    1.5e300,
    "",
    [],
    {},
    {"a": {"b": [None]}},
    "AA=",
    [[[]]],
    "\ud800",
)
# In half of the bodies each member has the type that is asked for; in the others so many of them.
FITTING: Final = 0.8
CALLERS: Final = (*("key-user", "key-administrator") * 3, "administrator", "auditor")
LEFT_OUT: Final = (0.3, 0.9)  # of the members that may be: in one body many are there, in another few


def calls(stage: Scene, seed: int, most: int) -> list[dict[str, Any]]:
    """So many calls; what came of each, as tests/hostile/hooks.py writes it down."""
    chance, canaries = random.Random(seed), Canaries(stage.secrets)  # noqa: S311 (repeatable on purpose)
    maker, told = Maker(chance, stage.known["key"]), []
    names, tokens = sorted(OPERATIONS), [stage.tokens[duty] for duty in CALLERS]
    with httpx.Client(base_url=stage.service.url, trust_env=False, timeout=30) as client:
        for number in range(most):
            name = names[number % len(names)]
            headers = {
                "X-Amz-Target": f"TrentService.{name}",
                "Content-Type": MEDIA_TYPE,
                "Authorization": f"Bearer {chance.choice(tokens)}",
            }
            body = maker.body(OPERATIONS[name].request)
            begun = time.monotonic()
            try:
                answer = client.post("/", content=body, headers=headers)
            except httpx.HTTPError as error:
                told.append({"operation": f"POST / {name}", "status": 0, "answer": type(error).__name__})
                continue
            line: dict[str, Any] = {
                "operation": f"POST / {name}",
                "status": answer.status_code,
                "seconds": time.monotonic() - begun,
                "leaks": sorted(canaries.within(answer.content)),
            }
            if answer.status_code >= 500:
                line |= {"answer": answer.text[:2000], "body": body[:2000].decode("utf-8", "replace")}
            told.append(line)
    return told


class Maker:
    """Makes bodies. `keys` are named where a key is."""

    def __init__(self, chance: random.Random, keys: list[str]) -> None:
        self._chance = chance
        self._keys = keys
        self._fitting = self._left_out = 0.0

    def body(self, request_type: type[msgspec.Struct]) -> bytes:
        """JSON of the type, or what is nearly JSON."""
        self._fitting, self._left_out = self._chance.choice((FITTING, 1.0)), self._chance.choice(LEFT_OUT)
        made = json.dumps(self._object(request_type)).encode()
        if self._chance.random() < 0.05:
            return made[: self._chance.randint(0, len(made))]
        return made

    def _object(self, struct: type[msgspec.Struct]) -> dict[str, Any]:
        described = inspect.type_info(struct)
        if not isinstance(described, inspect.StructType):
            raise TypeError(f"{struct} is no struct")
        made = {}
        for each in described.fields:
            if not each.required and self._chance.random() < self._left_out:
                continue
            made[each.encode_name] = self._member(each.encode_name, each.type)
        if self._chance.random() < 0.05:
            made["Unknown"] = self._chance.choice(STRANGE)
        return made

    def _member(self, name: str, kind: inspect.Type) -> Any:
        if self._chance.random() > self._fitting:
            return self._chance.choice(STRANGE)
        if name.endswith("KeyId") and self._chance.random() < 0.9:
            key = self._chance.choice(self._keys)
            return key if "-" in key and key[0] in "0123456789abcdef" and len(key) > 30 else f"alias/{key}"
        return self._value(kind)

    def _value(self, kind: inspect.Type) -> Any:
        chance = self._chance
        if isinstance(kind, inspect.UnionType):
            return self._value(chance.choice(kind.types))
        if isinstance(kind, inspect.LiteralType):
            return chance.choice(kind.values)
        if isinstance(kind, inspect.BytesType):
            return base64.b64encode(chance.randbytes(self._length(kind.min_length, kind.max_length))).decode()
        if isinstance(kind, inspect.StrType):
            return self._text(kind)
        if isinstance(kind, inspect.IntType):
            return chance.choice((kind.ge or 0, kind.le or 100, 7, *(() if self._fitting == 1.0 else (-1, 2**40))))
        if isinstance(kind, inspect.FloatType):
            return chance.choice((0, 1.5, -1, 2e9, 1e300))
        if isinstance(kind, inspect.BoolType):
            return chance.random() < 0.5
        if isinstance(kind, inspect.ListType):
            return [self._value(kind.item_type) for _ in range(chance.choice((0, 1, 2, 60)))]
        if isinstance(kind, inspect.DictType):
            return {text: self._value(kind.value_type) for text in chance.sample(TEXTS, 2)}
        if isinstance(kind, inspect.StructType):
            return self._object(kind.cls)
        return None

    def _text(self, kind: inspect.StrType) -> str:
        chance = self._chance
        if self._fitting < 1.0 and chance.random() < 0.5:
            return chance.choice(TEXTS)
        return "a" * self._length(kind.min_length, kind.max_length)

    def _length(self, least: int | None, most: int | None) -> int:
        beyond = () if self._fitting == 1.0 else ((most or 64) + 1, max((least or 0) - 1, 0))
        lengths: tuple[int, ...] = (least or 0, most or 64, 32, 32, *beyond)
        return self._chance.choice(lengths)
