"""A service with many keys and a long log beside an empty one, in one run: what grows with what is stored.

    python -m tests.scale.large [--keys 100000] [--leaves 1000000] [--rounds 10] [--folder FOLDER]

Both are served at the same time with the settings as shipped, and asked in turn; each figure is the median of one
service over the median of the other. Prints a table and records the figures (`bench-results`). Exit code 1 where
signing takes longer than 1.1 times as long.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx

from tests.scale.filling import fill
from tests.scale.scene import ALIAS, PATH, make_scene, serving
from tools.figures.record import record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.scale.scene import Scene
    from tools.service import Service

LIMIT: Final = 1.1  # signing, over the empty service
_CALLS: Final = 100  # signatures a round; of every other question a tenth
_PAGE: Final = 100
_STARTS: Final = 4  # besides that of the service that is asked
_RECORDED: Final = {
    "sign": "full-log-latency",
    "start": "full-log-start",
    "list keys": "full-log-listing",
    "proof": "full-log-proof",
}
_NAMES: Final = (
    *("start", "sign", "sign, another key each", "list keys", "list keys, a further page", "search by key"),
    *("search by principal", "search by digest", "search by request", "entry with its proof", "proof"),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """Medians in milliseconds."""

    name: str
    full: float
    empty: float

    @property
    def ratio(self) -> float:
        return self.full / self.empty


@dataclass(frozen=True)
class Asked:
    """One running service, as its callers see it."""

    service: Service
    client: httpx.Client
    tokens: dict[str, str]
    keys: Sequence[str]
    seen: dict[str, list[float]] = field(default_factory=dict)

    def ask(self, name: str, method: str, path: str, who: str, content: bytes | None = None) -> httpx.Response:
        """Notes how long the answer took. Raises `HTTPStatusError`."""
        headers = {"Authorization": f"Bearer {self.tokens[who]}", "Content-Type": "application/json"}
        begun = time.perf_counter()
        answer = self.client.request(method, path, headers=headers, content=content)
        self.seen.setdefault(name, []).append(time.perf_counter() - begun)
        return answer.raise_for_status()


def compare(
    scene: Scene, folder: Path, keys: int, leaves: int, rounds: int, *, calls: int = _CALLS, starts: int = _STARTS
) -> list[Figure]:
    """Fills one of two copies of a scene, and asks both."""
    empty, full = scene.copied(folder / "empty"), scene.copied(folder / "full")
    begun = time.monotonic()
    copies = fill(full.state, ALIAS, keys, leaves)
    few = fill(empty.state, ALIAS, min(keys, _PAGE), 0)  # so that both have a whole page of keys to list
    sys.stderr.write(f"filled in {time.monotonic() - begun:.0f} s\n")
    started: dict[str, list[float]] = {"full": [], "empty": []}
    for _ in range(starts):
        for name, one in (("full", full), ("empty", empty)):
            started[name].append(_start(one))
    with ExitStack() as stack:
        began = time.perf_counter()
        pair = [_asked(stack, full, [f"{ALIAS}-{number}" for number in range(len(copies))])]
        started["full"].append(time.perf_counter() - began)
        began = time.perf_counter()
        pair.append(_asked(stack, empty, [f"{ALIAS}-{number}" for number in range(len(few))]))
        started["empty"].append(time.perf_counter() - began)
        for each in pair:
            _round(each, calls // 5)
            each.seen.clear()
        for turn in range(rounds):
            for each in pair if turn % 2 else reversed(pair):
                _round(each, calls)
        medians = [{name: statistics.median(seen) * 1e3 for name, seen in each.seen.items()} for each in pair]
    for name, of in zip(("full", "empty"), medians, strict=True):
        of["start"] = statistics.median(started[name]) * 1e3
    return [Figure(name, medians[0][name], medians[1][name]) for name in _NAMES]


def _start(scene: Scene) -> float:
    """Seconds from the command to the first answer that it is ready."""
    begun = time.perf_counter()
    with serving(scene):
        return time.perf_counter() - begun


def _asked(stack: ExitStack, scene: Scene, keys: Sequence[str]) -> Asked:
    service = stack.enter_context(serving(scene))
    client = stack.enter_context(httpx.Client(base_url=service.url, timeout=60, trust_env=False))
    auditor = service.enrolled("user/auditor", "auditor")
    return Asked(
        service, client, {"user": scene.token, "auditor": auditor, "admin": service.token_of("key-admin")}, keys
    )


def _round(asked: Asked, calls: int) -> None:
    """Signatures, and a tenth as many of every question."""
    body = b'{"digest": "' + b"A" * 43 + b'="}'
    for number in range(calls):
        last = asked.ask("sign", "POST", PATH, "user", body).json()["results"][0]
        key = asked.keys[hash((number, "key")) % len(asked.keys)]
        asked.ask("sign, another key each", "POST", f"/v1/keys/{key}/signatures", "user", body)
    found = asked.ask("found", "GET", f"/v1/audit/entries?request_id={last['request_id']}", "auditor").json()
    entry = found["entries"][0]
    digest, middle = entry["record"]["signatures"][0]["sha256"], entry["index"] // 2
    page = asked.ask("page", "GET", "/v1/keys?limit=1", "admin").json()
    for _ in range(max(2, calls // 10)):
        asked.ask("list keys", "GET", f"/v1/keys?limit={_PAGE}", "admin")
        asked.ask("list keys, a further page", "GET", f"/v1/keys?limit={_PAGE}&cursor={page['next_cursor']}", "admin")
        asked.ask("search by key", "GET", f"/v1/audit/entries?key={ALIAS}&limit=20", "auditor")
        asked.ask("search by principal", "GET", "/v1/audit/entries?principal=role/scale&limit=20", "auditor")
        asked.ask("search by digest", "GET", f"/v1/audit/entries?digest={digest}", "auditor")
        asked.ask("search by request", "GET", f"/v1/audit/entries?request_id={last['request_id']}", "auditor")
        asked.ask("entry with its proof", "GET", f"/v1/audit/entries/{middle}", "auditor")
        asked.ask("proof", "GET", f"/log/proof/{middle}", "auditor")


def main(given: Sequence[str]) -> int:
    """1 where signing takes too long."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale.large", description=__doc__)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--leaves", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="where both are made; kept  [default: a temporary one]")
    asked = parser.parse_args(given)
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        figures = compare(make_scene(folder / "made"), folder, asked.keys, asked.leaves, asked.rounds)
    command = f"python -m tests.scale.large --keys {asked.keys} --leaves {asked.leaves}"
    for figure in figures:
        sys.stdout.write(f"{figure.name:<32}{figure.empty:>10.2f} ms{figure.full:>10.2f} ms{figure.ratio:>8.2f}\n")
        if figure.name in _RECORDED:
            note = f"{figure.full:.2f} ms beside {figure.empty:.2f} ms, medians of one run"
            record(_RECORDED[figure.name], round(figure.ratio, 3), command=command, note=note)
    return 0 if next(figure for figure in figures if figure.name == "sign").ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
