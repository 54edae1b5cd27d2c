"""`sealmark keys policy …`: who administers a key and who signs with it."""

from __future__ import annotations

import json

import click

from signer.cli.approval_wait import approval_options
from signer.cli.client import Json, open_client
from signer.cli.errors import CommandFailed
from signer.cli.options import KEY, PRINCIPAL, connection_options, current_settings
from signer.cli.output import print_json, print_record


@click.group()
def policy() -> None:
    """Who may administer a key, and who may sign with it.

    \b
    Examples:
      sealmark keys policy show release
      sealmark keys policy set release --user role/ci
    """


@policy.command("show")
@click.argument("key", type=KEY)
@connection_options
def show(key: str) -> None:
    """Show a key's policy.

    \b
    Example:
      sealmark keys policy show release
    """
    with open_client() as client:
        _print(client.get(f"/v1/keys/{key}/policy"))


@policy.command("set")
@click.argument("key", type=KEY)
@click.option("--administrator", "administrators", type=PRINCIPAL, multiple=True, help="Who keeps the key; repeat.")
@click.option("--user", "users", type=PRINCIPAL, multiple=True, help="Who signs with the key; repeat.")
@click.option("--no-users", is_flag=True, help="Nobody signs with the key.")
@approval_options
@connection_options
def set_policy(key: str, administrators: tuple[str, ...], users: tuple[str, ...], no_users: bool) -> None:
    """Replace the users, the administrators, or both.

    A list that is not given stays as it is.

    \b
    Examples:
      sealmark keys policy set release --user role/ci --user role/nightly
      sealmark keys policy set release --no-users
    """
    if users and no_users:
        raise click.UsageError("--user and --no-users exclude each other")
    if not (users or no_users or administrators):
        raise click.UsageError("give --user, --no-users or --administrator: there is nothing to set")
    with open_client() as client:
        path = f"/v1/keys/{key}/policy"
        complete = bool(administrators) and bool(users or no_users)
        current: Json = {} if complete else client.get(path)
        if not complete and current.get("short_form") is not True:
            raise CommandFailed(
                "the key's policy is a whole document, which says more than two lists: give both --administrator and "
                "--user to replace it",
                code="unexpected_policy",
            )
        wanted = {
            "administrators": list(administrators) or _names(current, "administrators"),
            "users": list(users) if users or no_users else _names(current, "users"),
        }
        _print(client.put(path, wanted))


def _names(document: Json, member: str) -> list[str]:
    found = document.get(member)
    return [str(name) for name in found] if isinstance(found, list) else []


def _print(document: Json) -> None:
    if current_settings().as_json:
        print_json(document)
        return
    shown = {name: value if value != [] else "nobody" for name, value in document.items() if name != "policy"}
    print_record(shown)
    if document.get("short_form") is not True:
        click.echo(json.dumps(document.get("policy"), indent=2))
