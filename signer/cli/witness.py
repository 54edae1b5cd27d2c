"""`sealmark witness …`: a witness of transparency logs, which is run by somebody else than the service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from signer.cli.errors import CommandFailed
from signer.cli.extra import server_parts
from signer.cli.operator import BindType
from signer.cli.options import current_settings, json_option
from signer.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from signer.witness.state import WitnessState
    from verifier.notes import NoteKey

state_option = click.option(
    "--state",
    "state",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    envvar="SEALMARK_WITNESS_STATE",
    show_envvar=True,
    help="The witness's folder.",
)


class ListenType(BindType):
    """HOST:PORT; a witness is asked over TCP."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text itself, or a usage error."""
        if str(value).startswith("unix:"):
            self.fail(f"{value!r} is not HOST:PORT", param, ctx)
        return super().convert(value, param, ctx)


class KeyType(click.ParamType["NoteKey"]):
    """A verifier key, NAME+ID+KEY (C2SP signed-note)."""

    name = "key"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> NoteKey:
        """The key, or a usage error."""
        from verifier.errors import Indeterminate
        from verifier.notes import NoteKey, parse_key

        if isinstance(value, NoteKey):
            return value
        try:
            return parse_key(str(value))
        except Indeterminate as reason:
            self.fail(reason.message, param, ctx)


def open_state(state: Path) -> WitnessState:
    """As `signer.witness.state.open_state`, whose libraries only these commands need."""
    from signer.witness.state import open_state as opened

    return opened(state)


@click.group()
def witness() -> None:
    """A witness: cosigns the growth of a log.

    It cosigns a checkpoint only if it continues all that it cosigned before. Whoever asks verifiers for its cosignature
    knows that the log's operator cannot show different histories to different people, as long as the witness is in
    other hands. So run it on another machine than the service.

    \b
    Example:
      sealmark witness init --state /var/lib/witness --name witness.example/w1
    """


@witness.command("init")
@state_option
@click.option("--name", required=True, metavar="NAME", help="Its name in cosignatures, such as witness.example/w1.")
@json_option
def init(state: Path, name: str) -> None:
    """Make a witness and print its verifier key.

    DIR must be missing or empty. Its key is never to be used with another store, and neither is to be copied: two
    witnesses of one key could cosign two histories.

    \b
    Example:
      sealmark witness init --state /var/lib/witness --name witness.example/w1
    """
    from signer.witness.state import create_state

    key = str(create_state(state, name).key.public)
    _print_key(key)
    if not current_settings().as_json:
        note(f"Next: sealmark witness add-log --state {state} KEY, then: sealmark witness serve --state {state}")


@witness.command("key")
@state_option
@json_option
def show_key(state: Path) -> None:
    """Print the witness's verifier key.

    It goes into the service's sealmark.toml, and into verifiers' trust files.

    \b
    Example:
      sealmark witness key --state /var/lib/witness
    """
    _print_key(str(open_state(state).key.public))


def _print_key(key: str) -> None:
    if current_settings().as_json:
        print_json({"key": key})
    else:
        click.echo(key)


@witness.command("add-log")
@state_option
@click.argument("key", type=KeyType())
@json_option
def add_log(state: Path, key: NoteKey) -> None:
    """Watch the log that signs with KEY.

    KEY is its verifier key, NAME+ID+KEY, whose name is the log's origin: have it from the log's operator by a way that
    you trust. A running witness needs no restart.

    \b
    Example:
      sealmark witness add-log --state /var/lib/witness \\
          sealmark/000000000000/us-east-1/86375bf441b6ea3b+aff5ad35+AbwvK5hR234OQ/YAHTvD8OLKX3BAV2Ya7R2tjfOrDS3R
    """
    open_state(state).store.add_log(key)
    if current_settings().as_json:
        print_json({"origin": key.name, "key": str(key)})
    else:
        click.echo(key.name)


@witness.command("remove-log")
@state_option
@click.argument("origin")
@json_option
def remove_log(state: Path, origin: str) -> None:
    """Cosign no more of the log ORIGIN.

    What was cosigned of it stays known: added again, it goes on from there.

    \b
    Example:
      sealmark witness remove-log --state /var/lib/witness sealmark/000000000000/us-east-1/86375bf441b6ea3b
    """
    open_state(state).store.remove_log(origin)
    if current_settings().as_json:
        print_json({"origin": origin})


@witness.command("list-logs")
@state_option
@json_option
def list_logs(state: Path) -> None:
    """List the logs: what was cosigned last, and when.

    \b
    Example:
      sealmark witness list-logs --state /var/lib/witness
    """
    columns = ("origin", "watched", "size", "root", "cosigned_at", "key")
    rows = [
        (
            log.key.name,
            log.watched,
            log.head.size,
            log.head.root.hex(),
            None if log.cosigned_at is None else log.cosigned_at.isoformat().replace("+00:00", "Z"),
            str(log.key),
        )
        for log in open_state(state).store.logs()
    ]
    if current_settings().as_json:
        print_json({"logs": [dict(zip(columns, row, strict=True)) for row in rows]})
    else:
        print_table(columns, rows)


@witness.command("forks")
@state_option
@json_option
def forks(state: Path) -> None:
    """Print proofs that a log signed two histories.

    Each is a pair of checkpoints of one size with two roots, both signed by the log's key: the one that was cosigned,
    and the one that was refused. Exit code 1 if there is any.

    \b
    Example:
      sealmark witness forks --state /var/lib/witness --json
    """
    found = open_state(state).store.forks()
    if current_settings().as_json:
        members = [
            {"origin": one.origin, "size": one.size, "cosigned": one.cosigned.decode(), "shown": one.shown.decode()}
            for one in found
        ]
        print_json({"forks": members})
    else:
        for one in found:
            click.echo(f"{one.cosigned.decode()}\n{one.shown.decode()}")
    if found:
        raise CommandFailed(f"{len(found)} checkpoints show another history than the one cosigned", code="log_forked")


@witness.command("serve")
@state_option
@click.option("--listen", type=ListenType(), default="127.0.0.1:8300", show_default=True, help="HOST:PORT")
@click.option(
    "--tls-certificate", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="PEM, with its chain."
)
@click.option("--tls-key", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Its key, mode 0600.")
def serve(state: Path, listen: str, tls_certificate: Path | None, tls_key: Path | None) -> None:
    """Run the witness.

    It speaks C2SP tlog-witness: POST /add-checkpoint. It runs until it is told to stop (SIGTERM or Ctrl-C).

    \b
    Examples:
      sealmark witness serve --state /var/lib/witness --listen 127.0.0.1:8300
      sealmark witness serve --state /var/lib/witness --listen 0.0.0.0:443 \\
          --tls-certificate tls.crt --tls-key tls.key
    """
    with server_parts("witness"):
        from signer.witness.serving import serve as serve_until_stopped
    serve_until_stopped(state, listen, tls_certificate, tls_key)
