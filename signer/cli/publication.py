"""What anyone may have: public keys, the revocation list and the trust bundle for `sealmark-verify`."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import click

from signer.cli.client import open_public_client
from signer.cli.errors import CommandFailed
from signer.cli.files import refuse_existing, write_whole
from signer.cli.options import KEY, connection_options, current_settings
from signer.cli.output import print_json, print_record

PATH = click.Path(path_type=Path, dir_okay=False)

version_option = click.option(
    "--version", "version", type=click.IntRange(1), help="The key's version.  [default: the active one]"
)


@click.command("public-key")
@click.argument("key", type=KEY)
@click.option("--format", "encoding", type=click.Choice(("pem", "der", "jwk")), default="pem", show_default=True)
@version_option
@click.option("--output", type=PATH, help="Write it to a file.")
@click.option("--force", is_flag=True, help="Write over the file if it exists.")
@connection_options
def public_key(key: str, encoding: str, version: int | None, output: Path | None, force: bool) -> None:
    """Print a key's public half.

    \b
    Examples:
      sealmark keys public-key release > release.pub
      sealmark keys public-key tokens --format jwk --version 2
    """
    query = {"format": encoding} | of_version(version)
    content = fetch(f"/v1/keys/{key}/public-key", query, output, force=force)
    deliver(content, "public_key", output, force=force, binary=encoding == "der")


@click.command()
@click.option("--output", type=PATH, help="Write it to a file.")
@click.option("--force", is_flag=True, help="Write over the file if it exists.")
@connection_options
def trust(output: Path | None, force: bool) -> None:
    """Print the trust bundle for `sealmark-verify`.

    Hand it to verifiers by a way that they trust.

    \b
    Example:
      sealmark trust --output trust.json
    """
    content = fetch("/v1/trust", {}, output, force=force)
    deliver(content, None, output, force=force, binary=False)


@click.command()
@click.option("--format", "encoding", type=click.Choice(("pem", "der")), default="pem", show_default=True)
@click.option("--output", type=PATH, help="Write it to a file.")
@click.option("--force", is_flag=True, help="Write over the file if it exists.")
@connection_options
def crl(encoding: str, output: Path | None, force: bool) -> None:
    """Print the certificate authority's revocation list.

    \b
    Examples:
      sealmark crl > sealmark.crl
      sealmark crl --format der --output sealmark.der
    """
    content = fetch("/v1/ca/crl", {"format": encoding}, output, force=force)
    deliver(content, "crl", output, force=force, binary=encoding == "der")


def of_version(version: int | None) -> dict[str, str]:
    """The query that asks for a version; nothing for the one that signs."""
    return {} if version is None else {"version": str(version)}


def fetch(path: str, query: dict[str, str], output: Path | None, *, force: bool) -> bytes:
    """A published document; refused before it is fetched if it could not be written."""
    if output is not None and not force:
        refuse_existing(output, "--force writes over it")
    with open_public_client() as client:
        return client.get_bytes(path, query or None)


def deliver(content: bytes, member: str | None, output: Path | None, *, force: bool, binary: bool) -> None:
    """Write to the file, or print; with --json as a member, or, where the content is JSON already, as it is."""
    as_json = current_settings().as_json
    if output is not None:
        write_whole(output, content, replace=force)
        written = {"file": str(output), "size": len(content)}
        if as_json:
            print_json(written)
        else:
            print_record(written)
    elif as_json and member is not None and not content.lstrip().startswith(b"{"):
        print_json({member: base64.b64encode(content).decode("ascii") if binary else _text(content)})
    elif binary:
        if sys.stdout.isatty():
            raise click.UsageError("der is not for a terminal: give --output FILE, or redirect the output")
        click.echo(content, nl=False)
    else:
        click.echo(_text(content).rstrip("\n"))


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise CommandFailed("the answer is not text: is this address Sealmark's?", code="unreachable") from exc
