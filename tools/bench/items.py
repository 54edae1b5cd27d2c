"""What one item of a call costs: the pipeline in this process, no HTTP, in microseconds of processor time.

    python -m tools.bench.items [--calls 60] [--size 100] [--profile]

One thread makes calls of `--size` P-256 digests each, and single calls of them and of JWTs, through `Pipeline.sign` and
the answer's encoding, on a state directory of its own; beside it the bare loop (PKCS#11 sign, software verification).
"""

from __future__ import annotations

import argparse
import base64
import cProfile
import os
import pstats
import secrets
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from signer.app import assemble
from signer.authn.throttle import Throttle
from signer.call import Call
from signer.config import load_server_configuration
from signer.logs import configure_logs
from signer.web.signing import OPERATIONS
from tools.bench.bare import BareToken, make_token, sign_and_verify
from tools.service import PROGRAMS, run

if TYPE_CHECKING:
    from signer.services import Services

_SECONDS: Final = 2.0
_WARM: Final = 5  # calls before anything is counted


def main() -> None:
    """Prints one line a workload."""
    parser = argparse.ArgumentParser(description="what one item of a call costs")
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--profile", action="store_true", help="where the time of the batches goes, by function")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bare = _bare(make_token(Path(folder) / "bare"))
        print(f"bare loop                  {bare:8.1f} us an item")
        services, token = _service(Path(folder) / "state")
        try:
            batch = _batch(asked.size)
            cost = _cost(services, token, "general", "signatures", batch, asked.calls, profiled=asked.profile)
            print(f"batches of {asked.size:<4}            {cost / asked.size:8.1f} us an item, {bare * asked.size / cost:.2f} of bare")
            single = _cost(services, token, "general", "signatures", _batch(1), asked.calls * 10)
            print(f"single                     {single:8.1f} us a call")
            issued = _cost(services, token, "tokens", "jwts", b'{"claims": {"sub": "user-1234"}}', asked.calls * 10)
            print(f"JWT                        {issued:8.1f} us a call, {single / issued:.2f} of the single rate")
        finally:
            services.close()


def _batch(size: int) -> bytes:
    items = [{"digest": base64.b64encode(secrets.token_bytes(32)).decode()} for _ in range(size)]
    return msgspec.json.encode(items[0] if size == 1 else {"items": items})


def _service(state: Path) -> tuple[Services, str]:
    """A whole service but its HTTP, with keys `general` and `tokens`; and the token of who may use them."""
    run(PROGRAMS / "sealmark", "init", "--state", state)
    from keystore import open_keystore
    from signer.app import application

    configuration = load_server_configuration(state)
    configure_logs("ERROR")
    services = assemble(open_keystore(state), state, configuration, throttle=Throttle(most=1_000_000))
    client = application(services).test_client()

    def made(who: str, path: str, body: object) -> Any:
        headers = {} if not who else {"Authorization": f"Bearer {who}"}
        answer = client.post(path, json=body, headers=headers)
        if answer.status_code not in (200, 201):
            raise RuntimeError(answer.get_data(as_text=True))
        return answer.get_json()

    admin, key_admin = ((state / f"{name}.token").read_text().strip() for name in ("admin", "key-admin"))
    code = made(admin, "/v1/principals", {"name": "role/bench", "duty": "key-user"})["enrolment_code"]
    token = str(made("", "/v1/enrolments", {"code": code})["token"])
    common = {"spec": "ECC_NIST_P256", "users": ["role/bench"]}
    made(key_admin, "/v1/keys", common | {"alias": "general", "purpose": "general"})
    made(key_admin, "/v1/issuers", {"name": "bench", "url": "https://issuer.example"})
    tokens = {"alias": "tokens", "purpose": "jwt", "issuer": "bench", "audiences": ["https://service.example"], "max_ttl": 3600}
    made(key_admin, "/v1/keys", common | tokens)
    return services, token


def _cost(
    services: Services, token: str, key: str, operation: str, body: bytes, calls: int, *, profiled: bool = False
) -> float:
    """Microseconds of processor time a call."""

    def once() -> bytes:
        call = Call(secrets.token_hex(16), None, "127.0.0.1", f"Bearer {token}", None, body, method="POST")
        return msgspec.json.encode(services.pipeline.sign(call, key, OPERATIONS[operation]).content)

    for _ in range(_WARM):
        once()
    profile = cProfile.Profile() if profiled else None
    if profile is not None:
        for _ in range(calls):
            profile.runcall(once)
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)
    begun = time.process_time()
    for _ in range(calls):
        once()
    return (time.process_time() - begun) / calls * 1e6


def _bare(token: BareToken) -> float:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_bare_loop, (token,))


def _bare_loop(token: BareToken) -> float:
    begun = os.times()
    made = sign_and_verify(token, "ECC_NIST_P256", time.monotonic(), _SECONDS)
    ended = os.times()
    return (ended.user + ended.system - begun.user - begun.system) / made.signatures * 1e6


if __name__ == "__main__":
    main()
