"""Explanations, decided from values alone: the verdict is that of real calls, and every step agrees with it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from keystore.algorithms import Purpose
from keystore.api import KeyPolicy
from signer.access import Action, Duty, admit, judge
from signer.access.actions import KEY_ACTIONS, POLICY_ACTIONS, Part
from signer.access.asked_details import checked_details, published_name
from signer.access.circumstances import signing_context
from signer.access.duties import DUTIES_OF
from signer.access.explanation import (
    ALLOW,
    DELEGATE,
    DENY,
    Explanation,
    Question,
    action_called,
    admit_question,
    conditions_of,
    explain,
    is_hidden,
    near_actions,
)
from signer.access.model import Source
from signer.access.table import action_table
from signer.authn.principal import Principal
from signer.errors import DutyForbids, NotFound, PolicyForbids, SealmarkError, Unprocessable
from tests.signer.access.situations import document, situation
from tests.signer.access.test_decisions import ADMINISTRATOR, AROUND, USER, key

if TYPE_CHECKING:
    from keystore.api import Key
    from signer.access.model import ConditionValues

PEOPLE: Final = (
    ADMINISTRATOR,
    USER,
    Principal("role/other", Duty.KEY_USER, "bearer:3"),
    Principal("user/admin", Duty.ADMINISTRATOR, "bearer:4"),
    Principal("user/auditor", Duty.AUDITOR, "bearer:5"),
    Principal("user/root", Duty.ROOT, "bearer:6"),
)
AUDITOR: Final = PEOPLE[4]


def with_policy(*statements: dict[str, Any]) -> Key:
    named = {"Principal": {"AWS": f"arn:aws:iam::{AROUND.account}:role/ci"}, "Resource": "*"}
    return replace(key(), policy=KeyPolicy(document([named | statement for statement in statements]), revision=1))


def asked(target: Key | None, action: str = "kms:SignArtifact", **members: Any) -> Explanation:
    usual: dict[str, Any] = {"principal": USER, "surroundings": AROUND}
    return explain(Question(action=action, key=target, **(usual | members)))


def really(question: Question, action: Action) -> SealmarkError | None:
    """What a real call is answered: the same two functions as in the pipeline."""
    try:
        admission = admit(question.principal, action)
        judge(admission, question.key, question.surroundings, (question.details,), question.grants).permit()
    except (DutyForbids, NotFound, PolicyForbids) as refusal:
        return refusal
    return None


def generated(chance: random.Random) -> Question:
    names = [person.name for person in PEOPLE]
    found = situation(chance, names)
    person = next(person for person in PEOPLE if person.name == found.who)
    duty = sorted(action.policy_name for action, duties in DUTIES_OF.items() if person.duty in duties)
    action = chance.choice(duty if chance.random() < 0.8 else sorted(POLICY_ACTIONS))
    details: ConditionValues = {**signing_context(found.context), "sealmark:format": ("cms",)}
    subject = replace(key(), policy=KeyPolicy(found.policy, revision=1)) if action in KEY_ACTIONS else None
    return Question(replace(person, policies=found.policies), action, subject, AROUND, details, found.grants)


def test_an_explanation_never_has_an_opinion_of_its_own() -> None:
    """In 3,000 generated situations the verdict is the decision's, and the steps lead to it."""
    chance = random.Random(20261125)  # noqa: S311 - a fixed one, so that every run finds the same
    calls = {action.policy_name: action for action in Action}
    seen = set()
    for _ in range(3000):
        question = generated(chance)
        found, action = explain(question), calls.get(question.action)
        seen.add((found.source, found.allowed))
        if action is None:
            assert (found.allowed, found.source) == (False, Source.DUTY)
            continue
        refusal = really(question, action)
        assert (found.refusal is None, found.allowed) == (refusal is None, refusal is None)
        assert (type(found.refusal), str(found.refusal)) == (type(refusal), str(refusal))
        assert_steps_agree(found)
    assert {source for source, _ in seen} >= {*Source} - {Source.BREAK_GLASS, Source.APPROVAL_RULE}
    assert (Source.BREAK_GLASS, True) in seen


def assert_steps_agree(found: Explanation) -> None:
    effective = [step for step in found.steps if step.applies]
    denying = [step for step in effective if step.effect == DENY]
    allowing = [step for step in effective if step.effect == ALLOW and step.source != Source.DUTY]
    named = [step for step in effective if (step.source, step.statement) == (found.source, found.statement)]
    assert bool(denying) <= (not found.allowed)
    if found.source is Source.NOTHING:
        assert (denying, allowing) == ([], [])
    elif found.source is Source.DUTY and not found.allowed:
        assert [step.source for step in denying] == [Source.DUTY]
    else:
        assert named, found
        assert all(step.effect == (ALLOW if found.allowed else DENY) for step in named)
    for step in found.steps:
        if step.conditions and step.source in (Source.KEY_POLICY, Source.IDENTITY_POLICY):
            assert step.applies <= all(each.met for each in step.conditions)


