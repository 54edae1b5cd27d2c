"""`sealmark trusted-issuers …`: whose tokens are taken for which role, for an administrator."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from signer.cli.client import Json, open_client
from signer.cli.errors import CommandFailed
from signer.cli.options import PAIR, PRINCIPAL, SLUG, connection_options, current_settings, yes_option
from signer.cli.output import print_json, print_record, print_table
from signer.cli.providers import PROVIDERS, Provided, provided
from signer.cli.workload import audience_for

Command = TypeVar("Command", bound=Callable[..., object])
_READABLE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_SETTINGS = ("url", "audiences", "mappings", "jwks_url", "jwks", "algorithms", "max_token_age", "session_lifetime")


@click.group("trusted-issuers")
def trusted_issuers() -> None:
    """OIDC issuers whose tokens are taken.

    CI jobs and pods prove themselves with tokens of their own, and need no secret of this service.

    \b
    Examples:
      sealmark trusted-issuers create github --github octo/app --ref 'refs/tags/*' --role role/ci
      sealmark trusted-issuers list
    """


def _members(command: Command) -> Command:
    """The options that say what is trusted."""
    decorators: Sequence[Callable[[Command], Command]] = (
        *(click.option(f"--{each.option}", metavar=each.metavar, help=each.help) for each in PROVIDERS.values()),
        click.option("--role", type=PRINCIPAL, help="The role that fitting tokens get (key-user or auditor)."),
        click.option("--ref", "refs", multiple=True, help="Only of this ref, such as refs/heads/main; repeat."),
        click.option("--environment", "environments", multiple=True, help="Only of this environment; repeat."),
        click.option("--any-ref", is_flag=True, help="Of every branch, tag and pull request."),
        click.option(
            "--condition",
            "conditions",
            type=PAIR,
            multiple=True,
            help="Only with this claim, CLAIM=VALUE; repeated for one claim: either. * is a whole segment between / "
            "and :, ** at the end is the rest.",
        ),
        click.option("--issuer-url", help="The iss of its tokens, exactly."),
        click.option(
            "--audience",
            "audiences",
            multiple=True,
            help="The aud of its tokens; repeat.  [default: the service's URL]",
        ),
        click.option("--jwks-url", help="Where its keys are.  [default: what its discovery document says]"),
        click.option("--jwks-file", type=_READABLE, help="Its keys, pinned: nothing is fetched."),
        click.option(
            "--algorithm", "algorithms", type=click.Choice(_ALGORITHMS), multiple=True, help="What it signs with."
        ),
        click.option("--max-token-age", type=click.IntRange(60, 86400), help="Seconds since the token's iat."),
        click.option("--session-lifetime", type=click.IntRange(60, 3600), help="Seconds that a session lives."),
        click.option("--file", "document", type=_READABLE, help="All of it as JSON, as `show --json` prints it."),
    )
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


@trusted_issuers.command("create")
@click.argument("name", type=SLUG)
@_members
@connection_options
def create(name: str, document: Path | None, **options: object) -> None:
    """Trust an issuer.

    NAME is yours to choose. Of GitHub, GitLab and Kubernetes only whose tokens must be said; of another issuer
    --issuer-url and each --condition. Numbers and truth values as claims are written in a --file.

    \b
    Examples:
      sealmark trusted-issuers create github --github octo/app --environment release --role role/ci
      sealmark trusted-issuers create gitlab --gitlab shop/app --ref 'refs/tags/*' --role role/ci
      sealmark trusted-issuers create cluster --kubernetes ci/signer --issuer-url https://cluster.example \\
          --jwks-file jwks.json --role role/ci
      sealmark trusted-issuers create idp --issuer-url https://idp.example --condition sub=build-7 --role role/ci
    """
    if document is not None:
        body = _read(document, options)
    else:
        usual, given = _given(options)
        body = {"audiences": [audience_for(current_settings().url)], **usual, **given}
        if "mappings" not in body:
            raise click.UsageError(
                "say whose tokens and for which role: --github, --gitlab, --kubernetes or --condition"
            )
        if "url" not in body:
            raise click.UsageError("--issuer-url is missing")
    with open_client() as client:
        _print(client.post("/v1/trusted-issuers", {"name": name, **body}))


@trusted_issuers.command("update")
@click.argument("name", type=SLUG)
@_members
@click.option("--remove-role", "removed", type=PRINCIPAL, multiple=True, help="Take this role's mappings out; repeat.")
@connection_options
def update(name: str, document: Path | None, removed: tuple[str, ...], **options: object) -> None:
    """Change a trusted issuer, and end its sessions.

    What is not given stays. A role with its conditions is added to those that are there; with --file all is replaced.

    \b
    Examples:
      sealmark trusted-issuers update github --github octo/lib --environment release --role role/ci
      sealmark trusted-issuers update github --remove-role role/nightly
      sealmark trusted-issuers update cluster --jwks-file jwks.json
    """
    path = f"/v1/trusted-issuers/{name}"
    with open_client() as client:
        current = client.get(path)
        body = _read(document, options) if document is not None else _changed(current, options, removed)
        _print(client.put(path, {**body, "revision": current.get("revision")}))


@trusted_issuers.command("list")
@connection_options
def list_all() -> None:
    """List trusted issuers.

    \b
    Example:
      sealmark trusted-issuers list --json
    """
    with open_client() as client:
        found = list(client.pages("/v1/trusted-issuers", "trusted_issuers"))
    if current_settings().as_json:
        print_json({"trusted_issuers": found})
        return
    rows = [[each.get("name"), each.get("url"), _roles(each), each.get("audiences")] for each in found]
    print_table(("name", "url", "roles", "audiences"), rows)


@trusted_issuers.command("show")
@click.argument("name", type=SLUG)
@connection_options
def show(name: str) -> None:
    """Show one, with all its conditions.

    \b
    Example:
      sealmark trusted-issuers show github
    """
    with open_client() as client:
        _print(client.get(f"/v1/trusted-issuers/{name}"))


@trusted_issuers.command("delete")
@click.argument("name", type=SLUG)
@yes_option
@connection_options
def delete(name: str, yes: bool) -> None:
    """Trust it no more: its sessions end at once.

    \b
    Example:
      sealmark trusted-issuers delete github --yes
    """
    if not yes:
        click.confirm(f"Trust {name} no more, and end its sessions at once?", abort=True, err=True)
    with open_client() as client:
        client.delete(f"/v1/trusted-issuers/{name}")
    _print({"name": name, "state": "deleted"})


def _given(options: Mapping[str, Any]) -> tuple[Mapping[str, object], dict[str, object]]:
    """What is usual for the provider that the options name, and the members that they give."""
    what: Provided = provided(options)
    if options["jwks_url"] and options["jwks_file"]:
        raise click.UsageError("--jwks-url and --jwks-file exclude each other")
    if bool(what.conditions) != bool(options["role"]):
        raise click.UsageError("--role and whose tokens get it (--github, --condition …) go together")
    members = {
        "url": options["issuer_url"],
        "audiences": list(options["audiences"]),
        "jwks_url": options["jwks_url"],
        "jwks": _json(options["jwks_file"]) if options["jwks_file"] else None,
        "algorithms": list(options["algorithms"]),
        "max_token_age": options["max_token_age"],
        "session_lifetime": options["session_lifetime"],
        "mappings": [{"role": options["role"], "conditions": what.conditions}] if what.conditions else None,
    }
    return what.settings, {member: value for member, value in members.items() if value}


def _changed(current: Json, options: Mapping[str, Any], removed: Sequence[str]) -> dict[str, object]:
    usual, given = _given(options)
    if not given and not removed:
        raise click.UsageError("there is nothing to change: give what is to be different")
    if usual.get("url", current.get("url")) != current.get("url") and "url" not in given:
        raise click.UsageError(
            f"this trusted issuer is {current.get('url')}: that of another provider is one of its own"
        )
    body = {member: current[member] for member in _SETTINGS if current.get(member) is not None}
    if "jwks" in given or "jwks_url" in given:
        body.pop("jwks", None)
        body.pop("jwks_url", None)
    added = given.pop("mappings", [])
    there = [mapping for mapping in _mappings(current) if mapping.get("role") not in removed]
    return {**body, **given, "mappings": [*there, *(added if isinstance(added, list) else [])]}


def _read(document: Path, options: Mapping[str, Any]) -> dict[str, object]:
    if any(value for value in options.values()):
        raise click.UsageError("--file says all of it: it goes with no other option")
    found = _json(document)
    return {member: value for member, value in found.items() if member in _SETTINGS and value is not None}


def _json(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as exc:
        raise CommandFailed(f"{path} is not JSON", code="bad_file") from exc
    if not isinstance(found, dict):
        raise CommandFailed(f"{path} is not a JSON object", code="bad_file")
    return found


def _mappings(issuer: Json) -> list[Mapping[str, object]]:
    found = issuer.get("mappings")
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def _roles(issuer: Json) -> list[object]:
    return list(dict.fromkeys(mapping.get("role") for mapping in _mappings(issuer)))


def _print(issuer: Json) -> None:
    if current_settings().as_json:
        print_json(issuer)
        return
    print_record({name: value for name, value in issuer.items() if name not in ("mappings", "jwks")})
    if issuer.get("jwks") is not None:
        click.echo("keys pinned")
    for mapping in _mappings(issuer):
        click.echo()
        conditions = mapping.get("conditions")
        print_record({"role": mapping.get("role"), **(conditions if isinstance(conditions, Mapping) else {})})
