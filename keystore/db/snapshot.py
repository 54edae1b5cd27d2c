"""The database as it is at one moment, read only: for whoever checks it, beside a running service or without one.

Nothing is written, not even a lock of ours; a writer is not kept waiting. What stands in the columns is handed on as it
is, of whatever type: who reads here believes nothing.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from keystore.db import sqlite
from keystore.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from sqlalchemy import Select

    from keystore.db.engine import RawRow, Value

Row = tuple[Any, ...]  # of whatever types stand there


class _Compiled(NamedTuple):
    """The driver's own SQL, its parameters' names in the order in which they are bound, and values for the literals."""

    sql: str
    names: tuple[str, ...]
    literals: dict[str, Value]


@lru_cache(maxsize=256)
def _compiled(statement: Select[Any]) -> _Compiled:
    compiled = statement.compile(dialect=sqlite.DIALECT)
    return _Compiled(str(compiled), tuple(compiled.positiontup or ()), dict(compiled.params))


class Snapshot:
    """One connection inside one transaction. Not safe to use from several threads.

    Raises `StoreUnavailable` where the database cannot be read, `IntegrityFailure` where its pages do not add up.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """`connection` is in the transaction that is to be looked at, or reads alone."""
        self._connection = connection

    def rows(self, statement: Select[Any], values: Mapping[str, Value] | None = None) -> list[Row]:
        """Every row. A text that is not UTF-8 comes with surrogates (U+DC80 to U+DCFF): it equals no text that is."""
        prepared = _compiled(statement)
        given = prepared.literals | dict(values or {})
        parameters = tuple(given[name] for name in prepared.names)
        try:
            return self._fetch(prepared.sql, parameters)
        except sqlite3.OperationalError as error:
            if not sqlite.is_undecodable(error):
                raise sqlite.translate(error) from error
        except sqlite3.Error as error:
            raise sqlite.translate_damage(error) from error
        strict = self._connection.text_factory
        self._connection.text_factory = sqlite.tolerant_text
        try:
            return self._fetch(prepared.sql, parameters)
        except sqlite3.Error as error:
            raise sqlite.translate_damage(error) from error
        finally:
            self._connection.text_factory = strict

    def value(self, statement: Select[Any], values: Mapping[str, Value] | None = None) -> object:
        """The first column of the first row; None if there is none."""
        found = self.rows(statement, values)
        return found[0][0] if found else None

    def foreign_objects(self) -> list[str]:
        """The names of triggers and views: the service makes none, so that nothing but its statements changes a row."""
        found = self._fetch(sqlite.FOREIGN_OBJECTS, ())
        return [str(name) for (name,) in found]

    def _fetch(self, sql: str, parameters: RawRow) -> list[Row]:
        rows: list[Row] = self._connection.execute(sql, parameters).fetchall()
        return rows


def database_path(url: str) -> Path:
    """The file of a database URL. Raises `ConfigurationError`."""
    return sqlite.database_path(sqlite.parse_url(url))


def integrity_problems(path: Path) -> list[str]:
    """What SQLite finds wrong with the pages of the file; nothing of what the rows say. Raises `StoreUnavailable`,
    `IntegrityFailure`."""
    with snapshot(path) as found:
        said = [str(line) for (line,) in found._fetch("PRAGMA quick_check(10)", ())]
    return [] if said == ["ok"] else said


@contextmanager
def snapshot(path: Path) -> Iterator[Snapshot]:
    """The database in this file as it is now. Raises `StoreUnavailable`."""
    try:
        connection = sqlite.open_read_only(path)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path} cannot be read: {error}") from error
    try:
        yield Snapshot(connection)
    finally:
        connection.close()
