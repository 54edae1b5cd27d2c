"""A backup as it lies in its folder: the database's rows, the configuration, and a manifest that names and seals both.

    manifest.json        what the backup is of, the SHA-256 of every other file, what is not in it, and a seal
    sealmark.toml        the configuration; no secret ever stands in it
    tables/NAME.jsonl    a JSON array a line: the columns' names, then one row each; octets are base64

The seal is an HMAC by the integrity key, made in the HSM: whoever may write to the folder cannot make another. Rows are
those of one moment, whatever database they come from, and may be brought into any that the service knows.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from base64 import b64decode, b64encode
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Self

from sqlalchemy import LargeBinary, Text

from keystore.db.schema import METADATA
from keystore.errors import CeremonyError, IntegrityFailure
from keystore.sealing import encode_field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from sqlalchemy import Column, Table

    from keystore.db.engine import Value

    Row = Sequence[Value]

BACKUP_FORMAT: Final = "sealmark-backup/1"
MANIFEST: Final = "manifest.json"
CONFIGURATION: Final = "sealmark.toml"
TABLES: Final = "tables"
LARGEST_MANIFEST: Final = 64 * 1024 * 1024  # octets
_LARGEST_CONFIGURATION: Final = 1024 * 1024
_SEAL_DOMAIN: Final = b"sealmark backup manifest v1"
_TEXTS: Final = ("account", "format", "made_at", "region", "schema", "seal", "seal_key_id")
_MEMBERS: Final = frozenset({*_TEXTS, "carried", "files", "left_out", "log"})


@dataclass(frozen=True, slots=True)
class BackedUpFile:
    """`name` is relative to the backup's folder; `sha256` is hex; `rows` is 0 for what is no table."""

    name: str
    sha256: str
    size: int
    rows: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that the service has and the backup has not. `what` is the name of a kind of thing: key, log key,
    region key, PIN, file; `name` which one, `why` the reason in words; a key has its alias and spec besides."""

    what: str
    name: str
    why: str
    alias: str | None = None
    spec: str | None = None


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The transparency log as it was at the backup's moment; `root` is hex."""

    origin: str
    size: int
    root: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself. `carried` is how many keys are in it with all that they need."""

    account: str
    region: str
    made_at: str
    schema: str
    seal_key_id: str
    log: LogEnd | None
    carried: int
    files: tuple[BackedUpFile, ...]
    left_out: tuple[LeftOut, ...]
    seal: bytes = field(default=b"", repr=False)

    def members(self) -> dict[str, object]:
        """As JSON has it, but for the seal."""
        return {
            "account": self.account,
            "carried": self.carried,
            "files": [
                {"name": file.name, "rows": file.rows, "sha256": file.sha256, "size": file.size} for file in self.files
            ],
            "format": BACKUP_FORMAT,
            "left_out": [
                {"alias": left.alias, "name": left.name, "spec": left.spec, "what": left.what, "why": left.why}
                for left in self.left_out
            ],
            "log": None
            if self.log is None
            else {"origin": self.log.origin, "root": self.log.root, "size": self.log.size},
            "made_at": self.made_at,
            "region": self.region,
            "schema": self.schema,
            "seal_key_id": self.seal_key_id,
        }

    @property
    def message(self) -> bytes:
        """What the seal is over."""
        said = json.dumps(self.members(), sort_keys=True, separators=(",", ":"))
        return encode_field(_SEAL_DOMAIN) + encode_field(said.encode())

    def encoded(self) -> bytes:
        """The file."""
        return json.dumps({**self.members(), "seal": self.seal.hex()}, indent=2, sort_keys=True).encode() + b"\n"

    def sealed(self, seal: Callable[[bytes], bytes]) -> Manifest:
        """With the HSM's seal over it."""
        return replace(self, seal=seal(self.message))


def column_names(table: Table) -> list[str]:
    """In the order in which a row's line has them."""
    return [column.name for column in table.columns]


