"""A worker that begins with a snapshot of the journal knows what one knows that followed it; a false one is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from keystore.api import PrincipalRecord
from keystore.errors import IntegrityFailure
from tests.databases import hand
from tests.keystore.support import Place, make_place, new_key
from tests.keystore.test_store import NOW

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keystore.db import Value
    from keystore.hsm import Token

COLUMNS: Final = ("seq", "link", "superseded", "latest", "seal")
_KEPT: Final = "SELECT seq, link, superseded, latest, seal FROM row_journal_snapshots"
_PUT_BACK: Final = "UPDATE row_journal_snapshots SET seq = ?, link = ?, superseded = ?, latest = ?, seal = ?"


@pytest.fixture(autouse=True)
def kept_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot whenever a worker starts, not only where it has followed thousands of entries."""
    monkeypatch.setattr("keystore.store.SNAPSHOT_ENTRIES", 1)


def changed(place: Place) -> None:
    """Rows that are new, and rows whose earlier entries are superseded."""
    key = place.warm.create_key(new_key())
    place.warm.disable(key.id)
    place.warm.enable(key.id)


def test_who_begins_with_a_snapshot_knows_the_same(place: Place) -> None:
    changed(place)
    with place.fresh() as first:
        followed = first.store.journal.known()
    changed(place)
    place.warm.store.head()
    with hand(place.path) as attacker:
        ((seq,),) = attacker.rows("SELECT seq FROM row_journal_snapshots")
        assert seq == followed.head.seq
        # Whoever followed from the beginning would stumble over this.
        attacker.run("UPDATE row_journal SET row_id = 'x' WHERE table_name = 'keys' AND revision = 1 AND seq < ?", seq)
    with place.fresh() as second:
        assert second.store.journal.known() == place.warm.store.journal.known()
    with hand(place.path) as attacker:
        assert attacker.value("SELECT seq FROM row_journal_snapshots") == place.warm.store.journal.head.seq


@pytest.mark.parametrize("column", COLUMNS)
def test_an_edited_snapshot_is_refused(place: Place, column: str) -> None:
    changed(place)
    with place.fresh():
        pass
    edits: dict[str, Callable[[Any], Value]] = dict.fromkeys(
        COLUMNS, lambda octets: bytes([octets[0] ^ 1]) + octets[1:]
    )
    edits |= {"seq": lambda seq: seq - 1, "latest": lambda _: "{}"}
    with hand(place.path) as attacker:
        (row,) = attacker.rows(_KEPT)
        edited = [edits[name](value) if name == column else value for name, value in zip(COLUMNS, row, strict=True)]
        attacker.run(_PUT_BACK, *edited)
    with pytest.raises(IntegrityFailure, match="row_journal_snapshots"), place.fresh():
        pass


def test_an_older_snapshot_costs_time_and_nothing_else(place: Place) -> None:
    changed(place)
    with place.fresh():
        pass
    with hand(place.path) as attacker:
        (older,) = attacker.rows(_KEPT)
    place.warm.create_principal(PrincipalRecord("role/new", "key-user", "enabled", NOW, "user/admin"))
    changed(place)
    with place.fresh() as later:
        known = later.store.journal.known()
    with hand(place.path) as attacker:
        attacker.run(_PUT_BACK, *older)
    with place.fresh() as again:
        assert again.store.journal.known() == known


def test_a_snapshot_of_another_journal_is_refused(place: Place, token: Token, tmp_path: Path) -> None:
    with make_place(tmp_path, token) as other:
        changed(other)
        with other.fresh():
            pass
        with hand(other.path) as attacker:
            (foreign,) = attacker.rows(_KEPT)
    for _ in range(2):
        changed(place)
    with place.fresh():
        pass
    with hand(place.path) as attacker:
        attacker.run(_PUT_BACK, *foreign)
    with pytest.raises(IntegrityFailure, match="row_journal"), place.fresh():
        pass


def test_an_older_copy_of_a_row_is_still_an_older_copy(place: Place) -> None:
    key = place.warm.create_key(new_key())
    with hand(place.path) as attacker:
        ((revision, seal, state),) = attacker.rows("SELECT revision, seal, state FROM keys WHERE id = ?", key.id)
    place.warm.disable(key.id)
    with place.fresh():
        pass
    with hand(place.path) as attacker:
        attacker.run("UPDATE keys SET revision = ?, seal = ?, state = ? WHERE id = ?", revision, seal, state, key.id)
    with place.fresh() as fresh, pytest.raises(IntegrityFailure):
        fresh.get_key(key.id)
