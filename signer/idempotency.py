"""`Idempotency-Key`: the same key and body give the same answer; the same key with another body is refused.

A key is reserved before anything is signed and holds the answer once there is one. If the worker dies in between,
nobody knows what became of it: the key then answers "in progress or unknown" for good, and nothing is signed twice by
accident. A failed call whose key cannot be given back at once (a database that is full or locked) gives it back when
the database can be written again.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from keystore.errors import Conflict as Taken
from keystore.errors import KeystoreError
from signer.call import Answer, Call
from signer.errors import Conflict, MalformedRequest, RequestInProgress

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from keystore.keystore import Keystore
    from signer.access import Permit

_FORM: Final = re.compile(r"[\x21-\x7e]{1,255}")
_log = structlog.get_logger("sealmark.idempotency")


class Reservation:
    """A place for one answer: filled by `completed`, given back if the call fails."""

    def __init__(
        self,
        keystore: Keystore,
        record_id: str | None = None,
        answer: Answer | None = None,
        unreleased: set[str] | None = None,
    ) -> None:
        self._keystore = keystore
        self._record_id = record_id
        self._unreleased = set() if unreleased is None else unreleased
        self.answer = answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and self._record_id is not None:
            try:
                self._keystore.release_idempotency(self._record_id)
            except KeystoreError as fault:
                self._unreleased.add(self._record_id)
                _log.error("idempotency_key_not_released", code=fault.code)

    def completed(self, content: object) -> Answer:
        """Keeps the answer, then gives it."""
        if self._record_id is None:
            return Answer(content)
        encoded = msgspec.json.encode(content)
        self._keystore.complete_idempotency(self._record_id, encoded)
        return Answer(msgspec.Raw(encoded))


class Idempotency:
    """Looks idempotency keys up and reserves them, each within its principal, key and action."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore
        self._unreleased: set[str] = set()  # of calls of this worker that failed, and nothing came of them

    def begin(self, permit: Permit, call: Call, key_id: str) -> Reservation:
        """A reservation, or the answer of long ago. Raises `Conflict`, `RequestInProgress`, `MalformedRequest`."""
        if call.idempotency_key is None:
            return Reservation(self._keystore)
        if not _FORM.fullmatch(call.idempotency_key):
            msg = "Idempotency-Key is 1 to 255 visible ASCII characters"
            raise MalformedRequest(msg, field="Idempotency-Key")
        scope = f"{permit.principal.name}\0{key_id}\0{permit.action.value}\0{call.idempotency_key}"
        record_id = hashlib.sha256(scope.encode()).hexdigest()
        request_hash = hashlib.sha256(call.body).digest()
        self._release_overdue()
        try:
            self._keystore.reserve_idempotency(record_id, permit.principal.name, request_hash)
        except Taken:
            return self._found(record_id, request_hash)
        return Reservation(self._keystore, record_id, unreleased=self._unreleased)

    def _release_overdue(self) -> None:
        """Gives back what could not be given back in its time. Raises `StoreUnavailable` if it still cannot."""
        while self._unreleased:
            try:
                record_id = self._unreleased.pop()  # by one thread alone: the next reservation must not be released
            except KeyError:
                return
            try:
                self._keystore.release_idempotency(record_id)
            except KeystoreError:
                self._unreleased.add(record_id)
                raise

    def _found(self, record_id: str, request_hash: bytes) -> Reservation:
        record = self._keystore.find_idempotency(record_id)
        if record is not None and record.request_hash != request_hash:
            msg = "this Idempotency-Key was used with another body"
            raise Conflict(msg, field="Idempotency-Key")
        if record is None or not record.response:
            msg = "a request with this Idempotency-Key is in progress, or its outcome is not known"
            raise RequestInProgress(msg, field="Idempotency-Key")
        return Reservation(self._keystore, answer=Answer(msgspec.Raw(record.response)))
