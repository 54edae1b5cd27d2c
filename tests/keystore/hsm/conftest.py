"""The HSM's own tests use raw sessions, past the gate that keeps the threads of one process apart."""

from __future__ import annotations

import pytest

from signer.audit import AuditTrail
from signer.upkeep import Upkeep


@pytest.fixture(autouse=True)
def nobody_else_uses_the_hsm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that other tests have left running in this process does nothing by itself meanwhile."""
    monkeypatch.setattr(AuditTrail, "_sweep_or_postpone", lambda _trail: None)
    monkeypatch.setattr(Upkeep, "once", lambda _upkeep, _now: None)
