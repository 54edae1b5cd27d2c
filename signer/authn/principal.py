"""Who is calling, and how that was proved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from signer.access.duties import Duty


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated identity. `credential` names (not: holds) what proved it, such as `bearer:1f3a…`."""

    name: str
    duty: Duty
    credential: str
