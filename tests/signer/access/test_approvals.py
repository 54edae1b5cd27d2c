"""Quorum decided from values alone: what is held, and what releases it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

import pytest

from keystore.api import (
    NO_APPROVAL_RULE,
    ApprovalBinding,
    ApprovalFacts,
    ApprovalRequestRecord,
    ApprovalRequirement,
    ApprovalRule,
    ApprovalState,
    ApprovalVoteRecord,
)
from signer.access import Action
from signer.access.approvals import (
    CHANGES_THE_RULE,
    COVERED_BY,
    Covered,
    HeldCall,
    Obstacle,
    can_be_met,
    hash_of,
    obstacle,
    obstacle_to,
    requirements_for,
    shown,
    state_after_vote,
)
from signer.access.duties import ADMINISTRATORS_ACTIONS, USERS_ACTIONS
from signer.held import HELD_BY_ACTION

NOW: Final = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
A, B, C, D = "user/alice", "user/bob", "user/carol", "user/dave"
TWO_OF_THREE: Final = ApprovalRequirement((A, B, C), 2, 600)
REQUEST: Final = ApprovalRequestRecord(
    id="r1",
    key_id="k1",
    operation="artifacts",
    requester="role/ci",
    body=b'{"x":1}',
    shown_sha256=b"s" * 32,
    binding=ApprovalBinding(key_version=1),
    rule_revision=4,
    requirements=(TWO_OF_THREE,),
    reason="",
    created_at=NOW,
    expires_at=NOW + timedelta(seconds=600),
)
CALL: Final = HeldCall("role/ci", "k1", "artifacts", b'{"x":1}', ApprovalBinding(key_version=1))


def vote(approver: str, word: str = "approve", **changes: Any) -> ApprovalVoteRecord:
    cast = ApprovalVoteRecord("r1", approver, word, "", b"s" * 32, NOW, "bearer:1", "token", None)
    return replace(cast, **changes)


FACTS: Final = ApprovalFacts(REQUEST, (vote(A), vote(B)), frozenset({A, B, C, D}), 4, 7, 1)
STRICT: Final = replace(TWO_OF_THREE, signed=True)
SIGNED: Final = {"credential_kind": "signed-request"}


def facts(*votes: ApprovalVoteRecord, **changes: Any) -> ApprovalFacts:
    request = replace(REQUEST, **changes)
    return replace(FACTS, request=request, votes=votes or FACTS.votes)


# What stands in the facts, when, and what that makes of the very call that was asked for.
CASES: Final[dict[str, tuple[ApprovalFacts, timedelta, Obstacle | None]]] = {
    "two of three": (FACTS, timedelta(), None),
    "all three": (facts(vote(A), vote(B), vote(C)), timedelta(), None),
    "two, and the third against": (facts(vote(A), vote(B), vote(C, "reject")), timedelta(), None),
    "none": (replace(FACTS, votes=()), timedelta(), Obstacle.NOT_APPROVED),
    "one": (facts(vote(A)), timedelta(), Obstacle.NOT_APPROVED),
    "one twice": (facts(vote(A), vote(A)), timedelta(), Obstacle.NOT_APPROVED),
    "one and the requester": (facts(vote(A), vote(B), requester=A), timedelta(), Obstacle.ANOTHER_CALL),
    "one and a stranger": (facts(vote(A), vote(D)), timedelta(), Obstacle.NOT_APPROVED),
    "one and one against": (facts(vote(A), vote(B, "reject")), timedelta(), Obstacle.NOT_APPROVED),
    "one disabled since": (replace(FACTS, able=frozenset({A, C})), timedelta(), Obstacle.NOT_APPROVED),
    "everybody deleted since": (replace(FACTS, able=frozenset()), timedelta(), Obstacle.NOT_APPROVED),
    "one of something else": (facts(vote(A), vote(B, shown_sha256=b"t" * 32)), timedelta(), Obstacle.NOT_APPROVED),
    "one of another request": (facts(vote(A), vote(B, request_id="r2")), timedelta(), Obstacle.NOT_APPROVED),
    "one after its end": (
        facts(vote(A), vote(B, voted_at=NOW + timedelta(seconds=601))),
        timedelta(),
        Obstacle.NOT_APPROVED,
    ),
    "signed as asked": (facts(vote(A, **SIGNED), vote(B, **SIGNED), requirements=(STRICT,)), timedelta(), None),
    "one unsigned": (facts(vote(A, **SIGNED), vote(B), requirements=(STRICT,)), timedelta(), Obstacle.NOT_APPROVED),
    "the last moment": (FACTS, timedelta(seconds=599, microseconds=999_999), None),
    "its end": (FACTS, timedelta(seconds=600), Obstacle.EXPIRED),
    "used": (facts(state=ApprovalState.RELEASED), timedelta(), Obstacle.USED),
    "used, and expired since": (facts(state=ApprovalState.RELEASED), timedelta(days=1), Obstacle.USED),
    "withdrawn": (facts(state=ApprovalState.WITHDRAWN), timedelta(), Obstacle.WITHDRAWN),
    "rejected": (facts(state=ApprovalState.REJECTED), timedelta(), Obstacle.REJECTED),
    "the rule changed": (replace(FACTS, rule_revision=5), timedelta(), Obstacle.RULE_CHANGED),
    "the rule gone": (replace(FACTS, rule_revision=0), timedelta(), Obstacle.RULE_CHANGED),
    "nothing required": (facts(requirements=()), timedelta(), Obstacle.NOT_APPROVED),
    "one quorum of two": (
        facts(requirements=(TWO_OF_THREE, ApprovalRequirement((D,), 1, 600))),
        timedelta(),
        Obstacle.NOT_APPROVED,
    ),
    "both quorums": (
        facts(vote(A), vote(B), vote(D), requirements=(TWO_OF_THREE, ApprovalRequirement((D,), 1, 600))),
        timedelta(),
        None,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_releases_the_call_that_was_asked_for(case: str) -> None:
    found, later, expected = CASES[case]
    assert obstacle_to(CALL, found, NOW + later) is expected


OTHER_CALLS: Final = {
    "somebody else's": replace(CALL, requester="role/other"),
    "an approver's": replace(CALL, requester=A),
    "of another key": replace(CALL, key_id="k2"),
    "another operation": replace(CALL, operation="signatures"),
    "another body": replace(CALL, body=b'{"x":2}'),
}


@pytest.mark.parametrize("case", OTHER_CALLS)
@pytest.mark.parametrize("found", [FACTS, facts(vote(A)), facts(state=ApprovalState.RELEASED)])
def test_another_call_learns_nothing_of_the_request(case: str, found: ApprovalFacts) -> None:
    assert obstacle_to(OTHER_CALLS[case], found, NOW) is Obstacle.ANOTHER_CALL


def test_the_requesters_own_vote_never_counts() -> None:
    assert obstacle(facts(vote(A), vote(B), requester=A), NOW) is Obstacle.NOT_APPROVED
    assert obstacle(facts(vote(A), vote(B), vote(C), requester=A), NOW) is None


def test_a_call_that_another_version_would_sign_is_not_released() -> None:
    assert obstacle_to(replace(CALL, binding=ApprovalBinding(key_version=2)), FACTS, NOW) is Obstacle.KEY_CHANGED


@pytest.mark.parametrize(
    ("binding", "expected"),
    [
        (ApprovalBinding(policy_revision=7), None),
        (ApprovalBinding(policy_revision=6), Obstacle.POLICY_CHANGED),
        (ApprovalBinding(version_count=1), None),
        (ApprovalBinding(version_count=2), Obstacle.KEY_CHANGED),
    ],
)
def test_what_a_change_hangs_on_must_be_what_it_was(binding: ApprovalBinding, expected: Obstacle | None) -> None:
    assert obstacle(facts(binding=binding), NOW) is expected


def test_a_request_is_rejected_once_too_few_are_left() -> None:
    assert state_after_vote(facts(vote(A, "reject"))) is ApprovalState.OPEN
    assert state_after_vote(facts(vote(A, "reject"), vote(B))) is ApprovalState.OPEN
    assert state_after_vote(facts(vote(A, "reject"), vote(B, "reject"))) is ApprovalState.REJECTED
    assert state_after_vote(facts(vote(A, "reject"), requester=B)) is ApprovalState.REJECTED  # she has no vote
    both = (TWO_OF_THREE, ApprovalRequirement((D,), 1, 600))
    assert state_after_vote(facts(vote(D, "reject"), requirements=both)) is ApprovalState.REJECTED


def test_a_quorum_that_needs_the_requester_cannot_be_met() -> None:
    assert can_be_met((TWO_OF_THREE,), A)
    assert not can_be_met((replace(TWO_OF_THREE, needed=3),), A)
    assert can_be_met((replace(TWO_OF_THREE, needed=3),), D)


RULE: Final = ApprovalRule(
    MappingProxyType({"sign": TWO_OF_THREE, "deletion": ApprovalRequirement((D,), 1, 600)}), revision=4
)


def test_a_rule_holds_what_it_covers_and_its_own_change() -> None:
    held = {action: requirements_for(action, RULE) for action in Action}
    assert {action for action, required in held.items() if required} == {
        *(action for action, covered in COVERED_BY.items() if covered in (Covered.SIGN, Covered.DELETION)),
        *CHANGES_THE_RULE,
    }
    for action in CHANGES_THE_RULE:  # with the quorum of every class: none is taken away with the smaller one
        assert set(held[action]) == set(RULE.requirements.values())
    assert all(requirements_for(action, NO_APPROVAL_RULE) == () for action in Action)


def test_every_way_to_use_or_administer_a_key_is_covered_or_free_on_purpose() -> None:
    reads = {
        *(Action.GET_KEY_POLICY, Action.LIST_GRANTS, Action.LIST_KEY_POLICIES, Action.LIST_RESOURCE_TAGS),
        *(Action.LIST_KEY_ROTATIONS, Action.GET_KEY_ROTATION_STATUS, Action.GET_KEY_LAST_USAGE),
    }
    free = {Action.DISABLE_KEY, Action.CANCEL_KEY_DELETION, Action.REVOKE_GRANT, *reads}
    # Not held: approvers would be shown plaintexts. A rule on such a key cannot have the class `sign`.
    free |= {
        *(Action.ENCRYPT, Action.DECRYPT, Action.RE_ENCRYPT_FROM, Action.RE_ENCRYPT_TO, Action.GENERATE_DATA_KEY),
        *(Action.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT, Action.GENERATE_DATA_KEY_PAIR),
        *(Action.GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT, Action.GENERATE_MAC, Action.VERIFY_MAC),
        *(Action.DERIVE_SHARED_SECRET, Action.ENCAPSULATE, Action.DECAPSULATE),
    }
    free |= {Action.UPDATE_KEY_DESCRIPTION}  # unlike its tags and aliases, no policy asks for it
    # Of keys that do not sign: material is imported where it is awaited.
    free |= {
        *(Action.GET_PARAMETERS_FOR_IMPORT, Action.IMPORT_KEY_MATERIAL, Action.DELETE_IMPORTED_KEY_MATERIAL),
    }
    assert not free & {*COVERED_BY, *CHANGES_THE_RULE}
    assert set(COVERED_BY) | CHANGES_THE_RULE | free >= ADMINISTRATORS_ACTIONS | USERS_ACTIONS
    assert set(HELD_BY_ACTION) == set(COVERED_BY) | CHANGES_THE_RULE  # each can be asked for


def test_what_is_shown_is_what_is_hashed() -> None:
    body = {"x": 1, "ü": "ß"}
    members = shown(REQUEST, body)
    again = json.loads(json.dumps(members))
    assert hash_of(again) == hash_of(members)
    changes: list[dict[str, Any]] = [
        {"requester": "role/other"},
        {"reason": "x"},
        {"key_id": "k2"},
        {"operation": "jwts"},
        {"binding": ApprovalBinding(key_version=2)},
        {"rule_revision": 5},
        {"expires_at": NOW},
        {"created_at": NOW - timedelta(seconds=1)},
        {"id": "r2"},
    ]
    hashes = {hash_of(shown(replace(REQUEST, **change), body)) for change in changes}
    hashes |= {hash_of(members), hash_of(shown(REQUEST, {"x": 2}))}
    assert len(hashes) == len(changes) + 2
