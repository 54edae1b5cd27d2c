"""The one way into the database: transactions for writers, snapshots for readers, and a fast road for point reads.

There are two engines behind this interface (`sqlite_database`, `postgresql_database`). Every driver's exception is
translated there, once: `StoreUnavailable` when the database is locked, read-only, full or gone, `Conflict` when a
constraint refuses. Nothing is remembered of a failure, so the next call works again as soon as the database does. Open
it after `fork`, never before.

A `StoreUnavailable` out of a transaction's end does not say that nothing was written: a server that dies while it
commits, or a connection that breaks then, leaves that open. Who must know looks again (`signer.audit.doubt`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from keystore.errors import KeystoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlalchemy import Connection, Engine, Select, Table, UpdateBase
    from sqlalchemy.engine import Dialect

Value = int | str | bytes | None
RawRow = tuple[Value, ...]

LOCK_SECONDS: Final = 5.0
CHANGE_SECONDS: Final = 10.0
CHANGE: Final = ("database_seconds", "change")  # transactions that write, for `keystore.measures`
APPEND: Final = ("database_seconds", "append")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement compiled once to the driver's own SQL, with its parameters' names in the order they are bound."""

    sql: str
    names: tuple[str, ...]


class Appending(ABC):
    """The transaction that `Database.append` opens; it begins with the first call that needs one."""

    @abstractmethod
    def __call__(self, prepared: Prepared, rows: Sequence[RawRow], alone: bool = False) -> None:
        """Insert rows by `prepare_insert`, in the order of its names; `alone`: all that the transaction has to do."""

    @abstractmethod
    def begin(self) -> None:
        """Be alone among writers from here on: what is read now holds until the commit."""

    @abstractmethod
    def fetch(self, prepared: Prepared, parameters: RawRow) -> list[RawRow]:
        """Every row of a prepared SELECT, as this transaction sees it."""

    @abstractmethod
    def run(self, prepared: Prepared, parameters: RawRow) -> int:
        """Run a prepared UPDATE or INSERT; returns how many rows it has changed."""


class Database(ABC):
    """An open database. Safe to use from many threads. `url` holds no secret.

    `shared`: other machines may use it too. `epoch`: while it is set, and the database is shared, `append` refuses once
    that audit epoch is closed: whoever closed it took this process for dead.
    """

    shared = False

    def __init__(self, url: str, dialect: Dialect, reader: Engine) -> None:
        """`dialect` compiles what goes to the driver directly, `reader` gives the connections of `read`."""
        self.epoch: str | None = None
        self.url = url
        self.dialect = dialect
        self._reader = reader

    def prepare(self, statement: Select[*tuple[Value, ...]]) -> Prepared:
        """Compile a SELECT for `fetch`. All its bound values must be named parameters."""
        compiled = statement.compile(dialect=self.dialect)
        return Prepared(str(compiled), tuple(compiled.positiontup or ()))

    def prepare_change(self, statement: UpdateBase) -> Prepared:
        """Compile an INSERT or UPDATE for `Appending.run`. All its bound values must be named parameters."""
        compiled = statement.compile(dialect=self.dialect)
        return Prepared(str(compiled), tuple(compiled.positiontup or ()))

    def prepare_insert(self, table: Table) -> Prepared:
        """Compile an INSERT of whole rows for `append`."""
        names = [column.name for column in table.columns]
        compiled = insert(table).compile(dialect=self.dialect, column_keys=names)
        return Prepared(str(compiled), tuple(compiled.positiontup or ()))

    @abstractmethod
    def fetch(self, sql: str, parameters: RawRow, *, inside: Connection | None = None) -> list[RawRow]:
        """Run a prepared SELECT on a connection of its own (or inside a transaction) and return every row.

        One statement sees one snapshot. Costs microseconds: it goes past SQLAlchemy to the driver.
        """

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one snapshot and is rolled back at the end. Raises `StoreUnavailable`."""
        with self._translated(), self._reader.connect() as connection:
            yield connection

    @abstractmethod
    def write(self) -> AbstractContextManager[Connection]:
        """A transaction, alone among all writers, committed durably at the end and rolled back if the block raises.

        Raises `StoreUnavailable` (also when the lock is not had within seconds) and `Conflict`. Not to be nested.
        """

    @abstractmethod
    def change(self) -> AbstractContextManager[None]:
        """One at a time among those who check for long before they write; keeps nobody else from writing.

        Raises `StoreUnavailable` when its turn does not come within seconds. Not to be nested, nor within `write`.
        """

    @abstractmethod
    def alone(self, name: str, seconds: float, directory: Path) -> AbstractContextManager[None]:
        """One at a time among all processes that ask for this name: by a file in `directory`, or by the server.

        Raises `StoreUnavailable` when its turn does not come within `seconds`.
        """

    @abstractmethod
    def append(self, lock_seconds: float | None = None) -> AbstractContextManager[Appending]:
        """A transaction like that of `write`, past SQLAlchemy: for what every request writes.

        Raises as `write` does, `StoreUnavailable` too when it cannot begin within `lock_seconds`.
        """

    @abstractmethod
    def foreign_objects(self) -> list[str]:
        """The names of triggers, views and the like: the service makes none, and none may change or hide a row."""

    @abstractmethod
    def create(self) -> None:
        """Make the database's file, or see that the server's database is empty. Raises `StoreUnavailable`,
        `ConfigurationError`."""

    @abstractmethod
    def discard(self) -> None:
        """Take back what `create` and the migrations made."""

    @abstractmethod
    def close(self) -> None:
        """Close what this process holds open. The database can be opened again."""

    @abstractmethod
    def _translate(self, exc: BaseException) -> KeystoreError:
        """The keystore's error for one of the driver's. Texts name tables and columns, never values."""

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as exc:
            raise self._translate(exc.orig or exc) from exc
        except SQLAlchemyError as exc:
            raise StoreUnavailable(f"the database cannot be used: {type(exc).__name__}") from exc
