"""`sealmark keys …`: keys and their life, for a key administrator; what a key is, for whoever may see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict, Unpack

import click

from signer.cli.approval_rules import approval_rule
from signer.cli.approval_wait import approval_options
from signer.cli.certificates import REASONS, certificate, csr
from signer.cli.client import Json, open_client
from signer.cli.key_labels import TAG, alias_group, description, rotation, tag, untag
from signer.cli.options import (
    KEY,
    PRINCIPAL,
    REGION,
    SLUG,
    connection_options,
    current_settings,
    pairs_once,
    yes_option,
)
from signer.cli.output import cell, print_json, print_record, print_table
from signer.cli.policies import policy
from signer.cli.publication import public_key

PURPOSES = ("artifact", "jwt", "saml", "general", "encrypt", "mac", "agree", "encapsulate")
FORMATS = ("cms", "raw", "bundle", "dsse")
_LIST_COLUMNS = ("alias", "id", "purpose", "spec", "algorithm", "state", "version")
_VERSION_COLUMNS = (
    *("version", "state", "created_at", "activate_at", "kid"),
    *("revoked_at", "revocation_reason", "certificate_serial", "certificate_origin", "certificate_until"),
)


class NewKeyOptions(TypedDict):
    """The options of `keys create`, by the names of the API's members."""

    spec: str
    purpose: str
    users: Sequence[str]
    administrators: Sequence[str]
    domain: str | None
    description: str | None
    published: bool | None
    protection: str | None
    algorithm: str | None
    formats: Sequence[str]
    issuer: str | None
    audiences: Sequence[str]
    max_ttl: int | None
    types: Sequence[str]
    recipients: Sequence[str]
    tags: Sequence[tuple[str, str]]
    multi_region: bool | None


@click.group()
def keys() -> None:
    """Keys: make, show, rotate, disable, delete.

    KEY is a key's alias or id.

    \b
    Examples:
      sealmark keys create release --spec ECC_NIST_P256 --purpose artifact --user role/ci
      sealmark keys list
    """


keys.add_command(policy)
keys.add_command(approval_rule)
keys.add_command(public_key)
keys.add_command(csr)
keys.add_command(certificate)
for _command in (alias_group, tag, untag, description, rotation):
    keys.add_command(_command)


@keys.command("create")
@click.argument("alias", type=KEY, required=False)
@click.option(
    "--spec",
    required=True,
    help="RSA_2048, RSA_3072, RSA_4096, ECC_NIST_P256, ECC_NIST_P384, SYMMETRIC_DEFAULT, HMAC_256, … (AWS names)",
)
@click.option("--purpose", type=click.Choice(PURPOSES), required=True, help="What the key is for; fixed for its life.")
@click.option("--user", "users", type=PRINCIPAL, multiple=True, help="Who may use it; repeat for more.")
@click.option("--administrator", "administrators", type=PRINCIPAL, multiple=True, help="Who keeps it, besides you.")
@click.option("--domain", type=SLUG, help="The domain that holds it.  [default: default]")
@click.option("--description", help="For people.")
@click.option("--published/--not-published", default=None, help="Whether anyone may read the public key.")
@click.option(
    "--protection",
    type=click.Choice(("hsm", "software")),
    help="Insist on where it is used.  [default: hsm, but for specs that the operator lists]",
)
@click.option("--algorithm", help="One of those that fit spec and purpose.  [default: the usual one of the spec]")
@click.option("--format", "formats", type=click.Choice(FORMATS), multiple=True, help="artifact: what it makes; repeat.")
@click.option("--issuer", type=SLUG, help="jwt, saml: the NAME of an issuer.  [default: default]")
@click.option("--audience", "audiences", multiple=True, help="jwt, saml: who the tokens are for; repeat.")
@click.option("--max-ttl", type=click.IntRange(1), help="jwt: the longest lifetime of a token, in seconds.")
@click.option("--type", "types", multiple=True, help="jwt: the typ of its tokens; repeat.  [default: JWT]")
@click.option("--recipient", "recipients", multiple=True, help="saml: where its responses are sent; repeat.")
@click.option("--tag", "tags", type=TAG, multiple=True, help="NAME=VALUE, which policies may ask for; repeat.")
@click.option(
    "--multi-region",
    flag_value=True,
    type=bool,
    default=None,
    help="Other regions may have it too (keys replicate); fixed for its life.",
)
@connection_options
def create(alias: str | None, **options: Unpack[NewKeyOptions]) -> None:
    """Make a key or a key pair in the HSM, under the name ALIAS.

    \b
    Examples:
      sealmark keys create release --spec ECC_NIST_P256 --purpose artifact --user role/ci
      sealmark keys create tokens --spec RSA_2048 --purpose jwt --audience https://api.example --max-ttl 900
      sealmark keys create idp --spec RSA_3072 --purpose saml --audience SP --recipient https://sp.example/acs
      sealmark keys create vault --spec SYMMETRIC_DEFAULT --purpose encrypt --user role/app
      sealmark keys create inbox --spec RSA_3072 --purpose encrypt --published --user role/app
    """
    # What is not given is not sent: the service knows the defaults.
    body: dict[str, object] = {name: value for name, value in options.items() if value not in (None, ())}
    if options["tags"]:
        body["tags"] = pairs_once(options["tags"], "--tag")
    if alias is not None:
        body["alias"] = alias
    with open_client() as client:
        print_key(client.post("/v1/keys", body))


