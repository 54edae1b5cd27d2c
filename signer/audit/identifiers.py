"""Ids that sort by time, so that an index over them grows at its end instead of everywhere."""

from __future__ import annotations

import os
import time


def time_ordered_id() -> str:
    """A UUID of version 7 (RFC 9562 section 5.7): 48 bits of milliseconds since 1970, then 74 random bits."""
    moment = f"{time.time_ns() // 1_000_000 & (1 << 48) - 1:012x}"
    drawn = int.from_bytes(os.urandom(10)) & ~(0xF << 76 | 0x3 << 62) | 0x7 << 76 | 0x2 << 62
    rest = f"{drawn:020x}"
    return f"{moment[:8]}-{moment[8:]}-{rest[:4]}-{rest[4:8]}-{rest[8:]}"


def new_request_id() -> str:
    """The service's own id of a request: the 32 hexadecimal digits of such a UUID."""
    return time_ordered_id().replace("-", "")
