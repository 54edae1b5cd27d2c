"""`POST /v1/keys/{key}/assertions`: a SAML 2.0 response holding one assertion, signed as asked."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from keystore.algorithms import Purpose
from keystore.api import AssertionSettings
from signer.access import Action
from signer.access.circumstances import signing_context
from signer.errors import WrongPurpose
from signer.formats import saml
from signer.operations.base import OfActiveVersion, Output, Plan, Prepared, Subject
from signer.request import AssertionItem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystore.api import Key, SigningKey
    from signer.access.model import ConditionValues


class IssuedAssertions(OfActiveVersion):
    """SAML responses, one a call."""

    action: Final = Action.ISSUE_ASSERTION
    purpose: Final = Purpose.SAML
    body_type: Final = AssertionItem

    def details(self, key: Key, body: AssertionItem) -> Sequence[ConditionValues]:
        """Audience, algorithm and context."""
        asked = {"sealmark:assertionaudience": (body.audience,), "kms:signingalgorithm": (key.algorithm,)}
        return [signing_context(body.context) | asked]

    def plan(self, subject: Subject, body: AssertionItem) -> Plan:
        """One response."""
        settings = subject.key.settings
        if not isinstance(settings, AssertionSettings):
            msg = "this key has no settings for assertions"
            raise WrongPurpose(msg)
        entity_id = subject.issuer(settings.issuer).entity_id

        def make(key: SigningKey) -> Output:
            response = saml.respond(
                key,
                certificate=subject.chain()[0],
                entity_id=entity_id,
                settings=settings,
                item=body,
                now=subject.now,
                id_factory=saml.new_identifier,
            )
            return {"response": base64.b64encode(response).decode()}

        return Plan([Prepared(subject.key.algorithm, make)], single=True, context=body.context)
