"""Attacks on the log by somebody who can write whatever they like into the database.

Each one changes the database inside a transaction of its own, and says what an audit has to name: the entry, the row,
the tile or the size. What is drawn follows from the seed alone.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from keystore.db.schema import DIGEST_BUCKET
from signer.audit.checkpoints import NoteSigner, checkpoint_text
from signer.audit.records import decision
from verifier.log.tree import TileTree, fold, split_hashes
from verifier.notes import parse_checkpoint, parse_note

if TYPE_CHECKING:
    from pathlib import Path

    from signer.audit.checks import Finding
    from tests.signer.audit.anchor import SoftwareAnchor

WIDTH: Final = 256
# Nothing rests on these: see docs/tamper-evidence.md. An HSM alone can judge a seal of a link.
NOT_EVIDENCE: Final = {"row_journal": {"link_seal"}, "audit_epochs": {"started_at", "closed_at", "node", "beats"}}


@dataclass(frozen=True)
class Place:
    """What an audit must name: any of these entries, this row of a table, this tile, or this size."""

    indices: frozenset[int] = frozenset()
    rows: frozenset[tuple[str, str]] = frozenset()
    tiles: frozenset[str] = frozenset()
    sizes: frozenset[int] = frozenset()

    def width(self, finding: Finding) -> int | None:
        """How many entries the finding leaves open where it names this place (1: it is exact); None if it does not."""
        where = finding.where
        if where.get("index") in self.indices or (where.get("table"), str(where.get("row"))) in self.rows:
            return 1
        if where.get("tile") in self.tiles or where.get("size") in self.sizes:
            return 1
        first, last = where.get("first_index"), where.get("last_index")
        if isinstance(first, int) and isinstance(last, int) and any(first <= index <= last for index in self.indices):
            return last - first + 1
        return None


@dataclass(frozen=True)
class Scene:
    """What attackers have at hand: the log's size, its key (for those who stole it), older checkpoints and copies."""

    size: int
    anchor: SoftwareAnchor
    checkpoints: dict[int, str]
    copies: dict[int, Path]


@dataclass
class Attacker:
    """One attack on one connection, in a transaction that whoever called rolls back."""

    database: sqlite3.Connection
    scene: Scene
    chance: random.Random
    done: list[str] = field(default_factory=list)  # what was done, in words
    copy: Path | None = None  # the database to look at instead

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.database.execute(sql, values).fetchall()

    def run(self, sql: str, *values: Any) -> None:
        assert self.database.execute(sql, values).rowcount != 0, f"nothing was changed: {sql}"

    def entry(self) -> int:
        """The index of some entry; it is also its `seq`."""
        return self.chance.randrange(self.scene.size)

    def two(self) -> tuple[int, int]:
        first, second = self.chance.sample(range(self.scene.size), 2)
        return min(first, second), max(first, second)

    def columns(self, table: str) -> dict[str, bool]:
        """The table's columns, and whether each may be null."""
        return {row[1]: not row[3] for row in self.rows(f"PRAGMA table_info({table})")}

    def edit(self, table: str, column: str, where: str, *key: Any) -> None:
        """Writes something else into a column."""
        ((old,),) = self.rows(f'SELECT "{column}" FROM {table} WHERE {where}', *key)
        new = self._written(table, column, where, key, old)
        self.done.append(f"{table}.{column} of {key}: {_shown(old)} became {_shown(new)}")

    def _written(self, table: str, column: str, where: str, key: tuple[Any, ...], old: Any) -> Any:
        while True:
            value, place = self.other(old, self.columns(table)[column]), "?"
            if isinstance(value, str):  # as octets, since this one may be none that Python encodes
                value, place = value.encode("utf-8", "surrogateescape"), "CAST(? AS TEXT)"
            try:
                self.run(f'UPDATE {table} SET "{column}" = {place} WHERE {where}', value, *key)
            except sqlite3.IntegrityError:  # the table refuses that value
                continue
            return value

    def other(self, old: Any, may_be_null: bool) -> Any:
        """Another value in the place of this one."""
        if old is None:
            return self.chance.choice((1, "something", b"octets"))
        if may_be_null and self.chance.random() < 0.15:
            return None
        if isinstance(old, int):
            return old + self.chance.choice((1, -1, 1000, 2**40))
        if isinstance(old, bytes):
            return self._other_octets(old)
        return self._other_text(old)

    def _other_octets(self, old: bytes) -> bytes:
        kind = self.chance.random()
        if kind < 0.1 or not old:
            return old + b"\0"
        if kind < 0.2:
            return old[:-1]
        at = self.chance.randrange(len(old))
        return old[:at] + bytes([old[at] ^ 1 << self.chance.randrange(8)]) + old[at + 1 :]

    def _other_text(self, old: str) -> Any:
        kind = self.chance.random()
        if kind < 0.1 or not old:
            return old + " "
        if kind < 0.2:
            return old.encode()  # the same octets, of another type: a search would not find it
        if kind < 0.3:
            return old + "\udcff"  # not UTF-8 in the file
        at = self.chance.randrange(len(old))
        swapped = chr(ord(old[at]) ^ 1)
        return old[:at] + (swapped if swapped.isprintable() else "x") + old[at + 1 :]


