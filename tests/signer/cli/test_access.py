"""`grants`, `principals policy`, `keys policy history|diff|restore` and `keys policy set --file`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.signer.cli.conftest import Run
from tests.signer.cli.scripted import Answer, ScriptedService, problem

GRANT_ID = "9d1f6a52-6f0c-4f7e-8a55-0c7d9a2f6c22"
GRANT = {"id": GRANT_ID, "grantee": "role/ci", "operations": ["SignArtifact"], "state": "active", "constraints": None}
DOCUMENT = {"Version": "2012-10-17", "Statement": [{"Sid": "A", "Effect": "Deny", "Action": "kms:*", "Resource": "*"}]}
GRANTS = "/v1/keys/release/grants"
POLICIES = "/v1/principals/role/ci/policies"
VERSIONS = "/v1/keys/release/policy/versions"


def version(revision: int, reason: str = "", **policy: object) -> dict[str, object]:
    made = {"revision": revision, "created_at": f"2026-03-0{revision}T09:30:00Z", "created_by": "user/key-admin"}
    return {**made, "reason": reason, **({"policy": policy} if policy else {})}


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    return path


def test_a_grant_is_asked_for_as_given(run: Run, service: ScriptedService) -> None:
    service.on("POST", GRANTS, Answer(201, GRANT))
    options = ("--grantee", "role/ci", "--operation", "SignArtifact", "--operation", "DescribeKey", "--name", "nightly")
    result = run("grants", "create", "release", *options, "--context-subset", "branch=main", "--retiring", "user/ops")
    assert result.exit_code == 0
    assert GRANT_ID in result.stdout
    assert service.only().body == {
        "grantee": "role/ci",
        "operations": ["SignArtifact", "DescribeKey"],
        "constraints": {"context_subset": {"branch": "main"}},
        "name": "nightly",
        "retiring": "user/ops",
    }


def test_a_plain_grant_says_no_more_than_it_must(run: Run, service: ScriptedService) -> None:
    service.on("POST", GRANTS, Answer(201, GRANT))
    result = run("grants", "create", "release", "--grantee", "role/ci", "--operation", "SignArtifact", "--json")
    assert json.loads(result.stdout) == GRANT
    assert service.only().body == {"grantee": "role/ci", "operations": ["SignArtifact"]}


def test_why_a_grant_is_refused_is_shown(run: Run, service: ScriptedService) -> None:
    why = "role/ci could administer the key and use it; nobody may do both"
    service.on("POST", GRANTS, problem(409, "separation_of_duties", why, field="grantee"))
    result = run("grants", "create", "release", "--grantee", "role/ci", "--operation", "SignArtifact")
    assert (result.exit_code, result.stderr) == (1, f"Error: separation_of_duties: {why} (field: grantee)\n")


def test_grants_are_listed_page_by_page(run: Run, service: ScriptedService) -> None:
    service.on("GET", GRANTS, Answer(body={"grants": [GRANT], "next_cursor": "n"}))
    service.on("GET", GRANTS, Answer(body={"grants": [GRANT], "next_cursor": None}))
    result = run("grants", "list", "release", "--grantee", "role/ci", "--all", "--json")
    assert json.loads(result.stdout) == {"grants": [GRANT, GRANT]}
    only = {"grantee": "role/ci", "state": "all"}
    assert [asked.query for asked in service.asked] == [only, {**only, "cursor": "n"}]
    assert GRANT_ID in run("grants", "list", "release").stdout


def test_a_grant_is_retired_and_revoked(run: Run, service: ScriptedService) -> None:
    service.on("POST", f"{GRANTS}/{GRANT_ID}/retire", Answer(body={**GRANT, "state": "retired"}))
    service.on("DELETE", f"{GRANTS}/{GRANT_ID}", Answer(body={**GRANT, "state": "revoked"}))
    assert "retired" in run("grants", "retire", "release", GRANT_ID).stdout
    assert run("grants", "revoke", "release", GRANT_ID, typed="n\n").exit_code == 1
    assert len(service.asked) == 1
    assert "revoked" in run("grants", "revoke", "release", GRANT_ID, "--yes").stdout


def test_policies_of_an_identity(run: Run, service: ScriptedService, document: Path) -> None:
    made = {"name": "home", "revision": 1, "changed_by": "user/admin", "reason": "why", "policy": DOCUMENT}
    service.on("PUT", f"{POLICIES}/home", Answer(body=made))
    service.on("GET", f"{POLICIES}/home", Answer(body=made))
    duty = {"name": "key-user", "actions": ["kms:Sign"]}
    service.on("GET", POLICIES, Answer(body={"duty": duty, "policies": [{**made, "policy": None}]}))
    put = run("principals", "policy", "put", "role/ci", "home", "--file", document, "--reason", "why")
    assert put.exit_code == 0
    assert service.asked[-1].body == {"policy": DOCUMENT, "reason": "why"}
    shown = run("principals", "policy", "show", "role/ci", "home").stdout
    assert json.loads(shown[shown.index("{") :]) == DOCUMENT
    listed = run("principals", "policy", "list", "role/ci").stdout
    assert "kms:Sign" in listed
    assert "home" in listed


def test_a_policy_is_taken_away_after_a_question(run: Run, service: ScriptedService) -> None:
    service.on("DELETE", f"{POLICIES}/home", Answer(body={"name": "home", "state": "deleted"}))
    asked = run("principals", "policy", "delete", "role/ci", "home", typed="n\n")
    assert (asked.exit_code, service.asked) == (1, [])
    assert "no longer denied" in asked.stderr
    assert run("principals", "policy", "delete", "role/ci", "home", "--yes").exit_code == 0
    assert service.asked[-1].content == b""
    assert run("principals", "policy", "delete", "role/ci", "home", "--yes", "--reason", "moved").exit_code == 0
    assert service.asked[-1].body == {"reason": "moved"}


def test_the_history_of_an_identitys_policies(run: Run, service: ScriptedService) -> None:
    entries = [version(1, "one", x=1) | {"name": "home"}, version(2, "two") | {"name": "home", "policy": None}]
    service.on("GET", "/v1/principals/role/ci/policy-versions", Answer(body={"versions": entries, "next_cursor": None}))
    said = run("principals", "policy", "history", "role/ci").stdout
    assert "put" in said
    assert "deleted" in said


def test_the_history_of_a_keys_policy(run: Run, service: ScriptedService) -> None:
    entries = [version(1, "the key was made"), version(2, "the nightly build")]
    service.on("GET", VERSIONS, Answer(body={"versions": entries, "next_cursor": None}))
    assert json.loads(run("keys", "policy", "history", "release", "--json").stdout) == {"versions": entries}
    assert "the nightly build" in run("keys", "policy", "history", "release").stdout


@pytest.fixture
def three_versions(service: ScriptedService) -> ScriptedService:
    service.on("GET", "/v1/keys/release/policy", Answer(body={"revision": 3}))
    for revision, who in ((1, "role/ci"), (2, "role/other"), (3, "role/third")):
        service.on(
            "GET", f"{VERSIONS}/{revision}", Answer(body=version(revision, f"r{revision}", Version="x", AWS=who))
        )
    return service


def test_a_diff_says_what_changed_and_who_did_it(run: Run, three_versions: ScriptedService) -> None:
    assert run("keys", "policy", "diff", "release").stdout.splitlines() == [
        "--- revision 2, 2026-03-02T09:30:00Z, user/key-admin, r2",
        "+++ revision 3, 2026-03-03T09:30:00Z, user/key-admin, r3",
        "@@ -1,4 +1,4 @@",
        " {",
        '   "Version": "x",',
        '-  "AWS": "role/other"',
        '+  "AWS": "role/third"',
        " }",
    ]
    assert "role/ci" in run("keys", "policy", "diff", "release", "1").stdout
    back = run("keys", "policy", "diff", "release", "3", "1").stdout
    assert '-  "AWS": "role/third"' in back
    found = json.loads(run("keys", "policy", "diff", "release", "1", "2", "--json").stdout)
    assert (found["old"]["revision"], found["new"]["revision"], len(found["diff"])) == (1, 2, 8)


def test_no_change_is_said_too(run: Run, service: ScriptedService) -> None:
    service.on("GET", "/v1/keys/release/policy", Answer(body={"revision": 1}))
    result = run("keys", "policy", "diff", "release")
    assert (result.exit_code, "one version only" in result.stderr) == (1, True)
    service.on("GET", f"{VERSIONS}/1", Answer(body=version(1, x=1)))
    result = run("keys", "policy", "diff", "release", "1", "1")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "say the same" in result.stderr


def test_what_a_reason_says_does_not_steer_the_terminal(run: Run, service: ScriptedService) -> None:
    service.on("GET", f"{VERSIONS}/1", Answer(body=version(1, "a\x1b[2Jb\n+++ c", x="\x1b[2J")))
    service.on("GET", f"{VERSIONS}/2", Answer(body=version(2, "d", x=2)))
    said = run("keys", "policy", "diff", "release", "1", "2").stdout
    assert "\x1b" not in said
    assert sum(line.startswith("+++") for line in said.splitlines()) == 1


def test_a_version_is_restored_after_its_change_was_seen(run: Run, three_versions: ScriptedService) -> None:
    three_versions.on("POST", f"{VERSIONS}/1/restore", Answer(body={"revision": 4}))
    refused = run("keys", "policy", "restore", "release", "1", typed="n\n")
    assert refused.exit_code == 1
    assert '+  "AWS": "role/ci"' in refused.stderr
    assert "POST" not in [asked.method for asked in three_versions.asked]
    done = run("keys", "policy", "restore", "release", "1", "--yes", "--reason", "back")
    assert (done.exit_code, "4" in done.stdout) == (0, True)
    assert three_versions.asked[-1].body == {"revision": 3, "reason": "back"}


def test_a_whole_document_is_set_from_a_file_or_standard_input(
    run: Run, service: ScriptedService, document: Path
) -> None:
    service.on("PUT", "/v1/keys/release/policy", Answer(body={"revision": 2}))
    assert run("keys", "policy", "set", "release", "--file", document, "--reason", "why").exit_code == 0
    assert service.asked[-1].body == {**DOCUMENT, "reason": "why"}
    bypass = run(
        "keys", "policy", "set", "release", "--file", "-", "--bypass-lockout-check", typed=json.dumps(DOCUMENT)
    )
    assert bypass.exit_code == 0
    assert service.asked[-1].body == {**DOCUMENT, "bypass_policy_lockout_safety_check": True}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is not JSON"),
        (b"[]", "holds no JSON object"),
        (b'{"Version": "2012-10-17", "Version": "2008-10-17"}', "gives 'Version' twice"),
        (b'{"Statement": [{"Effect": "Allow", "Effect": "Deny"}]}', "gives 'Effect' twice"),
        (b'{"x": NaN}', "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b"[" * 60_000, "is not JSON"),
        (b'"' + b"x" * 70_000 + b'"', "is larger than any policy"),
    ],
)
def test_a_document_that_is_none_is_not_sent(
    run: Run, service: ScriptedService, tmp_path: Path, content: bytes, why: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    for arguments in (("keys", "policy", "set", "release"), ("principals", "policy", "put", "role/ci", "home")):
        result = run(*arguments, "--file", path)
        assert (result.exit_code, why in result.stderr) == (1, True), result.stderr
    assert not service.asked


@pytest.mark.parametrize(
    "arguments",
    [
        ("grants", "create", "release", "--grantee", "role/ci"),
        ("grants", "create", "release", "--operation", "Sign"),
        ("grants", "create", "release", "--grantee", "ci", "--operation", "Sign"),
        (
            *("grants", "create", "release", "--grantee", "role/ci", "--operation", "Sign"),
            *("--context-equals", "a=1", "--context-subset", "b=2"),
        ),
        (
            *("grants", "create", "release", "--grantee", "role/ci", "--operation", "Sign"),
            *("--context-equals", "a=1", "--context-equals", "a=2"),
        ),
        ("grants", "revoke", "release", "../x", "--yes"),
        ("grants", "retire", "release", "all"),
        ("principals", "policy", "put", "role/ci", "home"),
        ("principals", "policy", "put", "role/ci", "a/b", "--file", "-"),
        ("principals", "policy", "show", "role/ci", ".."),
        ("keys", "policy", "diff", "release", "0"),
        ("keys", "policy", "restore", "release", "x"),
        ("keys", "policy", "set", "release", "--file", "-", "--user", "role/ci"),
    ],
)
def test_wrong_usage_reaches_no_service(run: Run, service: ScriptedService, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2
    assert not service.asked


def test_a_file_that_is_not_there_is_said(run: Run, service: ScriptedService) -> None:
    result = run("keys", "policy", "set", "release", "--file", "none.json")
    assert (result.exit_code, "unreadable_file" in result.stderr) == (1, True)
    assert not service.asked
