"""`sealmark keys policy history|diff|restore`: what a key's policy was, who changed it and why."""

from __future__ import annotations

import difflib

import click

from signer.cli.client import Client, Json, open_client
from signer.cli.documents import pretty
from signer.cli.errors import CommandFailed, one_line
from signer.cli.options import KEY, connection_options, current_settings, yes_option
from signer.cli.output import note, print_json, print_record, print_table

_REVISION = click.IntRange(1)
_COLUMNS = ("revision", "created_at", "created_by", "reason")


@click.command("history")
@click.argument("key", type=KEY)
@connection_options
def history(key: str) -> None:
    """List every version of a key's policy: when, by whom, why.

    \b
    Example:
      sealmark keys policy history release
    """
    with open_client() as client:
        found = list(client.pages(f"/v1/keys/{key}/policy/versions", "versions"))
    if current_settings().as_json:
        print_json({"versions": found})
        return
    print_table(_COLUMNS, [[version.get(column) for column in _COLUMNS] for version in found])


@click.command("diff")
@click.argument("key", type=KEY)
@click.argument("old", type=_REVISION, required=False)
@click.argument("new", type=_REVISION, required=False)
@connection_options
def diff(key: str, old: int | None, new: int | None) -> None:
    """Show what changed between two versions of a key's policy.

    OLD and NEW are revisions; without NEW the newest, and without both the last change.

    \b
    Examples:
      sealmark keys policy diff release
      sealmark keys policy diff release 3 5
    """
    with open_client() as client:
        newest = new if new is not None else _newest(client, key)
        oldest = old if old is not None else newest - 1
        if oldest < 1:
            raise CommandFailed("the policy has one version only: nothing has changed yet", code="no_change")
        before, after = _version(client, key, oldest), _version(client, key, newest)
    lines = _compared(before, after)
    if current_settings().as_json:
        print_json({"old": before, "new": after, "diff": lines})
        return
    if not lines:
        note(f"revisions {oldest} and {newest} say the same")
    for line in lines:
        click.echo(line)


@click.command("restore")
@click.argument("key", type=KEY)
@click.argument("revision", type=_REVISION)
@click.option("--reason", help="Why; kept with the new version.")
@click.option("--bypass-lockout-check", is_flag=True, help="Store it even if nobody could change it again.")
@yes_option
@connection_options
def restore(key: str, revision: int, reason: str | None, bypass_lockout_check: bool, yes: bool) -> None:
    """Make an earlier version of a key's policy count again.

    It is checked as a new policy is, becomes a new version, and shows first what it would change.

    \b
    Example:
      sealmark keys policy restore release 3 --reason "the last change broke the nightly build"
    """
    with open_client() as client:
        newest = _newest(client, key)
        if not yes:
            for line in _compared(_version(client, key, newest), _version(client, key, revision)):
                click.echo(line, err=True)
            click.confirm(f"Make revision {revision} of the policy of {key} count again?", abort=True, err=True)
        body: dict[str, object] = {"revision": newest}  # what somebody else changed meanwhile is not written over
        if reason:
            body["reason"] = reason
        if bypass_lockout_check:
            body["bypass_policy_lockout_safety_check"] = True
        restored = client.post(f"/v1/keys/{key}/policy/versions/{revision}/restore", body)
    if current_settings().as_json:
        print_json(restored)
    else:
        print_record({"key": key, "restored": revision, "revision": restored.get("revision")})


def _newest(client: Client, key: str) -> int:
    revision = client.get(f"/v1/keys/{key}/policy").get("revision")
    if not isinstance(revision, int):
        raise CommandFailed("the answer has no revision: is this address Sealmark's?", code="unreachable")
    return revision


def _version(client: Client, key: str, revision: int) -> Json:
    return client.get(f"/v1/keys/{key}/policy/versions/{revision}")


def _compared(before: Json, after: Json) -> list[str]:
    """A unified diff of two versions' documents, each headed by who made it, when and why."""
    old, new = (pretty(version.get("policy")).splitlines() for version in (before, after))
    return list(difflib.unified_diff(old, new, _heading(before), _heading(after), lineterm=""))


def _heading(version: Json) -> str:
    parts = (f"revision {version.get('revision')}", version.get("created_at"), version.get("created_by"))
    reason = version.get("reason")
    return one_line(", ".join(str(part) for part in (*parts, *([reason] if reason else []))))
