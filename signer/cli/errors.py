"""What a command says when it fails: one line on standard error, exit code 1. Wrong usage is click's: exit code 2."""

from __future__ import annotations

import json
import sys
from typing import IO

import click

_MAXIMUM_MESSAGE = 2000


def one_line(text: str) -> str:
    """`text` without line breaks and control characters: no answer and no file name steers a terminal."""
    joined = " ".join(text.split())[:_MAXIMUM_MESSAGE]
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in joined)


class CommandFailed(click.ClickException):
    """Refused or failed: shown with its code, the member at fault and the request's id where they are known.

    `code` is the service's stable code, or one of the command's own. `as_json` prints the same as one JSON object.
    """

    exit_code = 1

    def __init__(
        self, message: str, *, code: str = "failed", field: str | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(one_line(message))
        self.code = one_line(code)
        self.field = None if field is None else one_line(field)
        self.request_id = None if request_id is None else one_line(request_id)
        self.as_json = False

    def described(self) -> dict[str, str]:
        """The error as members: code, message, and field and request_id where known."""
        members = {"code": self.code, "message": self.message, "field": self.field, "request_id": self.request_id}
        return {name: value for name, value in members.items() if value is not None}

    def format_message(self) -> str:
        """One line for a person."""
        notes = [f"field: {self.field}"] if self.field else []
        notes += [f"request id: {self.request_id}"] if self.request_id else []
        return f"{self.code}: {self.message}" + (f" ({', '.join(notes)})" if notes else "")

    def show(self, file: IO[str] | None = None) -> None:
        """Print it, as a line or as JSON."""
        line = json.dumps({"error": self.described()}) if self.as_json else f"Error: {self.format_message()}"
        click.echo(line, file=file if file is not None else sys.stderr)


class Unreachable(CommandFailed):
    """The service did not answer, or what answered is not Sealmark."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="unreachable")
