"""Approval rules, held requests and the votes on them. Whatever depends on a look is written in the look's transaction.

What the votes add up to is not decided here: the callers of `release_approval` and the others bring the judgement,
which sees one transaction's facts (`ApprovalFacts`) and raises what it refuses.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from keystore.api import (
    NO_APPROVAL_RULE,
    ApprovalBinding,
    ApprovalFacts,
    ApprovalRequestRecord,
    ApprovalRequirement,
    ApprovalRule,
    ApprovalState,
    ApprovalVoteRecord,
    KeyState,
)
from keystore.db.schema import APPROVAL_REQUESTS, APPROVAL_RULES, ENROLMENTS
from keystore.errors import Conflict, IntegrityFailure, LimitExceeded, NotFound, Unsupported, WrongState
from keystore.values import (
    members_of,
    names_of,
    optional_stored_time,
    optional_time_of,
    stored_json,
    stored_time,
    time_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from keystore.db.engine import Value
    from keystore.sealing import SealedRow
    from keystore.store import SealedStore
    from keystore.transactions import SealedTransaction

    Judgement = Callable[[ApprovalFacts], object]

OPEN_REQUESTS: Final = 100  # of one requester for one key: nobody fills the database


class ApprovalRepository:
    """Reads and writes approvals. Every method raises `IntegrityFailure`, `StoreUnavailable`, `HsmUnavailable` too."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store

    def set_approval_rule(
        self, key_id: str, requirements: Mapping[str, ApprovalRequirement], *, revision: int, now: datetime
    ) -> None:
        """Make the rule of a key, replace it, or take it away (no requirements).

        Raises: `Conflict` unless the rule is at `revision`; `Unsupported` for an approver who is not fit to be one.
        """
        with self._store.transaction() as transaction:
            if transaction.get("keys", key_id) is None:
                raise NotFound("there is no such key")
            row = transaction.get("approval_rules", key_id)
            if (row.revision if row else 0) != revision:
                raise Conflict("the approval rule was changed by somebody else meanwhile")
            write_approval_rule(transaction, key_id, requirements, now)

    def require_fit_approvers(self, requirements: Mapping[str, ApprovalRequirement], now: datetime) -> None:
        """Raises `Unsupported` for an approver who is not fit to be one: what `set_approval_rule` would refuse."""
        with self._store.transaction() as transaction:
            _require_fit(transaction, requirements, now)

    def is_approver(self, name: str) -> bool:
        """Whether the approval rule of any key that is not deleted names this principal. To be asked before a
        credential is added to it; where the writing is at hand, ask `require_credentials_may_be_added` inside it."""
        with self._store.transaction() as transaction:
            return _is_approver(transaction, name)

    def find_approval_request(self, request_id: str) -> ApprovalRequestRecord | None:
        """The request of this id, whatever its state."""
        row = self._store.get("approval_requests", request_id)
        return None if row is None else _request(row)

    def list_approval_requests(self, after: str | None, limit: int, *, open_only: bool) -> list[ApprovalRequestRecord]:
        """Up to `limit` requests by id, which is by time, those beyond the id `after`."""
        where = {"state": ApprovalState.OPEN.value} if open_only else {}
        rows = self._store.select("approval_requests", where, after=after, limit=limit)
        return [_request(row) for row in rows]

    def approval_facts(self, request: ApprovalRequestRecord) -> ApprovalFacts:
        """What there is to know of a request, to be shown: for decisions `release_approval` looks again."""
        return _facts(self._store.get, request)

    def create_approval_request(self, request: ApprovalRequestRecord) -> None:
        """Hold an operation. Raises `Conflict` if the rule was changed; `LimitExceeded` if too many of one requester
        are open for one key."""
        columns = APPROVAL_REQUESTS.c
        of_the_same = (columns.requester == request.requester, columns.key_id == request.key_id)
        waiting = (columns.state == ApprovalState.OPEN.value, columns.expires_at > stored_time(request.created_at))
        with self._store.transaction() as transaction:
            rule = transaction.get("approval_rules", request.key_id)
            if rule is None or rule.revision != request.rule_revision:
                raise Conflict("the approval rule was changed by somebody else meanwhile")
            counted = select(func.count()).select_from(APPROVAL_REQUESTS).where(*of_the_same, *waiting)
            if transaction.connection.execute(counted).scalar_one() >= OPEN_REQUESTS:
                raise LimitExceeded(f"{OPEN_REQUESTS} of your requests for this key are open: withdraw some")
            transaction.insert("approval_requests", request.id, _request_values(request))

    def cast_approval_vote(
        self, vote: ApprovalVoteRecord, judge: Callable[[ApprovalFacts], ApprovalState]
    ) -> ApprovalFacts:
        """Write a vote in place of the same approver's earlier one; `judge` sees the facts as they are with the vote
        and says in what state that leaves the request. Raises `NotFound`, and what `judge` raises."""
        with self._store.transaction() as transaction:
            row = _existing_request(transaction, vote.request_id)
            vote_id = _vote_id(vote.request_id, vote.approver)
            before = transaction.get("approval_votes", vote_id)
            if before is None:
                transaction.insert("approval_votes", vote_id, _vote_values(vote))
            else:
                transaction.update(before, _vote_values(vote))
            state = judge(_facts(transaction.get, _request(row)))
            if state is not ApprovalState.OPEN:
                row = _close(transaction, row, state, vote.approver, vote.voted_at)
            return _facts(transaction.get, _request(row))

    def withdraw_approval_request(self, request_id: str, by: str, now: datetime, judge: Judgement) -> None:
        """End an open request. Raises `NotFound`, and what `judge` raises."""
        with self._store.transaction() as transaction:
            row = _existing_request(transaction, request_id)
            judge(_facts(transaction.get, _request(row)))
            _close(transaction, row, ApprovalState.WITHDRAWN, by, now)

    def release_approval(self, request_id: str, by: str, now: datetime, judge: Judgement) -> None:
        """Use a request up, once: of two who try at the same time `judge` sees it used by one of them.

        Raises `NotFound`, and what `judge` raises: then the request is as it was.
        """
        with self._store.transaction() as transaction:
            row = _existing_request(transaction, request_id)
            judge(_facts(transaction.get, _request(row)))
            _close(transaction, row, ApprovalState.RELEASED, by, now)


