"""What is particular to PostgreSQL: which URLs are taken, how a connection is opened, set up and checked, its errors.

A password is never in the URL: it is read from a file of its own for each connection, or libpq finds it (`passfile`,
`service`). Every connection says for itself that a commit is only answered once it is on disk, and is refused where the
server would not keep that.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import conninfo, errors
from psycopg.rows import tuple_row
from psycopg.types import numeric, string
from sqlalchemy import create_engine

from keystore.configuration import read_secret
from keystore.errors import ConfigurationError, Conflict, IntegrityFailure, KeystoreError, StoreUnavailable
from keystore.measures import count

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from sqlalchemy import PoolProxiedConnection
    from sqlalchemy.engine import Dialect

    from keystore.db.engine import RawRow, Value

SCHEME: Final = "postgresql://"
OLDEST_SERVER: Final = 130000  # 13
DIALECT: Final[Dialect] = create_engine("postgresql+psycopg://", paramstyle="numeric_dollar").dialect
# Everything of libpq that says where the server is and how it is known; nothing that changes what a session means.
_SETTINGS: Final = frozenset(
    {
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "service",
        "passfile",
        "channel_binding",
        "require_auth",
        "gssencmode",
        "krbsrvname",
        "gsslib",
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
        "sslcrl",
        "sslcrldir",
        "sslsni",
        "sslnegotiation",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
        "connect_timeout",
        "load_balance_hosts",
    }
)
_DEFAULTS: Final = {
    "application_name": "sealmark",
    "client_encoding": "UTF8",
    "connect_timeout": "2",  # seconds, the least that there is
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",  # milliseconds that sent data may wait for a machine that is gone
}
_CHECK: Final = """
SELECT current_setting('synchronous_commit'), current_setting('fsync'), current_setting('full_page_writes'),
       current_setting('server_encoding'), datcollate, to_jsonb(pg_database) ->> 'datlocprovider'
FROM pg_database WHERE datname = current_database()
"""
# What stands in the way between a statement and a table: triggers, rules, row policies, views, child tables. What an
# extension brings along (a view of statistics) is not on our tables.
FOREIGN_OBJECTS: Final = """
WITH ours AS (
    SELECT oid, relname, relkind, relrowsecurity FROM pg_class
    WHERE relnamespace = 'public'::regnamespace
      AND NOT EXISTS (
          SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e'
      )
)
SELECT name FROM (
    SELECT tgname::text AS name FROM pg_trigger JOIN ours ON ours.oid = tgrelid WHERE NOT tgisinternal
    UNION SELECT rulename::text FROM pg_rewrite JOIN ours ON ours.oid = ev_class WHERE relkind NOT IN ('v', 'm')
    UNION SELECT polname::text FROM pg_policy JOIN ours ON ours.oid = polrelid
    UNION SELECT relname::text FROM ours WHERE relrowsecurity OR relkind IN ('v', 'm', 'f', 'p')
    UNION SELECT relname::text FROM ours JOIN pg_inherits ON ours.oid = inhrelid WHERE relkind <> 'i'
) AS found ORDER BY name
"""
ANY_TABLE: Final = "SELECT 1 FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind <> 'c' LIMIT 1"


@dataclass(frozen=True, slots=True)
class Manner:
    """How a connection is used. Times are milliseconds."""

    statement_timeout: int
    idle_timeout: int  # within a transaction: whoever stops there must not keep the others from writing
    autocommit: bool = False
    snapshot: bool = False  # one snapshot a transaction, and nothing written
    by_index: bool = False


FAST: Final = Manner(statement_timeout=5_000, idle_timeout=5_000, autocommit=True, by_index=True)
WRITER: Final = Manner(statement_timeout=30_000, idle_timeout=30_000)
READER: Final = Manner(statement_timeout=120_000, idle_timeout=600_000, snapshot=True)


class Silent(psycopg.OperationalError):
    """No answer within the connection's time: asking again would take as long once more."""


class PostgresqlConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that does not wait for ever: a server that has stopped is one that is gone."""

    answer_seconds: float | None = None

    def __del__(self, *_: object) -> None:
        """A connection that nobody has any more is closed, without a word: its transaction, if any, is rolled back."""
        pgconn = getattr(self, "pgconn", None)  # none where connecting failed
        if pgconn is not None:
            pgconn.finish()

    def wait(self, gen: Generator[Any, Any, Any], interval: float = 0.1, timeout: float | None = None) -> Any:  # noqa: ANN401
        """As psycopg's, at most `answer_seconds` unless told otherwise."""
        try:
            return super().wait(gen, interval, self.answer_seconds if timeout is None else timeout)
        except errors._WaitTimeout as exc:
            self.pgconn.finish()
            raise Silent("the server does not answer") from exc


def parse_url(url: str) -> dict[str, str]:
    """libpq's parameters of a URL. Raises `ConfigurationError`, whose text repeats nothing that may be a secret."""
    try:
        found = {name: str(value) for name, value in conninfo.conninfo_to_dict(url).items()}
    except psycopg.Error as exc:
        raise ConfigurationError("database.url is not a URL of PostgreSQL: postgresql://USER@HOST:PORT/NAME") from exc
    if "password" in found or "sslpassword" in found:
        raise ConfigurationError(
            "database.url: no password stands in a URL: name its file by database.password_file, or use libpq's "
            "passfile= or service="
        )
    for name in sorted(found.keys() - _SETTINGS):
        raise ConfigurationError(f"database.url: {name}= cannot be set here")
    if not found.get("dbname") and "service" not in found:
        raise ConfigurationError("database.url names no database: postgresql://USER@HOST:PORT/NAME")
    return found


