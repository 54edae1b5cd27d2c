"""`sealmark access …`: who may do what, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import click

from signer.cli.client import Client, Json, as_object, open_client, open_public_client, text_member
from signer.cli.errors import Unreachable
from signer.cli.options import KEY, PAIR, PRINCIPAL, Command, connection_options, current_settings, pairs_once
from signer.cli.output import cell, print_json, print_record, print_table

_STEPS = ("of", "statement", "effect", "applies", "says")
_PEOPLE = ("principal", "duty", "access", "decided by", "conditions")


def _call_options(command: Command) -> Command:
    """What may be said of the call that is asked about."""
    decorators = (
        click.option("--action", required=True, help="Such as SignArtifact or kms:SignArtifact; see `access actions`."),
        click.option(
            "--context",
            "context",
            type=PAIR,
            multiple=True,
            help="A member of the signing context that the call would have; repeat.",
        ),
        click.option(
            "--detail",
            "details",
            type=PAIR,
            multiple=True,
            help="What the call would have for a condition key, such as aws:SourceIp=10.0.0.5; repeat, also for a key "
            "of many values.",
        ),
        click.option(
            "--at", help="When the call would be made (RFC 3339), such as 2026-12-24T18:00:00Z.  [default: now]"
        ),
    )
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


@click.group()
def access() -> None:
    """Who may do what with a key, and why.

    Nothing is changed or used. Whoever may administer a key asks about it, an auditor about every key, and anyone about
    themselves.

    \b
    Examples:
      sealmark access explain --principal role/ci --action SignArtifact --key release
      sealmark access who-can --action SignArtifact --key release
    """


@access.command("explain")
@click.option("--principal", type=PRINCIPAL, help="Whom it is about.  [default: yourself]")
@click.option("--key", type=KEY, help="The key's alias or id; leave it out where the action is about none.")
@_call_options
@connection_options
def explain(
    principal: str | None,
    key: str | None,
    action: str,
    context: Sequence[tuple[str, str]],
    details: Sequence[tuple[str, str]],
    at: str | None,
) -> None:
    """Say whether a call would be allowed, and why.

    What is not said of the call is as a plain one has it.

    \b
    Examples:
      sealmark access explain --action SignArtifact --key release
      sealmark access explain --principal role/ci --action SignArtifact --key release \\
          --context repository=shop/app --detail sealmark:Format=cms --detail aws:SourceIp=10.0.0.5
    """
    with open_client() as client:
        about = principal or text_member(client.get("/v1/whoami"), "name")
        asked: dict[str, object] = {"principal": about, **_asked(action, context, details, at)}
        found = client.post("/v1/access/explain", asked | ({} if key is None else {"key": key}))
    if current_settings().as_json:
        print_json(found)
        return
    _print_explanation(found)


@access.command("who-can")
@click.option("--key", type=KEY, required=True, help="The key's alias or id.")
@_call_options
@connection_options
def who_can(
    key: str,
    action: str,
    context: Sequence[tuple[str, str]],
    details: Sequence[tuple[str, str]],
    at: str | None,
) -> None:
    """List who may do something with a key.

    Those whom only another call would be allowed stand there too, with the conditions.

    \b
    Example:
      sealmark access who-can --action SignArtifact --key release
    """
    with open_client() as client:
        found = _all_pages(client, {"key": key, **_asked(action, context, details, at)})
    if current_settings().as_json:
        print_json({"principals": found})
        return
    rows = [
        [each.get("principal"), each.get("duty"), each.get("access"), _decided_by(each), _conditions(each)]
        for each in found
    ]
    print_table(_PEOPLE, rows)


@access.command("actions")
@connection_options
def actions() -> None:
    """List every action that policies may name.

    Its part: administer, use or neutral; nobody administers and uses one key. Then the duties that have it.

    \b
    Example:
      sealmark access actions
    """
    with open_public_client() as client:
        found = client.get("/v1/access/actions")
    if current_settings().as_json:
        print_json(found)
        return
    rows = [[each.get("action"), each.get("part"), each.get("duties")] for each in _objects(found, "actions")]
    print_table(("action", "part", "duties"), rows)


def _asked(
    action: str, context: Sequence[tuple[str, str]], details: Sequence[tuple[str, str]], at: str | None
) -> dict[str, object]:
    """The members of a question that both commands have."""
    body: dict[str, object] = {"action": action}
    if context:
        body["context"] = pairs_once(context, "--context")
    if details:
        values: dict[str, list[str]] = {}
        for name, value in details:
            values.setdefault(name, []).append(value)
        body["details"] = values
    return body if at is None else body | {"at": at}


def _all_pages(client: Client, body: Json) -> list[Json]:
    found: list[Json] = []
    path, seen = "/v1/access/who-can", set[str]()
    while True:
        page = client.post(path, body)
        found += _objects(page, "principals")
        cursor = page.get("next_cursor")
        if cursor is None:
            return found
        if not isinstance(cursor, str) or cursor in seen:
            raise Unreachable("the list's pages do not come to an end")
        seen.add(cursor)
        path = f"/v1/access/who-can?cursor={quote(cursor, safe='')}"


def _print_explanation(found: Json) -> None:
    refusal = found.get("refusal")
    print_record(
        {
            "verdict": "allowed" if found.get("allowed") is True else "denied",
            "decided_by": _decided_by(found),
            "why": found.get("why"),
            "answer": None if refusal is None else as_object(refusal, "refusal").get("code"),
        }
    )
    rows = [
        [step.get("source"), step.get("statement"), step.get("effect"), step.get("applies"), step.get("says")]
        for step in _objects(found, "steps")
    ]
    print_table(_STEPS, rows)


def _decided_by(found: Json) -> str:
    by = as_object(found.get("decided_by"), "decided_by")
    return cell(by.get("source")) + ("" if by.get("statement") is None else f": {cell(by.get('statement'))}")


def _conditions(found: Json) -> str:
    """The conditions in a line: each statement's, `unless` before those of one that denies."""
    lines = []
    for statement in _objects(found, "conditions"):
        each = " and ".join(_condition(asked) for asked in _objects(statement, "conditions"))
        lines.append(f"{'unless' if statement.get('effect') == 'Deny' else 'if'} {each}")
    return "; ".join(lines) or "-"


def _condition(asked: Mapping[str, object]) -> str:
    return " ".join(cell(asked.get(name)) for name in ("operator", "key", "values") if asked.get(name))


def _objects(found: Json, member: str) -> list[Json]:
    items = found.get(member)
    if not isinstance(items, list):
        raise Unreachable(f"the answer has no list {member!r}")
    return [as_object(each, member) for each in items]
