"""Nobody administers and uses one key, somebody can change its policy, and who has to do with a key sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signer.access.actions import KEY_ACTIONS, POLICY_ACTIONS, Part
from signer.access.evaluation import evaluate
from signer.access.model import GrantFacts
from signer.access.separation import ANYBODY_ELSE, locked_out, overlaps
from signer.access.visibility import may_see
from tests.signer.access.policies import (
    ACCOUNT,
    ANN,
    CI,
    KEY,
    ROOT,
    Json,
    delegation,
    deny,
    identity_policy,
    key_policy,
    request,
    statement,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from signer.access.model import Document
    from signer.access.separation import Overlap

OTHER_KEY = KEY.replace("1234abcd", "ffffffff")
ADMINISTERS = statement(Sid="Administrators", Principal={"AWS": ANN}, Action=["kms:Put*", "kms:DescribeKey"])
USES = statement(Sid="Users")
SOMETIMES = {"StringEquals": {"aws:username": "somebody"}}
NEVER = {"Bool": {"kms:GrantIsForAWSResource": "true"}}

# The statements of AWS's default key policy, made in the console (AWS KMS Developer Guide, "Default key policy").
AWS_ADMINISTRATION = [
    "kms:Create*",
    "kms:Describe*",
    "kms:Enable*",
    "kms:List*",
    "kms:Put*",
    "kms:Update*",
    "kms:Revoke*",
    "kms:Disable*",
    "kms:Get*",
    "kms:Delete*",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:ScheduleKeyDeletion",
    "kms:CancelKeyDeletion",
    "kms:RotateKeyOnDemand",
]
AWS_USE = ["kms:DescribeKey", "kms:GetPublicKey", "kms:Sign", "kms:Verify"]
AWS_SERVICES = ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"]


def found(
    *statements: Json,
    identities: Mapping[str, Sequence[tuple[str, Document]]] | None = None,
    grants: Sequence[GrantFacts] = (),
    names: Sequence[str] = (ANN, CI),
) -> list[Overlap]:
    return overlaps(KEY, ACCOUNT, key_policy(*statements), identities or {}, grants, names)


def test_administrators_and_users_apart_do_not_overlap() -> None:
    assert found(ADMINISTERS, USES) == []


def test_one_who_is_both_is_named_with_what_makes_them_so() -> None:
    [overlap] = found(ADMINISTERS, statement(Sid="Users", Principal={"AWS": [CI, ANN]}))
    assert (overlap.principal, overlap.administers_action, overlap.uses_action) == (ANN, "kms:PutKeyPolicy", "kms:Sign")
    assert str(overlap) == (
        "user/ann could administer the key (kms:PutKeyPolicy by the key policy (Administrators)) and use it "
        "(kms:Sign by the key policy (Users)); nobody may do both"
    )


def test_names_that_only_a_document_or_a_grant_knows_are_looked_at_too() -> None:
    both = statement(Principal={"AWS": "role/new"}, Action="kms:*")
    assert [overlap.principal for overlap in found(both, names=())] == ["role/new"]
    grant = GrantFacts("g-1", "role/hidden", frozenset({"Sign", "CreateGrant"}))
    [overlap] = found(ADMINISTERS, grants=[grant], names=())
    assert (overlap.principal, overlap.administers_by, overlap.uses_by) == (
        "role/hidden",
        "the grant g-1",
        "the grant g-1",
    )


def test_what_everybody_may_do_everybody_does() -> None:
    [overlap] = found(ADMINISTERS, statement(Principal="*", Sid="All"))
    assert (overlap.principal, overlap.uses_by) == (ANN, "the key policy (All)")
    overlapping = found(statement(Principal="*", Action="kms:*"))
    assert [overlap.principal for overlap in overlapping] == [CI, ANN, ANYBODY_ELSE]


def test_delegation_to_the_account_is_no_overlap_and_the_identity_policy_that_makes_it_one_is() -> None:
    assert found(delegation()) == []
    both = {CI: [("power", identity_policy(statement(Action="kms:*", Sid="All")))]}
    [overlap] = found(delegation(), identities=both)
    assert (overlap.principal, overlap.uses_by) == (CI, "the identity policy power (All)")
    assert found(ADMINISTERS, USES, identities=both) == []  # the key policy leaves nothing to the account
    halves = {CI: [("a", identity_policy(statement())), ("b", identity_policy(statement(Action="kms:Put*")))]}
    assert [overlap.principal for overlap in found(delegation(), identities=halves)] == [CI]
    assert found(delegation(Action="kms:Sign"), identities=halves) == []
    apart = {CI: halves[CI][:1], ANN: halves[CI][1:]}
    assert found(delegation(), identities=apart) == []


def test_a_grant_makes_an_overlap() -> None:
    [overlap] = found(ADMINISTERS, grants=[GrantFacts("g-1", ANN, frozenset({"Sign"}), context_equals={"a": "b"})])
    assert (overlap.administers_by, overlap.uses_by) == ("the key policy (Administrators)", "the grant g-1")
    assert found(ADMINISTERS, grants=[GrantFacts("g-1", ANN, frozenset({"DescribeKey", "Verify"}))]) == []


def test_conditions_are_taken_as_satisfiable() -> None:
    assert found(ADMINISTERS, statement(Principal={"AWS": ANN}, Condition=SOMETIMES))
    assert found(ADMINISTERS, statement(Principal={"AWS": ANN}), deny(Principal="*", Condition=SOMETIMES))
    assert not found(ADMINISTERS, statement(Principal={"AWS": ANN}), deny(Principal={"AWS": ANN}))
    assert not found(ADMINISTERS, statement(Principal={"AWS": ANN}), deny(Principal={"AWS": ROOT}))
    assert found(ADMINISTERS, statement(Principal={"AWS": ANN}), deny(Principal={"AWS": ANN}, Resource=OTHER_KEY))


def test_a_deny_of_an_identity_policy_counts() -> None:
    denied = {ANN: [("no", identity_policy(deny()))]}
    assert not found(ADMINISTERS, statement(Principal={"AWS": ANN}), identities=denied)


def test_a_condition_that_no_request_here_meets_is_not_satisfiable() -> None:
    policy = (
        delegation(Sid="Enable IAM User Permissions"),
        statement(Sid="Allow access for Key Administrators", Principal={"AWS": ANN}, Action=AWS_ADMINISTRATION),
        statement(Sid="Allow use of the key", Action=AWS_USE),
        statement(Sid="Allow attachment of persistent resources", Action=AWS_SERVICES, Condition=NEVER),
    )
    assert found(*policy) == []
    assert found(*policy[:3], statement(Action=AWS_SERVICES)) != []
    for met in ({"Bool": {"kms:GrantIsForAWSResource": "false"}}, {"Null": {"kms:GrantIsForAWSResource": "true"}}):
        assert found(*policy[:3], statement(Action=AWS_SERVICES, Condition=met)) != []
    assert not evaluate(
        request(action="kms:CreateGrant", context={"kms:grantisforawsresource": ("false",)}),
        key_policy(*policy),
        (),
        (),
    ).allowed


def test_statements_about_other_keys_do_not_count() -> None:
    assert found(ADMINISTERS, statement(Principal={"AWS": ANN}, Resource=OTHER_KEY)) == []


def test_nobody_is_locked_out_while_somebody_could_change_the_policy() -> None:
    def lockout(*statements: Json, names: Sequence[str] = (ANN,), identities: object = None) -> object:
        of_ann = {ANN: [("p", identity_policy(statement(Action="kms:Put*")))]} if identities else {}
        return locked_out(KEY, ACCOUNT, key_policy(*statements), of_ann, (), names)

    assert lockout(ADMINISTERS) is None
    assert lockout(statement(Principal={"AWS": ANN}, Action="kms:PutKeyPolicy", Condition=SOMETIMES)) is None
    assert lockout(delegation(), identities=True) is None
    assert lockout(delegation()) is not None
    assert lockout(USES) is not None
    assert lockout(ADMINISTERS, names=[CI]) is not None
    assert lockout(ADMINISTERS, deny(Principal="*", Action="kms:Put*")) is not None
    assert lockout(ADMINISTERS, deny(Principal="*", Action="kms:Put*", Condition=SOMETIMES)) is None
    assert str(lockout(USES, names=[CI, ANN])) == (
        "no key administrator (role/ci, user/ann) could ever change the key's policy again: allow one kms:PutKeyPolicy"
    )
    assert "there is none" in str(lockout(USES, names=()))


def sees(*statements: Json, principal: str = CI, grants: Sequence[GrantFacts] = (), own: Sequence[Json] = ()) -> bool:
    policies = [("p", identity_policy(*own))] if own else []
    return may_see(principal, ACCOUNT, KEY, key_policy(*statements), policies, grants)


def test_a_key_is_seen_by_whoever_could_do_anything_with_it() -> None:
    assert sees(USES)
    assert sees(statement(Action="kms:DescribeKey", Condition=SOMETIMES))
    assert sees(delegation(), own=[statement(Action="kms:GetPublicKey")])
    assert sees(ADMINISTERS, grants=[GrantFacts("g-1", CI, frozenset({"Verify"}))])
    assert sees(ADMINISTERS, grants=[GrantFacts("g-1", ANN, frozenset({"Verify"}), retiring=CI)])
    assert sees(statement(Principal="*"), principal="user/whoever")


def test_a_key_is_not_seen_by_anybody_else() -> None:
    assert not sees(ADMINISTERS)
    assert not sees(delegation())
    assert not sees(ADMINISTERS, own=[statement(Action="kms:*")])
    assert not sees(USES, principal="role/CI")
    assert not sees(statement(Resource=OTHER_KEY))
    assert not sees(delegation(), own=[statement(Action=["kms:ListKeys", "kms:CreateKey", "sealmark:*"])])


def test_a_key_may_be_shown_for_some_actions_alone() -> None:
    policy = key_policy(USES)
    assert may_see(CI, ACCOUNT, KEY, policy, actions=["kms:PutKeyPolicy", "kms:Sign"])
    assert not may_see(CI, ACCOUNT, KEY, policy, actions=["kms:PutKeyPolicy", "kms:RotateKey"])


def test_no_list_goes_past_a_deny() -> None:
    for everything in (
        deny(Action="kms:*"),
        deny(Principal="*", Action="*"),
        deny(Principal={"AWS": ROOT}, Action="*"),
    ):
        assert not sees(USES, everything)
        assert not sees(USES, everything, grants=[GrantFacts("g-1", CI, frozenset({"Sign"}))])
    assert not sees(USES, own=[deny(Action="kms:*")])
    assert not sees(USES, deny(NotPrincipal={"AWS": [ANN, ROOT]}, Action="kms:*"))
    assert sees(USES, deny(Action="kms:*", Condition=SOMETIMES))
    assert not sees(USES, deny())  # signing is all that there was


_entries = st.lists(
    st.builds(
        lambda effect, principal, action, condition: {
            "Effect": effect,
            "Principal": principal,
            "Action": action,
            "Resource": "*",
            **({"Condition": {"StringEquals": {"aws:username": condition}}} if condition else {}),
        },
        st.sampled_from(["Allow", "Allow", "Allow", "Deny"]),
        st.sampled_from(["*", {"AWS": CI}, {"AWS": ROOT}, {"AWS": [ANN, ROOT]}]),
        st.sampled_from(["kms:*", "kms:Sign", "kms:PutKeyPolicy", ["kms:Get*", "kms:S*"], "kms:CreateGrant"]),
        st.sampled_from(["", "", "ci", "ann"]),
    ),
    min_size=1,
    max_size=4,
)
_grants = st.lists(
    st.builds(
        GrantFacts,
        st.just("g"),
        st.sampled_from([CI, ANN]),
        st.frozensets(st.sampled_from(["Sign", "DescribeKey", "CreateGrant"])),
    ),
    max_size=2,
)


@pytest.mark.parametrize("username", ["ci", "ann", "other"])
@given(_entries, _entries, _grants)
def test_whom_the_evaluator_lets_do_both_the_check_finds(
    username: str, of_key: list[Json], of_identity: list[Json], grants: list[GrantFacts]
) -> None:
    policy, identities = key_policy(*of_key), {CI: [("p", identity_policy(*of_identity))]}
    named = {overlap.principal for overlap in overlaps(KEY, ACCOUNT, policy, identities, grants, [CI, ANN])}
    for principal in (CI, ANN, "user/else"):
        context = {"aws:username": (username,)}
        parts = {
            POLICY_ACTIONS[action]
            for action in KEY_ACTIONS
            if evaluate(
                request(principal, action, context=context), policy, identities.get(principal, ()), grants
            ).allowed
        }
        if {Part.ADMINISTER, Part.USE} <= parts:
            assert (ANYBODY_ELSE if principal == "user/else" else principal) in named
        if parts:
            assert may_see(principal, ACCOUNT, KEY, policy, identities.get(principal, ()), grants)
