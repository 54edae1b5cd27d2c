"""`sealmark keys approval-rule …`: what of a key must be approved, by whom, and by how many of them."""

from __future__ import annotations

import re
from typing import Final, TypedDict, Unpack

import click

from signer.cli.approval_wait import approval_options
from signer.cli.client import Json, open_client
from signer.cli.options import KEY, PRINCIPAL, connection_options, current_settings, yes_option
from signer.cli.output import print_json, print_table

CLASSES: Final = ("sign", "policy", "rotation", "deletion")
_COLUMNS: Final = ("needed", "approvers", "window_seconds", "signed")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Window(click.ParamType[int]):
    """A time, such as 90m: a number and s, m, h or d."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([1-9][0-9]{0,6})([smhd])", str(value))
        if found is None:
            self.fail(f"{value!r} is not a time such as 90m, 24h or 7d", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


class RuleOptions(TypedDict):
    """The options of `approval-rule set`."""

    operations: tuple[str, ...]
    approvers: tuple[str, ...]
    needed: int
    window: int
    signed: bool
    keep: bool


@click.group("approval-rule")
def approval_rule() -> None:
    """What of a key must be approved, and by whom.

    \b
    Examples:
      sealmark keys approval-rule show release
      sealmark keys approval-rule set release --operation sign --approver user/alice --approver user/bob --needed 2
    """


@approval_rule.command("show")
@click.argument("key", type=KEY)
@connection_options
def show(key: str) -> None:
    """Show a key's approval rule.

    \b
    Example:
      sealmark keys approval-rule show release
    """
    with open_client() as client:
        _print(client.get(f"/v1/keys/{key}/approval-rule"))


@approval_rule.command("set")
@click.argument("key", type=KEY)
@click.option(
    "--operation",
    "operations",
    type=click.Choice(CLASSES),
    multiple=True,
    required=True,
    help="sign: every signature; policy: the key policy, grants, tags and aliases; rotation: versions, their schedule "
    "and certificates; deletion: scheduling it, and enabling a disabled key; repeat.",
)
@click.option("--approver", "approvers", type=PRINCIPAL, multiple=True, required=True, help="user/NAME; repeat.")
@click.option("--needed", type=click.IntRange(1, 16), required=True, help="How many of them must approve.")
@click.option("--window", type=Window(), default="24h", show_default=True, help="The life of a request: 1m to 7d.")
@click.option("--signed", is_flag=True, help="Count approvals alone that are signed requests (RFC 9421).")
@click.option("--keep", is_flag=True, help="Leave the rule's other operations as they are, instead of dropping them.")
@approval_options
@connection_options
def set_rule(key: str, **options: Unpack[RuleOptions]) -> None:
    """Make a key's approval rule, or replace it.

    The first rule is yours to make. A rule that is there is changed only with the approval that it asks for itself: of
    every quorum in it. Name more approvers than are needed, or nobody can approve when one is gone.

    \b
    Examples:
      sealmark keys approval-rule set release --operation sign --operation policy --needed 2 \\
          --approver user/alice --approver user/bob --approver user/carol
      sealmark keys approval-rule set release --keep --operation deletion --needed 1 --approver user/alice --wait
    """
    requirement = {
        "approvers": list(options["approvers"]),
        "needed": options["needed"],
        "window_seconds": options["window"],
        "signed": options["signed"],
    }
    path = f"/v1/keys/{key}/approval-rule"
    with open_client() as client:
        present = client.get(path) if options["keep"] else {}
        kept = {name: present[name] for name in CLASSES if present.get(name) is not None}
        _print(client.put(path, kept | dict.fromkeys(options["operations"], requirement)))


@approval_rule.command("remove")
@click.argument("key", type=KEY)
@yes_option
@approval_options
@connection_options
def remove(key: str, yes: bool) -> None:
    """Take a key's approval rule away.

    \b
    Example:
      sealmark keys approval-rule remove release --wait --why "the key is retired"
    """
    if not yes:
        click.confirm(f"Let {key} be used and changed without approval?", abort=True, err=True)
    with open_client() as client:
        path = f"/v1/keys/{key}/approval-rule"
        client.delete(path)
        _print(client.get(path))


def _print(rule: Json) -> None:
    if current_settings().as_json:
        print_json(rule)
        return
    rows = []
    for name in CLASSES:
        each = rule.get(name)
        if isinstance(each, dict):
            rows.append(
                [name, each.get("needed"), each.get("approvers"), each.get("window_seconds"), each.get("signed")]
            )
    if rows:
        print_table(("operation", *_COLUMNS), rows)
    else:
        click.echo("no approval rule: nothing has to be approved")
