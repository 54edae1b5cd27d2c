"""`sealmark grants …`: the use of a key given to one identity, beside the key's policy."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from signer.cli.approval_wait import approval_options
from signer.cli.client import Json, open_client
from signer.cli.options import (
    KEY,
    PAIR,
    PRINCIPAL,
    Pattern,
    connection_options,
    current_settings,
    pairs_once,
    yes_option,
)
from signer.cli.output import print_json, print_record, print_table

GRANT = Pattern("grant", re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "a grant's id (see: grants list)")
_COLUMNS = ("id", "name", "grantee", "operations", "constraints", "retiring", "state", "created_at", "created_by")


@click.group()
def grants() -> None:
    """Grants: use of a key for one identity, given and taken.

    A grant allows what the key's policy does not; a Deny of any policy beats it.

    \b
    Examples:
      sealmark grants create release --grantee role/nightly --operation SignArtifact
      sealmark grants list release
    """


@grants.command("create")
@click.argument("key", type=KEY)
@click.option("--grantee", type=PRINCIPAL, required=True, help="Who is allowed: a key-user.")
@click.option("--operation", "operations", multiple=True, required=True, help="SignArtifact, Sign, …; repeat.")
@click.option("--context-equals", type=PAIR, multiple=True, help="Only with exactly this signing context; repeat.")
@click.option("--context-subset", type=PAIR, multiple=True, help="Only with at least this signing context; repeat.")
@click.option("--name", help="Asked again with the same name and parameters, the same grant is given.")
@click.option("--retiring", type=PRINCIPAL, help="Who may retire it, besides the key's administrators.")
@approval_options
@connection_options
def create(
    key: str,
    grantee: str,
    operations: Sequence[str],
    context_equals: Sequence[tuple[str, str]],
    context_subset: Sequence[tuple[str, str]],
    name: str | None,
    retiring: str | None,
) -> None:
    """Grant the use of a key.

    It is in force at once, on every worker.

    \b
    Examples:
      sealmark grants create release --grantee role/nightly --operation SignArtifact --name nightly
      sealmark grants create release --grantee role/ci --operation SignArtifact --context-subset branch=main
    """
    if context_equals and context_subset:
        raise click.UsageError("--context-equals and --context-subset exclude each other")
    body: dict[str, object] = {"grantee": grantee, "operations": list(operations)}
    if context_equals:
        body["constraints"] = {"context_equals": pairs_once(context_equals, "--context-equals")}
    if context_subset:
        body["constraints"] = {"context_subset": pairs_once(context_subset, "--context-subset")}
    body |= {member: value for member, value in (("name", name), ("retiring", retiring)) if value is not None}
    with open_client() as client:
        _print(client.post(f"/v1/keys/{key}/grants", body))


@grants.command("list")
@click.argument("key", type=KEY)
@click.option("--grantee", type=PRINCIPAL, help="Those of this identity alone.")
@click.option("--all", "everything", is_flag=True, help="Those that have ended too.")
@connection_options
def list_all(key: str, grantee: str | None, everything: bool) -> None:
    """List the grants on a key.

    \b
    Examples:
      sealmark grants list release
      sealmark grants list release --grantee role/ci --all
    """
    only = {} if grantee is None else {"grantee": grantee}
    if everything:
        only["state"] = "all"
    with open_client() as client:
        found = list(client.pages(f"/v1/keys/{key}/grants", "grants", only))
    if current_settings().as_json:
        print_json({"grants": found})
        return
    columns = (*_COLUMNS, "ended_at", "ended_by") if everything else _COLUMNS
    print_table(columns, [[grant.get(column) for column in columns] for grant in found])


@grants.command("retire")
@click.argument("key", type=KEY)
@click.argument("grant", type=GRANT)
@connection_options
def retire(key: str, grant: str) -> None:
    """Give a grant back that has served.

    For its retiring principal, its grantee if it carries RetireGrant, and administrators of the key.

    \b
    Example:
      sealmark grants retire release 9d1f6a52-6f0c-4f7e-8a55-0c7d9a2f6c22
    """
    with open_client() as client:
        _print(client.post(f"/v1/keys/{key}/grants/{grant}/retire", {}))


@grants.command("revoke")
@click.argument("key", type=KEY)
@click.argument("grant", type=GRANT)
@yes_option
@connection_options
def revoke(key: str, grant: str, yes: bool) -> None:
    """Take a grant away: what it allowed stops at once.

    \b
    Example:
      sealmark grants revoke release 9d1f6a52-6f0c-4f7e-8a55-0c7d9a2f6c22 --yes
    """
    if not yes:
        click.confirm(f"Revoke the grant {grant}, which stops what it allows at once?", abort=True, err=True)
    with open_client() as client:
        _print(client.delete(f"/v1/keys/{key}/grants/{grant}"))


def _print(grant: Json) -> None:
    if current_settings().as_json:
        print_json(grant)
    else:
        print_record(grant)
