"""What an audit of a log has found: frozen facts for programs, and lines for a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from verifier.report import printable
from verifier.times import format_time

if TYPE_CHECKING:
    from verifier.log.head import KeptHead
    from verifier.log_leaves import FormerLeaf
    from verifier.results import Cosigned
    from verifier.strict_json import JsonValue


@dataclass(frozen=True, slots=True)
class LogAudit:
    """A log that holds. The counts are of the entries from `start` on; those before are the kept head's.

    `first_time` and `last_time` are the earliest and the latest time in a leaf (RFC 3339), `journal` the first and the
    last entry of the rows' journal. `former` is where another log ended whose place this one took, as its entry 0 says;
    None too where that was not read. `cosigned_size` is the largest size that enough witnesses saw, `cosigned` when
    each of them did. `counts` (of leaves that count what is not recorded one by one) is None without records: the leaf
    does not tell, and `decisions` has them.
    """

    origin: str
    size: int
    root: bytes
    start: int
    decisions: int
    counts: int | None
    rows: int
    signatures: int
    first_time: str | None
    last_time: str | None
    journal: tuple[int, int] | None
    former: FormerLeaf | None
    cosigned_size: int | None
    cosigned: tuple[Cosigned, ...]
    kept_size: int | None
    has_records: bool
    has_tiles: bool
    head: KeptHead

    @property
    def entries(self) -> int:
        """How many entries were read and checked."""
        return self.size - self.start

    @property
    def not_covered(self) -> tuple[str, ...]:
        """What this audit did not look at."""
        limits = []
        if self.start:
            limits.append(f"the first {self.start} entries as they are now: an earlier audit read them, --full does")
        if self.former is not None and self.former.unsigned:
            limits.append(f"the last {self.former.unsigned} entries of the former log, which it never signed")
        if self.kept_size is None:
            limits.append("a history rewritten before: no head was kept of it")
        if not self.has_records:
            limits.append("the records and rows behind the leaves: they are not here")
        if self.cosigned_size is None:
            limits.append("whether others are shown the same log: no witness was asked")
        elif self.cosigned_size < self.size:
            limits.append(f"whether others are shown the entries from {self.cosigned_size} on: not cosigned yet")
        return tuple(limits)

    def as_json(self) -> dict[str, JsonValue]:
        """The facts as JSON-compatible values."""
        return {
            "verified": True,
            "kind": "log",
            "origin": self.origin,
            "size": self.size,
            "root": self.root.hex(),
            "entries": {
                "first_index": self.start,
                "checked": self.entries,
                "decisions": self.decisions,
                "counts": self.counts,
                "rows": self.rows,
            },
            "signatures": self.signatures,
            "first_time": self.first_time,
            "last_time": self.last_time,
            "journal": None if self.journal is None else {"first": self.journal[0], "last": self.journal[1]},
            "former": None if self.former is None else _former_json(self.former),
            "cosigned_size": self.cosigned_size,
            "cosigned": [each.as_json() for each in self.cosigned],
            "kept_size": self.kept_size,
            "records": self.has_records,
            "tiles": self.has_tiles,
            "not_covered": list(self.not_covered),
        }


def _former_json(former: FormerLeaf) -> dict[str, JsonValue]:
    text = None if former.checkpoint is None else former.checkpoint.decode()
    return {"origin": former.origin, "size": former.size, "root": former.root, "checkpoint": text}


def describe_audit(audit: LogAudit) -> str:
    """The facts as lines for a person, without a newline at the end."""
    counts = "" if audit.counts is None else f", {audit.counts} counts"
    lines = [
        ("log", audit.origin),
        ("head", f"{audit.size} entries, root {audit.root.hex()}"),
        ("checked", f"{audit.entries} entries: {audit.decisions} decisions{counts}, {audit.rows} rows"),
        ("signatures", str(audit.signatures)),
    ]
    if audit.first_time is not None:
        lines.append(("when", f"{audit.first_time} to {audit.last_time}"))
    if audit.journal is not None:
        lines.append(("journal", f"entries {audit.journal[0]} to {audit.journal[1]} of the sealed rows, without a gap"))
    if audit.former is not None:
        lines.append(("follows", f"{audit.former.origin}, which ended at {audit.former.size} entries"))
        lines.append(("", f"with the root {audit.former.root}"))
    if audit.kept_size is not None:
        lines.append(("continues", f"the kept head of {audit.kept_size} entries"))
    lines += [("cosigned", f"by {each.witness} at {format_time(each.at)}") for each in audit.cosigned]
    lines += [("not covered", limit) for limit in audit.not_covered]
    return "\n".join(["VERIFIED", *(f"  {label and label + ':':<13} {printable(text)}" for label, text in lines)])
