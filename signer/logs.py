"""Structured logs: one JSON object a line on standard error, times in UTC. What may be logged is decided where it is
logged; as a second net, members whose names say that they hold a secret are blanked."""

from __future__ import annotations

import io
import logging
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

import structlog

from keystore.errors import KeystoreError
from signer.authn.tokens import blanked
from signer.errors import SealmarkError

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any, TextIO

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
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Unfailing(sys.stderr))),
        cache_logger_on_first_use=True,
    )


class _Unfailing(io.TextIOBase):
    """Standard error as a log: a line that cannot be written (a full disk) is lost, and the call goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def json_formatter() -> logging.Formatter:
    """Standard logging's records as JSON lines."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            name_exceptions,
            blank_secrets,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
    )


def name_exceptions(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception's kind and place. A stranger's words and any stack may hold secrets: they never stand in a log."""
    error = event.pop("exc_info", None)
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event["exception"] = type(error).__name__
        event["place"] = place_of(error)
        if isinstance(error, SealmarkError | KeystoreError):
            event["reason"] = str(error)  # our own words never hold a secret
    return event


def place_of(error: BaseException) -> str:
    """Where an exception was raised: function and line."""
    frame = error.__traceback__
    if frame is None:
        return "unknown"
    while frame.tb_next is not None:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}"


def blank_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blanks members by name, whatever they hold, and tokens and codes wherever they stand in a text."""
    for name, value in event.items():
        if any(secret == name or name.endswith("_" + secret) for secret in _SECRET_NAMES):
            event[name] = "[blanked]"
        elif isinstance(value, str):
            event[name] = blanked(value)
    return event
