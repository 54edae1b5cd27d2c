"""Structured logs: one JSON object a line on standard error, times in UTC. What may be logged is decided where it is
logged; as a second net, members whose names say that they hold a secret are blanked."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

_SECRET_NAMES: Final = ("token", "secret", "password", "pin", "authorization", "code_value", "private")


def configure_logs(level: str) -> None:
    """Sets logging up for this process. `level` is debug, info, warning or error."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            blank_secrets,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def blank_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blanks members by name, whatever they hold."""
    for name in event:
        if any(secret == name or name.endswith("_" + secret) for secret in _SECRET_NAMES):
            event[name] = "[blanked]"
    return event
