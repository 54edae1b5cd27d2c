"""A commit whose answer was lost: nothing is released, nothing is there twice, and no intent stays open.

On PostgreSQL too (`tests/keystore/test_postgresql.py` says where the server comes from): a worker that others took for
dead.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, update

from keystore.db import open_database
from keystore.db.schema import AUDIT_EPOCHS, AUDIT_INTENTS, LOG_ENTRIES
from keystore.errors import Conflict, StoreUnavailable
from signer.audit import AuditTrail, Outcome, trail
from signer.audit.epochs import BEAT_SECONDS, SILENT_SECONDS, Watch
from signer.errors import AuditUnavailable
from tests.databases import is_postgresql, new_database, on_postgresql, url_of
from tests.postgresql_server import running_server
from tests.signer.audit.anchor import software_anchor
from tests.signer.audit.test_trail import CALL, permit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from keystore.db import Database
    from keystore.db.engine import Appending
    from signer.access import Permit
    from signer.audit.records import RecordedIntent

__all__ = ["permit"]
SIGNED = Outcome(0, "succeeded", signatures=((b"d" * 32, b"s" * 32),))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "sqlite" or is_postgresql():
        yield
        return
    with running_server() as server, on_postgresql(server.url("{}")):
        yield


@pytest.fixture
def database(engine: None, tmp_path: Path) -> Iterator[Database]:
    made = new_database(tmp_path / "audit.db")
    yield made
    made.close()


@pytest.fixture
def audit(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AuditTrail]:
    monkeypatch.setattr(trail, "SWEEP_SECONDS", 600.0)
    made = AuditTrail(database, tmp_path / "locks", software_anchor())
    yield made
    if not made.stopped:
        made.stop()


@contextmanager
def answers_lost(database: Database, *, committed: bool) -> Iterator[None]:
    """Whoever appends is not told what came of the commit."""
    append = database.append

    @contextmanager
    def lost(lock_seconds: float | None = None) -> Iterator[Appending]:
        with append(lock_seconds) as appending:
            yield appending
            if not committed:
                raise StoreUnavailable("the server has closed the connection")
        raise StoreUnavailable("the server has closed the connection")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "append", lost)
        yield


def told(database: Database) -> list[tuple[Any, ...]]:
    column = LOG_ENTRIES.c
    with database.read() as connection:
        decided = select(column.intent_id, column.item, column.outcome, column.code).order_by(column.seq)
        return [tuple(row) for row in connection.execute(decided.where(column.intent_id.is_not(None)))]


def intents(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(select(AUDIT_INTENTS.c.id)).scalars())


def signing(audit: AuditTrail, permit: Permit, items: int = 1) -> RecordedIntent:
    return audit.open(permit, CALL, None, items)


@pytest.mark.parametrize("committed", [True, False])
def test_an_intent_in_doubt_is_closed_if_it_is_there(
    audit: AuditTrail, database: Database, permit: Permit, committed: bool
) -> None:
    with answers_lost(database, committed=committed), pytest.raises(AuditUnavailable):
        signing(audit, permit, 2)
    audit._sweep()
    there = intents(database)
    assert len(there) == (1 if committed or not database.shared else 0)  # one statement commits by itself in SQLite
    assert told(database) == [(one, item, "failed", "audit_unavailable") for one in there for item in (0, 1)]
    audit._sweep()
    assert len(told(database)) == 2 * len(there)


@pytest.mark.parametrize("committed", [True, False])
def test_an_outcome_in_doubt_is_in_the_log_once(
    audit: AuditTrail, database: Database, permit: Permit, committed: bool
) -> None:
    intent = signing(audit, permit)
    with answers_lost(database, committed=committed), pytest.raises(AuditUnavailable):
        audit.close([(intent, [SIGNED])])
    for _ in range(2):
        audit._sweep()
    outcome = ("succeeded", None) if committed else ("failed", "audit_unavailable")
    assert told(database) == [(intent.intent_id, 0, *outcome)]
    following = signing(audit, permit)  # the log goes on from what was committed
    audit.close([(following, [SIGNED])])
    assert told(database)[-1] == (following.intent_id, 0, "succeeded", None)
    audit.log.keep()
    assert audit.log.reader.tree(audit.log.size).root == audit.log._state.tree.root


def test_no_item_has_two_outcomes(audit: AuditTrail, database: Database, permit: Permit) -> None:
    intent = signing(audit, permit)
    audit.close([(intent, [SIGNED])])
    with pytest.raises(AuditUnavailable) as refusal:
        audit.close([(intent, [replace(SIGNED, kind="failed")])])
    assert isinstance(refusal.value.__cause__, Conflict)
    audit._sweep()
    assert len(told(database)) == 1


def test_a_worker_that_was_taken_for_dead_releases_nothing_and_begins_anew(
    audit: AuditTrail, database: Database, permit: Permit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another node has not heard of it for long: it was stopped, or cut off."""
    if not database.shared:
        with database.read() as connection:  # one machine has file locks, and no need of beats
            assert connection.execute(select(AUDIT_EPOCHS.c.beats)).scalars().all() == [0]
        return
    intent, former = signing(audit, permit), audit._epoch.id
    moment = [100.0]
    elsewhere = open_database(url_of(tmp_path / "audit.db"))
    other = AuditTrail(elsewhere, tmp_path / "elsewhere", audit.log._anchor)
    other._watch = Watch(lambda: moment[0])
    try:
        for _ in range(int(SILENT_SECONDS) + 1):
            assert told(database) == []
            other._sweep()
            moment[0] += 1.0
        other._sweep()
        assert told(database) == [(intent.intent_id, 0, "unknown", "worker_died")]
        with pytest.raises(AuditUnavailable):
            audit.close([(intent, [SIGNED])])
        with pytest.raises(AuditUnavailable):
            signing(audit, permit)
        monkeypatch.setattr(audit, "_beaten_at", -BEAT_SECONDS)
        audit._sweep()
        assert audit._epoch.id != former
        again = signing(audit, permit)
        audit.close([(again, [SIGNED])])
    finally:
        other.stop()
        elsewhere.close()
    assert [row[0] for row in told(database)] == [intent.intent_id, again.intent_id]
    with database.read() as connection:
        assert connection.execute(select(AUDIT_INTENTS.c.epoch)).scalars().all() == [former, audit._epoch.id]


def test_a_living_worker_of_another_node_is_left_alone(
    audit: AuditTrail, database: Database, permit: Permit, tmp_path: Path
) -> None:
    if not database.shared:
        return
    signing(audit, permit)
    moment = [100.0]
    watch = Watch(lambda: moment[0])
    with database.write() as connection:
        for beat in range(40):
            connection.execute(update(AUDIT_EPOCHS).values(beats=beat))
            assert watch.silent({"other": beat}) == []
            moment[0] += 0.9


def test_who_could_not_look_begins_to_watch_anew() -> None:
    """While the database is away, everybody is silent."""
    moment = [100.0]
    watch = Watch(lambda: moment[0])
    assert watch.silent({"one": 5}) == []
    moment[0] += 60
    assert watch.silent({"one": 5}) == []
    for _ in range(9):
        moment[0] += 1.0
        assert watch.silent({"one": 5}) == []
    moment[0] += 1.0
    assert watch.silent({"one": 5}) == ["one"]
    assert watch.silent({}) == []
