"""While break glass is enabled, the service says so: at every start and every minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from signer.authn.principal import ROOT

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.keystore import Keystore

_log = structlog.get_logger("sealmark.break_glass")


def report_enabled_root(keystore: Keystore, now: datetime) -> bool:
    """Whether `user/root` is enabled at `now`; if so, one line in the log that wants a person."""
    root = keystore.find_principal(ROOT)
    if root is None or not root.is_enabled(now):
        return False
    _log.warning(
        "break_glass_enabled", alarm=True, principal=ROOT, until=root.enabled_until and root.enabled_until.isoformat()
    )
    return True
