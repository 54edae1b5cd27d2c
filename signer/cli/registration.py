"""`sealmark credentials …`: client certificates and request keys, which prove who calls without a secret of ours."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from signer.cli.client import Json, as_object, open_client, text_member
from signer.cli.errors import CommandFailed
from signer.cli.options import PRINCIPAL, connection_options, current_settings, yes_option
from signer.cli.output import note, print_json, print_record, print_table
from signer.cli.proving import load_private_key

_FILE = click.Path(path_type=Path, dir_okay=False)
_COLUMNS = ("id", "match", "value", "algorithm", "label", "state", "created_by", "expires_at")
_label = click.option("--label", default="", help="What it is, for people: a machine, a purpose.")
_days = click.option("--days", type=click.IntRange(1, 3650), help="When it ends.  [default: never by itself]")


@click.group()
def credentials() -> None:
    """Client certificates and request keys of an identity.

    An identity adds its own and proves that it holds the private key; an administrator adds another's.

    \b
    Examples:
      sealmark credentials add-key role/ci --key request.pem
      sealmark credentials list role/ci
    """


@credentials.command("add-certificate")
@click.argument("principal", type=PRINCIPAL)
@click.option("--certificate", type=_FILE, help="The client certificate, PEM: recognised by its public key.")
@click.option("--exactly", is_flag=True, help="Recognise this one certificate, not a later one of the same key.")
@click.option("--key", type=_FILE, help="Its private key, PEM: the proof that it is yours. It is not sent.")
@click.option("--uri", help="Instead of a file: a URI in certificates' subjectAltName, such as a SPIFFE ID.")
@click.option("--dns", help="Instead of a file: a DNS name in certificates' subjectAltName.")
@_label
@_days
@connection_options
def add_certificate(
    principal: str,
    certificate: Path | None,
    exactly: bool,
    key: Path | None,
    uri: str | None,
    dns: str | None,
    label: str,
    days: int | None,
) -> None:
    """Let a client certificate speak for an identity.

    For your own identity give --key too. A name (--uri, --dns) is for an administrator to bind: whatever
    certificate of the service's client_ca bears it then speaks for the identity.

    \b
    Examples:
      sealmark credentials add-certificate role/ci --certificate ci.crt --key ci.key
      sealmark credentials add-certificate role/ci --uri spiffe://shop.example/ci
    """
    if sum(given is not None for given in (certificate, uri, dns)) != 1:
        raise click.UsageError("give one of --certificate, --uri and --dns")
    if certificate is None and (exactly or key is not None):
        raise click.UsageError("--exactly and --key go with --certificate")
    body: dict[str, object] = _common(label, days)
    if certificate is not None:
        match = "certificate" if exactly else "public-key"
        body |= {"match": match, "certificate": _text(certificate)} | _proof(principal, key)
    else:
        body |= {"match": "uri", "name": uri} if uri is not None else {"match": "dns", "name": dns}
    _add(principal, body)


@credentials.command("add-key")
@click.argument("principal", type=PRINCIPAL)
@click.option("--key", type=_FILE, required=True, help="The private key, PEM (it is not sent), or the public one.")
@_label
@_days
@connection_options
def add_key(principal: str, key: Path, label: str, days: int | None) -> None:
    """Let an identity sign its requests with a key.

    The file holds the private key, or, where an administrator adds it for somebody else, the public one.
    The id that is printed is the keyid of the signatures (--signing-key-id).

    \b
    Examples:
      sealmark credentials add-key role/ci --key request.pem
      sealmark credentials add-key role/ci --key request.pub --label "build machine 3" --days 365
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    body: dict[str, object] = {"match": "request-key", **_common(label, days)}
    text = _text(key)
    if "PRIVATE KEY" in text:
        public = load_private_key(key).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        body |= {"public_key": public.decode()} | _proof(principal, key)
    else:
        body["public_key"] = text
    _add(principal, body)


@credentials.command("list")
@click.argument("principal", type=PRINCIPAL)
@connection_options
def list_all(principal: str) -> None:
    """List an identity's certificates and keys, revoked ones too.

    \b
    Example:
      sealmark credentials list role/ci
    """
    with open_client() as client:
        found = list(client.pages(_path(principal), "public_credentials"))
    if current_settings().as_json:
        print_json({"public_credentials": found})
        return
    print_table(_COLUMNS, [[one.get(column) for column in _COLUMNS] for one in found])


@credentials.command("revoke")
@click.argument("principal", type=PRINCIPAL)
@click.argument("credential_id", metavar="ID", type=click.UUID)
@yes_option
@connection_options
def revoke(principal: str, credential_id: object, yes: bool) -> None:
    """End a certificate's or a key's use at once.

    \b
    Example:
      sealmark credentials revoke role/ci 7c1d2a5e-93b4-4d0f-8a6b-2f1e0c9d8b7a --yes
    """
    if not yes:
        click.confirm(f"Revoke {credential_id} of {principal}, at once and for good?", abort=True, err=True)
    with open_client() as client:
        client.delete(f"{_path(principal)}/{credential_id}")
    _print({"id": str(credential_id), "principal": principal, "state": "revoked"})


def _path(principal: str) -> str:
    return f"/v1/principals/{principal}/public-credentials"


def _common(label: str, days: int | None) -> dict[str, object]:
    over = None if days is None else datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    common: dict[str, object] = {"label": label}
    return common if over is None else {**common, "expires_at": over.isoformat().replace("+00:00", "Z")}


def _proof(principal: str, key: Path | None) -> dict[str, object]:
    from signer.authn.possession import prove

    if key is None:
        return {}
    return {"proof": base64.b64encode(prove(principal, load_private_key(key))).decode()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError as exc:
        raise CommandFailed(f"{path} cannot be read: {exc.strerror}", code="unreadable_file") from exc
    except UnicodeDecodeError as exc:
        raise CommandFailed(f"{path} does not hold PEM", code="bad_key") from exc


def _add(principal: str, body: Json) -> None:
    with open_client() as client:
        made = as_object(client.post(_path(principal), body), "answer")
    _print(made)
    if body["match"] == "request-key":
        note(f"Sign with it: --signing-key FILE --signing-key-id {text_member(made, 'id')}")


def _print(credential: Json) -> None:
    if current_settings().as_json:
        print_json(credential)
    else:
        print_record({name: value for name, value in credential.items() if name != "public_key"})
