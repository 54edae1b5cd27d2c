"""The whole list of attacks, and every token that is not as a ceremony makes it, as figures.

    python -m tests.attacks

Records `attack-list` (attacks that do not go as `docs/attacks.md` says) and `token-audit` (deviations of a token that a
start did not notice). Exit code 1 if there are any.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tools.figures.record import record

ROOT: Final = Path(__file__).resolve().parents[2]
COMMAND: Final = "python -m tests.attacks"
FIGURES: Final = {"attack-list": "tests/attacks", "token-audit": "tests/keystore/hsm/test_audit.py"}
_COUNT: Final = re.compile(r"(\d+) (passed|failed|errors?)")


def main() -> int:
    worst = 0
    for name, tests in FIGURES.items():
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", tests]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        counts = {what: int(count) for count, what in _COUNT.findall(done.stdout.splitlines()[-1])}
        bad = sum(count for what, count in counts.items() if what != "passed")
        if done.returncode and not bad:
            raise SystemExit(done.stdout + done.stderr)
        record(name, bad, command=COMMAND, note=f"{counts.get('passed', 0) + bad} tries on SoftHSM 2.6.1 ({tests})")
        sys.stdout.write(f"{name}: {bad} of {counts.get('passed', 0) + bad}\n")
        worst = max(worst, bad)
    return 1 if worst else 0


if __name__ == "__main__":
    sys.exit(main())
