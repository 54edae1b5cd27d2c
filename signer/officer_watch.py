"""What the token says of its security officer's PIN: the service does without, the next ceremony does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from keystore.api import TokenInfo

_log = structlog.get_logger("sealmark.hsm")


def report_officer(token: TokenInfo) -> None:
    """Alarms where the officer's PIN is locked, or somebody has tried a wrong one."""
    if token.officer_locked:
        _log.error(
            "officer_pin_locked",
            alarm=True,
            token=token.label,
            advice="no ceremony can be held on this token: prepare a restore to another one while this one signs",
        )
    elif token.officer_failed:
        _log.warning("officer_pin_tried", alarm=True, token=token.label, advice="somebody has tried a wrong one")
