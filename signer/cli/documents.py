"""Policy documents as files: read strictly, since the service is sent them anew and would not see what was wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import click

from signer.cli.client import Json
from signer.cli.errors import CommandFailed

_MOST: Final = 64 * 1024  # octets; the service takes documents of 32 KiB

DOCUMENT_FILE = click.Path(path_type=Path, dir_okay=False, allow_dash=True)


def read_document(path: Path) -> Json:
    """The JSON object in a file, `-` for standard input. Raises: CommandFailed for anything else, a member given twice
    among it."""
    try:
        content = sys.stdin.buffer.read(_MOST + 1) if str(path) == "-" else _read(path)
    except OSError as exc:
        raise CommandFailed(f"{path} cannot be read: {exc.strerror}", code="unreadable_file") from exc
    if len(content) > _MOST:
        raise CommandFailed(f"{path} is larger than any policy may be ({_MOST} bytes)", code="bad_document")
    try:
        document = json.loads(content.decode(), object_pairs_hook=_unique, parse_constant=_refused)
    except (ValueError, RecursionError) as exc:
        reason = str(exc) if isinstance(exc, _Repeated) else "is not JSON in UTF-8"
        raise CommandFailed(f"{path} {reason}", code="bad_document") from exc
    if not isinstance(document, dict):
        raise CommandFailed(f"{path} holds no JSON object", code="bad_document")
    return document


def pretty(document: object) -> str:
    """A document as people compare it: members in their order, one a line, ASCII alone."""
    return json.dumps(document, indent=2)


class _Repeated(ValueError):
    """An object has two members of one name, of which only one would be sent."""


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_MOST + 1)


def _unique(pairs: list[tuple[str, object]]) -> Json:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Repeated(f"gives {twice!r} twice in one object")
    return found


def _refused(constant: str) -> object:
    raise ValueError(constant)