def require_credentials_may_be_added(transaction: SealedTransaction, name: str, by: str | None) -> None:
    """Raises `WrongState` if `name` is an approver of any key and `by` is somebody else: who can give an approver a
    credential can approve in its name. To be asked in the transaction that adds the credential or the code."""
    if by != name and _is_approver(transaction, name):
        raise WrongState(
            f"{name} is an approver of a key: only {name} itself adds credentials of its own, or somebody else "
            "could approve in its name"
        )


def _is_approver(transaction: SealedTransaction, name: str) -> bool:
    for (key_id,) in transaction.connection.execute(select(APPROVAL_RULES.c.id)).all():
        rule, key = transaction.get("approval_rules", key_id), transaction.get("keys", key_id)
        if rule is None or key is None or key.text("state") == KeyState.DELETED.value:
            continue
        if any(name in requirement.approvers for requirement in rule_of(rule).requirements.values()):
            return True
    return False


def write_approval_rule(
    transaction: SealedTransaction, key_id: str, requirements: Mapping[str, ApprovalRequirement], now: datetime
) -> None:
    """The key's rule from now on, in a transaction. Raises `Unsupported` for an approver who is not fit to be one."""
    _require_fit(transaction, requirements, now)
    row = transaction.get("approval_rules", key_id)
    document = _rule_document(requirements) if requirements else None
    if row is not None:
        transaction.update(row, {"document": document})
    elif document is not None:
        transaction.insert("approval_rules", key_id, {"document": document})


def rule_of(row: SealedRow | None) -> ApprovalRule:
    """The rule of a row; an empty one where there is no row, or none any more."""
    if row is None:
        return NO_APPROVAL_RULE
    document = row.optional_text("document")
    members = {} if document is None else members_of(document)
    return ApprovalRule(
        MappingProxyType({name: _requirement(stored) for name, stored in members.items()}), row.revision
    )


def _require_fit(
    transaction: SealedTransaction, requirements: Mapping[str, ApprovalRequirement], now: datetime
) -> None:
    for operation, requirement in requirements.items():
        for name in requirement.approvers:
            field = f"{operation}.approvers"
            row = transaction.get("principals", name)
            if row is None or row.text("state") != "enabled":
                raise Unsupported(f"{name} is not an enabled principal", field=field)
            if row.text("duty") == "root":
                raise Unsupported(f"{name} is the break-glass principal, which never approves", field=field)
            if _has_open_code(transaction, name, now):
                raise Unsupported(
                    f"an enrolment code of {name} is still out, and whoever holds it could approve in its name: "
                    "let it be used first",
                    field=field,
                )


def _has_open_code(transaction: SealedTransaction, name: str, now: datetime) -> bool:
    found = transaction.connection.execute(select(ENROLMENTS.c.id).where(ENROLMENTS.c.principal == name)).all()
    rows = (transaction.get("enrolments", enrolment_id) for (enrolment_id,) in found)
    return any(
        row is not None and row.text("state") == "open" and time_of(row.number("expires_at")) > now for row in rows
    )


def _existing_request(transaction: SealedTransaction, request_id: str) -> SealedRow:
    row = transaction.get("approval_requests", request_id)
    if row is None:
        raise NotFound("there is no such approval request")
    return row


