"""The command `sealmark-verify`: exit 0 verified, 1 rejected, 2 could not be decided or wrong usage.

All reading of files happens here; all deciding happens in the packages beside it, each loaded only by the subcommand
that needs it. Opens no network connection. Never prints a traceback.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from verifier.algorithms import ALGORITHMS
from verifier.completion import completion, only_for_shells
from verifier.envelope_command import encrypt, inspect, open_
from verifier.errors import Indeterminate, Rejected, VerificationError
from verifier.log_command import log
from verifier.options import (
    FILE,
    MAXIMUM_INPUT_BYTES,
    ProofChoice,
    at_option,
    json_option,
    leeway_option,
    proof_options,
    read_file,
)
from verifier.trust_command import trust
from verifier.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from verifier.report import Verified

PROGRAM: Final = "sealmark-verify"
VERIFIED: Final = 0
REJECTED: Final = 1
UNDECIDED: Final = 2


@click.group(name=PROGRAM, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
def cli() -> None:
    """Verify what Sealmark signed, and encrypt to its keys. Needs no network and no service.

    Exit codes: 0 verified or done, 1 rejected, 2 could not be decided, or wrong usage.

    \b
    Examples:
      sealmark-verify artifact app.tar.gz --signature app.tar.gz.p7s --trust trust.json
      sealmark-verify jwt - --jwks jwks.json --issuer https://id.example --audience https://api.example < token
      sealmark-verify saml response.xml --cert idp.pem --audience SP --recipient https://sp.example/acs
      sealmark-verify encrypt report.pdf --to trust.json --key inbox
    """


cli.add_command(trust)
cli.add_command(log)
for command in (encrypt, open_, inspect):
    cli.add_command(command)
cli.add_command(completion)


@cli.command()
@click.argument("file", type=FILE)
@click.option(
    "--signature",
    required=True,
    type=FILE,
    help="CMS (.p7s), Sigstore bundle (.sigstore.json), DSSE envelope (.intoto.jsonl) or bare signature (.sig).",
)
@click.option(
    "--trust", "trust_file", required=True, type=FILE, help="trust.json, a PEM public key, or PEM CA certificates."
)
@click.option("--crl", "crls", multiple=True, type=FILE, help="A revocation list, PEM or DER; repeatable.")
@click.option("--require-crl", is_flag=True, help="Demand a current revocation list for every certificate.")
@click.option("--algorithm", type=click.Choice(tuple(ALGORITHMS)), help="Demand this algorithm.")
@at_option
@proof_options
@json_option
def artifact(
    file: Path,
    signature: Path,
    trust_file: Path,
    crls: tuple[Path, ...],
    require_crl: bool,
    algorithm: str | None,
    at: datetime | None,
    proof: ProofChoice,
    as_json: bool,
) -> None:
    """Verify the signature over FILE.

    \b
    Examples:
      sealmark-verify artifact app.tar.gz --signature app.tar.gz.p7s --trust trust.json
      sealmark-verify artifact app.tar.gz --signature app.tar.gz.sig --trust release.pem --algorithm ECDSA_SHA_256
      sealmark-verify artifact app.tar.gz --signature app.tar.gz.p7s --trust ca.pem --at 2026-03-01T09:30:00Z --json
      sealmark-verify artifact app.tar.gz --signature app.tar.gz.p7s --trust trust.json --proof app.tar.gz.tlog-proof
    """
    from verifier.artifacts import verify_artifact
    from verifier.revocation import load_revocation_lists
    from verifier.trust import parse_trust

    facts = verify_artifact(
        file,
        read_file(signature),
        parse_trust(read_file(trust_file)),
        at=at,
        algorithm=algorithm,
        crls=[each for path in crls for each in load_revocation_lists(read_file(path))],
        require_crl=require_crl,
        proof=proof.read(),
        logs=proof.logs(),
    )
    proof.check(facts)
    _print(facts, as_json)


@cli.command()
@click.argument("token")
@click.option("--jwks", type=FILE, help="The issuer's JWK Set.")
@click.option("--trust", "trust_file", type=FILE, help="trust.json instead: its keys for tokens of the issuer count.")
@click.option("--issuer", required=True, help="Who must have issued it (iss).")
@click.option("--audience", required=True, help="Whom it must be for (aud).")
@click.option("--sole-audience", is_flag=True, help="Refuse a token that is for others too.")
@click.option("--subject", "subjects", multiple=True, help="Whom it must be about (sub); repeatable, one is enough.")
@click.option("--typ", "types", multiple=True, default=("JWT",), show_default=True, help="Accepted type; repeatable.")
@click.option("--max-age", type=click.IntRange(min=0), help="Seconds since it was issued, at most.")
@leeway_option
@at_option
@proof_options
@json_option
def jwt(
    token: str,
    jwks: Path | None,
    trust_file: Path | None,
    issuer: str,
    audience: str,
    sole_audience: bool,
    subjects: tuple[str, ...],
    types: tuple[str, ...],
    max_age: int | None,
    leeway: int,
    at: datetime | None,
    proof: ProofChoice,
    as_json: bool,
) -> None:
    """Verify the JWT TOKEN, or the one on standard input if TOKEN is "-".

    \b
    Examples:
      sealmark-verify jwt - --jwks jwks.json --issuer https://id.example --audience https://api.example < token
      sealmark-verify jwt TOKEN --jwks jwks.json --issuer https://id.example --audience app --typ at+jwt --max-age 300
      sealmark-verify jwt TOKEN --trust trust.json --issuer https://id.example --audience app --proof TOKEN.tlog-proof
    """
    from verifier.policy import Audience, Identity
    from verifier.tokens import verify_jwt
    from verifier.tokens.jwks import parse_jwks
    from verifier.trust import parse_trust

    if (path := jwks or trust_file) is None or None not in (jwks, trust_file):
        raise click.UsageError("Give either --jwks or --trust.")
    keys = parse_jwks(read_file(path)) if jwks else parse_trust(read_file(path))
    text = _read_token() if token == "-" else token
    facts = verify_jwt(
        text,
        keys,
        issuer=issuer,
        audience=audience,
        now=at,
        leeway=leeway,
        types=types,
        max_age=max_age,
        proof=proof.read(),
        logs=proof.logs(),
    )
    proof.check(facts)
    Audience(audience, alone=sole_audience).verify(facts)
    if subjects:
        Identity(*subjects).verify(facts)
    _print(facts, as_json)


@cli.command()
@click.argument("file", type=FILE)
@click.option("--cert", type=FILE, help="The identity provider's certificate, PEM.")
@click.option("--trust", "trust_file", type=FILE, help="trust.json instead: its keys for assertions of --issuer count.")
@click.option("--audience", required=True, help="Whom it must be for (the service provider's entity id).")
@click.option("--recipient", required=True, help="Where it must have been sent (the assertion consumer URL).")
@click.option("--issuer", help="Who must have issued it (the identity provider's entity id).")
@click.option("--in-response-to", help="The id of the request that it must answer.")
@leeway_option
@at_option
@proof_options
@json_option
def saml(
    file: Path,
    cert: Path | None,
    trust_file: Path | None,
    audience: str,
    recipient: str,
    issuer: str | None,
    in_response_to: str | None,
    leeway: int,
    at: datetime | None,
    proof: ProofChoice,
    as_json: bool,
) -> None:
    """Verify the SAML response or assertion in FILE (XML).

    \b
    Examples:
      sealmark-verify saml response.xml --cert idp.pem --audience SP --recipient https://sp.example/acs
      sealmark-verify saml response.xml --cert idp.pem --audience SP --recipient https://sp.example/acs \\
          --issuer https://idp.example --in-response-to _3f0c1b8e2a --leeway 30
      sealmark-verify saml response.xml --trust trust.json --issuer https://idp.example --audience SP \\
          --recipient https://sp.example/acs --proof response.xml.tlog-proof
    """
    from verifier.saml import verify_saml
    from verifier.trust import load_certificates, parse_trust

    if (cert is None) == (trust_file is None):
        raise click.UsageError("Give either --cert or --trust.")
    if trust_file is not None and issuer is None:
        raise click.UsageError("--trust needs --issuer, which decides whose keys count.")
    facts = verify_saml(
        read_file(file),
        certificates=() if cert is None else load_certificates(read_file(cert)),
        trust=None if trust_file is None else parse_trust(read_file(trust_file)),
        audience=audience,
        recipient=recipient,
        issuer=issuer,
        in_response_to=in_response_to,
        now=at,
        leeway=leeway,
        proof=proof.read(),
        logs=proof.logs(),
    )
    proof.check(facts)
    _print(facts, as_json)


def _read_token() -> str:
    """Standard input without the newline that an editor or a shell puts at its end."""
    data = sys.stdin.buffer.read(MAXIMUM_INPUT_BYTES)
    try:
        return data.decode("ascii").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise Rejected("malformed", "The token has characters that no token has.") from None


def _print(facts: Verified, as_json: bool) -> None:
    from verifier.report import describe

    click.echo(json.dumps(facts.as_json(), indent=2) if as_json else describe(facts))


def _print_failure(failure: VerificationError, *, as_json: bool) -> None:
    from verifier.report import printable

    if as_json:
        click.echo(json.dumps(failure.as_json(), indent=2))
        return
    word = "REJECTED" if failure.outcome == "rejected" else "COULD NOT BE DECIDED"
    click.echo(f"{word}: {printable(failure.message)} ({failure.code})", err=True)


def _call(arguments: Sequence[str]) -> int:
    """Runs the command. Whatever goes wrong comes out as a VerificationError; `trust diff` has a code of its own."""
    only_for_shells(arguments)
    try:
        code = cli.main(args=list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except VerificationError:
        raise
    except click.ClickException as error:
        raise Indeterminate("wrong_usage", error.format_message()) from error
    except ValueError as error:
        raise Indeterminate("wrong_usage", f"{error}.") from error
    except (click.Abort, KeyboardInterrupt) as error:
        raise Indeterminate("internal_error", "Interrupted.") from error
    except OSError:
        raise
    except Exception as error:
        # Whatever this is, it is no proof of anything, and a traceback would tell a person nothing.
        raise Indeterminate("internal_error", f"The verifier failed ({type(error).__name__}).") from error
    return VERIFIED if code is None else int(code)


def run(arguments: Sequence[str]) -> int:
    """Runs the command and returns its exit code: the one place where an outcome becomes a number."""
    try:
        return _call(arguments)
    except VerificationError as failure:
        # Asked of the raw arguments, since a wrong usage has to be told before they are understood.
        _print_failure(failure, as_json="--json" in arguments)
        return REJECTED if isinstance(failure, Rejected) else UNDECIDED


def main() -> None:
    """The entry point of the installed command."""
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except OSError:
        # Nobody could be told the answer, which is therefore no verification. Nothing is left to flush at exit.
        os._exit(UNDECIDED)
    sys.exit(code)
