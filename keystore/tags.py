"""What a key is labelled with beside its aliases: its tags and its description."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keystore.api import KeyState
from keystore.errors import LimitExceeded
from keystore.keys import existing
from keystore.lifecycle import LABELLED_IN, require_state
from keystore.values import stored_tags, tags_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from keystore.sealing import SealedRow
    from keystore.store import SealedStore
    from keystore.transactions import SealedTransaction

MOST_TAGS: Final = 50  # of one key (AWS General Reference, "Tagging AWS resources")


class TagRepository:
    """Changes labels. Every method raises `NotFound`, and `WrongState` for a key that is to be deleted."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store

    def tag_key(self, key_id: str, tags: Mapping[str, str]) -> None:
        """Add tags, or give those of the same names other values. Raises `LimitExceeded`, and then adds none."""
        with self._store.transaction() as transaction:
            row = _labelled(transaction, key_id)
            wanted = {**tags_of(row.text("tags")), **tags}
            if len(wanted) > MOST_TAGS:
                raise LimitExceeded(f"a key has at most {MOST_TAGS} tags: with these it would have {len(wanted)}")
            transaction.update(row, {"tags": stored_tags(wanted)})

    def untag_key(self, key_id: str, names: Iterable[str]) -> None:
        """Take tags away; one that is not there is passed over."""
        with self._store.transaction() as transaction:
            row = _labelled(transaction, key_id)
            gone = frozenset(names)
            kept = {name: value for name, value in tags_of(row.text("tags")).items() if name not in gone}
            transaction.update(row, {"tags": stored_tags(kept)})

    def set_description(self, key_id: str, description: str) -> None:
        """Say something else of a key."""
        with self._store.transaction() as transaction:
            transaction.update(_labelled(transaction, key_id), {"description": description})


def _labelled(transaction: SealedTransaction, key_id: str) -> SealedRow:
    row = existing(transaction, "keys", key_id)
    require_state(KeyState(row.text("state")), LABELLED_IN)
    return row
