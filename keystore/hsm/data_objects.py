"""Short texts that stay on the token and change there: data objects (PKCS#11 v2.40, 4.5), private, one of each name.

The name is CKA_APPLICATION. The text is CKA_LABEL: SoftHSM refuses to change the CKA_VALUE of a data object, and to
make and destroy one for each change costs ten times as much, memory that SoftHSM never gives back, and a new look at
the whole token in every process. A change is not atomic: a process that is killed within one may leave an object that
is no longer found. Whoever must not lose a text keeps two.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Final

from keystore.errors import HsmFault, HsmUnavailable
from keystore.hsm.mechanisms import HMAC_SHA256
from keystore.hsm.return_values import CryptokiError
from keystore.hsm.templates import data_object, data_object_named

if TYPE_CHECKING:
    from pathlib import Path

    from keystore.hsm.connection import Connection
    from keystore.hsm.session import Key

_ROOM: Final = 1 << 20  # octets
_TRIED: Final = 1 << 12  # octets: more than any file of SoftHSM's


def read_text(connection: Connection, name: str) -> str | None:
    """The text of that name, None if the token holds none. Raises: `HsmFault` for several, `CryptokiError`."""
    with connection.owning:
        known = connection.data.get(name)
        if known is not None:
            try:
                return connection.owner.read_label(known)
            except CryptokiError:
                del connection.data[name]  # destroyed, or lost: what is there now has another handle
        found = _found(connection, name)
        return None if found is None else connection.owner.read_label(found)


def write_text(connection: Connection, name: str, text: str) -> None:
    """Makes or changes the text of that name. Raises: `HsmUnavailable` if it is not there afterwards; as above."""
    with connection.owning:
        found = connection.data.get(name) or _found(connection, name)
        try:
            if found is None:
                found = connection.data[name] = connection.owner.create_data(data_object(name, text))
            else:
                connection.owner.write_label(found, text)
            kept = connection.owner.read_label(found)
        except CryptokiError:
            connection.data.pop(name, None)
            raise
        if kept != text:
            raise HsmUnavailable(f"the HSM did not keep what its data object {name!r} was changed to")


def require_room(directory: Path) -> None:
    """SoftHSM does not notice that its files are cut short by a full disk: it keeps a text for this process alone. At a
    login it writes to the token's own file, which a full disk cuts short too: then there is no token any more.

    Raises: `HsmUnavailable` if there is less than 1 MiB left where the state, and a SoftHSM with it, is kept, or if
    this process may not write there (a quota, a limit: no file system tells of these beforehand).
    """
    try:
        system = os.statvfs(directory)
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            written = file.write(bytes(_TRIED))
    except OSError as error:
        raise HsmUnavailable(f"{directory} cannot be written to: {error.strerror}") from error
    if system.f_bavail * system.f_frsize < _ROOM or written < _TRIED:
        raise HsmUnavailable(f"the disk of {directory} is full: nothing is changed in the HSM until it has room")


def require_login(connection: Connection) -> None:
    """Tells an object that is missing from a login that was lost, in which no private object is found.

    Hold `owning`. Raises: `CryptokiError`.
    """
    connection.owner.sign(HMAC_SHA256, connection.integrity, b"alive")


def _found(connection: Connection, name: str) -> Key | None:
    found = connection.owner.find(data_object_named(name))
    if len(found) > 1:
        raise HsmFault(f"the token holds {len(found)} data objects named {name!r}: one is meant to be there")
    if not found:
        require_login(connection)
        return None
    connection.data[name] = found[0]
    return found[0]
