"""A domain's key is rotated while clients sign, and while it is killed.

    python -m tests.recovery.rotation [--keys 1000] [--kills-with 12]

Eight clients sign with keys of the domain all the time, more keys than the workers keep open; none of their calls may
fail. Afterwards the old domain key is tried with the service's own PIN. Then a small deployment is rotated again and
again, and the rotation is killed (SIGKILL) at each of its steps: the service signs on, and the next run ends it. Prints
one JSON object and records the figures; exit code 1 if one is not met.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.recovery.deployment import Signer, first_signature, make, sealmark, serving
from tools.figures.record import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.recovery.deployment import Made

COMMAND: Final = "python -m tests.recovery.rotation --keys 1000"
CLIENTS: Final = 8
ROOT: Final = Path(__file__).resolve().parents[2]
# The step before which it is killed, which of its calls, and whether that call is made first.
STEPS: Final = (
    ("add_domain_key", 0, False),  # nothing was done
    ("add_domain_key", 0, True),  # the new key is on the token, and in no row
    ("_begin_rotation", 0, True),  # the domain has its new key, no backing key is wrapped by it
    ("_wrap_some_again", 0, True),  # some are
    ("_wrap_some_again", 1, True),
    ("_wrap_again", 0, True),  # all are, the old key still stands
    ("_retire", 0, False),
    ("destroy_domain_key", 1, False),  # every row was checked
    ("destroy_domain_key", 1, True),  # the old key is gone, and its row does not say so
    ("_retire", 0, True),  # it is over
)
_KILLED: Final = """
import os, signal, sys
from pathlib import Path
from keystore import domains
state, pin, step, calls, after = sys.argv[1:]
domains.BATCH = 2
real, left = getattr(domains, step), int(calls)
def killed(*arguments, **named):
    global left
    last = not left
    left -= 1
    if last and after == "False":
        os.kill(os.getpid(), signal.SIGKILL)
    found = real(*arguments, **named)
    if last:
        os.kill(os.getpid(), signal.SIGKILL)
    return found
setattr(domains, step, killed)
domains.rotate_domain(Path(state), "default", Path(pin).read_bytes().strip())
"""
_TRIED: Final = """
import json, sys
from pathlib import Path
from keystore.algorithms import SIGNING_ALGORITHMS
from keystore.api import BackingKey
from keystore.configuration import load_keystore_configuration
from keystore.errors import KeystoreError
from keystore.hsm import open_token
from keystore.hsm.templates import labelled
token = open_token(load_keystore_configuration(Path(sys.argv[1])).hsm)
old, new = sys.argv[2:4]
tried, worked = 0, len(token._connection.owner.find(labelled(old)))
for version, blob in json.load(sys.stdin):
    for label in (old, new):
        backing = BackingKey(version, "ECC_NIST_P256", label, bytes.fromhex(blob), None)
        tried += 1
        try:
            token.sign(backing, SIGNING_ALGORITHMS["ECDSA_SHA_256"], bytes(32))
            worked += 1
        except KeystoreError:
            pass
print(json.dumps([tried, worked]))
"""
_BLOBS: Final = """
import json, sys
from pathlib import Path
from sqlalchemy import select
from keystore import open_keystore
from keystore.db.schema import KEY_VERSIONS
keystore = open_keystore(Path(sys.argv[1]))
with keystore.database.read() as connection:
    rows = connection.execute(select(KEY_VERSIONS.c.id, KEY_VERSIONS.c.wrapped)).all()
    print(json.dumps([(version, wrapped.hex()) for version, wrapped in rows if wrapped is not None]))
