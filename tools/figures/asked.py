"""The figures that were asked for, in the order of docs/figures.md: a closed table. Nothing is measured here.

A figure has a floor (`least`) or a ceiling (`most`), or neither where only what was seen is to be said. One whose
measurements are several (the worst of several faults, of several loads) is recorded once, by its worst.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SPEED: Final = "Speed"
MACHINES: Final = "More than one machine"
SURVIVAL: Final = "Survival"
SECTIONS: Final = (SPEED, MACHINES, SURVIVAL)

OF_BARE: Final = "of the bare loop"
OF_OPENBAO: Final = "× OpenBao"
OF_BARE_SCALING: Final = "of the bare loop's own scaling"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: `name` is the name of its file, `unit` follows the number."""

    name: str
    section: str
    asked: str
    unit: str
    least: float | None = None
    most: float | None = None
    aim: float | None = None

    def met(self, measured: float) -> bool | None:
        """Whether its floor or ceiling holds; None where it has none."""
        if self.least is None and self.most is None:
            return None
        return (self.least is None or measured >= self.least) and (self.most is None or measured <= self.most)

    @property
    def floor(self) -> str:
        """In words: `≥ 0.45, aim 0.7`, `≤ 5`, `0`, or nothing."""
        words = [] if self.least is None else [f"≥ {self.least:,g}"]
        words += [] if self.most is None else [f"≤ {self.most:,g}" if self.most else "0"]
        words += [] if self.aim is None else [f"aim {self.aim:,g}"]
        return ", ".join(words)


_SPEED: Final = (
    Figure("rsa-2048-of-bare", SPEED, "RSA-2048 singly", OF_BARE, 0.45, aim=0.7),
    Figure("rsa-2048-of-openbao", SPEED, "RSA-2048 singly", OF_OPENBAO, 1.0, aim=1.3),
    Figure("p256-of-openbao", SPEED, "P-256 singly", OF_OPENBAO, 0.4, aim=1.0),
    Figure("p256-batches-of-bare", SPEED, "P-256 in batches of 100", OF_BARE, 0.5, aim=0.8),
    Figure("p256-batches-of-openbao", SPEED, "P-256 in batches of 100: how far from OpenBao", OF_OPENBAO),
    Figure("jwt-of-single", SPEED, "JWT issuing", "of the single P-256 call", 0.8),
    Figure("p99-of-p50", SPEED, "p99 at 16 clients, the worst of all loads", "× p50", most=5),
    Figure("load-tool-processor", SPEED, "the load tool's own processor time, the most of all loads", "of one core"),
    Figure("access-of-request", SPEED, "who calls, and the decision (issue 4)", "of a request", most=0.1),
    Figure("full-log-latency", SPEED, "signing with 100,000 keys and 1,000,000 leaves", "× an empty service", most=1.1),
    Figure("full-log-start", SPEED, "start-up with 100,000 keys and 1,000,000 leaves", "× an empty service"),
    Figure("full-log-listing", SPEED, "listing of keys, a page of 100,000", "× a page of few"),
    Figure("full-log-proof", SPEED, "an inclusion proof among 1,000,000 leaves", "× one of a small log"),
    Figure(
        "worker-scaling",
        SPEED,
        "1 → 2 workers, a processor and as many clients for each",
        OF_BARE_SCALING,
        0.9,
    ),
    Figure(
        "worker-scaling-free",
        SPEED,
        "1 → 2 workers, as many clients for each, all processors free to the one as well",
        OF_BARE_SCALING,
    ),
    Figure(
        "worker-scaling-shared",
        SPEED,
        "1 → 2 workers, a processor for each, the clients of one shared by both",
        OF_BARE_SCALING,
    ),
    Figure("rsa-4096-beside-signing", SPEED, "p99 of signing while RSA-4096 keys are made", "× p99 without", most=2),
    Figure("jwt-verification", SPEED, "JWT verification", "of bare PyJWT", 0.8),
    Figure("verifier-start", SPEED, "`sealmark-verify` starts", "s", most=0.25),
)