@keys.command("list")
@connection_options
def list_all() -> None:
    """List the keys that you may see.

    \b
    Example:
      sealmark keys list
    """
    with open_client() as client:
        found = list(client.pages("/v1/keys", "keys"))
    if current_settings().as_json:
        print_json({"keys": found})
        return
    print_table(
        _LIST_COLUMNS, [[*(key.get(name) for name in _LIST_COLUMNS[:-1]), _active_version(key)] for key in found]
    )


@keys.command("show")
@click.argument("key", type=KEY)
@connection_options
def show(key: str) -> None:
    """Show a key: what it is, where it is kept, its versions.

    \b
    Example:
      sealmark keys show release
    """
    with open_client() as client:
        print_key(client.get(f"/v1/keys/{key}"))


@keys.command("rotate")
@click.argument("key", type=KEY)
@click.option(
    "--now", is_flag=True, help="Emergency: sign with the new version at once, though verifiers may not know it."
)
@click.option(
    "--revoke", type=click.Choice(REASONS), help="With --now: revoke all earlier versions and their certificates."
)
@yes_option
@approval_options
@connection_options
def rotate(key: str, now: bool, revoke: str | None, yes: bool) -> None:
    """Make a new version of a key; old versions stay verifiable.

    A new version of a jwt or saml key is published at once and signs later, when verifiers have fetched it.
    With --now --revoke REASON nothing that earlier versions signed counts any more.

    \b
    Examples:
      sealmark keys rotate release
      sealmark keys rotate release --now --revoke key_compromise
    """
    body: dict[str, object] = {"now": True} if now else {}
    if revoke is not None:
        if not now:
            raise click.UsageError("--revoke goes with --now: what is revoked signs no more")
        if not yes:
            click.confirm(f"Revoke every earlier version of {key}, for good?", abort=True, err=True)
        body["revoke"] = revoke
    _act(key, "rotate", body)


@keys.command("disable")
@click.argument("key", type=KEY)
@connection_options
def disable(key: str) -> None:
    """Stop a key from signing until it is enabled again.

    \b
    Example:
      sealmark keys disable release
    """
    _act(key, "disable", {})


@keys.command("enable")
@click.argument("key", type=KEY)
@approval_options
@connection_options
def enable(key: str) -> None:
    """Let a disabled key sign again.

    \b
    Example:
      sealmark keys enable release
    """
    _act(key, "enable", {})


@keys.command("schedule-deletion")
@click.argument("key", type=KEY)
@click.option("--days", type=click.IntRange(7, 30), default=30, show_default=True, help="The waiting period.")
@yes_option
@approval_options
@connection_options
def schedule_deletion(key: str, days: int, yes: bool) -> None:
    """Delete a key after a waiting period.

    From now on it does not sign; in the end its private half is destroyed.

    \b
    Example:
      sealmark keys schedule-deletion release --days 7
    """
    if not yes:
        click.confirm(f"Stop {key} from signing now and destroy it in {days} days?", abort=True, err=True)
    _act(key, "schedule-deletion", {"days": days})


