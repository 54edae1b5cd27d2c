"""`--proof` and the options beside it: which log and which witnesses count, and what is no way to say so."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.verifier import bundle_builder, pki, proof_builder
from tests.verifier.log_builder import log_signer, witness_signer
from tests.verifier.proof_builder import LOG, WITNESSES, logged, proof
from tests.verifier.trust_builder import bundle, key_entry
from verifier.command import run

ROOT = Path(__file__).resolve().parents[2]
CONTENT = b"a release\n"
LOG_KEY = ("--log-key", LOG.text)
WITNESS = tuple(("--witness", witness.text) for witness in WITNESSES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed file and its proof, seen by two of three witnesses."""
    key = pki.key("p256")
    signature = bundle_builder.sign(key, CONTENT)
    good = proof(proof_builder.leaf(key, "ECDSA_SHA_256", logged(CONTENT, signature)), count=2)
    another = proof(proof_builder.leaf(key, "ECDSA_SHA_256", logged(b"another", signature)), count=2)
    files = {
        "tool": CONTENT,
        "sig": signature,
        "pub": pki.public_pem(key),
        "trust": bundle([key_entry(key, "ECDSA_SHA_256")], logs=[proof_builder.log_entry(2)]),
        "lax": bundle([key_entry(key, "ECDSA_SHA_256")], logs=[proof_builder.log_entry(0)]),
        "none": bundle([key_entry(key, "ECDSA_SHA_256")]),
        "proof": good,
        "bad": good.replace(b"index 5", b"index 3"),
        "another": another,
        "huge": b"x" * 5000,
        "empty": b"",
    }
    path = tmp_path_factory.mktemp("proofs")
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("trust", "made", "options", "expected"),
    [
        ("trust", "proof", (), (0, None)),
        ("trust", None, (), (0, None)),
        ("trust", "another", (), (1, "log_entry_mismatch")),
        ("trust", "bad", (), (1, "log_proof_invalid")),
        ("trust", "tool", (), (1, "log_proof_invalid")),
        ("trust", "huge", (), (1, "log_proof_invalid")),
        ("trust", "empty", (), (1, "log_proof_invalid")),
        ("trust", "gone", (), (2, "unreadable_file")),
        # more may be asked for than the trust file does, but not less
        ("trust", "proof", ("--cosignatures", "3"), (1, "too_few_cosignatures")),
        ("trust", "proof", ("--cosignatures", "0"), (0, None)),
        ("lax", "proof", ("--cosignatures", "2"), (0, None)),
        ("lax", "proof", ("--cosignatures", "3"), (1, "too_few_cosignatures")),
        # a log that is named counts in place of the trust file's
        ("trust", "proof", ("--log-key", log_signer("x").text), (1, "untrusted_signer")),
        ("trust", "proof", ("--log-key", log_signer("x").text, *LOG_KEY), (0, None)),
        ("trust", "proof", (*LOG_KEY, *WITNESS[2]), (1, "too_few_cosignatures")),
        ("none", "proof", (), (2, "no_trust")),
        ("pub", "proof", (), (2, "no_trust")),
        ("pub", "proof", LOG_KEY, (0, None)),
        ("pub", "proof", (*LOG_KEY, *WITNESS[0], *WITNESS[1]), (0, None)),
        ("pub", "proof", (*LOG_KEY, *WITNESS[0], *WITNESS[2]), (1, "too_few_cosignatures")),
        ("pub", "proof", (*LOG_KEY, *WITNESS[0], *WITNESS[2], "--cosignatures", "1"), (0, None)),
        ("pub", "proof", (*LOG_KEY, *WITNESS[2], "--cosignatures", "0"), (0, None)),
        # what makes no sense is said, and never passed over
        ("pub", "proof", (*LOG_KEY, "--cosignatures", "1"), (2, "wrong_usage")),
        ("pub", "proof", (*LOG_KEY, *WITNESS[0], *WITNESS[0]), (2, "wrong_usage")),
        ("pub", "proof", (*LOG_KEY, *LOG_KEY), (2, "wrong_usage")),
        ("pub", "proof", (*LOG_KEY, "--cosignatures", "-1"), (2, "wrong_usage")),
        ("pub", "proof", ("--log-key", WITNESSES[0].text), (2, "wrong_usage")),
        ("pub", "proof", (*LOG_KEY, "--witness", LOG.text), (2, "wrong_usage")),
        ("pub", "proof", ("--log-key", LOG.text[:-1]), (2, "invalid_trust")),
        ("pub", "proof", (*LOG_KEY, "--witness", "w"), (2, "invalid_trust")),
        ("trust", "proof", WITNESS[0], (2, "wrong_usage")),
        ("trust", None, LOG_KEY, (2, "wrong_usage")),
        ("trust", None, ("--cosignatures", "1"), (2, "wrong_usage")),
        ("trust", None, ("--cosignatures", "0"), (2, "wrong_usage")),
    ],
)
def test_which_log_and_which_witnesses_count(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    trust: str,
    made: str | None,
    options: tuple[str, ...],
    expected: tuple[int, str | None],
) -> None:
    call = ["artifact", str(folder / "tool"), "--signature", str(folder / "sig"), "--trust", str(folder / trust)]
    call += ["--json", *options] + ([] if made is None else ["--proof", str(folder / made)])
    code = run(call)
    answer = json.loads(capsys.readouterr().out)
    assert (code, answer.get("code")) == expected
    if code == 0:
        assert (answer["log_position"] is None) == (made is None)


