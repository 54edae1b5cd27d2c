"""The answer of a signing call, read strictly: as many results as asked for, each with what was made or an error."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from signer.cli.client import Json, as_object, text_member
from signer.cli.errors import CommandFailed, Unreachable


def results_of(answer: Json, expected: int) -> list[Json]:
    """The results, in the order asked. Raises: Unreachable when there are more or fewer than `expected`."""
    found = answer.get("results")
    if not isinstance(found, list) or len(found) != expected:
        raise Unreachable(f"the answer does not hold {expected} results: nothing of it is used")
    return [as_object(result, "result") for result in found]


def error_of(result: Json) -> CommandFailed | None:
    """The problem of one item, None where it was made."""
    error = result.get("error")
    if error is None:
        return None
    members: Mapping[str, object] = error if isinstance(error, dict) else {}

    def text(name: str) -> str | None:
        value = members.get(name)
        return value if isinstance(value, str) and value else None

    request_id = text("request_id") or (str(result["request_id"]) if "request_id" in result else None)
    return CommandFailed(
        text("detail") or text("title") or "refused",
        code=text("code") or "failed",
        field=text("field"),
        request_id=request_id,
    )


def only_result(answer: Json) -> Json:
    """The one result of a call for one thing; its error, if it has one, is raised."""
    result = results_of(answer, 1)[0]
    error = error_of(result)
    if error is not None:
        raise error
    return result


def bytes_member(members: Json, name: str) -> bytes:
    """A member of standard base64 (RFC 4648 section 4), decoded; not empty."""
    try:
        content = base64.b64decode(text_member(members, name), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise Unreachable(f"the answer's {name!r} is not base64") from exc
    if not content:
        raise Unreachable(f"the answer's {name!r} is empty")
    return content