@keys.command("cancel-deletion")
@click.argument("key", type=KEY)
@connection_options
def cancel_deletion(key: str) -> None:
    """Take back a scheduled deletion.

    \b
    Example:
      sealmark keys cancel-deletion release
    """
    _act(key, "cancel-deletion", {})


@keys.command("replicate")
@click.argument("key", type=KEY)
@click.option("--region", type=REGION, required=True, help="Where: a name of [[regions]] in the service's settings.")
@click.option("--user", "users", type=PRINCIPAL, multiple=True, help="Who may use it there; repeat for more.")
@click.option("--administrator", "administrators", type=PRINCIPAL, multiple=True, help="Who keeps it, besides you.")
@click.option("--description", help="For people.")
@approval_options
@connection_options
def replicate(
    key: str, region: str, users: tuple[str, ...], administrators: tuple[str, ...], description: str | None
) -> None:
    """Make a replica of a multi-region key in another region.

    It has the same id and material; policy, description, grants and state are its own. Names are of people there.

    \b
    Example:
      sealmark keys replicate release --region eu-west-1 --user role/ci
    """
    body: dict[str, object] = {"region": region, "users": list(users), "administrators": list(administrators)}
    if description is not None:
        body["description"] = description
    _act(key, "replicas", body)


@keys.command("set-primary")
@click.argument("key", type=KEY)
@click.option("--region", type=REGION, required=True, help="Where the key has a replica.")
@approval_options
@connection_options
def set_primary(key: str, region: str) -> None:
    """Make another region's replica the primary key.

    The primary key is the one that is rotated, replicated, and given away; here a replica stays.

    \b
    Example:
      sealmark keys set-primary release --region eu-west-1
    """
    _act(key, "primary-region", {"region": region})


def _act(key: str, action: str, body: Json) -> None:
    with open_client() as client:
        print_key(client.post(f"/v1/keys/{key}/{action}", body))


def _versions(key: Json) -> list[Mapping[str, object]]:
    found = key.get("versions")
    return [version for version in found if isinstance(version, dict)] if isinstance(found, list) else []


def _active_version(key: Json) -> object:
    return next((version.get("version") for version in _versions(key) if version.get("state") == "active"), None)


def _with_certificate(version: Mapping[str, object]) -> Mapping[str, object]:
    """What a person wants to know of its certificate, in columns: which, whose, until when."""
    found = version.get("certificate")
    if not isinstance(found, dict):
        return version
    shown = {"serial": found.get("serial"), "origin": found.get("origin"), "until": found.get("not_after")}
    if found.get("revoked_at") is not None:
        shown["until"] = "revoked"
    return {**version, **{f"certificate_{name}": value for name, value in shown.items()}}


def regions_in_words(regions: Mapping[str, object]) -> str:
    """Where a multi-region key is: `primary in us-east-1, replicas in eu-west-1; this is a replica`."""

    def names(member: str) -> str:
        found = regions.get(member)
        listed = found if isinstance(found, list) else [found]
        return ", ".join(str(one.get("region")) if isinstance(one, dict) else str(one) for one in listed if one)

    words = f"primary in {names('primary')}, replicas in {names('replicas') or 'no region'}"
    if names("making"):
        words += f"; being made in {names('making')}"
    if names("moving_to"):
        words += f"; moving to {names('moving_to')}"
    return f"{words}; this is {'the primary key' if regions.get('type') == 'primary' else 'a replica'}"


def print_key(key: Json) -> None:
    """A key's description, its versions as a table."""
    if current_settings().as_json:
        print_json(key)
        return
    shown = {name: value for name, value in key.items() if name != "versions"}
    regions = key.get("multi_region")
    if isinstance(regions, dict):
        shown |= {"multi_region": regions_in_words(regions)}
    print_record(shown)
    versions = [_with_certificate(version) for version in _versions(key)]
    # A column that no version has (kid, of a key that has none) is left out.
    columns = [name for name in _VERSION_COLUMNS if any(cell(version.get(name)) != "-" for version in versions)]
    if columns:
        print_table(columns, [[version.get(name) for name in columns] for version in versions])
