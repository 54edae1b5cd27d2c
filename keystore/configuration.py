"""Where the service's state lies and what the keystore reads of `sealmark.toml`: frozen, typed and checked before use.

Tables of the file that belong to the signer are not looked at here. No secret is in the file, only the path of one.
"""

from __future__ import annotations

import os
import stat
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from keystore.algorithms import KEY_SPECS, NOT_OFFERED, SOFTWARE_SPECS
from keystore.errors import ConfigurationError
from keystore.token_uri import TokenUri, parse_token_uri

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_CACHE_SIZE: Final = 1000  # unwrapped keys per process; about 11 KiB each in SoftHSM
DEFAULT_SESSIONS: Final = 8  # signing sessions per process
DEFAULT_TOKEN_KEYS: Final = 1000
DEFAULT_DEADLINE: Final = 5.0  # seconds
DEFAULT_DATABASE_URL: Final = "sqlite:///sealmark.db"
_SQLITE: Final = "sqlite:///"
_HSM_SETTINGS: Final = {"uri", "cache_size", "sessions", "token_keys", "deadline_seconds", "concurrent_calls"}
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """The layout of the folder that `init` makes. No file is touched by asking for its path."""

    path: Path

    @property
    def configuration(self) -> Path:
        return self.path / "sealmark.toml"

    @property
    def database(self) -> Path:
        return self.path / "sealmark.db"

    @property
    def softhsm_configuration(self) -> Path:
        return self.path / "hsm" / "softhsm2.conf"

    @property
    def softhsm_tokens(self) -> Path:
        return self.path / "hsm" / "tokens"

    @property
    def hsm_pin(self) -> Path:
        return self.path / "hsm.pin"

    @property
    def hsm_lock(self) -> Path:
        return self.path / "hsm.lock"

    @property
    def ceremony(self) -> Path:
        return self.path / "ceremony"

    @property
    def officer_pin(self) -> Path:
        return self.ceremony / "so.pin"

    def share(self, number: int) -> Path:
        """The share file of a custodian, counted from 1."""
        return self.ceremony / f"custodian-{number}.share"

    @property
    def root_token(self) -> Path:
        return self.ceremony / "root.token"

    @property
    def admin_token(self) -> Path:
        return self.path / "admin.token"

    @property
    def key_admin_token(self) -> Path:
        return self.path / "key-admin.token"

    @property
    def locks(self) -> Path:
        return self.path / "locks"


@dataclass(frozen=True, slots=True)
class HsmConfiguration:
    """Which module and token to use. `environment` is what the module itself reads, such as SOFTHSM2_CONF."""

    uri: TokenUri
    module: Path
    pin_file: Path
    lock_file: Path
    environment: Mapping[str, str]
    cache_size: int = DEFAULT_CACHE_SIZE
    sessions: int = DEFAULT_SESSIONS
    token_keys: int = DEFAULT_TOKEN_KEYS  # how many key versions may be kept on the token itself
    deadline_seconds: float = DEFAULT_DEADLINE  # after which a call that the HSM has not answered is given up
    concurrent_calls: int = 0  # signing calls that wait for the HSM at once; 0: one after another, where it is quick


@dataclass(frozen=True, slots=True)
class DatabaseConfiguration:
    """Where the database is: `sqlite:///` and an absolute path, or `postgresql://` with what libpq is told; no password
    is in it. `password_file` holds one, for PostgreSQL."""

    url: str
    password_file: Path | None = None

    @property
    def file(self) -> Path | None:
        """SQLite's file; None where a server has the database."""
        return Path(self.url.removeprefix(_SQLITE)) if self.url.startswith(_SQLITE) else None


def database_at(place: str) -> DatabaseConfiguration:
    """What somebody typed: a SQLite file's path, or a URL."""
    return DatabaseConfiguration(place if "://" in place else f"{_SQLITE}{Path(place).absolute()}")


@dataclass(frozen=True, slots=True)
class KeystoreConfiguration:
    """All that the keystore is told."""

    state: StateDirectory
    hsm: HsmConfiguration
    database: DatabaseConfiguration
    software_specs: tuple[str, ...] = ()  # what may be made of `protection: software`


def load_keystore_configuration(state: Path) -> KeystoreConfiguration:
    """Reads and checks DIR/sealmark.toml. Raises: `ConfigurationError` naming the setting or the file."""
    directory = StateDirectory(state.resolve())
    document = _document(directory)
    hsm = _table(
        document, "hsm", {"uri", "cache_size", "sessions", "token_keys", "deadline_seconds", "concurrent_calls"}
    )
    keys = _table(document, "keys", {"software_specs"})
    if "uri" not in hsm:
        raise ConfigurationError("hsm.uri is missing")
    return KeystoreConfiguration(
        state=directory,
        hsm=hsm_configuration(
            directory,
            _text(hsm["uri"], "hsm.uri"),
            cache_size=_count(hsm.get("cache_size", DEFAULT_CACHE_SIZE), "hsm.cache_size", 100_000),
            sessions=_count(hsm.get("sessions", DEFAULT_SESSIONS), "hsm.sessions", 256),
            token_keys=_count(hsm.get("token_keys", DEFAULT_TOKEN_KEYS), "hsm.token_keys", 1_000_000),
            deadline_seconds=_seconds(hsm.get("deadline_seconds", DEFAULT_DEADLINE), "hsm.deadline_seconds", 600),
            concurrent_calls=_concurrent_calls(hsm.get("concurrent_calls", 0)),
        ),
        database=_database(directory, document),
        software_specs=_software_specs(keys.get("software_specs", [])),
    )


