"""`POST /v1/keys/{key}/encapsulate` and `…/decapsulate`: shared secrets by ML-KEM (FIPS 203), for `encapsulate` keys.

A changed ciphertext of the right length gives another secret and no error: that is the scheme's own way to refuse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keystore.algorithms import Purpose
from signer.access import Action
from signer.access.model import NO_CONTEXT
from signer.cryptographic_requests import Decapsulation, Encapsulation
from signer.operations.base import OfActiveVersion, Output, Plan, Prepared, Subject
from signer.operations.uses import chosen_algorithm, numbered_version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from keystore.api import EncapsulationKey, Key, KeyVersion
    from signer.access.model import ConditionValues


class Encapsulations(OfActiveVersion):
    """A fresh secret, and its ciphertext under the key's public half."""

    action: Final = Action.ENCAPSULATE
    purpose: Final = Purpose.ENCAPSULATE
    body_type: Final = Encapsulation

    def details(self, _key: Key, _body: Encapsulation) -> Sequence[ConditionValues]:
        """Nothing: there is one algorithm."""
        return [NO_CONTEXT]

    def plan(self, subject: Subject, body: Encapsulation) -> Plan:
        """Raises `Unprocessable`."""

        def make(key: EncapsulationKey) -> Output:
            secret, ciphertext = key.encapsulate()
            return {"shared_secret": secret, "ciphertext": ciphertext}

        return Plan([Prepared(chosen_algorithm(subject.key, body.algorithm), make)], True, secret=True)


class Decapsulations:
    """The secret of a ciphertext. A ciphertext does not say which version it is for."""

    action: Final = Action.DECAPSULATE
    purpose: Final = Purpose.ENCAPSULATE
    body_type: Final = Decapsulation

    def details(self, _key: Key, _body: Decapsulation) -> Sequence[ConditionValues]:
        """Nothing: there is one algorithm."""
        return [NO_CONTEXT]

    def version(self, key: Key, body: Decapsulation | None, now: datetime) -> KeyVersion:
        """The one asked for, or the active one. Raises `Unprocessable`, `WrongState`."""
        return numbered_version(key, None if body is None else body.key_version, now)

    def plan(self, subject: Subject, body: Decapsulation) -> Plan:
        """Raises `Unprocessable`; what it makes raises `Undecipherable` for a ciphertext of another length."""

        def make(key: EncapsulationKey) -> Output:
            return {"shared_secret": key.decapsulate(body.ciphertext)}

        return Plan([Prepared(chosen_algorithm(subject.key, body.algorithm), make)], True, secret=True)
