"""`POST /v1/keys/{key}/shared-secrets`: what AWS KMS calls DeriveSharedSecret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keystore.algorithms import Purpose
from keystore.errors import Unsupported
from keystore.opened.agreement import peer_point
from signer.access import Action
from signer.cryptographic_requests import Agreement
from signer.errors import Unprocessable
from signer.operations.base import Output, Plan, Prepared, Subject
from signer.operations.uses import chosen_algorithm, numbered_version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from keystore.api import AgreementKey, Key, KeyVersion
    from signer.access.model import ConditionValues


class SharedSecrets:
    """What both sides of an agreement have: the raw secret, to be put through a key derivation by the caller."""

    action: Final = Action.DERIVE_SHARED_SECRET
    purpose: Final = Purpose.AGREE
    body_type: Final = Agreement

    def details(self, key: Key, body: Agreement) -> Sequence[ConditionValues]:
        """The algorithm."""
        return [{"kms:keyagreementalgorithm": (body.algorithm or key.algorithm,)}]

    def version(self, key: Key, body: Agreement | None, now: datetime) -> KeyVersion:
        """The one asked for, or the active one. Raises `Unprocessable`, `WrongState`."""
        return numbered_version(key, None if body is None else body.key_version, now)

    def plan(self, subject: Subject, body: Agreement) -> Plan:
        """Raises `Unprocessable`, for a point of another curve or of none too."""
        algorithm = chosen_algorithm(subject.key, body.algorithm)
        try:
            peer_point(subject.key.spec, body.public_key)
        except Unsupported as refusal:
            raise Unprocessable(str(refusal), field="public_key") from refusal

        def make(key: AgreementKey) -> Output:
            return {"shared_secret": key.shared_secret(body.public_key)}

        return Plan([Prepared(algorithm, make)], True, secret=True)
