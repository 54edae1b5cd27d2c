"""Group commit: whatever many threads write at once is there, each row once, and a failure is only of those it hit."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from keystore.db.schema import AUDIT_INTENTS, LOG_ENTRIES
from keystore.errors import Conflict, KeystoreError, StoreUnavailable
from signer.audit.logged import Due, Logged
from signer.audit.sequencer import Sequencer
from tests.databases import new_database
from tests.signer.audit.anchor import software_anchor
from tests.signer.audit.software_log import numbered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from keystore.db import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = new_database(tmp_path / "audit.db")
    yield made
    made.close()


def rows(name: str, count: int = 1) -> list[dict[str, Any]]:
    nothing = dict.fromkeys(column.name for column in AUDIT_INTENTS.columns)
    told = {"epoch": "e", "time": 1, "request_id": "r", "principal": "role/ci", "source": "", "action": "Sign"}
    return [nothing | told | {"id": f"{name}/{at}", "items": 1} for at in range(count)]


def written(database: Database) -> Counter[str]:
    with database.read() as connection:
        return Counter(row.id for row in connection.execute(select(AUDIT_INTENTS.c.id)))


def leaves(database: Database) -> int:
    with database.read() as connection:
        return len(connection.execute(select(LOG_ENTRIES.c.seq)).all())


def sequencer_over(database: Database) -> Sequencer:
    return Sequencer(database, software_anchor())


def write(sequencer: Sequencer, intents: list[dict[str, Any]]) -> None:
    sequencer.write(Due(intents=intents))


def run_together(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not [thread for thread in threads if thread.is_alive()]


def test_each_row_of_sixteen_threads_is_there_once_when_its_call_returns(database: Database) -> None:
    sequencer = sequencer_over(database)
    missing: list[str] = []

    def work(thread: int) -> None:
        for call in range(40):
            name = f"{thread}/{call}"
            write(sequencer, rows(name, count=1 + call % 3))
            if not written(database)[f"{name}/{call % 3}"]:
                missing.append(name)

    run_together([partial(work, thread) for thread in range(16)])
    assert missing == []
    wanted = {f"{thread}/{call}/{at}" for thread in range(16) for call in range(40) for at in range(1 + call % 3)}
    assert written(database) == Counter(wanted)


class Gate:
    """A database whose transactions wait or fail as they write when they are told to, and are counted."""

    epoch = None

    def __init__(self, database: Database) -> None:
        self._database = database
        self.entered = threading.Event()
        self.go = threading.Event()
        self.go.set()
        self.failures: list[Exception | None] = []  # for the next transactions
        self.transactions = 0

    @contextmanager
    def append(self, _seconds: float) -> Iterator[Any]:
        with self._database.append() as append:
            self.transactions += 1

            def append_when_told(*arguments: Any, **options: Any) -> None:
                self.entered.set()
                assert self.go.wait(timeout=30)
                failure = self.failures.pop(0) if self.failures else None
                if failure is not None:
                    raise failure
                append(*arguments, **options)

            yield append_when_told


def held_up(sequencer: Sequencer, gate: Gate, count: int) -> tuple[list[threading.Thread], dict[str, str]]:
    """One call stands in its commit, and `count` others wait behind it; what each is told is in the dictionary."""
    told: dict[str, str] = {}

    def commit(name: str) -> None:
        try:
            write(sequencer, rows(name))
        except KeystoreError as fault:
            told[name] = str(fault)
        else:
            told[name] = "durable"

    gate.go.clear()
    threads = [threading.Thread(target=commit, args=("leader",))]
    threads[0].start()
    assert gate.entered.wait(timeout=30)
    for at in range(count):
        threads.append(threading.Thread(target=commit, args=(f"follower-{at}",)))
        threads[-1].start()
    while len(sequencer._groups.waiting) < count:
        threading.Event().wait(0.01)
    return threads, told


def finish(gate: Gate, threads: list[threading.Thread]) -> None:
    gate.go.set()
    for thread in threads:
        thread.join(timeout=30)
    assert not [thread for thread in threads if thread.is_alive()]


def gated(database: Database) -> tuple[Sequencer, Gate]:
    gate = Gate(database)
    sequencer = sequencer_over(database)
    sequencer._database = gate  # type: ignore[assignment]  # a wrapper of the real one, in tests only
    return sequencer, gate


def test_those_that_wait_share_one_commit(database: Database) -> None:
    sequencer, gate = gated(database)
    threads, told = held_up(sequencer, gate, 15)
    finish(gate, threads)
    assert gate.transactions == 2
    assert set(told.values()) == {"durable"}
    assert len(written(database)) == 16


def test_a_crowd_beyond_the_limit_goes_in_several_commits(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signer.audit.sequencer._GROUP_LIMIT", 4)
    sequencer, gate = gated(database)
    threads, told = held_up(sequencer, gate, 10)
    finish(gate, threads)
    assert gate.transactions == 1 + 3
    assert set(told.values()) == {"durable"}
    assert len(written(database)) == 11


def test_a_leaders_failure_fails_those_it_led_and_nobody_else(database: Database) -> None:
    sequencer, gate = gated(database)
    gate.failures = [StoreUnavailable("this one only")]
    threads, told = held_up(sequencer, gate, 15)
    finish(gate, threads)
    assert told.pop("leader") == "this one only"
    assert set(told.values()) == {"durable"}
    assert sorted(written(database)) == sorted(f"{name}/0" for name in told)


def test_a_failed_commit_of_a_crowd_fails_all_of_it_and_the_next_works(database: Database) -> None:
    sequencer, gate = gated(database)
    gate.failures = [None, StoreUnavailable("the crowd's")]
    threads, told = held_up(sequencer, gate, 15)
    finish(gate, threads)
    assert told.pop("leader") == "durable"
    assert set(told.values()) == {"the crowd's"}
    assert list(written(database)) == ["leader/0"]
    write(sequencer, rows("next"))
    assert "next/0" in written(database)


def test_a_leader_with_a_bug_leaves_nobody_waiting(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    sequencer, gate = gated(database)
    gate.failures = [None, ZeroDivisionError("a bug"), None, ZeroDivisionError("the same again")]
    ended: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: ended.append(arguments.exc_type))
    threads, told = held_up(sequencer, gate, 3)
    finish(gate, threads)
    assert ended == []
    assert told.pop("leader") == "durable"
    assert sorted(told.values()) == ["durable", "durable", "the rows were not committed"]
    write(sequencer, rows("next"))
    assert len(written(database)) == 4


def test_a_bug_of_a_lone_request_is_its_own(database: Database) -> None:
    sequencer, gate = gated(database)
    gate.failures = [ZeroDivisionError("a bug")]
    with pytest.raises(ZeroDivisionError):
        write(sequencer, rows("lone"))
    write(sequencer, rows("next"))
    assert list(written(database)) == ["next/0"]


def test_a_row_that_the_database_refuses_fails_its_call_and_writes_nothing(database: Database) -> None:
    sequencer = sequencer_over(database)
    write(sequencer, rows("twice"))
    with pytest.raises(Conflict, match="refuses the row"):
        write(sequencer, [*rows("with-it"), *rows("twice")])
    assert list(written(database)) == ["twice/0"]
    write(sequencer, rows("after"))


def test_what_of_several_cannot_be_written_fails_alone(database: Database) -> None:
    """A row that is there already, one that SQLite has no form for; and intents and leaves of others in the group."""
    sequencer = sequencer_over(database)
    write(sequencer, rows("twice"))
    impossible = rows("impossible")[0] | {"subject": "\ud800"}
    done = sequencer.write_each(
        [
            Due(intents=rows("one")),
            Due(intents=rows("twice")),
            Due(entries=numbered(0, 2), proved=True),
            Due(intents=[impossible]),
            Due(intents=rows("other"), entries=numbered(2, 1)),
        ]
    )
    assert [type(each) for each in done] == [Logged, Conflict, Logged, StoreUnavailable, Logged]
    assert sorted(written(database)) == ["one/0", "other/0", "twice/0"]
    assert leaves(database) == 3
    assert isinstance(done[2], Logged)
    assert done[2].proof(1)


def test_intents_and_leaves_of_several_are_one_transaction(database: Database) -> None:
    sequencer = sequencer_over(database)
    transactions = []
    append = database.append

    @contextmanager
    def counted(seconds: float | None = None) -> Iterator[Any]:
        transactions.append(1)
        with append(seconds) as appending:
            yield appending

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "append", counted)
        dues = [Due(intents=rows(f"call-{at}")) for at in range(9)]
        done = sequencer.write_each([*dues, *(Due(entries=numbered(at, 1), proved=True) for at in range(9))])
    assert len(transactions) == 1
    assert all(isinstance(each, Logged) for each in done)
    assert len(written(database)) == 9
    assert leaves(database) == 9


def test_nothing_to_write_writes_nothing(database: Database) -> None:
    write(sequencer_over(database), [])
    assert not written(database)
