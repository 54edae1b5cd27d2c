"""`tokens …`, and what `principals` does to one that is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.signer.cli.conftest import Run
from tests.signer.cli.scripted import Answer, ScriptedService, problem

ME = {"name": "role/ci", "duty": "key-user", "credential": "bearer:0f0f0f0f0f0f", "kind": "token", "expires_at": None}
TOKENS = "/v1/principals/role/ci/tokens"
MADE = {"id": "3f2a9c04d1be", "token": "smk_new", "label": "laptop", "expires_at": "2027-01-02T00:00:00Z"}
LISTED = {
    "id": "3f2a9c04d1be",
    "kind": "token",
    "label": "laptop",
    "state": "enabled",
    "created_at": "2026-01-02T00:00:00Z",
    "created_by": "role/ci",
    "expires_at": "2027-01-02T00:00:00Z",
}
PRINCIPAL = {"name": "role/ci", "duty": "key-user", "state": "disabled"}
CODE = {
    "name": "role/ci",
    "enrolment_code": "sme_" + "c" * 43,
    "expires_at": "2026-01-02T00:00:00Z",
    "revoked_tokens": 2,
}


@pytest.fixture(autouse=True)
def _known(service: ScriptedService) -> None:
    service.on("GET", "/v1/whoami", Answer(body=ME))


@pytest.mark.parametrize(("lifetime", "seconds"), [("30m", 1800), ("12h", 43200), ("90d", 7776000), (None, None)])
def test_create_writes_a_private_file_and_prints_no_token(
    run: Run, service: ScriptedService, tmp_path: Path, lifetime: str | None, seconds: int | None
) -> None:
    service.on("POST", TOKENS, Answer(201, MADE))
    result = run("tokens", "create", "--label", "laptop", *(("--lifetime", lifetime) if lifetime else ()))
    target = tmp_path / "laptop.token"
    assert result.exit_code == 0
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("smk_new\n", 0o600)
    assert "smk_new" not in result.output
    assert "3f2a9c04d1be" in result.stdout
    body = {"label": "laptop"} | ({} if seconds is None else {"expires_in": seconds})
    assert service.asked[-1].body == body


def test_create_shows_the_token_where_that_is_asked_for(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    service.on("POST", TOKENS, Answer(201, MADE))
    assert run("tokens", "create", "--label", "laptop", "--show").stdout == "smk_new\n"
    told = run("tokens", "create", "--label", "laptop", "--token-out", "my.token", "--json").stdout
    assert json.loads(told) == {name: MADE[name] for name in ("id", "label", "expires_at")} | {"token_file": "my.token"}
    assert [path.name for path in tmp_path.iterdir()] == ["my.token"]


def test_a_file_that_exists_is_refused_before_a_token_is_made(
    run: Run, service: ScriptedService, tmp_path: Path
) -> None:
    (tmp_path / "laptop.token").write_text("precious")
    result = run("tokens", "create", "--label", "laptop")
    assert (result.exit_code, (tmp_path / "laptop.token").read_text()) == (1, "precious")
    assert "no token was made" in result.stderr
    assert not service.asked


def test_a_label_cannot_lead_out_of_the_folder(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    service.on("POST", TOKENS, Answer(201, MADE))
    assert run("tokens", "create", "--label", "../../etc/my laptop").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["-..-etc-my-laptop.token"]


def test_a_refused_token_leaves_no_file(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    service.on("POST", TOKENS, problem(409, "limit_exceeded", "Too many."))
    assert run("tokens", "create", "--label", "laptop").exit_code == 1
    assert not list(tmp_path.iterdir())


def test_list_and_revoke_ones_own_and_anothers(run: Run, service: ScriptedService) -> None:
    for name in ("role/ci", "user/alice"):
        path = f"/v1/principals/{name}/tokens"
        service.on("GET", path, Answer(body={"tokens": [LISTED], "next_cursor": None}))
        service.on("DELETE", f"{path}/3f2a9c04d1be", Answer(body={"id": "3f2a9c04d1be", "state": "revoked"}))
    assert "laptop" in run("tokens", "list").stdout
    assert json.loads(run("tokens", "list", "--principal", "user/alice", "--json").stdout) == {"tokens": [LISTED]}
    assert service.asked[-1].path == "/v1/principals/user/alice/tokens"
    assert "revoked" in run("tokens", "revoke", "3f2a9c04d1be").stdout
    told = json.loads(run("tokens", "revoke", "3f2a9c04d1be", "--principal", "user/alice", "--json").stdout)
    assert told == {"id": "3f2a9c04d1be", "principal": "user/alice", "state": "revoked"}


def test_a_name_from_the_service_is_checked_before_it_is_part_of_an_address(
    run: Run, service: ScriptedService, tmp_path: Path
) -> None:
    other = ScriptedService()
    other.on("GET", "/v1/whoami", Answer(body={**ME, "name": "role/../../x"}))
    with other:
        result = run("tokens", "list", environment={"SEALMARK_URL": other.url})
    assert result.exit_code != 0
    assert [asked.path for asked in other.asked] == ["/v1/whoami"]


def test_principals_are_disabled_enabled_and_given_a_duty(run: Run, service: ScriptedService) -> None:
    for method, end in (("POST", "disable"), ("POST", "enable"), ("PUT", "duty")):
        service.on(method, f"/v1/principals/role/ci/{end}", Answer(body=PRINCIPAL))
    assert "disabled" in run("principals", "disable", "role/ci").stdout
    assert run("principals", "enable", "role/ci").exit_code == 0
    assert run("principals", "set-duty", "role/ci", "auditor").exit_code == 0
    assert service.asked[-1].body == {"duty": "auditor"}


def test_re_enrolling_shows_the_code_and_wants_to_be_told_what_of_the_old_tokens(
    run: Run, service: ScriptedService
) -> None:
    service.on("POST", "/v1/principals/role/ci/enrolments", Answer(201, CODE))
    assert run("principals", "re-enrol", "role/ci").exit_code == 2
    assert not service.asked
    result = run("principals", "re-enrol", "role/ci", "--revoke-tokens")
    assert (result.exit_code, service.only().body) == (0, {"revoke_tokens": True})
    assert f"enrolment code  {CODE['enrolment_code']}\n" in result.stdout
    assert json.loads(run("principals", "re-enrol", "role/ci", "--keep-tokens", "--json").stdout) == CODE
    assert service.asked[-1].body == {"revoke_tokens": False}


@pytest.mark.parametrize(
    "arguments",
    [
        ("tokens", "create"),
        ("tokens", "create", "--label", "x", "--lifetime", "90"),
        ("tokens", "create", "--label", "x", "--lifetime", "0d"),
        ("tokens", "create", "--label", "x", "--lifetime", "-1d"),
        ("tokens", "create", "--label", "x", "--lifetime", "\N{ARABIC-INDIC DIGIT TWO}d"),
        ("tokens", "create", "--label", "x", "--show", "--token-out", "y"),
        ("tokens", "list", "--principal", "ci"),
        ("tokens", "revoke"),
        ("tokens", "revoke", "smk_secret"),
        ("tokens", "revoke", "../whoami"),
        ("principals", "disable", "ci"),
        ("principals", "set-duty", "role/ci"),
        ("principals", "set-duty", "role/ci", "root"),
    ],
)
def test_wrong_usage_reaches_no_service(run: Run, service: ScriptedService, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2
    assert not service.asked
