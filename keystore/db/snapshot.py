"""The database as it is at one moment, read only: for whoever checks it, beside a running service or without one.

Nothing is written, not even a lock of ours; a writer is not kept waiting. What stands in the columns is handed on as it
is, of whatever type: who reads here believes nothing.
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from keystore.db import sqlite
from keystore.db.migration import is_postgresql
from keystore.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Select
    from sqlalchemy.engine import Dialect

    from keystore.configuration import DatabaseConfiguration
    from keystore.db.engine import RawRow, Value
    from keystore.db.postgresql import PostgresqlConnection

Row = tuple[Any, ...]  # of whatever types stand there


class _Compiled(NamedTuple):
    """The driver's own SQL, its parameters' names in the order in which they are bound, and values for the literals."""

    sql: str
    names: tuple[str, ...]
    literals: dict[str, Value]


@lru_cache(maxsize=256)
def _compiled(statement: Select[Any], dialect: Dialect) -> _Compiled:
    compiled = statement.compile(dialect=dialect)
    return _Compiled(str(compiled), tuple(compiled.positiontup or ()), dict(compiled.params))


class Snapshot(ABC):
    """One connection inside one transaction. Not safe to use from several threads.

    Raises `StoreUnavailable` where the database cannot be read, `IntegrityFailure` where its pages do not add up.
    """

    dialect: Dialect

    def rows(self, statement: Select[Any], values: Mapping[str, Value] | None = None) -> list[Row]:
        """Every row. A text that is not UTF-8 comes with surrogates (U+DC80 to U+DCFF): it equals no text that is."""
        prepared = _compiled(statement, self.dialect)
        given = prepared.literals | dict(values or {})
        return self._fetch(prepared.sql, tuple(given[name] for name in prepared.names))

    def value(self, statement: Select[Any], values: Mapping[str, Value] | None = None) -> object:
        """The first column of the first row; None if there is none."""
        found = self.rows(statement, values)
        return found[0][0] if found else None

    @abstractmethod
    def foreign_objects(self) -> list[str]:
        """The names of triggers and views: the service makes none, so that nothing but its statements changes a row."""

    def damage(self) -> list[str]:
        """What the engine finds wrong with how its pages belong together; nothing of what the rows say."""
        return []

    @abstractmethod
    def _fetch(self, sql: str, parameters: RawRow) -> list[Row]:
        """Every row of a statement."""


class SqliteSnapshot(Snapshot):
    """Of a SQLite file."""

    dialect = sqlite.DIALECT

    def __init__(self, connection: sqlite3.Connection) -> None:
        """`connection` is in the transaction that is to be looked at, or reads alone."""
        self._connection = connection

    def foreign_objects(self) -> list[str]:
        """See `Snapshot`."""
        return [str(name) for (name,) in self._fetch(sqlite.FOREIGN_OBJECTS, ())]

    def damage(self) -> list[str]:
        """See `Snapshot`."""
        said = [str(line) for (line,) in self._fetch("PRAGMA quick_check(10)", ())]
        return [] if said == ["ok"] else said

    def _fetch(self, sql: str, parameters: RawRow) -> list[Row]:
        try:
            return self._run(sql, parameters)
        except sqlite3.OperationalError as error:
            if not sqlite.is_undecodable(error):
                raise sqlite.translate(error) from error
        except sqlite3.Error as error:
            raise sqlite.translate_damage(error) from error
        strict = self._connection.text_factory
        self._connection.text_factory = sqlite.tolerant_text
        try:
            return self._run(sql, parameters)
        except sqlite3.Error as error:
            raise sqlite.translate_damage(error) from error
        finally:
            self._connection.text_factory = strict

    def _run(self, sql: str, parameters: RawRow) -> list[Row]:
        rows: list[Row] = self._connection.execute(sql, parameters).fetchall()
        return rows


class PostgresqlSnapshot(Snapshot):
    """Of a PostgreSQL database. The server itself lets no text in that is not UTF-8, and keeps each column's type."""

    def __init__(self, connection: PostgresqlConnection) -> None:
        """`connection` is in the transaction that is to be looked at, or reads alone."""
        from keystore.db import postgresql

        self._connection = connection
        self._driver = postgresql
        self.dialect = postgresql.DIALECT

    def foreign_objects(self) -> list[str]:
        """See `Snapshot`."""
        return [str(name) for (name,) in self._fetch(self._driver.FOREIGN_OBJECTS, ())]

    def _fetch(self, sql: str, parameters: RawRow) -> list[Row]:
        return self._driver.fetch(self._connection, sql, parameters)


@contextmanager
def snapshot(place: DatabaseConfiguration) -> Iterator[Snapshot]:
    """The database in this file, or behind this URL, as it is now. Raises `StoreUnavailable`, `ConfigurationError`;
    `IntegrityFailure` for a SQLite file whose list of tables is damaged."""
    if is_postgresql(place.url):
        from keystore.db import postgresql

        with postgresql.open_snapshot(place.url, place.password_file) as connection:
            yield PostgresqlSnapshot(connection)
        return
    path = sqlite.database_path(sqlite.parse_url(place.url))
    try:
        opened = sqlite.open_read_only(path)
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CORRUPT:
            raise sqlite.translate_damage(error) from error
        raise StoreUnavailable(f"{path} cannot be read: {error}") from error
    try:
        yield SqliteSnapshot(opened)
    finally:
        opened.close()
