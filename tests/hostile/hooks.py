"""What schemathesis does besides, in its own process (`SCHEMATHESIS_HOOKS=tests.hostile.hooks`).

Each call is made by one of the service's people, or by nobody, and of things that there are: what is generated for an
identifier in a path would name nothing. Each answer is looked at for secrets and written down, a line of JSON each.
The file that `HOSTILE_PLAN` names says who there is, what there is, and what may not be answered.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import json
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.hostile.canaries import Canaries

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAN: Final = json.loads(Path(os.environ["HOSTILE_PLAN"]).read_text(encoding="utf-8"))
CANARIES: Final = Canaries({name: bytes.fromhex(secret) for name, secret in PLAN["secrets"].items()})
CHANCE: Final = random.Random(PLAN["seed"])  # noqa: S311 (repeatable on purpose)
KNOWN: Final = 0.7  # of the path's parameters name something that there is
NOBODY: Final = 0.05
FITTING: Final = 0.85  # of the callers have a duty that may make the call
# Members of answers that are secrets, made for whoever asked. They may stand there, and nowhere else afterwards.
EXAMPLES: Final = 0.5  # of the calls that make something ask for what the document's example asks for
# Of what is made: which parameter of paths names it, and by which member of the answer.
MADE: Final = {
    "/v1/keys": ("key", "id"),
    "/v1/keys/{key}/grants": ("grant", "id"),
    "/v1/principals/{kind}/{name}/tokens": ("credential", "id"),
    "/v1/principals/{kind}/{name}/access-keys": ("access_key", "access_key_id"),
    "/v1/principals/{kind}/{name}/public-credentials": ("binding", "id"),
    "/v1/keys/{key}/approval-requests": ("request", "id"),
    "/v1/trusted-issuers": ("trusted", "name"),
    "/v1/issuers": ("issuer", "name"),
}
SECRET_MEMBERS: Final = frozenset(
    {
        *("token", "secret_access_key", "session_token", "enrolment_code", "private_key", "shared_secret"),
        *("Plaintext", "PrivateKeyPlaintext", "SharedSecret"),
    }
)
OPEN_DATA_KEYS: Final = "/data-keys"  # `plaintext` is a secret of the service's making there alone
_calls = Path(PLAN["calls"]).open("a", encoding="utf-8")  # noqa: SIM115 (as long as the process)


def before_call(_context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Who asks, and of what."""
    del kwargs
    headers = case.headers if case.headers is not None else {}
    if CHANCE.random() >= NOBODY:
        headers["Authorization"] = f"Bearer {CHANCE.choice(_fitting(case.operation))}"
    if case.operation.security is None or not dict(headers).get("Authorization"):
        # A stranger each: who fails too often from one address is told to wait, and nothing more would be tried.
        headers["X-Forwarded-For"] = f"198.51.{CHANCE.randrange(256)}.{CHANCE.randrange(1, 255)}"
    case.headers = headers
    _name_what_there_is(case.path_parameters or {})
    example = _example(case.operation)
    if example is not None and CHANCE.random() < EXAMPLES:
        case.body = example


def after_call(_context: Any, case: Any, response: Any) -> None:
    """What came of it."""
    headers = json.dumps(dict(response.headers)).encode()
    line = {
        "operation": f"{case.operation.method.upper()} {case.operation.path}",
        "target": _first((case.headers or {}).get("X-Amz-Target")),
        "status": response.status_code,
        "seconds": round(response.elapsed, 4),
        "leaks": sorted(CANARIES.within(response.content) | CANARIES.within(headers)),
        "learned": [secret.hex() for secret in _secrets(case.operation.path, response.content)],
    }
    if response.status_code >= 500:
        line["answer"] = response.content[:2000].decode("utf-8", "replace")
        body = response.request.body
        line["body"] = (body if isinstance(body, str) else (body or b"").decode("utf-8", "replace"))[:2000]
        line["url"] = response.request.url
    if response.status_code == 201:
        _learn(case.operation.path, response.content)
    _calls.write(json.dumps(line) + "\n")
    _calls.flush()


def after_network_error(_context: Any, case: Any, request: Any) -> None:
    """A call that was not answered: a connection that was broken, or a hang."""
    line = {"operation": f"{case.operation.method.upper()} {case.operation.path}", "status": 0, "url": request.url}
    _calls.write(json.dumps(line) + "\n")
    _calls.flush()


def aws_json(_context: Any, value: Any) -> bytes:
    """The wire protocol's bodies, which are JSON by another name."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def _name_what_there_is(parameters: dict[str, Any]) -> None:
    """What stands there already by a link of the stateful phase stays."""
    for name, value in parameters.items():
        known = PLAN["known"].get(name, [])
        if known and value not in known and CHANCE.random() < KNOWN:
            parameters[name] = CHANCE.choice(known)


def _example(operation: Any) -> Any:
    """What the document's example of a call asks that makes something, under a name of its own."""
    content = operation.definition.raw.get("requestBody", {}).get("content", {})
    example = content.get("application/json", {}).get("example")
    if not isinstance(example, dict) or "201" not in operation.definition.raw["responses"]:
        return None
    made, unused = json.loads(json.dumps(example).replace("role/ci", PLAN["user"])), f"{CHANCE.randrange(16**8):08x}"
    for member in ("alias", "name"):
        if member in made:
            made[member] = f"{'role/' if '/' in made[member] else ''}x{unused}"
    return made


def _learn(path: str, content: bytes) -> None:
    """What was made can be named from now on: the newest hundred of a kind."""
    name, member = MADE.get(path, ("", ""))
    if name:
        known = PLAN["known"].setdefault(name, [])
        known.append(json.loads(content)[member])
        del known[20:-100]


def filter_failure(_context: Any, failure: Any, case: Any, response: Any) -> bool:
    """What schemathesis finds wrong with an answer; it is told to the caller as well."""
    line = {
        "operation": f"{case.operation.method.upper()} {case.operation.path}",
        "status": response.status_code,
        "failure": f"{type(failure).__name__}: {failure.title}"[:300],
        "answer": response.content[:500].decode("utf-8", "replace"),
    }
    _calls.write(json.dumps(line) + "\n")
    _calls.flush()
    return True


def _fitting(operation: Any) -> list[str]:
    """Whose token: mostly one of a duty that may make the call, as its description says."""
    described = str(operation.definition.raw.get("description", ""))
    named = [token for duty, token in PLAN["tokens"].items() if f"`{duty}`" in described]
    return named if named and CHANCE.random() < FITTING else list(PLAN["tokens"].values())


def _secrets(path: str, content: bytes) -> Iterator[bytes]:
    """The secrets that an answer holds by its nature."""
    try:
        read = json.loads(content)
    except ValueError:
        return
    for name, text in _members(read):
        if name in SECRET_MEMBERS or (name == "plaintext" and path.endswith(OPEN_DATA_KEYS)):
            try:
                octets = base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                octets = text.encode()
            if len(octets) >= 16:
                yield octets if "laintext" in name or "ecret" in name else text.encode()


def _members(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, str):
                yield name, inner
            else:
                yield from _members(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _members(inner)


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


_schemathesis: Any = importlib.import_module("schemathesis")  # of its own environment; the project's own has none
for _hook in (before_call, after_call, after_network_error, filter_failure):
    _schemathesis.hook(_hook)
_schemathesis.serializer("application/x-amz-json-1.1")(aws_json)
