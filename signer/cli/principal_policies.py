"""`sealmark principals policy …`: the policies that are attached to identities, for an administrator."""

from __future__ import annotations

import re
from pathlib import Path

import click

from signer.cli.client import Json, open_client
from signer.cli.documents import DOCUMENT_FILE, pretty, read_document
from signer.cli.options import PRINCIPAL, Pattern, connection_options, current_settings, yes_option
from signer.cli.output import cell, print_json, print_record, print_table

POLICY = Pattern(
    "policy", re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}"), "a policy's name (letters, digits, - and _, at most 128)"
)
_COLUMNS = ("name", "revision", "changed_at", "changed_by", "reason")
_HISTORY_COLUMNS = ("revision", "name", "change", "created_at", "created_by", "reason")


@click.group()
def policy() -> None:
    """Policies that are attached to identities.

    A policy allows where a key's own policy leaves that to the account, and denies anywhere. Nobody changes their own.

    \b
    Examples:
      sealmark principals policy put role/ci own-network --file own-network.json
      sealmark principals policy list role/ci
    """


@policy.command("put")
@click.argument("name", type=PRINCIPAL)
@click.argument("label", metavar="POLICY", type=POLICY)
@click.option("--file", "document", type=DOCUMENT_FILE, required=True, help="The document (JSON); - reads stdin.")
@click.option("--reason", help="Why; kept with the version.")
@connection_options
def put(name: str, label: str, document: Path, reason: str | None) -> None:
    """Attach a policy to an identity, or replace it.

    \b
    Example:
      sealmark principals policy put role/ci own-network --file own-network.json --reason "CI runs at home alone"
    """
    body: dict[str, object] = {"policy": read_document(document)}
    if reason:
        body["reason"] = reason
    with open_client() as client:
        _print(client.put(f"/v1/principals/{name}/policies/{label}", body))


@policy.command("list")
@click.argument("name", type=PRINCIPAL)
@connection_options
def list_all(name: str) -> None:
    """List what is attached, and what the duty allows.

    \b
    Example:
      sealmark principals policy list role/ci
    """
    with open_client() as client:
        found = client.get(f"/v1/principals/{name}/policies")
    if current_settings().as_json:
        print_json(found)
        return
    duty, policies = found.get("duty"), found.get("policies")
    if isinstance(duty, dict):
        print_record({"duty": duty.get("name"), "allows_at_most": duty.get("actions")})
    rows = [policy for policy in policies if isinstance(policy, dict)] if isinstance(policies, list) else []
    print_table(_COLUMNS, [[row.get(column) for column in _COLUMNS] for row in rows])


@policy.command("show")
@click.argument("name", type=PRINCIPAL)
@click.argument("label", metavar="POLICY", type=POLICY)
@connection_options
def show(name: str, label: str) -> None:
    """Show one policy of an identity.

    \b
    Example:
      sealmark principals policy show role/ci own-network
    """
    with open_client() as client:
        _print(client.get(f"/v1/principals/{name}/policies/{label}"))


@policy.command("delete")
@click.argument("name", type=PRINCIPAL)
@click.argument("label", metavar="POLICY", type=POLICY)
@click.option("--reason", help="Why; kept in the history.")
@yes_option
@connection_options
def delete(name: str, label: str, reason: str | None, yes: bool) -> None:
    """Take a policy away from an identity.

    What it allowed stops; what it denied is no longer denied.

    \b
    Example:
      sealmark principals policy delete role/ci own-network --yes
    """
    if not yes:
        click.confirm(f"Take {label} away from {name}? What it denied is no longer denied.", abort=True, err=True)
    with open_client() as client:
        gone = client.delete(f"/v1/principals/{name}/policies/{label}", {"reason": reason} if reason else None)
    _print(gone)


@policy.command("history")
@click.argument("name", type=PRINCIPAL)
@connection_options
def history(name: str) -> None:
    """List every change to an identity's policies.

    \b
    Example:
      sealmark principals policy history role/ci
    """
    with open_client() as client:
        found = list(client.pages(f"/v1/principals/{name}/policy-versions", "versions"))
    if current_settings().as_json:
        print_json({"versions": found})
        return
    rows = [{**version, "change": "deleted" if version.get("policy") is None else "put"} for version in found]
    print_table(_HISTORY_COLUMNS, [[cell(row.get(column)) for column in _HISTORY_COLUMNS] for row in rows])


def _print(found: Json) -> None:
    if current_settings().as_json:
        print_json(found)
        return
    print_record({name: value for name, value in found.items() if name != "policy"})
    if "policy" in found:
        click.echo(pretty(found["policy"]))
