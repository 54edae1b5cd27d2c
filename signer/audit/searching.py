"""Finding entries of the log: what is asked becomes one SELECT over the columns, in windows of bounded work.

The columns are an index and nothing more: what is shown of an entry comes from its record (`showing`). Every value is
a bound parameter; no text that somebody searches for is a pattern.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, func, literal, or_, select, union, union_all

from keystore.db.schema import DIGEST_BUCKET, LOG_DIGESTS, LOG_ENTRIES
from keystore.errors import IntegrityFailure
from signer.errors import MalformedRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Row, Select, Subquery

    from keystore.db.engine import Database

Order = Literal["newest", "oldest", "log"]
Kind = Literal["decision", "count", "rows", "former"]
EVERY_KIND: Final[tuple[Kind, ...]] = ("decision", "count", "rows", "former")
# How many entries are looked at for one page, at most: few at first, more where these were not what is looked for.
WINDOWS: Final = (1_000, 9_000, 40_000)
_CURSOR: Final = re.compile(r"(?P<order>newest|oldest|log)(?P<places>(?:\.(?:0|[1-9][0-9]{0,17})){1,2})")
_FOREIGN_CURSOR: Final = "cursor is not one that this service gave for this order"
_ROW: Final = LOG_ENTRIES.c


class Place(NamedTuple):
    """Where an entry stands: microseconds since 1970, and its number among the entries of all logs."""

    time: int
    seq: int


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for: an entry that has all of it. Times in microseconds, `begin` <= time < `end`."""

    keys: tuple[str, ...] = ()  # the key's id and aliases: a refused call is recorded with what its caller wrote
    principal: str | None = None
    subject: str | None = None
    actions: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    code: str | None = None
    context: tuple[str, str] | None = None
    digests: tuple[bytes, ...] = ()  # any of them, as a digest of what was signed, of a signature or of a file
    request_id: str | None = None
    caller_request_id: str | None = None
    begin: int | None = None
    end: int | None = None
    kinds: tuple[Kind, ...] = ("decision", "count")
    order: Order = "newest"
    either: str | None = field(default=None)  # a principal, as who did it or whom it was done to


@dataclass(frozen=True, slots=True)
class Found:
    """A page: rows of the log, the cursor for what comes next (None: nothing), and the one with which `log` order goes
    on behind all that was in the log when this was looked up."""

    rows: list[dict[str, Any]]
    next_cursor: str | None
    log_cursor: str


def find_entries(database: Database, search: Search, cursor: str | None, limit: int) -> Found:
    """At most `limit` entries. A page may be shorter, even empty, and yet have a next one: it looks at so many entries
    and no more. Raises `MalformedRequest` for a foreign cursor, `IntegrityFailure` where an entry is missing."""
    place = begin = _place(cursor, search.order)
    rows: list[dict[str, Any]] = []
    following: Place | None = None
    with database.read() as connection:
        last = connection.execute(select(func.max(_ROW.seq))).scalar_one()
        last = -1 if last is None else int(last)
        for size in (max(WINDOWS[0], limit + 1), *WINDOWS[1:]):
            window = _window(search, place, size)
            wanted = _matching(connection, search, window, limit + 1 - len(rows))
            rows += [dict(row._mapping) for row in wanted]
            if len(rows) > limit:
                rows = rows[:limit]
                following = Place(rows[-1]["time"], rows[-1]["seq"])
                break
            place = following = _end_of_window(connection, search, window, size)
            if following is None:
                break
        if search.order == "log":
            _require_complete(connection, begin.seq + 1 if begin else 0, following.seq if following else last)
    log_cursor = _cursor("log", Place(0, last))
    if following is None:
        return Found(rows, log_cursor if search.order == "log" else None, log_cursor)
    return Found(rows, _cursor(search.order, following), log_cursor)


def _matching(connection: Connection, search: Search, window: Subquery, most: int) -> Iterator[Row[Any]]:
    """The entries of the window that have all of what is asked for, in the order asked for."""
    found = (
        select(LOG_ENTRIES)
        .select_from(window.join(LOG_ENTRIES, _ROW.seq == window.c.seq))
        .where(*_conditions(search))
        .order_by(*_ordered(search.order, window.c.time, window.c.seq))
    )
    if search.context is None:
        yield from connection.execute(found.limit(most))
        return
    name, value = search.context
    with connection.execute(found) as result:
        for row in result:
            if _context(row.record).get(name) == value:
                yield row
                most -= 1
            if not most:
                return


def _conditions(search: Search) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if search.kinds != EVERY_KIND:
        conditions.append(_ROW.kind.in_(search.kinds))
    wanted = {
        _ROW.principal: search.principal,
        _ROW.subject: search.subject,
        _ROW.code: search.code,
        _ROW.request_id: search.request_id,
        _ROW.caller_request_id: search.caller_request_id,
    }
    conditions += [column == value for column, value in wanted.items() if value is not None]
    if search.keys:
        conditions.append(_ROW.key_id.in_(search.keys))
    if search.outcomes:
        conditions.append(_ROW.outcome.in_(search.outcomes))
    if search.actions:
        conditions.append(_ROW.action.in_(search.actions))
    if search.either is not None:
        conditions.append(or_(_ROW.principal == search.either, _ROW.subject == search.either))
    conditions += _in_time(search)
    if search.context is not None:
        # Only a first sieve, which lets too much through: what has the member is found out from the record.
        name, value = search.context
        told = msgspec.json.encode({name: value}).decode()[1:-1]
        conditions.append(_ROW.record.contains(told, autoescape=True))
    return conditions


