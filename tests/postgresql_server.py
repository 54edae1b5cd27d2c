"""A PostgreSQL server of a test's own: in a temporary folder, on a Unix socket and a free loopback port, ended with it.

Debian's programs are used (`tools/setup.sh postgresql`). The server will not run as root, so there it runs as nobody.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

USER: Final = "sealmark"
START_SECONDS: Final = 30
_SETTINGS: Final = {
    "unix_socket_permissions": "0777",  # within a folder that only its owner, and root, may enter
    "max_connections": "300",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    "log_line_prefix": "'%m [%p] %d '",
    "password_encryption": "scram-sha-256",
}


def programs() -> Path:
    """The folder of the newest server that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    assert found, "PostgreSQL is not installed: tools/setup.sh postgresql"
    return found[-1].parent


def _unprivileged() -> dict[str, Any]:
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


@dataclass
class Server:
    """A server's folder, and its process while it runs. `address` is the URL of a database without its name."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str, user: str = USER) -> str:
        """Through the Unix socket, where nobody is asked for a password."""
        return f"postgresql://{user}@/{database}?host={self.folder}&port={self.port}"

    def tcp_url(self, database: str, user: str = USER) -> str:
        """Through the loopback address, where a password is needed."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Starts it, and returns once it takes connections."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [programs() / "postgres", "-D", self.folder / "data"],
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
                **_unprivileged(),
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.run("SELECT 1")
            except psycopg.OperationalError:
                assert self.process.poll() is None, (self.folder / "server.log").read_text()
                assert time.monotonic() < deadline, (self.folder / "server.log").read_text()
                time.sleep(0.02)
            else:
                return

    def run(self, *statements: str, database: str = "postgres") -> None:
        """Runs statements, each by itself."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def kill(self) -> None:
        """SIGKILL to every process of the server at once, as if the machine had lost its power."""
        process = self.process
        assert process is not None
        self.process = None
        with contextlib.suppress(ProcessLookupError):
            # Each backend is in the session of the postmaster, in a group of its own.
            for pid in [process.pid, *_children(process.pid)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """Ends it in an orderly way, whoever is connected."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGINT)  # "fast": sessions are ended
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None


def _children(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def new_server(parent: Path | None = None) -> Server:
    """A server's folder, not started. It lies in memory where there is some: `fsync` is on, and costs nothing there."""
    memory = Path("/dev/shm")
    if parent is None and memory.is_dir() and shutil.disk_usage(memory).free >= 3 << 30:
        parent = memory
    folder = Path(tempfile.mkdtemp(prefix="sealmark-postgresql-", dir=parent))
    account = _unprivileged()
    if account:
        shutil.chown(folder, account["user"], account["group"])
    subprocess.run(
        [programs() / "initdb", "-D", folder / "data", "-U", USER, "-E", "UTF8", "--locale=C", "--auth-local=trust",
         "--auth-host=scram-sha-256", "--no-sync", "--no-instructions"],
        check=True,
        capture_output=True,
        cwd=folder,
        **account,
    )  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {**_SETTINGS, "port": port, "listen_addresses": "'127.0.0.1'", "unix_socket_directories": f"'{folder}'"}
    with (folder / "data" / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = {value}\n" for name, value in settings.items())
    return Server(folder, port)


@contextlib.contextmanager
def running_server(parent: Path | None = None) -> Iterator[Server]:
    """A server for a while; nothing of it stays."""
    server = new_server(parent)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder)
