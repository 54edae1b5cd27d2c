"""Keys whose private half is used in this process are an exception: the service says so at every start, and of each one
that is made."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import structlog

from keystore.algorithms import Protection

if TYPE_CHECKING:
    from keystore.api import Key
    from keystore.keystore import Keystore

_log = structlog.get_logger("sealmark.software_keys")


def report_software_keys(keystore: Keystore) -> bool:
    """Whether the operator allows such keys, or any are there; if so, one line in the log that wants a person."""
    keys = keystore.count_software_keys()
    if not keystore.software_specs and not keys:
        return False
    _log.warning("software_keys_allowed", alarm=True, specs=list(keystore.software_specs), keys=keys)
    return True


def forbid_core_dumps() -> None:
    """Where private keys are in this process's memory, nothing of it is written to a disk when it dies."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def report_made(key: Key) -> None:
    """One line for a key or a version of it that was just made outside of the HSM."""
    if key.protection is Protection.SOFTWARE:
        _log.warning("software_key_made", alarm=True, key_id=key.id, spec=key.spec, version=len(key.versions))
