"""`/docs`: the contract as one page to read, rendered from the same document as `/openapi.json`.

No script, no form, nothing from elsewhere: the page's Content-Security-Policy allows its own style sheet and no more.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from signer.problems import PROBLEMS
from signer.web.openapi import document

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONG_LINE: Final = 80  # characters
_BOUNDS: Final = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "maxProperties": "at most {} members",
    "pattern": "pattern {}",
}
# Python's `$` lets a last line feed pass; this part of a pattern, which closes that, says nothing to a reader.
_NO_LINE_FEED: Final = r"(?!\n)"


@cache
def page() -> str:
    """The page, HTML."""
    contract = document()
    return (
        _environment()
        .get_template("reference.html")
        .render(
            info=contract["info"],
            style=_style(),
            groups=list(_groups(contract)),
            schemas=[(name, schema, list(members(schema))) for name, schema in sorted(_schemas(contract).items())],
            problems=PROBLEMS,
        )
    )


@cache
def content_security_policy() -> str:
    """The page's own style sheet by its hash (CSP level 3 section 2.3.1), and nothing else of any kind."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("signer.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = prose
    return environment


def prose(text: str) -> Markup:
    """Text of the document as HTML: what stands in backticks is code, everything else is escaped."""
    parts = text.split("`")
    return Markup("").join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


@cache
def _style() -> str:
    return _environment().get_template("reference.css").render()


def _schemas(contract: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = contract["components"]["schemas"]
    return found


def _groups(contract: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every tag that has calls, with its calls."""
    calls = [
        _call(contract, method, path, operation)
        for path, operations in contract["paths"].items()
        for method, operation in operations.items()
    ]
    for tag in contract["tags"]:
        of_tag = [call for call in calls if call["tag"] == tag["name"]]
        if of_tag:
            yield {**tag, "calls": of_tag}


def _call(contract: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> dict[str, Any]:
    body = _asked(operation)
    answers: list[tuple[str, str, dict[str, Any] | None, str | None]] = []
    refusals = []
    for status, answer in operation["responses"].items():
        if "content" not in answer:  # 304
            answers.append((status, answer["description"], None, None))
            continue
        media_type, content = next(iter(answer["content"].items()))
        if media_type == "application/problem+json":
            refusals.append((status, sorted(content.get("examples", {})), answer["description"]))
        else:
            answers.append((status, media_type, content.get("schema"), _shown(content.get("example"))))
    schema = body.get("schema")
    return {
        "tag": operation["tags"][0],
        "id": operation["operationId"],
        "method": method.upper(),
        "path": path,
        "summary": operation["summary"],
        "duty": operation["description"],
        "parameters": operation["parameters"],
        "body": schema and reference_name(schema),
        "body_members": list(members(_resolved(contract, schema))) if schema else [],
        "answers": answers,
        "refusals": refusals,
        "curl": curl(method, path, operation),
    }


def _resolved(contract: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = reference_name(schema)
    return _schemas(contract)[name] if name else schema


def reference_name(schema: dict[str, Any]) -> str | None:
    """The component that a schema refers to."""
    found = schema.get("$ref")
    return found.rpartition("/")[2] if isinstance(found, str) else None


def _shown(example: object) -> str | None:
    if example is None or isinstance(example, str):
        return example
    return json.dumps(example, indent=2, ensure_ascii=False)


def members(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each property: its name, type, bounds, whether it must be there, and the component that its type refers to."""
    required = schema.get("required", [])
    for name, member in schema.get("properties", {}).items():
        yield {
            "name": name,
            "required": name in required,
            "type": type_of(member),
            "reference": _first_reference(member),
            "bounds": "; ".join(_bounds(member)),
            "description": member.get("description", ""),
        }


def type_of(schema: dict[str, Any]) -> str:
    """The type in words, such as `array of string`."""
    name = reference_name(schema)
    if name:
        return name
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(type_of(each) for each in schema[union]))
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"array of {type_of(schema.get('items', {}))}"
    if schema.get("contentEncoding"):
        return f"string ({schema['contentEncoding']})"
    return f"{kind} ({schema['format']})" if "format" in schema else str(kind)


def _first_reference(schema: dict[str, Any]) -> str | None:
    inner = [*schema.get("anyOf", []), *schema.get("oneOf", []), *([schema["items"]] if "items" in schema else [])]
    return reference_name(schema) or next(filter(None, map(_first_reference, inner)), None)


def _bounds(schema: dict[str, Any]) -> Iterator[str]:
    for key, text in _BOUNDS.items():
        if key in schema:
            yield text.format(str(schema[key]).replace(_NO_LINE_FEED, ""))
    for union in ("anyOf", "oneOf"):
        for each in schema.get(union, []):
            yield from _bounds(each)
    if isinstance(schema.get("items"), dict):
        yield from (f"each {text}" for text in _bounds(schema["items"]))
    if schema.get("default") not in (None, ""):
        yield f"default {json.dumps(schema['default'])}"


def _compact(example: object) -> str:
    line = json.dumps(example)
    return line if len(line) < _LONG_LINE else json.dumps(example, indent=2)


def curl(method: str, path: str, operation: dict[str, Any]) -> str:
    """The call as a command. The token comes from a file: on the command line others could read it."""
    values = {each["name"]: each.get("example", each["name"]) for each in operation["parameters"]}
    address = re.sub(r"{([a-z_]+)}", lambda found: str(values[found[1]]), path)
    words = ["curl --fail-with-body"]
    if method != "get":
        words[0] += f" -X {method.upper()}"
    if operation["security"] == [{"bearer": []}]:
        words[0] += " -H @token.header"
    if "Idempotency-Key" in values:
        words[0] += ' -H "Idempotency-Key: $(uuidgen)"'
    example = _asked(operation).get("example")
    if example:
        words.append(f"--json {shlex.quote(_compact(example))}")
    return " \\\n  ".join([*words, f'"$SEALMARK_URL{address}"'])


def _asked(operation: dict[str, Any]) -> dict[str, Any]:
    """The one content of the request, whatever its media type; empty where there is none."""
    content: dict[str, dict[str, Any]] = operation.get("requestBody", {}).get("content", {})
    return next(iter(content.values()), {})
