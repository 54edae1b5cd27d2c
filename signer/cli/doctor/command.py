"""The command itself: every check that can be made, one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signer.cli.doctor.findings import Finding, Status, ok, run
from signer.cli.extra import server_parts
from signer.cli.operator import BindType, state_option
from signer.cli.options import current_settings, json_option
from signer.cli.output import print_json, print_table

if TYPE_CHECKING:
    from signer.cli.doctor.files import Settings


@click.command()
@state_option
@click.option("--bind", type=BindType(), default="127.0.0.1:8200", show_default=True, help="Where the service listens.")
@click.option("--full", is_flag=True, help="Check every seal and every entry of the log too; this takes time.")
@click.option("--strict", is_flag=True, help="Exit code 1 for a warning too.")
@json_option
@click.pass_context
def doctor(context: click.Context, state: Path, bind: str, full: bool, strict: bool) -> None:
    """Look a service and its host over, and say what to do.

    It looks at the state directory, the settings, the database, the HSM, the log, certificates, disk, ports and
    witnesses, while the service runs as well as while it is down. It changes nothing. The PIN is tried once, and not at
    all where one more wrong one would lock the token.

    \b
    Exit codes: 0 nothing fails, 1 something does, 2 wrong usage.

    \b
    Examples:
      sealmark doctor --state /var/lib/sealmark
      sealmark doctor --state /var/lib/sealmark --full --json
    """
    with server_parts():
        import keystore.keystore  # noqa: F401 - is it installed
        import signer.app  # noqa: F401
    findings = list(examine(state, bind, full=full))
    if current_settings().as_json:
        worst = max((finding.status for finding in findings), key=list(Status).index)
        print_json({"status": str(worst), "checks": [finding.described() for finding in findings]})
    else:
        rows = [(finding.status, finding.check, finding.says, finding.advice) for finding in findings]
        print_table(("", "check", "what was found", "what to do"), rows)
    bad = {Status.FAIL, Status.WARN} if strict else {Status.FAIL}
    context.exit(int(any(finding.status in bad for finding in findings)))


def examine(state: Path, bind: str, *, full: bool) -> Iterator[Finding]:
    """Every finding. What cannot be looked at, since something before it failed, is left out."""
    from signer.cli.doctor import files, network

    state = state.absolute()
    yield ok("version", f"Sealmark {metadata.version('sealmark')}")
    now = datetime.now(UTC)
    folder = list(run("state", partial(files.check_folder, state)))
    yield from folder
    if any(finding.check == "state" for finding in folder):
        return
    yield from run("ceremony", partial(files.check_ceremony, state))
    yield from run("disk", partial(files.check_disk, state))
    settings = None
    for found in files.check_settings(state):
        if isinstance(found, files.Settings):
            settings = found
        else:
            yield found
    if settings is None:
        return
    yield from run("tls", partial(files.check_tls, settings.server, now))
    yield from _state_of(settings, now, full=full)
    yield from run("service", partial(network.check_service, settings.server, bind))
    yield from run("metrics", partial(network.check_metrics, settings.server))
    yield from run("witness", partial(network.check_witnesses, settings.server))


def _state_of(settings: Settings, now: datetime, *, full: bool) -> Iterator[Finding]:
    """The database and the HSM, which belong together."""
    from keystore.errors import KeystoreError
    from signer.cli.doctor import database, hsm

    readable = list(run("database", partial(database.check_database, settings.keystore)))
    yield from readable
    with ExitStack() as stack:
        rows = None
        if all(finding.status is Status.OK for finding in readable):
            with contextlib.suppress(KeystoreError):
                rows = stack.enter_context(database.opened(settings.keystore)).rows
        if rows is not None:
            witnesses = len(settings.server.log.witnesses)
            yield from run("log", partial(database.check_log, rows, now, witnesses))
            yield from run("clock", partial(database.check_clock, rows, now))
            yield from run("certificates", partial(database.check_certificates, rows, now))
            yield from run("token_keys", partial(database.check_keys, rows, settings.keystore, now))
        yield from run("hsm", partial(hsm.check_hsm, settings.keystore, rows, full=full))
    if full and rows is not None:
        yield from run("audit", partial(database.check_everything, settings.keystore, now))
