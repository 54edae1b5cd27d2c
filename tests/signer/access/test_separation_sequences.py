"""Must show: whatever is changed in whatever order, nobody administers and uses one key, and no one reaches both alone.

The full 10,000 sequences: `python -m tests.signer.access.separation_sequences --sequences 10000`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from signer.access import Duty
from signer.access.actions import KEY_ACTIONS, POLICY_ACTIONS, Part
from signer.access.separation import Overlap, overlaps
from tests.signer.access import separation_model
from tests.signer.access.random_policies import KEYS, seeded
from tests.signer.access.separation_sequences import PEOPLE, SEED, beginning, random_key_policy, run

if TYPE_CHECKING:
    from collections.abc import Callable

SEQUENCES: Final = 300


def test_nobody_ever_administers_and_uses_one_key_and_no_one_reaches_both_alone() -> None:
    seen = run(SEQUENCES, SEED)
    # The sequences are not trivial: every kind of change was made, and refused for every reason.
    assert set(seen.made) == {"key policy", "identity policy", "grant", "revocation", "removal", "duty"}
    assert min(seen.made.values()) > SEQUENCES / 8, seen.made
    assert set(seen.refused) >= {"duty", "policy", "separation", "lockout"}
    assert seen.refused["separation"] > SEQUENCES / 4, seen.refused
    # Alone, each duty came to its own part, and to no other.
    reached = set(seen.reached)
    assert {"key-administrator alone: administered", "key-user alone: used", "administrator alone: neither"} <= reached
    assert not {"key-user alone: administered", "key-administrator alone: used"} & reached
    assert not {"administrator alone: administered", "administrator alone: used", "root alone: used"} & reached


@pytest.mark.parametrize("unseen", [None, "role/ci"])
def test_without_the_check_the_sequences_find_somebody(monkeypatch: pytest.MonkeyPatch, unseen: str | None) -> None:
    def blind(*asked: Any) -> list[Overlap]:
        return [] if unseen is None else [found for found in overlaps(*asked) if found.principal != unseen]

    monkeypatch.setattr(separation_model, "overlaps", blind)
    with pytest.raises(AssertionError, match=unseen or r"role/|user/"):
        run(SEQUENCES, SEED)


def test_break_glass_administers_every_key_and_uses_none_whatever_it_writes() -> None:
    random = seeded(SEED)
    state = beginning(random)
    made = 0
    for _ in range(300):
        try:
            state.put_key_policy("user/root", random.choice(KEYS), random_key_policy(random, "user/root"))
            made += 1
        except separation_model.Refused:
            continue
        for arn in KEYS:
            for action in KEY_ACTIONS:
                part = POLICY_ACTIONS[action]
                if part is not Part.NEUTRAL:
                    assert state.can("user/root", arn, action) == (part is Part.ADMINISTER), action
    assert made > 30
    # All of it is on record, under the name of root.
    assert [who for who, _ in state.recorded[len(KEYS) :]] == ["user/root"] * made


def test_nobody_changes_their_own_duty_or_policies_and_nobody_makes_a_root() -> None:
    state = beginning(seeded(SEED))
    policy = {"Version": "2012-10-17", "Statement": []}
    changes: tuple[Callable[[], None], ...] = (
        lambda: state.change_duty("user/admin", "user/admin", Duty.KEY_USER),
        lambda: state.change_duty("user/admin", "role/ci", Duty.ROOT),
        lambda: state.change_duty("user/admin", "user/root", Duty.KEY_USER),
        lambda: state.change_duty("user/key-admin", "role/ci", Duty.AUDITOR),
        lambda: state.put_identity_policy("user/admin", "user/admin", "mine", policy),
    )
    for change in changes:
        with pytest.raises(separation_model.Refused, match="duty"):
            change()
    assert {name: duty for name, duty in state.duties.items() if name in PEOPLE} == PEOPLE