def _shown(value: Any) -> str:
    return repr(value)[:80]


def _rows(table: str, *rows: Any) -> frozenset[tuple[str, str]]:
    return frozenset((table, str(row)) for row in rows)


def _tile(level: int, number: int) -> str:
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03d}")
    return f"tile/{level}/{'/'.join(groups)}"


def _tile_place(level: int, number: int) -> Place:
    span = WIDTH ** (level + 1)
    return Place(
        indices=frozenset(range(number * span, number * span + span)),
        rows=_rows("log_tiles", f"1/{level}/{number}"),
        tiles=frozenset({_tile(level, number), f"tile/{level}/{number}"}),
    )


def edited_entry(attacker: Attacker) -> Place:
    index = attacker.entry()
    ((kind,),) = attacker.rows("SELECT kind FROM log_entries WHERE seq = ?", index)
    hints = {"seq", "time"} if kind == "rows" else {"seq"}  # the leaf of a row says no time: it is held to minutes
    column = attacker.chance.choice([name for name in attacker.columns("log_entries") if name not in hints])
    attacker.edit("log_entries", column, "seq = ?", index)
    return Place(frozenset({index}))


def moved_entry(attacker: Attacker) -> Place:
    index = attacker.entry()
    number = attacker.chance.choice((attacker.scene.size + attacker.chance.randrange(1000), -1, 2**63 - 1))
    attacker.run("UPDATE log_entries SET seq = ? WHERE seq = ?", number, index)
    attacker.done.append(f"entry {index} is numbered {number}")
    return Place(frozenset({index}))


_SWAPPED: Final = (
    ("leaf",), ("leaf", "leaf_hash"), ("leaf_hash",), ("nonce",), ("record",), ("nonce", "record"),
    ("leaf", "leaf_hash", "nonce", "record"), ("principal",), ("request_id",),
)  # fmt: skip


def swapped_columns(attacker: Attacker) -> Place:
    """Some columns of two entries change places: those in which they differ."""
    while True:
        names = attacker.chance.choice(_SWAPPED)
        first, second = attacker.two()
        listed = ", ".join(names)
        one = attacker.rows(f"SELECT {listed} FROM log_entries WHERE seq = ?", first)[0]
        other = attacker.rows(f"SELECT {listed} FROM log_entries WHERE seq = ?", second)[0]
        may_change = None not in (*one, *other)
        if one != other and may_change:
            break
    assigned = ", ".join(f"{name} = ?" for name in names)
    attacker.run(f"UPDATE log_entries SET {assigned} WHERE seq = ?", *other, first)
    attacker.run(f"UPDATE log_entries SET {assigned} WHERE seq = ?", *one, second)
    attacker.done.append(f"{listed} of entries {first} and {second} changed places")
    return Place(frozenset({first, second}))


def swapped_entries(attacker: Attacker) -> Place:
    first, second = attacker.two()
    for old, new in ((first, -7), (second, first), (-7, second)):
        attacker.run("UPDATE log_entries SET seq = ? WHERE seq = ?", new, old)
    attacker.done.append(f"entries {first} and {second} changed places")
    return Place(frozenset({first, second}))