def row_line(table: Table, row: Row, line: int) -> bytes:
    """One row of a table. Raises: `IntegrityFailure` for a value that the service does not write there."""
    values: list[object] = []
    for column, value in zip(table.columns, row, strict=True):
        if not _is_of(column, value):
            raise IntegrityFailure(f"{table.name}, row {line}: {column.name} is not of the type that it must have")
        values.append(b64encode(value).decode() if isinstance(value, bytes) else value)
    return json.dumps(values, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def _is_of(column: Column[object], value: object) -> bool:
    if value is None:
        return bool(column.nullable)
    if isinstance(column.type, LargeBinary):
        return isinstance(value, bytes)
    return isinstance(value, str) if isinstance(column.type, Text) else type(value) is int


class Writer:
    """A new file of mode 0600, with its digest. Use it as a context manager: it is on the disk when the block ends."""

    def __init__(self, folder: Path, name: str) -> None:
        self._name = name
        path = folder / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._stream: BinaryIO = os.fdopen(descriptor, "wb")
        self._hash = hashlib.sha256()
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stream:
            if kind is None:
                self._stream.flush()
                os.fsync(self._stream.fileno())

    def write(self, octets: bytes) -> None:
        self._stream.write(octets)
        self._hash.update(octets)
        self._size += len(octets)

    def done(self, rows: int) -> BackedUpFile:
        """What the manifest says of it."""
        return BackedUpFile(self._name, self._hash.hexdigest(), self._size, rows)


def table_file(table: Table) -> str:
    """The name of a table's file."""
    return f"{TABLES}/{table.name}.jsonl"


class BackupFolder:
    """A finished backup, of which nothing is believed before `check` and the manifest's seal."""

    def __init__(self, folder: Path) -> None:
        """Reads the manifest. Raises: `CeremonyError`."""
        self.folder = folder
        self.manifest = _read_manifest(folder)

    def check(self) -> None:
        """Raises `CeremonyError`, naming the file, unless every file is there as the manifest says, and no other."""
        expected = {CONFIGURATION, *(table_file(table) for table in METADATA.sorted_tables)}
        named = {file.name for file in self.manifest.files}
        if named != expected:
            raise self._refusal(MANIFEST, f"it does not name {min(named ^ expected)} as this version's backups do")
        for file in self.manifest.files:
            self._check_file(file)
        found = {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if not path.is_dir()}
        for strange in sorted(found - expected - {MANIFEST}):
            raise self._refusal(strange, "the backup has no such file: take it away if it is yours")

    def configuration(self) -> str:
        """The configuration of the service that was backed up. Raises: `CeremonyError`."""
        try:
            return (self.folder / CONFIGURATION).read_bytes()[:_LARGEST_CONFIGURATION].decode()
        except (OSError, UnicodeDecodeError) as error:
            raise self._refusal(CONFIGURATION, "it cannot be read") from error

    def rows(self, table: Table) -> Iterator[dict[str, Value]]:
        """A table's rows, by column. Raises: `CeremonyError`."""
        name, columns = table_file(table), list(table.columns)
        with (self.folder / name).open("rb") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    values = json.loads(line)
                    if number == 1:
                        if values != column_names(table):
                            raise ValueError
                        continue
                    yield {column.name: _value(column, value) for column, value in zip(columns, values, strict=True)}
                except (ValueError, TypeError) as error:
                    raise self._refusal(name, f"line {number} is no row of {table.name}") from error

    def roots(self) -> list[tuple[Value, Value, Value]]:
        """(label, blob, state) of the domain, link and integrity keys, as they are wrapped by the region key."""
        table = METADATA.tables["wrapped_roots"]
        return [(row["token_label"], row["wrapped"], row["state"]) for row in self.rows(table)]

    def require_seal(self, seal: Callable[[bytes], bytes]) -> None:
        """Raises: `CeremonyError` unless this HSM's integrity key made the manifest's seal."""
        if not hmac.compare_digest(seal(self.manifest.message), self.manifest.seal):
            raise self._refusal(
                MANIFEST, "its seal is not this deployment's over what it says: it was changed, or is another's"
            )

    def _check_file(self, file: BackedUpFile) -> None:
        path = self.folder / file.name
        try:
            if path.is_symlink() or not path.is_file():
                raise self._refusal(file.name, "it is missing")
            size = path.stat().st_size
            if size != file.size:
                kind = "cut" if size < file.size else "longer than it was"
                raise self._refusal(file.name, f"it is {kind}: {size} octets, and {file.size} were written")
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise self._refusal(file.name, f"it cannot be read: {error.strerror}") from error
        if found != file.sha256:
            raise self._refusal(file.name, "it is not the file that was written: damaged, changed, or another backup's")

    def _refusal(self, name: str, reason: str) -> CeremonyError:
        return CeremonyError(f"backup {self.folder}: {name}: {reason}. Nothing was restored; take an undamaged backup")


def _value(column: Column[object], value: object) -> Value:
    """ValueError for what `row_line` does not write."""
    is_octets = isinstance(column.type, LargeBinary) and isinstance(value, str)
    found = b64decode(str(value), validate=True) if is_octets else value
    if not _is_of(column, found) or not isinstance(found, int | str | bytes | None):
        raise ValueError(column.name)
    return found


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Last of all, and at once: a folder without it is no backup."""
    with Writer(folder, f"{MANIFEST}.new") as file:
        file.write(manifest.encoded())
    (folder / f"{MANIFEST}.new").rename(folder / MANIFEST)
    for each in (folder / TABLES, folder):
        descriptor = os.open(each, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise CeremonyError(f"{folder} is no folder of a backup: name what `sealmark backup --out` has made")
    if not path.is_file():
        raise CeremonyError(f"{folder} has no {MANIFEST}: it is no backup, or one that was never finished")
    try:
        with path.open("rb") as stream:
            octets = stream.read(LARGEST_MANIFEST + 1)
        manifest = _parsed(json.loads(octets) if len(octets) <= LARGEST_MANIFEST else None)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CeremonyError(f"{path} is not what `sealmark backup` writes ({BACKUP_FORMAT})") from error
    if manifest.encoded() != octets:
        raise CeremonyError(f"{path} is not as `sealmark backup` writes it: it was changed")
    return manifest


def _parsed(members: object) -> Manifest:
    """ValueError, TypeError or KeyError for anything else; what it says is judged by its seal."""
    if not isinstance(members, dict) or members.keys() != _MEMBERS or members["format"] != BACKUP_FORMAT:
        raise ValueError
    texts = {name: _text(members, name) for name in _TEXTS}
    log = members["log"]
    return Manifest(
        account=texts["account"],
        region=texts["region"],
        made_at=texts["made_at"],
        schema=texts["schema"],
        seal_key_id=texts["seal_key_id"],
        log=None if log is None else LogEnd(_text(log, "origin"), _number(log, "size"), _text(log, "root")),
        carried=_number(members, "carried"),
        files=tuple(_file(each) for each in _list(members, "files")),
        left_out=tuple(_left_out(each) for each in _list(members, "left_out")),
        seal=bytes.fromhex(texts["seal"]),
    )


def _file(members: Mapping[str, object]) -> BackedUpFile:
    name = _text(members, "name")
    if name != CONFIGURATION and name not in map(table_file, METADATA.sorted_tables):
        raise ValueError
    return BackedUpFile(name, _text(members, "sha256"), _number(members, "size"), _number(members, "rows"))


def _left_out(members: Mapping[str, object]) -> LeftOut:
    alias, spec = (None if members[name] is None else _text(members, name) for name in ("alias", "spec"))
    return LeftOut(_text(members, "what"), _text(members, "name"), _text(members, "why"), alias, spec)


def _text(members: Mapping[str, object], name: str) -> str:
    value = members[name]
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def _number(members: Mapping[str, object], name: str) -> int:
    value = members[name]
    if type(value) is not int or value < 0:
        raise TypeError(name)
    return value


def _list(members: Mapping[str, object], name: str) -> Iterable[Mapping[str, object]]:
    value = members[name]
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise TypeError(name)
    return value
