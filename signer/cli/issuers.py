"""`sealmark issuers …` and `sealmark domains …`: who tokens speak for, and what holds keys together."""

from __future__ import annotations

import click

from signer.cli.client import open_client
from signer.cli.options import SLUG, connection_options, current_settings
from signer.cli.output import print_json, print_record, print_table


@click.group()
def issuers() -> None:
    """Issuers: who tokens speak for.

    A jwt or saml key names one.

    \b
    Example:
      sealmark issuers create shop --issuer-url https://id.shop.example
    """


@issuers.command("create")
@click.argument("name", type=SLUG)
@click.option("--issuer-url", required=True, help="The iss of its tokens.")
@click.option("--entity-id", help="The Issuer of its SAML assertions.  [default: the URL]")
@click.option("--jwks-uri", help="Where its key set is fetched.  [default: /jwks.json below the URL]")
@click.option("--authorization-endpoint", help="The login page of the OpenID provider that it signs for.")
@click.option("--token-endpoint", help="The token endpoint of that provider.")
@click.option("--sign-on-url", help="Where SAML service providers send browsers.  [default: the entity id]")
@connection_options
def create(name: str, issuer_url: str, **more: str | None) -> None:
    """Make the issuer NAME.

    What it publishes names these addresses, and they cannot be changed later.

    \b
    Examples:
      sealmark issuers create shop --issuer-url https://id.shop.example
      sealmark issuers create idp --issuer-url https://login.example \\
          --authorization-endpoint https://login.example/authorize \\
          --token-endpoint https://login.example/token --sign-on-url https://login.example/saml
    """
    body = {"name": name, "url": issuer_url} | {member: value for member, value in more.items() if value is not None}
    with open_client() as client:
        made = client.post("/v1/issuers", body)
    if current_settings().as_json:
        print_json(made)
    else:
        print_record(made)


@issuers.command("list")
@connection_options
def list_issuers() -> None:
    """List all issuers.

    \b
    Example:
      sealmark issuers list
    """
    _list("issuers", ("name", "url", "entity_id", "created_at"))


@click.group()
def domains() -> None:
    """Domains, which hold keys.

    They are made and rotated in a ceremony (`sealmark ceremony domain`).

    \b
    Example:
      sealmark domains list
    """


@domains.command("list")
@connection_options
def list_domains() -> None:
    """List all domains.

    \b
    Example:
      sealmark domains list
    """
    _list("domains", ("name", "version", "home_region", "created_at"))


def _list(what: str, columns: tuple[str, ...]) -> None:
    with open_client() as client:
        found = list(client.pages(f"/v1/{what}", what))
    if current_settings().as_json:
        print_json({what: found})
    else:
        print_table(columns, [[item.get(column) for column in columns] for item in found])
