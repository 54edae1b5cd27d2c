"""The sequencer by itself: places, proofs and heads, several of them at once, and a database that went back."""

from __future__ import annotations

import threading
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, select, update

from keystore.db import open_database
from keystore.db.schema import LOG_ENTRIES, LOG_HEADS, LOG_TILES, ROW_JOURNAL, ROW_JOURNAL_HEAD
from keystore.errors import HsmUnavailable, IntegrityFailure, KeystoreError, StoreUnavailable
from keystore.log_anchor import KeptHead
from signer.audit.checkpoints import checkpoint_text
from signer.audit.leaf import rows_leaf
from signer.audit.logged import NotPublished
from signer.audit.reading import LogReader, heads
from signer.audit.records import decision
from signer.audit.sequencer import Sequencer
from signer.audit.tree import EMPTY_ROOT, leaf_hash, node_hash
from tests.databases import ON_POSTGRESQL, copy, new_database, url_of
from tests.signer.audit.anchor import SoftwareAnchor, software_anchor
from verifier.log_leaves import FormerLeaf, parse_leaf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keystore.db import Database
    from signer.audit.records import Entry
    from signer.audit.tree import Tree


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = new_database(tmp_path / "log.db")
    yield made
    made.close()


@pytest.fixture
def anchor() -> SoftwareAnchor:
    return software_anchor()


@pytest.fixture
def sequencer(database: Database, anchor: SoftwareAnchor) -> Sequencer:
    return Sequencer(database, anchor)


