"""Digests of the files to be signed: each file is read once for all digests, or not at all where they are known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from signer.cli.errors import CommandFailed

if TYPE_CHECKING:
    from verifier import FileDigests

_CHUNK = 1 << 20


def hash_file(
    file: Path, names: Sequence[str], progress: Callable[[int], None], *, sha256: str | None = None
) -> FileDigests:
    """The file's size and digests by hashlib's names.

    `sha256` (hex) is what a SHA256SUMS says: where no other digest is needed the file is not read, else it is, and must
    agree. Raises: CommandFailed (unreadable_file, digest_mismatch).
    """
    from verifier import FileDigests

    known = None if sha256 is None else bytes.fromhex(sha256)
    try:
        size = file.stat().st_size
        if known is not None and set(names) == {"sha256"}:
            progress(size)
            return FileDigests(file.name, size, {"sha256": known})
        digests = {name: hashlib.new(name) for name in (*names, *(("sha256",) if known is not None else ()))}
        size = 0
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                for digest in digests.values():
                    digest.update(chunk)
                size += len(chunk)
                progress(len(chunk))
    except OSError as exc:
        raise CommandFailed(f"{file} cannot be read: {exc.strerror}", code="unreadable_file") from exc
    if known is not None and digests["sha256"].digest() != known:
        raise CommandFailed(
            f"{file} is not the file that the SHA256SUMS names: its digest differs", code="digest_mismatch"
        )
    return FileDigests(file.name, size, {name: digests[name].digest() for name in names})
