"""A SHA256SUMS file, read strictly: the files of a release and their digests, as `sha256sum` writes them.

What GNU writes for names with a line break or a backslash, and the BSD form, are refused: nobody releases such files,
and a reader that guesses would sign something else than a person read.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from signer.cli.errors import CommandFailed

MAXIMUM_SUMS_BYTES = 16 * 1024 * 1024
_LINE = re.compile(r"([0-9a-f]{64}) [ *]([^\x00-\x1f\x7f\\]+)")


def read_sums(path: Path) -> dict[Path, str]:
    """Each file that is named, beside the SHA256SUMS file, with its SHA-256 (hex), in the order of the lines.

    Raises: CommandFailed with the line's number: a form that is not `HEX  NAME`, a name twice, a name that leads out
    of the folder, a file that is not there.
    """
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise CommandFailed(f"{path} cannot be read: {exc.strerror}", code="unreadable_file") from exc
    if len(content) > MAXIMUM_SUMS_BYTES:
        raise CommandFailed(f"{path} is larger than {MAXIMUM_SUMS_BYTES} bytes", code="malformed_sums")
    try:
        lines = content.decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as exc:
        raise CommandFailed(f"{path} is not UTF-8", code="malformed_sums") from exc
    found: dict[Path, str] = {}
    for number, line in enumerate(lines, 1):
        file, digest = _read_line(path, number, line)
        if file in found:
            raise _malformed(path, number, f"names {file.name} a second time")
        found[file] = digest
    return found


def _read_line(path: Path, number: int, line: str) -> tuple[Path, str]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise _malformed(path, number, "is not of the form `64 hex digits, two spaces, NAME` that sha256sum writes")
    name = PurePosixPath(match[2])
    if name.is_absolute() or ".." in name.parts:
        raise _malformed(path, number, "names a file outside the folder of the list")
    file = path.parent / name
    if not file.is_file():
        raise _malformed(path, number, f"names {name}, which is not a file here")
    return file, match[1]


def _malformed(path: Path, number: int, what: str) -> CommandFailed:
    return CommandFailed(f"{path}, line {number} {what}: nothing was signed", code="malformed_sums")
