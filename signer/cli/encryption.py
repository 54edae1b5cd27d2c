"""`sealmark encrypt` and `sealmark decrypt`: files of any size, which never leave this machine, and small ciphertexts.

A file becomes an envelope (`verifier.envelope`): the service makes or decrypts its data key and sees nothing else. To
an RSA key it is encrypted here alone, with the public half that the service shows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signer.cli.client import Client, Json, open_client, text_member
from signer.cli.errors import CommandFailed, Unreachable
from signer.cli.options import KEY, connection_options, current_settings
from signer.cli.output import note, print_json, print_record
from signer.cli.results import bytes_member, only_result
from signer.cli.secret_files import (
    PATH,
    STANDARD,
    Outputs,
    context_of,
    context_option,
    encoded,
    of_the_verifier,
    optional,
    read_small,
    require_room,
    with_suffix,
    without_suffix,
)

if TYPE_CHECKING:
    from verifier.envelope import EnvelopeHeader, Recipient

SYMMETRIC = "SYMMETRIC_DEFAULT"
OAEP = ("RSAES_OAEP_SHA_256", "RSAES_OAEP_SHA_1")
MAXIMUM_DIRECT = 4096  # what one call encrypts, as in AWS KMS
MAXIMUM_CIPHERTEXT = 6144
DATA_KEY_BYTES = 32
RSA_LENGTHS = (256, 384, 512)  # octets of bare RSA ciphertexts
MAXIMUM_PIPED = 16 * 1024 * 1024
KEY_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32}")


@click.command()
@click.argument("file", type=PATH)
@click.option("--key", "key", type=KEY, required=True, help="An encrypt key's alias or id.")
@context_option
@click.option("--algorithm", type=click.Choice(OAEP), help="Of an RSA key.  [default: RSAES_OAEP_SHA_256]")
@click.option(
    "--direct", is_flag=True, help="No envelope: a bare ciphertext, as AWS KMS makes it; at most 4096 bytes, RSA fewer."
)
@click.option("--output", "-o", type=PATH, help="Where it goes; - for standard output.  [default: FILE.enc]")
@connection_options
def encrypt(
    file: Path,
    key: str,
    context: Sequence[tuple[str, str]],
    algorithm: str | None,
    direct: bool,
    output: Path | None,
) -> None:
    """Encrypt a file with a key of the service.

    FILE (- for standard input) is encrypted here, under a data key of its own: it may be large, and the service never
    sees it. With --direct the service encrypts the content itself.

    \b
    Examples:
      sealmark encrypt backup.tar --key vault --context host=db1
      sealmark encrypt - --key vault --direct --output password.enc < password
      sealmark encrypt report.pdf --key inbox --output report.pdf.enc
    """
    target, bound = with_suffix(file, output), context_of(context)
    require_room(target)
    with open_client() as client:
        description = client.get(f"/v1/keys/{key}")
        if description.get("purpose") != "encrypt":
            raise CommandFailed(f"the key is for {description.get('purpose')}, not to encrypt", code="wrong_purpose")
        is_secret = description.get("spec") == SYMMETRIC
        if is_secret and algorithm is not None:
            raise click.UsageError("--algorithm is for RSA keys")
        if direct:
            written = _encrypt_directly(client, key, file, target, bound, algorithm)
        elif is_secret:
            written = _seal(client, description, file, target, bound)
        else:
            written = _encrypt_to(client, description, file, target, bound, algorithm)
    _report(target, written)


def _encrypt_directly(
    client: Client, key: str, file: Path, target: Path, context: Mapping[str, str], algorithm: str | None
) -> Json:
    plaintext = read_small(file, MAXIMUM_DIRECT, "what --direct encrypts")
    with Outputs() as outputs:
        outputs.add(target, secret=False)
        body = {"plaintext": encoded(plaintext), **optional(context=context, algorithm=algorithm)}
        result = only_result(client.post(f"/v1/keys/{key}/encrypt", body))
        outputs.finish(bytes_member(result, "ciphertext"))
    return {"form": "ciphertext", "size": len(plaintext), **_named(result), "context": context}


def _seal(client: Client, description: Json, file: Path, target: Path, context: Mapping[str, str]) -> Json:
    """With a data key of the service."""
    from verifier import seal_bytes, seal_file

    key_id = text_member(description, "id")
    body = {"spec": "AES_256", **optional(context=context)}
    piped = None if file != STANDARD else read_small(file, MAXIMUM_PIPED, "standard input")
    result = only_result(client.post(f"/v1/keys/{key_id}/data-keys", body))
    data_key, wrapped = bytes_member(result, "plaintext"), bytes_member(result, "ciphertext")
    if len(data_key) != DATA_KEY_BYTES:
        raise Unreachable("the answer's data key is not one of AES_256")
    with of_the_verifier():
        if target == STANDARD:
            content = read_small(file, MAXIMUM_PIPED, "what goes to standard output") if piped is None else piped
            sealed = seal_bytes(content, data_key=data_key, wrapped_data_key=wrapped, key_id=key_id, context=context)
            _to_standard_output(sealed)
        else:
            source = file if piped is None else BytesIO(piped)
            seal_file(source, target, data_key=data_key, wrapped_data_key=wrapped, key_id=key_id, context=context)
    return {"form": "envelope", **_named(result), "context": context}


def _encrypt_to(
    client: Client, description: Json, file: Path, target: Path, context: Mapping[str, str], algorithm: str | None
) -> Json:
    """To an RSA key's public half: the service is not asked for anything else."""
    from verifier import encrypt as encrypt_bytes
    from verifier import encrypt_file

    recipient = _recipient(client, description, algorithm)
    with of_the_verifier():
        if target == STANDARD:
            content = read_small(file, MAXIMUM_PIPED, "what goes to standard output")
            _to_standard_output(encrypt_bytes(content, recipient, context=context, envelope=True))
        else:
            piped = None if file != STANDARD else read_small(file, MAXIMUM_PIPED, "standard input")
            encrypt_file(file if piped is None else BytesIO(piped), target, recipient, context=context, envelope=True)
    named = {"key_id": recipient.key_id, "key_version": recipient.key_version, "algorithm": recipient.algorithm.name}
    return {"form": "envelope", **named, "context": context}


