"""`sealmark jwt` and `sealmark assertion`: tokens for people who try things out, and for scripts that need one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TypedDict, Unpack

import click

from signer.cli.approval_wait import approval_options
from signer.cli.client import Json, open_client, text_member
from signer.cli.files import pending_file, public_mode, refuse_existing
from signer.cli.options import KEY, PAIR, connection_options, current_settings, pairs_once
from signer.cli.output import print_json
from signer.cli.proofs import proof_of
from signer.cli.results import bytes_member, only_result

_MAXIMUM_CLAIMS = 1 << 20
_proof_option = click.option(
    "--proof",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the proof that the signature is in the transparency log to this new file.",
)


@contextlib.contextmanager
def _proof_file(path: Path | None) -> Iterator[Callable[[Json], None]]:
    """What keeps a result's proof; that it can be written is found out before anything is signed."""
    if path is None:
        yield lambda _result: None
        return
    refuse_existing(path, "name another file for the proof")
    with pending_file(path.parent, public_mode()) as pending:
        yield lambda result: pending.finish(path, proof_of(result).encode(), replace=False)


@click.command()
@click.option("--key", "key", type=KEY, required=True, help="A jwt key's alias or id.")
@click.option("--claim", "claims", type=PAIR, multiple=True, help="A claim whose value is a text, NAME=VALUE; repeat.")
@click.option("--claims-file", type=click.File("rb"), help="A JSON object of claims; - for standard input.")
@click.option("--ttl", type=click.IntRange(1), help="Lifetime in seconds.  [default: the service's]")
@click.option("--typ", help="The token's typ, one of the key's.  [default: the key's first]")
@click.option("--context", "context", type=PAIR, multiple=True, help="Recorded with the signature, NAME=VALUE; repeat.")
@_proof_option
@approval_options
@connection_options
def jwt(
    key: str,
    claims: Sequence[tuple[str, str]],
    claims_file: IO[bytes] | None,
    ttl: int | None,
    typ: str | None,
    context: Sequence[tuple[str, str]],
    proof: Path | None,
) -> None:
    """Issue a JWT and print it.

    iss, iat, nbf, exp and jti are the service's own.

    \b
    Examples:
      sealmark jwt --key tokens --claim sub=alice --ttl 300
      echo '{"sub": "alice", "roles": ["reader"]}' | sealmark jwt --key tokens --claims-file -
      sealmark jwt --key tokens --claim sub=alice --proof token.tlog-proof > token.jwt
    """
    members = _claims(claims_file) | pairs_once(claims, "--claim")
    body: dict[str, object] = {"claims": members} if members else {}
    optional = {"ttl": ttl, "typ": typ, "context": pairs_once(context, "--context") or None}
    body |= {name: value for name, value in optional.items() if value is not None}
    with _proof_file(proof) as keep:
        with open_client() as client:
            result = only_result(client.post_signing(f"/v1/keys/{key}/jwts", body))
        token = text_member(result, "token")
        keep(result)
    if current_settings().as_json:
        print_json(result)
    else:
        click.echo(token)


def _claims(stream: IO[bytes] | None) -> dict[str, object]:
    if stream is None:
        return {}
    content = stream.read(_MAXIMUM_CLAIMS + 1)
    if len(content) > _MAXIMUM_CLAIMS:
        raise click.UsageError("--claims-file is longer than 1 MiB")
    try:
        found = json.loads(content, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        raise click.UsageError(f"--claims-file is not a JSON object: {exc}") from exc
    if not isinstance(found, dict):
        raise click.UsageError("--claims-file is not a JSON object")
    return found


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is given twice")
    return found


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


class AssertionOptions(TypedDict):
    """The options of `assertion` that are members of the request as they are."""

    audience: str
    recipient: str
    in_response_to: str | None
    sign: str
    ttl: int
    session_index: str | None


@click.command()
@click.option("--key", "key", type=KEY, required=True, help="A saml key's alias or id.")
@click.option("--subject", required=True, help="Who the assertion speaks of (NameID).")
@click.option("--name-id-format", help="The NameID's format, a URI.")
@click.option("--audience", required=True, help="The service provider's entity id; one of the key's.")
@click.option("--recipient", required=True, help="The service provider's URL; one of the key's.")
@click.option("--in-response-to", help="The id of the request that this answers.")
@click.option(
    "--attribute", "attributes", type=PAIR, multiple=True, help="NAME=VALUE; a NAME given twice has two values."
)
@click.option(
    "--sign",
    type=click.Choice(("assertion", "response", "both")),
    default="assertion",
    show_default=True,
    help="What is signed.",
)
@click.option("--ttl", type=click.IntRange(1, 3600), default=300, show_default=True, help="Lifetime in seconds.")
@click.option("--session-index", help="The session at the identity provider.")
@click.option("--base64", "as_base64", is_flag=True, help="Print base64, as the HTTP POST binding sends it.")
@click.option("--context", "context", type=PAIR, multiple=True, help="Recorded with the signature, NAME=VALUE; repeat.")
@_proof_option
@approval_options
@connection_options
def assertion(
    key: str,
    subject: str,
    name_id_format: str | None,
    attributes: Sequence[tuple[str, str]],
    as_base64: bool,
    context: Sequence[tuple[str, str]],
    proof: Path | None,
    **options: Unpack[AssertionOptions],
) -> None:
    """Issue a SAML response and print its XML.

    The response (SAML 2.0) holds one assertion.

    \b
    Example:
      sealmark assertion --key idp --subject alice --audience https://sp.example \\
          --recipient https://sp.example/acs --attribute role=reader > response.xml
    """
    body: dict[str, object] = {name: value for name, value in options.items() if value is not None}
    body["subject"] = {"name_id": subject, "format": name_id_format} if name_id_format is not None else subject
    values: dict[str, list[str]] = {}
    for name, value in attributes:
        values.setdefault(name, []).append(value)
    if values:
        body["attributes"] = {name: found[0] if len(found) == 1 else found for name, found in values.items()}
    if context:
        body["context"] = pairs_once(context, "--context")
    with _proof_file(proof) as keep:
        with open_client() as client:
            result = only_result(client.post_signing(f"/v1/keys/{key}/assertions", body))
        response = bytes_member(result, "response")
        keep(result)
    if current_settings().as_json:
        print_json(result)
    elif as_base64:
        click.echo(text_member(result, "response"))
    else:
        click.echo(response)
