"""What auditors are shown of the trail: entries by search, one entry with its proof, and the trail itself as it is.

Who may ask was decided before. Nothing is changed by any of it, and what is shown of an entry is its record.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from keystore.errors import NotFound as NoSuchRow
from signer.access import Action
from signer.access.explanation import action_called, near_actions
from signer.audit.exporting import exported
from signer.audit.reading import heads
from signer.audit.searching import EVERY_KIND, Search, find_entries
from signer.audit.showing import (
    AlteredEntry,
    checked_journal_row,
    described,
    find_row,
    inclusion,
    journal_rows,
    log_of,
)
from signer.errors import NotFound, Unprocessable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keystore.db.engine import Database
    from keystore.keystore import Keystore
    from signer.audit.reading import Head
    from signer.audit.searching import Found, Kind
    from signer.audit_questions import Between, EntriesQuery, ExportQuery

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_A_MICROSECOND: Final = timedelta(microseconds=1)
# Recorded, and no call that a policy could name.
_MORE_ACTIONS: Final = ("Enrol", "DeleteKey", "DeleteExpiredKeyMaterial", "CreateDomain", "RotateDomain")
_RECORDED: Final = frozenset({*(action.value for action in Action), *_MORE_ACTIONS})


class AuditReading:
    """One per worker. Reads the trail's tables, and the keystore for the names of keys."""

    def __init__(self, keystore: Keystore, shown_heads: Callable[[], list[Head]] | None = None) -> None:
        """`shown_heads`: the logs as they may be shown, for what is shown with a checkpoint."""
        self._keystore = keystore
        self._database: Database = keystore.database
        self._shown_heads = shown_heads or partial(heads, keystore.database)

    def search(self, query: EntriesQuery, cursor: str | None, limit: int) -> tuple[list[dict[str, object]], Found]:
        """A page of entries as JSON members, and as it was found, with its cursors. Raises `Unprocessable`,
        `MalformedRequest` for a cursor, `IntegrityFailure`."""
        found = find_entries(self._database, self._search(query), cursor, limit)
        return self.shown(found), found

    def shown(self, found: Found) -> list[dict[str, object]]:
        """A page's entries as JSON members. Raises `IntegrityFailure`."""
        logs = heads(self._database)
        of_log = [(log_of(logs, row["seq"]), row) for row in found.rows]
        journal: dict[int, dict[str, object]] = {}
        for head in logs:
            journal |= journal_rows(self._database, head, [row for its, row in of_log if its is head])
        names: dict[str, str | None] = {}
        entries = []
        for head, row in of_log:
            entry = described(head, row) | {"key_alias": self._alias(row["key_id"], names)}
            if row["kind"] == "rows":
                entry["row"] = checked_journal_row(head, row, journal.get(row["seq"]))
            entries.append(entry)
        return entries

    def entry(self, index: int, log: int | None) -> dict[str, object]:
        """All there is to say of one entry. Raises `NotFound`, `IntegrityFailure`."""
        head = self._log(log)
        row = find_row(self._database, head.first + index) if index < head.size else None
        if row is None and index < head.size:
            raise AlteredEntry(head, index, "it is missing")
        if row is None:
            msg = f"log {head.log} has {head.size} entries; there is no entry {index}"
            raise NotFound(msg, field="index")
        entry = described(head, row) | {"key_alias": self._alias(row["key_id"], {})}
        if row["kind"] == "rows":
            shown = journal_rows(self._database, head, [row]).get(row["seq"])
            entry["row"] = checked_journal_row(head, row, shown)
        return entry | {
            "leaf": base64.b64encode(row["leaf"]).decode(),
            "leaf_hash": row["leaf_hash"].hex(),
            "nonce": None if row["nonce"] is None else row["nonce"].hex(),
            "proof": inclusion(self._database, head, row),
        }

    def export(self, query: ExportQuery) -> Iterator[bytes]:
        """The entries of a log from an index on, each as it is stored, a JSON object a line; the last line is the
        newest checkpoint. What no checkpoint covers yet is left for the next time. Raises `NotFound`."""
        head = self._log(query.log)
        if head.checkpoint is None:
            msg = "this log has no checkpoint yet"
            raise NotFound(msg, field="log")
        size, checkpoint = head.checkpoint_size, head.checkpoint
        if query.cosigned:
            size, checkpoint = head.cosigned_size, head.cosigned or ""
        if query.begin > size or not checkpoint:
            msg = f"the newest {'cosigned ' if query.cosigned else ''}checkpoint of log {head.log} has {size} entries"
            raise NotFound(msg, field="from")
        end = min(size, query.begin + query.limit)
        if head.cosigned is not None and head.cosigned_size >= end:
            checkpoint = head.cosigned
        return exported(self._database, head, query.begin, end, checkpoint)

    def _search(self, query: EntriesQuery) -> Search:
        name, _, value = (query.context or "").partition("=")
        begin, end = bounds(query)
        return Search(
            keys=() if query.key is None else self.names_of_key(query.key),
            principal=query.principal,
            subject=query.subject,
            actions=() if query.action is None else (known_action(query.action),),
            outcomes=() if query.outcome is None else (query.outcome,),
            code=query.code,
            context=None if query.context is None else (name, value),
            digests=tuple(bytes.fromhex(digest) for digest in query.digest.split(",")) if query.digest else (),
            request_id=query.request_id,
            caller_request_id=query.caller_request_id,
            begin=begin,
            end=end,
            kinds=_kinds(query),
            order=query.order,
        )

    def names_of_key(self, reference: str) -> tuple[str, ...]:
        """What entries call a key: its id; its alias, as a refused caller wrote it; and what is asked for, be there
        such a key or not: that calls were refused because there is none is worth knowing."""
        names = [reference]
        try:
            key = self._keystore.get_key(reference)
        except NoSuchRow:
            return (reference,)
        names += [key.id, *key.aliases]
        return tuple(dict.fromkeys(names))

    def _alias(self, key_id: str | None, known: dict[str, str | None]) -> str | None:
        if key_id is None:
            return None
        if key_id not in known:
            try:
                known[key_id] = self._keystore.get_key(key_id).alias
            except NoSuchRow:
                known[key_id] = None
        return known[key_id]

    def _log(self, number: int | None) -> Head:
        logs = self._shown_heads()
        found = [head for head in logs if number in (None, head.log)]
        if not found:
            msg = f"there is no such log; there are {', '.join(str(head.log) for head in logs) or 'none'}"
            raise NotFound(msg, field="log")
        return found[-1]