def test_what_can_be_done_in_some_call_covers_what_can_be_done_in_this_one() -> None:
    chance = random.Random(7)  # noqa: S311
    counted = {"allowed": 0, "conditional": 0, "never": 0}
    for _ in range(2000):
        found = explain(generated(chance))
        conditions = conditions_of(found)
        if found.allowed:
            assert conditions is not None
            counted["allowed"] += 1
        elif conditions is not None:
            assert conditions, found
            counted["conditional"] += 1
        else:
            counted["never"] += 1
    assert min(counted.values()) > 20, counted


def test_a_condition_that_is_not_met_is_named_with_what_the_call_has() -> None:
    pinned = with_policy(
        {
            "Sid": "OneRepository",
            "Effect": "Allow",
            "Action": "kms:SignArtifact",
            "Condition": {"StringEquals": {"sealmark:SigningContext:repository": "shop/app"}},
        }
    )
    met = asked(pinned, details=signing_context({"repository": "shop/app"}))
    assert (met.allowed, met.source, met.statement) == (True, Source.KEY_POLICY, "OneRepository")
    assert met.why == (
        "role/ci may do kms:SignArtifact with the key release: the key policy's statement OneRepository allows it."
    )
    other = asked(pinned, details=signing_context({"repository": "shop/other"}))
    assert (other.allowed, other.source) == (False, Source.NOTHING)
    assert "StringEquals sealmark:SigningContext:repository (the call has shop/other)" in other.why
    assert isinstance(other.refusal, PolicyForbids)
    (step,) = [step for step in other.steps if step.source is Source.KEY_POLICY]
    (condition,) = step.conditions
    assert (step.applies, condition.met, condition.values) == (False, False, ("shop/app",))
    assert "shop/app" not in " ".join([other.why, *(step.says for step in other.steps)])
    assert "the call has none" in asked(pinned).why
    possible = conditions_of(other)
    assert possible is not None
    assert [step.statement for step in possible] == ["OneRepository"]