def entries(count: int = 1, about: str = "x") -> list[Entry]:
    made = [(bytes(32), bytes(32))]
    return [decision({"action": about, "outcome": "succeeded"}, made, time=1, epoch="e") for _ in range(count)]


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, word for word."""
    if len(leaves) < 2:
        return leaves[0] if leaves else EMPTY_ROOT
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(naive_root(leaves[:half]), naive_root(leaves[half:]))


def leaves_of(database: Database) -> list[bytes]:
    with database.read() as connection:
        return list(connection.execute(select(LOG_ENTRIES.c.leaf).order_by(LOG_ENTRIES.c.seq)).scalars())


def require_proved(proof: str, leaves: list[bytes], anchor: SoftwareAnchor) -> None:
    """That a proof says what it should, computed from all leaves."""
    head, _, checkpoint = proof.partition("\n\n")
    first, extra, index_line, *hashes = head.split("\n")
    index = int(index_line.removeprefix("index "))
    text, _, signatures = checkpoint.partition("\n\n")
    origin, size, root = text.split("\n")
    tree = leaves[: int(size)]
    assert first == "c2sp.org/tlog-proof@v1"
    assert b64decode(extra.removeprefix("extra ")) == leaves[index]
    assert (origin, b64decode(root)) == (anchor.origin, naive_root([leaf_hash(leaf) for leaf in tree]))
    signature = b64decode(signatures.rpartition(" ")[2])[4:]
    anchor.private_key.public_key().verify(signature, f"{text}\n".encode())
    node, last, found = index, len(tree) - 1, leaf_hash(leaves[index])
    for hashed in map(b64decode, hashes):  # section 2.1.3.2
        if node & 1 or node == last:
            found = node_hash(hashed, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, hashed)
        node, last = node >> 1, last >> 1
    assert (found, last) == (b64decode(root), 0)


def test_each_entry_has_its_place_and_its_proof(
    sequencer: Sequencer, database: Database, anchor: SoftwareAnchor
) -> None:
    proofs = []
    for count in (1, 1, 3, 250, 1, 2, 300):
        logged = sequencer.append(entries(count), proved=True)
        proofs += [logged.proof(at) for at in range(count)]
    sequencer.publish()
    leaves = leaves_of(database)
    assert len(leaves) == 558
    for proof in proofs[::7]:
        require_proved(proof, leaves, anchor)
    (head,) = heads(database)
    assert (head.size, head.root) == (558, naive_root([leaf_hash(leaf) for leaf in leaves]))
    assert head.checkpoint is not None
    assert head.checkpoint.startswith(checkpoint_text(anchor.origin, 558, head.root))
    with database.read() as connection:
        tiles = connection.execute(select(LOG_TILES.c.level, LOG_TILES.c.tile)).all()
    assert sorted(map(tuple, tiles)) == [(0, 0), (0, 1)]


def test_what_needs_no_proof_makes_no_checkpoint(
    sequencer: Sequencer, database: Database, anchor: SoftwareAnchor
) -> None:
    sequencer.append(entries(), proved=False)
    assert anchor.signed == 0
    sequencer.publish()
    assert (anchor.signed, heads(database)[0].checkpoint_size) == (1, 1)
    sequencer.publish()
    assert anchor.signed == 1


def test_sequencers_of_several_workers_make_one_log(tmp_path: Path, database: Database, anchor: SoftwareAnchor) -> None:
    """Three of them, twelve threads: each entry once, each proof good, never two heads of one size."""
    databases = [open_database(url_of(tmp_path / "log.db")) for _ in range(3)]
    workers = [Sequencer(one, anchor) for one in databases]
    proofs: list[str] = []

    def work(worker: Sequencer, name: str) -> None:
        for call in range(25):
            count = 1 + call % 3
            logged = worker.append(entries(count, name), proved=True)
            proofs.extend(logged.proof(at) for at in range(count))

    threads = [threading.Thread(target=work, args=(workers[at % 3], f"thread-{at}")) for at in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    leaves = leaves_of(database)
    wanted = 12 * sum(1 + call % 3 for call in range(25))
    assert len(leaves) == len(proofs) == wanted
    assert len({proof.split("\n")[2] for proof in proofs}) == wanted  # every index once
    for proof in proofs[::11]:
        require_proved(proof, leaves, anchor)
    roots: dict[str, set[str]] = {}
    for proof in proofs:
        _, size, root = proof.partition("\n\n")[2].split("\n")[:3]
        roots.setdefault(size, set()).add(root)
    assert all(len(found) == 1 for found in roots.values())
    for one in databases:
        one.close()


def journal_entry(database: Database, seq: int, link: bytes) -> None:
    values = {"table_name": "keys", "row_id": str(seq), "revision": 1, "seal": b"", "previous": 0, "link_seal": b""}
    with database.write() as connection:
        connection.execute(ROW_JOURNAL.insert().values(seq=seq, link=link, **values))
        connection.execute(update(ROW_JOURNAL_HEAD).values(seq=seq, link=link))


def test_each_entry_of_the_rows_journal_is_a_leaf_before_what_comes_after_it(
    sequencer: Sequencer, database: Database
) -> None:
    journal_entry(database, 1, b"\1" * 32)
    journal_entry(database, 2, b"\2" * 32)
    (last,) = entries()
    sequencer.append([last], proved=False)
    assert leaves_of(database) == [rows_leaf(1, b"\1" * 32), rows_leaf(2, b"\2" * 32), last["leaf"]]
    assert not sequencer.pending_rows
    journal_entry(database, 3, b"\3" * 32)
    sequencer.append([], proved=False)
    assert leaves_of(database)[3:] == [rows_leaf(3, b"\3" * 32)]


def test_an_older_journal_is_refused(sequencer: Sequencer, database: Database, anchor: SoftwareAnchor) -> None:
    journal_entry(database, 1, b"\1" * 32)
    journal_entry(database, 2, b"\2" * 32)
    sequencer.append(entries(), proved=True)
    with database.write() as connection:
        connection.execute(delete(ROW_JOURNAL).where(ROW_JOURNAL.c.seq == 2))
        connection.execute(update(ROW_JOURNAL_HEAD).values(seq=1, link=b"\1" * 32))
    with pytest.raises(IntegrityFailure, match="went back from 2"):
        sequencer.append(entries(), proved=True)
    with pytest.raises(IntegrityFailure, match="row_journal/2"):
        Sequencer(database, anchor)
    journal_entry(database, 2, b"\4" * 32)
    with pytest.raises(IntegrityFailure, match="row_journal/2"):
        Sequencer(database, anchor)


def test_a_missing_log_key_publishes_nothing_and_loses_nothing(
    sequencer: Sequencer, database: Database, anchor: SoftwareAnchor
) -> None:
    anchor.missing = True
    with pytest.raises(NotPublished):
        sequencer.append(entries(), proved=True)
    with pytest.raises(HsmUnavailable):
        sequencer.require_usable(proved=True)
    sequencer.require_usable(proved=False)
    sequencer.append(entries(), proved=False)
    assert (heads(database)[0].size, heads(database)[0].checkpoint_size) == (2, -1)
    anchor.missing = False
    sequencer.require_usable(proved=True)
    assert heads(database)[0].checkpoint_size == 2
    require_proved(sequencer.append(entries(), proved=True).proof(0), leaves_of(database), anchor)


def test_a_head_without_a_checkpoint_is_published_by_the_next_start(
    sequencer: Sequencer, database: Database, anchor: SoftwareAnchor
) -> None:
    sequencer.append(entries(5), proved=False)
    Sequencer(database, anchor).publish()
    assert heads(database)[0].checkpoint_size == 5


def stored_checkpoint(database: Database) -> tuple[int, str | None]:
    head = heads(database)[-1]
    return head.checkpoint_size, head.checkpoint


def test_a_checkpoint_is_stored_with_the_next_leaves_and_by_whoever_publishes(
    sequencer: Sequencer, database: Database, anchor: SoftwareAnchor
) -> None:
    first = sequencer.append(entries(2), proved=True)
    assert stored_checkpoint(database) == (-1, None)
    second = sequencer.append(entries(3), proved=True)
    assert stored_checkpoint(database) == (2, first.checkpoint)
    sequencer.publish()
    assert stored_checkpoint(database) == (5, second.checkpoint)
    signed = anchor.signed
    sequencer.publish()
    sequencer.append(entries(1), proved=False)
    assert stored_checkpoint(database) == (5, second.checkpoint)
    assert anchor.signed == signed


def test_a_worker_that_dies_with_a_checkpoint_that_is_not_stored_loses_nothing(
    sequencer: Sequencer, database: Database, anchor: SoftwareAnchor
) -> None:
    """Somebody has its proof: the next worker signs the very same checkpoint again."""
    given = sequencer.append(entries(2), proved=True)
    assert stored_checkpoint(database) == (-1, None)
    Sequencer(database, anchor).publish()
    assert stored_checkpoint(database) == (2, given.checkpoint)


def test_a_late_checkpoint_does_not_take_the_place_of_a_larger_one(
    sequencer: Sequencer, database: Database, anchor: SoftwareAnchor
) -> None:
    sequencer.append(entries(2), proved=True)
    other = Sequencer(database, anchor)
    given = other.append(entries(2), proved=True)
    other.publish()
    sequencer.publish()
    assert stored_checkpoint(database) == (4, given.checkpoint)
    assert sequencer.append(entries(), proved=True).first == 4
    assert stored_checkpoint(database) == (4, given.checkpoint)


def test_a_reader_is_shown_no_less_than_what_somebody_was_given_by_any_worker(
    sequencer: Sequencer, database: Database, anchor: SoftwareAnchor
) -> None:
    given = Sequencer(database, anchor).append(entries(3), proved=True)
    (head,) = sequencer.shown_heads()
    assert (head.checkpoint_size, head.checkpoint) == (3, given.checkpoint)
    signed = anchor.signed
    assert sequencer.shown_heads() == [head]
    assert anchor.signed == signed  # nothing is new


@pytest.mark.parametrize("fault", ["key", "database"])
def test_a_reader_is_shown_the_last_checkpoint_while_none_can_be_made(
    sequencer: Sequencer, database: Database, anchor: SoftwareAnchor, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    sequencer.append(entries(2), proved=True)
    sequencer.publish()
    later = sequencer.append(entries(1), proved=True)
    with monkeypatch.context() as broken:
        if fault == "key":
            Sequencer(database, anchor).append(entries(1), proved=False)
            anchor.missing = True
        else:
            broken.setattr(database, "append", refused)
        assert sequencer.shown_heads()[0].checkpoint_size == 2
        anchor.missing = False
    sequencer.publish()
    size, checkpoint = stored_checkpoint(database)
    assert size == (4 if fault == "key" else 3)
    assert (checkpoint == later.checkpoint) is (fault == "database")


def refused(*_: object) -> None:
    message = "not now"
    raise StoreUnavailable(message)


REFUSE_ON_SQLITE = "CREATE TRIGGER no BEFORE UPDATE ON log_heads BEGIN SELECT RAISE(ABORT, 'no'); END"
REFUSE_ON_POSTGRESQL = (
    "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$",
    "CREATE TRIGGER no BEFORE UPDATE ON log_heads FOR EACH ROW EXECUTE FUNCTION no()",
)


def test_what_could_not_be_committed_is_not_in_the_log(sequencer: Sequencer, database: Database) -> None:
    sequencer.append(entries(), proved=True)
    with database.write() as connection:
        for statement in REFUSE_ON_POSTGRESQL if ON_POSTGRESQL else (REFUSE_ON_SQLITE,):
            connection.exec_driver_sql(statement)
    with pytest.raises(KeystoreError, match="no"):
        sequencer.append(entries(), proved=True)
    assert len(leaves_of(database)) == 1
    with database.write() as connection:
        connection.exec_driver_sql("DROP TRIGGER no ON log_heads" if ON_POSTGRESQL else "DROP TRIGGER no")
    sequencer.require_usable(proved=True)
    sequencer.append(entries(), proved=True)
    assert len(leaves_of(database)) == 2


@pytest.mark.parametrize("kept", [3, 5])
def test_a_database_behind_the_kept_head_is_refused_at_start(
    database: Database, anchor: SoftwareAnchor, tmp_path: Path, kept: int
) -> None:
    sequencer = Sequencer(database, anchor)
    sequencer.append(entries(2), proved=True)
    copy(tmp_path / "log.db", tmp_path / "old.db")
    sequencer.append(entries(kept - 2), proved=True)
    sequencer.keep()
    assert (anchor.kept.size, anchor.kept.root) == (kept, heads(database)[0].root)
    old = open_database(url_of(tmp_path / "old.db"))
    with pytest.raises(IntegrityFailure, match=f"log at 2 leaves: the HSM keeps the head of {kept} leaves"):
        Sequencer(old, anchor)
    old.close()
    Sequencer(database, anchor)


def test_another_history_than_the_kept_one_is_refused_at_start(
    database: Database, anchor: SoftwareAnchor, sequencer: Sequencer
) -> None:
    sequencer.append(entries(7), proved=True)
    anchor.kept = KeptHead(anchor.origin, 4, bytes(32))
    with pytest.raises(IntegrityFailure, match="another head of that size"):
        Sequencer(database, anchor)


def test_no_row_of_the_log_where_the_hsm_keeps_a_head_is_refused(database: Database, anchor: SoftwareAnchor) -> None:
    anchor.kept = KeptHead(anchor.origin, 4, bytes(32))
    with pytest.raises(IntegrityFailure, match="the HSM keeps the head of 4 leaves"):
        Sequencer(database, anchor)


def changed(database: Database, what: str) -> None:
    """What somebody does who can write to the database."""
    with database.write() as connection:
        if what == "truncated":
            connection.execute(delete(LOG_ENTRIES).where(LOG_ENTRIES.c.seq >= 3))
            root = LogReader(database, 1, 0).root(3)
            connection.execute(update(LOG_HEADS).values(size=3, root=root))
        elif what == "head-only":
            connection.execute(update(LOG_HEADS).values(root=bytes(32)))
        elif what == "forked":
            connection.execute(delete(LOG_ENTRIES).where(LOG_ENTRIES.c.seq >= 3))
            row = entries()[0] | {"seq": 3}
            connection.execute(LOG_ENTRIES.insert(), [row, row | {"seq": 4}, row | {"seq": 5}])
            connection.execute(update(LOG_HEADS).values(size=6, root=bytes(32)))
        else:
            connection.execute(delete(LOG_HEADS))


@pytest.mark.parametrize("what", ["truncated", "head-only", "forked", "no-head"])
def test_a_database_that_went_back_under_a_running_service_is_refused_until_it_is_put_right(
    database: Database, sequencer: Sequencer, what: str
) -> None:
    sequencer.append(entries(5), proved=True)
    with database.read() as connection:
        rows = [dict(row) for row in connection.execute(select(LOG_ENTRIES)).mappings()]
        head = dict(connection.execute(select(LOG_HEADS)).mappings().one())
    changed(database, what)
    for _ in range(2):
        with pytest.raises(IntegrityFailure, match="the database is behind, or was changed"):
            sequencer.append(entries(), proved=True)
    with pytest.raises(IntegrityFailure):
        sequencer.require_usable(proved=False)
    restore(database, rows, head)
    sequencer.require_usable(proved=True)
    assert sequencer.append(entries(), proved=True).first == 5


def test_a_start_among_others_who_go_on_is_no_rollback(
    database: Database, anchor: SoftwareAnchor, sequencer: Sequencer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that starts has read the head when another one appends, and has its head kept; rows too."""
    journal_entry(database, 1, b"\1" * 32)
    sequencer.append(entries(3), proved=True)
    sequencer.keep()
    tree = LogReader.tree

    def overtaken(reader: LogReader, size: int) -> Tree:
        monkeypatch.setattr(LogReader, "tree", tree)
        journal_entry(database, 2, b"\2" * 32)
        sequencer.append(entries(2), proved=True)
        sequencer.keep()
        return tree(reader, size)

    monkeypatch.setattr(LogReader, "tree", overtaken)
    late = Sequencer(database, anchor)
    assert late.size == 4
    assert late.append(entries(), proved=True).first == 7


