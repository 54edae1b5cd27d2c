"""Times as the verifier reads and writes them: RFC 3339 in UTC with a `Z`, and aware `datetime` values inside."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

CLOCK_MARGIN: Final = timedelta(minutes=5)  # by which the clocks of a log, its witnesses and this machine may differ

_RFC3339_UTC = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?Z", re.ASCII)


def parse_time(text: str) -> datetime:
    """`2026-01-31T12:00:00Z`, with an optional fraction (cut to microseconds). ValueError for anything else."""
    match = _RFC3339_UTC.fullmatch(text)
    if match is None:
        raise ValueError("a time must be RFC 3339 in UTC, such as 2026-01-31T12:00:00Z")
    moment = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    return moment.replace(microsecond=int((match[2] or "0").ljust(6, "0")[:6]))


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC, with a fraction only where there is one."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def require_aware(moment: datetime, name: str) -> datetime:
    """The same moment in UTC. ValueError for a naive one: guessing its zone would move every validity check."""
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ValueError(f"{name} must be a datetime with a time zone")
    return moment.astimezone(UTC)
