"""The principals and resources of a policy's statements: which forms there are, and why the others are refused."""

from __future__ import annotations

import re
from typing import Final

from signer.access.model import Principals
from signer.access.patterns import has_wildcard
from signer.access.policy_refusal import PolicyRefused, members, pointer_to, refuse_variables, shown, texts

_NAME: Final = re.compile(r"(user|role)/[A-Za-z0-9][A-Za-z0-9_.@-]{0,127}")
_ACCOUNT: Final = re.compile(r"[0-9]{12}")
_ARN: Final = re.compile(r"arn:aws:iam::(?P<account>[0-9]{12}):(?P<resource>.+)", re.DOTALL)
_FORMS: Final = (
    "a principal is *, a 12-digit account, arn:aws:iam::ACCOUNT:root, arn:aws:iam::ACCOUNT:user/NAME, "
    "arn:aws:iam::ACCOUNT:role/NAME, user/NAME or role/NAME"
)
_ELSEWHERE: Final = ("Service", "Federated", "CanonicalUser")

_KEY_ARN: Final = re.compile(r"arn:(aws|\*):(kms|\*):[a-z0-9*?-]+:(?P<account>[0-9*?]+):(key/[A-Za-z0-9*?-]+|\*)")
_KEY_FORMS: Final = "the ARN of a key (arn:aws:kms:REGION:ACCOUNT:key/ID), maybe with * and ? in it, or *"


def parse_principals(value: object, pointer: str, account: str) -> Principals:
    """`"*"` or `{"AWS": …}`. Raises `PolicyRefused`."""
    if value == "*":
        return Principals(everybody=True)
    if isinstance(value, str):
        msg = 'this must be "*" or an object such as {"AWS": "role/ci"}'
        raise PolicyRefused(msg, pointer)
    if isinstance(value, dict):
        for kind in _ELSEWHERE:
            if kind in value:
                msg = (
                    f"{kind} principals do not exist here: every caller is a user/NAME or a role/NAME, named under AWS"
                )
                raise PolicyRefused(msg, pointer_to(pointer, kind))
    kinds = members(value, pointer, ("AWS",), "this element")
    if not kinds:
        msg = 'name somebody: {"AWS": "role/ci"}'
        raise PolicyRefused(msg, pointer)
    everybody, accounts, names = False, set(), set()
    for text, at in texts(kinds["AWS"], pointer_to(pointer, "AWS"), "AWS"):
        found = _parse_principal(text, at, account)
        if found == "*":
            everybody = True
        elif found == account:
            accounts.add(found)
        else:
            names.add(found)
    return Principals(everybody, frozenset(accounts), frozenset(names))


def _parse_principal(text: str, pointer: str, account: str) -> str:
    """`*`, the account, or user/NAME or role/NAME."""
    refuse_variables(text, pointer)
    if text == "*":
        return text
    if has_wildcard(text):
        msg = "a principal has no wildcards: write * alone for everybody, or each name"
        raise PolicyRefused(msg, pointer)
    arn = _ARN.fullmatch(text)
    named_account = text if _ACCOUNT.fullmatch(text) else arn and arn["account"]
    if named_account is not None and named_account != account:
        msg = f"{named_account} is another account: only principals of {account} can call this service"
        raise PolicyRefused(msg, pointer)
    name = text if arn is None else arn["resource"]
    if name == account or (arn is not None and name == "root"):
        return account
    if not _NAME.fullmatch(name):
        msg = f"{shown(text)} is no principal: {_FORMS}"
        raise PolicyRefused(msg, pointer)
    return name


def parse_resources(value: object, pointer: str, account: str | None) -> tuple[str, ...]:
    """Resources of a key policy (`account` given) or of an identity policy (None). Raises `PolicyRefused`."""
    found = []
    for text, at in texts(value, pointer, "this element"):
        refuse_variables(text, at)
        if text != "*":
            _check_resource(text, at, account)
        found.append(text)
    return tuple(found)


def _check_resource(text: str, pointer: str, account: str | None) -> None:
    resource = text.split(":", 5)[-1]
    if resource.startswith("alias/"):
        msg = (
            "an alias is no resource of a policy, as in AWS KMS: name the key by its ARN, or ask for the alias with "
            "the condition keys kms:RequestAlias or kms:ResourceAliases"
        )
        raise PolicyRefused(msg, pointer)
    arn = _KEY_ARN.fullmatch(text)
    if arn is None:
        msg = f"{shown(text)} is no resource: this must be {_KEY_FORMS}"
        raise PolicyRefused(msg, pointer)
    if account is not None and not has_wildcard(arn["account"]) and arn["account"] != account:
        msg = f"{shown(arn['account'])} is another account: this key's is {account}, and * is this key"
        raise PolicyRefused(msg, pointer)
