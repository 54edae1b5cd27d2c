"""A worker in a process of its own, over the database and the token of a test: it signs once, or stops at a moment.

Called as `python -m tests.faults.worker STATE TOKEN-DIRECTORY TEXTS KEY MOMENT ITEMS`, with the caller's bearer token
on standard input. TEXTS: the number of the test's own texts on the token. MOMENT: `in-hsm` (stands still inside the
HSM, after the intent), `before-outcome` (stands still when the HSM has signed), `never` (signs, and stops when it gets
another line). It says `reached`, or `answered STATUS`.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from keystore.configuration import StateDirectory, hsm_configuration
from keystore.db import open_database
from keystore.hsm import open_token
from keystore.keystore import Keystore
from signer.app import application, assemble
from signer.config import ServerConfiguration
from tests.databases import url_of
from tests.faults.faulty_token import FaultyToken
from tests.hsm_support import SOFTHSM
from tests.keystore.support import OwnTexts


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _stand_still() -> None:
    _say("reached")
    threading.Event().wait()


def main(state: Path, token_directory: Path, texts: int, key: str, moment: str, items: int) -> None:
    uri = f"pkcs11:token=sealmark?module-path={SOFTHSM}&pin-source=file:hsm.pin"
    token = FaultyToken(open_token(hsm_configuration(StateDirectory(token_directory), uri)))
    services = assemble(
        Keystore(OwnTexts(token, texts), open_database(url_of(state / "sealmark.db"))),
        state,
        ServerConfiguration(),
    )
    bearer = sys.stdin.readline().strip()
    if moment == "in-hsm":
        token.before_signing = lambda _backing: _stand_still()
    elif moment == "before-outcome":
        token.after_signing = _stand_still
    client = application(services).test_client()
    body = {"items": [{"message": "AAAA"}] * items}
    answer = client.post(f"/v1/keys/{key}/signatures", json=body, headers={"Authorization": f"Bearer {bearer}"})
    _say(f"answered {answer.status_code}")
    sys.stdin.readline()  # until the test is done with it
    services.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5], int(sys.argv[6]))
