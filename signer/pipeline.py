"""The story of a signature, from bytes to response, one stage after the other.

web → authn → access → approvals → audit intent → keystore → formats → HSM → self-check → audit outcome → response.
Each stage takes only what the one before it made: a `Permit` comes from access alone, an intent from a durable record
of a permit, an open key from an intent, an answer from recorded outcomes. So no stage can be left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import msgspec
import structlog

from keystore.algorithms import CALLER_PURPOSES
from keystore.api import KeyState
from keystore.errors import KeystoreError
from keystore.errors import NotFound as NoSuchRow
from signer.access import DUTIES_OF, Action, Admission, Permit, Surroundings, admit, judge
from signer.access.decision import KEY_NOT_FOUND, may_on_every_key, permit_approved, permit_request
from signer.access.explanation import admit_question
from signer.access.grants import grant_facts
from signer.access.model import NO_CONTEXT
from signer.audit import Outcome, audited
from signer.audit.identifiers import time_ordered_id
from signer.audit.records import canonical
from signer.audit.trail import REPEATED
from signer.authn.principal import SERVICE
from signer.call import Answer, Call
from signer.decoding import decode, within
from signer.errors import (
    DryRun,
    Judged,
    NotFound,
    PolicyForbids,
    QuotaExceeded,
    SealmarkError,
    TooManyRequests,
    Unauthenticated,
    Unprocessable,
)
from signer.held import HELD
from signer.making import Making
from signer.operations.base import Subject, usable_version
from signer.problems import SERVER_FAULTS, code_of
from signer.request import ApprovalRequestBody, Empty
from signer.transferring import Side, Transferring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from keystore.api import ApprovalRequestRecord, Key
    from keystore.keystore import Keystore
    from signer.access.decision import Judgement
    from signer.access.model import ConditionValues, GrantFacts
    from signer.approvals import Approvals
    from signer.audit import AuditTrail
    from signer.audit.logged import Steps
    from signer.authn.authenticator import Authenticator
    from signer.authn.principal import Principal
    from signer.cryptographic_requests import ReEncryption
    from signer.held import HeldOperation
    from signer.idempotency import Idempotency
    from signer.operations.base import Operation, UseOfKey
    from signer.operations.re_encryption import Moved
    from signer.published import Published
    from signer.quotas import Quotas
    from signer.request import Question

_Body = TypeVar("_Body", bound=msgspec.Struct)
_Question = TypeVar("_Question", bound="Question")
Reference = str | Callable[[_Body], str]  # a key's id or alias, or what tells it from the body
GrantsOf = Callable[["Key", "Principal"], Sequence["GrantFacts"]]
NOT_KEPT = "what this call is about is secret, so nothing of it is kept to answer the same again: it has no such header"
DRY_RUN = "the request would have succeeded, but it asks for a dry run"
_log = structlog.get_logger("sealmark.pipeline")


@dataclass(slots=True)
class _Named:
    """How a call names its key, as far as that is known: where the body tells it, once that is read."""

    reference: str | None

    @classmethod
    def of(cls, reference: Reference[Any] | None) -> Self:
        return cls(None if callable(reference) else reference)

    def by(self, reference: Reference[_Body], body: _Body) -> str:
        self.reference = reference(body) if callable(reference) else reference
        return self.reference


class Pipeline:
    """Everything that needs a credential goes through one of `sign`, `change`, `hold` and `read`."""

    def __init__(
        self,
        keystore: Keystore,
        authenticator: Authenticator,
        audit: AuditTrail,
        idempotency: Idempotency,
        published: Published,
        approvals: Approvals,
        quotas: Quotas,
    ) -> None:
        self._keystore = keystore
        self._authenticator = authenticator
        self._audit = audit
        self._idempotency = idempotency
        self._published = published
        self._approvals = approvals
        self._quotas = quotas

    def sign(self, call: Call, reference: Reference[_Body], operation: Operation[_Body]) -> Answer:
        """Makes what the operation makes, with the key that `reference` names (its id or alias, or what tells it from
        the body)."""
        return self._audit.run(self.signing(call, reference, operation))

    def signing(self, call: Call, reference: Reference[_Body], operation: Operation[_Body]) -> Steps[Answer]:
        """The same in steps, which stop where something must be durable before the story may go on."""
        # authn, who is calling
        principal = self.authenticate(call)
        named = _Named.of(reference)
        call.trace.operation = operation.action.value
        try:
            # access: may such a caller make such a call at all (before any key is looked up)
            admission = admit(principal, operation.action)
            # web: the body, typed
            body = call.decode(call.body, operation.body_type)
            # access: do the policies allow it, to this caller, with this key, as it is asked
            key = self._find_key(admission, call, named.by(reference, body))
            permit = self._permit(admission, call, key, operation.details(key, body), reference=named.reference)
            # formats: what is to be made, and which items cannot be
            subject = self._subject(permit, call, key, operation, body)
            plan = operation.plan(subject, body)
            if plan.dry_run:
                raise DryRun(DRY_RUN)
            if plan.secret and call.idempotency_key is not None:
                raise Unprocessable(NOT_KEPT, field="Idempotency-Key")
            # how much may be asked for
            self._quotas.take(principal.name, operation.action, key, len(plan.items))
            # the same request again gets the same answer
            repeated = self._idempotency.begin(permit, call, key.id)
            call.trace.lap("decision")
        except Exception as error:
            yield from self._refusing(principal, operation.action, call, named, error)
            raise
        if repeated.answer is not None:
            yield from self._audit.noting(principal, operation.action.value, call, key=key.id, code=REPEATED)
            return repeated.answer
        with repeated:
            # approvals: have those whom the key's rule names released this very call
            try:
                permit = self._approvals.release(permit, call, key, body)
            except Exception as error:
                yield from self._refusing(principal, operation.action, call, _Named(key.id), error)
                raise
            # audit intent → keystore → formats → HSM → self-check → audit outcome
            making = Making(self._keystore, self._audit, permit, call, key, subject.version)
            results = yield from making.make_all(plan)
            # response: only what was recorded
            return repeated.completed({"results": results})

    def re_encrypt(
        self, call: Call, reference: Reference[ReEncryption], destination: Reference[ReEncryption], operation: Moved
    ) -> Answer:
        """What one key encrypted, encrypted by another: the story of `sign` with two keys, and a permit for each."""
        principal = self.authenticate(call)
        source_action, destination_action = operation.source.action, operation.destination.action
        with self._refusals_recorded(principal, source_action, call, reference) as named:
            admission = admit(principal, source_action)
            body = call.decode(call.body, operation.body_type)
            key = self._find_key(admission, call, named.by(reference, body))
            other = destination(body) if callable(destination) else destination
            # looked up once: who changed an alias meanwhile must not make one key of two
            other_key = self._key_if_any(other)
            details = operation.details(key, other_key, body)
            permit = self._permit(admission, call, key, details[0])
        with self._refusals_recorded(principal, destination_action, call, other):
            admission = admit(principal, destination_action)
            if other_key is None:
                raise self._absent(admission, call)
            other_permit = self._permit(admission, call, other_key, details[1])
            encrypts = self._subject(other_permit, call, other_key, operation.destination, body)
        with self._refusals_recorded(principal, source_action, call, key.id):
            decrypts = self._subject(permit, call, key, operation.source, body)
            planned = operation.plan(decrypts, encrypts, body)
            if planned.dry_run:
                raise DryRun(DRY_RUN)
            if call.idempotency_key is not None:
                raise Unprocessable(NOT_KEPT, field="Idempotency-Key")
            self._quotas.take(principal.name, source_action, key)
            self._quotas.take(principal.name, destination_action, encrypts.key)
            permit = self._approvals.release(permit, call, key, body)
        sides = Side(permit, decrypts), Side(other_permit, encrypts)
        moved = Transferring(self._keystore, self._audit, call, *sides).transfer(planned)
        return Answer({"results": [moved]})

    def _key_if_any(self, reference: str) -> Key | None:
        try:
            key = self._keystore.get_key(reference)
        except NoSuchRow:
            return None
        return None if key.state is KeyState.DELETED else key

    def change(
        self,
        call: Call,
        action: Action,
        body_type: type[_Body],
        work: Callable[[Permit, Key | None, _Body], Answer],
        reference: Reference[_Body] | None = None,
        details: Callable[[_Body], ConditionValues] = lambda _body: NO_CONTEXT,
        grants: GrantsOf | None = None,
        subject: str | Callable[[_Body], str] | None = None,
        about: str | None = None,
        before: Callable[[Permit, Key | None, _Body], None] = lambda _permit, _key, _body: None,
    ) -> Answer:
        """An administrative change: an intent before it, its outcome after it, whatever happens.

        `reference` names the key that it is about, `subject` the principal (or tells it from the body), `about` the
        approval request, where it is about one; `details` are what policies may ask of it; `grants` those that may
        allow it, where they are not the caller's on the key. `before` raises what keeps a change from being made that
        is permitted: no approval is used up by it.
        """
        principal = self.authenticate(call)
        named = None if callable(subject) else subject
        with self._refusals_recorded(principal, action, call, reference, named):
            admission = admit(principal, action)
            body = call.decode(call.body, body_type)
        named = subject(body) if callable(subject) else subject
        with self._refusals_recorded(principal, action, call, reference, named) as key_named:
            key = None if reference is None else self._find_key(admission, call, key_named.by(reference, body))
            permit = self._permit(admission, call, key, (details(body),), grants, key_named.reference)
            self._quotas.take(principal.name, action, key)
            before(permit, key, body)
            permit = self._approvals.release(permit, call, key, body)
            call.trace.lap("decision")
            if about is not None:
                permit = permit_approved(permit, about)
        return self._recorded(permit, call, key, lambda: work(permit, key, body), named)

    def hold(self, call: Call, reference: str, describe: Callable[[ApprovalRequestRecord], object]) -> Answer:
        """Keeps a call for approvers to look at: authorised, typed and planned as the call itself would be."""
        principal = self.authenticate(call)
        with self._refusals_recorded(principal, Action.REQUEST_APPROVAL, call, reference):
            admit(principal, Action.REQUEST_APPROVAL)
            asked = call.decode(call.body, ApprovalRequestBody)
            held = HELD[asked.operation]
            admission = admit(principal, held.action)
            with within("request"):
                body = decode(msgspec.json.encode(asked.request), held.body_type)
            key = self._find_key(admission, call, reference)
            permit = self._permit(admission, call, key, held.details_of(key, body), reference=reference)
            self._quotas.take(principal.name, Action.REQUEST_APPROVAL, key)
            with within("request"):
                self._require_makeable(permit, call, key, held, body)
            request = self._approvals.prepare(permit, key, body, asked.reason, time_ordered_id())

        def work() -> Answer:
            self._approvals.hold(request)
            return Answer(describe(request), 201)

        return self._recorded(permit_approved(permit_request(permit), request.id), call, key, work)

    def _require_makeable(
        self, permit: Permit, call: Call, key: Key, held: HeldOperation, body: msgspec.Struct
    ) -> None:
        """Raises what the call itself would be refused for; a batch is approved only if all of it can be made."""
        if held.signing is None:
            self._approvals.check(permit, key, body)
            return
        plan = held.signing.plan(self._subject(permit, call, key, held.signing, body), body)
        for item in plan.items:
            if isinstance(item, Unprocessable):
                raise item

    def _recorded(
        self, permit: Permit, call: Call, key: Key | None, work: Callable[[], Answer], subject: str | None = None
    ) -> Answer:
        """An intent before the work, its outcome after it, whatever happens."""
        intent = self._audit.open(permit, call, None if key is None else audited(key), 1, subject=subject)
        try:
            answer = work()
        except (SealmarkError, KeystoreError) as error:
            code = code_of(error)
            self._audit.close([(intent, [Outcome(0, "failed" if code in SERVER_FAULTS else "denied", code)])])
            raise
        except Exception:
            self._audit.close([(intent, [Outcome(0, "failed", "internal_error")])])
            raise
        detail = None if answer.recorded is None else canonical(answer.recorded)
        self._audit.close([(intent, [Outcome(0, "succeeded", detail=detail, key_id=answer.made_key)])])
        return answer

    def read(
        self,
        call: Call,
        action: Action,
        work: Callable[[Permit, Key | None], Answer],
        reference: str | None = None,
        subject: str | None = None,
    ) -> Answer:
        """A look at something: nothing is changed or used, so the record follows the look."""
        return self._looked(call, action, Empty, lambda permit, key, _body: work(permit, key), reference, subject)

    def look(
        self,
        call: Call,
        action: Action,
        body_type: type[_Body],
        work: Callable[[Permit, Key | None, _Body], Answer],
        reference: Reference[_Body] | None = None,
        subject: str | None = None,
        details: Callable[[_Body], ConditionValues] = lambda _body: NO_CONTEXT,
    ) -> Answer:
        """The same, where the question is in the body."""

        def asked() -> _Body:
            return call.decode(call.body, body_type)

        return self._looked(call, action, asked, work, reference, subject, details)

    def _looked(
        self,
        call: Call,
        action: Action,
        asked: Callable[[], _Body],
        work: Callable[[Permit, Key | None, _Body], Answer],
        reference: Reference[_Body] | None,
        subject: str | None,
        details: Callable[[_Body], ConditionValues] = lambda _body: NO_CONTEXT,
    ) -> Answer:
        principal = self.authenticate(call)
        with self._refusals_recorded(principal, action, call, reference, subject) as named:
            admission = admit(principal, action)
            body = asked()
            key = None if reference is None else self._find_key(admission, call, named.by(reference, body))
            permit = self._permit(admission, call, key, (details(body),), reference=named.reference)
            self._quotas.take(principal.name, action, key)
            answer = work(permit, key, body)
        detail, judged = answer.recorded, _judged(permit)
        self._audit.note(
            principal, action.value, call, key=permit.key_id, subject=subject, detail=detail, judged=judged
        )
        return answer

    def ask(
        self,
        call: Call,
        body_type: type[_Question],
        work: Callable[[Principal, Key | None, Surroundings, _Question], Answer],
    ) -> Answer:
        """A question about access, which changes and uses nothing; recorded as reads are."""
        principal = self.authenticate(call)
        with self._refusals_recorded(principal, Action.EXPLAIN_ACCESS, call, None):
            body = call.decode(call.body, body_type)
        with self._refusals_recorded(principal, Action.EXPLAIN_ACCESS, call, body.key, body.about):
            admission = admit_question(principal, body.about, with_key=body.key is not None)
            key = None if body.key is None else self._find_key(admission, call, body.key)
            judgement = self._judged(admission, call, key)
            if body.about != principal.name:
                judgement.permit()
            elif key is not None and not judgement.visible:
                raise NotFound(KEY_NOT_FOUND, field="key")
            answer = work(principal, key, self._surroundings(call), body)
        key_id = None if key is None else key.id
        self._audit.note(principal, Action.EXPLAIN_ACCESS.value, call, key=key_id, subject=body.about)
        return answer

    def authenticate(self, call: Call) -> Principal:
        """The caller. Raises `Unauthenticated`, `TooManyRequests`: counted, not recorded one by one."""
        try:
            principal = self._authenticator.authenticate(call)
        except (Unauthenticated, TooManyRequests) as refusal:
            self._audit.count_unauthenticated(refusal.code)
            call.trace.told = True
            raise
        call.trace.told = True  # from here on every way out has a record
        call.trace.caller = principal.name
        call.trace.lap("authentication")
        return principal

    def refuse(self, call: Call, action: str, body_type: type[msgspec.Struct], refusal: SealmarkError) -> NoReturn:
        """Refuses a call that nothing here does, whoever makes it; recorded as any other refusal.

        Raises: `refusal`, unless the caller is not known or the body does not fit: then that.
        """
        principal = self.authenticate(call)
        try:
            call.decode(call.body, body_type)
        except SealmarkError as unreadable:
            refusal = unreadable
        self._audit.refuse(principal, action, call, None, code_of(refusal))
        raise refusal

    def turned_away(self, call: Call, action: str, code: str, reference: str | None, subject: str | None) -> None:
        """Records a call that was refused before anybody asked who makes it, if its caller is somebody known.

        Whoever is not known stays untold of, to be counted. Raises `AuditUnavailable`.
        """
        try:
            principal = self._authenticator.authenticate(call)
        except (Unauthenticated, TooManyRequests):
            return
        call.trace.told = True
        self._audit.refuse(principal, action, call, reference, code, subject)

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

    def allows(self, principal: Principal, call: Call, action: Action, key: Key) -> bool:
        """Whether this caller might do this now: for what is shown of something else."""
        if principal.duty not in DUTIES_OF[action]:
            return False
        return judge(admit(principal, action), key, self._surroundings(call)).decision.allowed

    def require_too(self, permit: Permit, call: Call, reference: str) -> Key:
        """A further key that a permitted call is about, once the same is permitted of it.

        Raises: `NotFound`, `PolicyForbids`, as for the first one.
        """
        admission = admit(permit.principal, permit.action)
        key = self._find_key(admission, call, reference)
        self._permit(admission, call, key, reference=reference)
        return key

    def _permit(
        self,
        admission: Admission,
        call: Call,
        key: Key | None,
        details: Sequence[ConditionValues] = (NO_CONTEXT,),
        grants: GrantsOf | None = None,
        reference: str | None = None,
    ) -> Permit:
        if key is not None and reference in key.aliases:
            details = [{"kms:requestalias": (f"alias/{reference}",), **values} for values in details]
        judgement = self._judged(admission, call, key, details, grants)
        try:
            return judgement.permit()
        except NotFound as hidden:
            if key is not None and key.purpose not in CALLER_PURPOSES:
                # The service's own keys are told from those that are not there by nobody.
                hidden.openly = self._absent(admission, call).openly
            raise

    def _judged(
        self,
        admission: Admission,
        call: Call,
        key: Key | None,
        details: Sequence[ConditionValues] = (NO_CONTEXT,),
        grants: GrantsOf | None = None,
    ) -> Judgement:
        """Grants are looked up only where no policy decides: they only ever allow."""
        surroundings = self._surroundings(call)
        judgement = judge(admission, key, surroundings, details)
        if key is not None and judgement.wants_grants:
            found = (grants or self._grants_of)(key, admission.principal)
            if found:
                judgement = judge(admission, key, surroundings, details, found)
        return judgement

    def _grants_of(self, key: Key, principal: Principal) -> Sequence[GrantFacts]:
        return [grant_facts(grant) for grant in self._keystore.grants_for(key.id, principal.name)]

    def _surroundings(self, call: Call) -> Surroundings:
        return Surroundings(self._keystore.account, self._keystore.clock(), call.source, call.secure)

    def _find_key(self, admission: Admission, call: Call, reference: str) -> Key:
        try:
            key = self._keystore.get_key(reference)
        except NoSuchRow as absent:
            # Of a key that may not be seen the grants are looked up too, and the policies weighed: one that is not
            # there costs as much.
            self._keystore.grants_for(reference, SERVICE)
            raise self._absent(admission, call) from absent
        if key.state is KeyState.DELETED:
            raise self._absent(admission, call)
        call.trace.key = key.id
        return key

    def _absent(self, admission: Admission, call: Call) -> NotFound:
        openly = may_on_every_key(admission, self._surroundings(call), self._keystore.arn_of("*"))
        return NotFound(KEY_NOT_FOUND, field="key", openly=openly)

    def _subject(self, permit: Permit, call: Call, key: Key, operation: UseOfKey[_Body], body: _Body) -> Subject:
        moment = self._keystore.clock()
        version = usable_version(operation, key, body, moment)
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
        self,
        principal: Principal,
        action: Action,
        call: Call,
        reference: Reference[Any] | None,
        subject: str | None = None,
    ) -> Iterator[_Named]:
        named = _Named.of(reference)
        call.trace.operation = action.value
        try:
            yield named
        except Exception as error:
            self._audit.run(self._refusing(principal, action, call, named, error, subject))
            raise

    def _refusing(
        self,
        principal: Principal,
        action: Action,
        call: Call,
        named: _Named,
        error: Exception,
        subject: str | None = None,
    ) -> Steps[None]:
        """Records that the call ends with this error; who is too fast is counted."""
        if isinstance(error, QuotaExceeded):
            self._audit.count(error.code, f"{error.quota} {principal.name}")
            return
        judged = error.judged if isinstance(error, SealmarkError) else None
        call.trace.action = action.policy_name
        if isinstance(error, PolicyForbids) and judged is not None and judged.key_id is not None:
            call.trace.resource = self._keystore.arn_of(judged.key_id)
        yield from self._audit.refusing(principal, action.value, call, named.reference, code_of(error), subject, judged)


def _judged(permit: Permit) -> Judged | None:
    return None if permit.decided_by is None else Judged(permit.key_id, permit.policy_revision, permit.decided_by)


def present(key: Key | None) -> Key:
    """The key of a call that is about one."""
    if key is None:
        msg = "a call about a key reached its view without one"
        raise TypeError(msg)
    return key
