"""`sealmark-verify log`: what a person and a program are told, the exit codes, and where trust comes from."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.verifier import log_files
from tests.verifier.log_builder import cosign, log_signer, witness_signer
from tests.verifier.log_files import checkpoint, entries, export_lines, write_tiles
from tests.verifier.trust_builder import bundle
from verifier.command import run

LOG = entries(300)
KEY = log_signer().text
WITNESS = witness_signer()
SEEN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


class Shell:
    """Runs the command in a folder that holds the log in both forms."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capture = folder, capture

    def __call__(self, *words: str) -> tuple[int, str]:
        code = run(["log", *words])
        told = self._capture.readouterr()
        return code, told.out + told.err

    def json(self, *words: str) -> tuple[int, Any]:
        code, text = self(*words, "--json")
        return code, json.loads(text)

    def write(self, size: int = 300, note: bytes | None = None, **changed: log_files.Entry) -> None:
        made = LOG[:size]
        for index, entry in changed.items():
            made[int(index.removeprefix("at"))] = entry
        Path("export").write_bytes(b"".join(export_lines(made, note)))
        write_tiles(Path("tiles"), made, note or checkpoint(made))

    def trust(self, logs: list[object] | None) -> None:
        members = json.loads(bundle([]))
        Path("trust.json").write_text(json.dumps(members if logs is None else members | {"logs": logs}))


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    shell = Shell(tmp_path, capsys)
    shell.write()
    return shell


@pytest.mark.parametrize("source", ["export", "tiles"])
def test_a_log_that_holds(source: str, shell: Shell) -> None:
    code, told = shell.json(source, "--log-key", KEY)
    assert code == 0
    assert (told["verified"], told["kind"], told["origin"], told["size"]) == (True, "log", log_signer().name, 300)
    assert told["root"] == log_files.builder(LOG).root().hex()
    assert (told["entries"]["checked"], told["entries"]["rows"], told["signatures"]) == (300, 30, 234)
    assert (told["first_time"], told["journal"]) == ("2026-01-02T03:04:05.679901Z", {"first": 1, "last": 30})
    assert (told["cosigned"], told["kept_size"]) == ([], None)
    code, text = shell(source, "--log-key", KEY)
    assert (code, text.splitlines()[0]) == (0, "VERIFIED")


def test_the_head_is_kept_and_moves_forward(shell: Shell) -> None:
    shell.write(200)
    assert shell("export", "--log-key", KEY, "--head", "head")[0] == 0
    shell.write(300)
    code, told = shell.json("export", "--log-key", KEY, "--head", "head")
    assert (code, told["kept_size"], told["entries"]["first_index"], told["entries"]["checked"]) == (0, 200, 200, 100)
    code, told = shell.json("export", "--log-key", KEY, "--head", "head", "--full")
    assert (code, told["kept_size"], told["entries"]["first_index"], told["entries"]["checked"]) == (0, 300, 0, 300)
    assert shell.json("tiles", "--log-key", KEY, "--head", "head")[0] == 0


def test_a_cut_log_is_rejected_and_the_head_stays(shell: Shell) -> None:
    shell("export", "--log-key", KEY, "--head", "head")
    before = Path("head").read_bytes()
    shell.write(250)
    for source in ("export", "tiles"):
        code, told = shell.json(source, "--log-key", KEY, "--head", "head")
        assert (code, told["outcome"], told["code"], told["size"]) == (1, "rejected", "log_proof_invalid", 250)
        code, text = shell(source, "--log-key", KEY, "--head", "head")
        assert code == 1
        assert text.startswith("REJECTED: the log is cut: it has 250 entries, and the kept head says 300")
    assert Path("head").read_bytes() == before


def test_a_changed_entry_is_named(shell: Shell) -> None:
    shell("export", "--log-key", KEY, "--head", "head")
    shell.write(at77=log_files.decision(1, label="forged"))
    code, told = shell.json("export", "--log-key", KEY, "--head", "head")
    assert (code, told["index"]) == (1, 77)
    assert shell("export", "--log-key", KEY, "--head", "head")[1].startswith("REJECTED: entry 77 ")
    shell.write(note=checkpoint(LOG), at77=log_files.decision(1, label="forged"))
    assert shell.json("tiles", "--log-key", KEY)[1]["last_index"] == 299


