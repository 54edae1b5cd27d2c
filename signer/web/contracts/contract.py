"""The form of a contract: what it says beyond an endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Contract:
    """Beyond what an `Endpoint` says. `answer` None: no JSON of a fixed shape. `example` None: nothing worth showing.
    `request` None: no body, or an empty one. `key`: the example's key, where it is not `release`."""

    answer: type[Any] | None = None
    example: object = None
    request: Mapping[str, object] | None = None
    key: str | None = None