def _recipient(client: Client, description: Json, algorithm: str | None) -> Recipient:
    """The active version of the key."""
    from dataclasses import replace

    from verifier import parse_trust, recipient_of

    key_id, version = text_member(description, "id"), _active_version(description)
    pem = client.get_bytes(f"/v1/keys/{key_id}/public-key", {"version": str(version)})
    with of_the_verifier():
        found = recipient_of(parse_trust(pem), algorithm=algorithm)
    return replace(found, key_id=key_id, key_version=version)


def _active_version(description: Json) -> int:
    versions = description.get("versions")
    for version in versions if isinstance(versions, list) else []:
        if isinstance(version, dict) and version.get("state") == "active":
            number = version.get("version")
            if isinstance(number, int):
                return number
    raise CommandFailed("no version of the key is active: nothing can be encrypted to it", code="wrong_state")


@click.command()
@click.argument("file", type=PATH)
@click.option("--key", "key", type=KEY, help="The key that it must be for.  [default: the one that it names]")
@context_option
@click.option("--algorithm", type=click.Choice((SYMMETRIC, *OAEP)), help="Of a bare ciphertext of an RSA key.")
@click.option("--output", "-o", type=PATH, help="Where it goes; - for standard output.  [default: FILE without .enc]")
@connection_options
def decrypt(
    file: Path, key: str | None, context: Sequence[tuple[str, str]], algorithm: str | None, output: Path | None
) -> None:
    """Decrypt an envelope, or a bare ciphertext.

    FILE may be - for standard input. Of an envelope the service decrypts the data key alone. The context stands in
    it: --context demands that it is exactly this. A bare ciphertext needs the context that it was encrypted with, and
    one of an RSA key needs --key. What was changed in any bit is refused, and nothing of it is written. No file is
    overwritten.

    \b
    Examples:
      sealmark decrypt backup.tar.enc --context host=db1
      sealmark decrypt password.enc --key vault --output -
      sealmark decrypt token.enc --key inbox --algorithm RSAES_OAEP_SHA_256 --output token
    """
    from verifier import looks_like_envelope

    target, expected = without_suffix(file, output), context_of(context)
    require_room(target)
    piped = None if file != STANDARD else read_small(file, MAXIMUM_PIPED, "standard input")
    start = piped if piped is not None else _start_of(file)
    with open_client() as client:
        if looks_like_envelope(start[:32]):
            source = file if piped is None else BytesIO(piped)
            written = _open(client, source, target, key, expected)
        else:
            ciphertext = read_small(file, MAXIMUM_CIPHERTEXT, "a bare ciphertext") if piped is None else piped
            written = _decrypt_directly(client, ciphertext, target, key, expected, algorithm)
    _report(target, written)


