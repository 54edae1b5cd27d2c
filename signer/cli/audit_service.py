"""A log as its service hands it out to auditors: the export, with records and rows, and the public tiles beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from signer.cli.audit_export import exported_lines
from signer.cli.client import Client
from signer.cli.errors import CommandFailed
from verifier.errors import Rejected
from verifier.log import ExportSource, KeptHead, LogAudit, LogEntry, LogRejected, audit_log
from verifier.log.tree import tile_path
from verifier.notes import NoteKey, parse_checkpoint, parse_key, parse_note, require_signature
from verifier.trusted_logs import TrustedLog

Progress = Callable[[int, int], None]  # entries that were read, of how many
_NOT_FOUND: Final = "not_found"
_STEP: Final = 1_000  # entries between two reports of progress


class ServiceSource:
    """One log of a service, as `verifier.log.LogSource`: an export that was fetched, and tiles fetched as they are
    asked for."""

    has_records = True
    has_tiles = True

    def __init__(self, client: Client, export: Path, progress: Progress) -> None:
        self._client = client
        self._export = ExportSource(export)
        self._progress = progress
        self.origin = parse_checkpoint(parse_note(self.checkpoint()).text).origin

    def checkpoint(self) -> bytes:
        """The one that ends the export."""
        return self._export.checkpoint()

    def entries(self, first: int, size: int) -> Iterator[LogEntry]:
        """Those of the export."""
        for entry in self._export.entries(first, size):
            if entry.index % _STEP == 0:
                self._progress(entry.index, size)
            yield entry

    def tile(self, level: int, number: int, width: int) -> bytes | None:
        """What the service shows to everybody."""
        try:
            return self._client.get_bytes(f"{self._place()}/{tile_path(level, number, width)}")
        except CommandFailed as failure:
            if failure.code == _NOT_FOUND:
                return None
            raise

    def key(self) -> NoteKey:
        """The key that the service says is this log's."""
        return parse_key(self._client.get_bytes(f"{self._place()}/key").decode("utf-8", "replace").strip())

    def _place(self) -> str:
        return f"/logs/{self.origin.rpartition('/')[2]}"


def audit_service(
    client: Client,
    *,
    log: int | None,
    trusted: Sequence[TrustedLog],
    head: KeptHead | None,
    full: bool,
    progress: Progress,
) -> LogAudit:
    """Audits one log of a service: the newest, or the one of this number.

    Only what came since the kept head is fetched, unless `full`; but everything where that does not continue the head,
    to say where. Raises: `VerificationError`, `CommandFailed` where the service cannot be read.
    """
    first = 0 if head is None or full or not head.records else head.size
    with _exported(client, log, first, progress) as source:
        try:
            return _audited(source, trusted, head, full=first == 0)
        except LogRejected:
            if first == 0:
                raise
    with _exported(client, log, 0, progress) as source:
        return _audited(source, trusted, head, full=True)


def _audited(source: ServiceSource, trusted: Sequence[TrustedLog], head: KeptHead | None, *, full: bool) -> LogAudit:
    known = next((log for log in trusted if log.origin == source.origin), None)
    if known is None and trusted:
        raise Rejected("untrusted_signer", f"the log is {source.origin}, and another one is trusted")
    known = known or TrustedLog(source.key())
    if head is not None and head.origin == known.origin:
        require_signature(parse_note(head.checkpoint), known.key)
    return audit_log(
        source,
        known.key,
        witnesses=known.witnesses,
        cosignatures=known.cosignatures,
        head=head,
        full=full,
    )


@contextmanager
def _exported(client: Client, log: int | None, first: int, progress: Progress) -> Iterator[ServiceSource]:
    """The export in a file of its own, while the block runs."""
    query = {} if log is None else {"log": str(log)}
    with TemporaryDirectory(prefix="sealmark-audit-") as folder:
        path = Path(folder) / "export.jsonl"
        with path.open("w", encoding="utf-8") as stream:
            for number, line in enumerate(exported_lines(client, query, first)):
                stream.write(f"{line}\n")
                if number % _STEP == 0:
                    progress(first + number, 0)
        yield ServiceSource(client, path, progress)