def open_connection(parameters: dict[str, str], password_file: Path | None, manner: Manner) -> PostgresqlConnection:
    """A connection set up for one manner of use. Raises `psycopg.Error`, `ConfigurationError`."""
    secret: dict[str, str] = {}
    if password_file is not None:
        secret["password"] = read_secret(password_file, "database.password_file").decode()
    options = {
        "synchronous_commit": "on",
        "search_path": "public",
        "row_security": "off",  # an error rather than fewer rows
        "jit": "off",
        "statement_timeout": manner.statement_timeout,
        "idle_in_transaction_session_timeout": manner.idle_timeout,
        # The rows of a point read are found by an index, whatever the planner has counted, and planned once.
        **({"enable_seqscan": "off", "plan_cache_mode": "force_generic_plan"} if manner.by_index else {}),
    }
    if "," in parameters.get("host", "") + parameters.get("hostaddr", ""):
        secret["target_session_attrs"] = "read-write"  # of several hosts, the one that is no standby
    told = conninfo.make_conninfo("", **{**_DEFAULTS, **parameters, **secret})
    connection = PostgresqlConnection.connect(
        told,
        options=" ".join(f"-c {name}={value}" for name, value in options.items()),
        autocommit=True,
        row_factory=tuple_row,
        prepare_threshold=5 if manner.by_index else None,  # the fast road says `prepare` with each statement
    )
    try:
        connection.answer_seconds = manner.statement_timeout / 1000 + 1
        _check(connection)
        _set_up(connection, manner)
    except BaseException:
        connection.close()
        raise
    return connection


def comparable(value: Value) -> Value:
    """A value to look for. No text here holds a NUL, and the server refuses to look for one: with U+FFFD in its place
    nothing is found either."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value


def fetch(connection: PostgresqlConnection, sql: str, parameters: RawRow) -> list[tuple[Any, ...]]:
    """Every row of a statement, in the transaction that the connection is in. Raises `KeystoreError`."""
    try:
        return psycopg.RawCursor(connection).execute(sql, parameters, binary=True).fetchall()
    except psycopg.Error as exc:
        raise translate(exc) from exc


@contextmanager
def open_snapshot(url: str, password_file: Path | None) -> Iterator[PostgresqlConnection]:
    """A connection that reads one snapshot until the end of the block. Raises `StoreUnavailable`,
    `ConfigurationError`."""
    parameters = parse_url(url)
    try:
        connection = open_connection(parameters, password_file, READER)
    except psycopg.Error as exc:
        raise translate(exc) from exc
    try:
        yield connection
    finally:
        connection.close()


def _check(connection: PostgresqlConnection) -> None:
    """Raises: `ConfigurationError` for a server or a database that cannot keep what is written here."""
    version = connection.info.server_version
    if version < OLDEST_SERVER:
        raise ConfigurationError(f"database.url: the server is PostgreSQL {version // 10000}, 13 or later is needed")
    found = connection.execute(_CHECK).fetchone()
    if found is None:
        raise ConfigurationError("database.url: the server does not say what its database is like")
    commit, fsync, whole_pages, encoding, collation, provider = found
    if commit != "on":
        raise ConfigurationError(f"database.url: synchronous_commit is {commit} and cannot be set to on")
    if (fsync, whole_pages) != ("on", "on"):
        raise ConfigurationError("database.url: the server runs with fsync or full_page_writes off: it loses commits")
    octets = provider == "b" or (provider in (None, "c") and (collation in ("C", "POSIX") or collation[:2] == "C."))
    if encoding != "UTF8" or not octets:
        raise ConfigurationError(
            f"database.url: the database's encoding is {encoding} and its collation {collation}: make it with "
            "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )


def _set_up(connection: PostgresqlConnection, manner: Manner) -> None:
    if manner.by_index:
        # One type for each of Python's: a number's size must not make another statement of one that is prepared.
        connection.prepared_max = None
        connection.adapters.register_dumper(int, numeric.Int8BinaryDumper)
        connection.adapters.register_dumper(str, string.StrBinaryDumper)
    if manner.snapshot:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
    else:
        # After the lock each statement must see what those who held it before have committed.
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    connection.autocommit = manner.autocommit


def driver_connection(proxied: PoolProxiedConnection) -> PostgresqlConnection:
    """The driver's own connection behind one of the pool's. Raises `StoreUnavailable`."""
    connection = proxied.driver_connection
    if not isinstance(connection, PostgresqlConnection):
        raise StoreUnavailable("the database gave no connection")
    return connection


def translate(exc: BaseException) -> KeystoreError:
    """The keystore's error for one of the driver's. The server's first line names no values; its details do."""
    if isinstance(exc, KeystoreError):
        return exc
    count(("database_errors", type(exc).__name__))
    primary = exc.diag.message_primary if isinstance(exc, psycopg.Error) else None
    if isinstance(exc, psycopg.IntegrityError):
        return Conflict(f"the database refuses the row: {primary}")
    if isinstance(exc, errors.CharacterNotInRepertoire | errors.UntranslatableCharacter):
        return Conflict("the database refuses the row: a text with a NUL character")
    if isinstance(exc, errors.DataCorrupted | errors.IndexCorrupted):
        return IntegrityFailure(f"the database is damaged: {primary}")
    text = primary or (str(exc).strip().partition("\n")[0] if isinstance(exc, psycopg.OperationalError) else None)
    return StoreUnavailable(f"the database cannot be used: {text or type(exc).__name__}")
