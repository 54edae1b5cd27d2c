"""A whole log for tests, with records and rows: as a directory of tiles and as an export.

Formats from the C2SP documents and the log's own (docs/log-audit.md); it shares nothing with `verifier`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.verifier.log_builder import LogBuilder, NoteSigner, canonical, leaf_time, log_signer, rows_leaf

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

START = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
WIDTH = 256


@dataclass
class Entry:
    """A leaf and what lies behind it."""

    leaf: bytes
    nonce: bytes | None = None
    record: bytes | None = None
    row: dict[str, Any] | None = None


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def utf8(value: object) -> bytes:
    """Canonical JSON of records: members sorted, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def decision(number: int, label: str = "", **changes: object) -> Entry:
    """A signed decision, or for every fifth number a refusal."""
    named = f"{label}{number}".encode()
    facts: dict[str, object] = {"time": leaf_time(START + timedelta(milliseconds=number)), "v": 1}
    signed = number % 5 != 0
    if signed:
        facts |= {"algorithm": "ECDSA_SHA_256", "key_version": 1 + number % 3}
        facts["signatures"] = [{"digest": sha256(named).hex(), "sha256": sha256(b"signed" + named).hex()}]
    record = utf8(
        facts
        | {"kind": "decision", "outcome": "succeeded" if signed else "denied", "principal": "user/Zoë"}
        | {"request_id": f"{label}{number}", "context": {"path": f"release/{number}"}, "epoch": "e"}
        | changes
    )
    nonce = sha256(b"nonce" + named)
    leaf = {"algorithm": None, "key_version": None, "signatures": []} | facts
    leaf["key_sha256"] = sha256(b"a key").hex() if signed else None
    return Entry(canonical(leaf | {"record_sha256": sha256(nonce + record).hex()}), nonce, record)


def count(number: int) -> Entry:
    """A leaf that counts what has no record of its own."""
    return decision(number * 5, label="count", kind="count", detail={"throttled": 3})


def link(before: bytes, *values: bytes | int | str) -> bytes:
    """The link of a journal entry: everything with its type and its length."""
    hashed = hashlib.sha256(_field(b"sealmark journal chain v1"))
    for value in (before, *values):
        if isinstance(value, bytes):
            hashed.update(b"b" + _field(value))
        elif isinstance(value, int):
            hashed.update(b"i" + value.to_bytes(8, "big", signed=True))
        else:
            hashed.update(b"s" + _field(value.encode()))
    return hashed.digest()


def _field(octets: bytes) -> bytes:
    return len(octets).to_bytes(4, "big") + octets


def row(number: int, before: bytes, table: str = "keys") -> Entry:
    """An entry of the sealed rows' journal after the link `before`."""
    seal = sha256(b"seal %d" % number)
    previous = max(0, number - 3)
    made = link(before, number, table, f"row-{number % 3}", 1 + number // 3, seal, previous)
    members = {"table": table, "id": f"row-{number % 3}", "revision": 1 + number // 3, "seal": seal.hex()}
    return Entry(rows_leaf(number, made), row=members | {"previous": previous, "link": made.hex()})


def entries(size: int, *, rows_every: int = 10, first_row: int = 1) -> list[Entry]:
    """So many entries: mostly decisions; a row first and for every tenth, a count now and then."""
    made: list[Entry] = []
    before, number = bytes(32), first_row
    for index in range(size):
        if index % rows_every == 0:
            made.append(row(number, before))
            before, number = bytes.fromhex(json.loads(made[-1].leaf)["link"]), number + 1
        elif index % 50 == 7:
            made.append(count(index))
        else:
            made.append(decision(index))
    return made


def builder(made: Sequence[Entry]) -> LogBuilder:
    """The tree over them."""
    return LogBuilder([entry.leaf for entry in made])


def checkpoint(made: Sequence[Entry], size: int | None = None, signer: NoteSigner | None = None) -> bytes:
    """A signed checkpoint over the first `size` of the entries."""
    return builder(made).checkpoint(signer or log_signer(), size)


def export_line(index: int, entry: Entry) -> bytes:
    """A line of an export, with its line feed."""
    members: dict[str, object] = {"index": index, "leaf": base64.b64encode(entry.leaf).decode()}
    if entry.row is not None:
        return utf8(members | {"row": entry.row}) + b"\n"
    if entry.nonce is not None:
        members["nonce"] = entry.nonce.hex()
    line = utf8(members)
    return line[:-1] + (b"" if entry.record is None else b',"record":' + entry.record) + b"}\n"


def export_lines(made: Sequence[Entry], note: bytes | None = None) -> list[bytes]:
    """All lines of an export."""
    lines = [export_line(index, entry) for index, entry in enumerate(made)]
    return [*lines, utf8({"checkpoint": (note or checkpoint(made)).decode()}) + b"\n"]


def tile_name(level: int | str, number: int, width: int = WIDTH) -> str:
    """C2SP tlog-tiles, "Paths"."""
    digits = f"{number:03d}" if number < 1000 else f"x{number // 1000:03d}/{number % 1000:03d}"
    return f"tile/{level}/{digits}" + ("" if width == WIDTH else f".p/{width}")


def write_tiles(folder: Path, made: Sequence[Entry], note: bytes | None = None) -> Path:
    """The log as it is served: every tile that its size implies, full or begun."""
    tree = builder(made)
    _write(folder, "checkpoint", note or tree.checkpoint(log_signer()))
    for number in range(0, tree.size, WIDTH):
        leaves = tree.leaves[number : number + WIDTH]
        bundle = b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)
        _write(folder, tile_name("entries", number // WIDTH, len(leaves)), bundle)
    hashes, level = [sha256(b"\0" + leaf) for leaf in tree.leaves], 0
    while hashes:
        for number in range(0, len(hashes), WIDTH):
            part = hashes[number : number + WIDTH]
            _write(folder, tile_name(level, number // WIDTH, len(part)), b"".join(part))
        full = len(hashes) // WIDTH
        hashes = [_root(hashes[at * WIDTH : (at + 1) * WIDTH]) for at in range(full)]
        level += 1
    return folder


def _root(hashes: Sequence[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    middle = len(hashes) // 2
    return sha256(b"\1" + _root(hashes[:middle]) + _root(hashes[middle:]))


def _write(folder: Path, name: str, data: bytes) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