def _kinds(query: EntriesQuery) -> tuple[Kind, ...]:
    if query.kind == "any":
        return EVERY_KIND
    return ("decision", "count") if query.kind is None else (query.kind,)


def bounds(query: Between) -> tuple[int | None, int | None]:
    """A query's times in microseconds since 1970. Raises `Unprocessable` where nothing can lie between them."""
    begin, end = microseconds(query.begin), microseconds(query.end)
    if begin is not None and end is not None and begin >= end:
        msg = "nothing lies between these times: `to` must be later than `from`"
        raise Unprocessable(msg, field="to")
    return begin, end


def microseconds(moment: datetime | None) -> int | None:
    """A time as the trail counts it."""
    return None if moment is None else (moment - _EPOCH) // _A_MICROSECOND


def moment_of(time: int | None) -> datetime | None:
    """A time of the trail."""
    return None if time is None else _EPOCH + timedelta(microseconds=time)


def known_action(name: str) -> str:
    """The action as records have it, given as policies write it or without the prefix. Raises `Unprocessable`."""
    short = name.rpartition(":")[2].lower()
    for recorded in _RECORDED:
        if recorded.lower() == short:
            return recorded
    policy_name = action_called(name)
    if policy_name is not None:
        msg = f"this version has no call for {policy_name}, so nothing is recorded of it"
        raise Unprocessable(msg, field="action")
    near = near_actions(name)
    hint = f"did you mean {' or '.join(near)}?" if near else "`sealmark access actions` lists them"
    msg = f"there is no action {name}; {hint}"
    raise Unprocessable(msg, field="action")
