"""`sealmark ceremony …`: what needs the security officer's PIN or the custodians' shares, where the HSM is.

Neither is ever an argument: they come from files that only their owner reads, or from a prompt that does not echo.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from signer.cli.credentials import read_private_text, secret_from_text
from signer.cli.errors import CommandFailed
from signer.cli.extra import server_parts
from signer.cli.operator import state_option
from signer.cli.options import SLUG, current_settings, json_option
from signer.cli.output import console, note, print_json, print_record, print_table

_PIN_SOURCE = "file:"

officer_pin_option = click.option(
    "--officer-pin-source",
    metavar="file:PATH",
    help="Where the security officer's PIN is.  [default: DIR/ceremony/so.pin if it is there, else a prompt]",
)


@click.group()
def ceremony() -> None:
    """Restore to another HSM; make and rotate domains.

    Needs the security officer's PIN or the custodians' shares.
    """


@ceremony.group()
def domain() -> None:
    """Domains hold keys: one for each tenant, team or environment."""


@domain.command("create")
@click.argument("name", type=SLUG)
@state_option
@officer_pin_option
@json_option
def create(name: str, state: Path, officer_pin_source: str | None) -> None:
    """Make the domain NAME: a new key in the HSM that wraps the keys of this domain.

    \b
    Example:
      sealmark ceremony domain create payments --state /var/lib/sealmark --officer-pin-source file:/media/so.pin
    """
    with server_parts():
        from keystore.ceremony import create_domain
    create_domain(state, name, _officer_pin(state, officer_pin_source))
    _say({"domain": name, "state": "created"})


@domain.command("rotate")
@click.argument("name", type=SLUG)
@state_option
@officer_pin_option
@json_option
def rotate(name: str, state: Path, officer_pin_source: str | None) -> None:
    """Give the domain NAME a new key and re-wrap all its keys inside the HSM. Broken off, it goes on when run again.

    \b
    Example:
      sealmark ceremony domain rotate payments --state /var/lib/sealmark
    """
    with server_parts():
        from keystore.ceremony import rotate_domain
    pin = _officer_pin(state, officer_pin_source)
    shown = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with ProgressBar(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task(f"Re-wrapping the keys of {name}", total=None)
        rotate_domain(state, name, pin, lambda done, total: bar.update(task, completed=done, total=total))
    _say({"domain": name, "state": "rotated"})


@ceremony.command("restore")
@state_option
@click.option(
    "--database",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="The database of the service that is to be brought back.",
)
@click.option(
    "--share",
    "shares",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="A custodian's share file; repeat. Without any, the shares are prompted for.",
)
@json_option
def restore(state: Path, database: Path, shares: tuple[Path, ...]) -> None:
    """Bring all keys to a new HSM, from the database and enough custodians' shares.

    DIR (--state) is the new service's folder: missing or empty. What only the old HSM holds cannot be carried; it is
    listed.

    \b
    Example:
      sealmark ceremony restore --state /var/lib/sealmark-2 --database old/sealmark.db \\
          --share a/custodian-1.share --share b/custodian-2.share --share c/custodian-4.share
    """
    with server_parts():
        from keystore.ceremony import InitOptions
        from keystore.ceremony import restore as restore_service
    words = [_share_from_file(path) for path in shares] if shares else _shares_from_prompt()
    report = restore_service(state, database, words, InitOptions())
    lost = [{"id": key, "alias": alias, "spec": spec} for key, alias, spec in report.not_carried]
    if current_settings().as_json:
        print_json(
            {"state": str(state), "domains": list(report.domains), "carried": report.carried, "not_carried": lost}
        )
        return
    print_record({"state": str(state), "domains": list(report.domains), "keys_carried": report.carried})
    if lost:
        print_table(
            ("id", "alias", "spec"),
            [tuple(key.values()) for key in lost],
            title="Not carried: only the old HSM holds them",
        )


def _officer_pin(state: Path, source: str | None) -> str:
    default = state / "ceremony" / "so.pin"
    if source is None and not default.exists():
        if not sys.stdin.isatty():
            raise click.UsageError("the officer's PIN is needed: give --officer-pin-source file:PATH")
        return secret_from_text(str(click.prompt("Security officer's PIN", hide_input=True, err=True)), "the PIN")
    if source is not None and not source.removeprefix(_PIN_SOURCE):
        raise click.BadParameter("file: needs a path", param_hint="--officer-pin-source")
    if source is not None and not source.startswith(_PIN_SOURCE):
        # Never the PIN itself: it would stand in the shell's history.
        raise click.BadParameter("it must be of the form file:PATH", param_hint="--officer-pin-source")
    path = default if source is None else Path(source.removeprefix(_PIN_SOURCE))
    return secret_from_text(read_private_text(path), f"the PIN file {path}")


def _share_from_file(path: Path) -> str:
    return _checked_share(read_private_text(path), str(path))


def _shares_from_prompt() -> list[str]:
    if not sys.stdin.isatty():
        raise click.UsageError("the custodians' shares are needed: give --share FILE for each")
    note("Type the shares one after another; an empty line ends them.")
    shares: list[str] = []
    while True:
        text = str(click.prompt(f"Share {len(shares) + 1}", hide_input=True, default="", show_default=False, err=True))
        if not text.strip():
            break
        shares.append(_checked_share(text, f"share {len(shares) + 1}"))
    if not shares:
        raise click.UsageError("no share was given")
    return shares


def _checked_share(text: str, source: str) -> str:
    words = text.lower().split()
    # SLIP-39: 20 or more words of a list of lower-case English words.
    if len(words) < 20 or not all(word.isascii() and word.isalpha() for word in words):
        raise CommandFailed(f"{source} does not hold one SLIP-39 share", code="bad_secret")
    return " ".join(words)


def _say(members: dict[str, object]) -> None:
    if current_settings().as_json:
        print_json(members)
    else:
        print_record(members)
