"""The log's proofs that `sealmark` keeps: verified with the signatures, written once, and never lost for another."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.signer.cli.conftest import Run
from tests.signer.cli.scripted import Answer, ScriptedService
from tests.signer.cli.signing_service import SigningService
from tests.verifier.log_builder import log_signer
from verifier import Rejected, parse_trust, verify_artifact

ARTIFACTS = "/v1/keys/release/artifacts"
PROOF = "c2sp.org/tlog-proof@v1\nextra AAAA\nindex 0\n\nlog\n1\n\n"


@pytest.fixture
def made(service: ScriptedService) -> SigningService:
    signing_service = SigningService(service)
    service.on("POST", ARTIFACTS, signing_service.sign)
    return signing_service


@pytest.fixture
def app(tmp_path: Path) -> Path:
    path = tmp_path / "app.bin"
    path.write_bytes(b"the release " * 1000)
    return path


def beside(app: Path) -> list[str]:
    return sorted(path.name for path in app.parent.iterdir() if path != app)


def proves(made: SigningService, app: Path, proof: str, signature: str) -> bool:
    files = (app.with_name(name).read_bytes() for name in (signature, proof))
    try:
        return verify_artifact(app, next(files), parse_trust(made.trust(made.key)), proof=next(files)) is not None
    except Rejected as refusal:
        if refusal.code != "log_entry_mismatch":
            raise
        return False


def sign(run: Run, app: Path, *words: str, code: int = 0) -> str:
    result = run("sign", app, "--key", "release", *words)
    assert result.exit_code == code, result.output
    return result.output


def test_a_format_that_is_added_later_has_a_proof_of_its_own(run: Run, made: SigningService, app: Path) -> None:
    sign(run, app)
    said = sign(run, app, "--format", "cms", "--format", "raw", "--format", "dsse")
    assert "app.bin.sig.tlog-proof" in said
    proofs = ["app.bin.intoto.jsonl.tlog-proof", "app.bin.sig.tlog-proof", "app.bin.tlog-proof"]
    assert [name for name in beside(app) if name.endswith("proof")] == proofs
    assert proves(made, app, "app.bin.tlog-proof", "app.bin.p7s")
    assert proves(made, app, "app.bin.sig.tlog-proof", "app.bin.sig")
    assert proves(made, app, "app.bin.intoto.jsonl.tlog-proof", "app.bin.intoto.jsonl")
    assert not proves(made, app, "app.bin.tlog-proof", "app.bin.sig")


def test_force_loses_no_proof_of_what_is_kept(run: Run, made: SigningService, app: Path) -> None:
    sign(run, app, "--format", "cms", "--format", "raw")
    sign(run, app, "--format", "raw", "--force")
    assert proves(made, app, "app.bin.tlog-proof", "app.bin.p7s")
    assert proves(made, app, "app.bin.sig.tlog-proof", "app.bin.sig")
    sign(run, app, "--format", "cms", "--format", "raw", "--force")
    assert proves(made, app, "app.bin.tlog-proof", "app.bin.p7s")
    for proof in ("app.bin.tlog-proof", "app.bin.sig.tlog-proof"):  # nothing old is left lying about
        assert proves(made, app, proof, "app.bin.sig")


def test_a_proof_in_the_way_stops_the_run_before_anything_is_signed(
    run: Run, service: ScriptedService, made: SigningService, app: Path
) -> None:
    stale = app.with_name("app.bin.p7s.tlog-proof")
    stale.write_text("something")
    assert "exists" in sign(run, app, code=1)
    app.with_name("app.bin.tlog-proof").write_text("of others")
    assert "exists" in sign(run, app, code=1)
    assert ("POST", ARTIFACTS) not in [(asked.method, asked.path) for asked in service.asked]
    assert stale.read_text() == "something"
    sign(run, app, "--force")
    assert proves(made, app, stale.name, "app.bin.p7s")


def test_a_signature_without_a_proof_is_said_when_it_is_skipped(run: Run, made: SigningService, app: Path) -> None:
    sign(run, app, "--no-proof")
    assert beside(app) == ["app.bin.p7s"]
    assert "no proof beside it" in sign(run, app)
    assert "no proof beside it" not in sign(run, app, "--no-proof")
    sign(run, app, "--force")
    assert beside(app) == ["app.bin.p7s", "app.bin.tlog-proof"]
    assert "no proof beside it" not in sign(run, app)


def without_proof(result: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in result.items() if name != "proof"}


def test_an_answer_without_a_proof_is_refused_unless_none_is_wanted(run: Run, made: SigningService, app: Path) -> None:
    made.tamper = without_proof
    assert "proof" in sign(run, app, code=1)
    assert beside(app) == []
    sign(run, app, "--no-proof")
    assert beside(app) == ["app.bin.p7s"]


def changed(proof: str, line: int) -> str:
    lines = proof.split("\n")
    word, _, text = lines[line].rpartition(" ")
    octets = bytearray(base64.b64decode(text))
    octets[20] ^= 1
    lines[line] = f"{word} {base64.b64encode(octets).decode()}".strip()
    return "\n".join(lines)


@pytest.mark.parametrize("line", [1, 3, -2])
def test_a_proof_that_does_not_hold_keeps_everything_from_the_disk(
    run: Run, made: SigningService, app: Path, line: int
) -> None:
    made.tamper = lambda result: {**result, "proof": changed(str(result["proof"]), line)}
    assert "signature_not_verified" in sign(run, app, code=1)
    assert beside(app) == []


def test_a_proof_of_another_signature_or_log_is_refused(run: Run, made: SigningService, app: Path) -> None:
    proofs: list[object] = []

    def older(result: dict[str, object]) -> dict[str, object]:
        proofs.append(result["proof"])
        return {**result, "proof": proofs[0]}

    made.tamper = older
    sign(run, app)
    assert "signature_not_verified" in sign(run, app, "--force", code=1)
    made.tamper, made.log_key = (lambda result: result), log_signer("another")
    assert "signature_not_verified" in sign(run, app, "--force", code=1)


def test_a_proof_cannot_be_a_file_to_sign(run: Run, made: SigningService, app: Path) -> None:
    proof = app.with_name("app.bin.tlog-proof")
    proof.write_text("x")
    result = run("sign", app, proof, "--key", "release")
    assert (result.exit_code, "both a file to sign and" in result.stderr) == (2, True)


TOKEN = {"token": "e30.e30.AAAA", "proof": PROOF}


def test_a_token_s_proof_goes_to_a_new_file(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    target = tmp_path / "token.tlog-proof"
    service.on("POST", "/v1/keys/tokens/jwts", Answer(body={"results": [TOKEN]}))
    result = run("jwt", "--key", "tokens", "--proof", target)
    assert (result.exit_code, result.stdout) == (0, "e30.e30.AAAA\n")
    assert target.read_text() == PROOF
    calls = len(service.asked)
    refused = run("jwt", "--key", "tokens", "--proof", target)
    assert (refused.exit_code, refused.stderr[:14]) == (1, "Error: exists:")
    assert run("jwt", "--key", "tokens", "--proof", tmp_path / "none" / "x").exit_code == 1
    assert len(service.asked) == calls  # nothing was signed


def test_an_assertion_s_proof_goes_to_a_new_file(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    target = tmp_path / "response.tlog-proof"
    made = {"response": base64.b64encode(b"<Response/>").decode(), "proof": PROOF}
    service.on("POST", "/v1/keys/idp/assertions", Answer(body={"results": [made]}))
    words = ("--subject", "alice", "--audience", "https://sp.example", "--recipient", "https://sp.example/acs")
    assert run("assertion", "--key", "idp", *words, "--proof", target).exit_code == 0
    assert target.read_text() == PROOF


def test_a_token_without_the_proof_that_is_asked_for_is_not_printed(
    run: Run, service: ScriptedService, tmp_path: Path
) -> None:
    service.on("POST", "/v1/keys/tokens/jwts", Answer(body={"results": [without_proof(dict(TOKEN))]}))
    result = run("jwt", "--key", "tokens", "--proof", tmp_path / "token.tlog-proof")
    assert (result.exit_code, result.stdout) == (1, "")
    assert list(tmp_path.iterdir()) == []
