"""What the subcommands of `sealmark-verify` share: options, and the reading of small files."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from verifier.errors import Indeterminate
from verifier.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from verifier.policy import VerifiedFacts
    from verifier.trusted_logs import TrustedLog

MAXIMUM_INPUT_BYTES: Final = 16 * 1024 * 1024
FILE: Final = click.Path(path_type=Path)


def _moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """RFC 3339 in UTC, or a wrong usage."""
    try:
        return None if value is None else parse_time(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


json_option = click.option("--json", "as_json", is_flag=True, help="Print the facts, or the reason, as JSON.")
at_option = click.option("--at", callback=_moment, help="Judge validity at this time (RFC 3339, UTC), not now.")
leeway_option = click.option(
    "--leeway", type=click.IntRange(0, 60), default=0, help="Seconds by which clocks may differ (0 to 60)."
)


def read_file(path: Path) -> bytes:
    """A whole small file. Never the signed file itself, which is read as a stream."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAXIMUM_INPUT_BYTES + 1)
    except OSError as error:
        raise Indeterminate("unreadable_file", f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > MAXIMUM_INPUT_BYTES:
        raise Indeterminate("unreadable_file", f"{path} is larger than {MAXIMUM_INPUT_BYTES} bytes.")
    return data


@dataclass(frozen=True, slots=True)
class ProofChoice:
    """What was asked for by `--proof` and the options beside it."""

    file: Path | None
    log_keys: tuple[str, ...]
    witnesses: tuple[str, ...]
    cosignatures: int | None

    def __post_init__(self) -> None:
        if self.file is None and (self.log_keys or self.witnesses or self.cosignatures is not None):
            raise click.UsageError("--log-key, --witness and --cosignatures need --proof.")
        if self.witnesses and not self.log_keys:
            raise click.UsageError("--witness needs --log-key: a trust file names its logs' witnesses itself.")

    def read(self) -> bytes | None:
        """The proof, None where none was given."""
        return None if self.file is None else read_file(self.file)

    def logs(self) -> tuple[TrustedLog, ...]:
        """The logs named by their keys, which count in place of the trust file's."""
        from verifier.trusted_logs import trusted_log

        needed = len(self.witnesses) if self.cosignatures is None else self.cosignatures
        return tuple(trusted_log(key, self.witnesses, needed) for key in self.log_keys)

    def check(self, facts: VerifiedFacts) -> None:
        """Rejected if fewer witnesses saw it than was asked for here: a trust file may ask for less."""
        from verifier.policy import Logged

        if self.cosignatures is not None:
            Logged(self.cosignatures).verify(facts)


def proof_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--proof` and the options beside it, which reach the command as one argument `proof`."""

    @functools.wraps(command)
    def packed(
        *,
        proof_file: Path | None,
        log_keys: tuple[str, ...],
        witnesses: tuple[str, ...],
        cosignatures: int | None,
        **others: object,
    ) -> None:
        command(proof=ProofChoice(proof_file, log_keys, witnesses, cosignatures), **others)

    options = (
        click.option("--proof", "proof_file", type=FILE, help="Demand this proof (.tlog-proof) that a log has it."),
        click.option(
            "--log-key",
            "log_keys",
            multiple=True,
            metavar="NAME+ID+KEY",
            help="A log that counts, in place of those in trust.json; repeatable.",
        ),
        click.option(
            "--witness",
            "witnesses",
            multiple=True,
            metavar="NAME+ID+KEY",
            help="A witness of those logs; repeatable.",
        ),
        click.option(
            "--cosignatures",
            type=click.IntRange(min=0),
            help="How many witnesses must have seen it (all that --witness names; else what trust.json says).",
        ),
    )
    wrapped: Callable[..., None] = packed
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped
