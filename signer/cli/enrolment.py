"""`sealmark enrol` and `sealmark whoami`: how a caller comes by a token, and whose it is."""

from __future__ import annotations

import itertools
from pathlib import Path

import click

from signer.cli.client import Client, open_client, text_member
from signer.cli.credentials import read_secret_argument, secret_from_text
from signer.cli.errors import CommandFailed
from signer.cli.files import PendingFile, pending_file, refuse_existing
from signer.cli.options import connection_options, current_settings
from signer.cli.output import print_json, print_record


@click.command()
@click.argument("code")
@click.option(
    "--token-out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the token (mode 0600).  [default: ./KIND-NAME.token, such as ./role-ci.token]",
)
@click.option("--show", "show_token", is_flag=True, help="Print the token instead of writing a file.")
@connection_options
def enrol(code: str, token_out: Path | None, show_token: bool) -> None:
    """Exchange an enrolment code for a token.

    CODE works once. The token is kept in a file that only you can read.

    With - as CODE it is read from standard input (or prompted for), and does not stand in the shell's history.
    A file that exists is never written over.

    \b
    Examples:
      sealmark enrol -
      sealmark enrol - --token-out ~/.sealmark-token < code.txt
    """
    if show_token and token_out is not None:
        raise click.UsageError("--show and --token-out exclude each other")
    secret = read_secret_argument(code, "enrolment code")
    # Nobody needs a token to get a token; one that happens to be set is not sent along.
    with Client(current_settings().url, None) as client:
        if show_token:
            name, token = _exchange(client, secret)
            _report(name, token, None)
        else:
            _enrol_into_file(client, secret, token_out)


def _exchange(client: Client, code: str) -> tuple[str, str]:
    answer = client.post("/v1/enrolments", {"code": code})
    return text_member(answer, "name"), secret_from_text(text_member(answer, "token"), "the token in the answer")


def _enrol_into_file(client: Client, code: str, token_out: Path | None) -> None:
    # A code works once: all that can go wrong with the file is met before it is spent.
    if token_out is not None:
        refuse_existing(token_out, "the code was not used; choose another --token-out")
    with pending_file(token_out.parent if token_out is not None else Path()) as pending:
        name, token = _exchange(client, code)
        content = f"{token}\n".encode("ascii")
        if token_out is None:
            target = _finish_under_a_free_name(pending, name, content)
        else:
            pending.finish(token_out, content, replace=False)
            target = token_out
    _report(name, None, target)


def _finish_under_a_free_name(pending: PendingFile, name: str, content: bytes) -> Path:
    stem = "".join(character if character.isalnum() or character in "._@-" else "-" for character in name).lstrip(".")
    for number in itertools.count(1):
        target = Path(f"{stem}.token" if number == 1 else f"{stem}.{number}.token")
        if not target.is_symlink() and not target.exists():
            break
    pending.finish(target, content, replace=False)
    return target


def _report(name: str, token: str | None, target: Path | None) -> None:
    if current_settings().as_json:
        print_json({"name": name, **({"token": token} if token else {"token_file": str(target)})})
    elif token is not None:
        click.echo(token)
    else:
        print_record({"name": name, "token_file": str(target)})


@click.command()
@connection_options
def whoami() -> None:
    """Show whose token this is, its duty, and when the token ends.

    \b
    Example:
      sealmark whoami --token-file role-ci.token
    """
    with open_client() as client:
        answer = client.get("/v1/whoami")
    if not isinstance(answer.get("name"), str):
        raise CommandFailed("the answer has no name: is this address Sealmark's?", code="unreachable")
    if current_settings().as_json:
        print_json(answer)
    else:
        print_record(answer)
