"""The trail by itself: refusals counted and recorded, late outcomes, and an end that loses nothing."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from keystore.db.schema import AUDIT_EPOCHS, AUDIT_INTENTS, LOG_ENTRIES
from keystore.errors import StoreUnavailable
from signer.access import Action, Duty, Surroundings, admit, decide
from signer.audit import AuditTrail, Outcome, trail
from signer.audit.epochs import Epoch, is_dead
from signer.audit.records import RecordedIntent
from signer.authn.principal import Principal
from signer.call import Call
from signer.errors import AuditUnavailable
from tests.databases import new_database, path_of
from tests.signer.audit.anchor import software_anchor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keystore.db import Database
    from signer.access import Permit

AROUND = Surroundings("000000000000", datetime(2026, 1, 1, tzinfo=UTC))
CALLER = Principal("role/ci", Duty.KEY_USER, "bearer:5c0a")
CALL = Call("0" * 32, "theirs", "192.0.2.1", "Bearer smk_secret", None, b"{}")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
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


@pytest.fixture
def permit() -> Permit:
    return decide(
        admit(Principal("user/key-admin", Duty.KEY_ADMINISTRATOR, "bearer:1f3a"), Action.CREATE_KEY), None, AROUND
    )


@contextmanager
def unwritable(database: Database) -> Iterator[None]:
    def refuse(*_: object) -> None:
        message = "not now"
        raise StoreUnavailable(message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "write", refuse)
        patch.setattr(database, "append", refuse)
        yield


def outcomes(database: Database) -> list[dict[str, Any]]:
    with database.read() as connection:
        return [dict(row) for row in connection.execute(select(LOG_ENTRIES)).mappings()]


def count_now(audit: AuditTrail) -> None:
    """As if the minute were over."""
    audit._counted_at -= trail.COUNT_SECONDS
    audit._sweep()


def test_strangers_are_counted_in_one_row_a_minute(audit: AuditTrail, database: Database) -> None:
    for _ in range(500):
        audit.count_unauthenticated("unauthenticated")
    audit.count_unauthenticated("enrolment_unauthenticated")
    audit._sweep()
    assert outcomes(database) == []
    count_now(audit)
    (row,) = outcomes(database)
    assert json.loads(row["detail"]) == {"unauthenticated": 500, "enrolment_unauthenticated": 1}
    assert (row["kind"], row["outcome"], row["code"], row["principal"]) == ("count", "counted", "unauthenticated", None)
    count_now(audit)
    assert len(outcomes(database)) == 1


def test_no_stranger_is_forgotten_when_many_come_at_once(audit: AuditTrail, database: Database) -> None:
    stop = threading.Event()

    def count() -> None:
        for _ in range(2_000):
            audit.count_unauthenticated("unauthenticated")

    def sweep() -> None:
        while not stop.is_set():
            count_now(audit)

    sweeper, threads = threading.Thread(target=sweep), [threading.Thread(target=count) for _ in range(8)]
    for thread in (sweeper, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    sweeper.join()
    count_now(audit)
    assert sum(json.loads(row["detail"])["unauthenticated"] for row in outcomes(database)) == 16_000


def test_a_count_that_cannot_be_written_is_kept(audit: AuditTrail, database: Database) -> None:
    audit.count_unauthenticated("unauthenticated")
    with unwritable(database), pytest.raises(AuditUnavailable):
        count_now(audit)
    audit.count_unauthenticated("unauthenticated")
    count_now(audit)
    assert [json.loads(row["detail"]) for row in outcomes(database)] == [{"unauthenticated": 2}]


def test_stopping_writes_what_was_counted(audit: AuditTrail, database: Database) -> None:
    audit.count_unauthenticated("unauthenticated")
    audit.stop()
    assert [json.loads(row["detail"]) for row in outcomes(database)] == [{"unauthenticated": 1}]


def test_stopping_with_an_unwritable_trail_still_ends_the_epoch(
    audit: AuditTrail, database: Database, tmp_path: Path
) -> None:
    audit.count_unauthenticated("unauthenticated")
    with unwritable(database):
        audit.stop()
    with database.read() as connection:
        (epoch,) = connection.execute(select(AUDIT_EPOCHS.c.id)).scalars()
    assert is_dead(tmp_path / "locks", epoch)


def test_an_intent_is_written_with_all_that_is_known(audit: AuditTrail, database: Database, permit: Permit) -> None:
    intent = audit.open(permit, CALL, None, 3, {"b": "2", "a": "1"})
    with database.read() as connection:
        (row,) = connection.execute(select(AUDIT_INTENTS)).mappings()
    assert dict(row) | {"time": 0, "epoch": ""} == {
        "id": intent.intent_id,
        "epoch": "",
        "time": 0,
        "request_id": CALL.request_id,
        "caller_request_id": "theirs",
        "principal": "user/key-admin",
        "credential": "bearer:1f3a",
        "proof": None,
        "source": "192.0.2.1",
        "action": "CreateKey",
        "subject": None,
        "key_id": None,
        "version_id": None,
        "version": None,
        "key_sha256": None,
        "algorithm": None,
        "purpose": None,
        "domain": None,
        "items": 3,
        "context": '{"a":"1","b":"2"}',
        "policy_revision": None,
        "decided_by": "allowed by duty: key-administrator",
        "approval": None,
    }


def test_nobody_but_the_trail_makes_an_intent(permit: Permit) -> None:
    with pytest.raises(TypeError, match="only the audit trail"):
        RecordedIntent("id", "key", "version", "ECDSA_SHA_256", permit, {}, object())


def test_no_intent_is_given_that_was_not_written(audit: AuditTrail, database: Database, permit: Permit) -> None:
    with unwritable(database), pytest.raises(AuditUnavailable):
        audit.open(permit, CALL, None, 1)
    with database.read() as connection:
        assert connection.execute(select(AUDIT_INTENTS)).all() == []


@pytest.mark.parametrize(
    ("outcome", "late"),
    [
        (Outcome(0, "succeeded", signatures=((b"digest", b"signature"),)), ("failed", "audit_unavailable")),
        (Outcome(0, "succeeded"), ("succeeded", "audit_unavailable")),
        (Outcome(0, "failed", "hsm_fault"), ("failed", "hsm_fault")),
        (Outcome(0, "denied", "conflict"), ("denied", "conflict")),
    ],
    ids=["signature", "change", "fault", "refusal"],
)
def test_late_outcomes_say_what_happened(
    audit: AuditTrail, database: Database, permit: Permit, outcome: Outcome, late: tuple[str, str]
) -> None:
    intent = audit.open(permit, CALL, None, 1)
    with unwritable(database):
        with pytest.raises(AuditUnavailable):
            audit.close([(intent, [outcome])])
        with pytest.raises(AuditUnavailable):
            audit._sweep()
    assert outcomes(database) == []
    for _ in range(3):
        audit._sweep()
    (row,) = outcomes(database)
    assert (row["outcome"], row["code"], row["intent_id"]) == (*late, intent.intent_id)
    assert row["signature_sha256"] == (outcome.signatures[0][1] if outcome.signatures else None)


def test_an_enrolment_that_cannot_be_noted_leaves_nothing(audit: AuditTrail, database: Database) -> None:
    """It is noted before it happens: what could not be noted has not happened."""
    with unwritable(database), pytest.raises(AuditUnavailable):
        audit.note("role/ci", "Enrol", CALL)
    audit._sweep()
    assert outcomes(database) == []


def test_refusals_of_an_unwritable_time_do_not_pile_up(audit: AuditTrail, database: Database) -> None:
    with unwritable(database):
        for _ in range(10):
            with pytest.raises(AuditUnavailable):
                audit.refuse(CALLER, "Sign", CALL, "key", "not_found")
    audit._sweep()
    assert outcomes(database) == []


def test_a_name_with_a_nul_is_recorded_all_the_same(audit: AuditTrail, database: Database) -> None:
    audit.refuse(CALLER, "Sign", CALL, "key\0", "not_found", "role/\0ci")
    assert [(row["key_id"], row["subject"]) for row in outcomes(database)] == [("key\ufffd", "role/\ufffdci")]


@pytest.mark.parametrize(
    ("code", "kind"), [("not_found", "denied"), ("integrity_failure", "failed"), ("store_unavailable", "failed")]
)
def test_a_fault_before_any_intent_is_no_denial(audit: AuditTrail, database: Database, code: str, kind: str) -> None:
    audit.refuse(CALLER, "Sign", CALL, "key", code)
    assert [(row["outcome"], row["code"]) for row in outcomes(database)] == [(kind, code)]


@pytest.mark.sqlite_only("the write-ahead log's file")
def test_a_probe_reaches_the_disk(audit: AuditTrail, database: Database) -> None:
    """SQLite leaves its files alone for a row that is set to what it is."""
    log = path_of(database).with_name(path_of(database).name + "-wal")
    before = log.stat()
    audit.probe()
    after = log.stat()
    assert (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns)
    with database.read() as connection:
        (epoch,) = connection.execute(select(AUDIT_EPOCHS)).mappings()
    assert epoch["closed_at"] is None
    with unwritable(database), pytest.raises(AuditUnavailable):
        audit.probe()


def test_an_epoch_lives_as_long_as_it_is_held(tmp_path: Path) -> None:
    locks = tmp_path / "locks"
    epoch = Epoch(locks)
    assert not is_dead(locks, epoch.id)
    assert locks.stat().st_mode & 0o777 == 0o700
    assert (locks / f"{epoch.id}.lock").stat().st_mode & 0o777 == 0o600
    epoch.release()
    assert is_dead(locks, epoch.id)
    assert is_dead(locks, "never-was")


def test_the_sweeper_outlives_what_nobody_foresaw(audit: AuditTrail, monkeypatch: pytest.MonkeyPatch) -> None:
    def unforeseen() -> None:
        raise RuntimeError("with a secret in its words")

    with capture_logs() as log, monkeypatch.context() as broken:
        broken.setattr(audit, "_write_overdue", unforeseen)
        audit._sweep_or_postpone()
    (line,) = log
    assert (line["event"], line["kind"], line["alarm"]) == ("audit_sweep_postponed", "RuntimeError", True)
    assert "secret" not in str(line)
