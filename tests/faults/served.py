"""`sealmark serve`, whose workers' database can be made read-only while they run. For tests alone.

    python -m tests.faults.served --state DIRECTORY --bind HOST:PORT --workers N

While the file `read-only` is in the state directory, SQLite answers every write with SQLITE_READONLY. (A file system
that is remounted does that too, but not while somebody has a file of it open for writing.)
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Final

from keystore.db import sqlite
from signer.server import serve

READ_ONLY: Final = "read-only"
_plain_write = sqlite.SqliteConnection.write


def _watch(state: Path) -> None:
    """Every write looks for the file first."""
    sign = os.fspath(state / READ_ONLY)

    def write(
        connection: sqlite.SqliteConnection,
        sql: str,
        parameters: tuple[int | str | bytes | None, ...] = (),
        *,
        most: float,
    ) -> None:
        connection.execute(f"PRAGMA query_only={'ON' if os.path.exists(sign) else 'OFF'}")
        _plain_write(connection, sql, parameters, most=most)

    setattr(sqlite.SqliteConnection, "write", write)  # noqa: B010


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.served")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--bind", required=True)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    _watch(given.state)
    serve(given.state, given.bind, given.workers)


if __name__ == "__main__":
    main()
