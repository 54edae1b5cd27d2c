"""What one item of a call costs: the pipeline in this process, no HTTP, in microseconds of processor time.

    python -m tools.bench.items [--calls 60] [--size 100] [--profile]

One thread makes calls of `--size` P-256 digests each, and single calls of them and of JWTs, through `Pipeline.sign` and
the answer's encoding, on a state directory of its own; beside it the bare loop (PKCS#11 sign, software verification).
"""

from __future__ import annotations

import argparse
import base64
import cProfile
import pstats
import secrets
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import msgspec

from keystore import open_keystore
from signer.app import application, assemble
from signer.authn.throttle import Throttle
from signer.call import Call
from signer.config import load_server_configuration
from signer.logs import configure_logs
from signer.web.signing import OPERATIONS
from tools.bench.bare import BareToken, Loops, make_token
from tools.service import PROGRAMS, ServiceError, run

_TOKEN: Final = b'{"claims": {"sub": "user-1234"}}'
_ROUNDS: Final = 6
_SECONDS: Final = 0.7
_WARM: Final = 5  # calls before anything is counted


def main() -> None:
    """Prints one line a workload."""
    parser = argparse.ArgumentParser(description="what one item of a call costs")
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--profile", action="store_true", help="where the time of the batches goes, by function")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        token = make_token(Path(folder) / "bare")
        service = _Service(Path(folder) / "state")
        try:
            bare = _bare(token)
            batch = service.cost("general", "signatures", _batch(asked.size), asked.calls) / asked.size
            single = service.cost("general", "signatures", _batch(1), asked.calls * 5)
            issued = service.cost("tokens", "jwts", _TOKEN, asked.calls * 5)
            bare = min(bare, _bare(token))
            if asked.profile:
                service.profile("general", "signatures", _batch(asked.size), asked.calls)
        finally:
            service.close()
    print(f"bare loop        {bare:8.1f} us an item")
    print(f"batches of {asked.size:<4}  {batch:8.1f} us an item   {bare / batch:.2f} of the bare loop's rate")
    print(f"single           {single:8.1f} us a call")
    print(f"JWT              {issued:8.1f} us a call    {single / issued:.2f} of the single call's rate")


def _batch(size: int) -> bytes:
    items = [{"digest": base64.b64encode(secrets.token_bytes(32)).decode()} for _ in range(size)]
    return msgspec.json.encode(items[0] if size == 1 else {"items": items})


class _Service:
    """A whole service but its HTTP, with keys `general` and `tokens`."""

    def __init__(self, state: Path) -> None:
        run(PROGRAMS / "sealmark", "init", "--state", state)
        configure_logs("ERROR")
        configuration = load_server_configuration(state)
        self._services = assemble(open_keystore(state), state, configuration, throttle=Throttle(most=1_000_000))
        self._client = application(self._services).test_client()
        admin, key_admin = ((state / f"{name}.token").read_text().strip() for name in ("admin", "key-admin"))
        code = self._made(admin, "/v1/principals", {"name": "role/bench", "duty": "key-user"})["enrolment_code"]
        self._token = self._made("", "/v1/enrolments", {"code": code})["token"]
        self._made(key_admin, "/v1/issuers", {"name": "bench", "url": "https://issuer.example"})
        common = {"spec": "ECC_NIST_P256", "users": ["role/bench"]}
        origin = {"issuer": "bench", "audiences": ["https://service.example"], "max_ttl": 3600}
        self._made(key_admin, "/v1/keys", common | {"alias": "general", "purpose": "general"})
        self._made(key_admin, "/v1/keys", common | origin | {"alias": "tokens", "purpose": "jwt"})

    def close(self) -> None:
        self._services.close()

    def cost(self, key: str, operation: str, body: bytes, calls: int) -> float:
        """Microseconds of processor time a call: of the best of some rounds, for others use the machine too."""
        for _ in range(_WARM):
            self._once(key, operation, body)
        return min(self._round(key, operation, body, max(1, calls // _ROUNDS)) for _ in range(_ROUNDS))

    def profile(self, key: str, operation: str, body: bytes, calls: int) -> None:
        """Prints where the time goes."""
        profile = cProfile.Profile()
        for _ in range(calls):
            profile.runcall(self._once, key, operation, body)
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)

    def _round(self, key: str, operation: str, body: bytes, calls: int) -> float:
        begun = time.process_time()
        for _ in range(calls):
            self._once(key, operation, body)
        return (time.process_time() - begun) / calls * 1e6

    def _once(self, key: str, operation: str, body: bytes) -> bytes:
        call = Call(secrets.token_hex(16), None, "127.0.0.1", f"Bearer {self._token}", None, body, method="POST")
        return msgspec.json.encode(self._services.pipeline.sign(call, key, OPERATIONS[operation]).content)

    def _made(self, token: str, path: str, body: object) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = self._client.post(path, json=body, headers=headers)
        if answer.status_code not in (200, 201):
            raise ServiceError(answer.get_data(as_text=True))
        made: dict[str, Any] = answer.get_json()
        return made


def _bare(token: BareToken) -> float:
    """The same of the bare loop, an item."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_bare_loop, (token,))


def _bare_loop(token: BareToken) -> float:
    loops, costs = Loops(token, ["ECC_NIST_P256"]), []
    for _ in range(_ROUNDS):
        begun = time.process_time()
        made = loops.run("ECC_NIST_P256", time.monotonic(), _SECONDS)
        costs.append((time.process_time() - begun) / made.signatures * 1e6)
    return min(costs)


if __name__ == "__main__":
    main()
