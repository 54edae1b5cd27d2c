"""`access-keys …`: files that AWS's clients read, and what `credential_process` prints."""

from __future__ import annotations

import configparser
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from tests.signer.cli.conftest import Run
from tests.signer.cli.scripted import Answer, ScriptedService, problem

KEYS: Final = "/v1/principals/role/ci/access-keys"
ID: Final = "AKIA2S6GQ7LWB5HX4NTD"
SECRET: Final = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
ME: Final = {"name": "role/ci", "duty": "key-user", "credential": "bearer:0f", "kind": "token", "expires_at": None}
MADE: Final[dict[str, Any]] = {
    "access_key_id": ID,
    "secret_access_key": SECRET,
    "session_token": None,
    "label": "backup",
    "expires_at": "2027-01-02T00:00:00Z",
}
TEMPORARY: Final = {**MADE, "access_key_id": "ASIA2S6GQ7LWB5HX4NTD", "session_token": "smt_token"}
LISTED: Final = {
    "access_key_id": ID,
    "principal": "role/ci",
    "temporary": False,
    "label": "backup",
    "state": "enabled",
    "created_at": "2026-01-02T00:00:00Z",
    "created_by": "role/ci",
    "expires_at": "2027-01-02T00:00:00Z",
}


@pytest.fixture(autouse=True)
def _known(service: ScriptedService) -> None:
    service.on("GET", "/v1/whoami", Answer(body=ME))


def test_create_writes_a_private_file_that_awss_clients_read(
    run: Run, service: ScriptedService, tmp_path: Path
) -> None:
    service.on("POST", KEYS, Answer(201, MADE))
    result = run("access-keys", "create", "--label", "backup", "--days", 90, "--profile", "sealmark")
    target = tmp_path / "backup.credentials"
    assert (result.exit_code, target.stat().st_mode & 0o777) == (0, 0o600)
    assert SECRET not in result.output
    assert ID in result.stdout
    assert service.asked[-1].body == {"label": "backup", "days": 90}
    read = configparser.RawConfigParser()
    read.read(target)
    assert dict(read["sealmark"]) == {"aws_access_key_id": ID, "aws_secret_access_key": SECRET}


def test_create_shows_it_where_that_is_asked_for(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    service.on("POST", KEYS, Answer(201, TEMPORARY))
    shown = run("access-keys", "create", "--temporary", "--duration", "2h", "--show").stdout
    assert shown.splitlines()[0] == "[default]"
    assert shown.endswith("aws_session_token = smt_token\n")
    assert service.asked[-1].body == {"temporary": True, "duration_seconds": 7200}
    assert json.loads(run("access-keys", "create", "--temporary", "--show", "--json").stdout) == TEMPORARY
    told = json.loads(run("access-keys", "create", "--temporary", "--out", "x", "--json").stdout)
    assert set(told) == {"access_key_id", "label", "expires_at", "file"}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(
    "wrong",
    [
        ("--show", "--out", "x"),
        ("--temporary", "--days", "1"),
        ("--duration", "1h"),
        ("--days", "0"),
        ("--profile", "a]\nb"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_anything_is_made(
    run: Run, service: ScriptedService, wrong: tuple[str, ...]
) -> None:
    assert run("access-keys", "create", *wrong).exit_code == 2
    assert not service.asked


def test_a_file_that_exists_is_refused_before_a_key_is_made(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    (tmp_path / "access-key.credentials").write_text("precious")
    result = run("access-keys", "create")
    assert (result.exit_code, (tmp_path / "access-key.credentials").read_text()) == (1, "precious")
    assert "no access key was made" in result.stderr
    assert not service.asked


def test_a_refused_key_leaves_no_file(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    service.on("POST", KEYS, problem(409, "limit_exceeded", "Too many."))
    assert run("access-keys", "create").exit_code == 1
    assert not list(tmp_path.iterdir())


def test_an_answer_that_would_break_the_file_is_refused(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    service.on("POST", KEYS, Answer(201, {**MADE, "secret_access_key": "x\n[other]"}))
    assert run("access-keys", "create").exit_code == 1
    assert not list(tmp_path.iterdir())


def test_process_prints_what_awss_clients_ask_for(run: Run, service: ScriptedService) -> None:
    service.on("POST", KEYS, Answer(201, TEMPORARY), problem(403, "duty_forbids", "No."))
    result = run("access-keys", "process", "--duration", "15m")
    assert json.loads(result.stdout) == {
        "Version": 1,
        "AccessKeyId": TEMPORARY["access_key_id"],
        "SecretAccessKey": SECRET,
        "SessionToken": "smt_token",
        "Expiration": "2027-01-02T00:00:00Z",
    }
    assert service.asked[-1].body == {"temporary": True, "duration_seconds": 900}
    refused = run("access-keys", "process")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "No." in refused.stderr


def test_process_keeps_them_while_they_live(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    cache = tmp_path / "kept.json"
    lives = (datetime.now(UTC) + timedelta(minutes=20)).isoformat()
    service.on("POST", KEYS, Answer(201, {**TEMPORARY, "expires_at": lives}))
    first = run("access-keys", "process", "--cache", cache)
    assert (cache.stat().st_mode & 0o777, json.loads(cache.read_text())) == (0o600, json.loads(first.stdout))
    made = len(service.asked)
    assert run("access-keys", "process", "--cache", cache).stdout == first.stdout
    assert len(service.asked) == made
    over = {**json.loads(first.stdout), "Expiration": (datetime.now(UTC) + timedelta(minutes=4)).isoformat()}
    cache.write_text(json.dumps(over))
    assert json.loads(run("access-keys", "process", "--cache", cache).stdout)["Expiration"] == lives
    cache.chmod(0o644)
    assert "chmod 600" in run("access-keys", "process", "--cache", cache).stderr
    cache.chmod(0o600)
    for content in ("", "[]", '{"Version": 1}', '{"Version": 1, "Expiration": 5}', '{"Expiration": "2027-01-01"}'):
        cache.write_text(content)
        refused = run("access-keys", "process", "--cache", cache)
        assert (refused.exit_code, refused.stdout) == (1, "")


def test_list_disable_enable_delete(run: Run, service: ScriptedService) -> None:
    service.on("GET", KEYS, Answer(body={"access_keys": [LISTED], "next_cursor": None}))
    assert ID in run("access-keys", "list").stdout
    assert json.loads(run("access-keys", "list", "--json").stdout) == {"access_keys": [LISTED]}
    for change in ("disable", "enable"):
        service.on("POST", f"{KEYS}/{ID}/{change}", Answer(body={**LISTED, "state": f"{change}d"}))
        assert f"{change}d" in run("access-keys", change, ID).stdout
    service.on("DELETE", f"{KEYS}/{ID}", Answer(body={**LISTED, "state": "revoked"}))
    assert json.loads(run("access-keys", "delete", ID, "--json").stdout)["state"] == "revoked"
    asked = len(service.asked)
    others = f"/v1/principals/role/other/access-keys/{ID}"
    service.on("DELETE", others, Answer(body={**LISTED, "state": "revoked"}))
    assert run("access-keys", "delete", ID, "--principal", "role/other").exit_code == 0
    assert [each.path for each in service.asked[asked:]] == [others]
    assert run("access-keys", "delete", "../tokens").exit_code == 2
