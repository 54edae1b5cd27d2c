"""Runs atheris over the targets, one process after the other: `python -m tests.fuzz [--target NAME] [--seconds N]`.

The service's are among them (`--service`: those alone), told apart by `service-` before their names.

The corpus is kept in `build/fuzz/NAME` and grows from run to run; an input that breaks something is left there as
`crash-*` or `timeout-*`, and the exit code is not 0. `make fuzz` sets up the environment that this needs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tests.fuzz import targets
from tools.figures.record import record

FOLDER = Path("build/fuzz")
SECONDS = 600
LONGEST = 16384  # bytes of an input; the seeds are smaller
HANG = 20  # seconds for one input, after which it counts as a hang


def fuzz(name: str, seconds: int) -> None:
    """Fuzzes one target in this process and ends it: libFuzzer never returns."""
    import atheris

    of_service = name.startswith(targets.SERVICE)
    with atheris.instrument_imports(include=["signer", "keystore", "verifier"] if of_service else ["verifier"]):
        target = targets.load(name)
    findings, corpus = FOLDER / name, FOLDER / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        f"-timeout={HANG}",
        f"-artifact_prefix={findings}/",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.one)
    atheris.Fuzz()


def main() -> int:
    """Reads the arguments; several targets get a process each."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzzes all parsers.")
    parser.add_argument("--target", help="this one only (default: all, one after the other)")
    parser.add_argument("--service", action="store_true", help="those of the service alone; records atheris-faults")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for each target (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.target is not None:  # nothing of a target is imported before: atheris must see it come
        fuzz(arguments.target, arguments.seconds)
        return 0
    failed = []
    for name in targets.service_names() if arguments.service else (*targets.names(), *targets.service_names()):
        sys.stderr.write(f"fuzzing {name} for {arguments.seconds} s\n")
        command = [sys.executable, "-m", "tests.fuzz", "--target", name, "--seconds", str(arguments.seconds)]
        if subprocess.run(command, check=False).returncode != 0:
            failed.append(name)
    if arguments.service:
        note = f"{len(targets.service_names())} parsers, {arguments.seconds} s each"
        record("atheris-faults", len(failed), command='make fuzz ARGS="--service"', note=note)
    if failed:
        sys.stderr.write(f"failed: {', '.join(failed)}; the inputs lie in {FOLDER}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
