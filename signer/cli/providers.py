"""What is known of GitHub, GitLab and Kubernetes as OIDC issuers: addresses, and which claims say whose a token is.

Sources: GitHub Docs, "OpenID Connect reference"; GitLab Docs, "OpenID Connect (OIDC) Authentication Using ID Tokens";
Kubernetes, "Service account token volume projection".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class Provider:
    """One of them. `claim` names who; `ref_claim` and `environment_claim` what of it, None where there is none."""

    option: str
    metavar: str
    help: str
    form: re.Pattern[str]
    claim: str
    value: str  # of the claim; {} is what was given
    settings: Mapping[str, object]
    ref_claim: str | None = None
    environment_claim: str | None = None


_NAME = r"[A-Za-z0-9_.-]+"
PROVIDERS: Mapping[str, Provider] = {
    "github": Provider(
        "github",
        "OWNER/REPO",
        "Jobs of this repository at GitHub.",
        re.compile(f"{_NAME}/{_NAME}"),
        "repository",
        "{}",
        {"url": "https://token.actions.githubusercontent.com", "algorithms": ["RS256"]},
        "ref",
        "environment",
    ),
    "gitlab": Provider(
        "gitlab",
        "GROUP/PROJECT",
        "Jobs of this project at GitLab (your own GitLab: --issuer-url).",
        re.compile(f"{_NAME}(/{_NAME})+"),
        "project_path",
        "{}",
        # A job's token is as old as the job.
        {"url": "https://gitlab.com", "algorithms": ["RS256"], "max_token_age": 3600},
        "ref_path",
        "environment",
    ),
    "kubernetes": Provider(
        "kubernetes",
        "NAMESPACE/ACCOUNT",
        "Pods of this service account; the cluster's --issuer-url.",
        re.compile(r"[a-z0-9-]+/[a-z0-9.-]+"),
        "sub",
        "system:serviceaccount:{}",
        # The kubelet renews a projected token when four fifths of its hour are over.
        {"algorithms": ["RS256"], "max_token_age": 3600},
    ),
}


@dataclass(frozen=True, slots=True)
class Provided:
    """What the options say: settings that are usual for a provider, and the conditions."""

    settings: Mapping[str, object]
    conditions: Mapping[str, list[str]]


def provided(options: Mapping[str, Any]) -> Provided:
    """The conditions of `--github`, `--gitlab` or `--kubernetes` with their refs and environments, and of
    `--condition`. A usage error for what would let more in than was meant."""
    chosen = [(each, str(options[name])) for name, each in PROVIDERS.items() if options[name]]
    if len(chosen) > 1:
        raise click.UsageError("--github, --gitlab and --kubernetes exclude each other")
    conditions: dict[str, list[str]] = {}
    for claim, value in options["conditions"]:
        conditions.setdefault(claim, []).append(value)
    if not chosen:
        if options["refs"] or options["environments"] or options["any_ref"]:
            raise click.UsageError("--ref, --environment and --any-ref go with --github or --gitlab")
        return Provided({}, conditions)
    provider, whose = chosen[0]
    if not provider.form.fullmatch(whose):
        raise click.UsageError(f"--{provider.option} is {provider.metavar}, written out")
    own = {provider.claim: [provider.value.format(whose.replace("/", ":") if provider.claim == "sub" else whose)]}
    own |= _narrowed(provider, options["refs"], options["environments"], any_ref=options["any_ref"])
    if twice := own.keys() & conditions.keys():
        raise click.UsageError(f"--condition {min(twice)}= is said already by --{provider.option} and its options")
    return Provided(provider.settings, own | conditions)


def _narrowed(
    provider: Provider, refs: Sequence[str], environments: Sequence[str], *, any_ref: bool
) -> dict[str, list[str]]:
    if provider.ref_claim is None or provider.environment_claim is None:
        if refs or environments or any_ref:
            raise click.UsageError(f"--{provider.option} has no refs and no environments")
        return {}
    if any_ref == bool(refs or environments):
        raise click.UsageError(
            "say --ref (such as 'refs/tags/*') or --environment, so that a pull request's job does not get the role; "
            "or --any-ref alone if it may"
        )
    if wrong := [ref for ref in refs if not ref.startswith("refs/")]:
        raise click.UsageError(f"--ref {wrong[0]}: write it in full, refs/heads/{wrong[0]} or refs/tags/{wrong[0]}")
    narrowed = {provider.ref_claim: list(refs), provider.environment_claim: list(environments)}
    return {claim: values for claim, values in narrowed.items() if values}
