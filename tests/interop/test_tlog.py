"""Readers that are not ours accept the log as a service on a real HSM serves it, and refuse it with one thing changed.

PyPI's tlog-scales takes checkpoints, tiles, entries and proofs, npm's @sigstore/verify proofs, OpenSSL the signature.
"""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from signer.audit.reading import heads
from tests.interop.conftest import ROOT
from tests.interop.loopback import NPM, node, served
from tests.signer.audit.software_log import numbered
from tests.signer.service import running_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from keystore.hsm import Token

READER: Final = ROOT / "tests" / "interop" / "tlog_reader.py"
PYTHON: Final = ROOT / ".venv-tlog" / "bin" / "python"  # tools/setup.sh tlog
MESSAGE: Final = {"message": "AAAA"}


@dataclass(frozen=True)
class Log:
    """A served log, two of its checkpoints, and some proofs out of signing answers."""

    url: str
    key: str
    public_key: bytes  # DER
    older: str
    newer: str
    proofs: list[str]

    @property
    def size(self) -> int:
        return size_of(self.newer)


def size_of(note: str) -> int:
    return int(note.split("\n")[1])


@pytest.fixture(scope="module")
def log(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    """Two full tiles and a bit: proofs with hashes from tiles of both levels."""
    with running_service(token, tmp_path_factory.mktemp("tlog")) as service, served(service.client.application) as url:
        service.make_key("device", "ECC_NIST_P256", "general")

        def sign(count: int) -> list[str]:
            made = service.made("role/ci", "POST", "/v1/keys/device/signatures", {"items": [MESSAGE] * count})
            return [str(result["proof"]) for result in made["results"]]

        proofs = sign(70)
        older = httpx.get(f"{url}/log/checkpoint").text
        service.services.audit.log.append(numbered(0, 500), proved=False)
        proofs += sign(3)
        newer = httpx.get(f"{url}/log/checkpoint").text
        (head,) = heads(service.services.keystore.database)
        yield Log(f"{url}/log", httpx.get(f"{url}/log/key").text.strip(), head.public_key, older, newer, proofs)


def asked(questions: list[dict[str, Any]]) -> list[str | None]:
    """What tlog-scales says to each."""
    done = subprocess.run(
        [PYTHON, "-I", READER], input=json.dumps(questions), capture_output=True, text=True, check=True
    )
    answers: list[str | None] = json.loads(done.stdout)
    assert len(answers) == len(questions)
    return answers


def changed(octets: bytes, at: int) -> bytes:
    return octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]


def changed_base64(text: str, at: int = 20) -> str:
    return base64.b64encode(changed(base64.b64decode(text), at)).decode()


def line_changed(text: str, number: int, change: Callable[[str], str]) -> str:
    lines = text.split("\n")
    lines[number] = change(lines[number])
    assert lines != text.split("\n")
    return "\n".join(lines)


def signature_changed(line: str) -> str:
    dash, name, signature = line.split(" ")
    return f"{dash} {name} {changed_base64(signature)}"


def tampered_notes(note: str, first: int = 0) -> dict[str, str]:
    """A checkpoint with one thing changed; `first` is its first line in a longer text."""
    return {
        "origin": line_changed(note, first, lambda line: line[:-1] + ("0" if line[-1] != "0" else "1")),
        "size": line_changed(note, first + 1, lambda line: str(int(line) + 1)),
        "root": line_changed(note, first + 2, changed_base64),
        "signature": line_changed(note, first + 4, signature_changed),
    }


def tampered_proofs(proof: str) -> dict[str, str]:
    """A proof with one thing changed."""
    lines = proof.split("\n")
    empty = lines.index("")
    return tampered_notes(proof, empty + 1) | {
        "leaf": line_changed(proof, 1, lambda line: f"extra {changed_base64(line.removeprefix('extra '))}"),
        "index": line_changed(proof, 2, lambda line: f"index {int(line.removeprefix('index ')) ^ 1}"),
        "first hash": line_changed(proof, 3, changed_base64),
        "last hash": line_changed(proof, empty - 1, changed_base64),
        "one hash less": "\n".join([*lines[: empty - 1], *lines[empty:]]),
        "one hash more": "\n".join([*lines[:empty], lines[empty - 1], *lines[empty:]]),
    }


def test_tlog_scales_reads_the_whole_log_and_its_growth(log: Log) -> None:
    assert log.size > 512 + 70
    growth = {"ask": "growth", "log": log.url, "key": log.key}
    assert asked(
        [
            {"ask": "log", "log": log.url, "key": log.key, "size": log.size},
            {**growth, "from": log.older, "to": log.newer},
            {**growth, "from": log.newer, "to": log.newer},
        ]
    ) == [None, None, None]


