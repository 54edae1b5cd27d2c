"""What a list shows: the keys that the caller may describe, and their aliases, a page at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keystore.api import KeyState
from keystore.errors import NotFound as NoSuchRow
from signer.access.decision import KEY_NOT_FOUND
from signer.errors import NotFound

if TYPE_CHECKING:
    from keystore.aliases import AliasRecord
    from keystore.api import Key
    from signer.access import Permit
    from signer.call import Call
    from signer.services import Services

_ROWS_A_READ: Final = 200


def visible_keys(
    services: Services, permit: Permit, call: Call, after: str | None, limit: int
) -> tuple[list[Key], str | None]:
    """At most `limit` keys that the caller may see, and the id after which to go on (None: no more)."""
    visible: list[Key] = []
    while keys := services.keystore.list_keys(after=after, limit=_ROWS_A_READ):
        present_keys = [key for key in keys if key.state is not KeyState.DELETED]
        for key in services.pipeline.visible(permit, call, present_keys):
            if len(visible) == limit:
                return visible, visible[-1].id
            visible.append(key)
        after = keys[-1].id
    return visible, None


def visible_aliases(
    services: Services, permit: Permit, call: Call, after: str | None, limit: int, of: str | None
) -> tuple[list[AliasRecord], str | None]:
    """At most `limit` aliases of keys that the caller may see (with `of`, of that one), and the name after which to go
    on (None: no more). Raises `NotFound` where that one is not there, or not for the caller to see."""
    if of is not None:
        every = services.keystore.list_aliases_of(_visible_key(services, permit, call, of).id)
        rest = [alias for alias in every if after is None or alias.name > after]
        return rest[:limit], rest[limit - 1].name if len(rest) > limit else None
    visible: list[AliasRecord] = []
    while aliases := services.keystore.list_aliases(after, _ROWS_A_READ):
        keys = [services.keystore.get_key(key_id) for key_id in {alias.key_id for alias in aliases}]
        seen = {key.id for key in services.pipeline.visible(permit, call, keys)}
        for alias in aliases:
            if alias.key_id in seen:
                if len(visible) == limit:
                    return visible, visible[-1].name
                visible.append(alias)
        after = aliases[-1].name
    return visible, None


def _visible_key(services: Services, permit: Permit, call: Call, reference: str) -> Key:
    try:
        key = services.keystore.get_key(reference)
    except NoSuchRow as absent:
        raise NotFound(KEY_NOT_FOUND, field="key") from absent
    if key.state is KeyState.DELETED or not services.pipeline.visible(permit, call, [key]):
        raise NotFound(KEY_NOT_FOUND, field="key")
    return key
