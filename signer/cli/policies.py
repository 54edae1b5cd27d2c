"""`sealmark keys policy …`: who administers a key and who signs with it."""

from __future__ import annotations

from pathlib import Path

import click

from signer.cli.approval_wait import approval_options
from signer.cli.client import Client, Json, open_client
from signer.cli.documents import DOCUMENT_FILE, pretty, read_document
from signer.cli.errors import CommandFailed
from signer.cli.options import KEY, PRINCIPAL, connection_options, current_settings
from signer.cli.output import print_json, print_record
from signer.cli.policy_history import diff, history, restore


@click.group()
def policy() -> None:
    """Who may administer a key, and who may sign with it.

    \b
    Examples:
      sealmark keys policy show release
      sealmark keys policy set release --user role/ci
      sealmark keys policy history release
    """


policy.add_command(history)
policy.add_command(diff)
policy.add_command(restore)


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
@click.option("--file", "document", type=DOCUMENT_FILE, help="A whole policy document (JSON) instead; - reads stdin.")
@click.option("--reason", help="Why; kept with the version.")
@click.option("--bypass-lockout-check", is_flag=True, help="Store it even if nobody could change it again.")
@approval_options
@connection_options
def set_policy(
    key: str,
    administrators: tuple[str, ...],
    users: tuple[str, ...],
    no_users: bool,
    document: Path | None,
    reason: str | None,
    bypass_lockout_check: bool,
) -> None:
    """Replace the policy, or a list of users or administrators.

    A list that is not given stays as it is. What somebody else changed meanwhile is not written over.

    \b
    Examples:
      sealmark keys policy set release --user role/ci --user role/nightly
      sealmark keys policy set release --no-users --reason "CI moved to another key"
      sealmark keys policy set release --file policy.json --reason "the nightly build too"
    """
    lists = bool(administrators or users or no_users)
    if users and no_users:
        raise click.UsageError("--user and --no-users exclude each other")
    if lists and document is not None:
        raise click.UsageError("--file replaces the whole policy: it goes with no --user, --no-users, --administrator")
    if not lists and document is None:
        raise click.UsageError("give --file, --user, --no-users or --administrator: there is nothing to set")
    more: dict[str, object] = {"reason": reason} if reason else {}
    if bypass_lockout_check:
        more["bypass_policy_lockout_safety_check"] = True
    path = f"/v1/keys/{key}/policy"
    if document is not None:
        body = {**read_document(document), **more}
        with open_client() as client:
            _print(client.put(path, body))
        return
    with open_client() as client:
        _print(client.put(path, _lists(client, path, administrators, users, no_users) | more))


def _lists(
    client: Client, path: str, administrators: tuple[str, ...], users: tuple[str, ...], no_users: bool
) -> dict[str, object]:
    """Both lists, one as it is now where it was not given: then only if the policy is still that one."""
    wanted: dict[str, object] = {"administrators": list(administrators), "users": list(users)}
    if administrators and (users or no_users):
        return wanted
    current = client.get(path)
    if current.get("short_form") is not True:
        raise CommandFailed(
            "the key's policy is a whole document, which says more than two lists: give both --administrator and "
            "--user to replace it, or --file",
            code="unexpected_policy",
        )
    kept = "users" if administrators else "administrators"
    return {**wanted, kept: _names(current, kept), "revision": current.get("revision")}


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
        click.echo(pretty(document.get("policy")))