def _open(client: Client, source: Path | BytesIO, target: Path, key: str | None, expected: Mapping[str, str]) -> Json:
    from verifier import open_bytes, open_file, read_header

    with of_the_verifier():
        header = read_header(source)
    if isinstance(source, BytesIO):
        source.seek(0)
    if expected and dict(header.context) != dict(expected):
        message = "the envelope was made with another context than the one that you expect"
        raise CommandFailed(message, code="context_mismatch")
    data_key = _data_key(client, header, key)
    with of_the_verifier():
        if target == STANDARD:
            whole = source.getvalue() if isinstance(source, BytesIO) else read_small(source, MAXIMUM_PIPED, str(source))
            content, _ = open_bytes(whole, data_key)
            _to_standard_output(content)
        else:
            open_file(source, target, data_key)
    return {"form": "envelope", **header.as_json()}


def _data_key(client: Client, header: EnvelopeHeader, key: str | None) -> bytes:
    """What the service makes of the wrapped data key. The header is not proven yet: it only says what to ask."""
    named = key or header.key_id
    if named is None:
        raise click.UsageError("the envelope does not say which key it is for: give --key")
    if key is None and not KEY_ID.fullmatch(named):
        raise CommandFailed(
            f"the envelope names the key {named}, which is none of Sealmark's: give --key", code="unknown_key"
        )
    body: dict[str, object] = {"ciphertext": encoded(header.wrapped_data_key), "algorithm": header.algorithm}
    if header.algorithm == SYMMETRIC:
        body |= optional(context=dict(header.context))
    else:
        body |= optional(key_version=header.key_version)
    plaintext = bytes_member(only_result(client.post(f"/v1/keys/{named}/decrypt", body)), "plaintext")
    if len(plaintext) != DATA_KEY_BYTES:
        # Whoever made the envelope put another ciphertext of this key into it: nothing of what it holds is shown.
        raise CommandFailed("what the envelope wraps is no data key", code="decryption_failed")
    return plaintext


def _decrypt_directly(
    client: Client,
    ciphertext: bytes,
    target: Path,
    key: str | None,
    context: Mapping[str, str],
    algorithm: str | None,
) -> Json:
    body = {"ciphertext": encoded(ciphertext), **optional(context=context, algorithm=algorithm)}
    with Outputs() as outputs:
        outputs.add(target, secret=True)
        path = "/v1/decrypt" if key is None else f"/v1/keys/{key}/decrypt"
        if key is None and len(ciphertext) in RSA_LENGTHS:
            note("A ciphertext of an RSA key names no key: if this is one, give --key.")
        result = only_result(client.post(path, body))
        outputs.finish(bytes_member(result, "plaintext"))
    return {"form": "ciphertext", **_named(result), "context": context}


def _start_of(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(32)
    except OSError as exc:
        raise CommandFailed(f"{file} cannot be read: {exc.strerror}", code="unreadable_file") from exc


def _named(result: Json) -> dict[str, object]:
    named = {name: result.get(name) for name in ("key_id", "key_version", "algorithm")}
    if not isinstance(named["key_id"], str):
        raise Unreachable("the answer does not say which key was used")
    return named


def _to_standard_output(content: bytes) -> None:
    click.echo(content, nl=False)


def _report(target: Path, written: Json) -> None:
    if target == STANDARD:
        return
    facts = {"file": str(target), **written}
    if current_settings().as_json:
        print_json(facts)
    else:
        print_record(facts)
