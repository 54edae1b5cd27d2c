"""`sealmark audit`: what is asked of the service, and how answers are shown, to people and to programs."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from signer.cli import audit_export
from tests.signer.cli.scripted import Answer, Asked, ScriptedService, problem

if TYPE_CHECKING:
    from pathlib import Path

    from tests.signer.cli.conftest import Run

ENTRIES: Final = "/v1/audit/entries"
EXPORT: Final = "/v1/audit/export"


def entry(index: int, **record: object) -> dict[str, Any]:
    known = {
        "v": 1,
        "time": "2026-11-25T21:40:00.123456Z",
        "kind": "decision",
        "epoch": "e",
        "outcome": "succeeded",
        "principal": "role/ci",
        "action": "SignArtifact",
        "key_id": "k",
    }
    place = {"log": 1, "origin": "sealmark/x", "index": index, "kind": "decision", "key_alias": "release"}
    return {**place, "record": {**known, **record}}


def page(*entries: dict[str, Any], following: str | None = None, log: str = "end") -> Answer:
    return Answer(200, {"entries": list(entries), "next_cursor": following, "log_cursor": log})


def test_search_sends_what_is_asked_for(run: Run, service: ScriptedService) -> None:
    service.on("GET", ENTRIES, page())
    result = run(
        *("audit", "search", "--key", "release", "--principal", "role/ci", "--subject", "role/x"),
        *("--action", "SignArtifact", "--outcome", "denied", "--code", "policy_forbids", "--context", "a=b=c%"),
        *("--digest", "A" * 64, "--digest", "b" * 96, "--request-id", "r", "--caller-request-id", "c", "--kind", "any"),
        *("--from", "2026-11-01", "--to", "2026-11-25T10:00:00+01:00", "--oldest", "--limit", "7"),
    )
    assert result.exit_code == 0, result.output
    assert service.only().query == {
        "key": "release",
        "principal": "role/ci",
        "subject": "role/x",
        "action": "SignArtifact",
        "outcome": "denied",
        "code": "policy_forbids",
        "context": "a=b=c%",
        "digest": f"{'a' * 64},{'b' * 96}",
        "request_id": "r",
        "caller_request_id": "c",
        "kind": "any",
        "order": "oldest",
        "limit": "8",
        "from": "2026-11-01T00:00:00Z",
        "to": "2026-11-25T10:00:00+01:00",
    }


@pytest.mark.parametrize(
    "wrong",
    [
        *(("--from", "yesterday"), ("--from", "2026-11-25T10:00:00"), ("--to", "7"), ("--digest", "abc")),
        *(("--context", "run"), ("--outcome", "good"), ("--limit", "0"), ("--key", "a b"), ("--csv", "--json")),
    ],
)
def test_wrong_usage_asks_nothing(run: Run, service: ScriptedService, wrong: tuple[str, ...]) -> None:
    result = run("audit", "search", *wrong)
    assert (result.exit_code, service.asked) == (2, [])


def test_how_long_ago(run: Run, service: ScriptedService) -> None:
    service.on("GET", ENTRIES, page())
    assert run("audit", "search", "--from", "7d").exit_code == 0
    assert service.only().query["from"].endswith("Z")


def test_a_table_says_what_became_of_it(run: Run, service: ScriptedService) -> None:
    row = {"table": "keys", "id": "k", "revision": 2}
    rows = {"log": 1, "origin": "x", "index": 3, "kind": "rows", "key_alias": None, "record": None, "row": row}
    refused = entry(2, outcome="denied", code="policy_forbids", subject="role/x", detail={"a": "\x1b[31m"})
    service.on("GET", ENTRIES, page(entry(1, about={"name": "app.bin"}), refused, rows))
    result = run("audit", "search")
    for text in ("app.bin", "denied: policy_forbids", "role/x", "keys/k revision 2", "release", "role/ci"):
        assert text in result.stdout
    assert "\x1b" not in result.stdout


def test_more_than_the_limit_is_said_and_not_shown(run: Run, service: ScriptedService) -> None:
    service.on("GET", ENTRIES, page(entry(3), entry(2), following="c"), page(entry(1)))
    result = run("audit", "search", "--limit", "2", "--json")
    told = json.loads(result.stdout)
    assert ([each["index"] for each in told["entries"]], told["more"]) == ([3, 2], True)
    service.on("GET", "/v1/audit/history", Answer(200, {"changes": [{}, {}], "next_cursor": None}))
    assert "more than these 1" in run("audit", "history", "--limit", "1").stderr


def test_an_empty_page_is_no_end(run: Run, service: ScriptedService) -> None:
    service.on("GET", ENTRIES, page(following="a"), page(following="b"), page(entry(9)))
    told = json.loads(run("audit", "search", "--all", "--json").stdout)
    assert [each["index"] for each in told["entries"]] == [9]
    assert [asked.query.get("cursor") for asked in service.asked] == [None, "a", "b"]


def test_csv_has_a_line_for_each_and_no_formula(run: Run, service: ScriptedService) -> None:
    signatures = [{"digest": "aa", "sha256": "bb"}, {"digest": "cc", "sha256": "dd"}]
    strange = entry(1, caller_request_id="=cmd|' /C calc'!A0", context={"a": "b,\n"}, signatures=signatures)
    service.on("GET", ENTRIES, page(strange, entry(2, source="+1", subject="@x")))
    head, first, second = csv.reader(io.StringIO(run("audit", "search", "--csv").stdout))
    told = dict(zip(head, first, strict=True))
    assert told["caller_request_id"] == "'=cmd|' /C calc'!A0"
    assert (told["digest"], told["signature_sha256"], json.loads(told["context"])) == ("aa cc", "bb dd", {"a": "b,\n"})
    assert {"'+1", "'@x"} <= set(second)


def test_show_writes_the_proof_once(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    proof = {"text": "c2sp.org/tlog-proof@v1\n", "size": 18, "cosigned": True}
    service.on("GET", f"{ENTRIES}/17", Answer(200, {**entry(17), "leaf": "e30=", "nonce": "aa", "proof": proof}))
    result = run("audit", "show", 17, "--log", 2, "--proof-out", "p.tlog-proof")
    assert result.exit_code == 0, result.output
    assert service.only().query == {"log": "2"}
    assert (tmp_path / "p.tlog-proof").read_text() == proof["text"]
    assert "in checkpoint of  18" in result.stdout
    assert run("audit", "show", 17, "--proof-out", "p.tlog-proof").exit_code == 1
    service.on("GET", f"{ENTRIES}/18", Answer(200, {**entry(18), "proof": None}))
    assert "no_proof" in run("audit", "show", 18, "--proof-out", "q").stderr


def test_about_sends_digests_and_never_the_file(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    content = b"something secret"
    (tmp_path / "app").write_bytes(content)
    service.on("GET", ENTRIES, page(entry(1)), page(entry(1)), page())
    assert "SignArtifact" in run("audit", "about", "app").stdout
    assert run("audit", "about", "-", typed=content.decode(), environment={}).exit_code == 0
    digests = ",".join(hashlib.new(name, content).hexdigest() for name in ("sha256", "sha384", "sha512"))
    for asked in service.asked:
        assert asked.query == {"digest": digests, "order": "oldest", "kind": "any"}
        assert asked.content == b""
    assert "no entry about it" in run("audit", "about", "app").stderr
    assert run("audit", "about", "none").exit_code == 1


def test_reports_and_history_are_shown(run: Run, service: ScriptedService) -> None:
    call = {"action": "SignArtifact", "outcome": "succeeded", "code": None, "count": 4, "first": "f", "last": "l"}
    key = {
        "key_id": "k",
        "alias": "release",
        "state": "enabled",
        "uses": 4,
        "denied": 1,
        "failed": 0,
        "principals": [{"principal": "role/ci", "actions": [call]}],
        "last_use": "when",
        "lacks": ["rotation"],
        "last_policy_review": {"at": "t", "by": "user/audrey", "action": "GetKeyPolicy"},
        "certificate": None,
        "per": "day",
        "periods": [{"from": "monday", "uses": 4, "denied": 0}],
        "may_use": [{"principal": "role/x", "by": "the grant g", "last_use": None, "idle": True}],
    }
    service.on("GET", "/v1/audit/report", Answer(200, {"keys": [key], "next_cursor": None}))
    many = run("audit", "report", "--without", "rotation", "--days", "30")
    for text in ("release", "role/ci", "rotation", "when"):
        assert text in many.stdout
    assert service.only().query == {"without": "rotation", "days": "30", "per": "week"}
    one = run("audit", "report", "--key", "release", "--per", "day").stdout
    for text in ("Who did what", "the grant g", "monday", "Who may use it"):
        assert text in one
    assert run("audit", "report", "--csv").stdout.splitlines()[0].startswith("key_id,alias,")
    change = {
        "log": 1,
        "index": 5,
        "of": "policies",
        "time": "t",
        "action": "PutKeyPolicy",
        "principal": "user/ka",
        "key_alias": "release",
        "detail": {"revision": 2},
        "policy": {"reason": "new pipeline", "policy": {}},
    }
    service.on("GET", "/v1/audit/history", Answer(200, {"changes": [change], "next_cursor": None}))
    shown = run("audit", "history", "--of", "policies", "--key", "release").stdout
    for text in ("PutKeyPolicy", "revision: 2", "new pipeline", "user/ka"):
        assert text in shown
    assert json.loads(run("audit", "history", "--json").stdout)["changes"] == [change]


def lines(first: int, count: int, size: int) -> bytes:
    told = [json.dumps({"index": index, "leaf": ""}) for index in range(first, first + count)]
    return "\n".join([*told, json.dumps({"checkpoint": f"origin\n{size}\nroot\n\n— x y\n"})]).encode() + b"\n"


def test_an_export_is_put_together_and_ends_with_its_checkpoint(
    run: Run, service: ScriptedService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_export, "ENTRIES_A_CALL", 3)
    monkeypatch.setattr(audit_export, "_PAUSE", 0.0)
    broken = Answer(200, lines(3, 1, 5).splitlines()[0] + b"\n")  # without its end
    service.on("GET", EXPORT, Answer(200, lines(0, 3, 5)), broken, problem(503, "store_unavailable"))
    service.on("GET", EXPORT, Answer(200, lines(4, 1, 5)))
    refused = run("audit", "export", "--out", "trail.jsonl")
    assert (refused.exit_code, "store_unavailable" in refused.stderr) == (1, True)
    assert not (tmp_path / "trail.jsonl").exists()  # nothing half-done
    service.on("GET", EXPORT, Answer(200, lines(0, 3, 5)), broken, Answer(200, lines(4, 1, 5)))
    del service.asked[:]
    service._answers[("GET", EXPORT)].popleft()
    done = run("audit", "export", "--out", "trail.jsonl")
    assert done.exit_code == 0, done.output
    written = [json.loads(line) for line in (tmp_path / "trail.jsonl").read_text().splitlines()]
    assert [line.get("index") for line in written] == [0, 1, 2, 3, 4, None]
    assert [asked.query["from"] for asked in service.asked] == ["0", "3", "4"]
    assert (tmp_path / "trail.jsonl").stat().st_mode & 0o777 == 0o600
    assert run("audit", "export", "--out", "trail.jsonl").exit_code == 1


class Ended(KeyboardInterrupt):
    """Ctrl-C, from a test."""


def test_follow_prints_each_once_and_outlives_a_restart(
    run: Run, service: ScriptedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 5:
            raise Ended

    monkeypatch.setattr("signer.cli.audit_follow.time.sleep", wait)
    own: list[str] = []

    def news(asked: Asked) -> Answer:
        own.append(asked.headers["X-Request-Id"])
        return page(entry(11), entry(12, caller_request_id=own[0]), following="c2", log="c2")

    service.on(
        "GET", ENTRIES, page(entry(10), entry(9), following="x", log="c1"), news, problem(500, "hsm_unavailable")
    )
    service.on("GET", ENTRIES, page(entry(13), following="c3", log="c3"), page(following="c3", log="c3"))
    result = run("audit", "follow", "--last", "2", "--outcome", "succeeded", "--json")
    assert result.exit_code == 0, result.output
    assert [json.loads(line)["index"] for line in result.stdout.splitlines()] == [9, 10, 11, 13]
    assert "hsm_unavailable: trying again" in result.stderr
    cursors = [asked.query.get("cursor") for asked in service.asked]
    assert cursors == [None, "c1", "c2", "c2", "c3"]
    assert {asked.headers["X-Request-Id"] for asked in service.asked} == {own[0]}
    assert service.asked[1].query["order"] == "log"


def test_follow_ends_after_so_many(run: Run, service: ScriptedService) -> None:
    service.on(
        "GET", ENTRIES, page(entry(10), entry(9), log="c1"), page(entry(11), entry(12), following="c2", log="c2")
    )
    result = run("audit", "follow", "--last", "2", "--count", "3", "--interval", "0.2")
    assert (result.exit_code, len(result.stdout.splitlines()), len(service.asked)) == (0, 3, 2)


def test_follow_ends_where_it_is_not_allowed(run: Run, service: ScriptedService) -> None:
    service.on("GET", ENTRIES, page(log="c1"), problem(401, "unauthenticated"))
    result = run("audit", "follow", "--interval", "0.2")
    assert (result.exit_code, "unauthenticated" in result.stderr) == (1, True)


def test_an_export_in_the_shape_of_cloudtrail(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    end = json.dumps({"checkpoint": "sealmark/111122223333/eu-west-1/00ff\n2\nroot\n\n— x y\n"})
    record = {"v": 1, "action": "Sign", "time": "2026-11-25T21:40:00.123456Z", "outcome": "succeeded", "key_id": "k"}
    told = [json.dumps({"index": 0, "leaf": "", "row": {}}), json.dumps({"index": 1, "leaf": "", "record": record})]
    service.on("GET", EXPORT, Answer(200, f"{end}\n".encode()), Answer(200, "\n".join([*told, end, ""]).encode()))
    done = run("audit", "export", "--format", "cloudtrail")
    assert done.exit_code == 0, done.output
    (event,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (event["eventName"], event["recipientAccountId"], event["awsRegion"]) == (
        "Sign",
        "111122223333",
        "eu-west-1",
    )
    assert event["additionalEventData"]["logIndex"] == 1
