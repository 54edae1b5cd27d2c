"""Another node of a deployment whose database is on a server: a state directory that holds no state.

What a node needs is told by one that is there: the configuration, the service's PIN, the database's password. Keys and
people are in the HSM and in the database, which both use.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from keystore.configuration import StateDirectory, load_keystore_configuration
from keystore.errors import CeremonyError
from keystore.state_files import new_state_directory, write_secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def new_node(path: Path, source: Path) -> Iterator[StateDirectory]:
    """A state directory at `path`, missing or empty before, for a node like the one of `source`; gone again if the
    block fails.

    `source` may be a folder that was carried here: it holds `sealmark.toml` and the files that it names. An embedded
    SoftHSM's token folder is not copied but used by both, with one lock. Raises: `CeremonyError`, `ConfigurationError`.
    """
    found = StateDirectory(source.resolve())
    told = load_keystore_configuration(source)
    if told.database.file is not None:
        raise CeremonyError(
            f"the database of {source} is a file of its machine: several nodes need one on a PostgreSQL server"
        )
    with new_state_directory(path) as state:
        secrets = [told.hsm.pin_file]
        if told.database.password_file is not None:
            secrets.append(told.database.password_file)
        for secret in secrets:
            if secret.is_relative_to(found.path):
                target = state.path / secret.relative_to(found.path)
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_secret(target, secret.read_text(encoding="utf-8").rstrip("\r\n"))
        if found.softhsm_tokens.is_dir():
            found.hsm_lock.touch(mode=0o600)
            state.softhsm_tokens.parent.mkdir(mode=0o700)
            state.softhsm_tokens.symlink_to(found.softhsm_tokens.resolve(), target_is_directory=True)
            state.hsm_lock.symlink_to(found.hsm_lock.resolve())
        write_secret(state.configuration, found.configuration.read_text(encoding="utf-8").rstrip("\n"))
        yield state
