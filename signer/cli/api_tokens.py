"""`sealmark tokens …`: further API tokens for oneself, what there is of them, and their end."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Final

import click

from signer.cli.client import Client, Json, open_client, text_member
from signer.cli.credentials import secret_from_text
from signer.cli.files import pending_file, refuse_existing
from signer.cli.options import PRINCIPAL, Pattern, connection_options, current_settings
from signer.cli.output import print_json, print_record, print_table

_ID: Final = Pattern("id", re.compile(r"[0-9a-f]{12}"), "a token's id (12 hex digits, as `sealmark tokens list` shows)")
_UNITS: Final = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}

principal_option = click.option("--principal", type=PRINCIPAL, help="Whose.  [default: your own]")


class Lifetime(click.ParamType[int]):
    """A number and a unit, as seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The seconds, or a usage error that says what would be right."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([1-9][0-9]{0,6})([mhd])", str(value), re.ASCII)
        if found is None:
            self.fail(f"{value!r} is not a lifetime such as 30m, 12h or 90d", param, ctx)
        return int(found[1]) * int(_UNITS[found[2]].total_seconds())


@click.group()
def tokens() -> None:
    """API tokens: one for each place that calls, each with an end.

    \b
    Examples:
      sealmark tokens create --label laptop --lifetime 90d
      sealmark tokens list
      sealmark tokens revoke 3f2a9c04d1be
    """


@tokens.command("create")
@click.option("--label", required=True, help="What it is for, such as the machine that will hold it.")
@click.option("--lifetime", type=Lifetime(), help="Such as 30m, 12h or 90d.  [default: as long as the service allows]")
@click.option(
    "--token-out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the token (mode 0600).  [default: ./LABEL.token]",
)
@click.option("--show", "show_token", is_flag=True, help="Print the token instead of writing a file.")
@connection_options
def create(label: str, lifetime: int | None, token_out: Path | None, show_token: bool) -> None:
    """Make a further token for yourself.

    Nobody else ever sees it. Nobody makes one for another: see `sealmark principals re-enrol`.

    \b
    Examples:
      sealmark tokens create --label laptop --lifetime 90d
      sealmark tokens create --label laptop --token-out ~/.sealmark-token
    """
    if show_token and token_out is not None:
        raise click.UsageError("--show and --token-out exclude each other")
    with open_client() as client:
        if show_token:
            made, token = _make(client, label, lifetime)
            _report(made, token, None)
            return
        target = token_out or Path(_file_name(label))
        refuse_existing(target, "no token was made; choose another --token-out")
        with pending_file(target.parent) as pending:
            made, token = _make(client, label, lifetime)
            pending.finish(target, f"{token}\n".encode("ascii"), replace=False)
    _report(made, None, target)


@tokens.command("list")
@principal_option
@connection_options
def list_all(principal: str | None) -> None:
    """List your tokens, or (as administrator) another's.

    The secret of none is shown. Records name a token by its id: bearer:ID.

    \b
    Examples:
      sealmark tokens list
      sealmark tokens list --principal role/ci --json
    """
    with open_client() as client:
        name = principal or _own_name(client)
        found = list(client.pages(f"/v1/principals/{name}/tokens", "tokens"))
    if current_settings().as_json:
        print_json({"tokens": found})
        return
    columns = ("id", "kind", "label", "state", "created_at", "created_by", "expires_at")
    print_table(columns, [[token.get(column) for column in columns] for token in found])


@tokens.command("revoke")
@click.argument("token", metavar="ID", type=_ID)
@principal_option
@connection_options
def revoke(token: str, principal: str | None) -> None:
    """End a token at once and for good.

    \b
    Examples:
      sealmark tokens revoke 3f2a9c04d1be
      sealmark tokens revoke 3f2a9c04d1be --principal role/ci
    """
    with open_client() as client:
        name = principal or _own_name(client)
        client.delete(f"/v1/principals/{name}/tokens/{token}")
    _print({"id": token, "principal": name, "state": "revoked"})


def _own_name(client: Client) -> str:
    return PRINCIPAL.convert(text_member(client.get("/v1/whoami"), "name"), None, None)


def _make(client: Client, label: str, lifetime: int | None) -> tuple[Json, str]:
    body: dict[str, object] = {"label": label}
    if lifetime is not None:
        body["expires_in"] = lifetime
    made = client.post(f"/v1/principals/{_own_name(client)}/tokens", body)
    return made, secret_from_text(text_member(made, "token"), "the token in the answer")


def _file_name(label: str) -> str:
    kept = "".join(each if each.isascii() and (each.isalnum() or each in "._-") else "-" for each in label)
    return f"{kept.lstrip('.') or 'new'}.token"


def _report(made: Json, token: str | None, target: Path | None) -> None:
    shown = {name: value for name, value in made.items() if name != "token"}
    if current_settings().as_json:
        print_json({**shown, **({"token": token} if token else {"token_file": str(target)})})
    elif token is not None:
        click.echo(token)
    else:
        print_record({**shown, "token_file": str(target)})


def _print(members: Json) -> None:
    if current_settings().as_json:
        print_json(members)
    else:
        print_record(members)
