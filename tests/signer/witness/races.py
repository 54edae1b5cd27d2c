"""`python -m tests.signer.witness.races [--races 200] [--seed 1]`: two histories of one log race for cosignatures.

Each race is a new log whose key has signed two histories. Clients of both ask one witness, which two servers serve
(each two processes of many threads), for every size. One server or both are killed by SIGKILL, with their whole process
groups, at a random moment or the very moment that a client has its answer, and started again; meanwhile the other one
goes on. Whatever was answered is kept. What must hold: of one log no two roots of one size were ever cosigned, and all
that was cosigned lies on one history.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from signer.witness.state import open_state
from tests.signer.witness.support import ServedWitness, leaves, request, served_witness
from tests.verifier.log_builder import LogBuilder, log_signer
from verifier.notes import cosigned_at, parse_checkpoint, parse_key, parse_note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.verifier.log_builder import NoteSigner

CLIENTS = 4
SERVERS = 2
LARGEST = 60  # leaves
SECONDS_BEFORE = 0.2  # within which a random kill comes
SECONDS_AFTER = 0.15  # of racing after it


@dataclass
class Ledger:
    """Every cosignature that a client was given: origin and size -> the roots, and how many."""

    roots: dict[tuple[str, int], set[bytes]] = field(default_factory=lambda: defaultdict(set))
    cosignatures: int = 0
    kills: int = 0

    def forked(self) -> list[tuple[str, int]]:
        """The sizes of which two roots were cosigned."""
        return sorted(place for place, roots in self.roots.items() if len(roots) > 1)


class Race:
    """One log with two histories that part after `common` leaves, and the clients of both."""

    def __init__(self, number: int, seed: int, served: Sequence[ServedWitness], ledger: Ledger) -> None:
        self._random = random.Random(f"{seed} {number}")  # noqa: S311 - choices that can be repeated
        self._served = served
        self._ledger = ledger
        self._guard = threading.Lock()
        self._stopping = threading.Event()
        self._killed = threading.Event()
        self._answers = 0
        self.signer: NoteSigner = log_signer(f"race {seed} {number}")
        common = self._random.randrange(8)
        self._common = common
        self._histories = [
            LogBuilder([*leaves(common, "common"), *leaves(LARGEST - common, f"history {each}")]) for each in range(2)
        ]
        # Two of three kills come with an answer, when it is likeliest that not all of it is on the disk.
        self._kill_at_answer = self._random.randrange(1, 6) if number % 3 else 0
        # One of three kills takes both servers.
        self._kill_both = self._random.randrange(3) == 0
        self._kill_after = self._random.random() * SECONDS_BEFORE
        state = open_state(served[0].state)
        state.store.add_log(parse_key(self.signer.text))
        self._witness = state.key.public

    def run(self) -> None:
        """Races, kills, starts it again, and races on."""
        clients = [
            threading.Thread(target=self._client, args=(each, self._histories[each % 2], self._random.random()))
            for each in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        if self._kill_at_answer:
            self._killed.wait(5)
        else:
            time.sleep(self._kill_after)
        self._strike(self._random.choice(self._served))
        if self._kill_both:
            self._served[0].wait_until_alive()
        time.sleep(SECONDS_AFTER)
        self._stopping.set()
        for client in clients:
            client.join()

    def _strike(self, one: ServedWitness) -> None:
        with self._guard:
            if not self._killed.is_set():
                struck = self._served if self._kill_both else [one]
                for served in struck:
                    served.kill()
                for served in struck:
                    served.start(wait=False)
                self._ledger.kills += len(struck)
                self._killed.set()

    def _client(self, number: int, history: LogBuilder, seed: float) -> None:
        choices = random.Random(seed)  # noqa: S311
        known = 0
        # Both histories at both servers; whose server does not answer goes to the other one.
        server = self._served[number // 2 % SERVERS]
        with httpx.Client(timeout=5, trust_env=False) as client:
            while not self._stopping.is_set():
                old = known if choices.random() < 0.8 else choices.randrange(known + 1)
                size = min(LARGEST, old + choices.choice((0, 1, 1, 1, 2, 5)))
                checkpoint = history.checkpoint(self.signer, size)
                body = request(old, history.consistency(old, size), checkpoint)
                try:
                    answer = client.post(f"{server.url}/add-checkpoint", content=body)
                except httpx.TransportError:
                    server = next(one for one in self._served if one is not server)
                    time.sleep(0.005)
                    continue
                if answer.status_code == 200:
                    known = size
                    self._received(server, checkpoint, answer.content, size)
                elif answer.headers["content-type"] == "text/x.tlog.size":
                    known = min(LARGEST, int(answer.text))

    def _received(self, server: ServedWitness, checkpoint: bytes, line: bytes, size: int) -> None:
        with self._guard:
            if size > self._common:
                self._answers += 1
            strikes = bool(self._kill_at_answer) and self._answers >= self._kill_at_answer
        if strikes:
            self._strike(server)
        note = parse_note(checkpoint + line)
        assert cosigned_at(note, [self._witness])
        with self._guard:
            self._ledger.roots[self.signer.name, size].add(parse_checkpoint(note.text).root)
            self._ledger.cosignatures += 1

    def went_one_way(self) -> bool:
        """Whether all that was cosigned of this log lies on one of its histories."""
        found = {
            size: roots for (origin, size), roots in self._ledger.roots.items() if origin == self.signer.name
        }  # fmt: skip
        return any(all(roots == {history.root(size)} for size, roots in found.items()) for history in self._histories)


def run_races(
    folder: Path, races: int, seed: int, report: Callable[[int, Ledger], object] | None = None
) -> tuple[Ledger, list[str]]:
    """(everything that was cosigned, the logs of which two histories were) after so many races of one witness."""
    ledger = Ledger()
    torn: list[str] = []
    with contextlib.ExitStack() as stack:
        served = [stack.enter_context(served_witness(folder))]
        for number in range(1, SERVERS):
            served.append(ServedWitness(served[0].state, folder / f"witness-{number}.log"))
            stack.callback(served[number].stop)
            served[number].start()
        for number in range(races):
            race = Race(number, seed, served, ledger)
            race.run()
            if not race.went_one_way():
                torn.append(race.signer.name)
            if report is not None:
                report(number + 1, ledger)
    return ledger, torn


def main() -> int:
    """Exit code 1 if two histories of a log were cosigned."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--races", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()

    def report(done: int, ledger: Ledger) -> None:
        if done % 20 == 0 or done == given.races:
            print(f"{done} races, {ledger.kills} kills, {ledger.cosignatures} cosignatures")  # noqa: T201

    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        ledger, torn = run_races(Path(folder), given.races, given.seed, report)
        print(f"sizes with two roots: {len(ledger.forked())}; logs with two histories: {len(torn)}")  # noqa: T201
        return 1 if ledger.forked() or torn else 0
    return 130


if __name__ == "__main__":
    raise SystemExit(main())
