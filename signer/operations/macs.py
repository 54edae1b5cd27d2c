"""`POST /v1/keys/{key}/macs` and `…/macs/verify`: what AWS KMS calls GenerateMac and VerifyMac."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keystore.algorithms import Purpose
from signer.access import Action
from signer.cryptographic_requests import MacBody, MacVerification
from signer.operations.base import OfActiveVersion, Output, Plan, Prepared, Subject
from signer.operations.uses import chosen_algorithm, numbered_version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from keystore.api import Key, KeyVersion, MacKey
    from signer.access.model import ConditionValues


def _details(key: Key, body: MacBody | MacVerification) -> Sequence[ConditionValues]:
    return [{"kms:macalgorithm": (body.algorithm or key.algorithm,)}]


class Macs(OfActiveVersion):
    """An HMAC over a message."""

    action: Final = Action.GENERATE_MAC
    purpose: Final = Purpose.MAC
    body_type: Final = MacBody

    def details(self, key: Key, body: MacBody) -> Sequence[ConditionValues]:
        """The algorithm."""
        return _details(key, body)

    def plan(self, subject: Subject, body: MacBody) -> Plan:
        """Raises `Unprocessable`."""

        def make(key: MacKey) -> Output:
            return {"mac": key.mac(body.message)}

        return Plan([Prepared(chosen_algorithm(subject.key, body.algorithm), make)], True, secret=True)


class VerifiedMacs:
    """Whether an HMAC is this key's. One that is not is an error, so that nobody forgets to look."""

    action: Final = Action.VERIFY_MAC
    purpose: Final = Purpose.MAC
    body_type: Final = MacVerification

    def details(self, key: Key, body: MacVerification) -> Sequence[ConditionValues]:
        """The algorithm."""
        return _details(key, body)

    def version(self, key: Key, body: MacVerification | None, now: datetime) -> KeyVersion:
        """The one asked for, or the active one. Raises `Unprocessable`, `WrongState`."""
        return numbered_version(key, None if body is None else body.key_version, now)

    def plan(self, subject: Subject, body: MacVerification) -> Plan:
        """Raises `Unprocessable`; what it makes raises `InvalidMac`."""

        def make(key: MacKey) -> Output:
            key.verify(body.message, body.mac)
            return {"valid": True}

        return Plan([Prepared(chosen_algorithm(subject.key, body.algorithm), make)], True, secret=True)
