"""`sealmark data-key` and `sealmark data-key-pair`: keys for use outside, each with its ciphertext under a key here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from signer.cli.client import open_client
from signer.cli.options import KEY, connection_options, current_settings
from signer.cli.output import print_json, print_record
from signer.cli.results import bytes_member, only_result
from signer.cli.secret_files import PATH, STANDARD, Outputs, context_of, context_option, optional

SPECS = ("AES_256", "AES_128")
PAIR_SPECS = (
    *("RSA_2048", "RSA_3072", "RSA_4096", "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"),
    *("ECC_SECG_P256K1", "ECC_NIST_EDWARDS25519"),
)
_wrapped_option = click.option(
    "--wrapped", type=PATH, required=True, help="Where its ciphertext goes, to be kept with what it encrypts."
)


@click.command("data-key")
@click.option("--key", "key", type=KEY, required=True, help="A symmetric encrypt key's alias or id.")
@click.option("--spec", type=click.Choice(SPECS), help="[default: AES_256]")
@click.option("--bytes", "size", type=click.IntRange(1, 1024), help="A key of so many bytes, in place of --spec.")
@context_option
@click.option("--output", "-o", type=PATH, help="Where the key itself goes (mode 0600); - for standard output.")
@_wrapped_option
@connection_options
def data_key(
    key: str,
    spec: str | None,
    size: int | None,
    context: Sequence[tuple[str, str]],
    output: Path | None,
    wrapped: Path,
) -> None:
    """Make a data key: the key itself, and its ciphertext.

    Without --output the key itself is not given out: whoever decrypts the ciphertext later has it then.

    \b
    Examples:
      sealmark data-key --key vault --context host=db1 --output data.key --wrapped data.key.enc
      sealmark data-key --key vault --bytes 64 --wrapped data.key.enc
    """
    if spec is not None and size is not None:
        raise click.UsageError("--spec and --bytes exclude each other")
    wanted: dict[str, object] = {"spec": spec or "AES_256"} if size is None else {"number_of_bytes": size}
    body = {**wanted, **optional(context=context_of(context))}
    with Outputs() as outputs:
        if output is not None:
            outputs.add(output, secret=True)
        outputs.add(wrapped, secret=False)
        with open_client() as client:
            result = only_result(client.post(_path(key, "data-keys", output), body))
        secret = [] if output is None else [bytes_member(result, "plaintext")]
        outputs.finish(*secret, bytes_member(result, "ciphertext"))
    _report(result, output, key=output, wrapped=wrapped)


@click.command("data-key-pair")
@click.option("--key", "key", type=KEY, required=True, help="A symmetric encrypt key's alias or id.")
@click.option("--spec", type=click.Choice(PAIR_SPECS), required=True, help="What kind of pair (AWS names).")
@context_option
@click.option("--private-key", type=PATH, help="Where the private key goes (PKCS #8, DER; mode 0600); - for stdout.")
@click.option("--public-key", type=PATH, required=True, help="Where the public key goes (SubjectPublicKeyInfo, DER).")
@_wrapped_option
@connection_options
def data_key_pair(
    key: str,
    spec: str,
    context: Sequence[tuple[str, str]],
    private_key: Path | None,
    public_key: Path,
    wrapped: Path,
) -> None:
    """Make a key pair for use outside.

    There are its public key, its private key, and the private key's ciphertext. Without --private-key the private key
    itself is not given out.

    \b
    Examples:
      sealmark data-key-pair --key vault --spec ECC_NIST_P256 --public-key device.pub --wrapped device.key.enc
      sealmark data-key-pair --key vault --spec RSA_3072 --private-key device.key --public-key device.pub \\
          --wrapped device.key.enc --context device=7
    """
    body: dict[str, object] = {"spec": spec, **optional(context=context_of(context))}
    with Outputs() as outputs:
        if private_key is not None:
            outputs.add(private_key, secret=True)
        outputs.add(public_key, secret=False)
        outputs.add(wrapped, secret=False)
        with open_client() as client:
            result = only_result(client.post(_path(key, "data-key-pairs", private_key), body))
        secret = [] if private_key is None else [bytes_member(result, "private_key")]
        outputs.finish(*secret, bytes_member(result, "public_key"), bytes_member(result, "private_key_ciphertext"))
    _report(result, private_key, private_key=private_key, public_key=public_key, wrapped=wrapped)


def _path(key: str, kind: str, secret: Path | None) -> str:
    """The call that gives the secret out, or the other one, which policies may allow alone."""
    return f"/v1/keys/{key}/{kind}" + ("/without-plaintext" if secret is None else "")


def _report(result: object, secret: Path | None, **files: Path | None) -> None:
    """Which files there are now, unless standard output has the secret."""
    if STANDARD in (secret, *files.values()):
        return
    members = result if isinstance(result, dict) else {}
    facts: dict[str, object] = {name: str(path) for name, path in files.items() if path is not None}
    facts |= {name: members.get(name) for name in ("key_id", "key_version", "algorithm")}
    if current_settings().as_json:
        print_json(facts)
    else:
        print_record(facts)
