"""The state directory: who may read it, its settings, what lies about in it, and the room on its disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from signer.cli.doctor.findings import Finding, fail, ok, warn

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.configuration import KeystoreConfiguration
    from signer.config import ServerConfiguration

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_LEAST_ROOM: Final = 64 * 1024 * 1024  # octets: below it, something soon cannot be written
_LITTLE_ROOM: Final = 1024 * 1024 * 1024
_SOON: Final = timedelta(days=30)
_SECRETS: Final = ("hsm.pin", "admin.token", "key-admin.token", "sealmark.db", "sealmark.db-wal", "sealmark.db-shm")


@dataclass(frozen=True, slots=True)
class Settings:
    """Both halves of sealmark.toml."""

    server: ServerConfiguration
    keystore: KeystoreConfiguration


def check_folder(state: Path) -> Iterator[Finding]:
    """The folder and each file that is nobody else's."""
    if not state.is_dir():
        yield fail("state", f"{state} is not there", f"`sealmark init --state {state}`, or name the right --state")
        return
    wrong = [path for path in _private(state) if path.stat().st_mode & _OTHERS]
    for path in wrong:
        mode = stat.S_IMODE(path.stat().st_mode)
        yield fail("modes", f"{path} has mode {mode:04o}: others may get at it", f"chmod go= {path}")
    foreign = [path for path in _private(state) if path.stat().st_uid != state.stat().st_uid]
    for path in foreign:
        yield fail("owner", f"{path} belongs to another user than {state}", f"chown it to the owner of {state}")
    if not wrong and not foreign:
        yield ok("modes", "only its owner reads the state directory")
    if not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        yield fail("access", f"{state} cannot be written by whoever asks", "run this as the service's user")
    elif os.geteuid() == 0 and state.stat().st_uid != 0:
        yield warn("access", "root asks, and sees what the service's user may not", "run this as the service's user")


def _private(state: Path) -> list[Path]:
    found = [state, *(state / name for name in _SECRETS), state / "hsm" / "tokens", *state.glob("*.token")]
    return [path for path in dict.fromkeys(found) if path.exists()]


def check_settings(state: Path) -> Iterator[Finding | Settings]:
    """sealmark.toml, read by those who read it at a start; `Settings` where it can be used."""
    from keystore.configuration import load_keystore_configuration
    from keystore.errors import ConfigurationError as KeystoreConfigurationError
    from signer.config import load_server_configuration
    from signer.errors import ConfigurationError
    from signer.metrics_listener import require_safe, token_digest
    from signer.tracing import require_tracing

    if _was_moved(state):
        says = f"{state} was moved: the embedded HSM's settings name its old place"
        yield fail("configuration", says, f"start the service once, or run any ceremony with --state {state}")
        return
    try:
        server = load_server_configuration(state)
        require_safe(server.metrics, server)
        token_digest(server.metrics)
        require_tracing(server.tracing)
        keystore = load_keystore_configuration(state)
    except (ConfigurationError, KeystoreConfigurationError) as fault:
        yield fail("configuration", str(fault), "correct sealmark.toml; docs/operations names every setting")
        return
    yield ok("configuration", "sealmark.toml can be started with")
    yield Settings(server, keystore)


def _was_moved(state: Path) -> bool:
    """Whether reading the settings would write: the embedded HSM's are made anew in a folder that was moved."""
    written = state / "hsm" / "softhsm2.conf"
    if not (state / "hsm" / "tokens").is_dir():
        return False
    try:
        return f"directories.tokendir = {state.resolve() / 'hsm' / 'tokens'}\n" not in written.read_text("utf-8")
    except OSError:
        return True


def check_ceremony(state: Path) -> Iterator[Finding]:
    """What a ceremony left for others to carry away."""
    if (state / "ceremony").exists():
        says = f"{state / 'ceremony'} is still here: the officer's PIN, shares, the token of user/root"
        yield fail("ceremony", says, "carry each file to whom it belongs, and remove the folder")
    else:
        yield ok("ceremony", "nothing of a ceremony lies about")


def check_disk(state: Path) -> Iterator[Finding]:
    """The room where the state is kept."""
    found = os.statvfs(state)
    room, inodes = found.f_bavail * found.f_frsize, found.f_favail
    says = f"{room // (1024 * 1024)} MiB free where the state is kept"
    if found.f_flag & os.ST_RDONLY:
        yield fail("disk", "the file system of the state directory is mounted read only", "mount it for writing")
    elif room < _LEAST_ROOM or 0 < inodes < 1000:
        yield fail("disk", says, "make room; the runbook's `disk full` says what may go")
    elif room < _LITTLE_ROOM:
        yield warn("disk", says, "a signature takes some 2 KiB: see docs/operations/sizing.md")
    else:
        yield ok("disk", says)


def check_tls(server: ServerConfiguration, now: datetime) -> Iterator[Finding]:
    """The certificate that the service shows its callers, and the revocation list of theirs."""
    from cryptography import x509

    if server.tls_certificate is None:
        return
    try:
        certificate = x509.load_pem_x509_certificate(server.tls_certificate.read_bytes())
    except (OSError, ValueError):
        yield fail("tls", f"{server.tls_certificate} holds no certificate", "put the PEM certificate there, leaf first")
        return
    ends = certificate.not_valid_after_utc
    says = f"the TLS certificate ends {ends:%Y-%m-%d}"
    if not certificate.not_valid_before_utc <= now < ends:
        yield fail("tls", f"{says}: it is not valid now", "renew it, and restart the service; or set the clock right")
    elif ends - now < _SOON:
        yield warn("tls", says, "renew it, and restart the service")
    else:
        yield ok("tls", says)
