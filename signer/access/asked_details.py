"""What somebody who asks about a call may say of it: values for condition keys, checked, so that no question is asked
that no call could ever be."""

from __future__ import annotations

import difflib
import ipaddress
from typing import TYPE_CHECKING, Final

from signer.access.condition_keys import (
    CONDITION_KEY_FAMILIES,
    CONDITION_KEYS,
    RESOURCE_TAG,
    SIGNING_CONTEXT,
    ValueType,
    find_condition_key,
)
from signer.access.patterns import ascii_lower
from signer.authn.principal import CredentialKind
from signer.errors import Unprocessable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from signer.access.condition_keys import ConditionKey
    from signer.access.model import ConditionValues

_KINDS: Final = tuple(kind.value for kind in CredentialKind if kind is not CredentialKind.SERVICE)
# What is known of the principal, the key and the question itself, and so cannot be chosen.
_GIVEN: Final = {
    **dict.fromkeys(
        (
            "aws:principalarn",
            "aws:principalaccount",
            "aws:principaltype",
            "aws:userid",
            "aws:username",
            "kms:calleraccount",
            "sealmark:duty",
        ),
        "follows from the principal",
    ),
    **dict.fromkeys(
        (
            "kms:keyspec",
            "kms:keyusage",
            "kms:keyorigin",
            "kms:customermasterkeyspec",
            "kms:customermasterkeyusage",
            "kms:resourcealiases",
            "kms:multiregionkeytype",
            "sealmark:purpose",
        ),
        "follows from the key",
    ),
    **dict.fromkeys(("aws:currenttime", "aws:epochtime"), "is given by `at`"),
    "sealmark:signingcontextkeys": "follows from `context`",
}


def checked_details(given: Mapping[str, str | Sequence[str]]) -> ConditionValues:
    """The values by condition key, in lower case but for a family's last part. Raises `Unprocessable`."""
    return {_stored_name(name): _checked(name, value) for name, value in given.items()}


def published_name(key: str) -> str:
    """A condition key as policies write it; `key` is as `Circumstances` has it."""
    row = CONDITION_KEYS.get(key)
    if row is not None:
        return row.name
    for prefix, family in CONDITION_KEY_FAMILIES.items():
        if key.startswith(prefix):
            return family.name + key[len(prefix) :]
    return key


def _stored_name(name: str) -> str:
    lowered = ascii_lower(name)
    for prefix in CONDITION_KEY_FAMILIES:
        if lowered.startswith(prefix):
            return prefix + name[len(prefix) :]
    return lowered


def _checked(name: str, value: str | Sequence[str]) -> tuple[str, ...]:
    at = f"details.{name}"
    row = find_condition_key(name)
    if row is None:
        near = difflib.get_close_matches(ascii_lower(name), CONDITION_KEYS, n=1)
        hint = f"; did you mean {CONDITION_KEYS[near[0]].name}?" if near else ""
        msg = f"there is no condition key {name}{hint}"
        raise Unprocessable(msg, field=at)
    reason = _GIVEN.get(ascii_lower(name))
    if ascii_lower(name).startswith(SIGNING_CONTEXT):
        reason = "is given by `context`"
    elif ascii_lower(name).startswith(RESOURCE_TAG):
        reason = "follows from the key"
    if reason is not None:
        msg = f"{row.name} {reason}: it cannot be chosen here"
        raise Unprocessable(msg, field=at)
    if not row.filled or row.fixed is not None:
        has = "no value" if row.fixed is None else f"the value {row.fixed}"
        msg = f"every call here has {has} for {row.name}: it cannot be chosen"
        raise Unprocessable(msg, field=at)
    values = (value,) if isinstance(value, str) else tuple(value)
    if not values or (len(values) > 1 and not row.many):
        msg = f"{row.name} has {'at least one value' if row.many else 'exactly one value'}"
        raise Unprocessable(msg, field=at)
    for each in values:
        _check_value(row, each, at)
    return values


def _check_value(row: ConditionKey, value: str, at: str) -> None:
    right = None
    if row.type is ValueType.ADDRESS and not _is_address(value):
        right = "an address, such as 10.0.0.5"
    elif row.type is ValueType.BOOLEAN and value not in ("true", "false"):
        right = "true or false"
    elif row.type is ValueType.NUMBER and not (value.isascii() and value.isdigit()):
        right = "a whole number"
    elif row.name == "sealmark:CredentialKind" and value not in _KINDS:
        right = f"one of {', '.join(_KINDS)}"
    if right is not None:
        msg = f"{row.name} is {right}"
        raise Unprocessable(msg, field=at)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
