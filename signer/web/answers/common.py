"""What several kinds of answers share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

KeyId = Annotated[str, Meta(description="a UUID; of a multi-region key mrk- and 32 hex digits")]


class PolicyVersionSummary(msgspec.Struct):
    """When a version of a key's policy began to count, by whom and why."""

    revision: int
    created_at: datetime
    created_by: str
    reason: str
