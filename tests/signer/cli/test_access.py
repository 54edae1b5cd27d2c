"""`sealmark access …`: what is asked of the service, and how its answers are shown."""

from __future__ import annotations

import json

import pytest

from tests.signer.cli.conftest import Run
from tests.signer.cli.scripted import Answer, ScriptedService, problem

ASKED = {"operator": "StringEquals", "key": "sealmark:Format", "values": ["cms"], "found": ["raw"], "met": False}
STATEMENT = {"source": "key policy", "statement": "Cms", "effect": "Allow", "conditions": [ASKED]}
DENIED = {
    "principal": "role/ci",
    "duty": "key-user",
    "action": "kms:SignArtifact",
    "key": {"id": "x", "alias": "release"},
    "allowed": False,
    "decided_by": {"source": "nothing", "statement": None},
    "why": "role/ci may not do kms:SignArtifact with the key release.",
    "refusal": {"code": "policy_forbids", "detail": "no"},
    "steps": [{**STATEMENT, "applies": False, "says": "the key policy's statement Cms allows it, but not here"}],
    "circumstances": {},
}


def test_a_question_holds_what_was_said_of_the_call(run: Run, service: ScriptedService) -> None:
    service.on("POST", "/v1/access/explain", Answer(body=DENIED))
    details = (
        "--detail",
        "sealmark:Format=raw",
        "--detail",
        "sealmark:Format=cms",
        "--detail",
        "aws:SourceIp=10.0.0.5",
    )
    more = ("--context", "repository=shop/app", "--at", "2026-12-24T18:00:00Z", *details)
    result = run("access", "explain", "--principal", "role/ci", "--action", "SignArtifact", "--key", "release", *more)
    assert result.exit_code == 0
    assert service.only().body == {
        "principal": "role/ci",
        "action": "SignArtifact",
        "key": "release",
        "context": {"repository": "shop/app"},
        "details": {"sealmark:Format": ["raw", "cms"], "aws:SourceIp": ["10.0.0.5"]},
        "at": "2026-12-24T18:00:00Z",
    }
    assert "verdict     denied" in result.stdout
    assert "answer      policy_forbids" in result.stdout
    assert "allows it, but not here" in result.stdout


def test_without_a_principal_it_is_about_the_caller(run: Run, service: ScriptedService) -> None:
    service.on("GET", "/v1/whoami", Answer(body={"name": "user/me", "duty": "key-administrator"}))
    service.on("POST", "/v1/access/explain", Answer(body=DENIED))
    result = run("access", "explain", "--action", "CreateKey", "--json")
    assert json.loads(result.stdout) == DENIED
    assert service.asked[-1].body == {"principal": "user/me", "action": "CreateKey"}


def test_who_can_follows_the_pages_and_shows_conditions(run: Run, service: ScriptedService) -> None:
    ci = {
        **{name: DENIED[name] for name in ("principal", "duty", "decided_by", "why", "refusal")},
        "access": "conditional",
        "conditions": [STATEMENT, {**STATEMENT, "effect": "Deny"}],
    }
    service.on("POST", "/v1/access/who-can", Answer(body={"principals": [ci], "next_cursor": None}))
    result = run("access", "who-can", "--action", "SignArtifact", "--key", "release")
    assert service.only().body == {"key": "release", "action": "SignArtifact"}
    assert "if StringEquals sealmark:Format cms; unless StringEquals sealmark:Format cms" in result.stdout
    shown = json.loads(run("access", "who-can", "--action", "SignArtifact", "--key", "release", "--json").stdout)
    assert shown == {"principals": [ci]}


def test_pages_that_never_end_are_noticed(run: Run, service: ScriptedService) -> None:
    service.on("POST", "/v1/access/who-can", Answer(body={"principals": [], "next_cursor": "YQ=="}))
    result = run("access", "who-can", "--action", "SignArtifact", "--key", "release")
    assert result.exit_code == 1
    assert "do not come to an end" in result.stderr
    assert len(service.asked) == 2


def test_the_table_of_actions_needs_no_token(run: Run, service: ScriptedService) -> None:
    rows = [{"action": "kms:SignArtifact", "part": "use", "duties": ["key-user"]}]
    service.on("GET", "/v1/access/actions", Answer(body={"actions": rows}))
    result = run("access", "actions", environment={"SEALMARK_TOKEN": None})
    assert result.exit_code == 0
    assert "kms:SignArtifact" in result.stdout
    assert json.loads(run("access", "actions", "--json").stdout) == {"actions": rows}


def test_an_unknown_action_says_which_it_may_have_been(run: Run, service: ScriptedService) -> None:
    refusal = problem(422, "unprocessable", "there is no action Sing; did you mean kms:Sign?", field="action")
    service.on("POST", "/v1/access/explain", refusal)
    result = run("access", "explain", "--principal", "role/ci", "--action", "Sing", "--key", "release")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "did you mean kms:Sign?" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain",),
        ("explain", "--action", "Sign", "--key", "a/b"),
        ("explain", "--action", "Sign", "--principal", "ci"),
        ("explain", "--action", "Sign", "--principal", "role/ci", "--detail", "format"),
        ("explain", "--action", "Sign", "--principal", "role/ci", "--context", "a=1", "--context", "a=2"),
        ("who-can", "--action", "Sign"),
        ("who-can", "--key", "release"),
        ("actions", "more"),
    ],
)
def test_wrong_usage_reaches_no_service(run: Run, service: ScriptedService, arguments: tuple[str, ...]) -> None:
    assert run("access", *arguments).exit_code == 2
    assert not service.asked