keystore.close()
"""


@dataclass(frozen=True, slots=True)
class Rotation:
    """What became of it. `failures` are answers other than a signature; `old_tried` and `old_worked` are uses of what
    the old domain key had wrapped, and of its object."""

    keys: int
    seconds: float
    signed: int
    signed_meanwhile: int
    failures: tuple[str, ...]
    old_tried: int
    old_worked: int


def rotate_under_load(made: Made, clients: int = CLIENTS, *, cache: int | None = None) -> Rotation:
    """Rotates once while clients sign; `cache`: how many keys a worker keeps open."""
    if cache is not None:
        _set_cache(made.state, cache)
    blobs = _script(_BLOBS, made.state)
    with serving(made.state) as service:
        first_signature(service, made)
        with _load(service.url, made, clients) as answers:
            time.sleep(1)
            before, begun = len(answers), time.monotonic()
            sealmark("ceremony", "domain", "rotate", "default", "--state", made.state, *_pin(made))
            seconds, after = time.monotonic() - begun, len(answers)
            time.sleep(1)
        signer = Signer(service.url, made)
        answers += [signer.sign(key) for key in made.public_keys]
        signer.close()
    tried, worked = json.loads(_script(_TRIED, made.state, "domain/default/1", "domain/default/2", told=blobs))
    failures = tuple(answer for answer in answers if answer != "signed")
    return Rotation(
        len(made.public_keys), seconds, len(answers) - len(failures), after - before, failures, tried, worked
    )


def kills(made: Made, steps: Sequence[tuple[str, int, bool]] = STEPS) -> list[str]:
    """Kills a rotation at each step, goes on signing, and runs it again. What did not go as it should, in words."""
    wrong = []
    with serving(made.state) as service:
        first_signature(service, made)
        signer = Signer(service.url, made)
        for step, calls, after in steps:
            name = f"{step}, call {calls}, {'after' if after else 'before'}"
            before = _domain_version(made.state)
            words = [
                sys.executable,
                "-c",
                _KILLED,
                str(made.state),
                str(made.officer_pin),
                step,
                str(calls),
                str(after),
            ]
            code = subprocess.run(words, cwd=ROOT, check=False).returncode
            if code != -signal.SIGKILL:
                wrong.append(f"{name}: it was not killed ({code})")
            wrong += [f"{name}: {said}" for key in made.public_keys if (said := signer.sign(key)) != "signed"]
            told = json.loads(
                sealmark("ceremony", "domain", "rotate", "default", "--state", made.state, *_pin(made), "--json")
            )
            ended = (step, after) == ("_retire", True)
            if told["version"] != before + 1 + ended:
                wrong.append(f"{name}: it ended at version {told['version']}, after {before}")
            wrong += [
                f"{name}, run again: {said}" for key in made.public_keys if (said := signer.sign(key)) != "signed"
            ]
        signer.close()
    return wrong


def _pin(made: Made) -> tuple[str, str]:
    return "--officer-pin-source", f"file:{made.officer_pin}"


def _domain_version(state: Path) -> int:
    found = _script(
        "import sys; from pathlib import Path; from keystore import open_keystore\n"
        "keystore = open_keystore(Path(sys.argv[1])); print(keystore.get_domain('default').version); keystore.close()",
        state,
    )
    return int(found)


def _script(text: str, *arguments: str | Path, told: str = "") -> str:
    words = [sys.executable, "-c", text, *map(str, arguments)]
    return subprocess.run(words, cwd=ROOT, input=told, capture_output=True, text=True, check=True).stdout


def _set_cache(state: Path, size: int) -> None:
    path = state / "sealmark.toml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("[hsm]\n", f"[hsm]\ncache_size = {size}\n"), encoding="utf-8"
    )


@contextmanager
def _load(url: str, made: Made, clients: int) -> Iterator[list[str]]:
    """Clients that sign until the block ends; what they were answered."""
    answers: list[str] = []
    over = threading.Event()
    keys = list(made.public_keys)

    def drive(number: int) -> None:
        signer, chosen = Signer(url, made), random.Random(number)  # noqa: S311 - which key is nobody's secret
        while not over.is_set():
            answers.append(signer.sign(chosen.choice(keys)))
        signer.close()

    threads = [threading.Thread(target=drive, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        over.set()
        for thread in threads:
            thread.join()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.recovery.rotation", description=str(__doc__).partition("\n")[0]
    )
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--kills-with", type=int, default=12, help="keys of the deployment whose rotation is killed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        seen = rotate_under_load(make(Path(place) / "load", given.keys, 0), cache=max(2, given.keys // 4))
        wrong = kills(make(Path(place) / "kills", given.kills_with, 0))
    sys.stdout.write(json.dumps(asdict(seen) | {"kills": len(STEPS), "not_resumed": wrong}, indent=2) + "\n")
    note = f"{given.keys} keys, {CLIENTS} clients, {seen.signed_meanwhile} calls within {seen.seconds:.1f} s"
    record("domain-rotation-failures", len(seen.failures), command=COMMAND, note=note)
    record("domain-rotation-old-key", seen.old_worked, command=COMMAND, note=f"{seen.old_tried} tries with the PIN")
    record("domain-rotation-kills", len(wrong), command=COMMAND, note=f"killed at {len(STEPS)} steps")
    return 1 if seen.failures or seen.old_worked or wrong else 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
