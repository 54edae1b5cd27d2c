"""Keys in an HSM, and the sealed rows that say what they are. `keystore.api` is all that the signer sees of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from keystore.keystore import Keystore

__all__ = ["open_keystore"]


def open_keystore(state: Path) -> Keystore:
    """Open the keystore of a state directory that `init` made; to be called after `fork`, once per process.

    Raises: `ConfigurationError`, `HsmUnavailable`, `StoreUnavailable`, `IntegrityFailure`, `NotFound` (the database was
    never initialised).
    """
    # Imported here, so that `keystore.api` can be had without PKCS#11 and a database.
    from keystore.keystore import open_state

    return open_state(state)
