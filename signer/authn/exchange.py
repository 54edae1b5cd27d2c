"""The token exchange: a workload's own token in, a short session of one role out (RFC 8693, in the manner of AWS STS
AssumeRoleWithWebIdentity).

Whatever is wrong gets one answer. Why stands in the log, without the token; what a verified token asked for and did not
get stands in the audit trail too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from keystore.api import CredentialRecord
from keystore.errors import Conflict, KeystoreError, NotFound, WrongState
from keystore.trust import UsedAssertion
from keystore.trusted_issuers import SESSION, session_maker
from signer.access import Action, Surroundings, admit, decide
from signer.access.claims import roles_of
from signer.access.duties import Duty
from signer.audit import Outcome
from signer.authn.assertions import Refused, verify
from signer.authn.principal import CredentialKind, Principal
from signer.authn.sessions import facts_of
from signer.authn.tokens import new_token, stored_form
from signer.errors import DutyForbids, SealmarkError, Unauthenticated
from signer.problems import SERVER_FAULTS, code_of

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.audit import AuditTrail
    from signer.authn.assertions import Assertion
    from signer.authn.key_sets import KeySets
    from signer.call import Call
    from signer.request import TokenExchange

REFUSAL: Final = (
    "the token was not exchanged: it is not valid here, was used already, or gives no such role; the service's log "
    "says why, under this request's id"
)
LARGEST_FACTS: Final = 4096  # octets of what goes into every record of the session
_log = structlog.get_logger("sealmark.exchange")


@dataclass(frozen=True, slots=True)
class Session:
    """What the caller gets; the token is shown this once. `expires_in` is seconds."""

    token: str = field(repr=False)
    name: str
    expires_in: int


class Exchange:
    """One per worker."""

    def __init__(self, keystore: Keystore, audit: AuditTrail, key_sets: KeySets) -> None:
        self._keystore = keystore
        self._audit = audit
        self._key_sets = key_sets

    def exchange(self, call: Call, body: TokenExchange) -> Session:
        """Raises `Unauthenticated` for whatever is wrong with the token, and what store, HSM and audit raise."""
        now = self._keystore.clock()
        try:
            assertion = verify(body.subject_token, self._keystore, self._key_sets, now)
            surroundings = Surroundings(self._keystore.account, now, call.source, call.secure)
            permit, facts = self._permit(assertion, body.role, surroundings)
            return self._begin(call, assertion, permit, facts, now)
        except Refused as refusal:
            _log.warning(
                "token_not_exchanged",
                request_id=call.request_id,
                source=call.source,
                code=refusal.code,
                reason=str(refusal),
                trusted_issuer=refusal.issuer,
            )
            if not call.trace.told:
                self._audit.count_unauthenticated(refusal.code, of="exchange_")
                call.trace.told = True
            raise Unauthenticated(REFUSAL) from refusal

    def _permit(self, assertion: Assertion, asked: str | None, surroundings: Surroundings) -> tuple[Permit, str]:
        """Which role the token gives, and what is kept of why. Raises `Refused`."""
        issuer = assertion.issuer
        roles = roles_of(issuer.mappings, assertion.claims)
        role = _chosen(roles, asked, issuer.name)
        facts = facts_of(assertion, roles[role])
        if len(facts.encode()) > LARGEST_FACTS:
            raise Refused("claims_too_long", "the claims that decide are longer than is recorded", issuer=issuer.name)
        owner = self._keystore.find_principal(role)
        if owner is None or not owner.is_enabled(surroundings.now):
            raise Refused("no_such_role", f"{role} is not there or not enabled", issuer=issuer.name)
        if self._keystore.is_assertion_used(assertion.id):
            raise Refused("replayed", "the token was exchanged already", issuer=issuer.name)
        credential = f"oidc:{issuer.name}:{assertion.id[:12]}"
        principal = Principal(owner.name, Duty(owner.duty), credential, CredentialKind.SESSION, facts, owner.policies)
        try:
            return decide(admit(principal, Action.EXCHANGE_TOKEN), None, surroundings), facts
        except DutyForbids as forbidden:
            raise Refused("duty_forbids", str(forbidden), issuer=issuer.name) from forbidden

    def _begin(self, call: Call, assertion: Assertion, permit: Permit, facts: str, now: datetime) -> Session:
        """An intent before it, its outcome after it, as every change. Raises `Refused`."""
        issuer, role, token = assertion.issuer, permit.principal.name, new_token()
        kept, lifetime = stored_form(token), issuer.session_lifetime
        ends = now + timedelta(seconds=lifetime)
        credential = CredentialRecord(
            kept.id,
            role,
            kept.digest,
            "enabled",
            now,
            ends,
            kind=SESSION,
            label=issuer.name,
            created_by=session_maker(issuer.name),
            facts=facts,
        )
        used = UsedAssertion(assertion.id, issuer.name, now, assertion.expires_at)
        call.trace.told = True
        intent = self._audit.open(permit, call, None, 1)
        try:
            self._keystore.begin_session(used, credential, revision=issuer.revision)
        except (SealmarkError, KeystoreError) as error:
            code = code_of(error)
            self._audit.close([(intent, [Outcome(0, "failed" if code in SERVER_FAULTS else "denied", code)])])
            if isinstance(error, Conflict | NotFound | WrongState):
                raise Refused("too_late", str(error), issuer=issuer.name) from error
            raise
        except Exception:
            self._audit.close([(intent, [Outcome(0, "failed", "internal_error")])])
            raise
        detail = msgspec.json.encode({"credential": f"bearer:{kept.id[:12]}"}).decode()
        self._audit.close([(intent, [Outcome(0, "succeeded", detail=detail)])])
        return Session(token, role, lifetime)


def _chosen(roles: dict[str, dict[str, object]], asked: str | None, issuer: str) -> str:
    """Exactly one, or the one that is asked for. Raises `Refused`."""
    if not roles:
        raise Refused("no_mapping", "no mapping fits the token's claims", issuer=issuer)
    if asked is not None and asked not in roles:
        raise Refused("no_mapping", "no mapping gives the role that was asked for", issuer=issuer)
    if asked is None and len(roles) > 1:
        raise Refused("several_roles", f"the token gives {', '.join(sorted(roles))}: name one as role", issuer=issuer)
    return asked or next(iter(roles))
