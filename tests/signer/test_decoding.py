"""A body that does not fit is refused in words that a person understands, whatever form was wanted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from signer import request
from signer.decoding import decode
from signer.errors import MalformedRequest
from signer.regions import statements

if TYPE_CHECKING:
    from collections.abc import Iterator

BODIES = sorted(
    (
        found
        for module in (request, statements)
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, request.Body)
    ),
    key=lambda body: body.__name__,
)


def patterns(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        for inner in schema.values():
            yield from patterns(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from patterns(inner)


def test_every_pattern_has_its_words() -> None:
    assert set(patterns(list(msgspec.json.schema_components(BODIES)))) == set(request.FORMS)


@pytest.mark.parametrize(
    ("body", "members", "field", "said"),
    [
        (request.NewPrincipal, {"name": "ci", "duty": "key-user"}, "name", "role/NAME, such as role/ci"),
        (request.NewPrincipal, {"name": "role/a\n", "duty": "key-user"}, "name", "role/NAME, such as role/ci"),
        (request.NewKeyBody, {"alias": "a b", "spec": "x", "purpose": "jwt"}, "alias", "1 to 250 letters"),
        (request.NewIssuer, {"name": "Shop", "url": "https://x.example"}, "name", "1 to 63 lower-case letters"),
        (request.Digests, {"sha256": "A" * 64}, "sha256", "64 lower-case hex digits"),
        (request.Digests, {"sha384": "ab"}, "sha384", "96 lower-case hex digits"),
        (request.Digests, {"sha512": ""}, "sha512", "128 lower-case hex digits"),
    ],
)
def test_the_form_is_told(body: type[request.Body], members: dict[str, str], field: str, said: str) -> None:
    with pytest.raises(MalformedRequest, match=re.escape(said)) as refusal:
        decode(json.dumps(members).encode(), body)
    assert refusal.value.field == field
    assert "regex" not in refusal.value.message


_AT_ONCE = """
import sys, threading, time
import msgspec
from signer.decoding import decode, decode_query
def slow():
    time.sleep(0.3)  # others run while the type is being looked at
    return int
class Inner(msgspec.Struct):
    a: "slow()"
class Outer(msgspec.Struct):
    inner: Inner
class Query(msgspec.Struct):
    a: "slow()"
done = []
def go():
    done.append((decode(b'{"inner":{"a":1}}', Outer).inner.a, decode_query({"a": "2"}, Query).a))
threads = [threading.Thread(target=go) for _ in range(3)]
for thread in threads:
    thread.start()
    time.sleep(0.1)
for thread in threads:
    thread.join()
assert done == [(1, 2)] * 3
"""


def test_threads_that_decode_the_first_body_of_a_type_together_do_not_end_the_process() -> None:
    """Without the lock it is a segmentation fault in msgspec: seen of workers that were started under load."""
    done = subprocess.run([sys.executable, "-c", _AT_ONCE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
