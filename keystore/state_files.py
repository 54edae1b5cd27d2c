"""The files that a ceremony leaves in a state directory: all or none, and readable by their owner alone."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tomllib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from keystore.configuration import (
    DEFAULT_DATABASE_URL,
    DatabaseConfiguration,
    StateDirectory,
    hsm_configuration,
    read_secret,
    write_softhsm_configuration,
)
from keystore.errors import CeremonyError
from keystore.hsm.officer import initialise_token
from keystore.token_uri import parse_token_uri

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from keystore.configuration import HsmConfiguration

_SOFTHSM_MODULES: Final = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
_UNFINISHED: Final = "unfinished"
_TOKEN_LABEL: Final = "sealmark"
_PIN_OCTETS: Final = 24


@contextmanager
def new_state_directory(path: Path) -> Iterator[StateDirectory]:
    """A directory of mode 0700, missing or empty before; whatever is put into it goes again if the block fails.

    What a ceremony left there that was killed counts as nothing: it says so itself, and has no configuration yet.
    Raises: `CeremonyError`.
    """
    existed = path.exists()
    if existed and path.is_dir() and (path / _UNFINISHED).is_file() and not StateDirectory(path).configuration.exists():
        _empty(path)
    if existed and (not path.is_dir() or any(path.iterdir())):
        raise CeremonyError(f"{path} is there already and not an empty directory: a ceremony makes a new one")
    state = StateDirectory(path.resolve())
    try:
        state.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        state.path.chmod(0o700)
    except OSError as error:
        raise CeremonyError(f"{path} cannot be made: {error.strerror}") from error
    try:
        write_secret(state.path / _UNFINISHED, "A ceremony is at work here, or was killed: it may be run again.")
        yield state
        (state.path / _UNFINISHED).unlink()
    except BaseException:
        _empty(state.path)
        if not existed:
            state.path.rmdir()
        raise


def prepare_token(
    state: StateDirectory, hsm_uri: str | None, officer_pin_source: Path | None
) -> tuple[str, HsmConfiguration, bytes]:
    """(URI, configuration, officer's PIN) of the token to use: a SoftHSM in DIR, or one that its owner has initialised.

    Raises: `CeremonyError`, `ConfigurationError`.
    """
    if hsm_uri is None:
        if officer_pin_source is not None:
            raise CeremonyError("an officer's PIN is given, but no HSM (a PKCS#11 URI)")
        return _embedded_token(state)
    if officer_pin_source is None:
        raise CeremonyError("an HSM is named, but not the file that holds its security officer's PIN")
    pin_source = parse_token_uri(hsm_uri).pin_source
    if not pin_source.startswith("/"):
        raise CeremonyError("hsm.uri: pin-source must be an absolute path: the state directory is still empty")
    configuration = hsm_configuration(state, hsm_uri)
    return hsm_uri, configuration, read_secret(officer_pin_source, "officer's PIN")


def _embedded_token(state: StateDirectory) -> tuple[str, HsmConfiguration, bytes]:
    module = next((path for path in _SOFTHSM_MODULES if os.path.exists(path)), None)
    if module is None:
        raise CeremonyError(
            "SoftHSM is not installed (Debian: apt-get install softhsm2); or name an HSM by its PKCS#11 URI"
        )
    state.softhsm_tokens.parent.mkdir(mode=0o700)
    state.softhsm_tokens.mkdir(mode=0o700)
    write_softhsm_configuration(state)
    officer_pin, user_pin = new_pin(), new_pin()
    make_ceremony_directory(state)
    write_secret(state.officer_pin, officer_pin.decode())
    write_secret(state.hsm_pin, user_pin.decode())
    uri = f"pkcs11:token={_TOKEN_LABEL}?module-path={module}&pin-source=file:{state.hsm_pin.name}"
    configuration = hsm_configuration(state, uri)
    initialise_token(
        configuration.module,
        configuration.environment,
        configuration.lock_file,
        _TOKEN_LABEL,
        officer_pin=officer_pin,
        user_pin=user_pin,
    )
    return uri, configuration, officer_pin


def make_ceremony_directory(state: StateDirectory) -> None:
    """DIR/ceremony, for what is to be carried away."""
    state.ceremony.mkdir(mode=0o700, exist_ok=True)


def write_configuration(
    state: StateDirectory, uri: str, database: DatabaseConfiguration | None = None, former: str | None = None
) -> None:
    """DIR/sealmark.toml, written last of all: a directory without it was never finished.

    `database` None: DIR/sealmark.db. `former` is the configuration of the service that is brought back: its settings
    are kept, but for HSM and database.
    """
    database = database or DatabaseConfiguration(DEFAULT_DATABASE_URL)
    text = _new_configuration(uri, database) if former is None else carried_configuration(former, uri, database)
    write_secret(state.configuration, text.rstrip("\n"))


def carried_configuration(former: str, uri: str, database: DatabaseConfiguration) -> str:
    """A configuration with another `hsm.uri` and another database.

    Raises: `CeremonyError` where that cannot be said by changing lines.
    """
    wanted: dict[str, Any] = _parsed(former)
    hsm = {**wanted.get("hsm", {}), "uri": uri}
    wanted |= {"hsm": hsm, "database": _told(database)}
    made = [line for name in ("hsm", "database") for line in ("", f"[{name}]", *_lines(wanted[name]))]
    text = _without(_without(former, "database"), "hsm").rstrip("\n") + "\n" + "\n".join([*made, ""])
    if not _says(text, wanted):
        raise CeremonyError(
            "the backup's sealmark.toml cannot be taken over: write [hsm] and [database] as tables of their own there"
        )
    return text


def _told(database: DatabaseConfiguration) -> dict[str, str]:
    password_file = database.password_file
    return {"url": database.url} | ({} if password_file is None else {"password_file": str(password_file)})


def _lines(settings: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {_quoted(value)}" for name, value in settings.items()]


def _says(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        return False


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CeremonyError(f"the backup's sealmark.toml is not readable TOML: {error}") from error


def _without(text: str, table: str) -> str:
    """The lines of a configuration but for those of one table."""
    kept, inside = [], False
    for line in text.splitlines():
        if line.lstrip().startswith("["):
            inside = line.split("#")[0].strip() == f"[{table}]"
        if not inside:
            kept.append(line)
    return "\n".join(kept)


def _new_configuration(uri: str, database: DatabaseConfiguration) -> str:
    made = "\n".join(_lines(_told(database)))
    return f"""# Made by a Sealmark ceremony. Secrets are in files of their own, never here.

[hsm]
uri = {_quoted(uri)}

[database]
{made}
"""


def _quoted(value: str | int) -> str:
    return json.dumps(value, ensure_ascii=False)


def write_secret(path: Path, text: str) -> None:
    """A new file of mode 0600 holding the text and a line end."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())


def new_pin() -> bytes:
    """A random PIN of letters and digits."""
    return secrets.token_hex(_PIN_OCTETS).encode()


def _empty(directory: Path) -> None:
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
