"""Logs in databases of their own, filled with entries that cost little."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from signer.audit.records import rows_entry
from signer.audit.sequencer import Sequencer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystore.db import Database
    from signer.audit.records import Entry
    from tests.signer.audit.anchor import SoftwareAnchor


def numbered(first: int, count: int) -> list[Entry]:
    """Entries whose leaves tell them apart."""
    return [
        rows_entry(at, hashlib.sha256(b"%d" % at).digest(), time=0) | {"kind": "decision"}
        for at in range(first, first + count)
    ]


def filled(database: Database, anchor: SoftwareAnchor, steps: Sequence[int], first: int = 0) -> list[Entry]:
    """Appends so many entries at each step; returns them all."""
    sequencer = Sequencer(database, anchor)
    entries: list[Entry] = []
    for count in steps:
        some = numbered(first + len(entries), count)
        sequencer.append(some, proved=False)
        entries += some
    return entries
