"""The commands about access against the service itself: what they send is taken, what they show is what there is."""

from __future__ import annotations

import json
import threading
import uuid
from typing import TYPE_CHECKING, Final, Protocol

import pytest
from click.testing import CliRunner
from werkzeug.serving import make_server

from signer.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.signer.service import ServiceInProcess


class Sealmark(Protocol):
    """Runs `sealmark` in somebody's name and gives what it printed."""

    def __call__(self, who: str, *arguments: object, code: int = 0) -> str: ...


@pytest.fixture(scope="module")
def address(service: ServiceInProcess) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, service.client.application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()


@pytest.fixture
def sealmark(service: ServiceInProcess, address: str) -> Sealmark:
    def run(who: str, *arguments: object, code: int = 0) -> str:
        environment = {"SEALMARK_URL": address, "SEALMARK_TOKEN": service.tokens[who]}
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments], env=environment)
        assert result.exit_code == code, result.output
        return result.stdout if code == 0 else result.stderr

    return run


KEEPER: Final = "user/key-admin"


@pytest.fixture
def key(service: ServiceInProcess) -> str:
    return str(service.make_key(f"c{uuid.uuid4().hex[:12]}", users=[])["alias"])


def test_a_grant_from_its_making_to_its_end(sealmark: Sealmark, key: str) -> None:
    options = ("--grantee", "role/ci", "--operation", "SignArtifact", "--operation", "RetireGrant", "--name", "n")
    context = ("--context-subset", "branch=main")
    made = json.loads(sealmark(KEEPER, "grants", "create", key, *options, *context, "--json"))
    assert json.loads(sealmark(KEEPER, "grants", "create", key, *options, *context, "--json")) == made
    assert made["id"] in sealmark(KEEPER, "grants", "list", key, "--grantee", "role/ci")
    assert "retired" in sealmark("role/ci", "grants", "retire", key, made["id"])
    other = json.loads(sealmark(KEEPER, "grants", "create", key, *options, "--json"))
    assert "revoked" in sealmark(KEEPER, "grants", "revoke", key, other["id"], "--yes")
    everything = json.loads(sealmark(KEEPER, "grants", "list", key, "--all", "--json"))["grants"]
    assert sorted(grant["state"] for grant in everything) == ["retired", "revoked"]
    assert "unprocessable" in sealmark(
        KEEPER, "grants", "create", key, "--grantee", "role/ci", "--operation", "CreateGrant", code=1
    )


def test_a_policys_history_from_change_to_restoration(sealmark: Sealmark, key: str, tmp_path: Path) -> None:
    sealmark(KEEPER, "keys", "policy", "set", key, "--user", "role/ci", "--reason", "the first build")
    shown = json.loads(sealmark(KEEPER, "keys", "policy", "show", key, "--json"))
    document = shown["policy"]
    document["Statement"][1]["Condition"] = {"StringEquals": {"sealmark:SigningContext:branch": "main"}}
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    sealmark(KEEPER, "keys", "policy", "set", key, "--file", path, "--reason", "main alone")
    assert "main alone" in sealmark(KEEPER, "keys", "policy", "history", key)
    changed = sealmark(KEEPER, "keys", "policy", "diff", key).splitlines()
    assert [line for line in changed if line.startswith("-") and not line.startswith("---")] == [
        '-      "Resource": "*"'
    ]
    assert any("sealmark:SigningContext:branch" in line for line in changed if line.startswith("+"))
    assert "whole document" in sealmark(KEEPER, "keys", "policy", "set", key, "--no-users", code=1)
    sealmark(KEEPER, "keys", "policy", "restore", key, "2", "--yes", "--reason", "every branch again")
    history = json.loads(sealmark(KEEPER, "keys", "policy", "history", key, "--json"))["versions"]
    reasons = ["the key was made", "the first build", "main alone", "every branch again"]
    assert [version["reason"] for version in history] == reasons
    assert sealmark(KEEPER, "keys", "policy", "diff", key, "2", "4") == ""


def test_a_policy_of_an_identity_from_put_to_delete(
    sealmark: Sealmark, service: ServiceInProcess, tmp_path: Path
) -> None:
    name = f"role/x{uuid.uuid4().hex[:12]}"
    service.made("user/admin", "POST", "/v1/principals", {"name": name, "duty": "key-user"})
    statement = {"Effect": "Deny", "Action": "kms:Sign", "Resource": "*"}
    path = tmp_path / "no-raw.json"
    path.write_text(json.dumps({"Version": "2012-10-17", "Statement": statement}), encoding="utf-8")
    policy = ("principals", "policy")
    sealmark("user/admin", *policy, "put", name, "no-raw", "--file", path, "--reason", "artifacts alone")
    assert "artifacts alone" in sealmark("user/admin", *policy, "list", name)
    assert "kms:Sign" in sealmark("user/admin", *policy, "show", name, "no-raw")
    sealmark("user/admin", *policy, "delete", name, "no-raw", "--yes", "--reason", "raw again")
    said = sealmark("user/admin", *policy, "history", name)
    assert "artifacts alone" in said
    assert "raw again" in said
    path.write_text(json.dumps({"Version": "2012-10-17", "Statement": {**statement, "Action": "kms:Sing"}}))
    refused = sealmark("user/admin", *policy, "put", name, "no-raw", "--file", path, code=1)
    assert "policy/Statement" in refused
    assert "duty_forbids" in sealmark(KEEPER, *policy, "list", name, code=1)
