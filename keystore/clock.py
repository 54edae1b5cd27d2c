"""The service's one clock. A keystore is given it when it is made, and every part of the service asks that keystore.

Nothing in the configuration chooses another: the program that serves knows the system's alone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]  # the present, timezone-aware UTC


def system_clock() -> datetime:
    """The present by the machine's clock, UTC."""
    return datetime.now(UTC)
