"""What a process knows of the journal once it has followed it, kept for the next one: sealed by the HSM, in one row.

To follow a journal of 400,000 entries takes seconds, and every worker would do so each time it starts. A snapshot says
nothing that does not follow from the chain up to its head; who begins with it checks all that comes after, on a chain
that must continue the snapshot's own link. An older snapshot put back costs time and changes nothing; one of another
journal does not continue; one that was edited bears no seal. What lies before it is read one by one, against the seals
of its links (`Journal.vouches`), and as a whole by `sealmark audit verify`.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import insert, select, update

from keystore.db.schema import ROW_JOURNAL_SNAPSHOTS
from keystore.errors import IntegrityFailure, StoreUnavailable
from keystore.journal import Head, Known

if TYPE_CHECKING:
    from keystore.db.engine import Database, Value
    from keystore.journal import Journal
    from keystore.sealing import Sealer

_ROW: Final = ROW_JOURNAL_SNAPSHOTS.c
_KEPT: Final = select(_ROW.seq, _ROW.link, _ROW.superseded, _ROW.latest, _ROW.seal).where(_ROW.id == 1)
_LATEST: Final = msgspec.json.Decoder(dict[str, int])


def resume(journal: Journal, database: Database, sealer: Sealer) -> int:
    """Lets a journal that has followed nothing begin with the snapshot, if there is one; returns its number, or 0.

    Raises: `IntegrityFailure` for one that is not what was sealed.
    """
    with database.read() as connection:
        found = connection.execute(_KEPT).one_or_none()
    if found is None:
        return 0
    seq, link, superseded, latest, seal = found
    typed = isinstance(seq, int) and isinstance(superseded, bytes) and isinstance(latest, str)
    if not typed or not sealer.is_snapshot(seal, *_sealed(seq, link, superseded, latest)):
        raise IntegrityFailure("row_journal_snapshots/1: the seal does not fit the row")
    with journal.lock:
        journal.resume(Known(Head(seq, link), superseded, _LATEST.decode(latest)))
    return int(seq)


def keep(journal: Journal, database: Database, sealer: Sealer) -> None:
    """Keeps what this process knows, unless a later snapshot is there. Nothing depends on it: a database that cannot be
    written is left for the next one that starts."""
    with journal.lock:
        known = journal.known()
    latest = msgspec.json.encode(known.latest, order="sorted").decode()
    values: dict[str, Value] = {
        "seq": known.head.seq,
        "link": known.head.link,
        "superseded": known.superseded,
        "latest": latest,
        "seal": sealer.snapshot(*_sealed(known.head.seq, known.head.link, known.superseded, latest)),
    }
    with suppress(StoreUnavailable), database.write() as connection:
        there = connection.execute(select(_ROW.seq).where(_ROW.id == 1)).scalar_one_or_none()
        if there is None:
            connection.execute(insert(ROW_JOURNAL_SNAPSHOTS).values(id=1, **values))
        elif there < known.head.seq:
            connection.execute(update(ROW_JOURNAL_SNAPSHOTS).where(_ROW.id == 1).values(**values))


def _sealed(seq: int, link: Value, superseded: bytes, latest: str) -> tuple[Value, ...]:
    """What the seal covers: the bits by their hash, for an HSM takes so much at once and no more."""
    return seq, link, sha256(superseded).digest(), latest
