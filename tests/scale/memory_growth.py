"""Memory of one worker over many signatures: what grows, and whose it is.

    python -m tests.scale.memory_growth [--signatures 200000] [--warm-up 20000]

One worker, never renewed; P-256 in batches of 20 by four clients. After the warm-up, and ten times more: memory that is
the worker's own, what malloc has handed out in it (to SoftHSM and OpenSSL; to SQLite), Python's objects, threads, open
files, and the objects and sessions of the PKCS#11 module. In the same run a bare loop makes as many signatures with the
same module, without a line of the service: what grows there is SoftHSM's. Growth is the slope of a line through the
ten. Prints one JSON object; exit code 1 if the worker grows by more than 5 bytes a signature, or holds more objects,
sessions, threads or files in the end than in the first half.
"""

from __future__ import annotations

import argparse
import base64
import json
import multiprocessing
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tests.scale.crowd import Tenant, crowd, signing_request
from tests.scale.memory import memory_of
from tests.scale.scene import ALGORITHM, PATH, make_scene, serving, worker_pids
from tests.scale.watched import ask, holdings
from tools.bench.bare import Loops, make_token
from tools.figures.record import record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

    from tests.scale.scene import Scene

MOST: Final = 5.0  # bytes a signature
BATCH: Final = 20
CLIENTS: Final = 4
STEPS: Final = 10
CONSTANT: Final = ("objects", "idle_sessions", "threads", "files")


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a process, after so many signatures. `own` and `malloc` are octets."""

    signatures: int
    own: int
    threads: int
    files: int
    malloc: int
    sqlite: int
    python_blocks: int
    python_objects: int
    objects: int = 0
    idle_sessions: int = 0


def sampled(pid: int, signatures: int, holds: dict[str, int]) -> Sample:
    """Of a process that lives."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    threads = int(status.partition("Threads:")[2].split()[0])
    return Sample(signatures, memory_of(pid).uss * 1024, threads, len(os.listdir(f"/proc/{pid}/fd")), **holds)


def growth(samples: Sequence[Sample], what: str = "own") -> float:
    """A signature: the slope of a line through all samples (least squares), so that no one of them decides."""
    points = [(one.signatures, getattr(one, what)) for one in samples]
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return float(sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points))


def of_the_service(scene: Scene, signatures: int, warm_up: int, steps: int = STEPS) -> list[Sample]:
    """Looks at the one worker of a service over the scene."""
    item = {"digest": base64.b64encode(bytes(32)).decode(), "algorithm": ALGORITHM}
    with serving(scene, program=(sys.executable, "-m", "tests.scale.watched")) as service:
        (pid,) = worker_pids(service)
        parts = urlsplit(service.url)
        address = (str(parts.hostname), int(parts.port or 0))
        request = signing_request(parts.netloc, PATH, scene.token, json.dumps({"items": [item] * BATCH}).encode())

        def sign(count: int) -> int:
            (tally,) = crowd(address, [Tenant(CLIENTS, request)], 86_400.0, answers=-(-count // BATCH))
            assert set(tally.statuses) == {200}, tally.last_refusal
            return tally.statuses[200] * BATCH

        made = sign(warm_up)
        samples = [sampled(pid, made, ask(scene.state))]
        for _ in range(steps):
            made += sign(signatures // steps)
            samples.append(sampled(pid, made, ask(scene.state)))
        assert worker_pids(service) == [pid]
    return samples


def of_the_module(folder: Path, signatures: int, warm_up: int, steps: int = STEPS) -> list[Sample]:
    """The same many signatures by a bare loop, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_sign_barely, args=(folder, signatures, warm_up, steps, sending))
    process.start()
    samples = [receiving.recv() for _ in range(steps + 1)]
    process.join()
    assert process.exitcode == 0
    return samples


def _sign_barely(folder: Path, signatures: int, warm_up: int, steps: int, sending: Connection) -> None:
    loops, made = Loops(make_token(folder), ("ECC_NIST_P256",)), 0
    for count in [warm_up, *[signatures // steps] * steps]:
        end = made + count
        while made < end:
            made += loops.run("ECC_NIST_P256", 0.0, 0.2).signatures
        sending.send(sampled(os.getpid(), made, holdings()))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.scale.memory_growth", description=str(__doc__).partition("\n")[0]
    )
    parser.add_argument("--signatures", type=int, default=200_000)
    parser.add_argument("--warm-up", type=int, default=20_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "copy"
        place.mkdir(mode=0o700)
        scene = make_scene(Path(folder)).copied(place, {"max_requests": 0})
        service = of_the_service(scene, given.signatures, given.warm_up)
        module = of_the_module(Path(folder) / "bare", given.signatures, given.warm_up)
    grown = {
        whose: {what: growth(samples, what) for what in ("own", "malloc", "sqlite", "python_blocks", "python_objects")}
        for whose, samples in (("worker", service), ("bare_loop", module))
    }
    held = {what: [getattr(one, what) for one in service] for what in CONSTANT}
    # Callers come and go, threads are begun when they are needed, and a file may be open for a moment: the fewer of the
    # last two looks, held against the most of the first half.
    more = {what: min(values[-2:]) - max(values[: len(values) // 2]) for what, values in held.items()}
    told = {"a_signature": grown, "held": held, "more": more}
    told |= {"worker": [asdict(one) for one in service], "bare_loop": [asdict(one) for one in module]}
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
    command = f"python -m tests.scale.memory_growth --signatures {given.signatures}"
    record("handle-growth", max(0, *more.values()), command=command, note=f"the most of {', '.join(more)}")
    record(
        "memory-growth",
        grown["worker"]["own"],
        command=command,
        note=f"one worker without renewal; the bare loop over SoftHSM grows by {grown['bare_loop']['own']:.1f}",
    )
    return 0 if grown["worker"]["own"] <= MOST and max(more.values()) <= 0 else 1


if __name__ == "__main__":
    sys.exit(main())
