"""How a request names its key: by id, by the key's ARN, by `alias/NAME` or by the alias's ARN.

From what was written follows whether it can be a key of this deployment at all; whether it is one is for the keystore,
and what the caller is told of it for the pipeline. Words and names are AWS's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from signer.kms.errors import INVALID_ARN, NOT_FOUND, Refusal

if TYPE_CHECKING:
    from keystore.keystore import Keystore

KEY_ID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|mrk-[0-9a-f]{32}")
ALIAS: Final = "alias/"
ALIAS_NAME: Final = re.compile(r"[A-Za-z0-9/_-]{1,250}")
_KEY: Final = "key/"


def key_reference(asked: str, keystore: Keystore, *, member: str = "keyId") -> str:
    """What `Keystore.get_key` takes: an id, or an alias without `alias/`. For operations that take any of the four.

    Raises `Refusal`: `NotFoundException` for what can be no key here.
    """
    return _resource(asked, keystore, member, aliases=True, malformed=NOT_FOUND)


def administered(asked: str, keystore: Keystore, *, member: str = "keyId") -> str:
    """The id, for operations that take a key's id or ARN and no alias: those that change a key.

    Raises `Refusal`: `InvalidArnException` for an ARN that is none of a key, `NotFoundException` for the rest.
    """
    return _resource(asked, keystore, member, aliases=False, malformed=INVALID_ARN)


def described(asked: str, keystore: Keystore, *, member: str = "keyId") -> str:
    """As `key_reference`, for operations that answer a malformed ARN with `InvalidArnException`."""
    return _resource(asked, keystore, member, aliases=True, malformed=INVALID_ARN)


def alias_name(asked: str, *, member: str = "aliasName") -> str:
    """`alias/NAME` without `alias/`. Raises `Refusal`: `InvalidAliasNameException`, `ValidationException`."""
    if not asked.startswith(ALIAS):
        msg = 'Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html'
        raise Refusal("ValidationException", msg, field=member)
    name = asked.removeprefix(ALIAS)
    if not ALIAS_NAME.fullmatch(name):
        msg = "Alias contains invalid characters for this operation"
        raise Refusal("InvalidAliasNameException", msg, field=member)
    return name


def _resource(asked: str, keystore: Keystore, member: str, *, aliases: bool, malformed: str) -> str:
    if asked.startswith("arn:"):
        asked = _of_arn(asked, keystore, member, malformed)
        if not aliases and asked.startswith(ALIAS):
            raise Refusal(INVALID_ARN, "An alias's ARN is not valid for this operation", code="not_found", field=member)
    if aliases and asked.startswith(ALIAS) and ALIAS_NAME.fullmatch(asked.removeprefix(ALIAS)):
        return asked.removeprefix(ALIAS)
    if KEY_ID.fullmatch(asked):
        return asked
    raise Refusal(NOT_FOUND, f"Invalid keyId '{asked[:256]}'", code="not_found", field=member)


def _of_arn(arn: str, keystore: Keystore, member: str, malformed: str) -> str:
    """The id, or the alias with `alias/`."""
    parts = arn.split(":", 5)
    if len(parts) != 6 or parts[1] != "aws" or parts[2] != "kms" or not parts[5].startswith((_KEY, ALIAS)):
        raise Refusal(malformed, f"Invalid arn {arn[:256]}", code="not_found", field=member)
    region, account, resource = parts[3:]
    if region != keystore.region:
        raise Refusal(NOT_FOUND, f"Invalid arn {region[:64]}", code="not_found", field=member)
    if account != keystore.account:
        # Keys of other accounts are nowhere near: the same as AWS says of one that gives no access.
        raise Refusal(NOT_FOUND, f"Key '{arn[:256]}' does not exist", code="not_found", field=member)
    return resource.removeprefix(_KEY)