def reordered_entries(attacker: Attacker) -> Place:
    """The first of some neighbours becomes their last."""
    count = attacker.chance.randint(2, 40)
    first = attacker.chance.randrange(attacker.scene.size - count)
    attacker.run("UPDATE log_entries SET seq = -7 WHERE seq = ?", first)
    for at in range(first + 1, first + count):
        attacker.run("UPDATE log_entries SET seq = ? WHERE seq = ?", at - 1, at)
    attacker.run("UPDATE log_entries SET seq = ? WHERE seq = -7", first + count - 1)
    attacker.done.append(f"entry {first} was put behind entry {first + count - 1}")
    return Place(frozenset(range(first, first + count)))


def deleted_entries(attacker: Attacker) -> Place:
    count = attacker.chance.choice((1, 1, 2, 5, 300))
    first = attacker.chance.randrange(attacker.scene.size - count)
    attacker.run("DELETE FROM log_entries WHERE seq >= ? AND seq < ?", first, first + count)
    attacker.done.append(f"{count} entries from {first} on were deleted")
    return Place(frozenset(range(first, first + count)))


def closed_gap(attacker: Attacker) -> Place:
    """An entry near the end is deleted, and those behind it move up."""
    size = attacker.scene.size
    first = size - attacker.chance.randint(2, 200)
    attacker.run("DELETE FROM log_entries WHERE seq = ?", first)
    for at in range(first + 1, size):
        attacker.run("UPDATE log_entries SET seq = ? WHERE seq = ?", at - 1, at)
    attacker.done.append(f"entry {first} was deleted, and the {size - first - 1} behind it moved up")
    return Place(frozenset({first}), sizes=frozenset({size - 1}))


def inserted_entry(attacker: Attacker) -> Place:
    """A copy of an entry behind the last, or between two near the end."""
    size = attacker.scene.size
    at = attacker.chance.choice((size, size - attacker.chance.randint(1, 200)))
    for number in range(size - 1, at - 1, -1):
        attacker.run("UPDATE log_entries SET seq = ? WHERE seq = ?", number + 1, number)
    names = ", ".join(name for name in attacker.columns("log_entries") if name != "seq")
    source = attacker.chance.randrange(at)
    attacker.run(f"INSERT INTO log_entries (seq, {names}) SELECT ?, {names} FROM log_entries WHERE seq = ?", at, source)
    attacker.done.append(f"entry {source} was inserted again at {at}")
    return Place(frozenset({at, size}))


