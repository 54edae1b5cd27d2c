"""The entry point of the `sealmark` command: puts the commands together."""

from __future__ import annotations

import click

from signer.cli.access import access
from signer.cli.access_keys import access_keys
from signer.cli.api_tokens import tokens
from signer.cli.approvals import approvals
from signer.cli.audit import audit
from signer.cli.ceremony import ceremony
from signer.cli.client import package_version
from signer.cli.completion import completion
from signer.cli.data_keys import data_key, data_key_pair
from signer.cli.doctor.command import doctor
from signer.cli.encryption import decrypt, encrypt
from signer.cli.enrolment import enrol, whoami
from signer.cli.grants import grants
from signer.cli.group import SealmarkGroup
from signer.cli.issuers import domains, issuers
from signer.cli.keys import keys
from signer.cli.login import login
from signer.cli.macs import mac, random_
from signer.cli.monitor import monitor
from signer.cli.node import node
from signer.cli.operator import init, serve
from signer.cli.options import connection_options
from signer.cli.principals import principals
from signer.cli.publication import crl, trust
from signer.cli.recovery import backup, restore
from signer.cli.registration import credentials
from signer.cli.sign import sign
from signer.cli.tokens import assertion, jwt
from signer.cli.trusted_issuers import trusted_issuers
from signer.cli.usage import usage
from signer.cli.witness import witness


@click.group(
    cls=SealmarkGroup,
    commands=[
        init, serve, node, backup, restore, ceremony, principals, enrol, whoami, login, tokens, access_keys,
        credentials, trusted_issuers, keys, grants, access, approvals, audit, usage, issuers, domains, trust, crl,
        sign, jwt, assertion, encrypt, decrypt, data_key, data_key_pair, mac, random_, witness,
        monitor, doctor, completion,
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)  # fmt: skip
@click.version_option(package_version(), prog_name="sealmark")
@connection_options
def cli() -> None:
    """Sealmark: signatures and encryption with keys that live in an HSM.

    Reads SEALMARK_URL and SEALMARK_TOKEN, or --url and --token-file. A token is never given on the command line.
    In place of a token: a client certificate (--client-cert), or a signature on each request (--signing-key).
    A CI job or a pod needs none: see `sealmark login --help`.

    \b
    Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 not approved, 130 interrupted.

    \b
    Examples:
      sealmark enrol - --token-out ci.token
      sealmark --token-file ci.token sign dist/* --key release
      sealmark keys list --json
    """


def main() -> None:
    """Run the command; exits."""
    cli(prog_name="sealmark")
