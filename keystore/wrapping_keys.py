"""RSA keys under which key material comes in: made in the HSM for one key and one day, and opened with a token."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete

from keystore.algorithms import KEY_SPECS, KeyUse, Purpose
from keystore.api import BackingKey, OpenedKeyInfo
from keystore.ciphertexts import UNDECIPHERABLE
from keystore.db.schema import IMPORT_PARAMETERS
from keystore.errors import HsmFault, InvalidImportToken, NotFound, Undecipherable
from keystore.import_tokens import ImportToken, read_token
from keystore.importable import unwrapped
from keystore.keys import domain_label, existing
from keystore.opened.rsa import RsaEncryptionKey
from keystore.values import stored_time

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.api import HardwareToken, Key
    from keystore.clock import Clock
    from keystore.importable import WrappingAlgorithm
    from keystore.sealing import SealedRow
    from keystore.store import SealedStore

TABLE: Final = "import_parameters"
VALIDITY: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class ImportParameters:
    """What a caller needs to wrap its material. `public_key` is DER SubjectPublicKeyInfo."""

    public_key: bytes
    token: bytes = field(repr=False)
    expires_at: datetime


class WrappingKeys:
    """Makes and opens them. Raises, besides its own, `IntegrityFailure`, `StoreUnavailable` and `HsmUnavailable`."""

    def __init__(self, token: HardwareToken, store: SealedStore, clock: Clock) -> None:
        self._token = token
        self._store = store
        self._clock = clock

    def make(self, key: Key, algorithm: WrappingAlgorithm, spec: str) -> ImportParameters:
        """A fresh wrapping key of this spec for a key, with its token. RSA takes up to seconds."""
        row = self._store.get("domains", key.domain)
        if row is None:
            raise NotFound("there is no such domain")
        version, wrapping_id = row.number("current_version"), str(uuid.uuid4())
        label = domain_label(key.domain, version)
        made = self._token.generate(spec, label, f"import/{wrapping_id}", KeyUse.DECRYPT)
        if made.wrapped is None:
            raise HsmFault("the HSM does not wrap the key that material would come in under")
        with self._store.transaction() as transaction:
            expires_at = self._clock() + VALIDITY
            current = existing(transaction, "domains", key.domain).number("current_version")
            wrapped = made.wrapped
            if current != version:  # its domain's key was rotated since, and the rotation has not seen this one
                backing = _backing(wrapping_id, spec, label, wrapped)
                wrapped = self._token.rewrap(backing, domain_label(key.domain, current))
                self._token.destroy(backing)
            transaction.insert(
                TABLE,
                wrapping_id,
                {
                    "key_id": key.id,
                    "spec": spec,
                    "domain": key.domain,
                    "domain_version": current,
                    "wrapped": wrapped,
                    "public_key": made.public_key,
                    "expires_at": stored_time(expires_at),
                },
            )
        token = ImportToken(key.id, wrapping_id, algorithm, expires_at)
        return ImportParameters(made.public_key, token.encoded(self._token.seal, self._store.sealer.key_id), expires_at)

    def open(self, key: Key, token: bytes, ciphertext: bytes) -> bytes:
        """The material that came in under the token's wrapping key.

        Raises: `InvalidImportToken`, `ImportTokenExpired`; `Undecipherable`, the same for everything that is wrong.
        """
        said = read_token(token, key.id, self._clock(), self._token.seal, self._store.sealer.key_id)
        row = self._store.get(TABLE, said.wrapping_id)
        if row is None or row.text("key_id") != key.id:
            raise InvalidImportToken("the import token's wrapping key is not there")
        spec = row.text("spec")
        size = KEY_SPECS[spec].bits // 8  # octets, of the modulus and of whatever is under it
        carried = ciphertext[size:]
        if len(ciphertext) < size or (carried and not said.algorithm.with_aes):
            raise Undecipherable(UNDECIPHERABLE)
        backing = backing_of(row)
        try:
            info = OpenedKeyInfo(key.id, row.id, 1, spec, Purpose.ENCRYPT, said.algorithm.oaep)
            wrapping_key = RsaEncryptionKey(self._token, backing, info, row.octets("public_key"), active=False)
            octets = wrapping_key.decrypt(ciphertext[:size])
        finally:
            self._token.destroy(backing)
        return unwrapped(said.algorithm, octets, carried)

    def forget(self, now: datetime) -> None:
        """Delete those whose day is over."""
        with self._store.transaction() as transaction:
            transaction.connection.execute(
                delete(IMPORT_PARAMETERS).where(IMPORT_PARAMETERS.c.expires_at <= stored_time(now))
            )


def _backing(wrapping_id: str, spec: str, label: str, wrapped: bytes) -> BackingKey:
    return BackingKey(wrapping_id, spec, label, wrapped, None, use=KeyUse.DECRYPT)


def backing_of(row: SealedRow) -> BackingKey:
    """How the HSM finds the wrapping key of a row."""
    label = domain_label(row.text("domain"), row.number("domain_version"))
    return _backing(row.id, row.text("spec"), label, row.octets("wrapped"))
