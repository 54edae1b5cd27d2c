"""Who may do what by key policies, identity policies and grants, and what decided."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signer.access.documents import parse_key_policy
from signer.access.evaluation import evaluate
from signer.access.matching import select
from signer.access.model import Decision, Document, Effect, GrantFacts, Principals, Source, Statement
from signer.access.patterns import glob
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
    from collections.abc import Mapping

NOTHING = Decision(False, Source.NOTHING)
OTHER_KEY = KEY.replace("1234abcd", "ffffffff")
GRANT = GrantFacts("g-1", CI, frozenset({"Sign", "DescribeKey", "CreateGrant"}))


def by_key_policy(
    *statements: Json,
    principal: str = CI,
    action: str = "kms:Sign",
    resource: str = KEY,
    context: Mapping[str, tuple[str, ...]] | None = None,
) -> Decision:
    return evaluate(request(principal, action, resource, context), key_policy(*statements), (), ())


# --- the key policy alone


def test_an_allow_that_names_the_caller_allows_and_says_so() -> None:
    assert by_key_policy(statement(Sid="Signers")) == Decision(True, Source.KEY_POLICY, "Signers")
    decision = by_key_policy(statement(Action="kms:Verify"), statement())
    assert decision == Decision(True, Source.KEY_POLICY, "Statement[1]")
    assert str(decision) == "allowed by key policy: Statement[1]"


def test_what_nothing_allows_is_denied() -> None:
    assert by_key_policy(statement(), principal=ANN) == NOTHING
    assert by_key_policy(statement(), action="kms:Verify") == NOTHING
    assert by_key_policy(statement(Resource=OTHER_KEY)) == NOTHING
    assert str(NOTHING) == "denied by nothing"


def test_everybody_is_everybody() -> None:
    for everybody in ("*", {"AWS": "*"}):
        assert by_key_policy(statement(Principal=everybody), principal="user/whoever").allowed


@pytest.mark.parametrize("order", [1, -1])
def test_an_explicit_deny_beats_every_allow_wherever_it_stands(order: int) -> None:
    statements = [statement(), deny(Sid="Never")][::order]
    assert by_key_policy(*statements) == Decision(False, Source.KEY_POLICY, "Never")


def test_a_deny_on_everybody_and_one_on_the_account_deny_everybody() -> None:
    for principal in ("*", {"AWS": ROOT}, {"AWS": ACCOUNT}):
        assert by_key_policy(statement(), deny(Principal=principal)).source is Source.KEY_POLICY
        assert not by_key_policy(statement(), deny(Principal=principal)).allowed


def test_a_deny_for_another_caller_action_or_key_denies_nothing() -> None:
    others = (deny(Principal={"AWS": ANN}), deny(Action="kms:Verify"), deny(Resource=OTHER_KEY))
    assert by_key_policy(statement(), *others).allowed


@pytest.mark.parametrize(
    ("excepted", "principal", "denied"),
    [
        ([CI, ROOT], CI, False),
        ([CI, ACCOUNT], CI, False),
        ([CI, ROOT], ANN, True),
        ([CI], CI, True),  # its account is not named
        ([ROOT], CI, True),  # it is not named itself
        ([CI, ANN, ROOT], ANN, False),
    ],
)
def test_not_principal_with_deny_spares_whoever_is_named_with_the_account(
    excepted: list[str], principal: str, denied: bool
) -> None:
    policy = (statement(Principal="*"), deny(NotPrincipal={"AWS": excepted}))
    assert by_key_policy(*policy, principal=principal).allowed is not denied


@pytest.mark.parametrize(
    ("excepted", "allowed"),
    [
        (Principals(names=frozenset({ANN})), True),
        (Principals(names=frozenset({CI})), False),
        (Principals(accounts=frozenset({ACCOUNT})), False),
        (Principals(everybody=True), False),
    ],
)
def test_not_principal_with_allow_is_never_stored_and_would_allow_the_least(
    excepted: Principals, allowed: bool
) -> None:
    entry = Statement("s", Effect.ALLOW, None, excepted, ("kms:Sign",), None, ("*",), None)
    assert evaluate(request(), Document("2012-10-17", None, (entry,)), (), ()).allowed is allowed


def test_not_action_and_not_resource() -> None:
    assert by_key_policy(statement(Action=None, NotAction=["kms:Put*", "kms:Verify"])).allowed
    assert not by_key_policy(statement(Action=None, NotAction="KMS:SIGN")).allowed
    assert by_key_policy(statement(Action=None, NotAction="kms:Verify"), action="sealmark:WhoAmI").allowed
    assert by_key_policy(statement(Resource=None, NotResource=OTHER_KEY)).allowed
    assert not by_key_policy(statement(Resource=None, NotResource=[OTHER_KEY, KEY])).allowed
    assert not by_key_policy(statement(Resource=None, NotResource="*")).allowed
    assert not by_key_policy(statement(Principal="*"), deny(Action=None, NotAction="kms:DescribeKey")).allowed


@pytest.mark.parametrize("action", ["kms:*", "*", "kms:sign", "KMS:S?gn", "kms:*i*"])
def test_actions_have_wildcards_and_no_case(action: str) -> None:
    assert by_key_policy(statement(Action=action)).allowed
    assert not by_key_policy(statement(), deny(Action=action)).allowed


def test_an_action_of_the_service_is_not_under_kms() -> None:
    policy = identity_policy(statement(Action="kms:*"))
    asked = request(action="sealmark:ListPrincipals", resource="*")
    assert evaluate(asked, None, [("p", policy)], ()) == NOTHING


def test_resources_have_wildcards() -> None:
    assert by_key_policy(statement(Resource=f"arn:aws:kms:*:{ACCOUNT}:key/1234*")).allowed
    assert by_key_policy(statement(Resource=[OTHER_KEY, KEY])).allowed
    assert not by_key_policy(statement(Resource=f"arn:aws:kms:*:{ACCOUNT}:key/mrk-*")).allowed


# --- conditions


def test_all_operators_and_keys_of_a_condition_must_hold_and_any_value_of_a_key() -> None:
    condition = {
        "StringEquals": {"kms:SigningAlgorithm": ["A", "B"], "kms:MessageType": "DIGEST"},
        "Bool": {"aws:SecureTransport": "true"},
    }
    context = {"kms:signingalgorithm": ("B",), "kms:messagetype": ("DIGEST",), "aws:securetransport": ("true",)}
    assert by_key_policy(statement(Condition=condition), context=context).allowed
    for key in context:
        assert not by_key_policy(statement(Condition=condition), context={**context, key: ("other",)}).allowed


def test_what_was_unmet_is_said_once_and_not_of_statements_about_others() -> None:
    unmet = {"StringEquals": {"kms:SigningAlgorithm": "A"}, "IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}
    others = {"StringEquals": {"kms:KeySpec": "RSA_2048"}}
    decision = by_key_policy(
        statement(Condition=unmet),
        statement(Condition=unmet),
        statement(Condition=others, Principal={"AWS": ANN}),
        statement(Condition=others, Action="kms:Verify"),
        statement(Condition=others, Resource=OTHER_KEY),
        deny(Condition=others),
        context={"aws:sourceip": ("192.0.2.1",)},
    )
    words = ("StringEquals kms:SigningAlgorithm", "IpAddress aws:SourceIp")
    assert decision == Decision(False, Source.NOTHING, None, words)
    assert by_key_policy(statement(Condition=unmet), statement()).unmet == ()


def test_a_deny_unless_the_algorithm_is_right_also_denies_where_it_is_absent() -> None:
    policy = (statement(), deny(Condition={"StringNotEquals": {"kms:SigningAlgorithm": "ECDSA_SHA_256"}}))
    assert by_key_policy(*policy, context={"kms:signingalgorithm": ("ECDSA_SHA_256",)}).allowed
    assert not by_key_policy(*policy, context={"kms:signingalgorithm": ("ECDSA_SHA_384",)}).allowed
    assert not by_key_policy(*policy).allowed


def test_for_all_values_also_holds_for_a_request_that_has_none() -> None:
    condition = {"ForAllValues:StringEquals": {"sealmark:SigningContextKeys": ["repository"]}}
    policy = statement(Condition=condition)
    assert by_key_policy(policy).allowed
    assert by_key_policy(policy, context={"sealmark:signingcontextkeys": ("repository",)}).allowed
    assert not by_key_policy(policy, context={"sealmark:signingcontextkeys": ("repository", "ref")}).allowed


def test_a_document_of_2008_means_the_same() -> None:
    document = parse_key_policy({"Statement": statement()}, account=ACCOUNT)
    assert document.version == "2008-10-17"
    assert evaluate(request(), document, (), ()).allowed


def test_a_variable_in_a_document_that_was_never_stored_is_plain_text() -> None:
    policy = replace(key_policy(statement(Condition={"StringEquals": {"aws:username": "x"}})), id=None)
    condition = replace(policy.statements[0].conditions[0], values=("${aws:username}",))
    policy = replace(policy, statements=(replace(policy.statements[0], conditions=(condition,)),))
    assert not evaluate(request(context={"aws:username": ("ci",)}), policy, (), ()).allowed
    assert evaluate(request(context={"aws:username": ("${aws:username}",)}), policy, (), ()).allowed


# --- identity policies


def test_an_identity_policy_allows_where_the_key_policy_leaves_it_to_the_account() -> None:
    allow = [("signers", identity_policy(statement(Sid="Sign")))]
    assert evaluate(request(), key_policy(delegation()), allow, ()) == Decision(
        True, Source.IDENTITY_POLICY, "signers: Sign"
    )
    assert evaluate(request(), key_policy(delegation()), (), ()) == NOTHING
    assert evaluate(request(), key_policy(statement(Principal={"AWS": ANN})), allow, ()) == NOTHING
    assert evaluate(request(), key_policy(delegation(Action="kms:Verify")), allow, ()) == NOTHING
    assert evaluate(request(), key_policy(delegation(Resource=OTHER_KEY)), allow, ()) == NOTHING


def test_the_delegation_has_conditions_too() -> None:
    policy = key_policy(delegation(Condition={"StringEquals": {"kms:SigningAlgorithm": "A"}}))
    allow = [("p", identity_policy(statement()))]
    assert evaluate(request(context={"kms:signingalgorithm": ("A",)}), policy, allow, ()).allowed
    assert evaluate(request(), policy, allow, ()) == replace(NOTHING, unmet=("StringEquals kms:SigningAlgorithm",))


def test_a_delegation_that_another_one_made_good_is_not_said_to_have_been_lacking() -> None:
    sometimes = delegation(Condition={"StringEquals": {"kms:SigningAlgorithm": "A"}})
    assert evaluate(request(), key_policy(sometimes, delegation()), (), ()) == NOTHING
    assert evaluate(request(), key_policy(delegation(), sometimes), (), ()) == NOTHING


def test_a_deny_of_an_identity_policy_beats_the_key_policy() -> None:
    policies = [("a", identity_policy(statement())), ("b", identity_policy(deny(Sid="No")))]
    expected = Decision(False, Source.IDENTITY_POLICY, "b: No")
    assert evaluate(request(), key_policy(statement()), policies, [GRANT]) == expected
    assert evaluate(request(), key_policy(delegation()), policies, [GRANT]) == expected


def test_what_is_about_no_key_is_decided_by_identity_policies_alone() -> None:
    asked = request(action="kms:CreateKey", resource="*")
    allow = identity_policy(statement(Action="kms:CreateKey", Sid="Make"))
    assert evaluate(asked, None, [("makers", allow)], ()) == Decision(True, Source.IDENTITY_POLICY, "makers: Make")
    assert evaluate(asked, None, (), ()) == NOTHING
    assert (
        evaluate(asked, None, [("p", identity_policy(statement(Action="kms:CreateKey", Resource=KEY)))], ()) == NOTHING
    )
    denied = [("makers", allow), ("p", identity_policy(deny(Action="kms:Create*")))]
    assert evaluate(asked, None, denied, ()) == Decision(False, Source.IDENTITY_POLICY, "p: Statement[0]")


# --- grants


KMS, OURS = "kms:encryptioncontext:", "sealmark:signingcontext:"


def by_grant(grant: GrantFacts, context: Mapping[str, tuple[str, ...]], action: str = "kms:Sign") -> bool:
    asked = request(action=action, context=context)
    return evaluate(asked, key_policy(statement(Principal={"AWS": ANN})), (), [grant]).allowed


def test_a_grant_allows_its_grantee_its_operations() -> None:
    policy = key_policy(statement(Principal={"AWS": ANN}))
    assert evaluate(request(), policy, (), [GRANT]) == Decision(True, Source.GRANT, "g-1")
    assert evaluate(request(action="kms:Verify"), policy, (), [GRANT]) == NOTHING
    assert evaluate(request(principal="role/ci2"), policy, (), [GRANT]) == NOTHING
    for action in ("sealmark:Sign", "Sign", "kms:kms:Sign"):
        assert evaluate(request(action=action), policy, (), [GRANT]) == NOTHING


def test_a_deny_beats_a_grant() -> None:
    assert by_key_policy(deny()).source is Source.KEY_POLICY
    assert evaluate(request(), key_policy(deny(Sid="No")), (), [GRANT]) == Decision(False, Source.KEY_POLICY, "No")


@pytest.mark.parametrize("prefix", [KMS, OURS])
def test_a_grants_constraints_bind_the_encryption_context_and_the_signing_context(prefix: str) -> None:
    equals = replace(GRANT, context_equals={"App": "x"})
    subset = replace(GRANT, context_subset={"App": "x"})
    right, more = {f"{prefix}App": ("x",)}, {f"{prefix}App": ("x",), f"{prefix}Other": ("y",)}
    wrong: tuple[Mapping[str, tuple[str, ...]], ...] = (
        {},
        {f"{prefix}App": ("X",)},
        {f"{prefix}app": ("x",)},
        {f"{prefix}App": ("x", "y")},
        {"App": ("x",)},
    )
    for grant in (equals, subset):
        assert by_grant(grant, right)
        assert by_grant(grant, {**right, "aws:sourceip": ("10.0.0.1",)})
        for context in wrong:
            assert not by_grant(grant, context)
    assert not by_grant(equals, more)
    assert by_grant(subset, more)
    assert by_grant(replace(GRANT, context_equals={}), {})
    assert not by_grant(replace(GRANT, context_equals={}), right)
    assert not by_grant(equals, {f"{KMS}App": ("x",), f"{OURS}App": ("y",)})
    assert not by_grant(replace(subset, context_equals={"App": "x", "Other": "z"}), more)


def test_what_a_grant_lacked_is_said() -> None:
    grants = [replace(GRANT, context_equals={"App": "x"}), replace(GRANT, id="g-2", context_subset={"App": "x"})]
    decision = evaluate(request(), key_policy(statement(Principal={"AWS": ANN})), (), grants)
    words = ("EncryptionContextEquals of the grant g-1", "EncryptionContextSubset of the grant g-2")
    assert decision == Decision(False, Source.NOTHING, None, words)


def test_constraints_do_not_bind_describe_key() -> None:
    assert by_grant(replace(GRANT, context_equals={"App": "x"}), {}, "kms:DescribeKey")


def test_a_grant_made_by_a_grant_is_not_laxer() -> None:
    equals = replace(GRANT, context_equals={"App": "x"})
    subset = replace(GRANT, context_subset={"App": "x"})
    constraint = {f"{KMS}App": ("x",)}
    as_strict = {"kms:grantconstrainttype": ("EncryptionContextEquals",)}
    laxer = {"kms:grantconstrainttype": ("EncryptionContextSubset",)}
    assert by_grant(equals, {**constraint, **as_strict}, "kms:CreateGrant")
    assert not by_grant(equals, {**constraint, **laxer}, "kms:CreateGrant")
    assert not by_grant(equals, constraint, "kms:CreateGrant")
    assert not by_grant(equals, as_strict, "kms:CreateGrant")
    assert by_grant(subset, {**constraint, **laxer}, "kms:CreateGrant")
    assert not by_grant(subset, {}, "kms:CreateGrant")


def test_a_grants_retiring_principal_may_retire_it() -> None:
    grant = replace(GRANT, retiring=ANN)
    asked = request(principal=ANN, action="kms:RetireGrant")
    assert evaluate(asked, key_policy(statement()), (), [grant]) == Decision(True, Source.GRANT, "g-1")
    assert not evaluate(replace(asked, principal=CI), key_policy(statement(Action="kms:Verify")), (), [grant]).allowed
    assert not evaluate(replace(asked, action="kms:RevokeGrant"), key_policy(statement()), (), [grant]).allowed


# --- known defect classes


@pytest.mark.parametrize(
    "name", ["role/CI", "Role/ci", "role/c\u0131", "role/\uff43i", "role/ci ", "role/ci\u200b", "role/"]
)
def test_case_and_unicode_of_names_make_another_caller(name: str) -> None:
    assert not by_key_policy(statement(), principal=name).allowed
    assert not evaluate(request(principal=name), key_policy(deny(Action="kms:Verify")), (), [GRANT]).allowed


@pytest.mark.parametrize(
    "action", ["kms:\u017fign", "\u212ams:Sign", "kms:Sign\x00", "kms:Sign/../Verify", " kms:Sign"]
)
def test_unicode_of_actions_makes_another_action(action: str) -> None:
    assert not by_key_policy(statement(Action=["kms:Sign", "kms:Verify"]), action=action).allowed


@pytest.mark.parametrize("injected", ["*", "?", "role/*", "role/c?", "${aws:username}", "role/ci|x", "[r]ole/ci", ".*"])
def test_wildcards_that_come_with_a_request_are_plain_text(injected: str) -> None:
    assert not by_key_policy(statement(), principal=injected).allowed
    assert not by_key_policy(statement(Resource=KEY), resource=injected).allowed
    assert not by_key_policy(statement(), action=injected).allowed
    for operator in ("StringEquals", "StringLike", "ArnLike", "StringEqualsIgnoreCase"):
        value = f"arn:aws:iam::{ACCOUNT}:role/ci"
        policy = statement(Condition={operator: {"aws:PrincipalArn": value}})
        assert by_key_policy(policy, context={"aws:principalarn": (value,)}).allowed
        for text in (injected, f"arn:aws:iam::{ACCOUNT}:{injected}", "arn:aws:iam::*:role/ci"):
            assert not by_key_policy(policy, context={"aws:principalarn": (text,)}).allowed
    grant = replace(GRANT, grantee=injected)
    assert not evaluate(request(), key_policy(deny(Action="kms:Verify")), (), [grant]).allowed


def test_a_pattern_of_many_stars_comes_to_an_end() -> None:
    matches = glob("*a" * 200 + "*b")
    assert not matches("a" * 2000)  # where pieces were tried again, this would not end
    assert matches("a" * 2000 + "b")


# --- the whole


_statements = st.lists(
    st.builds(
        lambda effect, principal, action, resource, condition: {
            "Effect": effect,
            "Principal": principal,
            "Action": action,
            "Resource": resource,
            **({"Condition": {"StringEquals": {"aws:username": condition}}} if condition else {}),
        },
        st.sampled_from(["Allow", "Allow", "Deny"]),
        st.sampled_from(["*", {"AWS": CI}, {"AWS": ROOT}, {"AWS": [ANN, ROOT]}]),
        st.sampled_from(["kms:*", "kms:Sign", "kms:Verify", ["kms:Get*", "kms:S*"]]),
        st.sampled_from(["*", KEY, OTHER_KEY]),
        st.sampled_from(["", "", "ci", "ann"]),
    ),
    min_size=1,
    max_size=5,
)


@given(_statements, _statements, st.data(), st.sampled_from([CI, ANN]))
def test_the_order_of_statements_does_not_matter(
    of_key: list[Json], of_identity: list[Json], data: st.DataObject, principal: str
) -> None:
    shuffled = [data.draw(st.permutations(statements)) for statements in (of_key, of_identity)]
    asked = request(principal, context={"aws:username": ("ci",)})
    first = evaluate(asked, key_policy(*of_key), [("p", identity_policy(*of_identity))], ())
    second = evaluate(asked, key_policy(*shuffled[0]), [("p", identity_policy(*shuffled[1]))], ())
    assert (first.allowed, first.source, sorted(first.unmet)) == (second.allowed, second.source, sorted(second.unmet))


@given(_statements, st.sampled_from([CI, ANN]))
def test_one_more_deny_never_allows_and_one_more_allow_never_denies(statements: list[Json], principal: str) -> None:
    asked = request(principal)
    before = evaluate(asked, key_policy(*statements), (), ()).allowed
    assert not evaluate(asked, key_policy(*statements, deny(Principal="*", Action="*")), (), ()).allowed
    assert evaluate(asked, key_policy(*statements, statement(Action="kms:Sign")), (), ()).allowed >= before


def test_what_is_remembered_is_bounded_and_changes_nothing() -> None:
    policy = key_policy(statement(), deny(Principal={"AWS": ANN}))
    for index in range(3000):
        select(policy, f"role/r{index}", ACCOUNT, "kms:Sign")
    assert len(policy.memo.selections) <= 512
    assert evaluate(request(), policy, (), ()).allowed
    assert evaluate(request(), policy, (), ()).allowed
    assert policy == key_policy(statement(), deny(Principal={"AWS": ANN}))
    assert hash(policy) == hash(key_policy(statement(), deny(Principal={"AWS": ANN})))
