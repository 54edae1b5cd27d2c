"""`sealmark approvals`, `sealmark keys approval-rule`, and `--wait`."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from signer.cli.approvals import hash_of
from tests.signer.cli.conftest import Run
from tests.signer.cli.scripted import Answer, ScriptedService, problem

ID: Final = "01953f5a-7c1e-7d3a-9b42-5e1f0a6c8d21"
ONE: Final = f"/v1/approval-requests/{ID}"
ASK: Final = "/v1/keys/tokens/approval-requests"
JWTS: Final = "/v1/keys/tokens/jwts"
RESULT: Final = {"key_version": 1, "token": "aaa.bbb.ccc"}
DONE: Final = Answer(body={"results": [RESULT]})
HELD: Final = problem(403, "approval_required", "others must approve")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signer.cli.approval_wait.FIRST_LOOK", 0.0)


def request(*approved: str, obstacle: str | None = "not_approved", state: str = "open", **members: object) -> Answer:
    left = ["user/alice", "user/bob"]
    shown: dict[str, Any] = {
        "id": ID,
        "key_id": "k1",
        "operation": "jwts",
        "requester": "role/ci",
        "request": {"claims": {"sub": "\N{CYRILLIC SMALL LETTER A}lice", "n": 1.5e300, "at": "\x1b[2J"}},
        "reason": "release",
        "bound": {"key_version": 1, "rule_revision": 1},
        "created_at": "2026-03-01T09:30:00Z",
        "expires_at": "2026-03-01T10:30:00Z",
    }
    shown["request_sha256"] = hash_of(shown)
    progress = {"approvers": left, "needed": 2, "signed": False, "approved_by": list(approved)}
    shown |= {"key": {"alias": "tokens", "arn": "arn:1", "purpose": "jwt"}, "state": state, "obstacle": obstacle}
    shown |= {"needed": 2, "requirements": [progress], "approved_by": list(approved), "rejected_by": [], "votes": []}
    return Answer(201, {**shown, **members})


def sign(run: Run, *more: object) -> Any:
    return run("jwt", "--key", "tokens", "--claim", "sub=alice", *more)


def test_without_wait_a_held_call_fails_and_nothing_is_asked(run: Run, service: ScriptedService) -> None:
    service.on("POST", JWTS, HELD)
    result = sign(run)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "approval_required" in result.stderr
    service.only()


def test_with_wait_the_very_same_call_is_released(run: Run, service: ScriptedService) -> None:
    service.on("POST", JWTS, HELD, DONE)
    service.on("POST", ASK, request())
    service.on("GET", ONE, request(), request("user/alice"), request("user/alice", "user/bob", obstacle=None))
    result = sign(run, "--why", "release 1.2.0", "--wait")
    assert (result.exit_code, result.stdout) == (0, "aaa.bbb.ccc\n")
    assert ID in result.stderr
    assert "0 of 2 approvals, open to user/alice, user/bob" in result.stderr
    assert "1 of 2 approvals (user/alice), open to user/bob" in result.stderr
    first, asked, *looks, last = service.asked
    assert asked.body == {"operation": "jwts", "request": first.body, "reason": "release 1.2.0"}
    assert [look.method for look in looks] == ["GET", "GET", "GET"]
    assert (last.content, last.headers["Sealmark-Approval"]) == (first.content, ID)
    assert last.headers["Idempotency-Key"] == first.headers["Idempotency-Key"]
    assert "Sealmark-Approval" not in first.headers


@pytest.mark.parametrize("obstacle", ["rejected", "expired", "withdrawn", "rule_changed", "key_changed"])
def test_what_is_not_approved_has_an_exit_code_of_its_own(run: Run, service: ScriptedService, obstacle: str) -> None:
    service.on("POST", JWTS, HELD)
    service.on("POST", ASK, request())
    service.on("GET", ONE, request(obstacle=obstacle, rejected_by=["user/bob"]))
    service.on("POST", f"{ONE}/withdraw", request(state="withdrawn", obstacle="withdrawn"))
    result = sign(run, "--wait")
    assert (result.exit_code, result.stdout) == (3, "")
    assert obstacle.replace("_", " ") in result.stderr
    assert [asked.path for asked in service.asked].count(JWTS) == 1


def test_a_request_that_nobody_waits_for_any_more_is_withdrawn(run: Run, service: ScriptedService) -> None:
    service.on("POST", JWTS, HELD)
    service.on("POST", ASK, request())
    service.on("GET", ONE, request("user/alice"))
    service.on("POST", f"{ONE}/withdraw", request(state="withdrawn"))
    result = sign(run, "--wait=0", "--json")
    assert result.exit_code == 3
    error = json.loads(result.stderr.splitlines()[-1])["error"]
    assert error["code"] == "not_approved"
    assert "1 of 2 approvals" in error["message"]
    assert service.asked[-1].path == f"{ONE}/withdraw"


def test_an_approval_that_is_there_goes_with_the_call(run: Run, service: ScriptedService) -> None:
    service.on("POST", JWTS, DONE)
    assert sign(run, "--approval", ID).exit_code == 0
    assert service.only().headers["Sealmark-Approval"] == ID


@pytest.mark.parametrize(
    "options", [("--approval", ID, "--wait"), ("--approval", "x"), ("--why", "x"), ("--wait", "app.tar.gz")]
)
def test_options_that_cannot_be_meant_are_wrong_usage(
    run: Run, service: ScriptedService, options: tuple[str, ...]
) -> None:
    assert sign(run, *options).exit_code == 2
    assert service.asked == []


@pytest.mark.parametrize(
    ("command", "method", "path", "operation"),
    [
        (("keys", "rotate", "tokens"), "POST", "rotate", "rotate"),
        (("keys", "enable", "tokens"), "POST", "enable", "enable"),
        (("keys", "schedule-deletion", "tokens", "--yes"), "POST", "schedule-deletion", "schedule-deletion"),
        (("keys", "approval-rule", "remove", "tokens", "--yes"), "DELETE", "approval-rule", "approval-rule/remove"),
        (("keys", "certificate", "renew", "tokens"), "POST", "certificate/renew", "certificate/renew"),
    ],
)
def test_administrators_wait_too(
    run: Run, service: ScriptedService, command: tuple[str, ...], method: str, path: str, operation: str
) -> None:
    service.on(method, f"/v1/keys/tokens/{path}", HELD, Answer(body={"id": "k1"}))
    service.on("GET", "/v1/keys/tokens/approval-rule", Answer(body={}))
    service.on("POST", ASK, request())
    service.on("GET", ONE, request(obstacle=None))
    assert run(*command, "--wait").exit_code == 0
    assert service.asked[1].body["operation"] == operation
    assert service.asked[3].headers["Sealmark-Approval"] == ID


def test_approving_shows_what_is_approved_and_binds_to_it(run: Run, service: ScriptedService) -> None:
    shown: Any = request().body
    service.on("GET", ONE, request())
    service.on("POST", f"{ONE}/approve", request("user/alice"))
    assert run("approvals", "approve", ID, typed="n\n").exit_code == 1
    assert [asked.method for asked in service.asked] == ["GET"]
    result = run("approvals", "approve", ID, "--reason", "reviewed", typed="y\n")
    assert result.exit_code == 0
    assert r"\u0430lice" in result.stderr  # a letter that looks like another is told from it
    assert "\x1b" not in result.output
    assert service.asked[-1].body == {"request_sha256": shown["request_sha256"], "reason": "reviewed"}
    assert run("approvals", "approve", ID, "--sha256", "0" * 64, "--yes").exit_code == 1
    assert service.asked[-1].method == "GET"


def test_what_does_not_have_the_hash_that_is_shown_is_not_approved(run: Run, service: ScriptedService) -> None:
    service.on("GET", ONE, request(request={"claims": {"sub": "mallory"}}))
    for command in (("approve", ID, "--yes"), ("show", ID)):
        result = run("approvals", *command)
        assert result.exit_code == 1
        assert "untrusted_answer" in result.stderr
    assert {asked.method for asked in service.asked} == {"GET"}


def test_asking_listing_rejecting_and_withdrawing(run: Run, service: ScriptedService) -> None:
    service.on("POST", ASK, request())
    for word in ("reject", "withdraw"):
        service.on("POST", f"{ONE}/{word}", request(state="withdrawn"))
    page = {"approval_requests": [request().body], "next_cursor": "next"}
    service.on("GET", "/v1/approval-requests", Answer(body=page), Answer(body={**page, "next_cursor": None}))
    asked = run(
        *("approvals", "request", "--key", "tokens", "--operation", "jwts", "--request", "-"), typed='{"claims": {}}'
    )
    assert asked.exit_code == 0
    assert service.asked[-1].body == {"operation": "jwts", "request": {"claims": {}}, "reason": ""}
    listed = run("approvals", "list")
    assert listed.stdout.count(ID) == 2
    assert [asked.query for asked in service.asked[-2:]] == [{"state": "open"}, {"state": "open", "cursor": "next"}]
    assert json.loads(run("approvals", "list", "--all", "--json").stdout)["approval_requests"]
    assert service.asked[-1].query == {}
    assert run("approvals", "reject", ID, "--reason", "no").exit_code == 0
    assert service.asked[-1].body == {"reason": "no"}
    assert run("approvals", "withdraw", ID).exit_code == 0
    assert (
        run("approvals", "request", "--key", "tokens", "--operation", "jwts", "--request", "-", typed="[]").exit_code
        == 2
    )


def test_rules_are_set_shown_and_kept(run: Run, service: ScriptedService) -> None:
    path = "/v1/keys/tokens/approval-rule"
    requirement = {"approvers": ["user/alice"], "needed": 1, "window_seconds": 60, "signed": True}
    service.on("GET", path, Answer(body={"key_id": "k1", "revision": 1, "sign": requirement, "policy": None}))
    service.on("PUT", path, Answer(body={"key_id": "k1", "revision": 2, "sign": requirement}))
    shown = run("keys", "approval-rule", "show", "tokens")
    assert "user/alice" in shown.stdout
    options = ("--operation", "deletion", "--approver", "user/bob", "--needed", "1", "--window", "2h", "--keep")
    assert run("keys", "approval-rule", "set", "tokens", *options).exit_code == 0
    new = {"approvers": ["user/bob"], "needed": 1, "window_seconds": 7200, "signed": False}
    assert service.asked[-1].body == {"sign": requirement, "deletion": new}
    assert run("keys", "approval-rule", "set", "tokens", *options[:-2], "soon").exit_code == 2
