"""`/v1/audit`: the trail, for auditors. What is asked for is part of the record of the asking."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from flask import Response

from signer.access import Action
from signer.audit_questions import (
    PARAMETERS_OF_ENTRIES,
    PARAMETERS_OF_ENTRY,
    PARAMETERS_OF_EXPORT,
    PARAMETERS_OF_HISTORY,
    PARAMETERS_OF_REPORT,
    EntriesQuery,
    EntryQuery,
    ExportQuery,
    HistoryQuery,
    ReportQuery,
)
from signer.authn.tokens import blanked
from signer.call import Answer, Call
from signer.decoding import decode_query
from signer.errors import NotFound
from signer.web.endpoints import Endpoint
from signer.web.paging import QUERY, asked_parameters, next_cursor, requested_page, require_known_parameters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.api import Key
    from signer.access import Permit
    from signer.services import Services

EXPORT_TYPE: Final = "application/jsonl"
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,16}")
_Query = TypeVar("_Query", bound=msgspec.Struct)


def entries(services: Services, call: Call) -> Answer:
    def work(_permit: Permit, _key: Key | None) -> Answer:
        page = requested_page(*PARAMETERS_OF_ENTRIES)
        shown, found = services.auditing.search(_asked(EntriesQuery), page.after, page.limit)
        cursors = {"next_cursor": next_cursor(found.next_cursor), "log_cursor": next_cursor(found.log_cursor)}
        return Answer({"entries": shown, **cursors}, recorded=_recorded())

    return services.pipeline.read(call, Action.READ_AUDIT_TRAIL, work)


def entry(services: Services, call: Call, index: str) -> Answer:
    def work(_permit: Permit, _key: Key | None) -> Answer:
        require_known_parameters(*PARAMETERS_OF_ENTRY)
        if not _INDEX.fullmatch(index):
            msg = "an entry is named by its index in the log, a whole number"
            raise NotFound(msg, field="index")
        found = services.auditing.entry(int(index), _asked(EntryQuery).log)
        return Answer(found, recorded={"index": int(index), **_recorded()})

    return services.pipeline.read(call, Action.READ_AUDIT_TRAIL, work)


def report(services: Services, call: Call) -> Answer:
    def work(_permit: Permit, _key: Key | None) -> Answer:
        page = requested_page(*PARAMETERS_OF_REPORT)
        found, last = services.audit_reports.report(_asked(ReportQuery), page.after, page.limit)
        return Answer({**found, "next_cursor": next_cursor(last)}, recorded=_recorded())

    return services.pipeline.read(call, Action.REPORT_AUDIT_TRAIL, work)


def history(services: Services, call: Call) -> Answer:
    def work(_permit: Permit, _key: Key | None) -> Answer:
        page = requested_page(*PARAMETERS_OF_HISTORY)
        changes, following = services.audit_history.history(_asked(HistoryQuery), page.after, page.limit)
        return Answer({"changes": changes, "next_cursor": next_cursor(following)}, recorded=_recorded())

    return services.pipeline.read(call, Action.READ_AUDIT_TRAIL, work)


def export(services: Services, call: Call) -> Response:
    lines: list[Iterator[bytes]] = []

    def work(_permit: Permit, _key: Key | None) -> Answer:
        require_known_parameters(*PARAMETERS_OF_EXPORT)
        lines.append(services.auditing.export(decode_query(asked_parameters(), ExportQuery)))
        return Answer(None, recorded=_recorded())

    services.pipeline.read(call, Action.EXPORT_AUDIT_TRAIL, work)
    return Response(lines[0], mimetype=EXPORT_TYPE)


def _asked(query_type: type[_Query]) -> _Query:
    """The query without the page."""
    given = {name: value for name, value in asked_parameters().items() if name not in QUERY}
    return decode_query(given, query_type)


def _recorded() -> dict[str, Any]:
    """The question, which is there to be read by who audits the auditors."""
    return {name: blanked(value) for name, value in asked_parameters().items() if name != "cursor"}


ENDPOINTS: Final = (
    Endpoint(
        "GET",
        "/v1/audit/entries",
        "Search the audit trail",
        entries,
        Action.READ_AUDIT_TRAIL,
        query={**QUERY, **PARAMETERS_OF_ENTRIES},
        tag="audit",
    ),
    Endpoint(
        "GET",
        "/v1/audit/entries/<index>",
        "All there is of one entry, with the proof that it is in the log",
        entry,
        Action.READ_AUDIT_TRAIL,
        query=PARAMETERS_OF_ENTRY,
        tag="audit",
    ),
    Endpoint(
        "GET",
        "/v1/audit/report",
        "Who uses which key for what, and what keys lack",
        report,
        Action.REPORT_AUDIT_TRAIL,
        query={**QUERY, **PARAMETERS_OF_REPORT},
        tag="audit",
    ),
    Endpoint(
        "GET",
        "/v1/audit/history",
        "What was changed, when and by whom",
        history,
        Action.READ_AUDIT_TRAIL,
        query={**QUERY, **PARAMETERS_OF_HISTORY},
        tag="audit",
    ),
    Endpoint(
        "GET",
        "/v1/audit/export",
        "The trail as it is, with the checkpoint over it",
        export,
        Action.EXPORT_AUDIT_TRAIL,
        media_type=EXPORT_TYPE,
        query=PARAMETERS_OF_EXPORT,
        tag="audit",
    ),
)
