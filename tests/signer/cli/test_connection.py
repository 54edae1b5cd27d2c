"""Where the commands connect to, with which token, and what they say when it goes wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from signer.cli.client import Client
from signer.cli.errors import CommandFailed, Unreachable
from signer.cli.proving import Proof
from signer.cli.retry import RetryLimits, parse_retry_after
from tests.signer.cli.conftest import TOKEN, Run
from tests.signer.cli.scripted import Answer, ScriptedService, problem

ME = Answer(body={"name": "role/ci", "duty": "key-user"})


def write_token(path: Path, mode: int = 0o600, text: str = "from-the-file\n") -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_token_of_the_environment_is_sent_as_a_bearer_token(run: Run, service: ScriptedService) -> None:
    service.on("GET", "/v1/whoami", ME)
    result = run("whoami")
    assert (result.exit_code, result.output) == (0, "name  role/ci\nduty  key-user\n")
    assert service.only().headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("before", [True, False])
def test_options_may_stand_before_and_after_the_command(
    run: Run, service: ScriptedService, tmp_path: Path, before: bool
) -> None:
    service.on("GET", "/v1/whoami", ME)
    options = ("--token-file", write_token(tmp_path / "t"), "--url", service.url, "--json")
    arguments = (*options, "whoami") if before else ("whoami", *options)
    result = run(*arguments, environment={"SEALMARK_URL": "http://127.0.0.1:1", "SEALMARK_TOKEN": None})
    assert json.loads(result.stdout) == ME.body
    assert service.only().headers["Authorization"] == "Bearer from-the-file"


def test_no_token_is_wrong_usage(run: Run, service: ScriptedService) -> None:
    result = run("whoami", environment={"SEALMARK_TOKEN": None})
    assert result.exit_code == 2
    assert "SEALMARK_TOKEN" in result.stderr
    assert not service.asked


def test_there_is_no_option_for_a_token(run: Run, service: ScriptedService) -> None:
    result = run("whoami", "--token", "secret")
    assert result.exit_code == 2
    assert not service.asked


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_token_file_that_others_may_read_is_refused(
    run: Run, service: ScriptedService, tmp_path: Path, mode: int
) -> None:
    result = run("whoami", "--token-file", write_token(tmp_path / "t", mode))
    assert result.exit_code == 1
    assert "weak_file_mode" in result.stderr
    assert "from-the-file" not in result.output
    assert not service.asked


@pytest.mark.parametrize(
    "text", ["", "\n", "two words", "line\nline", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "x" * 5000]
)
def test_a_token_file_must_hold_one_token(run: Run, service: ScriptedService, tmp_path: Path, text: str) -> None:
    result = run("whoami", "--token-file", write_token(tmp_path / "t", text=text))
    assert result.exit_code == 1
    assert "bad_secret" in result.stderr
    assert not service.asked


def test_a_missing_token_file_is_named(run: Run, tmp_path: Path) -> None:
    result = run("whoami", "--token-file", tmp_path / "missing")
    assert result.exit_code == 1
    assert str(tmp_path / "missing") in result.stderr


@pytest.mark.parametrize(
    "url",
    [
        "http://sealmark.example:8200",
        "http://192.0.2.7",
        "ftp://127.0.0.1",
        "127.0.0.1:8200",
        "https://",
        "https://user:password@sealmark.example",
        "http://127.0.0.1:8200/?x=1",
        "http://[::1",
    ],
)
def test_an_address_that_could_leak_the_token_or_is_none_is_wrong_usage(run: Run, url: str) -> None:
    assert run("whoami", "--url", url).exit_code == 2


def test_a_proxy_of_the_environment_does_not_see_calls_to_this_machine(run: Run, service: ScriptedService) -> None:
    service.on("GET", "/v1/whoami", ME)
    assert run("whoami", environment={"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": None}).exit_code == 0


def test_a_redirect_is_not_followed(run: Run, service: ScriptedService) -> None:
    service.on("GET", "/v1/whoami", Answer(307, None, {"Location": f"{service.url}/elsewhere"}))
    assert run("whoami").exit_code == 1
    assert len(service.asked) == 1


def test_a_problem_is_one_line_with_code_field_and_request_id(run: Run, service: ScriptedService) -> None:
    service.on(
        "GET", "/v1/whoami", problem(401, "unauthenticated", "No\x1b[31m such\ntoken.", field="x", request_id="r-1")
    )
    result = run("whoami")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        "Error: unauthenticated: No\N{REPLACEMENT CHARACTER}[31m such token. (field: x, request id: r-1)\n"
    )


def test_a_problem_as_json(run: Run, service: ScriptedService) -> None:
    service.on("GET", "/v1/whoami", problem(401, "unauthenticated", request_id="r-1"))
    result = run("whoami", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert json.loads(result.stderr) == {"error": {"code": "unauthenticated", "message": "No.", "request_id": "r-1"}}


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=b"<html>"),
        Answer(body=["a list"]),
        Answer(body={"other": 1}),
        Answer(500, b"oops"),
        Answer(404, {"x": 1}),
        Answer(body=b"[" * 100_000),
    ],
)
def test_what_is_not_sealmark_is_said_to_be_none(run: Run, service: ScriptedService, answer: Answer) -> None:
    service.on("GET", "/v1/whoami", answer)
    result = run("whoami")
    assert result.exit_code == 1
    assert "unreachable" in result.stderr


def test_nobody_there_is_said_at_once(run: Run) -> None:
    result = run("whoami", "--url", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "no service answers at http://127.0.0.1:1" in result.stderr


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def client(service: ScriptedService, waits: list[float]) -> Client:
    return Client(service.url, Proof(token=TOKEN), limits=RetryLimits(attempts=4, seconds=60), sleep=waits.append)


BUSY = problem(429, "too_many_requests", headers={"Retry-After": "7"})
DOWN = problem(503, "hsm_unavailable", headers={"Retry-After": "3"})


@pytest.mark.parametrize("refusal", [BUSY, DOWN, Answer(0), problem(409, "request_in_progress")])
def test_a_signing_call_is_repeated_with_the_same_idempotency_key(
    service: ScriptedService, client: Client, waits: list[float], refusal: Answer
) -> None:
    service.on("POST", "/sign", refusal, refusal, Answer(body={"done": True}))
    with client:
        assert client.post_signing("/sign", {"a": 1}) == {"done": True}
    keys = {asked.headers["Idempotency-Key"] for asked in service.asked}
    assert (len(service.asked), len(keys), len(waits)) == (3, 1, 2)
    assert all(asked.body == {"a": 1} for asked in service.asked)


def test_retry_after_is_honoured(service: ScriptedService, client: Client, waits: list[float]) -> None:
    service.on("GET", "/x", BUSY, Answer(body={}))
    with client:
        client.get("/x")
    assert len(waits) == 1
    assert waits[0] >= 7


def test_the_number_of_attempts_is_bounded(service: ScriptedService, client: Client, waits: list[float]) -> None:
    service.on("GET", "/x", DOWN)
    with client, pytest.raises(CommandFailed, match="No") as caught:
        client.get("/x")
    assert (caught.value.code, len(service.asked)) == ("hsm_unavailable", 4)


def test_a_wait_that_is_too_long_is_not_begun(service: ScriptedService, client: Client, waits: list[float]) -> None:
    service.on("GET", "/x", problem(429, "too_many_requests", headers={"Retry-After": "3600"}))
    with client, pytest.raises(CommandFailed):
        client.get("/x")
    assert (len(service.asked), waits) == (1, [])


@pytest.mark.parametrize("failure", [DOWN, Answer(0)])
def test_what_might_be_done_twice_is_not_repeated(service: ScriptedService, client: Client, failure: Answer) -> None:
    service.on("POST", "/v1/keys", failure)
    with client, pytest.raises(CommandFailed):
        client.post("/v1/keys", {})
    assert len(service.asked) == 1


def test_what_was_turned_away_as_too_fast_is_repeated(service: ScriptedService, client: Client) -> None:
    service.on("POST", "/v1/keys", BUSY, Answer(201, {"id": "1"}))
    with client:
        assert client.post("/v1/keys", {}) == {"id": "1"}


def test_two_signing_calls_have_two_idempotency_keys(service: ScriptedService, client: Client) -> None:
    service.on("POST", "/sign", Answer(body={}))
    with client:
        client.post_signing("/sign", {})
        client.post_signing("/sign", {})
    assert len({asked.headers["Idempotency-Key"] for asked in service.asked}) == 2


def test_pages_are_read_to_the_end(service: ScriptedService, client: Client) -> None:
    service.on(
        "GET",
        "/v1/keys",
        Answer(body={"keys": [{"id": "1"}], "next_cursor": "c&1"}),
        Answer(body={"keys": [{"id": "2"}], "next_cursor": None}),
    )
    with client:
        assert [key["id"] for key in client.pages("/v1/keys", "keys")] == ["1", "2"]
    assert [asked.query for asked in service.asked] == [{}, {"cursor": "c&1"}]


def test_pages_that_never_end_are_an_error(service: ScriptedService, client: Client) -> None:
    service.on("GET", "/v1/keys", Answer(body={"keys": [], "next_cursor": "again"}))
    with client, pytest.raises(Unreachable):
        list(client.pages("/v1/keys", "keys"))


NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("12", 12),
        (" 3 ", 3),
        ("-1", 0),
        ("soon", 0),
        ("\u0663", 0),
        ("9" * 400, 999999999),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0),
        ("Thu, 01 Jan 2026 12:00:30 -0000", 30),
    ],
)
def test_retry_after_in_all_its_forms(header: str | None, seconds: float) -> None:
    assert parse_retry_after(header, NOW) == seconds
