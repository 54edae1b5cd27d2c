"""`sealmark access-keys …`: access keys in the manner of AWS, for everything that speaks AWS's protocol."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click

from signer.cli.api_tokens import Lifetime, principal_option
from signer.cli.client import Client, Json, open_client, text_member
from signer.cli.credentials import read_private_text, secret_from_text
from signer.cli.errors import CommandFailed
from signer.cli.files import pending_file, refuse_existing, write_whole
from signer.cli.options import PRINCIPAL, Pattern, connection_options, current_settings
from signer.cli.output import print_json, print_record, print_table

_ID: Final = Pattern("id", re.compile(r"A(KIA|SIA)[A-Z2-7]{16}"), "an access key's id (AKIA… or ASIA…)")
_PROFILE: Final = Pattern("profile", re.compile(r"[A-Za-z0-9_.-]{1,64}"), "a profile of letters, digits and _.-")
_SECRETS: Final = ("secret_access_key", "session_token")
_WORTH_USING: Final = timedelta(minutes=5)  # what cached credentials must still live for


@click.group("access-keys")
def access_keys() -> None:
    """Access keys, for whatever speaks to AWS KMS.

    boto3, the AWS CLI and all other clients of AWS KMS sign their requests with one.

    \b
    Examples:
      sealmark access-keys create --label backup --out backup.credentials
      sealmark access-keys list
      sealmark access-keys delete AKIA2S6GQ7LWB5HX4NTD
    """


@access_keys.command("create")
@click.option("--label", help="What it is for, such as the machine that will hold it.")
@click.option("--days", type=click.IntRange(1, 3650), help="How long it lives.  [default: as long as it may]")
@click.option("--temporary", is_flag=True, help="Temporary credentials, which end with the credential of this call.")
@click.option("--duration", type=Lifetime(), help="How long temporary ones live: 15m to 12h.  [default: 1h]")
@click.option(
    "--out",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write, as AWS's clients read it (mode 0600).  [default: ./LABEL.credentials]",
)
@click.option("--profile", type=_PROFILE, default="default", show_default=True, help="Its profile in that file.")
@click.option("--show", is_flag=True, help="Print it instead of writing a file.")
@connection_options
def create(
    label: str | None,
    days: int | None,
    temporary: bool,
    duration: int | None,
    target: Path | None,
    profile: str,
    show: bool,
) -> None:
    """Make an access key for yourself.

    Nobody else ever sees its secret, and it is shown or written this once. AWS's clients read the file where
    AWS_SHARED_CREDENTIALS_FILE names it.

    \b
    Examples:
      sealmark access-keys create --label backup --days 90
      sealmark access-keys create --label shell --temporary --duration 2h --show
    """
    if show and target is not None:
        raise click.UsageError("--show and --out exclude each other")
    if temporary and days is not None:
        raise click.UsageError("--days is for access keys that stay; give --duration")
    if duration is not None and not temporary:
        raise click.UsageError("--duration is for --temporary; give --days")
    body: dict[str, object] = {} if label is None else {"label": label}
    if temporary:
        body |= _temporary(duration)
    elif days is not None:
        body["days"] = days
    with open_client() as client:
        if show:
            _show(_make(client, body), profile)
            return
        path = target or Path(_file_name(label))
        refuse_existing(path, "no access key was made; choose another --out")
        with pending_file(path.parent) as pending:
            made = _make(client, body)
            pending.finish(path, _as_file(made, profile).encode("ascii"), replace=False)
    _print({**{name: value for name, value in made.items() if name not in _SECRETS}, "file": str(path)})


@access_keys.command("process")
@click.option("--duration", type=Lifetime(), help="How long they live: 15m to 12h.  [default: 1h]")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file (mode 0600) to keep them in, and to take them from while they live for 5 minutes more.",
)
@connection_options
def process(duration: int | None, cache: Path | None) -> None:
    """Print temporary credentials, for AWS's clients.

    For `credential_process` in ~/.aws/config. Made with whatever proves you here: a token file, a certificate, or a
    job's or pod's own identity. So AWS's clients need no secret of their own.

    \b
    Examples:
      sealmark access-keys process --token-file /etc/sealmark/ci.token
      sealmark access-keys process --duration 12h --cache ~/.cache/sealmark.json
    """
    kept = None if cache is None else _cached(cache)
    if kept is None:
        with open_client() as client:
            made = _make(client, _temporary(duration))
        kept = {
            "Version": 1,
            "AccessKeyId": text_member(made, "access_key_id"),
            "SecretAccessKey": text_member(made, "secret_access_key"),
            "SessionToken": text_member(made, "session_token"),
            "Expiration": text_member(made, "expires_at"),
        }
        if cache is not None:
            write_whole(cache, json.dumps(kept).encode("ascii"), replace=True, mode=0o600)
    print_json(kept)


@access_keys.command("list")
@principal_option
@connection_options
def list_all(principal: str | None) -> None:
    """List your access keys, or (as administrator) another's.

    The secret of none is shown. Records name an access key by its id: access-key:ID.

    \b
    Examples:
      sealmark access-keys list
      sealmark access-keys list --principal role/ci --json
    """
    with open_client() as client:
        found = list(client.pages(_path(client, principal), "access_keys"))
    if current_settings().as_json:
        print_json({"access_keys": found})
        return
    columns = ("access_key_id", "temporary", "label", "state", "created_at", "expires_at")
    print_table(columns, [[key.get(column) for column in columns] for key in found])


@access_keys.command("disable")
@click.argument("access_key", metavar="ID", type=_ID)
@connection_options
def disable(access_key: str) -> None:
    """Take one of your access keys out of use.

    Until it is enabled again; to end it for good, delete it.

    \b
    Examples:
      sealmark access-keys disable AKIA2S6GQ7LWB5HX4NTD
    """
    with open_client() as client:
        _print(client.post(f"{_path(client, None)}/{access_key}/disable", {}))


@access_keys.command("enable")
@click.argument("access_key", metavar="ID", type=_ID)
@connection_options
def enable(access_key: str) -> None:
    """Put one of your access keys into use again.

    \b
    Examples:
      sealmark access-keys enable AKIA2S6GQ7LWB5HX4NTD
    """
    with open_client() as client:
        _print(client.post(f"{_path(client, None)}/{access_key}/enable", {}))


@access_keys.command("delete")
@click.argument("access_key", metavar="ID", type=_ID)
@principal_option
@connection_options
def delete(access_key: str, principal: str | None) -> None:
    """End an access key at once and for good.

    It stays listed as revoked, so that what it did can be told. An administrator ends another's too.

    \b
    Examples:
      sealmark access-keys delete AKIA2S6GQ7LWB5HX4NTD
      sealmark access-keys delete AKIA2S6GQ7LWB5HX4NTD --principal role/ci
    """
    with open_client() as client:
        _print(client.delete(f"{_path(client, principal)}/{access_key}"))


def _path(client: Client, principal: str | None) -> str:
    name = principal or PRINCIPAL.convert(text_member(client.get("/v1/whoami"), "name"), None, None)
    return f"/v1/principals/{name}/access-keys"


def _temporary(duration: int | None) -> dict[str, object]:
    return {"temporary": True, **({} if duration is None else {"duration_seconds": duration})}


def _make(client: Client, body: Json) -> Json:
    made = client.post(_path(client, None), body)
    for name in _SECRETS:
        if made.get(name) is not None or name == "secret_access_key":
            secret_from_text(text_member(made, name), f"{name} in the answer")
    return made


def _cached(path: Path) -> Json | None:
    """What the file holds, if that lives for a while yet; None otherwise. A file that others may read is refused."""
    if not path.exists():
        return None
    try:
        kept = json.loads(read_private_text(path))
        ends = datetime.fromisoformat(kept["Expiration"])
        usable = kept["Version"] == 1 and ends - _WORTH_USING > datetime.now(UTC)
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path} holds no credentials that this command wrote: delete it"
        raise CommandFailed(msg, code="bad_secret") from error
    return kept if usable else None


def _as_file(made: Json, profile: str) -> str:
    """The shared credentials file of AWS's clients (AWS CLI User Guide, "Configuration and credential file
    settings")."""
    lines = [
        f"[{profile}]",
        f"aws_access_key_id = {text_member(made, 'access_key_id')}",
        f"aws_secret_access_key = {text_member(made, 'secret_access_key')}",
    ]
    if made.get("session_token") is not None:
        lines.append(f"aws_session_token = {text_member(made, 'session_token')}")
    return "\n".join((*lines, ""))


def _file_name(label: str | None) -> str:
    kept = "".join(each if each.isascii() and (each.isalnum() or each in "._-") else "-" for each in label or "")
    return f"{kept.lstrip('.') or 'access-key'}.credentials"


def _show(made: Json, profile: str) -> None:
    if current_settings().as_json:
        print_json(made)
    else:
        click.echo(_as_file(made, profile), nl=False)


def _print(members: Json) -> None:
    if current_settings().as_json:
        print_json(members)
    else:
        print_record(members)