def test_a_head_that_cannot_be_kept_is_no_verification(shell: Shell) -> None:
    code, told = shell.json("export", "--log-key", KEY, "--head", "no/such/folder/head")
    assert (code, told["code"]) == (2, "unreadable_file")
    Path("head").write_text("{}")
    code, told = shell.json("export", "--log-key", KEY, "--head", "head")
    assert (code, told["code"], Path("head").read_text()) == (2, "unreadable_file", "{}")


def test_witnesses(shell: Shell) -> None:
    words = ("export", "--log-key", KEY, "--witness", WITNESS.text)
    code, told = shell.json(*words)
    assert (code, told["code"]) == (1, "too_few_cosignatures")
    assert shell.json(*words, "--cosignatures", "0")[0] == 0
    shell.write(note=cosign(checkpoint(LOG), WITNESS, SEEN))
    code, told = shell.json(*words)
    assert (code, told["cosigned_size"]) == (0, 300)
    assert told["cosigned"] == [{"witness": WITNESS.name, "at": "2026-03-04T05:06:07Z"}]
    code, told = shell.json(*words, "--cosignatures", "2")
    assert (code, told["code"]) == (2, "wrong_usage")


def test_other_checkpoints_must_fit(shell: Shell) -> None:
    Path("good").write_bytes(cosign(checkpoint(LOG, 200), WITNESS, SEEN))
    Path("forked").write_bytes(checkpoint([*LOG[:100], log_files.decision(1, label="forked")]))
    words = ("tiles", "--log-key", KEY, "--witness", WITNESS.text)
    code, told = shell.json(*words, "--checkpoint", "good")
    assert (code, told["cosigned_size"]) == (0, 200)
    code, told = shell.json(*words, "--checkpoint", "good", "--checkpoint", "forked")
    assert (code, told["size"], told["first_index"], told["last_index"]) == (1, 101, 0, 100)
    assert shell.json(*words, "--checkpoint", "nowhere")[0] == 2


def test_the_trust_file_names_logs(shell: Shell) -> None:
    entry = {"key": KEY, "witnesses": [WITNESS.text], "cosignatures": 1}
    other = {"key": log_signer("other").text, "witnesses": [], "cosignatures": 0}
    shell.trust([other, entry])
    code, told = shell.json("export", "--trust", "trust.json")
    assert (code, told["code"]) == (1, "too_few_cosignatures")
    assert shell.json("export", "--trust", "trust.json", "--cosignatures", "0")[0] == 1
    shell.write(note=cosign(checkpoint(LOG), WITNESS, SEEN))
    assert shell.json("export", "--trust", "trust.json", "--cosignatures", "0")[0] == 0
    assert shell.json("export", "--trust", "trust.json", "--cosignatures", "2")[0] == 2
    shell.trust([entry | {"cosignatures": 0}])
    shell.write()
    assert shell.json("export", "--trust", "trust.json")[0] == 0
    assert shell.json("export", "--trust", "trust.json", "--cosignatures", "1")[0] == 1
    shell.trust([other])
    code, told = shell.json("export", "--trust", "trust.json")
    assert (code, told["code"]) == (1, "untrusted_signer")
    assert log_signer().name in told["message"]
    shell.trust(None)
    code, told = shell.json("export", "--trust", "trust.json")
    assert (code, told["code"]) == (2, "no_trust")


@pytest.mark.parametrize(
    "words",
    [
        ("export",),
        ("export", "--log-key", KEY, "--trust", "trust.json"),
        ("export", "--trust", "trust.json", "--witness", WITNESS.text),
        ("export", "--log-key", "no key"),
        ("export", "--log-key", WITNESS.text),
        ("export", "--log-key", KEY, "--witness", KEY),
        ("export", "--log-key", KEY, "--cosignatures", "1"),
        ("nowhere", "--log-key", KEY),
        ("x" * 5000, "--log-key", KEY),
        ("export", "--log-key", KEY, "--head", "x" * 5000),
        ("/dev/null", "--log-key", KEY),
        (".", "--log-key", KEY),
    ],
)
def test_what_cannot_be_decided(words: tuple[str, ...], shell: Shell) -> None:
    shell.trust([])
    assert shell.json(*words)[0] == 2


def test_what_others_wrote_does_not_reach_the_terminal_raw(shell: Shell) -> None:
    Path("export").write_bytes(b'{"checkpoint":"\\u001b[2J\\n1\\n"}\n')
    code, text = shell("export", "--log-key", KEY)
    assert code == 1
    shell.write(note=checkpoint(LOG, signer=log_signer("\x1b")))
    code, text = shell("export", "--log-key", KEY)
    assert code == 1
    assert "\x1b" not in text
