"""Calls that others must approve: an approval that is there already, or one that is asked for and waited for."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import click

from signer.cli.errors import CommandFailed, Unreachable
from signer.cli.output import note

if TYPE_CHECKING:
    from signer.cli.client import Client

HEADER: Final = "Sealmark-Approval"
FIRST_LOOK: Final = 1.0  # seconds; the pauses between looks grow to the last one
LAST_LOOK: Final = 10.0
_ABOUT_A_KEY: Final = re.compile(r"/v1/keys/(?P<key>[A-Za-z0-9_-]+)/(?P<call>.+)")
_META: Final = "signer.cli.approval."
_WHENEVER: Final = "until-it-expires"

Command = TypeVar("Command", bound=Callable[..., object])


class NotApproved(CommandFailed):
    """Nobody released the call: rejected, expired, withdrawn, or not in the time that was given. Nothing was done."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Approval:
    """What the command line says: an approval's id, or how long to wait for one (None: not; infinite: its window)."""

    given: str | None = None
    wait: float | None = None
    reason: str = ""


class Seconds(click.ParamType[float]):
    """The value of `--wait`, which may be left out."""

    name = "seconds"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds; infinite where the option stands alone."""
        if value == _WHENEVER:
            return float("inf")
        text = str(value)
        if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,3})?", text):
            self.fail(
                f"{text!r} is not a number of seconds: write --wait=SECONDS, or --wait after the files", param, ctx
            )
        return float(text)


def _remember(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if value is not None:
        context.meta[f"{_META}{parameter.name}"] = value


def approval_options(command: Command) -> Command:
    """`--wait`, `--why` and `--approval`, for commands that an approval rule may hold."""
    decorators: list[Callable[[Command], Command]] = [
        click.option(
            "--wait",
            "wait",
            type=Seconds(),
            is_flag=False,
            flag_value=_WHENEVER,
            metavar="[SECONDS]",
            expose_value=False,
            callback=_remember,
            help="Where others must approve it: ask them, and wait that long.  [without SECONDS: while they may]",
        ),
        click.option("--why", expose_value=False, callback=_remember, help="With --wait: shown to the approvers."),
        click.option(
            "--approval",
            "given",
            type=click.UUID,
            metavar="ID",
            expose_value=False,
            callback=_remember,
            help="Use this approval request, which others have approved.",
        ),
    ]
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def current_approval() -> Approval:
    """What the command that runs now was told."""
    meta: Mapping[str, object] = click.get_current_context().meta
    given, wait, reason = (meta.get(f"{_META}{name}") for name in ("given", "wait", "why"))
    if given is not None and wait is not None:
        raise click.UsageError("--approval and --wait exclude each other: one is there, the other is asked for")
    if reason is not None and wait is None:
        raise click.UsageError("--why goes with --wait: approvers read it")
    return Approval(None if given is None else str(given), wait if isinstance(wait, float) else None, str(reason or ""))


def obtain(
    client: Client,
    approval: Approval,
    method: str,
    path: str,
    body: Mapping[str, object],
    sleep: Callable[[float], None],
) -> str:
    """Asks for approval of a call and waits until it is there; the request's id.

    A request that nobody waits for any more is withdrawn, so that nothing is left that could be released later.
    Raises: `NotApproved`, and what the service refuses.
    """
    found = _ABOUT_A_KEY.fullmatch(path)
    if found is None:
        raise Unreachable("the service asks for approval of a call that is about no key")
    operation = found["call"] + ("/remove" if method == "DELETE" else "")
    asked = {"operation": operation, "request": dict(body), "reason": approval.reason}
    made = client.post(f"/v1/keys/{found['key']}/approval-requests", asked)
    request_id = _text(made, "id")
    note(f"waiting for approval {request_id}: {progress(made)}, until {_text(made, 'expires_at')}")
    try:
        _wait(client, made, request_id, approval.wait or 0.0, sleep)
    except (KeyboardInterrupt, NotApproved):
        with suppress(CommandFailed):
            client.post(f"/v1/approval-requests/{request_id}/withdraw", {})
        raise
    return request_id


def _wait(
    client: Client, made: Mapping[str, object], request_id: str, seconds: float, sleep: Callable[[float], None]
) -> None:
    deadline, pause, said = time.monotonic() + seconds, FIRST_LOOK, progress(made)
    while True:
        shown = client.get(f"/v1/approval-requests/{request_id}")
        if progress(shown) != said:
            said = progress(shown)
            note(f"approval {request_id}: {said}")
        obstacle = shown.get("obstacle")
        if obstacle is None:
            return
        if obstacle != "not_approved":
            against = ", ".join(_names(shown, "rejected_by"))
            words = f"{str(obstacle).replace('_', ' ')}{f' by {against}' if against else ''}"
            raise NotApproved(f"approval request {request_id}: {words}; nothing was done", code="not_approved")
        left = deadline - time.monotonic()
        if left <= 0:
            message = f"approval request {request_id}: {said} when the time was over; it is withdrawn, nothing was done"
            raise NotApproved(message, code="not_approved")
        sleep(min(pause, left))
        pause = min(pause * 1.5, LAST_LOOK)


def progress(shown: Mapping[str, object]) -> str:
    """How far a request is, and who may approve it, in a line."""
    lines = []
    requirements = shown.get("requirements")
    for each in requirements if isinstance(requirements, list) else []:
        members = each if isinstance(each, dict) else {}
        by = _names(members, "approved_by")
        left = [name for name in _names(members, "approvers") if name not in by]
        lines.append(
            f"{len(by)} of {members.get('needed')} approvals"
            + (f" ({', '.join(by)})" if by else "")
            + (f", open to {', '.join(left)}" if left else "")
        )
    return "; ".join(dict.fromkeys(lines))


def _names(members: Mapping[str, object], name: str) -> list[str]:
    found = members.get(name)
    return [str(each) for each in found] if isinstance(found, list) else []


def _text(members: Mapping[str, object], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise Unreachable(f"the answer has no text {name!r}")
    return value
