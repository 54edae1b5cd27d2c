"""The drill: a service is backed up while it runs, and restored to an empty host with another HSM.

    python -m tests.recovery.restore [--keys 1000]

Measures the time from the beginning of the restore to the first signature, counts the keys that sign afterwards (each
verified with the public key that was published before), and the keys that are lost without having been listed. Then the
log: a database that is put back on its own HSM, and a whole machine that is put back behind its witness, must sign
nothing before `restore --new-log`. Prints one JSON object and records the figures; exit code 1 if one is not met.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx

from tests.recovery.deployment import Signer, first_signature, make, sealmark, serving
from tools.figures.record import record
from tools.service import PROGRAMS, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.recovery.deployment import Made

COMMAND: Final = "python -m tests.recovery.restore --keys 1000"
MOST_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Drill:
    """What became of it. `failed` are keys that should sign and do not, with what was said."""

    keys: int
    backup_seconds: float
    restore_seconds: float
    first_signature_seconds: float
    signed: int
    failed: dict[str, str]
    unlisted: tuple[str, ...]
    refusals: dict[str, str]


def drill(folder: Path, keys: int) -> tuple[Drill, Made]:
    """Everything up to the last key's signature on the new host."""
    made = make(folder / "old", keys)
    backup, new = folder / "backup", folder / "new" / "state"
    with serving(made.state) as service:
        first_signature(service, made)
        begun = time.monotonic()
        told = json.loads(sealmark("backup", "--state", made.state, "--out", backup, "--json"))
        backup_seconds = time.monotonic() - begun
    listed = {each["name"] for each in told["not_in_it"] if each["what"] == "key"}
    new.parent.mkdir()
    begun = time.monotonic()
    sealmark("restore", "--state", new, "--backup", backup, "--new-log", *made.shares())
    restore_seconds = time.monotonic() - begun
    with serving(new) as service:
        first = first_signature(service, made) - begun
        signer = Signer(service.url, made)
        said = {key: signer.sign(key) for key in made.public_keys}
        refusals = {key: signer.message_signed(key) for key in made.on_token}
        signer.close()
    lost = {key for key, answer in (said | refusals).items() if answer != "signed"}
    return Drill(
        keys=keys,
        backup_seconds=backup_seconds,
        restore_seconds=restore_seconds,
        first_signature_seconds=first,
        signed=sum(answer == "signed" for answer in said.values()),
        failed={key: answer for key, answer in said.items() if answer != "signed"},
        unlisted=tuple(sorted(lost - listed)),
        refusals=refusals,
    ), made


@contextmanager
def witnessed(made: Made, folder: Path) -> Iterator[None]:
    """A witness of the deployment's log, which stands in its configuration from now on."""
    state, url = folder / "witness", f"http://127.0.0.1:{free_port()}"
    (key,) = [
        word for word in sealmark("witness", "init", "--state", state, "--name", "w.example/w").split() if "+" in word
    ]
    with serving(made.state) as service:
        first_signature(service, made)
        log_key = httpx.get(f"{service.url}/log/key", trust_env=False).text.strip()
    sealmark("witness", "add-log", "--state", state, log_key)
    with (made.state / "sealmark.toml").open("a", encoding="utf-8") as file:
        file.write(f'\n[log]\nwitnesses = [{{ url = "{url}", key = "{key}" }}]\ncosignatures = 1\n')
    process = subprocess.Popen(
        [PROGRAMS / "sealmark", "witness", "serve", "--state", state, "--listen", url.removeprefix("http://")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                httpx.get(f"{url}/healthz", trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(60)


def signed_behind(made: Made, asks: int) -> int:
    """How many of these calls are signed by a service that must sign none. It is asked until it answers."""
    signed, answered = 0, 0
    key = next(iter(made.public_keys))
    with serving(made.state) as service:
        signer = Signer(service.url, made)
        deadline = time.monotonic() + 20
        while answered < asks and time.monotonic() < deadline and service.process.poll() is None:
            said = signer.sign(key)
            answered += not said.startswith("0 ")
            signed += said == "signed"
            time.sleep(0.05)
        signer.close()
    return signed


def behind(made: Made, folder: Path, asks: int = 20) -> int:
    """Signatures given out on a history that HSM or witness have seen more of."""
    key = next(iter(made.public_keys))
    with witnessed(made, folder):
        with serving(made.state) as service:
            first_signature(service, made)
            sealmark("backup", "--state", made.state, "--out", folder / "older")
            signer = Signer(service.url, made)
            assert [signer.sign(key) for _ in range(3)] == ["signed"] * 3
            signer.close()
        newest = folder / "newest"
        for path in made.state.glob("sealmark.db*"):
            path.unlink()
        sealmark("restore", "--state", made.state, "--backup", folder / "older")
        signed = signed_behind(made, asks)  # the HSM has seen more
        shutil.copytree(made.state, newest)
        texts = _forget_heads(made.state)
        assert texts == 2
        signed += signed_behind(made, asks)  # the HSM was put back too: the witness has seen more
        shutil.rmtree(made.state)
        newest.rename(made.state)
        pin = ("--officer-pin-source", f"file:{made.officer_pin}")
        told = json.loads(sealmark("restore", "--state", made.state, "--new-log", *pin, "--json"))
        assert told["entries_lost"] is None or told["entries_lost"] > 0, told
        with serving(made.state) as service:
            log_key = _log_key(service.url)
            sealmark("witness", "add-log", "--state", folder / "witness", log_key)
            first_signature(service, made)
        sealmark("audit", "verify", "--state", made.state)
    return signed


def _log_key(url: str) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return httpx.get(f"{url}/log/key", trust_env=False).raise_for_status().text.strip()
        except httpx.HTTPError:
            time.sleep(0.05)
    raise AssertionError("no log is published")


_FORGET: Final = """
import sys
from pathlib import Path
from keystore import log_anchor, open_keystore
from keystore.hsm.labels import LOG_HEADS
keystore = open_keystore(Path(sys.argv[1]))
anchor = keystore.log
for name in LOG_HEADS:
    keystore._token.write_text(name, log_anchor._encode(log_anchor.KeptHead(anchor.origin, 0, log_anchor.EMPTY_ROOT)))
    print(name)
keystore.close()
"""


def _forget_heads(state: Path) -> int:
    """The HSM as it was before it was told of any head: as a snapshot of it that is put back would be."""
    done = subprocess.run(
        [sys.executable, "-c", _FORGET, str(state)], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    return len(done.stdout.split())


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.recovery.restore", description=str(__doc__).partition("\n")[0]
    )
    parser.add_argument("--keys", type=int, default=1000)
    keys = parser.parse_args().keys
    with tempfile.TemporaryDirectory() as place:
        seen, made = drill(Path(place), keys)
        signed = behind(made, Path(place))
    sys.stdout.write(json.dumps(asdict(seen) | {"signed_behind": signed}, indent=2) + "\n")
    note = f"{keys} keys; restored in {seen.restore_seconds:.1f} s, backed up in {seen.backup_seconds:.1f} s"
    record("restore-first-signature", seen.first_signature_seconds, command=COMMAND, note=note)
    record("restore-keys", seen.signed, command=COMMAND, note=f"{keys} keys were made")
    record("restore-listed", len(seen.unlisted), command=COMMAND)
    record("restore-behind-witness", signed, command=COMMAND, note="20 calls behind the HSM, 20 behind the witness")
    met = seen.signed == keys and not seen.unlisted and not signed
    return 0 if met and seen.first_signature_seconds <= MOST_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
