"""`principals`, `enrol` and `whoami`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.signer.cli.conftest import Run
from tests.signer.cli.scripted import Answer, ScriptedService, problem

CI = {"name": "role/ci", "duty": "key-user"}
MADE = {**CI, "enrolment_code": "smc_" + "c" * 60, "expires_at": "2026-01-02T00:00:00Z"}
HANDED_OVER = {"name": "role/ci", "token": "smk_the-token"}


def test_create_shows_the_whole_code_to_hand_over(run: Run, service: ScriptedService) -> None:
    service.on("POST", "/v1/principals", Answer(201, MADE))
    result = run("principals", "create", "role/ci", "--duty", "key-user")
    assert result.exit_code == 0
    assert f"enrolment code  {MADE['enrolment_code']}\n" in result.stdout
    assert "2026-01-02T00:00:00Z" in result.stdout
    assert service.only().body == CI


def test_create_as_json(run: Run, service: ScriptedService) -> None:
    service.on("POST", "/v1/principals", Answer(201, MADE))
    assert json.loads(run("principals", "create", "role/ci", "--duty", "key-user", "--json").stdout) == MADE


@pytest.mark.parametrize(
    "arguments",
    [
        ("create",),
        ("create", "role/ci"),
        ("create", "ci", "--duty", "key-user"),
        ("create", "role/../x", "--duty", "key-user"),
        ("create", "role/a/b", "--duty", "key-user"),
        ("create", "role/ci", "--duty", "boss"),
        ("show", "role/%2e%2e"),
        ("delete", "group/x", "--yes"),
        ("list", "more"),
        ("destroy", "role/ci"),
    ],
)
def test_wrong_usage_reaches_no_service(run: Run, service: ScriptedService, arguments: tuple[str, ...]) -> None:
    assert run("principals", *arguments).exit_code == 2
    assert not service.asked


def test_a_taken_name_is_a_failure(run: Run, service: ScriptedService) -> None:
    service.on("POST", "/v1/principals", problem(409, "conflict", "The name is taken.", field="name"))
    result = run("principals", "create", "role/ci", "--duty", "key-user")
    assert (result.exit_code, result.stderr) == (1, "Error: conflict: The name is taken. (field: name)\n")


def test_list_and_show(run: Run, service: ScriptedService) -> None:
    service.on("GET", "/v1/principals", Answer(body={"principals": [{**CI, "state": "enabled"}], "next_cursor": None}))
    service.on("GET", "/v1/principals/role/ci", Answer(body={**CI, "state": "enabled"}))
    assert "role/ci" in run("principals", "list").stdout
    assert json.loads(run("principals", "list", "--json").stdout) == {"principals": [{**CI, "state": "enabled"}]}
    assert run("principals", "show", "role/ci").stdout == "name   role/ci\nduty   key-user\nstate  enabled\n"


def test_delete_asks_first(run: Run, service: ScriptedService) -> None:
    service.on("DELETE", "/v1/principals/role/ci", Answer(204))
    assert run("principals", "delete", "role/ci", typed="n\n").exit_code == 1
    assert run("principals", "delete", "role/ci", typed="").exit_code == 1
    assert not service.asked
    assert run("principals", "delete", "role/ci", typed="y\n").exit_code == 0
    result = run("principals", "delete", "role/ci", "--yes", "--json")
    assert json.loads(result.stdout) == {"name": "role/ci", "state": "deleted"}
    assert len(service.asked) == 2


def test_enrol_writes_a_private_file_and_prints_no_token(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    service.on("POST", "/v1/enrolments", Answer(201, HANDED_OVER))
    result = run("enrol", "smc_code")
    target = tmp_path / "role-ci.token"
    assert result.exit_code == 0
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("smk_the-token\n", 0o600)
    assert "smk_the-token" not in result.output
    assert "role-ci.token" in result.stdout
    assert service.only().body == {"code": "smc_code"}
    assert "Authorization" not in service.only().headers
    assert [path.name for path in tmp_path.iterdir()] == ["role-ci.token"]


def test_the_code_may_come_from_standard_input(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    service.on("POST", "/v1/enrolments", Answer(201, HANDED_OVER))
    result = run("enrol", "-", "--token-out", tmp_path / "my.token", "--json", typed=" smc_code \nmore\n")
    assert json.loads(result.stdout) == {"name": "role/ci", "token_file": str(tmp_path / "my.token")}
    assert service.only().body == {"code": "smc_code"}


def test_a_token_file_that_exists_is_refused_before_the_code_is_spent(
    run: Run, service: ScriptedService, tmp_path: Path
) -> None:
    (tmp_path / "my.token").write_text("precious")
    result = run("enrol", "smc_code", "--token-out", tmp_path / "my.token")
    assert result.exit_code == 1
    assert "exists" in result.stderr
    assert (tmp_path / "my.token").read_text() == "precious"
    assert not service.asked


def test_a_folder_that_is_not_there_is_met_before_the_code_is_spent(
    run: Run, service: ScriptedService, tmp_path: Path
) -> None:
    assert run("enrol", "smc_code", "--token-out", tmp_path / "missing" / "my.token").exit_code == 1
    assert not service.asked


def test_the_default_file_is_never_written_over(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    (tmp_path / "role-ci.token").write_text("precious")
    service.on("POST", "/v1/enrolments", Answer(201, HANDED_OVER))
    assert run("enrol", "smc_code").exit_code == 0
    assert (tmp_path / "role-ci.token").read_text() == "precious"
    assert (tmp_path / "role-ci.2.token").read_text() == "smk_the-token\n"


def test_a_name_from_the_service_cannot_lead_out_of_the_folder(
    run: Run, service: ScriptedService, tmp_path: Path
) -> None:
    service.on("POST", "/v1/enrolments", Answer(201, {**HANDED_OVER, "name": "../../etc/x"}))
    assert run("enrol", "smc_code").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["-..-etc-x.token"]


def test_show_prints_the_token_and_writes_nothing(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    service.on("POST", "/v1/enrolments", Answer(201, HANDED_OVER))
    assert run("enrol", "smc_code", "--show").stdout == "smk_the-token\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "typed", "code"),
    [
        ((), None, 2),
        (("a", "b"), None, 2),
        (("smc_code", "--show", "--token-out", "x"), None, 2),
        (("-",), "\n", 1),
        (("two words",), None, 1),
    ],
)
def test_wrong_enrolments_reach_no_service(
    run: Run, service: ScriptedService, arguments: tuple[str, ...], typed: str | None, code: int
) -> None:
    assert run("enrol", *arguments, typed=typed).exit_code == code
    assert not service.asked


@pytest.mark.parametrize(
    "answer",
    [problem(401, "unauthenticated"), Answer(201, {"name": "role/ci"}), Answer(201, {**HANDED_OVER, "token": "a b"})],
)
def test_a_refused_code_leaves_no_file(run: Run, service: ScriptedService, tmp_path: Path, answer: Answer) -> None:
    service.on("POST", "/v1/enrolments", answer)
    result = run("enrol", "smc_code")
    assert result.exit_code == 1
    assert "smc_code" not in result.output
    assert not list(tmp_path.iterdir())
