"""`python -m tests.signer.authn.timing [ROUNDS]`: what a clock says of each wrong credential, in this process.

Prints medians in microseconds and, for each state against "unknown", how often a draw of the one is slower than a draw
of the other (0.5: nothing can be told). Asserts nothing: that is for the test that counts the work.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter_ns

from keystore.hsm import open_token
from signer.authn.bearer import authenticate
from signer.errors import Unauthenticated
from tests.hsm_support import make_token
from tests.signer.authn.people import CASES, Cast, cast_of
from tests.signer.service import running_service


def main(rounds: int) -> None:
    """Founds a token of its own, tries every state in turn, in random order, and prints what it saw."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(open_token(make_token(Path(folder)).configuration)) as token,
        running_service(token, Path(folder)) as service,
    ):
        times = measured(cast_of(service), rounds)
    unknown = times["unknown"]
    tell(f"{rounds} rounds; median, middle half (us); share of draws slower than `unknown`")
    for name, found in times.items():
        low, middle, high = (value / 1000 for value in statistics.quantiles(found, n=4))
        draws = zip(random.sample(found, len(found)), unknown, strict=True)
        slower = sum((one > other) + (one == other) / 2 for one, other in draws) / len(found)
        tell(f"{name:<20} {middle:7.1f}   {low:7.1f} to {high:7.1f}   {slower:.3f}")


def measured(cast: Cast, rounds: int) -> dict[str, list[int]]:
    """Nanoseconds of each attempt, by state."""
    keystore = cast.service.services.keystore
    times: dict[str, list[int]] = {name: [] for name in CASES if name != "right"}
    order = list(times) * rounds
    random.shuffle(order)
    for name in [*times, *order]:
        header = f"Bearer {cast.tokens[name]}"
        begin = perf_counter_ns()
        with contextlib.suppress(Unauthenticated):
            authenticate(header, keystore, keystore.clock())
        times[name].append(perf_counter_ns() - begin)
    return {name: found[1:] for name, found in times.items()}  # the first of each read the row for the first time


def tell(line: str) -> None:
    """One line on standard output."""
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