def test_a_deny_that_would_apply_elsewhere_is_a_condition_of_what_is_allowed_here() -> None:
    guarded = with_policy(
        {"Sid": "Use", "Effect": "Allow", "Action": "kms:SignArtifact"},
        {
            "Sid": "NotFromOutside",
            "Effect": "Deny",
            "Action": "kms:*",
            "Condition": {"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}},
        },
    )
    here = asked(guarded)
    assert here.allowed
    possible = conditions_of(here)
    assert possible is not None
    assert [(step.statement, step.effect, step.applies) for step in possible] == [("NotFromOutside", DENY, False)]
    outside = asked(guarded, surroundings=replace(AROUND, source="192.0.2.7"))
    assert (outside.allowed, outside.statement) == (False, "NotFromOutside")
    assert outside.why.endswith("the key policy's statement NotFromOutside denies it.")
    assert conditions_of(outside) is not None
    banned = with_policy(
        {"Effect": "Allow", "Action": "kms:SignArtifact"}, {"Effect": "Deny", "Action": "kms:SignArtifact"}
    )
    assert conditions_of(asked(banned)) is None


def test_an_identity_policy_counts_where_the_key_policy_leaves_it_to_the_account() -> None:
    attached = (("signers", document([{"Effect": "Allow", "Action": "kms:SignArtifact", "Resource": "*"}])),)
    ci = replace(USER, policies=attached)
    account = {"Principal": {"AWS": f"arn:aws:iam::{AROUND.account}:root"}, "Effect": "Allow", "Action": "kms:*"}
    left = asked(with_policy(account), principal=ci)
    assert (left.allowed, left.source, left.statement) == (True, Source.IDENTITY_POLICY, "signers: Statement[0]")
    assert [step.effect for step in left.steps[1:3]] == [DELEGATE, ALLOW]
    alone = asked(with_policy({"Effect": "Allow", "Action": "kms:DescribeKey"}), principal=ci)
    assert not alone.allowed
    assert "leaves nothing to identity policies" in alone.why


def test_who_is_told_that_there_is_no_such_key_is_explained_too() -> None:
    hidden = asked(with_policy({"Principal": "*", "Effect": "Deny", "Action": "kms:*"}))
    assert is_hidden(hidden)
    assert not is_hidden(asked(key()))


def test_duty_and_break_glass_are_steps_of_their_own() -> None:
    refused = asked(key(), principal=ADMINISTRATOR)
    assert (refused.allowed, refused.source) == (False, Source.DUTY)
    assert refused.why == "SignArtifact is for the duty key-user; user/key-admin has the duty key-administrator."
    root = asked(key(), "kms:DisableKey", principal=PEOPLE[5])
    assert (root.allowed, root.source) == (True, Source.BREAK_GLASS)
    disabled = asked(key(), "kms:DisableKey", principal=PEOPLE[5], enabled=False)
    assert (disabled.allowed, disabled.source) == (False, "principal")
    assert disabled.refusal is not None
    assert disabled.refusal.code == "unauthenticated"


def test_an_auditor_reads_every_customers_key_whatever_its_policy_says() -> None:
    shut = with_policy({"Principal": "*", "Effect": "Deny", "Action": "kms:*"})
    readable = [action for action in Action if Duty.AUDITOR in DUTIES_OF[action]]
    assert {Action.DESCRIBE_KEY, Action.LIST_KEYS, Action.GET_KEY_POLICY, Action.EXPLAIN_ACCESS} <= set(readable)
    for action in readable:
        assert POLICY_ACTIONS[action.policy_name] is Part.NEUTRAL  # an auditor neither administers nor uses
        if action.policy_name.startswith("kms:"):
            judged = judge(admit(AUDITOR, action), shut, AROUND)
            assert (judged.decision.allowed, judged.decision.source, judged.visible) == (True, Source.DUTY, True)
            own = judge(admit(AUDITOR, action), replace(shut, purpose=Purpose.CA), AROUND)
            assert (own.decision.allowed, own.visible) == (False, False)


def test_what_is_attached_to_an_auditor_takes_away_what_its_duty_has() -> None:
    text = document([{"Sid": "NoPolicies", "Effect": "Deny", "Action": "kms:GetKeyPolicy", "Resource": "*"}])
    bound = replace(AUDITOR, policies=(("less", text),))
    judged = judge(admit(bound, Action.GET_KEY_POLICY), key(), AROUND)
    assert (judged.decision.allowed, judged.decision.source) == (False, Source.IDENTITY_POLICY)
    assert judge(admit(bound, Action.DESCRIBE_KEY), key(), AROUND).decision.allowed


@pytest.mark.parametrize("person", PEOPLE, ids=lambda person: person.name)
def test_everybody_asks_about_themselves_and_few_about_others(person: Principal) -> None:
    assert admit_question(person, person.name, with_key=False).action is Action.WHO_AM_I
    for about in ("role/somebody", None):
        for with_key in (True, False):
            may = person.duty in (Duty.AUDITOR, Duty.ROOT) or (person.duty is Duty.KEY_ADMINISTRATOR and with_key)
            if may:
                assert admit_question(person, about, with_key=with_key).action is Action.EXPLAIN_ACCESS
            else:
                with pytest.raises(DutyForbids):
                    admit_question(person, about, with_key=with_key)


def test_actions_are_known_by_either_name_and_near_ones_are_suggested() -> None:
    assert {action_called(name) for name in ("Sign", "kms:Sign", "KMS:sign")} == {"kms:Sign"}
    assert action_called("\u212a" + "ms:Sign") is None  # the Kelvin sign is no K
    assert near_actions("kms:SignArtefact")[0] == "kms:SignArtifact"
    assert near_actions("signartefact")[0] == "kms:SignArtifact"
    assert near_actions("nothing like it") == []


def test_the_published_table_has_every_action_once() -> None:
    rows = {str(row["action"]): row for row in action_table()}
    assert set(rows) == set(POLICY_ACTIONS)
    assert rows["kms:SignArtifact"] == {"action": "kms:SignArtifact", "part": "use", "duties": ["key-user"]}
    assert all(row["duties"] for row in rows.values())  # none that this version has no call for


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"aws:SourceIP": "10.0.0.300"}, "an address"),
        ({"sealmark:Fromat": "cms"}, "did you mean sealmark:Format"),
        ({"sealmark:Duty": "auditor"}, "follows from the principal"),
        ({"kms:KeySpec": "RSA_2048"}, "follows from the key"),
        ({"aws:CurrentTime": "2026-01-01T00:00:00Z"}, "given by `at`"),
        ({"sealmark:SigningContext:repository": "x"}, "given by `context`"),
        ({"sealmark:SigningContextKeys": "x"}, "follows from `context`"),
        ({"aws:SourceVpc": "vpc-1"}, "no value"),
        ({"kms:GrantIsForAWSResource": "true"}, "the value false"),
        ({"sealmark:CredentialKind": "passport"}, "one of token, session"),
        ({"sealmark:CredentialKind": ["token", "session"]}, "exactly one value"),
        ({"aws:SecureTransport": "yes"}, "true or false"),
        ({"sealmark:TokenLifetime": "an hour"}, "a whole number"),
        ({"sealmark:Format": []}, "at least one"),
    ],
)
def test_what_no_call_could_have_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(Unprocessable, match=words) as refused:
        checked_details(given)
    assert refused.value.field == f"details.{next(iter(given))}"


def test_details_are_known_in_any_case_and_keep_a_context_s_own() -> None:
    found = checked_details(
        {"AWS:sourceIP": "10.0.0.5", "kms:ENCRYPTIONCONTEXT:Tenant": "a", "sealmark:format": ["cms"]}
    )
    assert found == {
        "aws:sourceip": ("10.0.0.5",),
        "kms:encryptioncontext:Tenant": ("a",),
        "sealmark:format": ("cms",),
    }
    assert [published_name(name) for name in found] == [
        "aws:SourceIp",
        "kms:EncryptionContext:Tenant",
        "sealmark:Format",
    ]
