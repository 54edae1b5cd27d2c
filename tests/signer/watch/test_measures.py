"""Counts and times of one process, and of all workers of a state directory together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from keystore.measures import BOUNDS, MEASURES, Measures, Timed
from signer import measuring
from signer.call import Trace
from signer.figures import SharedFigures, begin_anew

if TYPE_CHECKING:
    from pathlib import Path

COUNTED = ("refusals", "watch-test", "code")


def test_threads_are_added_up_and_those_that_ended_are_kept() -> None:
    measures = Measures()

    def work() -> None:
        for _ in range(1000):
            measures.count(("a", "x"))
            measures.observe(("t",), 0.0002)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    measures.count(("a", "x"), 5)
    for _ in range(2):  # what was taken over once is not taken over again
        total = measures.total()
        assert total.counts == {("a", "x"): 4005}
        assert sum(total.times["t",][:-1]) == 4000
        assert total.times["t",][-1] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("seconds", "place"), [(0.0, 0), (BOUNDS[0], 0), (BOUNDS[1], 1), (10.0, len(BOUNDS) - 1), (10.1, len(BOUNDS))]
)
def test_a_duration_falls_into_its_class(seconds: float, place: int) -> None:
    measures = Measures()
    measures.observe(("t",), seconds)
    classes = measures.total().times["t",]
    assert [at for at, number in enumerate(classes[:-1]) if number] == [place]


def test_a_block_is_timed_however_it_ends() -> None:
    name = ("t", "watch-block")
    with pytest.raises(KeyError), Timed(name):
        raise KeyError
    assert sum(MEASURES.total().times[name][:-1]) == 1


def test_a_call_is_counted_by_operation_outcome_code_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring.WATCH, "keys", set())  # other tests have used many

    def figures() -> dict[tuple[str, ...], float]:
        total = MEASURES.total()
        return {**total.counts, **{name: sum(classes[:-1]) for name, classes in total.times.items()}}

    before = figures()
    trace = Trace(operation="watch-op", key="watch-key")
    for code in (None, "policy_forbids", "hsm_unavailable"):
        measuring.call_ended(trace, code, "none")
    measuring.call_ended(Trace(), "unauthenticated", "GET /watch")
    after = figures()
    # Of this test alone: services of other tests in this process have threads that go on.
    ours = [name for name in after if any("watch" in part for part in name)]
    new = {name: after[name] - before.get(name, 0) for name in ours if after[name] != before.get(name, 0)}
    assert new == {
        ("call_seconds", "watch-op", "succeeded"): 1,
        ("call_seconds", "watch-op", "denied"): 1,
        ("call_seconds", "watch-op", "failed"): 1,
        ("call_seconds", "GET /watch", "denied"): 1,
        ("refusals", "watch-op", "policy_forbids"): 1,
        ("refusals", "watch-op", "hsm_unavailable"): 1,
        ("refusals", "GET /watch", "unauthenticated"): 1,
        ("key_calls", "watch-key", "succeeded"): 1,
        ("key_calls", "watch-key", "denied"): 1,
        ("key_calls", "watch-key", "failed"): 1,
    }


def test_keys_beyond_the_first_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring.WATCH, "keys", set())
    monkeypatch.setattr(measuring.WATCH, "most_keys", 2)
    measuring.know_keys(["another-workers", measuring.OTHER])
    assert [measuring._admitted(key) for key in ("k1", "k2", "k1", "another-workers", "k3")] == [
        *("k1", measuring.OTHER, "k1", "another-workers", measuring.OTHER)
    ]


WORKER = """
import os, sys
from pathlib import Path
from keystore.measures import count, observe
from signer.figures import SharedFigures
shared = SharedFigures(Path(sys.argv[1]))
count(("refusals", "watch-test", "code"), 7)
observe(("call_seconds", "watch-test", "denied"), 0.003)
shared.write()
print("written", flush=True)
sys.stdin.read(1)
os._exit(0)
"""


def worker(folder: Path) -> subprocess.Popen[str]:
    """A worker that has written its figures and lives until its input ends; then it dies without a word."""
    started = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "written\n"
    return started


def end(process: subprocess.Popen[str]) -> None:
    process.communicate("x")


def test_figures_of_workers_that_died_are_kept_once_and_their_files_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    shared = SharedFigures(folder)
    own = MEASURES.total().counts.get(COUNTED, 0)

    def others() -> int:
        return shared.gather().figures.counts.get(COUNTED, 0) - own

    first, second = worker(folder), worker(folder)
    assert (others(), len(shared.gather().gauges)) == (14, 3)
    end(first)
    assert (others(), others(), len(shared.gather().gauges)) == (14, 14, 2)
    left = folder / "ended.json"
    # Killed between two steps: what was taken over is still there.
    taken = json.loads(left.read_text())["taken"][0]
    (folder / f"{taken}.json").write_bytes(left.read_bytes())
    (folder / f"{taken}.lock").touch()
    assert others() == 14
    end(second)
    assert (others(), others()) == (14, 14)
    assert {path.stem for path in folder.glob("*.json")} == {"ended"}
    shared.close()
    assert oct(folder.stat().st_mode & 0o777) == "0o700"
    assert {oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == {"0o600"}
    begin_anew(folder)
    assert list(folder.glob("*.json")) == []


def test_a_file_that_is_none_of_ours_is_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    shared = SharedFigures(folder)
    for number, text in enumerate(("", "[]", '{"times": [[["t"], [1.0]]]}', '{"counts": [["a", 1]]}')):
        (folder / f"strange-{number}.json").write_text(text)
    figures = shared.gather().figures
    assert ("t",) not in figures.times
    assert not any("a" in name for name in figures.counts)
    shared.close()


def test_a_living_worker_keeps_its_figures_when_another_service_begins(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    shared = SharedFigures(folder)
    shared.write()
    begin_anew(folder)
    assert len(list(folder.glob("*.json"))) == 1
    os.close(shared._lock)
    begin_anew(folder)
    assert list(folder.glob("*.json")) == []
    begin_anew(tmp_path / "none")
