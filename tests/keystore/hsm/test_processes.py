"""Workers that start at the same moment all come up, and each signs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from keystore.hsm.connection import file_lock
from tests.hsm_support import DOMAIN

if TYPE_CHECKING:
    from keystore.hsm import Token
    from tests.hsm_support import TestToken

WORKER = """
import sys
from pathlib import Path
from keystore.algorithms import SIGNING_ALGORITHMS
from keystore.api import BackingKey
from keystore.configuration import StateDirectory, hsm_configuration
from keystore.hsm import open_token
configuration = hsm_configuration(StateDirectory(Path(sys.argv[1])), sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
token = open_token(configuration)
backing = BackingKey("v", "ECC_NIST_P256", sys.argv[3], bytes.fromhex(sys.argv[4]), None)
assert len(token.sign(backing, SIGNING_ALGORITHMS["ECDSA_SHA_256"], b"d" * 32)) == 64
token.close()
"""
WORKERS = 8
ROUNDS = 3


def test_eight_workers_start_together(token: Token, founded: TestToken) -> None:
    wrapped = token.generate("ECC_NIST_P256", DOMAIN, "key/none").wrapped
    assert wrapped is not None
    state = founded.configuration.pin_file.parent
    uri = f"pkcs11:token=sealmark?module-path={founded.configuration.module}&pin-source=file:hsm.pin"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", WORKER, str(state), uri, DOMAIN, wrapped.hex()]
    for _ in range(ROUNDS):
        workers = [
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for _ in range(WORKERS)
        ]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        results = [_released(worker) for worker in workers]
        assert [worker.communicate(timeout=60)[1] for worker in results] == [""] * WORKERS
        assert [worker.returncode for worker in results] == [0] * WORKERS


def _released(worker: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert worker.stdin is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()
    return worker


def test_the_lock_is_not_inherited(tmp_path: Path) -> None:
    with file_lock(tmp_path / "lock"):
        assert subprocess.run([sys.executable, "-c", ""], timeout=60).returncode == 0
    with file_lock(tmp_path / "lock"):
        assert (tmp_path / "lock").stat().st_mode & 0o077 == 0
