"""Who is calling, and how that was proved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from signer.access.duties import Duty


SERVICE: Final = "service/sealmark"  # nobody can call as this: it has no credential and is no principal


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated identity. `credential` names (not: holds) what proved it, such as `bearer:1f3a…`."""

    name: str
    duty: Duty
    credential: str
