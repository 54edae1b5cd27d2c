"""What an administrator of identities must not do to a principal, since it would put two parts into one hand.

Each question is asked here and nowhere else, by whatever changes a principal or its credentials. They are asked inside
the transaction that makes the change, so that what they saw still holds when it is written.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from keystore.api import KeyState
from signer.access import Duty
from signer.authn.principal import ROOT
from signer.errors import WrongState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.api import PrincipalRecord
    from keystore.keystore import Keystore

_PAGE: Final = 500
_NAMED: Final = 10  # keys in one message


def require_no_break_glass(name: str) -> None:
    """Break glass is for ceremonies alone: no administrator enables, disables, ends or enrols it. Raises
    `WrongState`."""
    if name == ROOT:
        msg = f"{ROOT} is changed in a ceremony alone: sealmark ceremony root"
        raise WrongState(msg)


def require_credentials_may_be_added(_keystore: Keystore, principal: PrincipalRecord) -> None:
    """Whether somebody else may give this principal a way to prove itself: who does could then act in its name.

    Raises: `WrongState`.
    """
    require_no_break_glass(principal.name)


def require_duty_change_allowed(keystore: Keystore, principal: PrincipalRecord, duty: str) -> None:
    """Whether the principal may have this duty from now on: not while a key's policy or a grant names it for its
    present one, nor while policies are attached to it that were checked for that.

    Raises: `WrongState`, which says which keys.
    """
    require_no_break_glass(principal.name)
    if principal.duty == duty:
        return
    if principal.policies:
        names = ", ".join(name for name, _ in principal.policies)
        msg = f"policies are attached to {principal.name} for the duty {principal.duty}: {names}; take them away first"
        raise WrongState(msg)
    granted = [_name_of(keystore, grant.key_id) for grant in keystore.list_grants_of(principal.name)]
    keys = sorted({*_keys_naming(keystore, principal.name), *filter(None, granted)})
    if keys:
        more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
        msg = (
            f"policies or grants of keys name {principal.name} for the duty {principal.duty}: "
            f"{', '.join(keys[:_NAMED])}{more}; their administrators must take it out first"
        )
        raise WrongState(msg)


def require_another_administrator(keystore: Keystore, principal: PrincipalRecord) -> None:
    """Whether somebody is left who administers identities when this principal no longer does; break glass does not
    count. Raises `WrongState`."""
    if principal.duty != Duty.ADMINISTRATOR or principal.state != "enabled":
        return
    if keystore.count_enabled(Duty.ADMINISTRATOR, without=principal.name) == 0:
        msg = f"{principal.name} is the last enabled administrator: nobody could make or end identities any more"
        raise WrongState(msg)


def _keys_naming(keystore: Keystore, name: str) -> Iterator[str]:
    """Aliases or ids of keys that are not deleted and whose policy names the principal, as itself or by its ARN."""
    after: str | None = None
    while page := keystore.list_policies(after, _PAGE):
        after = page[-1][0]
        for key_id, document in page:
            if any(text == name or text.endswith(f":{name}") for text in _texts(json.loads(document))):
                found = _name_of(keystore, key_id)
                if found is not None:
                    yield found


def _name_of(keystore: Keystore, key_id: str) -> str | None:
    """The key's alias or id; None if it is deleted."""
    key = keystore.get_key(key_id)
    return None if key.state is KeyState.DELETED else key.alias or key.id


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)
