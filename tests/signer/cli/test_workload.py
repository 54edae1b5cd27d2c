"""Where a command finds a job's own identity, to whom it sends it, and what it says when there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.signer.cli.conftest import TOKEN, Run
from tests.signer.cli.scripted import Answer, ScriptedService, problem

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
OTHER = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ5In0.c2lnbmF0dXJl"
SESSION = "smk_the-session"
EXCHANGED = {"access_token": SESSION, "token_type": "Bearer", "expires_in": 900, "name": "role/ci"}
ME = Answer(body={"name": "role/ci", "duty": "key-user"})
NO_TOKEN: dict[str, str | None] = {
    "SEALMARK_TOKEN": None,
    "SEALMARK_OIDC_TOKEN": None,
    "SEALMARK_OIDC_TOKEN_FILE": None,
    "SEALMARK_OIDC_AUDIENCE": None,
    "SEALMARK_OIDC_ROLE": None,
    "ACTIONS_ID_TOKEN_REQUEST_URL": None,
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": None,
}


@pytest.fixture(autouse=True)
def answers(service: ScriptedService) -> None:
    service.on("POST", "/v1/token-exchange", Answer(body=EXCHANGED))
    service.on("GET", "/v1/whoami", ME)
    service.on("GET", "/actions", Answer(body={"value": JWT, "count": 1}))


def github(service: ScriptedService, **changes: str | None) -> dict[str, str | None]:
    given = {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{service.url}/actions?api-version=2.0",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "the-job's",
    }
    return {**NO_TOKEN, **given, **changes}


def test_the_token_of_the_environment_is_exchanged_and_the_session_used(run: Run, service: ScriptedService) -> None:
    result = run("whoami", environment={**NO_TOKEN, "SEALMARK_OIDC_TOKEN": f"{JWT}\n"})
    assert result.exit_code == 0, result.stderr
    first, second = service.asked
    assert (first.path, first.body, first.headers.get("Authorization")) == (
        *("/v1/token-exchange", {"subject_token": JWT}, None),
    )
    assert (second.path, second.headers["Authorization"]) == ("/v1/whoami", f"Bearer {SESSION}")


def test_a_projected_file_may_be_read_by_others(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(JWT)
    (tmp_path / "token").chmod(0o644)
    result = run(
        "whoami", environment={**NO_TOKEN, "SEALMARK_OIDC_TOKEN_FILE": "token", "SEALMARK_OIDC_ROLE": "role/x"}
    )
    assert result.exit_code == 0, result.stderr
    assert service.asked[0].body == {"subject_token": JWT, "role": "role/x"}


@pytest.mark.parametrize("audience", [None, "https://sealmark.example"])
def test_github_is_asked_for_a_token_for_this_service(run: Run, service: ScriptedService, audience: str | None) -> None:
    assert run("whoami", environment=github(service, SEALMARK_OIDC_AUDIENCE=audience)).exit_code == 0
    asked, exchanged, _ = service.asked
    assert asked.query == {"api-version": "2.0", "audience": audience or service.url}
    assert asked.headers["Authorization"] == "Bearer the-job's"
    assert (exchanged.body, exchanged.headers.get("Authorization")) == ({"subject_token": JWT}, None)


def test_a_token_that_is_given_comes_first(run: Run, service: ScriptedService) -> None:
    variables = {**github(service), "SEALMARK_TOKEN": TOKEN, "SEALMARK_OIDC_TOKEN": JWT}
    assert run("whoami", environment=variables).exit_code == 0
    assert service.only().headers["Authorization"] == f"Bearer {TOKEN}"


def test_what_anybody_may_read_needs_no_identity(run: Run, service: ScriptedService) -> None:
    service.on("GET", "/v1/trust", Answer(body=b"{}"))
    run("trust", environment={**NO_TOKEN, "SEALMARK_OIDC_TOKEN": JWT})
    assert [asked.path for asked in service.asked] == ["/v1/trust"]


@pytest.mark.parametrize("text", ["", "one.two", "a.b.c.d", "a b.c.d", "a.b.é", "x" * 16400 + ".b.c"])
def test_a_file_must_hold_one_token(run: Run, service: ScriptedService, tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    result = run("whoami", environment={**NO_TOKEN, "SEALMARK_OIDC_TOKEN_FILE": "token"})
    assert (result.exit_code, "bad_token" in result.stderr) == (1, True)
    assert not service.asked


def test_two_identities_are_wrong_usage_and_none_is_explained(run: Run, service: ScriptedService) -> None:
    both = run("whoami", environment={**NO_TOKEN, "SEALMARK_OIDC_TOKEN": JWT, "SEALMARK_OIDC_TOKEN_FILE": "token"})
    none = run("whoami", environment=NO_TOKEN)
    assert both.exit_code == none.exit_code == 2
    assert "id-token: write" in none.stderr
    login = run("login", environment=NO_TOKEN)
    assert (login.exit_code, "no_identity" in login.stderr) == (1, True)
    assert not service.asked


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ACTIONS_ID_TOKEN_REQUEST_TOKEN": None}, "id-token: write"),
        ({"ACTIONS_ID_TOKEN_REQUEST_URL": "http://actions.example/token"}, "not https"),
        ({"ACTIONS_ID_TOKEN_REQUEST_URL": "https://a.example:port/"}, "not a URL"),
    ],
)
def test_a_github_job_that_may_not_ask(run: Run, service: ScriptedService, changes: dict[str, Any], said: str) -> None:
    result = run("whoami", environment=github(service, **changes))
    assert (result.exit_code, said in result.stderr) == (1, True), result.stderr
    assert not service.asked


@pytest.mark.parametrize(
    "answer",
    [
        Answer(403, {}),
        Answer(302, None, {"Location": "/elsewhere"}),
        Answer(200, b"<html>"),
        Answer(200, ["x"]),
        Answer(200, {"value": 7}),
        Answer(200, {"value": "no token"}),
        Answer(200, b"x" * 70_000),
    ],
)
def test_a_strange_answer_of_github_is_no_token(run: Run, service: ScriptedService, answer: Answer) -> None:
    service.on("GET", "/strange", answer)
    variables = github(service, ACTIONS_ID_TOKEN_REQUEST_URL=f"{service.url}/strange")
    result = run("whoami", environment=variables)
    assert result.exit_code == 1
    assert "the-job's" not in result.output
    assert [asked.path for asked in service.asked] == ["/strange"]


def test_github_is_asked_again_when_it_is_busy(run: Run, service: ScriptedService) -> None:
    service.on("GET", "/busy", Answer(503, {}), Answer(body={"value": JWT}))
    assert run("whoami", environment=github(service, ACTIONS_ID_TOKEN_REQUEST_URL=f"{service.url}/busy")).exit_code == 0


def test_a_refused_token_is_explained(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    with ScriptedService() as refusing:
        refusing.on(
            "POST", "/v1/token-exchange", problem(401, "unauthenticated", "It was not exchanged.", request_id="r-1")
        )
        result = run("whoami", "--url", refusing.url, environment={**NO_TOKEN, "SEALMARK_OIDC_TOKEN": JWT})
    assert result.exit_code == 1
    for words in ("unauthenticated", f"audience {refusing.url}", "sealmark login", "r-1"):
        assert words in result.stderr
    assert JWT not in result.output


def test_login_keeps_the_session_for_many_commands(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(JWT)
    result = run("login", "--oidc-token-file", "token", "--role", "role/ci", "--json", environment=NO_TOKEN)
    assert json.loads(result.stdout) == {"name": "role/ci", "token_file": "sealmark-session.token", "expires_in": 900}
    kept = tmp_path / "sealmark-session.token"
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == (f"{SESSION}\n", 0o600)
    assert service.only().body == {"subject_token": JWT, "role": "role/ci"}
    assert SESSION not in result.output
    again = run("login", "--oidc-token-file", "token", environment=NO_TOKEN)
    assert (again.exit_code, "exists" in again.stderr, len(service.asked)) == (1, True, 1)
    assert run("login", "--oidc-token-file", "token", "--force", environment=NO_TOKEN).exit_code == 0


def test_login_of_a_github_job_takes_no_other_identity(run: Run, service: ScriptedService) -> None:
    variables = github(service, SEALMARK_OIDC_TOKEN=OTHER)
    assert run("login", "--github", "--audience", "https://a.example", environment=variables).exit_code == 0
    assert service.asked[0].query["audience"] == "https://a.example"
    assert service.asked[1].body == {"subject_token": JWT}


@pytest.mark.parametrize("answer", [{}, {"access_token": 7, "name": "x", "expires_in": 1}, {**EXCHANGED, "name": None}])
def test_an_answer_without_a_session_is_not_the_services(run: Run, answer: dict[str, Any], tmp_path: Path) -> None:
    with ScriptedService() as strange:
        strange.on("POST", "/v1/token-exchange", Answer(body=answer))
        variables = {**NO_TOKEN, "SEALMARK_OIDC_TOKEN": JWT}
        result = run("login", "--url", strange.url, environment=variables)
    assert (result.exit_code, "unreachable" in result.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []
