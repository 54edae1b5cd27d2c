"""How lines get to where an export goes.

A file is its own memory: its last whole line says how far it got, and a line that was cut off is taken away before the
next one is written. Syslog has no answer: a message counts as delivered when the socket has taken it, so that after a
crash the last ones may come twice.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from signer.export.settings import FileTarget

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from signer.export.settings import ExportSettings, SyslogTarget

_TIMEOUT: Final = 5.0  # seconds
_TAIL: Final = 1 << 20  # octets: longer than any line
_PRIORITY: Final = 13 * 8 + 5  # facility "log audit", severity "notice" (RFC 5424 section 6.2.1)
_BOM: Final = b"\xef\xbb\xbf"  # what follows is UTF-8 (section 6.4)


class Line(msgspec.Struct, frozen=True):
    """One record on its way: its place in all logs, when it was made (RFC 3339), and its text without a line feed."""

    seq: int
    time: str
    text: bytes


class Delivery(Protocol):
    """Where lines go. Raises `OSError` while they cannot be delivered."""

    def delivered(self) -> int | None:
        """The place of the last line that is there for certain, where that can be told."""
        ...

    def deliver(self, lines: Sequence[Line]) -> None: ...
    def close(self) -> None: ...


def delivery_of(settings: ExportSettings) -> Delivery:
    """What delivers to the target of these settings."""
    if isinstance(settings.target, FileTarget):
        return FileDelivery(settings.target.path)
    return SyslogDelivery(settings.target)


class FileDelivery:
    """Appends to a file that only its owner reads. It may be moved away (rotated) at any time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def delivered(self) -> int | None:
        """Cuts off what is no whole line, and reads the last one."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            size = os.fstat(descriptor).st_size
            tail = os.pread(descriptor, _TAIL, max(0, size - _TAIL))
            whole = tail[: tail.rfind(b"\n") + 1]
            if len(whole) < len(tail):
                os.ftruncate(descriptor, size - len(tail) + len(whole))
            last = whole[:-1].rpartition(b"\n")[2]
            return _seq_of(last) if last else None
        finally:
            os.close(descriptor)

    def deliver(self, lines: Sequence[Line]) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            rest = memoryview(b"".join(line.text + b"\n" for line in lines))
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Nothing is held open between deliveries."""


def _seq_of(line: bytes) -> int:
    """Raises `OSError` for a line that no export has written: whose file is it?"""
    try:
        members = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        return msgspec.json.decode(members["seq"], type=int)
    except (msgspec.MsgspecError, KeyError) as error:
        msg = "the file's last line is not one of an export: give the export a file of its own"
        raise OSError(msg) from error


class SyslogDelivery:
    """RFC 5424 messages: with octet counting over TCP (RFC 6587 section 3.4.1), one a datagram else."""

    def __init__(self, target: SyslogTarget) -> None:
        self._target = target
        self._socket: socket.socket | None = None
        self._host = socket.gethostname() or "-"

    def delivered(self) -> int | None:
        return None

    def deliver(self, lines: Sequence[Line]) -> None:
        connection = self._socket or self._connect()
        try:
            for line in lines:
                message = self._message(line)
                if connection.type == socket.SOCK_STREAM:
                    message = b"%d %b" % (len(message), message)
                connection.sendall(message)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Ends the connection; the next delivery makes another one."""
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()

    def _message(self, line: Line) -> bytes:
        header = f"<{_PRIORITY}>1 {line.time} {self._host} sealmark {os.getpid()} {line.seq} - "
        return header.encode() + _BOM + line.text

    def _connect(self) -> socket.socket:
        target = self._target
        if target.protocol == "unix":
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            connection.settimeout(_TIMEOUT)
            try:
                connection.connect(target.path)
            except OSError:
                connection.close()
                raise
        elif target.protocol == "tcp":
            connection = socket.create_connection((target.host, target.port), _TIMEOUT)
        else:
            family, kind, protocol, _, address = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM)[0]
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(_TIMEOUT)
            connection.connect(address)
        self._socket = connection
        return connection
