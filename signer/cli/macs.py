"""`sealmark mac` and `sealmark random`: message authentication codes by a key of the service, and its random octets."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

import click

from signer.cli.client import open_client
from signer.cli.options import KEY, connection_options, current_settings
from signer.cli.output import print_json, print_record
from signer.cli.results import bytes_member, only_result
from signer.cli.secret_files import PATH, Outputs, encoded, optional, read_small

MAXIMUM_MESSAGE = 4096  # as in AWS KMS
ALGORITHMS = tuple(f"HMAC_SHA_{bits}" for bits in (224, 256, 384, 512))
_MAXIMUM_MAC = 1024

_key_option = click.option("--key", "key", type=KEY, required=True, help="A mac key's alias or id.")
_algorithm_option = click.option("--algorithm", type=click.Choice(ALGORITHMS), help="[default: the key's]")


@click.group()
def mac() -> None:
    """Authenticate small messages (HMAC), and check their codes.

    \b
    Examples:
      sealmark mac make message --key webhooks
      sealmark mac verify message --key webhooks --mac message.mac
    """


@mac.command("make")
@click.argument("file", type=PATH)
@_key_option
@_algorithm_option
@click.option("--output", "-o", type=PATH, help="Write the code's bytes to this new file.  [default: print base64]")
@connection_options
def make(file: Path, key: str, algorithm: str | None, output: Path | None) -> None:
    """Make the code of a small message.

    FILE (- for standard input) has at most 4096 bytes.

    \b
    Examples:
      sealmark mac make message --key webhooks
      sealmark mac make - --key webhooks --output message.mac < message
    """
    message = read_small(file, MAXIMUM_MESSAGE, "a message")
    with Outputs() as outputs:
        if output is not None:
            outputs.add(output, secret=False)
        with open_client() as client:
            body = {"message": encoded(message), **optional(algorithm=algorithm)}
            result = only_result(client.post(f"/v1/keys/{key}/macs", body))
        code = bytes_member(result, "mac")
        if output is not None:
            outputs.finish(code)
    if current_settings().as_json:
        print_json(result)
    elif output is None:
        click.echo(encoded(code))


@mac.command("verify")
@click.argument("file", type=PATH)
@_key_option
@click.option("--mac", "code", type=PATH, required=True, help="The code: its bytes, or their base64.")
@_algorithm_option
@connection_options
def verify(file: Path, key: str, code: Path, algorithm: str | None) -> None:
    """Check that a code is the key's over FILE. Exit code 1 if it is not.

    \b
    Example:
      sealmark mac verify message --key webhooks --mac message.mac
    """
    message = read_small(file, MAXIMUM_MESSAGE, "a message")
    with open_client() as client:
        body = {"message": encoded(message), "mac": encoded(_code(code)), **optional(algorithm=algorithm)}
        result = only_result(client.post(f"/v1/keys/{key}/macs/verify", body))
    if current_settings().as_json:
        print_json(result)
    else:
        print_record({name: result.get(name) for name in ("key_id", "key_version", "algorithm")})


def _code(path: Path) -> bytes:
    """Bare bytes have one of four lengths, whose base64 has others."""
    data = read_small(path, _MAXIMUM_MAC, "a code")
    if len(data) in (28, 32, 48, 64):
        return data
    try:
        return base64.b64decode(data.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise click.UsageError(f"{path} holds neither a code's bytes nor their base64") from None


@click.command("random")
@click.option("--bytes", "size", type=click.IntRange(1, 1024), required=True, help="How many, 1 to 1024.")
@click.option("--output", "-o", type=PATH, help="A new file (mode 0600); - for the bytes themselves on stdout.")
@connection_options
def random_(size: int, output: Path | None) -> None:
    """Print random bytes of the service's HSM, in base64.

    \b
    Examples:
      sealmark random --bytes 32
      sealmark random --bytes 64 --output seed.bin
    """
    with Outputs() as outputs:
        if output is not None:
            outputs.add(output, secret=True)
        with open_client() as client:
            result = client.post("/v1/random", {"number_of_bytes": size})
        octets = bytes_member(result, "random")
        if output is not None:
            outputs.finish(octets)
            return
    if current_settings().as_json:
        print_json(result)
    else:
        click.echo(encoded(octets))
