"""Who may do what, decided from values alone."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pytest

from keystore.algorithms import Purpose
from keystore.api import Key, KeyPolicy, KeyState, Storage
from keystore.secrets import NOBODY
from signer.access import DUTIES_OF, Action, Admission, Duty, Judgement, Permit, Surroundings, admit, decide, judge
from signer.access.actions import POLICY_ACTIONS, Part
from signer.access.decision import permit_certificate, permit_publication
from signer.access.duties import ADMINISTRATORS_ACTIONS, COMMON_ACTIONS, USERS_ACTIONS
from signer.access.model import Decision, Source
from signer.access.short_form import document_of
from signer.authn.principal import Principal
from signer.errors import DutyForbids, NotFound, PolicyForbids

ADMINISTRATOR: Final = Principal("user/key-admin", Duty.KEY_ADMINISTRATOR, "bearer:1")
USER: Final = Principal("role/ci", Duty.KEY_USER, "bearer:2")
STRANGERS: Final = (
    Principal("role/other", Duty.KEY_USER, "bearer:3"),
    Principal("user/other", Duty.KEY_ADMINISTRATOR, "bearer:4"),
)
ACCOUNT: Final = "000000000000"
AROUND: Final = Surroundings(ACCOUNT, datetime(2026, 1, 1, tzinfo=UTC), "127.0.0.1")
KEY_ACTIONS: Final = ADMINISTRATORS_ACTIONS | USERS_ACTIONS | COMMON_ACTIONS


def key(administrators: tuple[str, ...] = (ADMINISTRATOR.name,), users: tuple[str, ...] = (USER.name,)) -> Key:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return Key(
        id="00000000-0000-4000-8000-000000000001",
        arn="arn",
        alias="release",
        spec="ECC_NIST_P256",
        purpose=Purpose.ARTIFACT,
        algorithm="ECDSA_SHA_256",
        formats=("cms",),
        settings=None,
        domain="default",
        storage=Storage.WRAPPED,
        state=KeyState.ENABLED,
        description="",
        published=True,
        created_at=moment,
        created_by=ADMINISTRATOR.name,
        deletion_at=None,
        policy=KeyPolicy(
            json.dumps(document_of(administrators, users, ACCOUNT)) if administrators or users else NOBODY, revision=3
        ),
        versions=(),
    )


@pytest.mark.parametrize(("action", "duty"), list(itertools.product(Action, Duty)))
def test_every_duty_is_admitted_to_just_its_own_actions(action: Action, duty: Duty) -> None:
    principal = Principal("user/someone", duty, "bearer:0")
    if duty in DUTIES_OF[action]:
        assert admit(principal, action).action is action
    else:
        with pytest.raises(DutyForbids):
            admit(principal, action)


def test_no_duty_both_administers_and_uses_keys() -> None:
    decides = {action for action in ADMINISTRATORS_ACTIONS if POLICY_ACTIONS[action.policy_name] is Part.ADMINISTER}
    for duty in Duty:
        administers = any(duty in DUTIES_OF[action] for action in decides)
        uses = any(duty in DUTIES_OF[action] for action in USERS_ACTIONS)
        assert not (administers and uses), duty


def test_identities_and_keys_are_administered_by_different_duties_but_for_break_glass() -> None:
    both = DUTIES_OF[Action.CREATE_PRINCIPAL] & DUTIES_OF[Action.CREATE_KEY]
    assert both == {Duty.ROOT}
    assert not any(Duty.ROOT in DUTIES_OF[action] for action in USERS_ACTIONS)


@pytest.mark.parametrize("action", sorted(ADMINISTRATORS_ACTIONS))
def test_an_administrator_of_the_key_may_administer_it(action: Action) -> None:
    permit = decide(admit(ADMINISTRATOR, action), key(), AROUND)
    assert (permit.key_id, permit.policy_revision) == (key().id, 3)


@pytest.mark.parametrize("action", sorted(USERS_ACTIONS))
def test_a_user_of_the_key_may_use_it(action: Action) -> None:
    assert decide(admit(USER, action), key(), AROUND).principal is USER


@pytest.mark.parametrize("stranger", STRANGERS, ids=lambda stranger: stranger.name)
@pytest.mark.parametrize("action", sorted(KEY_ACTIONS))
def test_a_key_that_does_not_name_the_caller_looks_absent(stranger: Principal, action: Action) -> None:
    if stranger.duty in DUTIES_OF[action]:
        assert not judge(admit(stranger, action), key(), AROUND).visible
        with pytest.raises(NotFound):
            decide(admit(stranger, action), key(), AROUND)


def test_an_empty_policy_allows_nobody() -> None:
    for principal, action in ((ADMINISTRATOR, Action.DISABLE_KEY), (USER, Action.SIGN)):
        with pytest.raises(NotFound):
            decide(admit(principal, action), key((), ()), AROUND)


@pytest.mark.parametrize(("principal", "action"), [(USER, Action.SIGN), (ADMINISTRATOR, Action.DISABLE_KEY)])
def test_a_policy_that_names_one_principal_for_both_parts_gives_it_neither(
    principal: Principal, action: Action
) -> None:
    """No such policy is ever stored; if one were, the decision itself would not follow it."""
    confused = key(administrators=(principal.name,), users=(principal.name,))
    judged = judge(admit(principal, action), confused, AROUND)
    assert (judged.decision.allowed, judged.decision.source) == (False, Source.SEPARATION)
    with pytest.raises(PolicyForbids, match="separation of duties"):
        judged.permit()


def test_a_policy_cannot_lend_a_duty() -> None:
    swapped = key(administrators=(USER.name,), users=(ADMINISTRATOR.name,))
    with pytest.raises(PolicyForbids):
        decide(admit(ADMINISTRATOR, Action.DISABLE_KEY), swapped, AROUND)
    with pytest.raises(PolicyForbids):
        decide(admit(USER, Action.SIGN), swapped, AROUND)


def test_duties_and_the_published_table_agree() -> None:
    """What administers a key is never of a duty that uses keys, and the other way round."""
    for action in Action:
        part = POLICY_ACTIONS.get(action.policy_name)
        if part is Part.ADMINISTER:
            assert Duty.KEY_USER not in DUTIES_OF[action], action
        if part is Part.USE:
            assert DUTIES_OF[action] == {Duty.KEY_USER}, action
    assert {POLICY_ACTIONS[action.policy_name] for action in USERS_ACTIONS} == {Part.USE}
    looks = {
        *(Action.GET_KEY_POLICY, Action.LIST_GRANTS, Action.LIST_KEY_POLICIES, Action.LIST_RESOURCE_TAGS),
        *(Action.LIST_KEY_ROTATIONS, Action.GET_KEY_ROTATION_STATUS, Action.GET_KEY_LAST_USAGE),
    }
    assert {POLICY_ACTIONS[action.policy_name] for action in ADMINISTRATORS_ACTIONS - looks} == {Part.ADMINISTER}
    assert {POLICY_ACTIONS[action.policy_name] for action in looks} == {Part.NEUTRAL}


def test_the_policy_of_the_services_own_keys_is_for_nobody() -> None:
    own = replace(key(), policy=KeyPolicy(NOBODY, revision=1))
    for principal in (USER, ADMINISTRATOR):
        for action in KEY_ACTIONS:
            if principal.duty in DUTIES_OF[action]:
                with pytest.raises(NotFound):
                    decide(admit(principal, action), own, AROUND)


def test_the_permit_says_what_decided() -> None:
    assert decide(admit(USER, Action.SIGN), key(), AROUND).decided_by == "allowed by key policy: KeyUsers"


def test_an_attached_policy_takes_away_what_the_duty_has() -> None:
    text = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [{"Sid": "NoNewKeys", "Effect": "Deny", "Action": "kms:CreateKey", "Resource": "*"}],
        }
    )
    bound = replace(ADMINISTRATOR, policies=(("no-new-keys", text),))
    assert decide(admit(ADMINISTRATOR, Action.CREATE_KEY), None, AROUND).action is Action.CREATE_KEY
    with pytest.raises(PolicyForbids, match="identity policy"):
        decide(admit(bound, Action.CREATE_KEY), None, AROUND)


def test_certificates_are_issued_only_where_a_key_is_made_or_rotated() -> None:
    authority = key((), ())
    permit = decide(admit(ADMINISTRATOR, Action.ROTATE_KEY), key(), AROUND)
    assert permit_certificate(permit, authority).action is Action.ISSUE_CERTIFICATE
    with pytest.raises(PolicyForbids):
        permit_certificate(decide(admit(ADMINISTRATOR, Action.DISABLE_KEY), key(), AROUND), authority)


def test_nobody_else_can_make_a_permit() -> None:
    with pytest.raises(TypeError):
        Permit(USER, Action.SIGN, key().id, 1, object())
    with pytest.raises(TypeError):
        Admission(USER, Action.SIGN, object())
    with pytest.raises(TypeError):
        Judgement(admit(USER, Action.SIGN), key(), Decision(True, Source.KEY_POLICY), True, object())


def test_the_service_signs_metadata_with_published_saml_keys_alone() -> None:
    service = Principal("service/sealmark", Duty.ROOT, "publication")
    own = replace(key(), purpose=Purpose.SAML, published=True)
    permit = permit_publication(service, own)
    assert (permit.action, permit.key_id, permit.principal) == (Action.SIGN_METADATA, own.id, service)
    for other in (replace(own, published=False), *(replace(own, purpose=purpose) for purpose in Purpose)):
        if other.purpose is not Purpose.SAML or not other.published:
            with pytest.raises(PolicyForbids):
                permit_publication(service, other)
    assert not any(duty in DUTIES_OF[Action.SIGN_METADATA] for duty in Duty)  # nobody can call for it


def test_break_glass_administers_any_customer_key_and_uses_none() -> None:
    root = Principal("user/root", Duty.ROOT, "bearer:5")
    for action in ADMINISTRATORS_ACTIONS:
        assert decide(admit(root, action), key((), ()), AROUND).action is action
    for action in USERS_ACTIONS:
        with pytest.raises(DutyForbids):
            admit(root, action)


def test_nobody_administers_the_services_own_keys() -> None:
    authority = replace(key((), ()), purpose=Purpose.CA)
    for principal in (ADMINISTRATOR, Principal("user/root", Duty.ROOT, "bearer:5")):
        with pytest.raises(NotFound):
            decide(admit(principal, Action.DISABLE_KEY), authority, AROUND)
