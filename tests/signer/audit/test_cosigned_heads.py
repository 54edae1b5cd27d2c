"""The log with outside witnesses: what is given out with their cosignatures, collected later, or refused."""

from __future__ import annotations

import threading
from base64 import b64decode
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from keystore.db import connect
from keystore.errors import IntegrityFailure
from signer.audit import cosigned_heads, witnessing
from signer.audit.anchor import KeptHead
from signer.audit.cosignatures import parse_witness_key
from signer.audit.cosigned_heads import NotCosignedNow, Witnessing
from signer.audit.logged import NotPublished
from signer.audit.reading import heads
from signer.audit.records import rows_entry
from signer.audit.sequencer import Sequencer
from signer.config import LogConfiguration, OutsideWitness
from signer.witness.app import WitnessApplication
from signer.witness.state import create_state
from tests.databases import copy, new_database, url_of
from tests.signer.audit.anchor import SoftwareAnchor, software_anchor
from tests.signer.witness.test_client import serving
from verifier.merkle import leaf_hash, root_from_inclusion
from verifier.notes import cosigned_at, parse_checkpoint, parse_key, parse_note, require_signature

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keystore.db import Database
    from signer.audit.records import Entry
    from signer.witness.state import WitnessState
    from verifier.notes import NoteKey


@dataclass
class OneWitness:
    """A witness over HTTP that can be out of reach."""

    state: WitnessState
    reachable: bool = True
    asked: int = 0
    url: str = ""

    def __call__(self, environ: Any, start_response: Any) -> Any:
        self.asked += 1
        if not self.reachable:
            start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
            environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            return [b""]
        return WitnessApplication(self.state)(environ, start_response)

    @property
    def key(self) -> NoteKey:
        return self.state.key.public


@dataclass
class Place:
    """A database, a log key, and witnesses."""

    folder: Path
    anchor: SoftwareAnchor
    witnesses: list[OneWitness]
    stack: ExitStack
    databases: list[Database] = field(default_factory=list)

    def sequencer(self, cosignatures: int) -> Sequencer:
        """As one more worker makes it."""
        database = connect(url_of(self.folder / "audit.db"))
        self.stack.callback(database.close)
        self.databases.append(database)
        outside = tuple(OutsideWitness(one.url, parse_witness_key(str(one.key))) for one in self.witnesses)
        witnessing = Witnessing(LogConfiguration(outside, cosignatures), self.folder / "locks", present)
        made = Sequencer(database, self.anchor, witnessing)
        self.stack.callback(made.stop)
        return made

    def head(self) -> Any:
        (found,) = heads(self.databases[-1])
        return found


def present() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(cosigned_heads, "COLLECT_SECONDS", 600.0)  # `collect` is called by the tests
    monkeypatch.setattr(witnessing, "REST", 0.0)
    monkeypatch.setattr(witnessing, "TIME_LIMIT", 20.0)  # however busy this machine is
    new_database(tmp_path / "audit.db").close()
    anchor = software_anchor()
    with ExitStack() as stack:
        found = Place(tmp_path, anchor, [], stack)
        log = Sequencer(connect(url_of(tmp_path / "audit.db")), anchor)
        for number in range(2):
            state = create_state(tmp_path / f"witness{number}", f"witness.example/w{number}")
            state.store.add_log(parse_key(log.signer.verifier_key))
            one = OneWitness(state)
            one.url = stack.enter_context(serving(one))
            found.witnesses.append(one)
        yield found


def entries(count: int) -> list[Entry]:
    return [rows_entry(1000 + number, bytes(32), time=0) for number in range(count)]


def cosigners(place: Place, log: Sequencer, note: str) -> set[str]:
    parsed = parse_note(note.encode())
    require_signature(parsed, parse_key(log.signer.verifier_key))
    return set(cosigned_at(parsed, [one.key for one in place.witnesses]))


def proved_by(place: Place, log: Sequencer, proof: str, leaf: bytes) -> set[str]:
    """Who cosigned the checkpoint of a proof, after all of it was checked."""
    head, _, note = proof.partition("\n\n")
    _, _, index, *hashes = head.split("\n")
    checkpoint = parse_checkpoint(parse_note(note.encode()).text)
    path = [b64decode(one) for one in hashes]
    root = root_from_inclusion(leaf_hash(leaf), int(index.removeprefix("index ")), checkpoint.size, path)
    assert root == checkpoint.root
    return cosigners(place, log, note)


NAMES = {"witness.example/w0", "witness.example/w1"}


@pytest.mark.parametrize("required", [1, 2])
def test_a_proof_carries_the_cosignatures_that_it_must(place: Place, required: int) -> None:
    log = place.sequencer(required)
    for count in (1, 3, 2):
        some = entries(count)
        logged = log.append(some, proved=True)
        for at, entry in enumerate(some):
            assert len(proved_by(place, log, logged.proof(at), entry["leaf"])) >= required
            assert len(logged.proof(at)) <= 4096
    head = place.head()
    assert head.checkpoint_size == head.cosigned_size == head.size == 6
    assert head.cosigned.startswith(head.checkpoint)


