"""A worker that dies between intent and outcome: another one, living, closes what it left open, once and as unknown."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import select

from keystore.db.schema import AUDIT_EPOCHS, AUDIT_INTENTS, LOG_ENTRIES
from signer.audit import AuditTrail, trail
from tests.keystore.support import OwnTexts
from tests.signer.service import ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keystore.hsm import Token
    from tests.hsm_support import TestToken

ROOT: Final = Path(__file__).resolve().parents[2]
LONG: Final = 20.0  # seconds, for a process to start on a busy machine


@dataclass(frozen=True)
class Place:
    """A service in this process, and where its database and its token are."""

    running: ServiceInProcess
    state: Path
    token_directory: Path
    key: str

    def rows(self, table: Any, **values: object) -> list[dict[str, Any]]:
        with self.running.services.keystore.database.read() as connection:
            query = select(table).where(*(table.c[name] == value for name, value in values.items()))
            return [dict(row) for row in connection.execute(query).mappings()]

    def open_epochs(self) -> list[str]:
        return [row["id"] for row in self.rows(AUDIT_EPOCHS) if row["closed_at"] is None]

    def another_trail(self) -> AuditTrail:
        """That of another worker, as far as the database and the lock files go."""
        keystore = self.running.services.keystore
        return AuditTrail(keystore.database, self.state / "locks", keystore.log)

    def outcomes_of(self, intent: dict[str, Any]) -> list[dict[str, Any]]:
        return self.rows(LOG_ENTRIES, intent_id=intent["id"])


@pytest.fixture
def place(token: Token, founded: TestToken, tmp_path: Path) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trail, "SWEEP_SECONDS", 600.0)  # this process sweeps when the test says so
        with running_service(token, tmp_path) as running:
            key = running.make_key("mortal", "ECC_NIST_P256", "general")["id"]
            yield Place(running, tmp_path, founded.configuration.lock_file.parent, key)


class Worker:
    """The child process."""

    def __init__(self, process: subprocess.Popen[str], epoch: str, intent: dict[str, Any] | None) -> None:
        self.process = process
        self.epoch = epoch
        self._intent = intent

    @property
    def intent(self) -> dict[str, Any]:
        assert self._intent is not None
        return self._intent

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        assert self.process.wait(timeout=LONG) == -signal.SIGKILL


@contextmanager
def worker(place: Place, moment: str, items: int = 1) -> Iterator[Worker]:
    """A worker that has come to its moment."""
    known = set(place.open_epochs())
    command = [sys.executable, "-m", "tests.faults.worker"]
    token = place.running.services.keystore._token
    assert isinstance(token, OwnTexts)
    arguments = [str(place.state), str(place.token_directory), str(token._number), place.key, moment, str(items)]
    with subprocess.Popen(
        command + arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(place.running.tokens["role/ci"] + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            while line and not line.startswith(("reached", "answered")):  # its log
                line = process.stdout.readline()
            assert line.strip() == ("answered 200" if moment == "never" else "reached")
            (epoch,) = set(place.open_epochs()) - known
            intents = place.rows(AUDIT_INTENTS, epoch=epoch)
            yield Worker(process, epoch, intents[0] if intents else None)
        finally:
            process.kill()


def sweep(place: Place) -> None:
    place.running.services.audit._sweep()


@pytest.mark.parametrize(("moment", "items"), [("in-hsm", 1), ("before-outcome", 1), ("before-outcome", 20)])
def test_a_killed_workers_intent_is_closed_as_unknown_by_another(place: Place, moment: str, items: int) -> None:
    with worker(place, moment, items) as dying:
        assert dying.intent["items"] == items
        assert place.outcomes_of(dying.intent) == []
        dying.kill()
        for _ in range(3):
            sweep(place)
        outcomes = place.outcomes_of(dying.intent)
    assert sorted(outcome["item"] for outcome in outcomes) == list(range(items))
    for outcome in outcomes:
        assert (outcome["outcome"], outcome["code"]) == ("unknown", "worker_died")
        copied = ("request_id", "principal", "source", "action", "key_id")
        assert {name: outcome[name] for name in copied} == {name: dying.intent[name] for name in copied}
        assert outcome["epoch"] != dying.epoch
        assert outcome["time"] >= dying.intent["time"]
        assert outcome["digest"] is None
        assert outcome["signature_sha256"] is None
    assert dying.epoch not in place.open_epochs()
    assert not (place.state / "locks" / f"{dying.epoch}.lock").exists()
    answer = place.running.call("role/ci", "POST", f"/v1/keys/{place.key}/signatures", {"message": "AAAA"})
    assert answer.status_code == 200  # the living worker works on


def test_a_living_worker_keeps_its_intents_however_long_it_takes(place: Place) -> None:
    with worker(place, "in-hsm") as slow:
        for _ in range(3):
            sweep(place)
        assert place.outcomes_of(slow.intent) == []
        assert slow.epoch in place.open_epochs()
        slow.process.send_signal(signal.SIGSTOP)  # stopped is not dead
        sweep(place)
        assert place.outcomes_of(slow.intent) == []
        slow.process.send_signal(signal.SIGCONT)


def test_many_sweepers_close_it_once(place: Place) -> None:
    keystore, locks = place.running.services.keystore, place.state / "locks"
    database, anchor = keystore.database, keystore.log
    others = [AuditTrail(database, locks, anchor) for _ in range(4)]
    try:
        with worker(place, "in-hsm") as dying:
            dying.kill()
            _at_the_same_moment([other._sweep for other in others])
            sweep(place)
            assert [row["outcome"] for row in place.outcomes_of(dying.intent)] == ["unknown"]
    finally:
        for other in others:
            other.stop()


def _at_the_same_moment(works: list[Callable[[], None]]) -> None:
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        barrier.wait()
        for _ in range(5):
            work()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=LONG)


def test_a_worker_that_stopped_leaves_an_epoch_that_another_closes(place: Place) -> None:
    with worker(place, "never") as stopping:
        assert [row["outcome"] for row in place.outcomes_of(stopping.intent)] == ["succeeded"]
        sweep(place)
        assert stopping.epoch in place.open_epochs()
        stopping.process.communicate("\n", timeout=LONG)
        assert stopping.process.returncode == 0
        sweep(place)
    assert stopping.epoch not in place.open_epochs()
    assert [row["outcome"] for row in place.outcomes_of(stopping.intent)] == ["succeeded"]


def test_the_sweeper_does_it_by_itself(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "SWEEP_SECONDS", 0.05)
    other = place.another_trail()
    try:
        with worker(place, "in-hsm") as dying:
            dying.kill()
            deadline = time.monotonic() + LONG
            while not (outcomes := place.outcomes_of(dying.intent)) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert [row["outcome"] for row in outcomes] == ["unknown"]
    finally:
        other.stop()


def test_what_it_left_open_is_closed_by_the_next_start_if_nobody_lived(place: Place) -> None:
    with worker(place, "in-hsm") as dying:
        dying.kill()
    later = place.another_trail()
    later.stop()  # which sweeps a last time
    assert [row["outcome"] for row in place.outcomes_of(dying.intent)] == ["unknown"]
