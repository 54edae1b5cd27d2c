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
    _show_code(made)


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


@principals.command("disable")
@click.argument("name", type=PRINCIPAL)
@connection_options
def disable(name: str) -> None:
    """Stop an identity for a while: none of its tokens works.

    \b
    Example:
      sealmark principals disable role/ci
    """
    with open_client() as client:
        _print(client.post(f"/v1/principals/{name}/disable", {}))


@principals.command("enable")
@click.argument("name", type=PRINCIPAL)
@connection_options
def enable(name: str) -> None:
    """Let a disabled identity work again.

    Its tokens work as before, those that have not ended meanwhile.

    \b
    Example:
      sealmark principals enable role/ci
    """
    with open_client() as client:
        _print(client.post(f"/v1/principals/{name}/enable", {}))


@principals.command("set-duty")
@click.argument("name", type=PRINCIPAL)
@click.argument("duty", type=click.Choice(DUTIES))
@connection_options
def set_duty(name: str, duty: str) -> None:
    """Give an identity another duty, from its next call on.

    It is refused while a key's policy names it for the duty that it has.

    \b
    Example:
      sealmark principals set-duty user/alice auditor
    """
    with open_client() as client:
        _print(client.put(f"/v1/principals/{name}/duty", {"duty": duty}))


@principals.command("re-enrol")
@click.argument("name", type=PRINCIPAL)
@click.option("--revoke-tokens/--keep-tokens", default=None, help="Whether the tokens that it has end now.")
@connection_options
def re_enrol(name: str, revoke_tokens: bool | None) -> None:
    """Make a new enrolment code, for who has lost a token.

    Whoever holds the code gets a token in NAME's name: that you made it is recorded, and an alarm in the log.

    \b
    Examples:
      sealmark principals re-enrol role/ci --revoke-tokens
      sealmark principals re-enrol user/alice --keep-tokens
    """
    if revoke_tokens is None:
        raise click.UsageError("say --revoke-tokens (a token was lost or stolen) or --keep-tokens")
    with open_client() as client:
        made = client.post(f"/v1/principals/{name}/enrolments", {"revoke_tokens": revoke_tokens})
    _show_code(made)


def _show_code(made: Json) -> None:
    code, name = text_member(made, "enrolment_code"), text_member(made, "name")
    if current_settings().as_json:
        print_json(made)
        return
    print_record({member: made.get(member) for member in ("name", "duty", "revoked_tokens")})
    click.echo(f"enrolment code  {code}")
    click.echo(f"valid until     {text_member(made, 'expires_at')}, once")
    note(f"Hand the code to {name}, who types: sealmark enrol - (and pastes the code)")


def _print(principal: Json) -> None:
    if current_settings().as_json:
        print_json(principal)
    else:
        print_record(principal)
