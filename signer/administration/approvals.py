"""Approval rules as a key's administrators set them, and held requests as approvers see, approve and reject them."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from keystore.algorithms import SIGNING_PURPOSES
from keystore.api import ApprovalRequirement, ApprovalState, ApprovalVoteRecord
from keystore.errors import Conflict as Taken
from keystore.keys import UUID_FORM
from keystore.values import members_of
from signer.access.approvals import (
    IN_WORDS,
    Obstacle,
    approvals_that_count,
    lasting_obstacle,
    obstacle,
    shown,
    state_after_vote,
)
from signer.access.duties import Duty
from signer.authn.principal import CredentialKind
from signer.errors import Conflict, NotFound, PolicyForbids, Unprocessable, WrongState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from keystore.api import ApprovalFacts, ApprovalRequestRecord, ApprovalRule, Key
    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.authn.principal import Principal
    from signer.request import ApprovalBody, ApprovalRequirementBody, ApprovalRuleBody, RejectionBody

_NOT_FOUND: Final = "there is no such approval request, or it is not yours to see"
_READ_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at requests, and whether it administers a key."""

    principal: Principal
    administers: Callable[[Key], bool]


class ApprovalAdministration:
    """Rules, and what people do with requests; each is called with the permit for it."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore

    def check_rule(self, _permit: Permit, key: Key, body: ApprovalRuleBody) -> None:
        """Raises `Unprocessable`, `Unsupported`: what `set_rule` would refuse."""
        self._keystore.require_fit_approvers(_requirements(key, body), self._keystore.clock())

    def set_rule(self, key: Key, body: ApprovalRuleBody) -> dict[str, object]:
        """Makes the rule or replaces the whole of it. Raises `Unprocessable`, `Unsupported`, `Conflict`."""
        return self._set(key, _requirements(key, body))

    def remove_rule(self, key: Key) -> dict[str, object]:
        """Takes the rule away, if there is one. Raises `Conflict`."""
        if not key.approval_rule.requirements:
            return described_rule(key.id, key.approval_rule)
        return self._set(key, MappingProxyType({}))

    def _set(self, key: Key, requirements: Mapping[str, ApprovalRequirement]) -> dict[str, object]:
        # At the revision under which this call was released: of two changes at once, the second was approved for a
        # rule that is no more.
        now, revision = self._keystore.clock(), key.approval_rule.revision
        try:
            self._keystore.set_approval_rule(key.id, requirements, revision=revision, now=now)
        except Taken as changed:
            msg = "the approval rule was changed by somebody else meanwhile: look at it again"
            raise Conflict(msg) from changed
        return described_rule(key.id, self._keystore.get_key(key.id).approval_rule)

    def find(self, viewer: Viewer, request_id: str) -> ApprovalRequestRecord:
        """The request, for its requester, its approvers and the key's administrators. Raises `NotFound` for others."""
        record = None
        if UUID_FORM.fullmatch(request_id):
            record = self._keystore.find_approval_request(request_id.lower())
        if record is None or not self._may_see(viewer, record):
            raise NotFound(_NOT_FOUND, field="request")
        return record

    def list_visible(
        self, viewer: Viewer, after: str | None, limit: int, *, open_only: bool
    ) -> tuple[list[ApprovalRequestRecord], str | None]:
        """At most `limit` requests that the caller may see, oldest first, and the id after which to go on (None: no
        more)."""
        visible: list[ApprovalRequestRecord] = []
        now = self._keystore.clock()
        while records := self._keystore.list_approval_requests(after, _READ_AT_ONCE, open_only=open_only):
            for record in records:
                if (open_only and record.expires_at <= now) or not self._may_see(viewer, record):
                    continue
                if len(visible) == limit:
                    return visible, visible[-1].id
                visible.append(record)
            after = records[-1].id
        return visible, None

    def approve(self, viewer: Viewer, request_id: str, body: ApprovalBody) -> dict[str, object]:
        """One approver's yes to exactly what was shown. Raises as `_cast` does."""
        return self._cast(viewer, request_id, "approve", bytes.fromhex(body.request_sha256), body.reason)

    def reject(self, viewer: Viewer, request_id: str, body: RejectionBody) -> dict[str, object]:
        """One approver's no, also after a yes. Raises as `_cast` does."""
        return self._cast(viewer, request_id, "reject", None, body.reason)

    def _cast(self, viewer: Viewer, request_id: str, word: str, seen: bytes | None, reason: str) -> dict[str, object]:
        """Raises: `NotFound`; `PolicyForbids` for who is no approver of it, its requester, and an unsigned yes where
        the rule asks for signed ones; `Conflict` for a hash of something else; `WrongState` for one that is closed."""
        principal, now = viewer.principal, self._keystore.clock()
        record = self.find(viewer, request_id)
        _require_voter(principal, record)
        if seen is not None:
            _require_signed(principal, record)
        if seen not in (None, record.shown_sha256):
            msg = "this is the hash of something else: look at the request again, and approve what you see"
            raise Conflict(msg, field="request_sha256")
        vote = ApprovalVoteRecord(
            record.id,
            principal.name,
            word,
            reason,
            record.shown_sha256,
            now,
            principal.credential,
            principal.kind.value,
            principal.proof,
        )

        def judge(facts: ApprovalFacts) -> ApprovalState:
            _require_open(facts, now)
            return state_after_vote(facts)

        return described(self._keystore.cast_approval_vote(vote, judge), self._keystore)

    def withdraw(self, viewer: Viewer, request_id: str) -> dict[str, object]:
        """Takes a request back. Raises: `NotFound`; `PolicyForbids` for who did not make it; `WrongState`."""
        principal, now = viewer.principal, self._keystore.clock()
        record = self.find(viewer, request_id)
        if record.requester != principal.name:
            msg = "only who made a request withdraws it; an approver may reject it"
            raise PolicyForbids(msg)
        self._keystore.withdraw_approval_request(
            record.id, principal.name, now, lambda facts: _require_open(facts, now)
        )
        return self.describe(self.find(viewer, request_id))

    def describe(self, record: ApprovalRequestRecord) -> dict[str, object]:
        """All that there is to see of a request, as JSON members."""
        return described(self._keystore.approval_facts(record), self._keystore)

    def _may_see(self, viewer: Viewer, record: ApprovalRequestRecord) -> bool:
        if viewer.principal.name == record.requester or viewer.principal.name in record.approvers:
            return True
        if viewer.principal.duty is Duty.AUDITOR:  # reads what people decide, and votes only where it is named
            return True
        return viewer.administers(self._keystore.get_key(record.key_id))


