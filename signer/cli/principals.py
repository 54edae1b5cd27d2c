"""`sealmark principals …`: identities, for an administrator."""

from __future__ import annotations

import click

from signer.cli.client import Json, open_client, text_member
from signer.cli.options import PRINCIPAL, connection_options, current_settings, yes_option
from signer.cli.output import note, print_json, print_record, print_table
from signer.cli.principal_policies import policy

DUTIES = ("administrator", "key-administrator", "key-user", "auditor")


@click.group()
def principals() -> None:
    """Identities: people and machines with one duty each.

    \b
    administrator      makes and deletes identities; nothing on keys
    key-administrator  makes keys, keeps their policies; no identities, no use
    key-user           may be named in key policies: signs
    auditor            reads the audit trail

    \b
    Examples:
      sealmark principals create role/ci --duty key-user
      sealmark principals list
    """


principals.add_command(policy)


@principals.command("create")
@click.argument("name", type=PRINCIPAL)
@click.option("--duty", type=click.Choice(DUTIES), required=True, help="The one duty of this identity.")
@connection_options
def create(name: str, duty: str) -> None:
    """Make an identity and show the code to hand over.

    NAME is user/NAME or role/NAME.
    Whoever holds the code gets the token, once, by `sealmark enrol`; nobody else ever sees it.

    \b
    Example:
      sealmark principals create role/ci --duty key-user
    """
    with open_client() as client:
        made = client.post("/v1/principals", {"name": name, "duty": duty})
    code = text_member(made, "enrolment_code")
    if current_settings().as_json:
        print_json(made)
        return
    print_record({"name": made.get("name"), "duty": made.get("duty")})
    click.echo(f"enrolment code  {code}")
    click.echo(f"valid until     {text_member(made, 'expires_at')}, once")
    note(f"Hand the code to {name}, who types: sealmark enrol - (and pastes the code)")


@principals.command("list")
@connection_options
def list_all() -> None:
    """List all identities.

    \b
    Example:
      sealmark principals list --json
    """
    with open_client() as client:
        found = list(client.pages("/v1/principals", "principals"))
    if current_settings().as_json:
        print_json({"principals": found})
        return
    columns = ("name", "duty", "state", "created_at", "created_by")
    print_table(columns, [[principal.get(column) for column in columns] for principal in found])


@principals.command("show")
@click.argument("name", type=PRINCIPAL)
@connection_options
def show(name: str) -> None:
    """Show one identity.

    \b
    Example:
      sealmark principals show role/ci
    """
    with open_client() as client:
        _print(client.get(f"/v1/principals/{name}"))


@principals.command("delete")
@click.argument("name", type=PRINCIPAL)
@yes_option
@connection_options
def delete(name: str, yes: bool) -> None:
    """Delete an identity: its tokens stop working at once.

    \b
    Example:
      sealmark principals delete role/ci --yes
    """
    if not yes:
        click.confirm(f"Delete {name}, whose tokens stop working at once?", abort=True, err=True)
    with open_client() as client:
        client.delete(f"/v1/principals/{name}")
    _print({"name": name, "state": "deleted"})


def _print(principal: Json) -> None:
    if current_settings().as_json:
        print_json(principal)
    else:
        print_record(principal)
