"""What is wrong, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

MAXIMUM: Final = 100  # findings that are kept; the others are counted


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not add up. `where` has some of: `table`, `row` (its primary key), `column`, `log`, `index`
    (of a leaf), `first_index` and `last_index`, `size`, `tile`."""

    message: str
    where: dict[str, int | str]
    code: str = "log_proof_invalid"

    def as_json(self) -> dict[str, object]:
        """Members for a program."""
        return {"code": self.code, "message": self.message, **self.where}


@dataclass(slots=True)
class Findings:
    """All that was found, the first ones in words."""

    shown: list[Finding] = field(default_factory=list)
    count: int = 0

    def add(self, message: str, **where: int | str) -> None:
        """Notes one more."""
        self.put(Finding(message, where))

    def put(self, finding: Finding) -> None:
        """Notes one that was made elsewhere."""
        self.count += 1
        if len(self.shown) < MAXIMUM:
            self.shown.append(finding)
