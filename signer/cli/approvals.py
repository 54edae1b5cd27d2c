"""`sealmark approvals …`: ask for approval, see what is asked, approve or reject it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import IO, Final

import click

from signer.cli.approval_wait import progress
from signer.cli.client import Client, Json, open_client
from signer.cli.errors import CommandFailed
from signer.cli.options import KEY, connection_options, current_settings, yes_option
from signer.cli.output import print_json, print_record, print_table

OPERATIONS: Final = (
    *(
        "signatures",
        "artifacts",
        "jwts",
        "assertions",
        "policy",
        "grants",
        "replicas",
        "primary-region",
        "rotate",
        "csr",
        "certificate",
        "certificate/renew",
    ),
    *("certificate/revoke", "enable", "schedule-deletion", "approval-rule", "approval-rule/remove"),
    *("aliases", "aliases/move", "aliases/remove", "tags", "tags/remove"),
    *("rotation", "rotation/remove", "rotate-on-demand"),
)
# What approvers are shown; `request_sha256` is SHA-256 of just these, as canonical JSON.
SHOWN: Final = (*("id", "key_id", "operation", "requester", "request", "reason", "bound", "created_at", "expires_at"),)
_LARGEST_BODY: Final = 1 << 20


@click.group()
def approvals() -> None:
    """Calls that wait for the approval of others.

    A key's approval rule (sealmark keys approval-rule) says what must be approved, by whom and by how many. Signing
    commands ask by themselves with --wait.

    \b
    Examples:
      sealmark approvals list
      sealmark approvals show 01953f5a-7c1e-7d3a-9b42-5e1f0a6c8d21
      sealmark approvals approve 01953f5a-7c1e-7d3a-9b42-5e1f0a6c8d21
    """


@approvals.command("request")
@click.option("--key", "key", type=KEY, required=True, help="The key's alias or id.")
@click.option("--operation", type=click.Choice(OPERATIONS), required=True, help="The call, by the end of its path.")
@click.option("--request", "body", type=click.File("rb"), help="The call's body, a JSON object; - for standard input.")
@click.option("--reason", default="", help="Shown to the approvers.")
@connection_options
def request(key: str, operation: str, body: IO[bytes] | None, reason: str) -> None:
    """Ask for approval of a call, without waiting.

    The very same call is released once, by --approval ID or the header Sealmark-Approval.

    \b
    Examples:
      sealmark approvals request --key release --operation rotate --reason "yearly rotation"
      sealmark approvals request --key release --operation artifacts --request body.json
    """
    asked = {"operation": operation, "request": _body(body), "reason": reason}
    with open_client() as client:
        _print(client.post(f"/v1/keys/{key}/approval-requests", asked))


@approvals.command("list")
@click.option("--all", "all_states", is_flag=True, help="Those that are closed or expired, too.")
@connection_options
def list_all(all_states: bool) -> None:
    """List the requests that concern you.

    Yours, those that you may approve, and those for keys that you administer; oldest first.

    \b
    Examples:
      sealmark approvals list
      sealmark approvals list --all --json
    """
    with open_client() as client:
        query = {} if all_states else {"state": "open"}
        found = list(client.pages("/v1/approval-requests", "approval_requests", query))
    if current_settings().as_json:
        print_json({"approval_requests": found})
        return
    columns = ("id", "key", "operation", "requester", "reason", "state", "approvals", "expires_at")
    print_table(columns, [[_cell(each, name) for name in columns] for each in found])


@approvals.command("show")
@click.argument("request_id", metavar="ID", type=click.UUID)
@connection_options
def show(request_id: object) -> None:
    """Show what is asked for, and who said what.

    \b
    Example:
      sealmark approvals show 01953f5a-7c1e-7d3a-9b42-5e1f0a6c8d21
    """
    with open_client() as client:
        _print(_found(client, request_id))


@approvals.command("approve")
@click.argument("request_id", metavar="ID", type=click.UUID)
@click.option("--sha256", "expected", metavar="HEX", help="Approve only if this is the request's request_sha256.")
@click.option("--reason", default="", help="Kept with your approval.")
@yes_option
@connection_options
def approve(request_id: object, expected: str | None, reason: str, yes: bool) -> None:
    """Approve a request, after showing it.

    Your approval is of exactly what is shown: it holds the hash of that, worked out here.

    \b
    Examples:
      sealmark approvals approve 01953f5a-7c1e-7d3a-9b42-5e1f0a6c8d21
      sealmark approvals approve 01953f5a-7c1e-7d3a-9b42-5e1f0a6c8d21 --yes --reason "reviewed in change 4711"
    """
    with open_client() as client:
        shown = _found(client, request_id)
        if expected is not None and expected.lower() != shown["request_sha256"]:
            raise CommandFailed(
                f"the request's hash is {shown['request_sha256']}: nothing was approved", code="conflict"
            )
        if not yes:
            _show_on_stderr(shown)
            click.confirm("Approve exactly this?", abort=True, err=True)
        vote = {"request_sha256": shown["request_sha256"], "reason": reason}
        _print(client.post(f"/v1/approval-requests/{request_id}/approve", vote))


@approvals.command("reject")
@click.argument("request_id", metavar="ID", type=click.UUID)
@click.option("--reason", default="", help="Shown to the requester and the other approvers.")
@connection_options
def reject(request_id: object, reason: str) -> None:
    """Say no to a request, also after a yes.

    It ends when the approvers that are left are too few.

    \b
    Example:
      sealmark approvals reject 01953f5a-7c1e-7d3a-9b42-5e1f0a6c8d21 --reason "this commit was not reviewed"
    """
    with open_client() as client:
        _print(client.post(f"/v1/approval-requests/{request_id}/reject", {"reason": reason}))


@approvals.command("withdraw")
@click.argument("request_id", metavar="ID", type=click.UUID)
@connection_options
def withdraw(request_id: object) -> None:
    """Take your own request back.

    \b
    Example:
      sealmark approvals withdraw 01953f5a-7c1e-7d3a-9b42-5e1f0a6c8d21
    """
    with open_client() as client:
        _print(client.post(f"/v1/approval-requests/{request_id}/withdraw", {}))


def hash_of(shown: Json) -> str:
    """The hash of what is shown, hex: worked out here, so that an approval is of what this command read."""
    members = {name: shown.get(name) for name in SHOWN}
    text = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _found(client: Client, request_id: object) -> Json:
    """The request. Raises: CommandFailed where its hash is not that of what is shown."""
    shown = client.get(f"/v1/approval-requests/{request_id}")
    if shown.get("request_sha256") != hash_of(shown) or shown.get("id") != str(request_id):
        raise CommandFailed("what the service shows does not have the hash that it says", code="untrusted_answer")
    return shown


def _body(stream: IO[bytes] | None) -> object:
    if stream is None:
        return {}
    content = stream.read(_LARGEST_BODY + 1)
    try:
        found = json.loads(content) if len(content) <= _LARGEST_BODY else None
    except (ValueError, RecursionError) as exc:
        raise click.UsageError(f"--request is not a JSON object: {exc}") from exc
    if not isinstance(found, dict):
        raise click.UsageError("--request is not a JSON object of at most 1 MiB")
    return found


def _cell(shown: Json, column: str) -> object:
    if column == "key":
        key = shown.get("key")
        alias = key.get("alias") if isinstance(key, Mapping) else None
        return alias or shown.get("key_id")
    return progress(shown) if column == "approvals" else shown.get(column)


def _print(shown: Json) -> None:
    if current_settings().as_json:
        print_json(shown)
        return
    print_record(_members(shown))
    click.echo(_request_text(shown))
    votes = shown.get("votes")
    if isinstance(votes, list) and votes:
        columns = ("approver", "vote", "reason", "voted_at", "credential_kind")
        print_table(columns, [[vote.get(name) for name in columns] for vote in votes if isinstance(vote, dict)])


def _show_on_stderr(shown: Json) -> None:
    """Before the question: standard output is for what came of it."""
    for name, value in _members(shown).items():
        click.echo(f"{name.replace('_', ' ')}: {json.dumps(value, ensure_ascii=True)}", err=True)
    click.echo(_request_text(shown), err=True)


def _members(shown: Json) -> dict[str, object]:
    names = (
        *("id", "state", "operation", "requester", "reason", "bound", "created_at", "expires_at", "request_sha256"),
        *("rejected_by", "closed_at", "closed_by"),
    )
    members: dict[str, object] = {name: shown.get(name) for name in names}
    key = shown.get("key")
    arn = key.get("arn") if isinstance(key, Mapping) else None
    return {"key": _cell(shown, "key"), "key_arn": arn, **members, "approvals": progress(shown)}


def _request_text(shown: Json) -> str:
    """The call's body. As ASCII: no letter looks like another, and nothing steers the terminal."""
    return "request " + json.dumps(shown.get("request"), indent=2, ensure_ascii=True)
