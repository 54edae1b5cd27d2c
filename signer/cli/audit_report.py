"""`sealmark audit report` and `history`: how keys are used and looked after, and what was changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

import click

from signer.cli.audit_filters import time_range, times_of
from signer.cli.audit_output import csv_option, wanted_form, write_csv
from signer.cli.client import Json, open_client
from signer.cli.options import KEY, connection_options
from signer.cli.output import cell, note, print_json, print_record, print_table

REPORT: Final = "/v1/audit/report"
HISTORY: Final = "/v1/audit/history"
LACKS: Final = ("use", "policy-review", "certificate", "rotation")
OF: Final = ("policies", "grants", "principals", "credentials", "issuers", "keys", "certificates", "domains")
_KEY_COLUMNS: Final = (
    *("key", "state", "uses", "denied", "failed", "users", "last use", "policy changed", "policy reviewed"),
    *("certificate until", "rotated", "lacks"),
)
_KEY_FIELDS: Final = (
    *("key_id", "alias", "purpose", "spec", "state", "created_at", "created_by", "uses", "denied", "failed"),
    *("first_use", "last_use", "principals", "policy_revision", "last_policy_change", "last_policy_review"),
    *("certificate", "last_rotation", "lacks"),
)
_CALL_COLUMNS: Final = ("principal", "action", "outcome", "count", "first", "last")
_CHANGE_COLUMNS: Final = ("index", "time", "by", "action", "key", "about", "what")
_CHANGE_FIELDS: Final = (
    *("log", "index", "of", "time", "action", "principal", "outcome", "key_id", "key_alias", "subject", "approval"),
    *("request_id", "detail", "policy"),
)


@click.command("report")
@click.option("--key", type=KEY, help="One key alone, in full (alias or id).")
@click.option("--without", type=click.Choice(LACKS), help="Keys alone that lack this.")
@click.option(
    "--days", type=click.IntRange(1, 36_500), default=90, show_default=True, help="Within how many days it is lacking."
)
@click.option(
    "--per", type=click.Choice(("day", "week")), default="week", show_default=True, help="How one key's uses are shown."
)
@time_range
@csv_option
@connection_options
def report(key: str | None, without: str | None, days: int, per: str, as_csv: bool, **between: object) -> None:
    """Say of each key who uses it for what, and what it lacks.

    Uses and denials are counted within --from and --to; what was done last is of all time. A policy counts as reviewed
    when an auditor or an administrator of the key has read or set it.

    \b
    Examples:
      sealmark audit report
      sealmark audit report --without use --days 30
      sealmark audit report --key release --per day --from 14d
    """
    form = wanted_form(as_csv)
    query = {"days": str(days), "per": per, **times_of(between)}
    query |= {name: value for name, value in (("key", key), ("without", without)) if value is not None}
    with open_client() as client:
        keys = list(client.pages(REPORT, "keys", query))
    if form == "json":
        print_json({"days": days, **times_of(between), "keys": keys})
    elif form == "csv":
        write_csv(_KEY_FIELDS, ([found.get(name) for name in _KEY_FIELDS] for found in keys))
    elif key is not None and keys:
        _print_in_full(keys[0])
    else:
        print_table(_KEY_COLUMNS, [_key_cells(found) for found in keys])


@click.command("history")
@click.option("--of", type=click.Choice(OF), help="What kind of change.  [default: all]")
@click.option("--key", type=KEY, help="Changes to this key (alias or id).")
@click.option("--principal", help="Changes that this principal made, or that were about it.")
@click.option("--oldest", is_flag=True, help="Oldest first.  [default: newest first]")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Changes at most.")
@click.option("--all", "every", is_flag=True, help="Without a limit.")
@time_range
@csv_option
@connection_options
def history(
    of: str | None,
    key: str | None,
    principal: str | None,
    oldest: bool,
    limit: int,
    every: bool,
    as_csv: bool,
    **between: object,
) -> None:
    """List what was changed, when and by whom.

    Policies, grants, principals, credentials, issuers, keys, certificates and domains; with --json the policies
    themselves too, as they were from then on.

    \b
    Examples:
      sealmark audit history --of policies --from 30d
      sealmark audit history --key release --json
      sealmark audit history --principal user/key-admin
    """
    form = wanted_form(as_csv)
    given = {"of": of, "key": key, "principal": principal, "order": "oldest" if oldest else None}
    query = {name: value for name, value in given.items() if value is not None} | times_of(between)
    most = None if every else limit + 1
    with open_client() as client:
        page = {"limit": str(1000 if most is None else min(most, 1000))}
        changes = list(islice(client.pages(HISTORY, "changes", query | page), most))
    more = not every and len(changes) > limit
    changes = changes[: limit if more else None]
    if form == "json":
        print_json({"changes": changes, "more": more})
        return
    if form == "csv":
        write_csv(_CHANGE_FIELDS, ([change.get(name) for name in _CHANGE_FIELDS] for change in changes))
    else:
        print_table(_CHANGE_COLUMNS, [_change_cells(change) for change in changes])
    if more:
        note(f"there are more than these {limit}: --limit N or --all shows them")


def _key_cells(found: Json) -> list[object]:
    return [
        found.get("alias") or found.get("key_id"),
        *(found.get(name) for name in ("state", "uses", "denied", "failed")),
        [each.get("principal") for each in _objects(found, "principals") if _has_used(each)],
        found.get("last_use"),
        *(_member(found, name, "at") for name in ("last_policy_change", "last_policy_review")),
        _member(found, "certificate", "not_after"),
        _member(found, "last_rotation", "at"),
        found.get("lacks"),
    ]


def _has_used(person: Json) -> bool:
    """Whether it is one who signed: its counts have something that succeeded with the key itself."""
    signing = ("Sign", "SignArtifact", "IssueToken", "IssueAssertion", "IssueCertificate", "SignRevocationList")
    return any(
        call.get("action") in signing and call.get("outcome") == "succeeded" for call in _objects(person, "actions")
    )


def _print_in_full(found: Json) -> None:
    plain = {name: found.get(name) for name in _KEY_FIELDS if name != "principals"}
    print_record(plain)
    calls = [
        [
            person.get("principal"),
            call.get("action"),
            _with_code(call),
            *(call.get(n) for n in ("count", "first", "last")),
        ]
        for person in _objects(found, "principals")
        for call in _objects(person, "actions")
    ]
    print_table(_CALL_COLUMNS, calls, title="Who did what")
    periods = [[period.get(name) for name in ("from", "uses", "denied")] for period in _objects(found, "periods")]
    print_table((f"{cell(found.get('per'))} from", "uses", "denied"), periods, title="When")
    people = [
        [person.get(name) for name in ("principal", "by", "last_use", "idle")] for person in _objects(found, "may_use")
    ]
    print_table(("principal", "by", "last use", "idle"), people, title="Who may use it")


def _with_code(call: Json) -> str:
    code = call.get("code")
    return cell(call.get("outcome")) + ("" if code is None else f": {cell(code)}")


def _change_cells(change: Json) -> list[object]:
    policy = change.get("policy")
    reason = policy.get("reason") if isinstance(policy, Mapping) else None
    return [
        change.get("index"),
        change.get("time"),
        change.get("principal"),
        change.get("action"),
        change.get("key_alias") or change.get("key_id"),
        change.get("subject"),
        "; ".join(cell(part) for part in (change.get("detail"), reason) if part) or None,
    ]


def _objects(found: Json, member: str) -> list[Json]:
    items = found.get(member)
    if not isinstance(items, Sequence) or isinstance(items, str):
        return []
    return [item for item in items if isinstance(item, Mapping)]


def _member(found: Json, name: str, member: str) -> object:
    value = found.get(name)
    return value.get(member) if isinstance(value, Mapping) else None
