"""`sealmark-verify encrypt`, `open` and `inspect` as they are typed: what is printed and written, the exit codes."""

from __future__ import annotations

import base64
import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from tests.verifier import pki
from tests.verifier.test_envelope import CONTENT, private_key, unwrapped
from tests.verifier.test_recipients import FINGERPRINT, LEAF, entry
from tests.verifier.trust_builder import KEY_ID, bundle
from verifier.command import cli, run
from verifier.envelope import read_header

if TYPE_CHECKING:
    from pathlib import Path


class Shell:
    """Runs the command in a folder."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.folder, self._capture, self._patch = folder, capture, patch

    def __call__(self, *words: str, stdin: bytes = b"") -> tuple[int, str, str]:
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = run([*words])
        return code, *self._capture.readouterr()

    def json(self, *words: str, stdin: bytes = b"") -> tuple[int, dict[str, Any]]:
        code, out, _ = self(*words, "--json", stdin=stdin)
        return code, json.loads(out)

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    for name, data in {
        "report.pdf": CONTENT,
        "trust.json": bundle([entry()]),
        "pub.pem": pki.public_pem(private_key()),
        "chain.pem": pki.pem(LEAF.certificate, pki.root().certificate),
        "ca.pem": pki.pem(pki.root().certificate),
        "clean.crl": pki.crl_der(pki.crl(pki.root())),
    }.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path, capsys, monkeypatch)


def test_there_and_back(shell: Shell) -> None:
    encrypt = ("encrypt", "report.pdf", "--to", "trust.json", "--key", "inbox", "--context", "case=47=11")
    code, out, _ = shell(*encrypt)
    assert code == 0
    assert out.startswith("ENCRYPTED\n  output:       report.pdf.enc, an envelope\n")
    assert f"inbox, {KEY_ID}, version 1, RSA 2048, RSAES_OAEP_SHA_256, sha256 {FINGERPRINT}\n" in out
    assert "context case: 47=11" in out

    code, facts = shell.json("inspect", "report.pdf.enc", "--wrapped-key", "wrapped.key")
    assert code == 0
    assert base64.b64decode(facts["wrapped_data_key"]) == shell.read("wrapped.key")
    assert (facts["key_id"], facts["key_version"], facts["key_sha256"]) == (KEY_ID, 1, FINGERPRINT)

    key = unwrapped(read_header(shell.folder / "report.pdf.enc"))
    (shell.folder / "data.key").write_bytes(key)
    code, facts = shell.json("open", "report.pdf.enc", "--data-key", "data.key", "--output", "copy")
    assert (code, facts["opened"], facts["size"], facts["context"]) == (0, True, len(CONTENT), {"case": "47=11"})
    assert shell.read("copy") == CONTENT

    (shell.folder / "report.pdf").unlink()
    opened = shell("open", "report.pdf.enc", "--data-key", "-", stdin=base64.b64encode(key) + b"\n")
    assert opened[:2] == (0, opened[1])
    assert opened[1].startswith("OPENED\n  output:       report.pdf, ")
    assert shell.read("report.pdf") == CONTENT


def test_a_secret_from_a_pipe(shell: Shell) -> None:
    code, facts = shell.json("encrypt", "-", "--to", "pub.pem", "--output", "token.enc", stdin=b"secret")
    assert (code, facts["form"], facts["size"], facts["key"]["key_id"]) == (0, "ciphertext", 6, None)
    assert len(shell.read("token.enc")) == 256


def test_to_standard_output_and_from_there(shell: Shell) -> None:
    def typed(*words: str) -> tuple[bool, bytes]:
        result = CliRunner().invoke(cli, words, standalone_mode=False)
        return result.exception is None, result.stdout_bytes

    done, whole = typed("encrypt", "report.pdf", "--to", "pub.pem", "--output", "-")
    assert done
    (shell.folder / "e").write_bytes(whole)
    (shell.folder / "k").write_bytes(unwrapped(read_header(shell.folder / "e")))
    assert typed("open", "e", "--data-key", "k", "--output", "-") == (True, CONTENT)
    (shell.folder / "e").write_bytes(whole[:-1] + bytes((whole[-1] ^ 1,)))
    assert typed("open", "e", "--data-key", "k", "--output", "-") == (False, b"")


def test_a_chain_needs_an_authority(shell: Shell) -> None:
    chain = ("encrypt", "report.pdf", "--to", "chain.pem")
    code, facts = shell.json(*chain, "--ca", "ca.pem", "--crl", "clean.crl", "--require-crl")
    assert (code, facts["key"]["key_id"], facts["not_covered"]) == (0, KEY_ID, [])
    assert [each["subject"] for each in facts["key"]["certificates"]] == ["CN=inbox", "CN=Test Root"]
    code, _, err = shell(*chain)
    assert (code, "--ca" in err) == (2, True)
    code, facts = shell.json(*chain, "--ca", "ca.pem", "--require-crl", "--output", "other")
    assert (code, facts["code"]) == (2, "revocation_unknown")


@pytest.mark.parametrize(
    ("words", "exit_code", "code"),
    [
        (("--to", "pub.pem", "--fingerprint", "0" * 64), 1, "key_mismatch"),
        (("--to", "pub.pem", "--fingerprint", "zz"), 2, "wrong_usage"),
        (("--to", "trust.json", "--key", "outbox"), 2, "unknown_key"),
        (
            (
                "--to",
                "report.pdf",
            ),
            2,
            "invalid_trust",
        ),
        (
            (
                "--to",
                "absent",
            ),
            2,
            "unreadable_file",
        ),
        (("--to", "pub.pem", "--ca", "ca.pem"), 2, "wrong_usage"),
        (("--to", "chain.pem", "--ca", "ca.pem", "--key", "inbox"), 2, "wrong_usage"),
        (("--to", "pub.pem", "--context", "case"), 2, "wrong_usage"),
        (("--to", "pub.pem", "--context", "a=1", "--context", "a=2"), 2, "wrong_usage"),
        (("--to", "pub.pem", "--context", "=x"), 2, "wrong_usage"),
        (("--to", "pub.pem", "--output", "pub.pem"), 2, "unwritable_file"),
        (("--to", "pub.pem", "--output", "-"), 2, "wrong_usage"),
        (("--to", "pub.pem", "--algorithm", "RSAES_PKCS1_V1_5"), 2, "wrong_usage"),
    ],
)
def test_what_encrypt_refuses(shell: Shell, words: tuple[str, ...], exit_code: int, code: str) -> None:
    before = sorted(path.name for path in shell.folder.iterdir())
    answer = shell.json("encrypt", "report.pdf", *words)
    assert (answer[0], answer[1]["code"]) == (exit_code, code)
    assert sorted(path.name for path in shell.folder.iterdir()) == before


def test_what_open_refuses(shell: Shell) -> None:
    shell("encrypt", "report.pdf", "--to", "pub.pem", "--context", "case=1")
    (shell.folder / "data.key").write_bytes(unwrapped(read_header(shell.folder / "report.pdf.enc")))
    (shell.folder / "zero.key").write_bytes(bytes(32))
    (shell.folder / "short.key").write_bytes(b"short")
    (shell.folder / "cut").write_bytes(shell.read("report.pdf.enc")[:-5])
    for words, exit_code, code in (
        (("report.pdf.enc", "--data-key", "data.key"), 2, "unwritable_file"),
        (("cut", "--data-key", "data.key"), 2, "wrong_usage"),
        (("cut", "--data-key", "data.key", "-o", "out"), 1, "malformed"),
        (("report.pdf.enc", "--data-key", "zero.key", "-o", "out"), 1, "decryption_failed"),
        (("report.pdf.enc", "--data-key", "short.key", "-o", "out"), 2, "wrong_usage"),
        (("report.pdf.enc", "--data-key", "data.key", "-o", "out", "--context", "case=2"), 1, "context_mismatch"),
        (("report.pdf", "--data-key", "data.key", "-o", "out"), 2, "unsupported_format"),
    ):
        answer = shell.json("open", *words)
        assert (answer[0], answer[1]["code"]) == (exit_code, code), words
    assert not (shell.folder / "out").exists()
    told, facts = shell.json("inspect", "report.pdf")
    assert (told, facts["code"]) == (2, "unsupported_format")
