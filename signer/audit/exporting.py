"""The trail as it is, a JSON object a line, for whoever checks it elsewhere: nothing is judged or altered here.

Each line has the leaf and what it commits to, octet for octet; the last one the checkpoint over them.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import select

from keystore.db.schema import LOG_ENTRIES
from signer.audit.showing import journal_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.db.engine import Database
    from signer.audit.reading import Head

_ROWS_A_READ: Final = 500


def exported(database: Database, head: Head, begin: int, end: int, checkpoint: str) -> Iterator[bytes]:
    """The entries `begin` to `end` - 1 of a log, some lines at a time; then the checkpoint's line."""
    columns = LOG_ENTRIES.c
    for start in range(begin, end, _ROWS_A_READ):
        first, last = head.first + start, head.first + min(start + _ROWS_A_READ, end)
        found = select(LOG_ENTRIES).where(columns.seq >= first, columns.seq < last).order_by(columns.seq)
        with database.read() as connection:
            rows = [dict(row) for row in connection.execute(found).mappings()]
        journal = journal_rows(database, head, rows)
        yield b"".join(_line(row, row["seq"] - head.first, journal.get(row["seq"])) for row in rows)
    yield msgspec.json.encode({"checkpoint": checkpoint}) + b"\n"


def _line(row: dict[str, Any], index: int, about: dict[str, object] | None) -> bytes:
    line: dict[str, object] = {"index": index, "leaf": base64.b64encode(row["leaf"]).decode()}
    if row["record"] is not None:
        nonce = None if row["nonce"] is None else row["nonce"].hex()
        line |= {"nonce": nonce, "record": msgspec.Raw(row["record"].encode())}
    if about is not None:
        line["row"] = about
    return msgspec.json.encode(line) + b"\n"