def truncated(attacker: Attacker) -> Place:
    """The end is cut off, and a genuine older checkpoint put back with the head that it signs."""
    size = attacker.chance.choice(sorted(attacker.scene.checkpoints))
    note = attacker.scene.checkpoints[size]
    root = parse_checkpoint(parse_note(note.encode()).text).root
    attacker.run("DELETE FROM log_entries WHERE seq >= ?", size)
    for level in range(3):
        attacker.database.execute(
            "DELETE FROM log_tiles WHERE level = ? AND tile >= ?", (level, size // WIDTH ** (level + 1))
        )
    ((journal,),) = attacker.rows("SELECT count(*) FROM log_entries WHERE kind = 'rows'")
    whole = attacker.chance.random() < 0.7
    attacker.run(
        "UPDATE log_heads SET size = ?, root = ?, journal = ?, checkpoint_size = ?, checkpoint = ?",
        *(size, root, journal, size, note) if whole else (size, root, journal, -1, None),
    )
    if attacker.chance.random() < 0.5:
        attacker.database.execute(
            "DELETE FROM audit_intents WHERE NOT EXISTS (SELECT 1 FROM log_entries WHERE intent_id = audit_intents.id)"
        )
    attacker.done.append(f"cut to {size} entries {'with their checkpoint' if whole else 'without a checkpoint'}")
    return Place(sizes=frozenset({size}))


def restored(attacker: Attacker) -> Place:
    """An old copy of the whole database is put back."""
    size = attacker.chance.choice(sorted(attacker.scene.copies))
    attacker.copy = attacker.scene.copies[size]
    attacker.done.append(f"the copy of {size} entries was put back")
    return Place(sizes=frozenset({size}))


def restored_rows(attacker: Attacker) -> Place:
    """The sealed rows and their journal are put back, and the log is left as it is."""
    ((last,),) = attacker.rows("SELECT max(seq) FROM row_journal")
    end = attacker.chance.randrange(max(1, last // 2), last)
    ((link,),) = attacker.rows("SELECT link FROM row_journal WHERE seq = ?", end)
    attacker.run("DELETE FROM row_journal WHERE seq > ?", end)
    attacker.run("UPDATE row_journal_head SET seq = ?, link = ?", end, link)
    newest = attacker.rows(
        "SELECT row_id, max(revision) FROM row_journal WHERE table_name = 'principals' GROUP BY row_id"
    )
    for name, revision in newest:
        found = "SELECT seal FROM row_journal WHERE table_name = 'principals' AND row_id = ? AND revision = ?"
        ((seal,),) = attacker.rows(found, name, revision)
        attacker.run("UPDATE principals SET revision = ?, seal = ? WHERE id = ?", revision, seal, name)
    attacker.done.append(f"rows and journal were put back to entry {end} of {last}")
    return Place(rows=_rows("row_journal", end + 1))


def _rewrite(attacker: Attacker, index: int) -> None:
    """Another record in the place of an entry's, with leaf, hashes and columns as they must be for it."""
    known = {"principal": "role/nobody", "action": "sealmark:DescribeKey", "outcome": "succeeded", "item": 0}
    ((epoch,),) = attacker.rows("SELECT id FROM audit_epochs")
    values = decision(known, time=1_790_000_000_000_000, epoch=epoch)
    names = [name for name in attacker.columns("log_entries") if name != "seq"]
    assigned = ", ".join(f"{name} = ?" for name in names)
    attacker.run(f"UPDATE log_entries SET {assigned} WHERE seq = ?", *(values.get(name) for name in names), index)


def _recompute(attacker: Attacker, changed: set[int], size: int) -> bytes:
    """All tiles over changed entries, and the root of so many."""
    for level in range(3):
        for number in sorted({index // WIDTH ** (level + 1) for index in changed}):
            if (number + 1) * WIDTH ** (level + 1) > size:
                continue
            if level == 0:
                below = "SELECT leaf_hash FROM log_entries WHERE seq >= ? AND seq < ? ORDER BY seq"
                hashes = attacker.rows(below, number * WIDTH, number * WIDTH + WIDTH)
            else:
                below = "SELECT root FROM log_tiles WHERE level = ? AND tile >= ? AND tile < ? ORDER BY tile"
                hashes = attacker.rows(below, level - 1, number * WIDTH, number * WIDTH + WIDTH)
            row = [hashed for (hashed,) in hashes]
            attacker.run(
                "UPDATE log_tiles SET hashes = ?, root = ? WHERE level = ? AND tile = ?",
                *(b"".join(row), fold(row), level, number),
            )
    roots = [root for (root,) in attacker.rows("SELECT root FROM log_tiles WHERE level = 0 ORDER BY tile")]
    rest = attacker.rows("SELECT leaf_hash FROM log_entries WHERE seq >= ? ORDER BY seq", len(roots) * WIDTH)
    return TileTree.of_tiles(roots, [hashed for (hashed,) in rest]).root()


def recomputed(attacker: Attacker, checkpoint: str) -> Place:
    """Entries are rewritten and the whole tree is computed anew. The checkpoint stays, is dropped, or is signed again
    by an attacker who has the log's key."""
    size = attacker.scene.size
    count = attacker.chance.choice((1, 1, 3))
    changed = set(attacker.chance.sample(range(size), count))
    if attacker.chance.random() < 0.3:  # the last ones: a fork at the end
        changed = set(range(size - attacker.chance.randint(1, 40), size))
    for index in changed:
        _rewrite(attacker, index)
    root = _recompute(attacker, changed, size)
    ((journal,),) = attacker.rows("SELECT count(*) FROM log_entries WHERE kind = 'rows'")
    note = attacker.rows("SELECT checkpoint FROM log_heads")[0][0]
    if checkpoint == "dropped":
        note = None
    if checkpoint == "signed":
        anchor = attacker.scene.anchor
        text = checkpoint_text(anchor.origin, size, root)
        line = NoteSigner(anchor.origin, anchor.public_key).line(anchor.private_key.sign(text.encode()))
        note = f"{text}\n{line}"
    attacker.run(
        "UPDATE log_heads SET root = ?, checkpoint = ?, checkpoint_size = ?, journal = ?",
        *(root, note, -1 if note is None else size, journal),
    )
    attacker.done.append(f"{len(changed)} entries from {min(changed)} on were rewritten, the checkpoint {checkpoint}")
    return Place(frozenset(changed))


def edited_head(attacker: Attacker) -> Place:
    column = attacker.chance.choice(list(attacker.columns("log_heads")))
    attacker.edit("log_heads", column, "rowid = (SELECT min(rowid) FROM log_heads)")
    logs = [log for (log,) in attacker.rows("SELECT log FROM log_heads")]
    return Place(rows=_rows("log_heads", 1, *logs), sizes=frozenset({attacker.scene.size}))


def deleted_head(attacker: Attacker) -> Place:
    attacker.run("DELETE FROM log_heads")
    attacker.done.append("the head was deleted")
    return Place(sizes=frozenset({attacker.scene.size}))


def edited_tile(attacker: Attacker) -> Place:
    level, number = attacker.chance.choice(attacker.rows("SELECT level, tile FROM log_tiles ORDER BY level, tile"))
    column = attacker.chance.choice(list(attacker.columns("log_tiles")))
    attacker.edit("log_tiles", column, "level = ? AND tile = ?", level, number)
    return _tile_place(level, number)


def deleted_tile(attacker: Attacker) -> Place:
    level, number = attacker.chance.choice(attacker.rows("SELECT level, tile FROM log_tiles ORDER BY level, tile"))
    attacker.run("DELETE FROM log_tiles WHERE level = ? AND tile = ?", level, number)
    attacker.done.append(f"the tile {number} of level {level} was deleted")
    return _tile_place(level, number)


def swapped_tiles(attacker: Attacker) -> Place:
    ((count,),) = attacker.rows("SELECT count(*) FROM log_tiles WHERE level = 0")
    first, second = attacker.chance.sample(range(count), 2)
    for old, new in ((first, -7), (second, first), (-7, second)):
        attacker.run("UPDATE log_tiles SET tile = ? WHERE level = 0 AND tile = ?", new, old)
    attacker.done.append(f"the tiles {first} and {second} of level 0 changed places")
    places = _tile_place(0, first), _tile_place(0, second)
    return Place(places[0].indices | places[1].indices, tiles=places[0].tiles | places[1].tiles)


def inserted_tile(attacker: Attacker) -> Place:
    ((count,),) = attacker.rows("SELECT count(*) FROM log_tiles WHERE level = 0")
    number = count + attacker.chance.randrange(3)
    octets = attacker.chance.randbytes(8192)
    values = (1, 0, number, octets, fold(split_hashes(octets)))
    attacker.run("INSERT INTO log_tiles (log, level, tile, hashes, root) VALUES (?, ?, ?, ?, ?)", *values)
    attacker.done.append(f"a tile {number} of level 0 was inserted")
    return _tile_place(0, number)


def edited_journal(attacker: Attacker) -> Place:
    ((last,),) = attacker.rows("SELECT max(seq) FROM row_journal")
    seq = attacker.chance.randint(1, last)
    names = [name for name in attacker.columns("row_journal") if name not in NOT_EVIDENCE["row_journal"]]
    attacker.edit("row_journal", attacker.chance.choice(names), "seq = ?", seq)
    return Place(rows=_rows("row_journal", seq))


def deleted_journal(attacker: Attacker) -> Place:
    ((last,),) = attacker.rows("SELECT max(seq) FROM row_journal")
    seq = attacker.chance.randint(1, last)
    attacker.run("DELETE FROM row_journal WHERE seq = ?", seq)
    attacker.done.append(f"entry {seq} of the rows' journal was deleted")
    return Place(rows=_rows("row_journal", seq))


def inserted_journal(attacker: Attacker) -> Place:
    ((last,),) = attacker.rows("SELECT max(seq) FROM row_journal")
    octets = attacker.chance.randbytes(32)
    attacker.run(
        "INSERT INTO row_journal (seq, table_name, row_id, revision, seal, previous, link, link_seal) "
        "VALUES (?, 'principals', ?, 1, ?, 0, ?, ?)",
        *(last + 1, f"role/x{attacker.chance.randrange(100)}", octets, octets, octets),
    )
    attacker.done.append(f"entry {last + 1} of the rows' journal was inserted")
    return Place(rows=_rows("row_journal", last + 1))


def edited_journal_head(attacker: Attacker) -> Place:
    column = attacker.chance.choice(list(attacker.columns("row_journal_head")))
    attacker.edit("row_journal_head", column, "rowid = (SELECT min(rowid) FROM row_journal_head)")
    return Place(rows=_rows("row_journal_head", 1))


def older_row(attacker: Attacker) -> Place:
    """A sealed row as it was before, with the seal that it had."""
    sql = "SELECT row_id, revision, seal FROM row_journal j WHERE table_name = 'principals' AND revision < "
    newest = "(SELECT max(revision) FROM row_journal k WHERE k.table_name = j.table_name AND k.row_id = j.row_id)"
    name, revision, seal = attacker.chance.choice(attacker.rows(f"{sql}{newest} ORDER BY seq"))
    attacker.run("UPDATE principals SET revision = ?, seal = ? WHERE id = ?", revision, seal, name)
    attacker.done.append(f"the row {name} of principals was put back to revision {revision}")
    return Place(rows=_rows("principals", name))


def edited_row(attacker: Attacker) -> Place:
    (name,) = attacker.chance.choice(attacker.rows("SELECT id FROM principals ORDER BY id"))
    column = attacker.chance.choice(("id", "revision", "seal"))
    attacker.edit("principals", column, "id = ?", name)
    return Place(rows=_rows("principals", name))


def deleted_row(attacker: Attacker) -> Place:
    (name,) = attacker.chance.choice(attacker.rows("SELECT id FROM principals ORDER BY id"))
    attacker.run("DELETE FROM principals WHERE id = ?", name)
    attacker.done.append(f"the row {name} of principals was deleted")
    return Place(rows=_rows("principals", name))


def inserted_row(attacker: Attacker) -> Place:
    name = f"user/intruder{attacker.chance.randrange(100)}"
    attacker.run(
        "INSERT INTO principals (id, revision, seal, duty, state, created_at, created_by) "
        "VALUES (?, 1, ?, 'administrator', 'active', 1, 'user/admin')",
        *(name, attacker.chance.randbytes(32)),
    )
    attacker.done.append(f"the row {name} of principals was inserted")
    return Place(rows=_rows("principals", name))


def _intent(attacker: Attacker) -> tuple[str, frozenset[int]]:
    """An intent, and the entries about it."""
    while True:
        index = attacker.entry()
        ((intent,),) = attacker.rows("SELECT intent_id FROM log_entries WHERE seq = ?", index)
        if intent is not None:
            about = attacker.rows("SELECT seq FROM log_entries WHERE intent_id = ?", intent)
            return intent, frozenset(seq for (seq,) in about)


def edited_intent(attacker: Attacker) -> Place:
    intent, about = _intent(attacker)
    attacker.edit("audit_intents", attacker.chance.choice(list(attacker.columns("audit_intents"))), "id = ?", intent)
    return Place(about, _rows("audit_intents", intent))


def deleted_intent(attacker: Attacker) -> Place:
    intent, about = _intent(attacker)
    attacker.run("DELETE FROM audit_intents WHERE id = ?", intent)
    attacker.done.append(f"the intent {intent} was deleted")
    return Place(about, _rows("audit_intents", intent))


def inserted_intent(attacker: Attacker) -> Place:
    """An intent that no worker wrote."""
    intent, _ = _intent(attacker)
    names = [name for name in attacker.columns("audit_intents") if name not in ("id", "epoch")]
    listed, new = ", ".join(names), f"0{intent[1:-1]}x"
    attacker.run(
        f"INSERT INTO audit_intents (id, epoch, {listed}) SELECT ?, 'nobody', {listed} FROM audit_intents WHERE id = ?",
        *(new, intent),
    )
    attacker.done.append(f"the intent {new} was inserted")
    return Place(rows=_rows("audit_intents", new))


def lost_epoch(attacker: Attacker) -> Place:
    ((epoch,),) = attacker.rows("SELECT id FROM audit_epochs")
    if attacker.chance.random() < 0.5:
        attacker.run("DELETE FROM audit_epochs")
        attacker.done.append("the worker's epoch was deleted")
    else:
        attacker.edit("audit_epochs", "id", "id = ?", epoch)
    return Place(rows=_rows("audit_epochs", epoch))


def lost_digest(attacker: Attacker) -> Place:
    """What makes an entry be found by a signature, what was signed, or a file."""
    ((count,),) = attacker.rows("SELECT count(*) FROM log_digests")
    at = attacker.chance.randrange(count)
    ((digest, seq),) = attacker.rows("SELECT digest, seq FROM log_digests ORDER BY seq, digest LIMIT 1 OFFSET ?", at)
    if attacker.chance.random() < 0.5:
        attacker.run("DELETE FROM log_digests WHERE digest = ? AND seq = ?", digest, seq)
        attacker.done.append(f"a digest of entry {seq} was deleted")
    else:
        column = attacker.chance.choice(("bucket", "digest", "seq"))
        attacker.edit("log_digests", column, "digest = ? AND seq = ?", digest, seq)
    return Place(frozenset({seq}))


def added_digest(attacker: Attacker) -> Place:
    """A false trail: an entry is found by a digest that it is not about."""
    digest, seq = attacker.chance.randbytes(32), attacker.entry()
    bucket = seq // DIGEST_BUCKET
    attacker.run("INSERT INTO log_digests (bucket, digest, seq) VALUES (?, ?, ?)", bucket, digest, seq)
    attacker.done.append(f"a digest was added to entry {seq}")
    return Place(rows=_rows("log_digests", digest.hex()))


def planted_trigger(attacker: Attacker) -> Place:
    """What changes rows whenever the service writes."""
    name = f"t{attacker.chance.randrange(1000)}"
    attacker.database.execute(
        f"CREATE TRIGGER {name} AFTER INSERT ON log_entries BEGIN UPDATE log_entries SET principal = 'x' "
        "WHERE seq = new.seq; END"
    )
    attacker.done.append(f"the trigger {name} was made")
    return Place(rows=_rows(name, None))


Attack = Callable[[Attacker], Place]
# How often each is drawn.
ATTACKS: Final[dict[str, tuple[int, Attack]]] = {
    "entry: a column edited": (26, edited_entry),
    "entry: numbered otherwise": (3, moved_entry),
    "entry: columns of two swapped": (8, swapped_columns),
    "entry: two swapped": (5, swapped_entries),
    "entry: reordered": (4, reordered_entries),
    "entry: deleted": (6, deleted_entries),
    "entry: deleted, the gap closed": (3, closed_gap),
    "entry: inserted": (4, inserted_entry),
    "log: truncated, older checkpoint": (6, truncated),
    "log: older copy of the database": (6, restored),
    "log: rewritten, checkpoint kept": (4, partial(recomputed, checkpoint="kept")),
    "log: rewritten, checkpoint dropped": (3, partial(recomputed, checkpoint="dropped")),
    "log: rewritten and signed by the log key": (5, partial(recomputed, checkpoint="signed")),
    "head: a column edited": (6, edited_head),
    "head: deleted": (1, deleted_head),
    "tile: a column edited": (5, edited_tile),
    "tile: deleted": (2, deleted_tile),
    "tile: two swapped": (2, swapped_tiles),
    "tile: inserted": (2, inserted_tile),
    "rows' journal: a column edited": (5, edited_journal),
    "rows' journal: deleted": (2, deleted_journal),
    "rows' journal: inserted": (2, inserted_journal),
    "rows' journal: its head edited": (2, edited_journal_head),
    "sealed rows: put back with their journal": (3, restored_rows),
    "sealed row: older one put back": (3, older_row),
    "sealed row: edited": (2, edited_row),
    "sealed row: deleted": (1, deleted_row),
    "sealed row: inserted": (1, inserted_row),
    "intent: a column edited": (8, edited_intent),
    "intent: deleted": (3, deleted_intent),
    "intent: inserted": (1, inserted_intent),
    "worker's epoch: edited or deleted": (1, lost_epoch),
    "digest: edited or deleted": (2, lost_digest),
    "digest: added": (1, added_digest),
    "trigger planted": (1, planted_trigger),
}


def drawn(seed: int, number: int) -> tuple[str, random.Random]:
    """The kind of an attack, and its own chance."""
    chance = random.Random(f"{seed}/{number}")  # noqa: S311 - the same attacks for the same seed
    if number < len(ATTACKS):  # each kind once, whatever is drawn
        return list(ATTACKS)[number], chance
    kinds = list(ATTACKS)
    return chance.choices(kinds, [ATTACKS[kind][0] for kind in kinds])[0], chance
