"""Bearer tokens on this machine: read from the environment or a file that only its owner reads, written to such a file.

A token is never an argument: arguments stand in the shell's history and in the process list that every user may read.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import click

from signer.cli.errors import CommandFailed

TOKEN_VARIABLE = "SEALMARK_TOKEN"
_MAXIMUM_SECRET = 4096


def secret_from_text(text: str, source: str) -> str:
    """The one secret that `text` holds, without surrounding white space. Its value is never part of an error."""
    secret = text.strip()
    if not secret:
        raise CommandFailed(f"{source} is empty", code="bad_secret")
    if len(secret) > _MAXIMUM_SECRET or any(not "!" <= character <= "~" for character in secret):
        raise CommandFailed(f"{source} does not hold one secret of printable characters", code="bad_secret")
    return secret


def read_private_text(path: Path) -> str:
    """The text of a file that holds a secret; a regular file that others may read is refused.

    Raises: CommandFailed when it cannot be read, is not text, is too long or has a weak mode.
    """
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
                raise CommandFailed(f"{path} may be read by others: run chmod 600 {path}", code="weak_file_mode")
            content = stream.read(_MAXIMUM_SECRET + 1)
    except OSError as exc:
        raise CommandFailed(f"{path} cannot be read: {exc.strerror}", code="unreadable_file") from exc
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as exc:
        raise CommandFailed(f"{path} does not hold text", code="bad_secret") from exc
    if len(content) > _MAXIMUM_SECRET:
        raise CommandFailed(f"{path} is too long for what it should hold", code="bad_secret")
    return text


def find_token(token_file: Path | None) -> str | None:
    """The caller's bearer token: of `--token-file` if given, else of SEALMARK_TOKEN; None where there is neither."""
    if token_file is not None:
        return secret_from_text(read_private_text(token_file), f"the token file {token_file}")
    value = os.environ.get(TOKEN_VARIABLE, "")
    return secret_from_text(value, TOKEN_VARIABLE) if value else None


def read_secret_argument(value: str, what: str) -> str:
    """A secret given as an argument, or, for `-`, as a line of standard input, which on a terminal does not echo."""
    if value != "-":
        return secret_from_text(value, f"the {what}")
    if sys.stdin.isatty():
        return secret_from_text(str(click.prompt(what, hide_input=True, err=True)), f"the {what}")
    return secret_from_text(sys.stdin.readline(_MAXIMUM_SECRET + 1), f"the {what} on standard input")
