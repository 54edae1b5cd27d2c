"""The JSON text of a policy → its value, strictly: UTF-8, members unique, numbers that are numbers, and not too big."""

from __future__ import annotations

import json
from typing import Final

from signer.access.policy_refusal import PolicyRefused, pointer_to, shown

MOST_BYTES: Final = 32 * 1024  # as AWS KMS: "Key policy document size"


class _Members(dict[str, object]):
    """An object as decoded, and the first name that stands twice in it."""

    twice: str | None = None


def decode_policy(text: str | bytes) -> object:
    """The decoded document, for `parse_key_policy` and `parse_identity_policy`. Raises `PolicyRefused`."""
    try:
        encoded = text.encode() if isinstance(text, str) else text
        if len(encoded) > MOST_BYTES:
            msg = f"the policy has {len(encoded)} bytes; {MOST_BYTES} are the most"
            raise PolicyRefused(msg, "")
        decoded: object = json.loads(encoded.decode(), object_pairs_hook=_members, parse_constant=_no_number)
        _refuse_doubles(decoded, "")
    except (ValueError, RecursionError):
        msg = "the policy is not JSON (RFC 8259) in UTF-8"
        raise PolicyRefused(msg, "") from None
    return decoded


def _members(pairs: list[tuple[str, object]]) -> _Members:
    found = _Members()
    for name, value in pairs:
        if name in found and found.twice is None:
            found.twice = name
        found[name] = value
    return found


def _no_number(constant: str) -> object:
    msg = f"{constant} is no JSON number"
    raise ValueError(msg)


def _refuse_doubles(value: object, pointer: str) -> None:
    if isinstance(value, _Members):
        if value.twice is not None:
            msg = f"the member {shown(value.twice)} stands twice in one object"
            raise PolicyRefused(msg, pointer_to(pointer, value.twice))
        for name, member in value.items():
            _refuse_doubles(member, pointer_to(pointer, name))
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            _refuse_doubles(entry, pointer_to(pointer, index))