def _requirements(key: Key, body: ApprovalRuleBody) -> Mapping[str, ApprovalRequirement]:
    given: dict[str, ApprovalRequirementBody] = {
        name: wanted for name in body.__struct_fields__ if (wanted := getattr(body, name)) is not None
    }
    if not given:
        msg = "a rule covers at least one of sign, policy, rotation and deletion; DELETE takes a rule away"
        raise Unprocessable(msg)
    if body.sign is not None and key.purpose not in SIGNING_PURPOSES:
        msg = (
            f"this key is for {key.purpose} and signs nothing: what is done with it is not held, for approvers see all"
        )
        raise Unprocessable(msg, field="sign")
    return MappingProxyType({name: _requirement(name, wanted) for name, wanted in given.items()})


def _requirement(name: str, wanted: ApprovalRequirementBody) -> ApprovalRequirement:
    if len(set(wanted.approvers)) != len(wanted.approvers):
        msg = "an approver is named twice; each counts once"
        raise Unprocessable(msg, field=f"{name}.approvers")
    if wanted.needed > len(wanted.approvers):
        msg = f"{wanted.needed} are needed, but {len(wanted.approvers)} are named"
        raise Unprocessable(msg, field=f"{name}.needed")
    return ApprovalRequirement(tuple(sorted(wanted.approvers)), wanted.needed, wanted.window_seconds, wanted.signed)


def _require_voter(principal: Principal, record: ApprovalRequestRecord) -> None:
    if principal.name == record.requester:
        msg = "nobody approves or rejects their own request; you may withdraw it"
        raise PolicyForbids(msg)
    if principal.name not in record.approvers:
        msg = f"the key's approval rule does not name {principal.name} for this operation"
        raise PolicyForbids(msg)


def _require_signed(principal: Principal, record: ApprovalRequestRecord) -> None:
    asked = any(each.signed for each in record.requirements if principal.name in each.approvers)
    if asked and principal.kind is not CredentialKind.SIGNED_REQUEST:
        msg = "the key's approval rule counts signed approvals alone: sign this call (RFC 9421)"
        raise PolicyForbids(msg)


def _require_open(facts: ApprovalFacts, now: datetime) -> None:
    found = lasting_obstacle(facts, now)
    if found is not None:
        raise WrongState(IN_WORDS[found])


def described(facts: ApprovalFacts, keystore: Keystore) -> dict[str, object]:
    """A request with its votes, as JSON members. What `request_sha256` covers is all of `shown`."""
    record, now = facts.request, keystore.clock()
    key = keystore.get_key(record.key_id)
    found = obstacle(facts, now)
    approved = [approvals_that_count(record, each, facts.votes, facts.able) for each in record.requirements]
    return {
        **shown(record, members_of(record.body.decode())),
        "request_sha256": record.shown_sha256.hex(),
        "key": {"alias": key.alias, "arn": key.arn, "purpose": key.purpose.value},
        "state": "expired" if found is Obstacle.EXPIRED else record.state.value,
        "obstacle": None if found is None else found.value,
        "needed": max(each.needed for each in record.requirements),
        "requirements": [
            {
                "approvers": [name for name in each.approvers if name != record.requester],
                "needed": each.needed,
                "signed": each.signed,
                "approved_by": sorted(counted),
            }
            for each, counted in zip(record.requirements, approved, strict=True)
        ],
        "approved_by": sorted(set().union(*approved)),
        "rejected_by": sorted(vote.approver for vote in facts.votes if vote.vote == "reject"),
        "votes": [
            {
                "approver": vote.approver,
                "vote": vote.vote,
                "reason": vote.reason,
                "voted_at": vote.voted_at,
                "credential_kind": vote.credential_kind,
            }
            for vote in sorted(facts.votes, key=lambda vote: vote.voted_at)
        ],
        "closed_at": record.closed_at,
        "closed_by": record.closed_by,
    }


def described_rule(key_id: str, rule: ApprovalRule) -> dict[str, object]:
    """A rule as JSON members, null for what it does not cover."""
    members: dict[str, object] = {"key_id": key_id, "revision": rule.revision}
    for name in ("sign", "policy", "rotation", "deletion"):
        each = rule.requirements.get(name)
        members[name] = each and {
            "approvers": list(each.approvers),
            "needed": each.needed,
            "window_seconds": each.window_seconds,
            "signed": each.signed,
        }
    return members