def test_an_hsm_that_cannot_keep_a_head_now_stops_nobody(
    anchor: SoftwareAnchor, sequencer: Sequencer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequencer.append(entries(), proved=True)

    def away(*_: object) -> None:
        message = "for a moment"
        raise HsmUnavailable(message)

    monkeypatch.setattr(SoftwareAnchor, "keep_head", away)
    with pytest.raises(HsmUnavailable):
        sequencer.keep()
    sequencer.require_usable(proved=True)
    assert sequencer.append(entries(), proved=True).first == 1


def restore(database: Database, rows: list[dict[str, Any]], head: dict[str, Any]) -> None:
    with database.write() as connection:
        connection.execute(delete(LOG_ENTRIES))
        connection.execute(delete(LOG_HEADS))
        connection.execute(LOG_ENTRIES.insert(), rows)
        connection.execute(LOG_HEADS.insert(), [head])


def test_another_log_key_begins_another_log(database: Database, anchor: SoftwareAnchor, sequencer: Sequencer) -> None:
    """As a restore on another HSM does: what was is still there, the new log says in its leaf 0 where that ended, and
    continues the rows' journal."""
    journal_entry(database, 1, b"\1" * 32)
    sequencer.append(entries(4), proved=True)
    other = software_anchor()
    new = Sequencer(database, other)
    journal_entry(database, 2, b"\2" * 32)
    logged = new.append(entries(2), proved=True)
    assert logged.first == 2  # after the head of the former log, and the leaf of the journal's second entry
    former, growing = heads(database)
    assert (former.origin, former.size, former.first) == (anchor.origin, 5, 0)
    assert (growing.origin, growing.size, growing.first, growing.journal) == (other.origin, 4, 5, 2)
    require_proved(logged.proof(1), leaves_of(database)[5:], other)
    said = parse_leaf(leaves_of(database)[5])
    signed = None if former.checkpoint is None else former.checkpoint.encode()
    assert said == FormerLeaf(anchor.origin, 5, former.root.hex(), signed)
    assert Sequencer(database, other).size == 4


@pytest.mark.parametrize("kept", [6, 5])
def test_a_running_service_that_is_behind_the_kept_head_refuses_until_it_is_not(
    database: Database, sequencer: Sequencer, anchor: SoftwareAnchor, kept: int
) -> None:
    """What another worker had kept, and this one never saw: its database was put back."""
    sequencer.append(entries(5), proved=True)
    right = anchor.kept
    anchor.kept = KeptHead(anchor.origin, kept, bytes(32))
    with pytest.raises(IntegrityFailure, match=r"went back|the HSM keeps the head of 6 leaves"):
        sequencer.keep()
    with pytest.raises(IntegrityFailure):
        sequencer.require_usable(proved=False)
    anchor.kept = right
    sequencer.require_usable(proved=True)
    assert anchor.kept.size == 5
