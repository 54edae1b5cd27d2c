"""`sealmark sign`: bundles, statements, SHA256SUMS, repeated runs, and trust of the caller's own."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from keystore.algorithms import Purpose
from signer.cli.sums import read_sums
from tests.signer.cli.conftest import Run
from tests.signer.cli.scripted import Answer, Asked, ScriptedService, problem
from tests.signer.cli.signing_service import SigningService
from tests.software_key import new_key
from tests.verifier import pki
from verifier import parse_trust, verify_artifact

ARTIFACTS = "/v1/keys/release/artifacts"
EVERY = ("cms", "raw", "bundle", "dsse", "attestation")
ALL_FORMATS = tuple(word for name in EVERY for word in ("--format", name))


@pytest.fixture
def made(service: ScriptedService) -> SigningService:
    signing = SigningService(service)
    service.on("POST", ARTIFACTS, signing.sign)
    return signing


@pytest.fixture
def app(tmp_path: Path) -> Path:
    path = tmp_path / "app.bin"
    path.write_bytes(b"the release " * 1000)
    return path


@pytest.fixture
def release(tmp_path: Path) -> list[Path]:
    """Three files and their SHA256SUMS, as `sha256sum` writes it."""
    folder = tmp_path / "dist"
    (folder / "sub").mkdir(parents=True)
    files = [folder / "a", folder / "b.tar.gz", folder / "sub" / "c c"]
    for file in files:
        file.write_text(file.name)
    lines = (f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder)}\n" for file in files)
    (folder / "SHA256SUMS").write_text("".join(lines))
    return files


def calls(service: ScriptedService) -> list[Asked]:
    return [asked for asked in service.asked if asked.method == "POST"]


def beside(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir() if each != path)


def payload(path: Path) -> Any:
    envelope = json.loads(path.read_text())
    return json.loads(base64.b64decode(envelope["payload"]))


def test_every_format_is_written_where_people_expect_it(run: Run, made: SigningService, app: Path) -> None:
    result = run("sign", app, "--key", "release", *ALL_FORMATS, "--context", "commit=4f")
    assert result.exit_code == 0, result.output
    suffixes = (".intoto.jsonl", ".intoto.sigstore.json", ".p7s", ".sig", ".sigstore.json")
    assert beside(app) == [f"app.bin{suffix}" for suffix in (*suffixes, ".tlog-proof")]
    trust = parse_trust(made.trust(made.key))
    proof = app.with_name("app.bin.tlog-proof").read_bytes()
    for suffix in suffixes:
        facts = verify_artifact(app, app.with_name(f"app.bin{suffix}").read_bytes(), trust, proof=proof)
        assert facts.key.key_version == 3
        assert facts.log_position is not None
    line = app.with_name("app.bin.intoto.jsonl").read_bytes()
    assert line.count(b"\n") == 1
    assert payload(app.with_name("app.bin.intoto.jsonl"))["predicate"]["buildDefinition"]["externalParameters"] == {
        "commit": "4f"
    }


def test_a_certificate_in_the_bundle(run: Run, made: SigningService, app: Path) -> None:
    assert run("sign", app, "--key", "release", "--format", "bundle", "--material", "certificate").exit_code == 0
    found = json.loads(app.with_name("app.bin.sigstore.json").read_text())
    assert "certificate" in found["verificationMaterial"]


def test_an_ed25519_key_makes_statements(run: Run, service: ScriptedService, app: Path) -> None:
    made = SigningService(service, "ECC_NIST_EDWARDS25519", description={"required_digest": None, "formats": ["dsse"]})
    service.on("POST", ARTIFACTS, made.sign)
    assert run("sign", app, "--key", "release", "--format", "dsse").exit_code == 0
    assert list(calls(service)[0].body["artifacts"][0]["digests"]) == ["sha256"]  # type: ignore[index]
    result = run("sign", app, "--key", "release", "--format", "cms")
    assert "does not make cms; it makes: dsse" in result.stderr


def test_a_predicate_of_the_caller_s(run: Run, service: ScriptedService, made: SigningService, app: Path) -> None:
    sbom = app.with_name("sbom.json")
    sbom.write_text('{"packages": [1, true, null, "\\u00e9"], "deep": {"x": 1.5}}')
    words = ("--format", "dsse", "--predicate", sbom, "--predicate-type", "https://spdx.dev/Document/v2.3")
    assert run("sign", app, "--key", "release", *words).exit_code == 0
    found = payload(app.with_name("app.bin.intoto.jsonl"))
    assert (found["predicateType"], found["predicate"]) == (words[-1], json.loads(sbom.read_text()))
    assert run("sign", app, "--key", "release", *words).exit_code == 0
    sbom.write_text('{"packages": [1, 1, null, "\\u00e9"], "deep": {"x": 1.5}}')  # true and 1 are not the same
    result = run("sign", app, "--key", "release", *words)
    assert (result.exit_code, len(calls(service))) == (1, 1)
    assert "states" in result.stderr or "says something else" in result.stderr


@pytest.mark.parametrize("text", ["[]", "{", '{"a": 1, "a": 2}', '{"a": NaN}', "\xff"])
def test_a_predicate_that_is_no_object(
    run: Run, service: ScriptedService, made: SigningService, app: Path, text: str
) -> None:
    app.with_name("p.json").write_bytes(text.encode("latin-1"))
    words = ("--format", "dsse", "--predicate", "p.json", "--predicate-type", "https://x.example/v1")
    result = run("sign", app, "--key", "release", *words)
    assert (result.exit_code, calls(service)) == (1, [])
    assert result.stderr.startswith("Error: malformed_predicate: ")


def test_one_statement_over_many_files(run: Run, service: ScriptedService, made: SigningService, app: Path) -> None:
    other = app.with_name("other")
    other.write_text("other")
    words = ("--format", "dsse", "--format", "attestation", "--one-statement", "all-1.0")
    result = run("sign", app, other, "--key", "release", *words)
    assert result.exit_code == 0, result.output
    proof = app.with_name("all-1.0.tlog-proof")
    assert beside(app) == ["all-1.0.intoto.jsonl", "all-1.0.intoto.sigstore.json", proof.name, "other"]
    assert [each["name"] for each in payload(app.with_name("all-1.0.intoto.jsonl"))["subject"]] == ["app.bin", "other"]
    assert calls(service)[0].body["statement"] == "one"
    trust = parse_trust(made.trust(made.key))
    for file in (app, other):
        statement = app.with_name("all-1.0.intoto.jsonl").read_bytes()
        assert verify_artifact(file, statement, trust, proof=proof.read_bytes()).log_position is not None
    again = run("sign", app, other, "--key", "release", *words)
    assert (again.exit_code, len(calls(service))) == (0, 1)
    assert "signed already" in again.stdout
    fewer = run("sign", app, "--key", "release", *words)
    assert (fewer.exit_code, len(calls(service))) == (1, 1)
    assert "exists" in fewer.stderr


def test_one_statement_is_for_all_or_none(run: Run, made: SigningService, app: Path) -> None:
    def change(result: dict[str, object]) -> dict[str, object]:
        app.write_bytes(b"something else")
        return result

    made.tamper = change
    other = app.with_name("other")
    other.write_text("other")
    result = run("sign", other, app, "--key", "release", "--format", "dsse", "--one-statement", "all")
    assert result.exit_code == 1
    assert beside(app) == ["other"]


def test_sums_are_signed_without_reading_the_files(
    run: Run, service: ScriptedService, made: SigningService, release: list[Path]
) -> None:
    for file in release:
        file.chmod(0o644)
        file.write_text("x" * len(file.name))  # nobody looks: the list has all that is needed
    sums = release[0].with_name("SHA256SUMS")
    result = run("sign", "--sums", sums, "--key", "release", "--format", "raw", "--format", "dsse")
    assert result.exit_code == 0, result.output
    sent: Any = calls(service)[0].body["artifacts"]
    listed = {Path(line[66:]).name: line[:64] for line in sums.read_text().splitlines()}
    assert {each["name"]: each["digests"]["sha256"] for each in sent} == listed
    assert release[2].with_name("c c.intoto.jsonl").exists()


def test_sums_are_held_against_the_files_where_they_must_be_read(
    run: Run, service: ScriptedService, release: list[Path]
) -> None:
    made = SigningService(service, "ECC_NIST_P384")
    service.on("POST", ARTIFACTS, made.sign)
    release[1].write_text("changed")
    sums = release[0].with_name("SHA256SUMS")
    result = run("sign", "--sums", sums, "--key", "release", "--json")
    assert result.exit_code == 1
    results = json.loads(result.stdout)["results"]
    assert [each.get("error", {}).get("code") for each in results] == [None, "digest_mismatch", None]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "line 1 is not of the form"),
        ("\n", "line 1 is not of the form"),
        ("{digest} a\n", "line 1 is not of the form"),
        ("{digest}  a\r\n", "line 1 is not of the form"),
        ("{upper}  a\n", "line 1 is not of the form"),
        ("{digest}  a\nshort  b.tar.gz\n", "line 2 is not of the form"),
        ("{digest}  a\n\n{digest}  b.tar.gz\n", "line 2 is not of the form"),
        ("\\{digest}  a\\nb\n", "line 1 is not of the form"),
        ("SHA256 (a) = {digest}\n", "line 1 is not of the form"),
        ("{digest}{digest}  a\n", "line 1 is not of the form"),
        ("{digest}  a\n{digest}  a\n", "line 2 names a a second time"),
        ("{digest}  a\n{digest}  ./a\n", "line 2 names a a second time"),
        ("{digest}  missing\n", "line 1 names missing, which is not a file here"),
        ("{digest}  sub\n", "line 1 names sub, which is not a file here"),
        ("{digest}  ../outside\n", "line 1 names a file outside the folder"),
        ("{digest}  /etc/passwd\n", "line 1 names a file outside the folder"),
    ],
)
def test_a_line_that_is_malformed_or_fits_no_file(
    run: Run, service: ScriptedService, made: SigningService, release: list[Path], content: str, what: str
) -> None:
    digest = hashlib.sha256(b"a").hexdigest()
    sums = release[0].with_name("SUMS")
    sums.write_bytes(content.format(digest=digest, upper=digest.upper()).encode())
    (release[0].parent.parent / "outside").write_text("x")
    result = run("sign", "--sums", sums, "--key", "release")
    assert result.exit_code == 1
    assert what in result.stderr
    assert service.asked == []


def test_both_forms_that_sha256sum_writes_are_read(release: list[Path]) -> None:
    sums = release[0].with_name("SUMS")
    sums.write_text("0" * 64 + " *a\n" + "1" * 64 + "  b.tar.gz")
    assert read_sums(sums) == {release[0]: "0" * 64, release[1]: "1" * 64}


def test_a_run_that_was_cut_short_goes_on(
    run: Run, service: ScriptedService, made: SigningService, release: list[Path]
) -> None:
    words = ("--key", "release", "--format", "cms", "--format", "dsse")
    assert run("sign", release[0], *words).exit_code == 0
    release[1].with_name("b.tar.gz.p7s").write_bytes(b"")
    release[1].with_name("b.tar.gz.p7s").unlink()
    assert run("sign", release[1], "--key", "release").exit_code == 0
    before = {path: path.read_bytes() for path in release[0].parent.iterdir() if path.is_file()}
    result = run("sign", *release, *words, "--json")
    assert result.exit_code == 0, result.output
    results = json.loads(result.stdout)["results"]
    assert [each.get("skipped", False) for each in results] == [True, False, False]
    bodies = [asked.body for asked in calls(service)[2:]]
    asked = [(body["formats"], [each["name"] for each in body["artifacts"]]) for body in bodies]  # type: ignore[attr-defined]
    assert asked == [(["dsse"], ["b.tar.gz"]), (["cms", "dsse"], ["c c"])]
    assert {path: path.read_bytes() for path in before} == before
    calls_so_far = len(calls(service))
    assert run("sign", *release, *words).exit_code == 0
    assert len(calls(service)) == calls_so_far


def test_a_signature_of_the_file_as_it_was_is_in_the_way(
    run: Run, service: ScriptedService, made: SigningService, app: Path
) -> None:
    assert run("sign", app, "--key", "release").exit_code == 0
    old = app.with_name("app.bin.p7s").read_bytes()
    app.write_text("a new release")
    result = run("sign", app, "--key", "release")
    assert (result.exit_code, len(calls(service))) == (1, 1)
    assert "digest differs" in result.stderr
    assert app.with_name("app.bin.p7s").read_bytes() == old
    assert run("sign", app, "--key", "release", "--force").exit_code == 0
    assert app.with_name("app.bin.p7s").read_bytes() != old


def test_another_context_makes_another_statement(
    run: Run, service: ScriptedService, made: SigningService, app: Path
) -> None:
    words = ("--key", "release", "--format", "dsse")
    assert run("sign", app, *words, "--context", "run=1").exit_code == 0
    result = run("sign", app, *words, "--context", "run=2")
    assert (result.exit_code, len(calls(service))) == (1, 1)
    assert "says something else" in result.stderr


@pytest.mark.parametrize("name", ["bundle", "dsse", "attestation"])
def test_what_does_not_verify_is_never_written(run: Run, made: SigningService, app: Path, name: str) -> None:
    def tamper(result: dict[str, object]) -> dict[str, object]:
        text = json.dumps(result["signatures"])
        at = text.index('"sig": "' if name != "bundle" else '"signature": "') + 30
        text = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
        return result | {"signatures": json.loads(text)}

    made.tamper = tamper
    result = run("sign", app, "--key", "release", "--format", name)
    assert result.exit_code == 1
    assert "signature_not_verified" in result.stdout
    assert beside(app) == []


def test_a_statement_that_says_something_else_is_not_written(
    run: Run, service: ScriptedService, made: SigningService, app: Path
) -> None:
    """The right key over the right file, but with another context than was asked for."""

    def swap(asked: Asked) -> Any:
        changed = json.loads(asked.content) | {"context": {"commit": "another"}}
        return made.sign(Asked(asked.method, asked.path, asked.query, asked.headers, json.dumps(changed).encode()))

    service._answers["POST", ARTIFACTS].clear()
    service.on("POST", ARTIFACTS, swap)
    result = run("sign", app, "--key", "release", "--format", "dsse", "--context", "commit=4f")
    assert result.exit_code == 1
    assert "says something else" in result.stdout
    assert beside(app) == []


def test_trust_of_the_caller_s_own(run: Run, service: ScriptedService, made: SigningService, app: Path) -> None:
    made_trust = app.with_name("trust.json")
    made_trust.write_bytes(made.trust(made.key))
    stranger = app.with_name("stranger.pem")
    stranger.write_bytes(pki.public_pem(pki.key("p256", "stranger")))
    assert run("sign", app, "--key", "release", "--format", "dsse", "--trust", stranger).exit_code == 1
    assert not app.with_name("app.bin.intoto.jsonl").exists()
    assert run("sign", app, "--key", "release", "--format", "dsse", "--trust", made_trust).exit_code == 0
    # It names the log; the stranger's key does not, so that the service's word is taken for that alone.
    assert [asked.path for asked in service.asked].count("/v1/trust") == 1
    broken = run("sign", app, "--key", "release", "--trust", app)
    assert broken.stderr.startswith("Error: invalid_trust: the trust file cannot be used")


def test_a_key_that_is_not_published_needs_trust(run: Run, service: ScriptedService, app: Path) -> None:
    made = SigningService(service, description={"published": False})
    service.on("POST", ARTIFACTS, made.sign)
    assert "not_published" in run("sign", app, "--key", "release", "--format", "dsse").stderr
    trust = app.with_name("trust.json")
    trust.write_bytes(made.trust(made.key))
    assert run("sign", app, "--key", "release", "--format", "dsse", "--trust", trust).exit_code == 0


@pytest.mark.parametrize(("status", "code"), [(429, "too_many_requests"), (503, "hsm_unavailable")])
def test_one_idempotency_key_over_all_retries_of_a_call(
    run: Run, service: ScriptedService, made: SigningService, app: Path, status: int, code: str
) -> None:
    service._answers["POST", ARTIFACTS].clear()
    busy = problem(status, code, headers={"Retry-After": "0"})
    service.on("POST", ARTIFACTS, busy, busy, made.sign)
    assert run("sign", app, "--key", "release", "--format", "attestation").exit_code == 0
    keys = [asked.headers["Idempotency-Key"] for asked in calls(service)]
    assert (len(keys), len(set(keys))) == (3, 1)
    assert len({asked.content for asked in calls(service)}) == 1


def test_a_signature_by_another_key_of_the_same_authority_is_in_the_way(
    run: Run, service: ScriptedService, made: SigningService, app: Path
) -> None:
    """Its chain holds, but this key did not make it."""
    assert run("sign", app, "--key", "release").exit_code == 0
    other = new_key("ECC_NIST_P256", Purpose.ARTIFACT)
    service._answers["GET", "/v1/trust"].clear()
    service.on("GET", "/v1/trust", Answer(body=made.trust(other)))
    result = run("sign", app, "--key", "release")
    assert (result.exit_code, len(calls(service))) == (1, 1)
    assert "another key" in result.stderr
