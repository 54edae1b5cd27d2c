"""What `sealmark audit` commands look for: options, and the query that they make."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

import click

from signer.cli.options import KEY, PAIR, Command

_BACK: Final = re.compile(r"(?P<count>[0-9]{1,5})(?P<unit>[mhdw])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DIGEST: Final = re.compile(r"[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128}")
OUTCOMES: Final = ("succeeded", "denied", "failed", "unknown", "counted")


class When(click.ParamType[str]):
    """A time: RFC 3339, a date (its beginning, UTC), or how long ago, such as 90m, 24h, 7d or 2w."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The time in RFC 3339."""
        text = str(value)
        back = _BACK.fullmatch(text)
        if back is not None:
            ago = timedelta(**{_UNITS[back["unit"]]: int(back["count"])})
            return (datetime.now(UTC) - ago).isoformat().replace("+00:00", "Z")
        try:
            if len(text) == len("2026-11-25"):
                return f"{date.fromisoformat(text).isoformat()}T00:00:00Z"
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            example = "2026-11-25T18:00:00Z, 2026-11-25, or 7d for seven days ago"
            self.fail(f"{text!r} is not a time with its zone, such as {example}", param, ctx)
        return moment.isoformat()


class Digest(click.ParamType[str]):
    """A digest in hex."""

    name = "hex"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Lower-case hex of SHA-256, SHA-384 or SHA-512."""
        text = str(value).lower()
        if not _DIGEST.fullmatch(text):
            self.fail(f"{value!r} is not 64, 96 or 128 hex digits", param, ctx)
        return text


WHEN: Final = When()
time_options: Final = (
    click.option("--from", "begin", type=WHEN, help="From this time on: RFC 3339, a date, or such as 24h or 7d ago."),
    click.option("--to", "end", type=WHEN, help="Before this time."),
)


def time_range(command: Command) -> Command:
    """`--from` and `--to`."""
    for decorate in reversed(time_options):
        command = decorate(command)
    return command


def filter_options(command: Command) -> Command:
    """What an entry must have; the command takes them as `filters`."""
    decorators = (
        click.option("--key", type=KEY, help="About this key (alias or id)."),
        click.option("--principal", help="By whom, such as role/ci."),
        click.option("--subject", help="About which principal."),
        click.option("--action", help="Such as SignArtifact; `sealmark access actions` lists them."),
        click.option("--outcome", type=click.Choice(OUTCOMES), help="What became of it."),
        click.option("--code", help="Refused with this code, such as policy_forbids."),
        click.option("--context", type=PAIR, help="The call's context has this member."),
        click.option(
            "--digest",
            "digests",
            type=Digest(),
            multiple=True,
            help="Of a file, of what was signed, or of a signature; repeat: any of them.",
        ),
        click.option("--request-id", help="The request's id."),
        click.option("--caller-request-id", help="The X-Request-Id that the caller sent."),
        click.option(
            "--kind",
            type=click.Choice(("decision", "count", "rows", "any")),
            help="rows: changed rows of the database; any: those too.",
        ),
        *time_options,
    )
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def query_of(filters: Mapping[str, object]) -> dict[str, str]:
    """The query's parameters."""
    query = {
        name: value
        for name in (
            *("key", "principal", "subject", "action", "outcome", "code", "request_id", "caller_request_id", "kind"),
        )
        if isinstance(value := filters.get(name), str)
    }
    context, digests = filters.get("context"), filters.get("digests")
    if isinstance(context, tuple):
        query["context"] = "=".join(context)
    if isinstance(digests, Sequence) and digests:
        query["digest"] = ",".join(str(digest) for digest in digests)
    return query | times_of(filters)


def times_of(filters: Mapping[str, object]) -> dict[str, str]:
    """`from` and `to`, where they are given."""
    given = {"from": filters.get("begin"), "to": filters.get("end")}
    return {name: value for name, value in given.items() if isinstance(value, str)}
