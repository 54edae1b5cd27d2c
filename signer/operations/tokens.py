"""`POST /v1/keys/{key}/jwts`: JSON Web Tokens whose origin belongs to the key."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from keystore.algorithms import Purpose
from keystore.api import TokenSettings
from signer.access import Action
from signer.access.circumstances import signing_context
from signer.errors import WrongPurpose
from signer.formats import jwks, jwt
from signer.formats.claims import chosen_audiences, chosen_lifetime
from signer.formats.jwt import chosen_type
from signer.operations.base import OfActiveVersion, Output, Plan, Prepared, Subject, either_items_or_one, prepare_each
from signer.request import TokenItem, Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystore.api import Key, SigningKey
    from signer.access.model import ConditionValues


class IssuedTokens(OfActiveVersion):
    """JWTs, one or many."""

    action: Final = Action.ISSUE_TOKEN
    purpose: Final = Purpose.JWT
    body_type: Final = Tokens

    def details(self, key: Key, body: Tokens) -> Sequence[ConditionValues]:
        """Audience, lifetime and type of each different token, algorithm and context."""
        settings = key.settings
        if not isinstance(settings, TokenSettings):
            return [signing_context(body.context)]
        common = signing_context(body.context) | {"kms:signingalgorithm": (key.algorithm,)}
        items = body.items if body.items is not None else [body]
        asked = {
            (
                chosen_audiences(settings, item.claims),
                chosen_lifetime(settings, item.ttl),
                chosen_type(settings, item.typ),
            )
            for item in items
        }
        return [
            common
            | {
                "sealmark:tokenaudience": audiences,
                "sealmark:tokenlifetime": (str(seconds),),
                "sealmark:tokentype": (token_type,),
            }
            for audiences, seconds, token_type in sorted(asked)
        ]

    def plan(self, subject: Subject, body: Tokens) -> Plan:
        """One token, or one for every item of `items`."""
        either_items_or_one(body.items, {"claims": body.claims, "ttl": body.ttl, "typ": body.typ})
        settings = subject.key.settings
        if not isinstance(settings, TokenSettings):
            msg = "this key has no settings for tokens"
            raise WrongPurpose(msg)
        issuer_url = subject.issuer(settings.issuer).url
        kid = jwks.thumbprint(subject.version.public_key)

        def prepare(item: TokenItem, _position: int) -> Prepared:
            token_id = str(uuid.uuid4())

            def make(key: SigningKey) -> Output:
                token = jwt.issue(
                    key,
                    kid=kid,
                    settings=settings,
                    issuer_url=issuer_url,
                    claims=item.claims,
                    ttl=item.ttl,
                    typ=item.typ,
                    now=subject.now,
                    jti=token_id,
                )
                return {"token": token}

            return Prepared(subject.key.algorithm, make, {"jti": token_id})

        items = body.items if body.items is not None else [body]
        return Plan(prepare_each(items, prepare), body.items is None, body.context)
