"""`sealmark-verify encrypt`, `open` and `inspect`: encryption to a published key, and envelopes. Needs no network."""

from __future__ import annotations

import base64
import binascii
import json
import sys
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from verifier.algorithms import ENCRYPTION_ALGORITHMS
from verifier.errors import Indeterminate
from verifier.options import FILE, MAXIMUM_INPUT_BYTES, json_option, read_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from verifier.envelope import EncryptedFile, Recipient

SUFFIX: Final = ".enc"
_STANDARD: Final = Path("-")


def _context(_context: click.Context, _parameter: click.Parameter, pairs: tuple[str, ...]) -> Mapping[str, str]:
    """`name=value` words as a map, or a wrong usage."""
    from verifier.envelope.header import check_context

    context: dict[str, str] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or name in context:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE with a name of its own")
        context[name] = value
    try:
        return check_context(context)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.argument("file", type=FILE)
@click.option(
    "--to",
    "to",
    required=True,
    type=FILE,
    help="trust.json, a PEM public key, or a PEM certificate chain, leaf first (with --ca).",
)
@click.option("--key", metavar="NAME|ID", help="Which key of trust.json, where it has several to encrypt to.")
@click.option("--ca", type=FILE, help="PEM CA certificates, or trust.json: who must vouch for the chain.")
@click.option("--crl", "crls", multiple=True, type=FILE, help="A revocation list for the chain; repeatable.")
@click.option("--require-crl", is_flag=True, help="Demand a current revocation list for every certificate.")
@click.option("--fingerprint", metavar="SHA256", help="The key's fingerprint, which it must have (hex).")
@click.option(
    "--algorithm", type=click.Choice(tuple(ENCRYPTION_ALGORITHMS)), help="RSAES_OAEP_SHA_256 unless said otherwise."
)
@click.option(
    "--context", "context", multiple=True, callback=_context, metavar="NAME=VALUE", help="Bound into it; repeatable."
)
@click.option("--envelope", is_flag=True, help="Make an envelope of a small file too.")
@click.option("--output", "-o", type=FILE, help=f'Where it goes, or "-"; FILE{SUFFIX} unless said otherwise.')
@json_option
def encrypt(
    file: Path,
    to: Path,
    key: str | None,
    ca: Path | None,
    crls: tuple[Path, ...],
    require_crl: bool,
    fingerprint: str | None,
    algorithm: str | None,
    context: Mapping[str, str],
    envelope: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Encrypt FILE, or standard input if FILE is "-", to a published RSA key.

    What fits into one RSA ciphertext (190 bytes for a key of 2048 bits) becomes one; the service's decrypt and AWS KMS
    take it. Everything else, and whatever has a context, becomes an envelope: CMS, with a data key that the service
    decrypts. No file is overwritten.

    \b
    Examples:
      sealmark-verify encrypt report.pdf --to trust.json --key inbox --context case=4711
      sealmark-verify encrypt - --to inbox.pem --fingerprint "$SHA256" --output token.enc < token
      sealmark-verify encrypt report.pdf --to chain.pem --ca ca.pem --crl ca.crl --require-crl
    """
    from verifier.envelope import encrypt as encrypt_bytes
    from verifier.envelope import encrypt_file

    recipient = _recipient(to, key, ca, crls, require_crl=require_crl, fingerprint=fingerprint, algorithm=algorithm)
    if output is None:
        if file == _STANDARD:
            raise click.UsageError("Say with --output where it goes.")
        output = file.with_name(file.name + SUFFIX)
    source = BytesIO(_read_standard_input()) if file == _STANDARD else file
    if output == _STANDARD:
        if as_json:
            raise click.UsageError("--json needs a file as --output.")
        plaintext = source.getvalue() if isinstance(source, BytesIO) else read_file(source)
        sys.stdout.buffer.write(encrypt_bytes(plaintext, recipient, context=context, envelope=envelope))
        return
    facts = encrypt_file(source, output, recipient, context=context, envelope=envelope)
    _print({**facts.as_json(), "output": str(output)}, _describe_encrypted(facts, output), as_json=as_json)


def _recipient(
    to: Path,
    key: str | None,
    ca: Path | None,
    crls: tuple[Path, ...],
    *,
    require_crl: bool,
    fingerprint: str | None,
    algorithm: str | None,
) -> Recipient:
    from verifier.envelope import certified_recipient, recipient_of
    from verifier.revocation import load_revocation_lists
    from verifier.trust import parse_trust

    data = read_file(to)
    if b"-----BEGIN CERTIFICATE-----" not in data:
        if ca or crls or require_crl:
            raise click.UsageError("--ca, --crl and --require-crl are for a certificate chain as --to.")
        return recipient_of(parse_trust(data), key=key, algorithm=algorithm, sha256=fingerprint)
    if key is not None:
        raise click.UsageError("--key is for a trust.json as --to: a chain is one key's.")
    if ca is None:
        raise click.UsageError("A certificate chain says nothing by itself: give with --ca who must vouch for it.")
    return certified_recipient(
        data,
        parse_trust(read_file(ca)),
        algorithm=algorithm,
        sha256=fingerprint,
        crls=[each for path in crls for each in load_revocation_lists(read_file(path))],
        require_crl=require_crl,
    )


@click.command("open")
@click.argument("file", type=FILE)
@click.option(
    "--data-key", "data_key", required=True, type=FILE, help='The plaintext data key: 32 bytes or their base64; or "-".'
)
@click.option(
    "--context",
    "context",
    multiple=True,
    callback=_context,
    metavar="NAME=VALUE",
    help="All of the context that it must have; repeatable.",
)
@click.option("--output", "-o", type=FILE, help=f'Where it goes, or "-"; FILE without {SUFFIX} unless said otherwise.')
@json_option
def open_(file: Path, data_key: Path, context: Mapping[str, str], output: Path | None, as_json: bool) -> None:
    """Open the envelope FILE with its plaintext data key.

    The service gives it for the wrapped data key, which `inspect` takes out of the envelope. What was cut, extended or
    changed is rejected, and nothing of it is written. No file is overwritten.

    \b
    Examples:
      sealmark-verify open report.pdf.enc --data-key data.key
      sealmark-verify open report.pdf.enc --data-key - --context case=4711 --output report.pdf < data.key
    """
    from verifier.envelope import open_bytes, open_file
    from verifier.report import printable

    if output is None:
        if file.suffix != SUFFIX:
            raise click.UsageError(f"FILE does not end in {SUFFIX}: say with --output where it goes.")
        output = file.with_suffix("")
    key, expected = _data_key(data_key), context or None
    if output == _STANDARD:
        if as_json:
            raise click.UsageError("--json needs a file as --output.")
        content, _ = open_bytes(read_file(file), key, context=expected)
        sys.stdout.buffer.write(content)
        return
    facts = open_file(file, output, key, context=expected)
    lines = [("output", f"{output}, {facts.size} bytes"), *_describe_header(facts.as_json())]
    lines += [("not covered", limit) for limit in facts.not_covered]
    text = "\n".join(["OPENED", *(f"  {label + ':':<13} {printable(each)}" for label, each in lines)])
    _print({**facts.as_json(), "output": str(output)}, text, as_json=as_json)


@click.command()
@click.argument("file", type=FILE)
@click.option("--wrapped-key", type=FILE, help="Write the wrapped data key there, for the service's decrypt.")
@json_option
def inspect(file: Path, wrapped_key: Path | None, as_json: bool) -> None:
    """Show which key the envelope FILE is for, and take its wrapped data key out.

    Nothing that it shows is proven before the envelope opens.

    \b
    Examples:
      sealmark-verify inspect report.pdf.enc
      sealmark-verify inspect report.pdf.enc --wrapped-key wrapped.key --json
    """
    from verifier.envelope import read_header
    from verifier.envelope.files import new_file
    from verifier.report import printable

    header = read_header(file)
    if wrapped_key is not None:
        with new_file(wrapped_key) as out:
            out.write(header.wrapped_data_key)
    facts = {**header.as_json(), "wrapped_data_key": base64.b64encode(header.wrapped_data_key).decode()}
    lines = [*_describe_header(facts), ("wrapped key", f"{len(header.wrapped_data_key)} bytes")]
    text = "\n".join(["ENVELOPE (not proven)", *(f"  {label + ':':<13} {printable(each)}" for label, each in lines)])
    _print(facts, text, as_json=as_json)


def _data_key(path: Path) -> bytes:
    """The data key as the service's commands write it (bare bytes) or as AWS's print it (base64)."""
    from verifier.envelope import DATA_KEY_BYTES

    data = _read_standard_input() if path == _STANDARD else read_file(path)
    if len(data) == DATA_KEY_BYTES:
        return data
    try:
        return base64.b64decode(data.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise Indeterminate("wrong_usage", f"The data key is neither {DATA_KEY_BYTES} bytes nor base64.") from None


def _read_standard_input() -> bytes:
    data = sys.stdin.buffer.read(MAXIMUM_INPUT_BYTES + 1)
    if len(data) > MAXIMUM_INPUT_BYTES:
        message = f"Standard input is larger than {MAXIMUM_INPUT_BYTES} bytes: give a file."
        raise Indeterminate("unreadable_file", message)
    return data


def _describe_encrypted(facts: EncryptedFile, output: Path) -> str:
    from verifier.keys import describe_key
    from verifier.report import printable

    to = facts.recipient
    names = [to.name, to.key_id, None if to.key_version is None else f"version {to.key_version}"]
    named = ", ".join([name for name in names if name is not None] + [describe_key(to.public_key)])
    lines = [
        ("output", f"{output}, {'one RSA ciphertext' if facts.form == 'ciphertext' else 'an envelope'}"),
        ("what", f"{facts.size} bytes"),
        ("to", f"{named}, {to.algorithm.name}, sha256 {to.sha256}"),
        *((f"context {name}", value) for name, value in facts.context.items()),
        *(("certificate", f"{each.subject}, by {each.issuer}, sha256 {each.sha256}") for each in to.certificates),
        *(("not covered", limit) for limit in to.not_covered),
    ]
    return "\n".join(["ENCRYPTED", *(f"  {label + ':':<13} {printable(text)}" for label, text in lines)])


def _describe_header(facts: Mapping[str, object]) -> list[tuple[str, str]]:
    version = "" if facts["key_version"] is None else f", version {facts['key_version']}"
    sha256 = "" if facts["key_sha256"] is None else f", sha256 {facts['key_sha256']}"
    lines = [("key", f"{facts['key_id'] or 'a key'}{version}, {facts['algorithm']}{sha256}")]
    context = facts["context"]
    return lines + (
        [(f"context {name}", str(value)) for name, value in context.items()] if isinstance(context, dict) else []
    )


def _print(facts: Mapping[str, object], text: str, *, as_json: bool) -> None:
    click.echo(json.dumps(facts, indent=2) if as_json else text)
