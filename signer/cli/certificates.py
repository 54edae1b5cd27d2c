"""`sealmark keys csr` and `sealmark keys certificate …`: certificates of keys, of the built-in CA and outside ones."""

from __future__ import annotations

from pathlib import Path

import click

from signer.cli.approval_wait import approval_options
from signer.cli.client import Json, open_client, text_member
from signer.cli.errors import CommandFailed
from signer.cli.files import refuse_existing
from signer.cli.options import KEY, connection_options, current_settings, yes_option
from signer.cli.output import print_json, print_record
from signer.cli.publication import PATH, deliver, fetch, of_version, version_option

REASONS = (
    "unspecified",
    "key_compromise",
    "affiliation_changed",
    "superseded",
    "cessation_of_operation",
    "privilege_withdrawn",
)
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
_LARGEST_FILE = 65_536  # octets, as the service takes them


@click.command("csr")
@click.argument("key", type=KEY)
@click.option("--subject", help="As RFC 4514 writes it.  [default: CN= and the key's alias]")
@click.option("--dns", "dns_names", multiple=True, help="A DNS name to be certified; repeat for more.")
@click.option("--uri", "uris", multiple=True, help="A URI to be certified; repeat for more.")
@click.option("--output", type=PATH, help="Write it to a file.")
@click.option("--force", is_flag=True, help="Write over the file if it exists.")
@approval_options
@connection_options
def csr(
    key: str, subject: str | None, dns_names: tuple[str, ...], uris: tuple[str, ...], output: Path | None, force: bool
) -> None:
    """Print a certificate request (PKCS #10) for an outside CA.

    The key signs it in the HSM: it proves that the key is there, and nothing else.

    \b
    Example:
      sealmark keys csr release --subject "CN=release,O=Example,C=DE" --output release.csr
    """
    if output is not None and not force:
        refuse_existing(output, "--force writes over it")
    body: dict[str, object] = {} if subject is None else {"subject": subject}
    body |= {name: list(names) for name, names in (("dns_names", dns_names), ("uris", uris)) if names}
    with open_client() as client:
        request = text_member(client.post(f"/v1/keys/{key}/csr", body), "csr")
    deliver(request.encode(), "csr", output, force=force, binary=False)


@click.group()
def certificate() -> None:
    """A key's certificate: show, install, renew, revoke.

    KEY is a key's alias or id.

    \b
    Examples:
      sealmark keys certificate show release
      sealmark keys certificate renew release --days 365
    """


@certificate.command("show")
@click.argument("key", type=KEY)
@version_option
@click.option("--output", type=PATH, help="Write it to a file.")
@click.option("--force", is_flag=True, help="Write over the file if it exists.")
@connection_options
def show(key: str, version: int | None, output: Path | None, force: bool) -> None:
    """Print a key's certificate chain as PEM.

    The key's own comes first, the root last.

    \b
    Example:
      sealmark keys certificate show release --output release.pem
    """
    content = fetch(f"/v1/keys/{key}/certificate", of_version(version), output, force=force)
    deliver(content, "certificate", output, force=force, binary=False)


@certificate.command("install")
@click.argument("key", type=KEY)
@click.argument("chain", type=_FILE)
@click.option("--anchor", type=_FILE, help="The certificate where the chain ends, if that is no root in CHAIN.")
@version_option
@approval_options
@connection_options
def install(key: str, chain: Path, anchor: Path | None, version: int | None) -> None:
    """Install an outside CA's chain.

    CHAIN is a PEM file: the key's certificate first, then its issuers up to the root. It is refused unless it is for
    this key, holds together, and has the usages that the key's purpose needs.

    \b
    Example:
      sealmark keys certificate install release chain.pem
    """
    body: dict[str, object] = {"chain": _text_of(chain)}
    if anchor is not None:
        body["anchor"] = _text_of(anchor)
    with open_client() as client:
        _print(client.put(f"/v1/keys/{key}/certificate", body | _version(version)))


@certificate.command("renew")
@click.argument("key", type=KEY)
@click.option("--days", type=click.IntRange(1, 1825), help="How long it lasts.  [default: the service's leaf_days]")
@click.option("--replace-installed", is_flag=True, help="Go back from an outside CA's chain to the built-in CA's.")
@version_option
@approval_options
@connection_options
def renew(key: str, days: int | None, replace_installed: bool, version: int | None) -> None:
    """Have the built-in CA certify the same key again.

    The key does not change. The old certificate stays valid until its end.

    \b
    Example:
      sealmark keys certificate renew release --days 365
    """
    body: dict[str, object] = {} if days is None else {"days": days}
    if replace_installed:
        body["replace_installed"] = True
    with open_client() as client:
        _print(client.post(f"/v1/keys/{key}/certificate/renew", body | _version(version)))


@certificate.command("revoke")
@click.argument("key", type=KEY)
@click.option("--reason", type=click.Choice(REASONS), required=True, help="Why; key_compromise ends the version too.")
@version_option
@yes_option
@approval_options
@connection_options
def revoke(key: str, reason: str, version: int | None, yes: bool) -> None:
    """Revoke a key's certificates, for good.

    They go on the revocation list. With key_compromise the key's version itself is revoked: it neither signs nor counts
    any more, and the key signs nothing until it is rotated (or use: sealmark keys rotate KEY --now --revoke REASON).

    \b
    Example:
      sealmark keys certificate revoke release --reason superseded
    """
    if not yes:
        what = "the version and its certificates" if reason == "key_compromise" else "the certificates"
        click.confirm(f"Revoke {what} of {key}, for good?", abort=True, err=True)
    with open_client() as client:
        _print(client.post(f"/v1/keys/{key}/certificate/revoke", {"reason": reason, **_version(version)}))


def _version(version: int | None) -> dict[str, object]:
    return {} if version is None else {"version": version}


def _text_of(path: Path) -> str:
    if path.stat().st_size > _LARGEST_FILE:
        raise CommandFailed(f"{path} is larger than {_LARGEST_FILE} bytes: no certificate chain", code="unprocessable")
    try:
        return path.read_text(encoding="ascii")
    except UnicodeDecodeError as exc:
        raise CommandFailed(f"{path} is not PEM text", code="unprocessable") from exc


def _print(members: Json) -> None:
    if current_settings().as_json:
        print_json(members)
    else:
        print_record(members)
