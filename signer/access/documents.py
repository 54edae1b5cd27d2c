"""A decoded JSON policy → a checked `Document`, and back.

The form is that of AWS (IAM User Guide, "Grammar of the IAM JSON policy language"). Everything is looked at: what is
unknown, misspelt, of the wrong type or would not do what it seems to do is refused with a JSON pointer and with what
would be right, so that no statement is ever stored that a reader and the evaluator understand differently.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Final

from signer.access.actions import POLICY_ACTIONS
from signer.access.model import Document, Effect, Principals, Statement
from signer.access.patterns import ascii_lower, glob
from signer.access.policy_conditions import parse_conditions
from signer.access.policy_json import MOST_BYTES, decode_policy
from signer.access.policy_principals import parse_principals, parse_resources
from signer.access.policy_refusal import PolicyRefused, members, pointer_to, shown, texts

_VERSIONS: Final = ("2012-10-17", "2008-10-17")
_OLDEST_VERSION: Final = "2008-10-17"  # what AWS takes a document without Version for
_DOCUMENT: Final = ("Version", "Id", "Statement")
_STATEMENT: Final = (
    *("Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource"),
    "Condition",
)
_KEY_POLICY_SID: Final = re.compile(r"[ -Z^-~]{1,128}")  # printable ASCII but brackets and backslash
_IDENTITY_POLICY_SID: Final = re.compile(r"[A-Za-z0-9]{1,128}")  # IAM User Guide, "Notes about string values"
_KNOWN_ACTIONS: Final = tuple(ascii_lower(action) for action in POLICY_ACTIONS)


def parse_key_policy(document: object, *, account: str) -> Document:
    """A key policy of our account (12 digits): every statement names a principal. Raises `PolicyRefused`."""
    return _parse(document, account)


def parse_identity_policy(document: object) -> Document:
    """A policy to be attached to a principal: no statement names one. Raises `PolicyRefused`."""
    return _parse(document, None)


@lru_cache(maxsize=512)
def compiled_key_policy(text: str, account: str) -> Document:
    """A stored key policy by its text: parsed once per process. Raises `PolicyRefused`."""
    return parse_key_policy(decode_policy(text), account=account)


@lru_cache(maxsize=512)
def compiled_identity_policy(text: str) -> Document:
    """A stored identity policy by its text: parsed once per process. Raises `PolicyRefused`."""
    return parse_identity_policy(decode_policy(text))


def _parse(value: object, account: str | None) -> Document:
    _check_size(value)
    found = members(value, "", _DOCUMENT, "a policy")
    version = found.get("Version", _OLDEST_VERSION)
    if not isinstance(version, str) or version not in _VERSIONS:
        msg = f"Version must be {' or '.join(_VERSIONS)}"
        raise PolicyRefused(msg, "/Version")
    return Document(version, _parse_id(found, account), _parse_statements(found, account))


def _check_size(value: object) -> None:
    """Whoever decoded it may not have looked. Texts that no UTF-8 can hold are refused here too."""
    try:
        size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode())
    except (TypeError, ValueError, RecursionError):
        msg = "the policy must be a JSON object (RFC 8259) in UTF-8"
        raise PolicyRefused(msg, "") from None
    if size > MOST_BYTES:
        msg = f"the policy has {size} bytes; {MOST_BYTES} are the most"
        raise PolicyRefused(msg, "")


def _parse_id(found: dict[str, object], account: str | None) -> str | None:
    if "Id" not in found:
        return None
    if account is None:
        msg = "an identity policy has no Id: it has the name that it is attached under"
        raise PolicyRefused(msg, "/Id")
    identifier = found["Id"]
    if not isinstance(identifier, str) or not _KEY_POLICY_SID.fullmatch(identifier):
        msg = "Id must be 1 to 128 printable ASCII characters without brackets"
        raise PolicyRefused(msg, "/Id")
    return identifier


def _parse_statements(found: dict[str, object], account: str | None) -> tuple[Statement, ...]:
    if "Statement" not in found:
        msg = "a policy needs a Statement"
        raise PolicyRefused(msg, "")
    value = found["Statement"]
    if isinstance(value, dict):
        return (_parse_statement(value, "/Statement", account),)
    if not isinstance(value, list) or not value:
        msg = "Statement must be an object or a list of at least one"
        raise PolicyRefused(msg, "/Statement")
    statements = []
    sids: set[str] = set()
    for index, entry in enumerate(value):
        pointer = pointer_to("/Statement", index)
        statement = _parse_statement(entry, pointer, account)
        if statement.sid is not None and statement.sid in sids:
            msg = f"the Sid {shown(statement.sid)} stands twice: each statement needs its own, or none"
            raise PolicyRefused(msg, f"{pointer}/Sid")
        sids |= {statement.sid} if statement.sid is not None else set()
        statements.append(statement)
    return tuple(statements)


def _parse_statement(value: object, pointer: str, account: str | None) -> Statement:
    found = members(value, pointer, _STATEMENT, "a statement")
    effect = _parse_effect(found, pointer)
    principals, not_principals = _parse_named(found, pointer, effect, account)
    actions_element = _one_of_two(found, pointer, "Action", "NotAction")
    actions = _parse_actions(found[actions_element], f"{pointer}/{actions_element}")
    resources_element = _one_of_two(found, pointer, "Resource", "NotResource")
    resources = parse_resources(found[resources_element], f"{pointer}/{resources_element}", account)
    return Statement(
        sid=_parse_sid(found, pointer, account),
        effect=effect,
        principals=principals,
        not_principals=not_principals,
        actions=actions if actions_element == "Action" else None,
        not_actions=actions if actions_element == "NotAction" else None,
        resources=resources if resources_element == "Resource" else None,
        not_resources=resources if resources_element == "NotResource" else None,
        conditions=parse_conditions(found["Condition"], f"{pointer}/Condition") if "Condition" in found else (),
    )


def _parse_effect(found: dict[str, object], pointer: str) -> Effect:
    if "Effect" not in found:
        msg = "a statement needs an Effect: Allow or Deny"
        raise PolicyRefused(msg, pointer)
    effect = found["Effect"]
    if effect == "Allow":
        return Effect.ALLOW
    if effect == "Deny":
        return Effect.DENY
    msg = "Effect must be Allow or Deny, written so"
    raise PolicyRefused(msg, f"{pointer}/Effect")


def _parse_sid(found: dict[str, object], pointer: str, account: str | None) -> str | None:
    if "Sid" not in found:
        return None
    sid = found["Sid"]
    pattern = _IDENTITY_POLICY_SID if account is None else _KEY_POLICY_SID
    if not isinstance(sid, str) or not pattern.fullmatch(sid):
        right = "A to Z, a to z and 0 to 9 alone" if account is None else "printable ASCII without brackets"
        msg = f"Sid must be 1 to 128 characters, {right}; or leave it out"
        raise PolicyRefused(msg, f"{pointer}/Sid")
    return sid


def _parse_named(
    found: dict[str, object], pointer: str, effect: Effect, account: str | None
) -> tuple[Principals | None, Principals | None]:
    if account is None:
        for element in ("Principal", "NotPrincipal"):
            if element in found:
                msg = f"an identity policy has no {element}: it is about whoever it is attached to"
                raise PolicyRefused(msg, f"{pointer}/{element}")
        return None, None
    element = _one_of_two(found, pointer, "Principal", "NotPrincipal")
    named = parse_principals(found[element], f"{pointer}/{element}", account)
    if element == "Principal":
        return named, None
    if effect is Effect.ALLOW:
        msg = "NotPrincipal goes with Deny alone: with Allow it would name everybody else, also who comes later"
        raise PolicyRefused(msg, f"{pointer}/{element}")
    if named.everybody:
        msg = "NotPrincipal with * names nobody: the statement would do nothing"
        raise PolicyRefused(msg, f"{pointer}/{element}")
    return None, named


def _one_of_two(found: dict[str, object], pointer: str, element: str, negation: str) -> str:
    present = [name for name in (element, negation) if name in found]
    if len(present) != 1:
        msg = f"a statement needs {element} or {negation}" + (", not both" if present else "")
        raise PolicyRefused(msg, f"{pointer}/{negation}" if present else pointer)
    return present[0]


def _parse_actions(value: object, pointer: str) -> tuple[str, ...]:
    found = []
    for text, at in texts(value, pointer, "this element"):
        test = glob(ascii_lower(text))
        if not any(test(action) for action in _KNOWN_ACTIONS):
            msg = (
                f"there is no action {shown(text)}: write one such as kms:Sign, or a pattern such as kms:Get* or kms:*"
            )
            raise PolicyRefused(msg, at)
        found.append(text)
    return tuple(found)


def serialise(document: Document) -> dict[str, object]:
    """The document in its JSON form: lists throughout, principals by their short names. What this gives parses to an
    equal document."""
    found: dict[str, object] = {"Version": document.version}
    if document.id is not None:
        found["Id"] = document.id
    return {**found, "Statement": [_serialise_statement(statement) for statement in document.statements]}


def _serialise_statement(statement: Statement) -> dict[str, object]:
    conditions: dict[str, dict[str, list[str]]] = {}
    for condition in statement.conditions:
        conditions.setdefault(condition.operator, {})[condition.key] = list(condition.values)
    elements = {
        "Sid": statement.sid,
        "Effect": statement.effect.value,
        "Principal": _serialise_principals(statement.principals),
        "NotPrincipal": _serialise_principals(statement.not_principals),
        "Action": _as_list(statement.actions),
        "NotAction": _as_list(statement.not_actions),
        "Resource": _as_list(statement.resources),
        "NotResource": _as_list(statement.not_resources),
        "Condition": conditions or None,
    }
    return {name: element for name, element in elements.items() if element is not None}


def _serialise_principals(principals: Principals | None) -> dict[str, list[str]] | None:
    if principals is None:
        return None
    return {"AWS": [*(["*"] if principals.everybody else []), *sorted(principals.accounts), *sorted(principals.names)]}


def _as_list(texts_: tuple[str, ...] | None) -> list[str] | None:
    return None if texts_ is None else list(texts_)
