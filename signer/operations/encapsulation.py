"""`POST /v1/keys/{key}/encapsulate` and `…/decapsulate`: shared secrets by ML-KEM (FIPS 203), for `encapsulate` keys.

A changed ciphertext of the right length gives another secret and no error: that is the scheme's own way to refuse.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from keystore.algorithms import Purpose
from signer.access import Action
from signer.access.circumstances import signing_context
from signer.operations.base import OfActiveVersion, Output, Plan, Prepared
from signer.request import DecapsulationBody, EncapsulationBody

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystore.api import EncapsulationKey, Key
    from signer.access.model import ConditionValues
    from signer.operations.base import Subject


class Encapsulations(OfActiveVersion):
    """What AWS KMS calls Encapsulate."""

    action: Final = Action.ENCAPSULATE
    purpose: Final = Purpose.ENCAPSULATE
    body_type: Final = EncapsulationBody

    def details(self, _key: Key, body: EncapsulationBody) -> Sequence[ConditionValues]:
        """The context alone: there is one algorithm."""
        return [signing_context(body.context)]

    def plan(self, subject: Subject, body: EncapsulationBody) -> Plan:
        """One secret."""

        def make(key: EncapsulationKey) -> Output:
            secret, ciphertext = key.encapsulate()
            return {
                "shared_secret": base64.b64encode(secret).decode(),
                "ciphertext": base64.b64encode(ciphertext).decode(),
            }

        return Plan([Prepared(subject.key.algorithm, make)], True, body.context, body.dry_run)


class Decapsulations(OfActiveVersion):
    """What AWS KMS calls Decapsulate. The active version opens: a ciphertext does not say whose it is."""

    action: Final = Action.DECAPSULATE
    purpose: Final = Purpose.ENCAPSULATE
    body_type: Final = DecapsulationBody

    def details(self, _key: Key, body: DecapsulationBody) -> Sequence[ConditionValues]:
        """The context alone: there is one algorithm."""
        return [signing_context(body.context)]

    def plan(self, subject: Subject, body: DecapsulationBody) -> Plan:
        """One secret."""

        def make(key: EncapsulationKey) -> Output:
            return {"shared_secret": base64.b64encode(key.decapsulate(body.ciphertext)).decode()}

        return Plan([Prepared(subject.key.algorithm, make)], True, body.context, body.dry_run)