def test_a_log_key_that_is_a_witness_too_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A log that cosigns itself is no second pair of eyes."""
    itself = type(LOG)("witness.example/itself", LOG.private_key, 4)
    call = ["artifact", str(folder / "tool"), "--signature", str(folder / "sig"), "--trust", str(folder / "pub")]
    assert run([*call, "--proof", str(folder / "proof"), *LOG_KEY, "--witness", itself.text]) == 2
    assert "none the log's own" in capsys.readouterr().err


def test_the_readmes_example_runs(folder: Path) -> None:
    text = (ROOT / "verifier" / "README.md").read_text()
    (example,) = [each for each in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "trusted_log" in each]

    def call(made: str, *witnesses: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-c", example, "tool", "sig", made, "pub", LOG.text, *witnesses],
            cwd=folder,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    code, said = call("proof", WITNESSES[0].text)
    assert (code, said[:12]) == (0, "LogPosition(")
    code, said = call("proof", WITNESSES[2].text)
    assert (code, "too_few_cosignatures" in said) == (1, True)


def test_logs_of_a_trust_file_are_shown_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_bytes(bundle([], logs=[proof_builder.log_entry(1)]))
    more = witness_signer("witness.example/w4")
    witnesses = [witness.text for witness in (*WITNESSES, more)]
    second = {"key": log_signer("second").text, "witnesses": [], "cosignatures": 0}
    new.write_bytes(bundle([], logs=[proof_builder.log_entry(2, witnesses=witnesses), second]))

    assert run(["trust", "show", str(old), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["logs"] == [proof_builder.log_entry(1)]
    assert run(["trust", "show", str(new)]) == 0
    shown = capsys.readouterr().out
    assert f"LOG        {LOG.name}\n" in shown
    assert "2 of 4 must have seen its head" in shown
    assert more.name in shown

    assert run(["trust", "diff", str(old), str(new), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    name = f"log {LOG.name}"
    assert told["changed"][name]["cosignatures"] == {"old": 1, "new": 2}
    assert told["changed"][name]["witnesses"]["new"][-1] == more.text
    assert list(told["added"]) == [f"log {log_signer('second').name}"]
    assert run(["trust", "diff", str(old), str(new)]) == 1
    text = capsys.readouterr().out
    assert f"+ log {log_signer('second').name}\n" in text
    assert "    cosignatures: 1 -> 2" in text
    assert run(["trust", "diff", str(old), str(old)]) == 0