def _document(directory: StateDirectory) -> dict[str, object]:
    """What DIR/sealmark.toml says."""
    if not directory.configuration.is_file():
        raise ConfigurationError(
            f"{directory.configuration} does not exist: make the state directory with `sealmark init`"
        )
    refuse_writable_by_others(directory.path)
    refuse_writable_by_others(directory.configuration)
    try:
        return tomllib.loads(directory.configuration.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{directory.configuration} is not readable TOML: {error}") from error


def load_database_configuration(state: Path) -> DatabaseConfiguration:
    """Where the database of DIR is, for whoever needs nothing else of the service: no HSM, no PIN, and nothing written.

    Raises: `ConfigurationError`.
    """
    directory = StateDirectory(state.resolve())
    return _database(directory, _document(directory))


def hsm_configuration(
    state: StateDirectory,
    uri: str,
    *,
    cache_size: int = DEFAULT_CACHE_SIZE,
    sessions: int = DEFAULT_SESSIONS,
    token_keys: int = DEFAULT_TOKEN_KEYS,
    deadline_seconds: float = DEFAULT_DEADLINE,
    concurrent_calls: int = 0,
) -> HsmConfiguration:
    """The HSM's part, from a PKCS#11 URI; relative paths are relative to the state directory.

    Where DIR/hsm/tokens exists, the module is the embedded SoftHSM; its settings are written again if DIR was moved.
    """
    parsed = parse_token_uri(uri)
    module = state.path / parsed.module_path
    if concurrent_calls > sessions:
        raise ConfigurationError(f"hsm.concurrent_calls: each needs a session, and hsm.sessions is {sessions}")
    if not module.is_file():
        raise ConfigurationError(f"hsm.uri: module-path: {module} does not exist")
    environment: dict[str, str] = {}
    if state.softhsm_tokens.is_dir():
        write_softhsm_configuration(state)
        environment["SOFTHSM2_CONF"] = str(state.softhsm_configuration)
    return HsmConfiguration(
        uri=parsed,
        module=module,
        pin_file=state.path / parsed.pin_source,
        lock_file=state.hsm_lock.resolve(),  # of several nodes over one SoftHSM it is the same
        environment=environment,
        cache_size=cache_size,
        sessions=sessions,
        token_keys=token_keys,
        deadline_seconds=deadline_seconds,
        concurrent_calls=concurrent_calls,
    )


def write_softhsm_configuration(state: StateDirectory) -> None:
    """Writes DIR/hsm/softhsm2.conf, unless it says the right thing already; safe while others do the same."""
    wanted = f"directories.tokendir = {state.softhsm_tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
    target = state.softhsm_configuration
    if target.is_file() and target.read_text(encoding="utf-8") == wanted:
        return
    descriptor, name = tempfile.mkstemp(dir=target.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(wanted)
    Path(name).replace(target)


def read_secret(path: Path, setting: str) -> bytes:
    """A PIN's or share's file without its line end. Raises: `ConfigurationError` if it is empty, or open to others."""
    try:
        if path.stat().st_mode & _OTHERS:
            raise ConfigurationError(f"{setting}: {path} can be read by others: make its mode 0600")
        secret = path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path} cannot be read: {error.strerror}") from error
    if not secret:
        raise ConfigurationError(f"{setting}: {path} is empty")
    return secret


def refuse_writable_by_others(path: Path) -> None:
    """Raises: `ConfigurationError`."""
    if path.stat().st_mode & _OTHERS_WRITE:
        raise ConfigurationError(f"{path} can be written by others: take the right away (chmod go-w)")


def _table(document: Mapping[str, object], name: str, known: set[str]) -> dict[str, object]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise ConfigurationError(f"{name} is not a table")
    for key in table:
        if key not in known:
            raise ConfigurationError(f"{name}.{key} is not a setting")
    return table


def _concurrent_calls(value: object) -> int:
    return 0 if value == 0 and not isinstance(value, bool) else _count(value, "hsm.concurrent_calls", 256)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{name} is not a text")
    return value


def _count(value: object, name: str, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ConfigurationError(f"{name} is not a whole number from 1 to {most}")
    return value


def _seconds(value: object, name: str, most: int) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0.1 <= value <= most:
        raise ConfigurationError(f"{name} is not a number of seconds from 0.1 to {most}")
    return float(value)


def _software_specs(value: object) -> tuple[str, ...]:
    """Specs whose new keys are made and used in this process. Raises: `ConfigurationError` for a name that is none."""
    name = "keys.software_specs"
    if not isinstance(value, list):
        raise ConfigurationError(f'{name} is not a list of key specs, such as ["ML_DSA_65"]')
    for spec in value:
        if not isinstance(spec, str) or spec not in SOFTWARE_SPECS:
            why = NOT_OFFERED.get(spec) if isinstance(spec, str) else None
            if why is None and isinstance(spec, str) and spec in KEY_SPECS:
                why = "the HSM holds such keys"
            known = f"; there are software keys of {', '.join(SOFTWARE_SPECS)}"
            raise ConfigurationError(f"{name}: {spec!r} cannot be in it{f': {why}' if why else ''}{known}")
    if len(set(value)) != len(value):
        raise ConfigurationError(f"{name} names a spec twice")
    return tuple(value)


def _database(state: StateDirectory, document: Mapping[str, object]) -> DatabaseConfiguration:
    database = _table(document, "database", {"url", "password_file"})
    url = _text(database.get("url", DEFAULT_DATABASE_URL), "database.url")
    if url.startswith(_SQLITE) and not url.startswith(f"{_SQLITE}/"):
        url = f"{_SQLITE}{state.path / url.removeprefix(_SQLITE)}"
    password_file = database.get("password_file")
    if password_file is None:
        return DatabaseConfiguration(url)
    return DatabaseConfiguration(url, state.path / _text(password_file, "database.password_file"))
