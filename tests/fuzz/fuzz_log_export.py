"""Exports of a log: their lines, the leaves, records and rows in them, and the checkpoint at the end."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.verifier import log_files
from tests.verifier.log_builder import log_signer
from verifier.errors import VerificationError
from verifier.log import ExportSource, audit_log
from verifier.notes import parse_key

NAME = "log_export"
KEY = parse_key(log_signer().text)
_FOLDER = tempfile.TemporaryDirectory(prefix="sealmark-fuzz-")


def seeds() -> list[bytes]:
    """A log of every kind of entry, and an empty one."""
    made = log_files.entries(12)
    return [b"".join(log_files.export_lines(made)), b"".join(log_files.export_lines([]))]


def one(data: bytes) -> None:
    """Audited as a file."""
    path = Path(_FOLDER.name) / "export"
    path.write_bytes(data)
    try:
        audit_log(ExportSource(path), KEY)
    except VerificationError:
        return