def _in_time(search: Search) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if search.begin is not None:
        conditions.append(_ROW.time >= search.begin)
    if search.end is not None:
        conditions.append(_ROW.time < search.end)
    return conditions


def _window(search: Search, after: Place | None, size: int) -> Subquery:
    """The next entries to look at, by the index that leads there most directly: (time, seq) of each."""
    if search.order == "log":
        begin = () if after is None else (_ROW.seq > after.seq,)
        return select(_ROW.time, _ROW.seq).where(*begin).order_by(_ROW.seq).limit(size).subquery("looked_at")
    beyond = [*_in_time(search), *_beyond(search.order, after)]
    ways = [select(_ROW.time, _ROW.seq).where(way, *beyond) for way in _ways(search)]
    if len(ways) < 2:
        (one,) = ways or [select(_ROW.time, _ROW.seq).where(*beyond)]
        return one.order_by(*_ordered(search.order, _ROW.time, _ROW.seq)).limit(size).subquery("looked_at")
    # Each arm comes in order from its own index, and the arms are merged: none is read to its end.
    together = union_all(*ways) if search.either is None else union(*ways)
    columns = together.selected_columns
    return together.order_by(*_ordered(search.order, columns.time, columns.seq)).limit(size).subquery("looked_at")


def _ways(search: Search) -> list[ColumnElement[bool]]:
    if search.digests:
        return [_ROW.seq.in_(_with_a_digest(search.digests))]
    if search.request_id is not None:
        return [_ROW.request_id == search.request_id]
    if search.caller_request_id is not None:
        return [_ROW.caller_request_id == search.caller_request_id]
    if len(search.actions) > 1:  # changes, which are few beside what keys are used for
        return [_ROW.action == action for action in search.actions]
    if search.keys:
        return [_ROW.key_id == key for key in search.keys]
    if search.either is not None:
        return [_ROW.principal == search.either, _ROW.subject == search.either]
    for column, value in ((_ROW.subject, search.subject), (_ROW.principal, search.principal)):
        if value is not None:
            return [column == value]
    return [_ROW.action == action for action in search.actions]


def _with_a_digest(digests: Sequence[bytes]) -> Select[tuple[int]]:
    """In each bucket: the digests are in order within one, and not over all."""
    last = select(func.max(_ROW.seq) // DIGEST_BUCKET).scalar_subquery()
    first = select(literal(0).label("number")).cte("buckets", recursive=True)
    buckets = first.union_all(select(first.c.number + 1).where(first.c.number < last))
    found = LOG_DIGESTS.c
    return select(found.seq).where(found.bucket.in_(select(buckets.c.number)), found.digest.in_(digests))


def _beyond(order: Order, after: Place | None) -> list[ColumnElement[bool]]:
    """What comes after this place."""
    if after is None:
        return []
    if order == "newest":
        return [_ROW.time <= after.time, or_(_ROW.time < after.time, _ROW.seq < after.seq)]
    return [_ROW.time >= after.time, or_(_ROW.time > after.time, _ROW.seq > after.seq)]


def _ordered(order: Order, time: ColumnElement[int], seq: ColumnElement[int]) -> tuple[ColumnElement[int], ...]:
    if order == "log":
        return (seq.asc(),)
    return (time.desc(), seq.desc()) if order == "newest" else (time.asc(), seq.asc())


def _end_of_window(connection: Connection, search: Search, window: Subquery, size: int) -> Place | None:
    """Where to go on behind a window that is full; None: there is nothing beyond."""
    columns = window.c
    last = (
        select(columns.time, columns.seq)
        .order_by(*_ordered(search.order, columns.time, columns.seq))
        .limit(1)
        .offset(size - 1)
    )
    found = connection.execute(last).one_or_none()
    return None if found is None else Place(*found)


def _require_complete(connection: Connection, begin: int, end: int) -> None:
    """That no entry of the range is missing: the entries of all logs are numbered from 0 without gaps."""
    wanted = max(0, end - begin + 1)
    count = connection.execute(select(func.count()).where(_ROW.seq >= begin, _ROW.seq <= end)).scalar_one()
    if count != wanted:
        msg = f"log_entries: {wanted - count} of the entries {begin} to {end} are missing"
        raise IntegrityFailure(msg)


def _context(record: str | None) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(record or "{}").get("context")
    except (msgspec.DecodeError, AttributeError):
        found = None  # not what was written: whoever looks at the entry is told
    return found if isinstance(found, dict) else {}


def _cursor(order: Order, place: Place) -> str:
    # Of an empty log nothing has been seen yet.
    return f"{order}.{max(place.seq, 0)}" if order == "log" else f"{order}.{place.time}.{place.seq}"


def _place(cursor: str | None, order: Order) -> Place | None:
    if cursor is None:
        return None
    found = _CURSOR.fullmatch(cursor)
    places = [int(place) for place in found["places"].split(".")[1:]] if found else []
    if found is None or found["order"] != order or len(places) != (1 if order == "log" else 2):
        raise MalformedRequest(_FOREIGN_CURSOR, field="cursor")
    return Place(0, places[0]) if order == "log" else Place(*places)
