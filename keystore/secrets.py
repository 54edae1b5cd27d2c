"""Secrets that the service must read back, such as those of access keys: encrypted in the HSM under a key of its own.

The key is made when the first secret is sealed, by whichever worker comes first. Its policy allows nobody anything:
only this module uses it, without an intent, as the integrity key seals rows without one. A rotated key still opens
what its older versions sealed, as long as they are not revoked.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from keystore.algorithms import ENCRYPTION_ALGORITHMS, Purpose
from keystore.api import KeyPolicy, NewKey, OpenedKeyInfo, VersionState
from keystore.ciphertexts import UNDECIPHERABLE, describe
from keystore.errors import Conflict, NotFound, Undecipherable
from keystore.lifecycle import current_version, require_enabled, version_state
from keystore.opened.symmetric import SymmetricKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from keystore.api import HardwareToken, Key, KeyVersion
    from keystore.clock import Clock

_SPEC: Final = "SYMMETRIC_DEFAULT"
_MAKER: Final = "service"
# A policy that allows nobody anything, whatever else might say so.
NOBODY: Final = (
    '{"Version":"2012-10-17","Statement":[{"Sid":"ServiceOnly","Effect":"Deny","Principal":"*",'
    '"Action":"kms:*","Resource":"*"}]}'
)


class Secrets:
    """Seals and opens short secrets. One per keystore; safe for many threads."""

    def __init__(
        self,
        token: HardwareToken,
        arn_prefix: str,
        get_key: Callable[[str], Key],
        create_key: Callable[[NewKey, str], Key],
        clock: Clock,
    ) -> None:
        self._token = token
        self._get_key = get_key
        self._create_key = create_key
        self._clock = clock
        # The same in every worker, so that of two that make the key at once one is told that it is there.
        self.key_id: Final = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{arn_prefix}secrets"))

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """The secret encrypted; `context` says what it is the secret of and has to be the same when it is opened.

        Raises: `WrongState` if the key was disabled or its version revoked; `HsmUnavailable`, `StoreUnavailable`.
        """
        key = self._key()
        version = current_version(key.versions, self._clock())
        return self._opened(key, version).encrypt(plaintext, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """What was sealed with this context. Raises: `Undecipherable`, and as `seal`."""
        origin = describe(sealed)
        if origin.key_id != self.key_id:
            raise Undecipherable(UNDECIPHERABLE)
        try:
            key = self._get_key(self.key_id)
        except NotFound as absent:
            raise Undecipherable(UNDECIPHERABLE) from absent
        for version in key.versions:
            if version.id == origin.version_id and not self._is_revoked(key, version):
                return self._opened(key, version).decrypt(sealed, context)
        raise Undecipherable(UNDECIPHERABLE)

    def _key(self) -> Key:
        with suppress(NotFound):
            return self._get_key(self.key_id)
        new = NewKey(spec=_SPEC, purpose=Purpose.SECRETS, created_by=_MAKER, policy=KeyPolicy(NOBODY))
        with suppress(Conflict):
            return self._create_key(new, self.key_id)
        return self._get_key(self.key_id)

    def _opened(self, key: Key, version: KeyVersion) -> SymmetricKey:
        require_enabled(key.state)
        algorithm = ENCRYPTION_ALGORITHMS[key.algorithm]
        info = OpenedKeyInfo(key.id, version.id, version.number, key.spec, key.purpose, algorithm)
        return SymmetricKey(self._token, version.backing, info, active=self._is_active(key, version, self._clock()))

    def _is_revoked(self, key: Key, version: KeyVersion) -> bool:
        return version_state(key.versions, version.number, self._clock()) is VersionState.REVOKED

    def _is_active(self, key: Key, version: KeyVersion, now: datetime) -> bool:
        return version_state(key.versions, version.number, now) is VersionState.ACTIVE
