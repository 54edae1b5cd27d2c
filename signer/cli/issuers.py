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
@connection_options
def create(name: str, issuer_url: str, entity_id: str | None) -> None:
    """Make the issuer NAME.

    \b
    Example:
      sealmark issuers create shop --issuer-url https://id.shop.example
    """
    body = {"name": name, "url": issuer_url} | ({"entity_id": entity_id} if entity_id is not None else {})
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
    _list("domains", ("name", "version", "created_at"))


def _list(what: str, columns: tuple[str, ...]) -> None:
    with open_client() as client:
        found = list(client.pages(f"/v1/{what}", what))
    if current_settings().as_json:
        print_json({what: found})
    else:
        print_table(columns, [[item.get(column) for column in columns] for item in found])
