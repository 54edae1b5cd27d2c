"""What it costs to know the caller and to decide: authentication and policies, as a part of one whole request.

The same two steps that the pipeline takes, timed alone in a process of its own over the running service's state; beside
them, one client's requests over HTTP to that service in the same run. The key's row is read outside the clock: it is
needed to sign, whoever asks.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from keystore import open_keystore
from signer.access import Action, Surroundings, admit, judge
from signer.authn.authenticator import Authenticator
from signer.authn.throttle import Throttle
from signer.call import Call
from signer.callers import KnownCallers
from signer.operations.signatures import RawSignatures
from signer.request import Signatures
from tools.bench.targets import prepare
from tools.bench.workloads import SINGLE
from tools.service import ServiceError

if TYPE_CHECKING:
    from pathlib import Path

    from tools.bench.stage import Stage

_WARM_UP: Final = 200
_TIMES: Final = 3000


@dataclass(frozen=True, slots=True)
class AccessCost:
    """Medians in microseconds: of authentication with a bearer token, of the decision, of a whole request."""

    authentication: float
    decision: float
    request: float

    @property
    def share(self) -> float:
        """Both steps as a part of the request."""
        return (self.authentication + self.decision) / self.request

    def line(self) -> str:
        """For whoever waits, and for the report."""
        return (
            f"authentication {self.authentication:.0f} µs and decision {self.decision:.0f} µs of a request's "
            f"{self.request:.0f} µs (P-256 singly, one client)"
        )


def measure_share(stage: Stage) -> None:
    """Both steps as a part of one client's P-256 requests, as a line of the report."""
    target, ours = prepare(stage.ours, SINGLE), stage.ours
    seen = stage.drivers.load(target, 1, 0.2, 0.3 if stage.short else 5.0)
    body = json.dumps(target.items[0][0]).encode()
    # Spawned: the PKCS#11 module must not be inherited.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        steps = pool.submit(_steps, ours.service.state, ours.token, target.alias, body)
        cost = AccessCost(*steps.result(), seen.p50_milliseconds * 1e3)
    stage.report.lines.append(cost.line())
    stage.report.parts["access"] = {**asdict(cost), "share": cost.share}
    stage.report.figures["access-of-request"] = (cost.share, cost.line())


def _steps(state: Path, token: str, alias: str, body: bytes) -> tuple[float, float]:
    keystore = open_keystore(state)
    try:
        authenticator, operation = Authenticator(keystore, Throttle(), KnownCallers()), RawSignatures()
        call = Call("0" * 32, None, "127.0.0.1", f"Bearer {token}", None, body)
        key, asked = keystore.get_key(alias), msgspec.json.decode(body, type=Signatures)
        authentications, decisions = [], []
        for _ in range(_WARM_UP + _TIMES):
            begun = time.perf_counter()
            principal = authenticator.authenticate(call)
            known = time.perf_counter()
            admission = admit(principal, Action.SIGN)
            around = Surroundings(keystore.account, keystore.clock(), call.source, call.secure)
            permit = judge(admission, key, around, operation.details(key, asked)).permit()
            decided = time.perf_counter()
            if permit.key_id != key.id:
                raise ServiceError("the decision was about another key")
            authentications.append(known - begun)
            decisions.append(decided - known)
        return (
            statistics.median(authentications[_WARM_UP:]) * 1e6,
            statistics.median(decisions[_WARM_UP:]) * 1e6,
        )
    finally:
        keystore.close()
