"""The witness's folder: `witness.key` and `witness.db`, which belong together and are no use apart.

A key whose store is gone must never cosign again: it would cosign any second history. So a missing store is not made
anew beside a key that is there; a new witness has a new key.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from signer.witness.errors import WitnessStateError
from signer.witness.key import WitnessKey, new_key, read_key, write_key
from signer.witness.store import Store

KEY_FILE: Final = "witness.key"
STORE_FILE: Final = "witness.db"


@dataclass(frozen=True, slots=True)
class WitnessState:
    """A folder that was looked through and may be used."""

    key: WitnessKey
    store: Store


def create_state(folder: Path, name: str) -> WitnessState:
    """A new witness in a folder that is missing or empty: all of it or nothing. Raises `WitnessStateError`."""
    key = new_key(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WitnessStateError(f"{folder} is there already and not an empty folder: a new witness needs a new one")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Made beside its place, then renamed: no key is ever there without its store.
        made = Path(tempfile.mkdtemp(prefix=".witness-", dir=folder.parent))
        try:
            write_key(key, made / KEY_FILE)
            Store(made / STORE_FILE, key.public).create()
            _sync(made)
            made.rename(folder)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        _sync(folder.parent)
    except OSError as error:
        raise WitnessStateError(f"{folder} cannot be made: {error.strerror}") from error
    return WitnessState(key, Store(folder / STORE_FILE, key.public))


def open_state(folder: Path) -> WitnessState:
    """The witness of a folder, its store looked through. Raises `WitnessStateError`."""
    key_path, store_path = folder / KEY_FILE, folder / STORE_FILE
    if not key_path.exists() and not store_path.exists():
        raise WitnessStateError(f"{folder} holds no witness: run `sealmark witness init --state {folder} --name NAME`")
    if not key_path.exists():
        raise WitnessStateError(f"{key_path} is missing: put the file back, or make a new witness in another folder")
    if not store_path.exists():
        raise WitnessStateError(
            f"{store_path} is missing: without it this key could cosign a second history, so it must not cosign any "
            "more. Put the very file back, never an older copy; or make a new witness with a new key in another folder "
            "(`sealmark witness init`), and have the logs and verifiers that name this one name that"
        )
    key = read_key(key_path)
    store = Store(store_path, key.public)
    store.check()
    return WitnessState(key, store)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