_MACHINES: Final = (
    Figure("suite-on-sqlite", MACHINES, "the whole test suite on SQLite", "tests that fail", most=0),
    Figure("suite-on-postgresql", MACHINES, "the whole test suite on PostgreSQL", "tests that fail", most=0),
    Figure("nodes-any-key", MACHINES, "any node signs with any key", "failed signatures", most=0),
    Figure("nodes-log", MACHINES, "one log of all nodes", "forks or missing leaves", most=0),
    Figure(
        "nodes-policy", MACHINES, "a policy change is in force on all nodes", "calls decided by the old one", most=0
    ),
    Figure("nodes-limits", MACHINES, "limits hold across nodes", "calls let through beyond them", most=0),
    Figure("rolling-upgrade", MACHINES, "nodes of two schema versions side by side", "failed calls", most=0),
    Figure("restore-first-signature", MACHINES, "restore to an empty host: the first signature", "s", most=60),
    Figure("restore-keys", MACHINES, "wrappable keys that sign after a restore, of 1,000", "keys", 1000),
    Figure("restore-listed", MACHINES, "keys that cannot be restored and were not listed", "keys", most=0),
    Figure("restore-behind-witness", MACHINES, "a log behind its witness: signed without `--new-log`", "calls", most=0),
    Figure("domain-rotation-failures", MACHINES, "domain-key rotation, 1,000 keys, under load", "failed calls", most=0),
    Figure("domain-rotation-kills", MACHINES, "domain-key rotation after SIGKILL", "kills not resumed from", most=0),
    Figure("domain-rotation-old-key", MACHINES, "uses of the old domain key afterwards", "that succeed", most=0),
)

_SURVIVAL: Final = (
    Figure("hsm-matrix", SURVIVAL, "PKCS#11 errors, 12 codes × 6 functions", "cells as expected", 72),
    Figure("hsm-return", SURVIVAL, "HSM faults: first good signature after its return, the worst", "s", most=1),
    Figure("hsm-away-p99", SURVIVAL, "HSM away: p99 of 503 with `Retry-After`, the worst", "ms", most=100),
    Figure("hsm-wrong-pin", SURVIVAL, "a wrong PIN: further attempts", "log-ins", most=0),
    Figure("watchdog-other-worker", SURVIVAL, "a hung call: the other worker keeps", "of its rate", 0.9),
    Figure("memory-growth", SURVIVAL, "memory over 200,000 signatures", "bytes a signature", most=5),
    Figure("handle-growth", SURVIVAL, "handles and sessions over 200,000 signatures", "more than before", most=0),
    Figure("database-faults", SURVIVAL, "database locked, gone, restarted, disk full", "lost or unlogged", most=0),
    Figure("postgresql-kills", SURVIVAL, "PostgreSQL killed 30 times under load", "lost or unlogged", most=0),
    Figure("overload-rate", SURVIVAL, "10 × the clients", "of the peak rate", 0.8),
    Figure("overload-answer", SURVIVAL, "the excess gets 429, p99", "ms", most=100),
    Figure("fair-share", SURVIVAL, "two tenants: the difference of their shares", "of a fair share", most=0.2),
    Figure("slow-clients", SURVIVAL, "slow-loris and huge bodies: others keep", "of their rate", 0.8),
    Figure("schemathesis-calls", SURVIVAL, "schemathesis, stateful", "calls", 20_000),
    Figure("schemathesis-faults", SURVIVAL, "schemathesis: 5xx, hangs, secrets", "found", most=0),
    Figure("atheris-faults", SURVIVAL, "atheris on each parser of the service: 5xx, hangs, secrets", "found", most=0),
    Figure("canary-secrets", SURVIVAL, "canary PIN and key octets in output, logs, database", "found", most=0),
    Figure("attack-list", SURVIVAL, "the hierarchy's attacks again", "that succeed", most=0),
    Figure("token-audit", SURVIVAL, "wrong token attributes at start", "not noticed", most=0),
    Figure("chaos-success", SURVIVAL, "chaos for 10 minutes, one retry of the client", "% success", 99.9),
    Figure("chaos-wrong", SURVIVAL, "chaos: wrong signatures", "wrong", most=0),
    Figure("chaos-unlogged", SURVIVAL, "chaos: signatures without a leaf", "unlogged", most=0),
)

FIGURES: Final = {figure.name: figure for figure in (*_SPEED, *_MACHINES, *_SURVIVAL)}