def test_without_them_nothing_is_given_out_and_with_them_again_at_once(place: Place) -> None:
    log = place.sequencer(2)
    log.append(entries(1), proved=True)
    before = place.head()
    place.witnesses[1].reachable = False
    with capture_logs() as logs, pytest.raises(NotPublished):
        log.append(entries(1), proved=True)
    assert {"checkpoint_failed", "witness_failed"} <= {entry["event"] for entry in logs}
    assert (place.head().checkpoint, place.head().cosigned) == (before.checkpoint, before.cosigned)
    for proved in (True, False):
        if proved:
            with pytest.raises(NotCosignedNow, match="1 witnesses cosigned 2 leaves, 2 must"):
                log.require_usable(proved=True)
        else:
            log.require_usable(proved=False)
    log.append(entries(1), proved=False)  # a refusal leaves its leaf all the same
    place.witnesses[1].reachable = True
    log.require_usable(proved=True)
    some = entries(1)
    logged = log.append(some, proved=True)
    assert proved_by(place, log, logged.proof(0), some[0]["leaf"]) == NAMES


def test_workers_at_once_all_get_proofs(place: Place) -> None:
    """A witness refuses a smaller checkpoint after a larger one: whoever comes late is covered by the larger one."""
    workers = [place.sequencer(2) for _ in range(3)]
    found: list[set[str]] = []

    def work(log: Sequencer) -> None:
        for _ in range(6):
            some = entries(2)
            logged = log.append(some, proved=True)
            found.extend(proved_by(place, log, logged.proof(at), entry["leaf"]) for at, entry in enumerate(some))

    threads = [threading.Thread(target=work, args=(log,)) for log in workers for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [NAMES] * (2 * 6 * len(threads))


def test_cosignatures_that_need_not_be_there_are_collected(place: Place) -> None:
    log = place.sequencer(0)
    some = entries(2)
    assert proved_by(place, log, log.append(some, proved=True).proof(1), some[1]["leaf"]) == set()
    assert log._cosigned is not None
    place.witnesses[1].reachable = False
    log.publish()  # as the sweeper does
    log._cosigned.collect(log._caught_up)
    assert (place.head().cosigned_size, cosigners(place, log, place.head().cosigned)) == (2, {"witness.example/w0"})
    place.witnesses[1].reachable = True
    log._cosigned.collect(log._caught_up)
    assert cosigners(place, log, place.head().cosigned) == NAMES
    asked = [one.asked for one in place.witnesses]
    log._cosigned.collect(log._caught_up)  # there is nothing new
    assert [one.asked for one in place.witnesses] == asked
    place.witnesses[0].reachable = place.witnesses[1].reachable = False
    log.append(entries(1), proved=True)
    log.publish()
    log._cosigned.collect(log._caught_up)
    assert (place.head().checkpoint_size, place.head().cosigned_size) == (3, 2)


@contextmanager
def put_back(place: Place, size: int, cosignatures: int) -> Iterator[None]:
    """An older copy of the database, and the HSM's kept head gone back with it."""
    log = place.sequencer(cosignatures)
    log.append(entries(size), proved=True)
    kept: KeptHead = place.anchor.kept
    copy(place.folder / "audit.db", place.folder / "older.db")
    log.append(entries(3), proved=True)
    log.publish()
    if log._cosigned is not None:
        log._cosigned.collect(log._caught_up)
    for database in place.databases:
        database.close()
    copy(place.folder / "older.db", place.folder / "audit.db")
    assert place.anchor.kept == kept
    yield


@pytest.mark.parametrize("cosignatures", [0, 1])
@pytest.mark.parametrize("size", [2, 20])
def test_a_database_put_back_refuses_to_sign(place: Place, cosignatures: int, size: int) -> None:
    with put_back(place, size, cosignatures):
        with capture_logs() as logs:
            log = place.sequencer(cosignatures)
        assert {"event": "witness_contradicts", "alarm": True} in [
            {"event": entry["event"], "alarm": entry.get("alarm")} for entry in logs
        ]
        signed = place.anchor.signed
        for _ in range(2):
            for proved in (True, False):
                with pytest.raises(IntegrityFailure, match=rf"has seen {size + 3} leaves, the database has {size}"):
                    log.require_usable(proved=proved)
        with pytest.raises(NotPublished):
            log.append(entries(1), proved=True)
        assert place.anchor.signed == signed  # no second history is signed
        # It stays so when the false history has grown past what the witness has seen.
        log.append(entries(9), proved=False)
        later = place.sequencer(cosignatures)
        with pytest.raises(IntegrityFailure, match="does not find"):
            later.require_usable(proved=True)


def test_a_lost_database_refuses_to_sign(place: Place) -> None:
    log = place.sequencer(0)
    log.append(entries(5), proved=True)
    log.publish()
    assert log._cosigned is not None
    log._cosigned.collect(log._caught_up)
    for database in place.databases:
        database.close()
    for path in place.folder.glob("audit.db*"):
        path.unlink()
    new_database(place.folder / "audit.db").close()
    with pytest.raises(IntegrityFailure, match="has seen 5 leaves, the database has 0"):
        place.sequencer(0).require_usable(proved=True)


def test_witnesses_out_of_reach_at_the_start_are_a_warning_unless_they_must_cosign(place: Place) -> None:
    for one in place.witnesses:
        one.reachable = False
    with capture_logs() as logs:
        log = place.sequencer(0)
    assert {"event": "witnesses_missing", "log_level": "warning", "answered": 0, "configured": 2} in logs
    log.require_usable(proved=True)
    log.append(entries(1), proved=True)
    with capture_logs() as logs:
        log = place.sequencer(1)
    assert ("witnesses_do_not_cosign", True) in [(entry["event"], entry.get("alarm")) for entry in logs]
    with pytest.raises(NotCosignedNow):
        log.require_usable(proved=True)
    place.witnesses[0].reachable = True
    log.require_usable(proved=True)
    log.append(entries(1), proved=True)
