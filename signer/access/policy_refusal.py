"""Why a policy document is refused, and where in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signer.errors import Unprocessable

if TYPE_CHECKING:
    from collections.abc import Collection

_SHOWN = 60  # characters of a text that a message repeats


class PolicyRefused(Unprocessable):
    """A policy document is not one that can be stored. `pointer` is the RFC 6901 JSON pointer to what is at fault."""

    def __init__(self, message: str, pointer: str) -> None:
        super().__init__(message, field=f"policy{pointer}")
        self.pointer = pointer


def pointer_to(pointer: str, member: str | int) -> str:
    """The pointer to a member or an entry of what `pointer` points to (RFC 6901 §3)."""
    return f"{pointer}/{str(member).replace('~', '~0').replace('/', '~1')}"


def shown(text: str) -> str:
    """A text of the document as a message repeats it: short, and without control characters or look-alikes."""
    return ascii(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")[1:-1]


def one_of(choices: Collection[str]) -> str:
    """Choices in words."""
    return ", ".join(choices)


def members(value: object, pointer: str, known: Collection[str], what: str) -> dict[str, object]:
    """The object itself, its member names all known."""
    if not isinstance(value, dict):
        msg = f"{what} must be an object"
        raise PolicyRefused(msg, pointer)
    found: dict[str, object] = {}
    for name, member in value.items():
        if name not in known:
            msg = f"there is no element {shown(str(name))} here: {what} has {one_of(known)}"
            raise PolicyRefused(msg, pointer_to(pointer, str(name)))
        found[name] = member
    return found


def texts(value: object, pointer: str, what: str) -> list[tuple[str, str]]:
    """One text or a list of some, each with its pointer."""
    if isinstance(value, str):
        return [(value, pointer)]
    if not isinstance(value, list) or not value:
        msg = f"{what} must be a text or a list of at least one"
        raise PolicyRefused(msg, pointer)
    found = []
    for index, entry in enumerate(value):
        at = pointer_to(pointer, index)
        if not isinstance(entry, str):
            msg = f"{what} must hold texts alone"
            raise PolicyRefused(msg, at)
        found.append((entry, at))
    return found


def refuse_variables(text: str, pointer: str) -> None:
    """Policy variables are not built: a policy that counts on one must not be stored as if it were."""
    if "${" in text:
        msg = "policy variables (${…}) are not supported: write the value itself, or one statement for each"
        raise PolicyRefused(msg, pointer)