def _facts(get: Callable[[str, str], SealedRow | None], request: ApprovalRequestRecord) -> ApprovalFacts:
    """Votes are looked up one by one: a row that was taken away is missed by the journal, so none is left out."""
    votes = [get("approval_votes", _vote_id(request.id, name)) for name in request.approvers]
    people = [get("principals", name) for name in request.approvers]
    rule, policy, key = (get(table, request.key_id) for table in ("approval_rules", "policies", "keys"))
    if policy is None or key is None:
        raise IntegrityFailure(f"approval_requests/{request.id}: its key is missing")
    return ApprovalFacts(
        request,
        tuple(_vote(row) for row in votes if row is not None),
        frozenset(row.id for row in people if row is not None and row.text("state") == "enabled"),
        0 if rule is None else rule.revision,
        policy.revision,
        key.number("version_count"),
    )


def _close(transaction: SealedTransaction, row: SealedRow, state: ApprovalState, by: str, now: datetime) -> SealedRow:
    if row.text("state") != ApprovalState.OPEN.value:
        raise WrongState(f"the approval request is {row.text('state')}")
    return transaction.update(row, {"state": state.value, "closed_at": stored_time(now), "closed_by": by})


def _vote_id(request_id: str, approver: str) -> str:
    return f"{request_id} {approver}"


def _rule_document(requirements: Mapping[str, ApprovalRequirement]) -> str:
    return stored_json({name: _requirement_members(requirement) for name, requirement in requirements.items()})


def _requirement_members(requirement: ApprovalRequirement) -> dict[str, object]:
    return {
        "approvers": list(requirement.approvers),
        "needed": requirement.needed,
        "signed": requirement.signed,
        "window_seconds": requirement.window_seconds,
    }


def _requirement(stored: object) -> ApprovalRequirement:
    members = stored if isinstance(stored, dict) else {}
    needed, window, signed = (members.get(name) for name in ("needed", "window_seconds", "signed"))
    if not isinstance(needed, int) or not isinstance(window, int) or not isinstance(signed, bool):
        raise IntegrityFailure("a stored approval requirement is none")
    return ApprovalRequirement(names_of(members.get("approvers")), needed, window, signed)


def _requirements(stored: str) -> Iterable[ApprovalRequirement]:
    listed = members_of(stored).get("all")
    if not isinstance(listed, list) or not listed:
        raise IntegrityFailure("a stored approval request requires nothing")
    return (_requirement(each) for each in listed)


def _request_values(request: ApprovalRequestRecord) -> dict[str, Value]:
    return {
        "key_id": request.key_id,
        "operation": request.operation,
        "requester": request.requester,
        "body": request.body,
        "shown_sha256": request.shown_sha256,
        "key_version": request.binding.key_version,
        "version_count": request.binding.version_count,
        "policy_revision": request.binding.policy_revision,
        "rule_revision": request.rule_revision,
        "requirements": stored_json({"all": [_requirement_members(each) for each in request.requirements]}),
        "reason": request.reason,
        "created_at": stored_time(request.created_at),
        "expires_at": stored_time(request.expires_at),
        "state": request.state.value,
        "closed_at": optional_stored_time(request.closed_at),
        "closed_by": request.closed_by,
    }


def _request(row: SealedRow) -> ApprovalRequestRecord:
    binding = ApprovalBinding(
        row.optional_number("key_version"), row.optional_number("version_count"), row.optional_number("policy_revision")
    )
    return ApprovalRequestRecord(
        id=row.id,
        key_id=row.text("key_id"),
        operation=row.text("operation"),
        requester=row.text("requester"),
        body=row.octets("body"),
        shown_sha256=row.octets("shown_sha256"),
        binding=binding,
        rule_revision=row.number("rule_revision"),
        requirements=tuple(_requirements(row.text("requirements"))),
        reason=row.text("reason"),
        created_at=time_of(row.number("created_at")),
        expires_at=time_of(row.number("expires_at")),
        state=ApprovalState(row.text("state")),
        closed_at=optional_time_of(row.optional_number("closed_at")),
        closed_by=row.optional_text("closed_by"),
    )


def _vote_values(vote: ApprovalVoteRecord) -> dict[str, Value]:
    return {
        "request_id": vote.request_id,
        "approver": vote.approver,
        "vote": vote.vote,
        "reason": vote.reason,
        "shown_sha256": vote.shown_sha256,
        "voted_at": stored_time(vote.voted_at),
        "credential": vote.credential,
        "credential_kind": vote.credential_kind,
        "proof": vote.proof,
    }


def _vote(row: SealedRow) -> ApprovalVoteRecord:
    return ApprovalVoteRecord(
        row.text("request_id"),
        row.text("approver"),
        row.text("vote"),
        row.text("reason"),
        row.octets("shown_sha256"),
        time_of(row.number("voted_at")),
        row.text("credential"),
        row.text("credential_kind"),
        row.optional_text("proof"),
    )
