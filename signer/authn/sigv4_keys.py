"""The signing keys of access keys, each of one day and region, kept in this process so that a request costs no HSM
operation. A row's revision is part of what finds one; every row is read with every request, so what a row says is in
force at once. Decided in docs/adr/0032.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Protocol

from signer.authn.sigv4_canonical import signing_key

if TYPE_CHECKING:
    from keystore.api import AccessKeyRecord
    from signer.authn.sigv4_request import Scope

PLACES: Final = 2_048


class Opening(Protocol):
    """What opens a row's secret, in the HSM."""

    def secret_of(self, record: AccessKeyRecord) -> bytes: ...


class SigningKeys:
    """One per worker, bounded. Safe to use from many threads."""

    def __init__(self, keystore: Opening, *, places: int = PLACES) -> None:
        self._keystore = keystore
        self._places = places
        self._kept: dict[Scope, tuple[int, bytes]] = {}
        self._guard = threading.Lock()

    def of(self, record: AccessKeyRecord, scope: Scope) -> bytes:
        """The signing key of a row for a scope that names it. Raises `HsmUnavailable`, `IntegrityFailure`."""
        kept = self._kept.get(scope)
        if kept is not None and kept[0] == record.revision:
            return kept[1]
        key = signing_key(self._keystore.secret_of(record), scope.date, scope.region, scope.service)
        with self._guard:
            self._kept.pop(scope, None)
            while len(self._kept) >= self._places:
                del self._kept[next(iter(self._kept))]  # the one that was made longest ago
            self._kept[scope] = (record.revision, key)
        return key

    def remembered(self, scope: Scope) -> bytes | None:
        """The signing key of a scope, if it is here, whatever its row says by now."""
        kept = self._kept.get(scope)
        return None if kept is None else kept[1]
