"""The story of a signature, from bytes to response, one stage after the other.

web → authn → access → audit intent → keystore → formats → HSM → self-check → audit outcome → response. Each stage takes
only what the one before it made: a `Permit` comes from access alone, an intent from a durable record of a permit, an
open key from an intent, an answer from recorded outcomes. So no stage can be left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import structlog

from keystore.api import KeyState
from keystore.errors import KeystoreError
from keystore.errors import NotFound as NoSuchRow
from keystore.lifecycle import current_version
from signer.access import Action, Admission, Duty, Permit, Surroundings, admit, judge
from signer.access.decision import KEY_NOT_FOUND
from signer.access.grants import grant_facts
from signer.access.model import NO_CONTEXT
from signer.audit import AuditedKey, Outcome
from signer.audit.records import canonical
from signer.authn.principal import SERVICE
from signer.call import Answer, Call
from signer.decoding import decode
from signer.errors import NotFound, SealmarkError, TooManyRequests, Unauthenticated, WrongPurpose, WrongState
from signer.making import Making
from signer.operations.base import Subject
from signer.problems import SERVER_FAULTS, code_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import msgspec

    from keystore.api import Key
    from keystore.keystore import Keystore
    from signer.access.model import ConditionValues, GrantFacts
    from signer.audit import AuditTrail
    from signer.authn.authenticator import Authenticator
    from signer.authn.principal import Principal
    from signer.idempotency import Idempotency
    from signer.operations.base import Operation
    from signer.published import Published

_Body = TypeVar("_Body", bound="msgspec.Struct")
GrantsOf = Callable[["Key", "Principal"], Sequence["GrantFacts"]]
_log = structlog.get_logger("sealmark.pipeline")


class Pipeline:
    """Everything that needs a credential goes through one of `sign`, `change` and `read`."""

    def __init__(
        self,
        keystore: Keystore,
        authenticator: Authenticator,
        audit: AuditTrail,
        idempotency: Idempotency,
        published: Published,
    ) -> None:
        self._keystore = keystore
        self._authenticator = authenticator
        self._audit = audit
        self._idempotency = idempotency
        self._published = published

    def sign(self, call: Call, reference: str, operation: Operation[_Body]) -> Answer:
        """Makes what the operation makes, with the key that `reference` names (its id or alias)."""
        # authn, who is calling
        principal = self.authenticate(call)
        with self._refusals_recorded(principal, operation.action, call, reference):
            # access: may such a caller make such a call at all (before any key is looked up)
            admission = admit(principal, operation.action)
            # web: the body, typed
            body = decode(call.body, operation.body_type)
            # access: do the policies allow it, to this caller, with this key, as it is asked
            key = self._find_key(reference)
            permit = self._permit(admission, call, key, operation.details(key, body))
            # formats: what is to be made, and which items cannot be
            subject = self._subject(permit, call, key, operation)
            plan = operation.plan(subject, body)
            # the same request again gets the same answer
            repeated = self._idempotency.begin(permit, call, key.id)
        if repeated.answer is not None:
            return repeated.answer
        with repeated:
            # audit intent → keystore → formats → HSM → self-check → audit outcome
            making = Making(self._keystore, self._audit, permit, call, key, subject.version)
            # response: only what was recorded
            return repeated.completed({"results": making.make_all(plan)})

    def change(
        self,
        call: Call,
        action: Action,
        body_type: type[_Body],
        work: Callable[[Permit, Key | None, _Body], Answer],
        reference: str | None = None,
        details: Callable[[_Body], ConditionValues] = lambda _body: NO_CONTEXT,
        grants: GrantsOf | None = None,
        subject: str | None = None,
    ) -> Answer:
        """An administrative change: an intent before it, its outcome after it, whatever happens.

        `reference` names the key that it is about, `subject` the principal, where it is about one; `details` are what
        policies may ask of it; `grants` those that may allow it, where they are not the caller's on the key.
        """
        principal = self.authenticate(call)
        with self._refusals_recorded(principal, action, call, reference, subject):
            admission = admit(principal, action)
            body = decode(call.body, body_type)
            key = self._find_key(reference) if reference is not None else None
            permit = self._permit(admission, call, key, (details(body),), grants)
        intent = self._audit.open(permit, call, _audited(key), 1, subject=subject)
        try:
            answer = work(permit, key, body)
        except (SealmarkError, KeystoreError) as error:
            code = code_of(error)
            self._audit.close([(intent, [Outcome(0, "failed" if code in SERVER_FAULTS else "denied", code)])])
            raise
        except Exception:
            self._audit.close([(intent, [Outcome(0, "failed", "internal_error")])])
            raise
        detail = None if answer.recorded is None else canonical(answer.recorded)
        self._audit.close([(intent, [Outcome(0, "succeeded", detail=detail)])])
        return answer

    def read(
        self,
        call: Call,
        action: Action,
        work: Callable[[Permit, Key | None], Answer],
        reference: str | None = None,
        subject: str | None = None,
    ) -> Answer:
        """A look at something; only refusals are recorded, and whatever break glass looks at."""
        principal = self.authenticate(call)
        with self._refusals_recorded(principal, action, call, reference, subject):
            admission = admit(principal, action)
            key = self._find_key(reference) if reference is not None else None
            permit = self._permit(admission, call, key)
            answer = work(permit, key)
        if principal.duty is Duty.ROOT:
            self._audit.note(principal, action.value, call, key=permit.key_id, subject=subject)
        return answer

    def authenticate(self, call: Call) -> Principal:
        """The caller. Raises `Unauthenticated`, `TooManyRequests`: counted, not recorded one by one."""
        try:
            return self._authenticator.authenticate(call)
        except (Unauthenticated, TooManyRequests) as refusal:
            self._audit.count_unauthenticated(refusal.code)
            raise

    def visible(self, permit: Permit, call: Call, keys: Sequence[Key]) -> list[Key]:
        """Which of these keys a list shows to the caller: those that it may describe."""
        admission = admit(permit.principal, Action.DESCRIBE_KEY)
        surroundings = self._surroundings(call)
        grants: dict[str, list[GrantFacts]] = {}
        for grant in self._keystore.list_grants_of(permit.principal.name):
            grants.setdefault(grant.key_id, []).append(grant_facts(grant))
        return [
            key for key in keys if judge(admission, key, surroundings, grants=grants.get(key.id, ())).decision.allowed
        ]

    def _permit(
        self,
        admission: Admission,
        call: Call,
        key: Key | None,
        details: Sequence[ConditionValues] = (NO_CONTEXT,),
        grants: GrantsOf | None = None,
    ) -> Permit:
        """Grants are looked up only where no policy decides: they only ever allow."""
        surroundings = self._surroundings(call)
        judgement = judge(admission, key, surroundings, details)
        if key is not None and judgement.wants_grants:
            found = (grants or self._grants_of)(key, admission.principal)
            if found:
                judgement = judge(admission, key, surroundings, details, found)
        return judgement.permit()

    def _grants_of(self, key: Key, principal: Principal) -> Sequence[GrantFacts]:
        return [grant_facts(grant) for grant in self._keystore.grants_for(key.id, principal.name)]

    def _surroundings(self, call: Call) -> Surroundings:
        return Surroundings(self._keystore.account, self._keystore.clock(), call.source, call.secure)

    def _find_key(self, reference: str) -> Key:
        try:
            key = self._keystore.get_key(reference)
        except NoSuchRow as absent:
            # Of a key that may not be seen the grants are looked up too: one that is not there costs as much.
            self._keystore.grants_for(reference, SERVICE)
            raise NotFound(KEY_NOT_FOUND, field="key") from absent
        if key.state is KeyState.DELETED:
            raise NotFound(KEY_NOT_FOUND, field="key")
        return key

    def _subject(self, permit: Permit, call: Call, key: Key, operation: Operation[_Body]) -> Subject:
        if key.purpose is not operation.purpose:
            msg = f"this key is for {key.purpose}; {operation.action} needs a key for {operation.purpose}"
            raise WrongPurpose(msg)
        if key.state is not KeyState.ENABLED:
            msg = f"the key is {key.state.replace('_', ' ')}"
            raise WrongState(msg)
        moment = self._keystore.clock()
        version = current_version(key.versions, moment)
        return Subject(
            key,
            version,
            moment,
            permit.principal.name,
            call.request_id,
            lambda: self._published.signing_chain(version),
            self._published.issuer,
        )

    @contextmanager
    def _refusals_recorded(
        self, principal: Principal, action: Action, call: Call, reference: str | None, subject: str | None = None
    ) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._audit.refuse(principal, action.value, call, reference, code_of(error), subject)
            raise


def _audited(key: Key | None) -> AuditedKey | None:
    return None if key is None else AuditedKey(key.id, "", 0, "", key.purpose.value)
