"""`sealmark login`: a job's or pod's own identity for a short session, for several commands."""

from __future__ import annotations

from pathlib import Path

import click

from signer.cli.client import Client
from signer.cli.errors import CommandFailed
from signer.cli.files import pending_file, refuse_existing
from signer.cli.options import PRINCIPAL, connection_options, current_settings
from signer.cli.output import print_json, print_record
from signer.cli.workload import audience_for, exchange, find_identity_token, github_token, read_token_file

_DEFAULT = Path("sealmark-session.token")


@click.command()
@click.option(
    "--oidc-token-file",
    "token_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The token that the cluster or CI wrote.  [env: SEALMARK_OIDC_TOKEN_FILE]",
)
@click.option("--github", is_flag=True, help="Ask GitHub for this job's token; it needs `id-token: write`.")
@click.option("--role", type=PRINCIPAL, help="Which role, where several are open.  [env: SEALMARK_OIDC_ROLE]")
@click.option(
    "--audience",
    help="Whom GitHub's token is to be for, as the service expects it.  [env: SEALMARK_OIDC_AUDIENCE; "
    "default: the service's URL]",
)
@click.option(
    "--token-out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=_DEFAULT,
    show_default=True,
    help="Where to write the session's token (mode 0600).",
)
@click.option("--force", is_flag=True, help="Write over a file that exists.")
@connection_options
def login(
    token_file: Path | None, github: bool, role: str | None, audience: str | None, token_out: Path, force: bool
) -> None:
    """Exchange a CI job's or pod's own token for a session.

    A session lives for minutes and speaks for one role; the service must trust the issuer (`sealmark trusted-issuers`).
    Without options the token is SEALMARK_OIDC_TOKEN, or in SEALMARK_OIDC_TOKEN_FILE, or asked of GitHub.

    A single command needs no login: it finds the same token by itself. But each token is taken once, so that several
    commands with one token log in first, and then use the session: --token-file sealmark-session.token.

    \b
    Examples:
      sealmark login --github
      sealmark login --oidc-token-file /var/run/secrets/tokens/sealmark --role role/ci
    """
    if token_file is not None and github:
        raise click.UsageError("--oidc-token-file and --github exclude each other")
    if not force:
        refuse_existing(token_out, "the token was not used; choose another --token-out, or --force")
    url = current_settings().url
    whom = audience_for(url, audience)
    with pending_file(token_out.parent) as pending, Client(url, None) as client:
        session, name, seconds = exchange(client, _identity(token_file, github, whom), role, whom)
        pending.finish(token_out, f"{session}\n".encode("ascii"), replace=force)
    shown = {"name": name, "token_file": str(token_out), "expires_in": seconds}
    if current_settings().as_json:
        print_json(shown)
    else:
        print_record({**shown, "expires_in": f"{seconds} s"})


def _identity(token_file: Path | None, github: bool, audience: str) -> str:
    if token_file is not None:
        return read_token_file(token_file)
    token = github_token(audience) if github else find_identity_token(audience)
    if token is None:
        raise CommandFailed(
            "this job or pod has no identity of its own: give --oidc-token-file, set SEALMARK_OIDC_TOKEN (GitLab: "
            "id_tokens) or, at GitHub, permissions: id-token: write",
            code="no_identity",
        )
    return token
