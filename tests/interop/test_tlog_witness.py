"""A reader that is not ours, PyPI's tlog-scales, takes our witness's cosignatures, and refuses them changed."""

from __future__ import annotations

import base64
import json
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from signer.audit.cosignatures import parse_witness_key
from signer.audit.witnessing import Witness, Witnesses
from tests.interop.conftest import ROOT
from tests.signer.witness.support import NAME, leaves, sealmark_witness, served_witness
from tests.verifier.log_builder import LogBuilder, log_signer

if TYPE_CHECKING:
    from pathlib import Path

READER: Final = ROOT / "tests" / "interop" / "cosignature_reader.py"
PYTHON: Final = ROOT / ".venv-tlog" / "bin" / "python"  # tools/setup.sh tlog


def valid(questions: list[tuple[str, list[str]]]) -> list[list[str]]:
    """The names that tlog-scales finds to have signed each note."""
    asked = json.dumps([{"note": note, "keys": keys} for note, keys in questions])
    done = subprocess.run([PYTHON, "-I", READER], input=asked, capture_output=True, text=True, check=True)
    answers: list[list[str]] = json.loads(done.stdout)
    return answers


def changed(note: str, line: int, at: int) -> str:
    """The note with one bit of a signature changed."""
    lines = note.split("\n")
    words = lines[line].split(" ")
    octets = bytearray(base64.b64decode(words[-1]))
    octets[at] ^= 1
    lines[line] = " ".join([*words[:-1], base64.b64encode(octets).decode()])
    return "\n".join(lines)


def test_tlog_scales_takes_the_cosignatures_of_a_served_witness(tmp_path: Path) -> None:
    log, signer = LogBuilder(leaves(40)), log_signer()
    with served_witness(tmp_path, signer) as served:
        key = str(sealmark_witness("key", "--state", served.state)["key"])
        ours = Witnesses(
            [Witness(served.url, parse_witness_key(key))], log.consistency, lambda: 40, lambda: datetime.now(UTC)
        )
        notes = []
        for size in (1, 20, 33):
            checkpoint = log.checkpoint(signer, size).decode()
            notes.append(checkpoint + "".join(ours.cosign(checkpoint, size)))
        ours.close()
    keys = [signer.text, key]
    assert valid([(note, keys) for note in notes]) == [sorted([NAME, signer.name])] * 3
    note = notes[-1]
    # Octets 4 to 11 are the time, then comes the signature.
    tampered = [changed(note, 5, 11), changed(note, 5, 20), changed(note, 5, 75), note.replace("\n33\n", "\n34\n")]
    assert valid([(one, keys) for one in tampered]) == [[signer.name]] * 3 + [[]]
