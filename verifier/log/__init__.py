"""Audits a whole transparency log, offline: from a directory of tiles, an export, or any other source of its bytes.

`audit_log(source, key, witnesses=…, cosignatures=…, head=…, full=…)` reads a `LogSource` and returns a `LogAudit`, or
raises `LogRejected` (`Rejected` with a place) or `Indeterminate`. A source has five members, and is believed in none:

- `has_records`, `has_tiles`: what of the log is here beside the leaves; what is said to be here is demanded.
- `checkpoint() -> bytes`: the newest signed note.
- `entries(first, size) -> Iterable[LogEntry]`: index, leaf, and nonce, record, row or None; in order, lazily.
- `tile(level, number, width) -> bytes | None`: the first `width` hashes of a tile, 32 bytes each.

`load_head` and `store_head` keep what was verified; the new head is `LogAudit.head`. `audit_log` itself writes nothing.
"""

from verifier.log.audit import audit_log
from verifier.log.directory import DirectorySource
from verifier.log.errors import LogRejected
from verifier.log.export import ExportSource
from verifier.log.head import KeptHead, load_head, store_head
from verifier.log.results import LogAudit, describe_audit
from verifier.log.source import LogEntry, LogSource, RowEntry

__all__ = [
    "DirectorySource",
    "ExportSource",
    "KeptHead",
    "LogAudit",
    "LogEntry",
    "LogRejected",
    "LogSource",
    "RowEntry",
    "audit_log",
    "describe_audit",
    "load_head",
    "store_head",
]