def test_tlog_scales_refuses_a_growth_that_is_none(log: Log) -> None:
    growth = {"ask": "growth", "log": log.url, "key": log.key}
    cases = [{**growth, "from": note, "to": log.newer} for note in tampered_notes(log.older).values()]
    cases += [{**growth, "from": log.older, "to": note} for note in tampered_notes(log.newer).values()]
    assert None not in asked([*cases, {**growth, "from": log.newer, "to": log.older}])


def test_tlog_scales_accepts_each_proof_and_refuses_it_changed(log: Log) -> None:
    assert asked([{"ask": "proof", "proof": proof, "key": log.key} for proof in log.proofs]) == [None] * 73
    for proof in (log.proofs[3], log.proofs[-1]):
        cases = tampered_proofs(proof)
        answers = asked([{"ask": "proof", "proof": changed, "key": log.key} for changed in cases.values()])
        assert [name for name, said in zip(cases, answers, strict=True) if said is None] == []


def test_tlog_scales_makes_the_same_proofs_of_the_tiles(log: Log) -> None:
    """Word for word, but for the entry that ours carry along."""
    for index in (0, 255, 256, log.size - 1):
        words: list[str | Path] = [PYTHON.with_name("tlog-tiles"), "gen-proof", log.url, str(index)]
        made = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        ours = httpx.get(f"{log.url}/proof/{index}").text.split("\n")
        assert ours.pop(1).startswith("extra ")
        assert made == "\n".join(ours)


def test_tlog_scales_refuses_a_copy_with_one_octet_changed(log: Log, tmp_path: Path) -> None:
    width = log.size - 512
    names = ["tile/0/000", "tile/0/001", f"tile/0/002.p/{width}", "tile/1/000.p/2"]
    names += ["tile/entries/000", "tile/entries/001", f"tile/entries/002.p/{width}"]
    good = {name: httpx.get(f"{log.url}/{name}").content for name in ("checkpoint", *names)}
    copies = {"good": good}
    for name in names:
        copies[name] = {**good, name: changed(good[name], len(good[name]) // 2)}
    for name, note in tampered_notes(log.newer).items():
        copies[name] = {**good, "checkpoint": note.encode()}
    for number, copy in enumerate(copies.values()):
        for name, content in copy.items():
            place = tmp_path / str(number) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
    question = {"ask": "log", "key": log.key, "size": log.size}
    answers = asked([{**question, "log": str(tmp_path / str(number))} for number in range(len(copies))])
    assert [name for name, said in zip(copies, answers, strict=True) if said is None] == ["good"]


def test_npm_accepts_each_proof_and_refuses_it_changed(log: Log) -> None:
    name, key_id, _ = log.key.split("+", 2)  # the key in base64 may hold one too
    hint = base64.b64encode(bytes.fromhex(key_id)).decode()
    common = {"key": base64.b64encode(log.public_key).decode(), "hint": hint, "name": name}
    # It takes the origin for a comment, and reads the log's name in the signature's line.
    cases = {**tampered_proofs(log.proofs[3])}
    questions = [{**common, "proof": proof} for proof in (*log.proofs, *cases.values())]
    done = subprocess.run(
        [node(), NPM / "verify_proof.mjs"], input=json.dumps(questions), capture_output=True, text=True, check=True
    )
    answers = json.loads(done.stdout)
    assert answers[: len(log.proofs)] == [None] * len(log.proofs)
    assert [name for name, said in zip(cases, answers[len(log.proofs) :], strict=True) if said is None] == []


def test_openssl_verifies_the_signature_of_a_checkpoint(log: Log, tmp_path: Path) -> None:
    text, _, line = log.newer.partition("\n\n")
    signature = base64.b64decode(line.split(" ")[2])[4:]
    raw_key = base64.b64decode(log.key.split("+", 2)[2])
    assert (raw_key[:1], raw_key[1:]) == (b"\x01", log.public_key[-32:])
    (tmp_path / "key.der").write_bytes(log.public_key)
    (tmp_path / "signature").write_bytes(signature)
    for content, accepted in ((f"{text}\n", True), (f"{text}\n\n", False), (text.replace("\n", "\n1", 1), False)):
        (tmp_path / "text").write_text(content)
        words = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey", "key.der"]
        words += ["-in", "text", "-sigfile", "signature"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, check=False)
        assert (done.returncode == 0) == accepted, done.stdout + done.stderr
