"""A large file is read once, in constant memory. `make bench-verifier` does the same with 4 GiB and takes the time."""

from __future__ import annotations

import io
import os
import sys
import tracemalloc
from pathlib import Path

import pytest

from tools.bench.verifier import MOST_MEMORY, main, make_signed_file, measure
from verifier import VerificationError, parse_trust, verify_artifact
from verifier.artifacts import files


def test_memory_stays_below_the_limit(tmp_path: Path) -> None:
    make_signed_file(tmp_path, 256 * 1024 * 1024)
    run = measure(
        [sys.executable, "-m", "verifier", "artifact", "file", "--signature", "file.p7s", "--trust", "ca.pem"], tmp_path
    )
    assert run.peak < MOST_MEMORY
    with (tmp_path / "file").open("r+b") as stream:
        stream.seek(-1, io.SEEK_END)
        stream.write(b"\x01")
    trust = parse_trust((tmp_path / "ca.pem").read_bytes())
    with pytest.raises(VerificationError, match="digest_mismatch"):
        verify_artifact(tmp_path / "file", (tmp_path / "file.p7s").read_bytes(), trust)


def test_every_digest_comes_from_one_reading(tmp_path: Path) -> None:
    class Counted(io.BytesIO):
        bytes_read = 0

        def readinto(self, buffer: object, /) -> int:
            length = super().readinto(buffer)  # type: ignore[arg-type]
            self.bytes_read += length
            return length

    content = os.urandom(files.CHUNK_BYTES * 2 + 7)
    stream = Counted(content)
    facts = files.read_stream(stream, {"sha256", "sha384", "sha512"}, keep_message=True)
    assert (facts.size, stream.bytes_read, facts.message, len(facts.digests)) == (
        len(content),
        len(content),
        content,
        3,
    )


def test_a_file_too_large_to_hold_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as stream:
        stream.truncate(files.MAXIMUM_MESSAGE_BYTES + 1)
    tracemalloc.start()
    try:
        with files.open_stream(path) as (opened, _):
            assert files.read_stream(opened, (), keep_message=True).message is None
        assert tracemalloc.get_traced_memory()[1] < 4 * files.CHUNK_BYTES
    finally:
        tracemalloc.stop()


def test_a_stream_that_does_not_wait_is_no_whole_file() -> None:
    """Nothing there yet is not the end: what was read so far must never be taken for the file."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with open(reading, "rb", buffering=0) as stream, open(writing, "wb", buffering=0) as sink:
        sink.write(b"the first half")
        with pytest.raises(VerificationError, match="unreadable_file"):
            files.read_stream(stream, {"sha256"}, keep_message=False)


def test_a_stream_with_nothing_but_read() -> None:
    class Bare:
        def __init__(self) -> None:
            self._left = [b"ab", b"c", b""]

        def read(self, _size: int) -> bytes:
            return self._left.pop(0)

    facts = files.read_stream(Bare(), {"sha256"}, keep_message=True)  # type: ignore[arg-type]
    assert (facts.size, facts.message) == (3, b"abc")


def test_the_benchmark_refuses_what_it_cannot_measure() -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--rounds", "0"])
    assert stopped.value.code == 2
