"""What figures cost a call, in microseconds of processor time. For whoever wants to know:

python -m tests.signer.watch.cost
"""

from __future__ import annotations

import sys
import timeit
from time import thread_time
from typing import TYPE_CHECKING, Final

from keystore.measures import count, observe
from signer.measuring import call_begins, call_ended, call_leaves
from signer.tracing import begun

if TYPE_CHECKING:
    from collections.abc import Callable

_TIMES: Final = 200_000
# How often one signing call does each: sign and seal in the HSM, one opened key, two lines of those who wait.
_OF_A_CALL: Final = {"call_ended": 1, "begins and leaves": 1, "observe": 4, "count": 1, "lap": 5}


def _microseconds(work: Callable[[], object]) -> float:
    return min(timeit.repeat(work, number=_TIMES, repeat=3, timer=thread_time)) / _TIMES * 1e6


def main() -> None:
    trace = begun(None)
    trace.operation, trace.key = "SignArtifact", "a-key"
    empty = _microseconds(lambda: None)

    def both() -> None:
        call_begins()
        call_leaves()

    found = {
        "call_ended": _microseconds(lambda: call_ended(trace, None, "none")) - empty,
        "begins and leaves": _microseconds(both) - empty,
        "observe": _microseconds(lambda: observe(("hsm_seconds", "C_Sign"), 0.0003)) - empty,
        "count": _microseconds(lambda: count(("opened_key_uses", "hit"))) - empty,
        "lap": _microseconds(lambda: trace.lap("hsm")) - empty,
    }
    for name, cost in found.items():
        sys.stdout.write(f"{name:20} {cost:6.3f} us, {_OF_A_CALL[name]} a call\n")
    total = sum(cost * _OF_A_CALL[name] for name, cost in found.items())
    sys.stdout.write(f"{'a call in all':20} {total:6.3f} us\n")


if __name__ == "__main__":
    main()
