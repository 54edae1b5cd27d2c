"""`sealmark sign`: what it sends, what it verifies, what it writes, and how it fails."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Protocol

import pytest

from keystore.algorithms import Purpose
from signer.cli import signing
from signer.cli.verification import Stated
from tests.signer.cli.conftest import Run
from tests.signer.cli.scripted import Answer, Asked, ScriptedService, problem
from tests.signer.cli.signing_service import SigningService, Tamper, digest_of
from tests.software_key import new_key
from tests.verifier.trust_builder import bundle as trust_bundle
from verifier import FileDigests, parse_trust, verify_artifact

ARTIFACTS = "/v1/keys/release/artifacts"


class Start(Protocol):
    """Starts the signing service."""

    def __call__(
        self, spec: str = ..., tamper: Tamper = ..., description: dict[str, object] | None = ...
    ) -> SigningService: ...


@pytest.fixture
def start(service: ScriptedService) -> Start:
    def begin(
        spec: str = "ECC_NIST_P256",
        tamper: Tamper = lambda result: result,
        description: dict[str, object] | None = None,
    ) -> SigningService:
        signing_service = SigningService(service, spec, tamper, description or {})
        service.on("POST", ARTIFACTS, signing_service.sign)
        return signing_service

    return begin


@pytest.fixture
def app(tmp_path: Path) -> Path:
    path = tmp_path / "app.bin"
    path.write_bytes(b"the release " * 100_000)
    return path


def signing_calls(service: ScriptedService) -> list[Asked]:
    return [asked for asked in service.asked if asked.method == "POST"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_NIST_P384", "RSA_2048"])
def test_both_signatures_are_written_and_a_third_party_accepts_them(
    run: Run, service: ScriptedService, start: Start, app: Path, spec: str
) -> None:
    made = start(spec)
    result = run("sign", app, "--key", "release", "--format", "cms", "--format", "raw")
    assert result.exit_code == 0, result.output
    assert names(app.parent) == ["app.bin", "app.bin.p7s", "app.bin.sig", "app.bin.tlog-proof"]
    root = base64.encodebytes(made.chain[-1])
    authority = parse_trust(b"-----BEGIN CERTIFICATE-----\n" + root + b"-----END CERTIFICATE-----\n")
    assert verify_artifact(app, app.with_name("app.bin.p7s").read_bytes(), authority).signature_format == "cms"
    assert app.with_name("app.bin.sig").read_bytes()


def test_only_the_digest_that_the_key_needs_is_sent(
    run: Run, service: ScriptedService, start: Start, app: Path
) -> None:
    start("ECC_NIST_P384")
    assert run("sign", app, "--key", "release", "--context", "commit=4f=2", "--context", "run=7").exit_code == 0
    (asked,) = signing_calls(service)
    content = app.read_bytes()
    artifact = {"name": "app.bin", "size": len(content), "digests": {"sha384": digest_of(content, "sha384")}}
    assert asked.body == {"artifacts": [artifact], "formats": ["cms"], "context": {"commit": "4f=2", "run": "7"}}
    assert asked.headers["Idempotency-Key"]
    assert all(len(asked.content) < 1000 for asked in service.asked)


def test_many_files_go_in_one_call(run: Run, service: ScriptedService, start: Start, tmp_path: Path) -> None:
    start()
    files = [tmp_path / f"[bold]{number}" for number in range(30)]
    for file in files:
        file.write_text(file.name)
    result = run("sign", *files, "--key", "release", "--json")
    assert result.exit_code == 0, result.output
    assert len(signing_calls(service)) == 1
    results = json.loads(result.stdout)["results"]
    assert [found["file"] for found in results] == [str(file) for file in files]
    assert results[7]["signatures"] == {"cms": f"{files[7]}.p7s"}
    assert (results[7]["key_version"], results[7]["request_id"]) == (3, "r-7")
    assert len(names(tmp_path)) == 90


def test_batches_keep_to_the_limits(
    run: Run, service: ScriptedService, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "BATCH_ITEMS", 4)
    start()
    files = [tmp_path / str(number) for number in range(9)]
    for file in files:
        file.write_text(file.name)
    assert run("sign", *files, "--key", "release", "--format", "raw").exit_code == 0
    sizes = [
        len(artifacts) for asked in signing_calls(service) if isinstance(artifacts := asked.body["artifacts"], list)
    ]
    assert sizes == [4, 4, 1]
    assert len({asked.headers["Idempotency-Key"] for asked in signing_calls(service)}) == 3


def test_a_body_never_passes_a_mebibyte() -> None:
    digests = FileDigests("x", 1 << 40, {"sha512": bytes(64), "sha256": bytes(32)})
    job = signing.Job(Path("\N{GRINNING FACE}" * 60), {})
    # A context of 32 members of 128 and 1,024 characters, four octets each, and the largest predicate must still fit.
    context = {f"{number:0128}": "\N{GRINNING FACE}" * 1024 for number in range(32)}
    predicate = {"text": "x" * 65_000}
    for stated in (Stated(context), Stated(context, "https://x.example/v1", predicate)):
        order = signing.Order("release", ("cms", "dsse"), False, stated)
        found = list(signing.batches(order, [signing.Prepared(job, digests, order.formats)] * 3000))
        assert sum(map(len, found)) == 3000
        largest = max(
            len(json.dumps(order.body([item.artifact for item in batch], order.formats), ensure_ascii=False).encode())
            for batch in found
        )
        assert largest < 1 << 20


def test_the_output_folder(run: Run, start: Start, app: Path) -> None:
    start()
    out = app.parent / "out"
    out.mkdir()
    assert run("sign", app, "--key", "release", "--output-dir", out).exit_code == 0
    assert names(out) == ["app.bin.p7s", "app.bin.tlog-proof"]
    assert names(app.parent) == ["app.bin", "out"]


def test_something_else_in_the_way_is_refused_before_anything_is_signed(
    run: Run, service: ScriptedService, start: Start, app: Path
) -> None:
    start()
    signature = app.with_name("app.bin.p7s")
    signature.write_text("precious")
    result = run("sign", app, "--key", "release")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: exists: ")
    assert "--force" in result.stderr
    assert (signing_calls(service), signature.read_text()) == ([], "precious")
    assert run("sign", app, "--key", "release", "--force").exit_code == 0
    assert signature.read_bytes().startswith(b"\x30")


def test_a_dangling_link_counts_as_existing(run: Run, start: Start, app: Path) -> None:
    start()
    app.with_name("app.bin.p7s").symlink_to(app.with_name("nowhere"))
    assert run("sign", app, "--key", "release").exit_code == 1
    assert not app.with_name("nowhere").exists()


def test_wrong_usage_reaches_no_service(run: Run, service: ScriptedService, app: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "app.bin").write_text("x")
    (tmp_path / "app.bin.p7s").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    for arguments in (
        (),
        (app,),
        ("--key", "release"),
        (tmp_path / "missing", "--key", "release"),
        (tmp_path, "--key", "release"),
        (tmp_path / "pipe", "--key", "release"),
        (app, "--key", "re/lease"),
        (app, "--key", "release", "--format", "pgp"),
        (app, "--key", "release", "--sums", "app.bin"),
        (app, "--key", "release", "--format", "dsse", "--predicate", app),
        (app, "--key", "release", "--format", "dsse", "--predicate-type", "https://x.example/v1"),
        (app, "--key", "release", "--predicate", app, "--predicate-type", "https://x.example/v1"),
        (app, "--key", "release", "--format", "dsse", "--material", "certificate"),
        (app, "--key", "release", "--one-statement", "all"),
        (app, "--key", "release", "--format", "dsse", "--one-statement", "../all"),
        (app, "--key", "release", "--format", "dsse", "--one-statement", ""),
        (app, other / "app.bin", "--key", "release", "--format", "dsse", "--one-statement", "all"),
        (app, "--key", "release", "--context", "nothing"),
        (app, "--key", "release", "--context", "a=1", "--context", "a=2", "--force"),
        (app, "--key", "release", "--output-dir", tmp_path / "missing"),
        (app, app, "--key", "release"),
        (app, other / "app.bin", "--key", "release", "--output-dir", other),
        (app, tmp_path / "app.bin.p7s", "--key", "release", "--force"),
    ):
        assert run("sign", *arguments).exit_code == 2, arguments
    assert not service.asked


def flip(format_name: str, position: int) -> Tamper:
    def tamper(result: dict[str, object]) -> dict[str, object]:
        signatures = result["signatures"]
        assert isinstance(signatures, dict)
        content = bytearray(base64.b64decode(signatures[format_name]))
        content[position] ^= 1
        return result | {"signatures": signatures | {format_name: base64.b64encode(content).decode()}}

    return tamper


def member(name: str, value: object) -> Tamper:
    return lambda result: result | {name: value}


@pytest.mark.parametrize(
    "tamper",
    [
        flip("cms", -1),
        flip("raw", -1),
        flip("raw", 0),
        member("name", "other.bin"),
        member("key_version", None),
        member("key_version", True),
        member("signatures", {}),
        member("signatures", {"cms": "AAAA", "raw": "AAAA"}),
        member("signatures", {"cms": "not base64!", "raw": ""}),
        member("signatures", ["cms"]),
    ],
)
def test_what_does_not_verify_is_never_written(run: Run, start: Start, app: Path, tamper: Tamper) -> None:
    start(tamper=tamper)
    result = run("sign", app, "--key", "release", "--format", "cms", "--format", "raw", "--json")
    assert result.exit_code == 1
    assert names(app.parent) == ["app.bin"]
    (found,) = json.loads(result.stdout)["results"]
    assert found["error"]["code"] in ("signature_not_verified", "unreachable")
    assert json.loads(result.stderr)["error"]["code"] == "partly_failed"


def test_a_signature_by_another_key_than_the_published_one_is_not_written(
    run: Run, service: ScriptedService, start: Start, app: Path
) -> None:
    made = start()
    # Right chain, right file, but the key that stands in the trust bundle is another.
    other = new_key("ECC_NIST_P256", Purpose.ARTIFACT)
    service.on("GET", "/v1/trust", Answer(body=made.trust(other)))
    service._answers["GET", "/v1/trust"].popleft()
    result = run("sign", app, "--key", "release")
    assert result.exit_code == 1
    assert "another key" in result.stdout
    assert names(app.parent) == ["app.bin"]


def test_a_file_that_changes_meanwhile_is_not_signed(
    run: Run, service: ScriptedService, start: Start, app: Path
) -> None:
    def change(result: dict[str, object]) -> dict[str, object]:
        app.write_bytes(b"something else")
        return result

    start(tamper=change)
    result = run("sign", app, "--key", "release")
    assert result.exit_code == 1
    assert "digest differs" in result.stdout
    assert names(app.parent) == ["app.bin"]


def test_a_signature_that_appears_meanwhile_is_not_written_over(run: Run, start: Start, app: Path) -> None:
    target = app.with_name("app.bin.p7s")

    def appear(result: dict[str, object]) -> dict[str, object]:
        target.write_text("precious")
        return result

    start(tamper=appear)
    result = run("sign", app, "--key", "release")
    assert result.exit_code == 1
    assert "exists already" in result.stdout
    assert target.read_text() == "precious"
    assert names(app.parent) == ["app.bin", "app.bin.p7s"]


def test_one_bad_item_fails_itself_only(run: Run, start: Start, app: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.bin"
    bad.write_text("bad")
    error = {"code": "unprocessable", "detail": "No such digest.", "field": "digests"}

    def refuse(result: dict[str, object]) -> dict[str, object]:
        return {"name": "bad.bin", "request_id": "r-9", "error": error} if result["name"] == "bad.bin" else result

    start(tamper=refuse)
    result = run("sign", app, bad, "--key", "release")
    assert result.exit_code == 1
    assert "unprocessable: No such digest. (field: digests, request id: r-9)" in result.stdout
    assert "signed and verified, version 3" in result.stdout
    assert result.stderr == "Error: partly_failed: 1 of 2 files were not signed\n"
    assert names(tmp_path) == ["app.bin", "app.bin.p7s", "app.bin.tlog-proof", "bad.bin"]


def test_a_later_call_that_fails_leaves_what_is_signed(
    run: Run, service: ScriptedService, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "BATCH_ITEMS", 1)
    start()
    service.on("POST", ARTIFACTS, problem(403, "policy_forbids", "No more."))
    files = [tmp_path / name for name in "abc"]
    for file in files:
        file.write_text(file.name)
    result = run("sign", *files, "--key", "release", "--json")
    assert result.exit_code == 1
    assert len(signing_calls(service)) == 2
    results = json.loads(result.stdout)["results"]
    assert ["error" in found for found in results] == [False, True, True]
    assert names(tmp_path) == ["a", "a.p7s", "a.tlog-proof", "b", "c"]


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "unauthenticated"), (403, "policy_forbids"), (409, "wrong_state"), (422, "unprocessable")],
)
def test_a_call_that_is_refused_is_one_line(
    run: Run, service: ScriptedService, start: Start, app: Path, status: int, code: str
) -> None:
    start()
    service._answers["POST", ARTIFACTS].clear()
    service.on("POST", ARTIFACTS, problem(status, code, request_id="r-1"))
    result = run("sign", app, "--key", "release")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: {code}: No. (request id: r-1)\n"
    assert names(app.parent) == ["app.bin"]


def test_a_busy_service_is_asked_again(run: Run, service: ScriptedService, start: Start, app: Path) -> None:
    made = start()
    service._answers["POST", ARTIFACTS].clear()
    service.on("POST", ARTIFACTS, problem(503, "hsm_unavailable", headers={"Retry-After": "0"}), made.sign)
    assert run("sign", app, "--key", "release").exit_code == 0
    first, second = signing_calls(service)
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


@pytest.mark.parametrize(
    "results", [None, [], [{}, {}], ["text"], "results", [{"error": "text"}], [{"error": {"detail": "x"}}]]
)
def test_an_answer_of_another_shape_is_not_used(
    run: Run, service: ScriptedService, start: Start, app: Path, results: object
) -> None:
    start()
    service._answers["POST", ARTIFACTS].clear()
    service.on("POST", ARTIFACTS, Answer(body={"results": results}))
    assert run("sign", app, "--key", "release").exit_code == 1
    assert names(app.parent) == ["app.bin"]


@pytest.mark.parametrize(
    ("description", "code"),
    [
        ({"purpose": "jwt"}, "wrong_purpose"),
        ({"formats": ["raw"]}, "unprocessable"),
        ({"required_digest": None}, "unprocessable"),
        ({"required_digest": "md5"}, "unprocessable"),
        ({"published": False}, "not_published"),
        ({"purpose": 7}, "unreachable"),
    ],
)
def test_a_key_that_cannot_do_it_is_refused_before_anything_is_signed(
    run: Run, service: ScriptedService, start: Start, app: Path, description: dict[str, object], code: str
) -> None:
    start(description=description)
    result = run("sign", app, "--key", "release")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {code}: ")
    assert not signing_calls(service)


def test_a_key_that_is_not_there(run: Run, service: ScriptedService, app: Path) -> None:
    result = run("sign", app, "--key", "release")
    assert (result.exit_code, result.stderr) == (1, "Error: not_found: Nothing is here.\n")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"-----BEGIN NOTHING-----", "invalid_trust"),
        (b'{"version": 2}', "invalid_trust"),
        (trust_bundle([], []), "not_published"),
    ],
)
def test_a_trust_bundle_that_is_none(
    run: Run, service: ScriptedService, start: Start, app: Path, content: bytes, code: str
) -> None:
    start()
    service._answers["GET", "/v1/trust"].clear()
    service.on("GET", "/v1/trust", Answer(body=content))
    result = run("sign", app, "--key", "release")
    assert (result.exit_code, result.stderr.split(":")[1].strip()) == (1, code)
    assert (signing_calls(service), names(app.parent)) == ([], ["app.bin"])


def test_an_unreadable_file_fails_alone(run: Run, start: Start, app: Path, tmp_path: Path) -> None:
    start()
    # Reading this one fails for root too.
    result = run("sign", app, "/proc/self/mem", "--key", "release", "--output-dir", tmp_path)
    assert result.exit_code == 1
    assert "unreadable_file" in result.stdout
    assert names(tmp_path) == ["app.bin", "app.bin.p7s", "app.bin.tlog-proof"]
