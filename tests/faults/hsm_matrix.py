"""Each return code at each function that signing needs, at a running service: what callers get, and how it ends.

    python -m tests.faults.hsm_matrix

Prints one JSON object, with the times until the first good signature; exit code 1 if a cell is not as
`docs/operations/hsm-faults.md` says. `make test` runs a third of the cells, without judging times.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from keystore.hsm.return_values import ReturnValue
from tests.faults.forwarded import forwarded_service
from tests.scale.scene import make_scene

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.faults.forwarded import Answered, Client, Forwarded

PAGE: Final = Path(__file__).parents[2] / "docs" / "operations" / "hsm-faults.md"
FUNCTIONS: Final = ("C_SignInit", "C_Sign", "C_UnwrapKey", "C_FindObjects", "C_OpenSession", "C_Login")
CODES: Final = tuple(
    ReturnValue[name]
    for name in (
        "DEVICE_ERROR",
        "DEVICE_REMOVED",
        "TOKEN_NOT_PRESENT",
        "SESSION_HANDLE_INVALID",
        "SESSION_CLOSED",
        "SESSION_COUNT",
        "USER_NOT_LOGGED_IN",
        "PIN_INCORRECT",
        "KEY_HANDLE_INVALID",
        "OPERATION_ACTIVE",
        "CRYPTOKI_NOT_INITIALIZED",
        "GENERAL_ERROR",
        "FUNCTION_FAILED",
        "HOST_MEMORY",
        "DATA_LEN_RANGE",
        "MECHANISM_INVALID",
    )
)
MENDED: Final = "mended"  # a new login is tried, again and again, until one is good
REFUSED: Final = "refused"  # this call is refused, and the login goes on
BY_HAND: Final = "by hand"  # nothing is tried again until somebody says so
_ROW: Final = re.compile(r"^\| `([A-Z_]+)` \|(.*)\|$", re.MULTILINE)
_CELL: Final = re.compile(r"503 ([a-z ]+)")
_REQUESTS: Final = 2  # while the code is there
_MOST_LOGINS: Final = 2  # after it is gone: one that was on its way, and one that is good
_LOGS_IN: Final = ("C_OpenSession", "C_Login")
SETTINGS: Final = {"cache_size": 1}  # so that each signature unwraps its key and finds the log key


@dataclass(frozen=True, slots=True)
class Cell:
    """What came of a code at a function. `differences` is empty where it was as expected."""

    function: str
    code: str
    expected: str
    logins: int  # while the code was there
    logins_after: int
    refusals_after: int
    seconds: float  # from the end of the code to the first good signature
    slowest_refusal: float  # seconds
    differences: list[str] = field(default_factory=list)


def expected() -> Mapping[tuple[str, str], str]:
    """The table of the documentation, by function and code."""
    found = {}
    for code, cells in _ROW.findall(PAGE.read_text(encoding="utf-8")):
        for function, cell in zip(FUNCTIONS, cells.split("|"), strict=True):
            told = _CELL.fullmatch(cell.strip())
            assert told is not None, f"{PAGE.name}: {code} {function}: {cell!r}"
            found[function, code] = told[1]
    return found


def try_cell(place: Forwarded, client: Client, function: str, code: ReturnValue, outcome: str) -> Cell:
    """Lets every call of the function return the code, for some requests, and then none."""
    control, mark = place.control, place.scene.state / "hsm.refused"
    if function in _LOGS_IN:
        control.restart()
    before = control.calls("C_Login")
    control.answer(function, code)
    began = time.monotonic()
    answers = [client.sign() for _ in range(_REQUESTS)]
    slowest = (time.monotonic() - began) / _REQUESTS
    differences = [difference for answer in answers for difference in _wrong(place, answer)]
    logins = control.calls("C_Login") - before
    differences += _wrong_logins(outcome, function, logins, marked=mark.exists())
    control.heal()
    if outcome == BY_HAND:
        if (status := client.sign().status) != 503:
            differences.append(f"without a word of anybody the PIN was tried again: {status}")
        mark.unlink(missing_ok=True)
    gone, before = time.monotonic(), control.calls("C_Login")
    _, refusals = place.sign_until_good(client)
    seconds, after = time.monotonic() - gone, control.calls("C_Login") - before
    if after > _MOST_LOGINS:
        differences.append(f"{after} logins after the code was gone")
    differences += [f"then {answer.status}" for answer in refusals if answer.status != 503]
    return Cell(function, code.name, outcome, logins, after, len(refusals), seconds, slowest, differences)


def _wrong(place: Forwarded, answer: Answered) -> list[str]:
    """503 with Retry-After, nothing released, one leaf that says so, and no intent left without one."""
    wrong = []
    if answer.status != 503 or answer.code not in ("hsm_unavailable", "audit_unavailable"):
        wrong.append(f"answered {answer.status} {answer.code}")
    if not (answer.retry_after or "").isdigit():
        wrong.append(f"Retry-After is {answer.retry_after}")
    if answer.signature is not None or "signature" in json.dumps(answer.body.get("results", [])):
        wrong.append("a signature was released")
    outcomes = place.outcomes(answer.request_id)
    # Where the HSM signed and the log's head could then not be signed, the leaf says what the HSM did.
    told = ("failed", "succeeded") if answer.code == "audit_unavailable" else ("failed",)
    if len(outcomes) != 1 or outcomes[0][0] not in told:
        wrong.append(f"{answer.code} is recorded as {outcomes}")
    return wrong


def _wrong_logins(outcome: str, function: str, logins: int, *, marked: bool) -> list[str]:
    wrong = []
    if marked is not (outcome == BY_HAND):
        wrong.append("a PIN was noted as refused" if marked else "the refused PIN was not noted")
    if outcome == MENDED and not logins and function != "C_OpenSession":
        wrong.append("no new login was tried")
    if outcome == REFUSED and logins:
        wrong.append(f"{logins} logins for a code that none can mend")
    if outcome == BY_HAND and logins > 1:
        wrong.append(f"the PIN was tried {logins} times")
    return wrong


def run() -> list[Cell]:
    """All cells, one after the other, at one service of one worker."""
    with tempfile.TemporaryDirectory() as folder:
        scene = make_scene(_made(Path(folder, "made")))
        with forwarded_service(scene, _made(Path(folder, "served")), "--workers", "1", hsm=SETTINGS) as place:
            client = place.client()
            place.sign_until_good(client)
            table = expected()
            cells = [
                try_cell(place, client, function, code, table[function, code.name])
                for function in FUNCTIONS
                for code in CODES
            ]
            client.close()
            assert place.open_intents() == 0
    return cells


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder


def main() -> int:
    cells = run()
    times = sorted(cell.seconds for cell in cells)
    report = {
        "cells": len(cells),
        "differences": [f"{cell.function} {cell.code}: {one}" for cell in cells for one in cell.differences],
        "first_good_signature_seconds": {"median": statistics.median(times), "longest": times[-1]},
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    return 1 if report["differences"] else 0


if __name__ == "__main__":
    sys.exit(main())
