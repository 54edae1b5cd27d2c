"""What the commands that encrypt share: small inputs, outputs that only their owner reads, the encryption context.

A secret is written to a new file (mode 0600), or to standard output where that was asked for by `-`; never elsewhere.
"""

from __future__ import annotations

import base64
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import click

from signer.cli.errors import CommandFailed
from signer.cli.files import PendingFile, pending_file, public_mode, refuse_existing
from signer.cli.options import PAIR, current_settings, pairs_once

STANDARD = Path("-")
PATH = click.Path(path_type=Path, dir_okay=False)
SUFFIX = ".enc"

context_option = click.option(
    "--context",
    "context",
    type=PAIR,
    multiple=True,
    help="The encryption context, NAME=VALUE, which decrypting needs too; repeat.",
)


def read_small(path: Path, most: int, what: str) -> bytes:
    """A whole input of at most `most` octets; standard input if it is `-`."""
    try:
        if path == STANDARD:
            data = sys.stdin.buffer.read(most + 1)
        else:
            with path.open("rb") as stream:
                data = stream.read(most + 1)
    except OSError as exc:
        raise CommandFailed(f"{path} cannot be read: {exc.strerror}", code="unreadable_file") from exc
    if len(data) > most:
        raise CommandFailed(f"{what} is larger than {most} bytes", code="too_large")
    return data


def encoded(data: bytes) -> str:
    """Standard base64, as members of the API hold bytes."""
    return base64.b64encode(data).decode("ascii")


class Outputs:
    """Files that a call's answer goes to, each made under a temporary name before the call is made, so that nothing is
    asked of the service that could not be kept. All get their names in the end, or none."""

    def __init__(self) -> None:
        self._pending: list[tuple[Path, PendingFile | None]] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, path: Path, *, secret: bool) -> Path:
        """One more output; `-` is standard output, for one of them and not with --json."""
        if path == STANDARD:
            if current_settings().as_json:
                raise click.UsageError("--json needs a file for what else would go to standard output")
            if any(other == STANDARD for other, _ in self._pending):
                raise click.UsageError("only one output can go to standard output")
            self._pending.append((path, None))
            return path
        refuse_existing(path, "name another file")
        if any(other == path for other, _ in self._pending):
            raise click.UsageError(f"two outputs cannot both be {path}")
        file = self._stack.enter_context(pending_file(path.parent, 0o600 if secret else public_mode()))
        self._pending.append((path, file))
        return path

    def finish(self, *contents: bytes) -> None:
        """What the outputs hold, in the order in which they were added."""
        for (path, file), content in zip(self._pending, contents, strict=True):
            if file is None:
                click.echo(content, nl=False)
            else:
                file.finish(path, content, replace=False)


def require_room(target: Path) -> None:
    """The target can be written: found out before the service is asked for anything."""
    with Outputs() as outputs:
        outputs.add(target, secret=True)


@contextlib.contextmanager
def of_the_verifier() -> Iterator[None]:
    """What the package of envelopes refuses, as a failure of this command."""
    from verifier import VerificationError

    try:
        yield
    except VerificationError as exc:
        raise CommandFailed(exc.message, code=exc.code) from exc


def without_suffix(file: Path, output: Path | None) -> Path:
    """Where what FILE holds goes: `output`, else FILE without `.enc`."""
    if output is not None:
        return output
    if file == STANDARD or file.suffix != SUFFIX:
        raise click.UsageError(f"say with --output where it goes: FILE does not end in {SUFFIX}")
    return file.with_suffix("")


def with_suffix(file: Path, output: Path | None) -> Path:
    """Where what is made of FILE goes: `output`, else FILE with `.enc`."""
    if output is not None:
        return output
    if file == STANDARD:
        raise click.UsageError("say with --output where it goes: FILE is standard input")
    return file.with_name(file.name + SUFFIX)


def optional(**members: object) -> dict[str, object]:
    """The members that have a value: what is not given is not sent."""
    return {name: value for name, value in members.items() if value not in (None, {}, ())}


def context_of(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The context as a map; a name given twice is wrong usage."""
    return pairs_once(pairs, "--context")
