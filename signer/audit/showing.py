"""Entries as auditors see them: from the record, once it is what the leaf commits to and what the columns say.

A hand on the database may change the columns, and then a search leads elsewhere; so every entry that is shown is
compared with its record, and one that differs is refused by its number. That a record and its leaf were changed
together, or that an entry is not shown at all, is for the tree to tell: `inclusion` and the verifier's audit.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec
from sqlalchemy import select

from keystore.db.schema import LOG_ENTRIES, ROW_JOURNAL
from keystore.errors import IntegrityFailure
from signer.audit.checkpoints import hash_lines, proof_text
from signer.audit.leaf import format_time
from signer.audit.reading import Head, LogReader
from signer.audit.records import file_digests, rows_entry
from signer.audit.tree import leaf_hash, node_hash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keystore.db.engine import Database

Row = dict[str, Any]
_AS_THEY_ARE: Final = (
    *("kind", "item", "outcome", "code", "request_id", "caller_request_id", "principal", "credential", "source"),
    *("action", "subject", "key_id", "epoch"),
)
_JSON: Final = ("proof", "detail")


class AlteredEntry(IntegrityFailure):
    """An entry is not what its record, its leaf or the tree says. `field` names it for the auditor who asked."""

    def __init__(self, head: Head, index: int, reason: str) -> None:
        super().__init__(f"log {head.log} ({head.origin}), entry {index}: {reason}")
        self.field = f"entries/{index}"


def log_of(heads: Sequence[Head], seq: int) -> Head:
    """The log that an entry of this number belongs to. Raises `IntegrityFailure`."""
    for head in reversed(heads):
        if seq >= head.first:
            return head
    msg = f"log_entries: there is no log that the entry {seq} belongs to"
    raise IntegrityFailure(msg)


def described(head: Head, row: Row) -> dict[str, object]:
    """An entry's place and its record. Raises `AlteredEntry`."""
    return {
        "log": head.log,
        "origin": head.origin,
        "index": row["seq"] - head.first,
        "kind": row["kind"],
        "record": checked_record(head, row),
    }


def checked_record(head: Head, row: Row) -> dict[str, Any] | None:
    """The record of an entry (None: it has none, being about rows or a former log), compared with its leaf and its
    columns."""
    index = row["seq"] - head.first

    def refuse(reason: str) -> NoReturn:
        raise AlteredEntry(head, index, reason)

    if leaf_hash(row["leaf"]) != row["leaf_hash"]:
        refuse("its leaf does not have the hash that stands beside it")
    if row["kind"] in ("rows", "former"):
        if any(row[name] is not None for name in ("record", "nonce", "principal", "key_id", "action")):
            refuse("it is about rows or a former log, and yet has a record")
        return None
    try:
        record = msgspec.json.decode(row["record"] or "")
        leaf = msgspec.json.decode(row["leaf"])
        committed = hashlib.sha256((row["nonce"] or b"") + row["record"].encode()).hexdigest()
        if leaf["record_sha256"] != committed:
            refuse("its record is not the one that its leaf commits to")
        for name in _columns_that_differ(record, row):
            refuse(f"its column {name} is not what its record says")
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise AlteredEntry(head, index, "its record or leaf is not in the form in which it was written") from error
    return dict(record)


def _columns_that_differ(record: Mapping[str, Any], row: Row) -> list[str]:
    said = {name: record.get(name) for name in _AS_THEY_ARE} | {"intent_id": record.get("intent")}
    differing = [name for name, value in said.items() if row[name] != value]
    differing += [name for name in _JSON if _decoded(row[name]) != record.get(name)]
    if format_time(row["time"]) != record["time"]:
        differing.append("time")
    first = (record.get("signatures") or [{}])[0]
    pairs = {"digest": first.get("digest"), "signature_sha256": first.get("sha256")}
    differing += [name for name, value in pairs.items() if (row[name] and row[name].hex()) != value]
    files = file_digests(record.get("about"))
    if row["artifact_digest"] not in files if files else row["artifact_digest"] is not None:
        differing.append("artifact_digest")
    return differing


def _decoded(text: str | None) -> object:
    return None if text is None else msgspec.json.decode(text)


def inclusion(database: Database, head: Head, row: Row) -> dict[str, object] | None:
    """The proof that the entry is in its log, under the newest checkpoint that witnesses have cosigned and that covers
    it, or under the newest; None where no checkpoint covers it yet. Raises `AlteredEntry` where the tree of that
    checkpoint does not have the entry."""
    index = row["seq"] - head.first
    size, checkpoint = head.checkpoint_size, head.checkpoint
    cosigned = head.cosigned is not None and index < head.cosigned_size
    if cosigned:
        size, checkpoint = head.cosigned_size, head.cosigned
    if checkpoint is None or index >= size:
        return None
    hashes = LogReader(database, head.log, head.first).inclusion(index, size)
    root = _root(index, size, row["leaf_hash"], hashes)
    if base64.b64encode(root).decode() != checkpoint.split("\n")[2]:
        raise AlteredEntry(head, index, f"it is not in the tree of {size} leaves that the checkpoint is about")
    return {"text": proof_text(row["leaf"], index, hash_lines(hashes), checkpoint), "size": size, "cosigned": cosigned}


def _root(index: int, size: int, hashed: bytes, hashes: Sequence[bytes]) -> bytes:
    """The root that a proof leads to (RFC 9162 section 2.1.3.2)."""
    at, last = index, size - 1
    for sibling in hashes:
        if at & 1 or at == last:
            hashed = node_hash(sibling, hashed)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            hashed = node_hash(hashed, sibling)
        at, last = at >> 1, last >> 1
    return hashed


def find_row(database: Database, seq: int) -> Row | None:
    """One entry's row."""
    with database.read() as connection:
        found = connection.execute(select(LOG_ENTRIES).where(LOG_ENTRIES.c.seq == seq)).mappings().one_or_none()
        return None if found is None else dict(found)


def journal_rows(database: Database, head: Head, rows: Sequence[Row]) -> dict[int, dict[str, object]]:
    """What the entries about rows are about, by the entries' numbers: their place in the rows' journal."""
    wanted = {_journal_of(head, row): row for row in rows if row["kind"] == "rows"}
    if not wanted:
        return {}
    columns = ROW_JOURNAL.c
    with database.read() as connection:
        found = connection.execute(select(ROW_JOURNAL).where(columns.seq.in_(list(wanted)))).all()
    return {
        wanted[entry.seq]["seq"]: {
            "table": entry.table_name,
            "id": entry.row_id,
            "revision": entry.revision,
            "seal": entry.seal.hex(),
            "previous": entry.previous,
            "link": entry.link.hex(),
        }
        for entry in found
    }


def checked_journal_row(head: Head, row: Row, shown: dict[str, object] | None) -> dict[str, object]:
    """What an entry about rows is about, if it is what its leaf says. Raises `AlteredEntry`."""
    index = row["seq"] - head.first
    if shown is None:
        raise AlteredEntry(head, index, "the rows' journal has no such entry")
    expected = rows_entry(_journal_of(head, row), bytes.fromhex(str(shown["link"])), time=0)["leaf"]
    if expected != row["leaf"]:
        raise AlteredEntry(head, index, "the rows' journal does not say what its leaf says")
    return shown


def _journal_of(head: Head, row: Row) -> int:
    try:
        return int(msgspec.json.decode(row["leaf"])["journal"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise AlteredEntry(head, row["seq"] - head.first, "its leaf is not about the rows' journal") from error
