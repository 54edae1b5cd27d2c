"""What a policy document may say, and for each thing that it may not the pointer and the words of the refusal."""

from __future__ import annotations

import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signer.access.documents import (
    compiled_identity_policy,
    compiled_key_policy,
    parse_identity_policy,
    parse_key_policy,
    serialise,
)
from signer.access.model import Effect, Principals
from signer.access.policy_json import MOST_BYTES, decode_policy
from signer.access.policy_refusal import PolicyRefused
from signer.errors import Unprocessable
from tests.signer.access.policies import ACCOUNT, ANN, CI, KEY, ROOT, Json, key_policy, statement

VERSION = "2012-10-17"


def document(*statements: object, **elements: object) -> Json:
    return {"Version": VERSION, "Statement": list(statements), **elements}


def named(principal: object) -> Json:
    return document(statement(Principal={"AWS": principal}))


def without_principal(**elements: object) -> Json:
    return document(statement(Principal=None, **elements))


S = "/Statement/0"
ALIAS = f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/release"
AWS = f"{S}/Principal/AWS"

# the document, the pointer, words of the message
REFUSED_KEY_POLICIES: list[tuple[object, str, str]] = [
    ([], "", "a policy must be an object"),
    ("*", "", "a policy must be an object"),
    (None, "", "a policy must be an object"),
    ({**document(statement()), "Comment": "x"}, "/Comment", "no element Comment"),
    ({**document(statement()), "version": "x"}, "/version", "no element version"),
    (document(statement(), Version="2012-10-18"), "/Version", "2012-10-17 or 2008-10-17"),
    (document(statement(), Version=20121017), "/Version", "2012-10-17"),
    (document(statement(), Version=None), "/Version", "2012-10-17"),
    (document(statement(), Id=7), "/Id", "printable ASCII"),
    (document(statement(), Id=""), "/Id", "printable ASCII"),
    (document(statement(), Id="caf\N{LATIN SMALL LETTER E WITH ACUTE}"), "/Id", "printable ASCII"),
    ({"Version": VERSION}, "", "needs a Statement"),
    (document(), "/Statement", "at least one"),
    ({"Statement": "Allow"}, "/Statement", "object or a list"),
    (document("Allow"), S, "a statement must be an object"),
    (document(statement(Conditions={})), f"{S}/Conditions", "no element Conditions"),
    (document(statement(effect="Allow")), f"{S}/effect", "no element effect"),
    (document(statement(**{"a/b~c": 1})), f"{S}/a~1b~0c", "no element"),
    (document(statement(Effect=None)), S, "needs an Effect"),
    (document(statement(Effect="allow")), f"{S}/Effect", "Allow or Deny"),
    (document(statement(Effect=True)), f"{S}/Effect", "Allow or Deny"),
    (document(statement(Sid="")), f"{S}/Sid", "leave it out"),
    (document(statement(Sid="Statement[1]")), f"{S}/Sid", "without brackets"),
    (document(statement(Sid="a\nb")), f"{S}/Sid", "printable ASCII"),
    (document(statement(Sid="x" * 129)), f"{S}/Sid", "128"),
    (document(statement(Sid=["x"])), f"{S}/Sid", "128"),
    (document(statement(Sid="a"), statement(), statement(Sid="a")), "/Statement/2/Sid", "stands twice"),
    # principals
    (document(statement(Principal=None)), S, "needs Principal or NotPrincipal"),
    (document({**statement(), "NotPrincipal": {"AWS": CI}}), f"{S}/NotPrincipal", "not both"),
    (document(statement(Principal="role/ci")), f"{S}/Principal", '{"AWS": "role/ci"}'),
    (document(statement(Principal=["role/ci"])), f"{S}/Principal", "must be an object"),
    (document(statement(Principal={})), f"{S}/Principal", "name somebody"),
    (named([]), AWS, "at least one"),
    (named([CI, 7]), f"{S}/Principal/AWS/1", "texts alone"),
    (document(statement(Principal={"aws": CI})), f"{S}/Principal/aws", "no element aws"),
    (document(statement(Principal={"Service": "ec2.amazonaws.com"})), f"{S}/Principal/Service", "Service principals"),
    (document(statement(Principal={"AWS": CI, "Federated": "x"})), f"{S}/Principal/Federated", "Federated principals"),
    (named("444455556666"), AWS, "another account"),
    (named("arn:aws:iam::444455556666:root"), AWS, "another account"),
    (named([CI, "arn:aws:iam::444455556666:role/ci"]), f"{S}/Principal/AWS/1", "another"),
    (named(f"arn:aws:iam::{ACCOUNT}:role/*"), AWS, "no wildcards"),
    (named("role/c?"), AWS, "no wildcards"),
    (named(f"arn:aws:iam::{ACCOUNT}:group/all"), AWS, "is no principal"),
    (named(f"arn:aws:sts::{ACCOUNT}:assumed-role/a/b"), AWS, "is no"),
    (named(f"arn:aws:iam::{ACCOUNT}:role/team/ci"), AWS, "is no"),
    (named("root"), AWS, "is no principal"),
    (named("Role/ci"), AWS, "is no principal"),
    (named("role/ci\n"), AWS, "is no principal"),
    (named(" role/ci"), AWS, "is no principal"),
    (named("role/c\u0456"), AWS, "\\u0456"),
    (named("role/../ci"), AWS, "is no principal"),
    (named("role/${aws:username}"), AWS, "policy variables"),
    (named("\uff11\uff11\uff11\uff11\uff12\uff12\uff12\uff12\uff13\uff13\uff13\uff13"), AWS, "is no principal"),
    (document(statement(NotPrincipal={"AWS": CI})), f"{S}/NotPrincipal", "with Deny alone"),
    (document(statement(NotPrincipal="*", Effect="Deny")), f"{S}/NotPrincipal", "names nobody"),
    # actions
    (document(statement(Action=None)), S, "needs Action or NotAction"),
    (document(statement(NotAction="kms:Sign")), f"{S}/NotAction", "not both"),
    (document(statement(Action=[])), f"{S}/Action", "at least one"),
    (document(statement(Action={"kms": "Sign"})), f"{S}/Action", "text or a list"),
    (document(statement(Action=["kms:Sign", None])), f"{S}/Action/1", "texts alone"),
    (document(statement(Action="kms:Sing")), f"{S}/Action", "no action kms:Sing"),
    (document(statement(Action=["kms:Sign", "kms:Foo*"])), f"{S}/Action/1", "no action kms:Foo*"),
    (document(statement(Action="Sign")), f"{S}/Action", "no action"),
    (document(statement(Action="s3:*")), f"{S}/Action", "no action s3:*"),
    (document(statement(Action="kms:\u017fign")), f"{S}/Action", "\\u017f"),
    (document(statement(Action="\u212ams:Sign")), f"{S}/Action", "\\u212a"),
    (document(statement(Action="kms:Sign ")), f"{S}/Action", "no action"),
    (document(statement(Action="")), f"{S}/Action", "no action"),
    # resources
    (document(statement(Resource=None)), S, "needs Resource or NotResource"),
    (document(statement(NotResource="*")), f"{S}/NotResource", "not both"),
    (document(statement(Resource=["*", "k"])), f"{S}/Resource/1", "is no resource"),
    (document(statement(Resource=ALIAS)), f"{S}/Resource", "kms:ResourceAliases"),
    (document(statement(Resource="alias/release")), f"{S}/Resource", "an alias is no resource"),
    (document(statement(Resource="arn:aws:s3:::bucket")), f"{S}/Resource", "is no resource"),
    (document(statement(Resource="arn:aws:kms:us-east-1:444455556666:key/*")), f"{S}/Resource", "another account"),
    (document(statement(Resource=f"{KEY}${{aws:username}}")), f"{S}/Resource", "variables"),
    (document(statement(Resource=f"{KEY}\n")), f"{S}/Resource", "is no resource"),
    # values that are no JSON
    (document(statement(), Id="\ud800"), "", "UTF-8"),
    (document(statement(Condition={"NumericEquals": {"sealmark:TokenLifetime": float("nan")}})), "", "JSON"),
    (document(statement(Sid=b"x")), "", "JSON"),
    (document(*[statement(Sid=f"s{index}") for index in range(500)]), "", "32768 are the most"),
]

REFUSED_IDENTITY_POLICIES: list[tuple[object, str, str]] = [
    (document(statement()), f"{S}/Principal", "an identity policy has no Principal"),
    (document(statement(NotPrincipal={"AWS": CI}, Effect="Deny")), f"{S}/NotPrincipal", "has no NotPrincipal"),
    ({**without_principal(), "Id": "x"}, "/Id", "an identity policy has no Id"),
    (without_principal(Sid="two words"), f"{S}/Sid", "0 to 9 alone"),
    (without_principal(Resource="arn:aws:kms:*:*:alias/release"), f"{S}/Resource", "an alias is no resource"),
    (without_principal(Resource="arn:aws:kms:*"), f"{S}/Resource", "is no resource"),
    (without_principal(Action="iam:ListRoles"), f"{S}/Action", "no action iam:ListRoles"),
]


@pytest.mark.parametrize(("value", "pointer", "words"), REFUSED_KEY_POLICIES)
def test_a_key_policy_that_is_not_understood_to_the_last_element_is_refused(
    value: object, pointer: str, words: str
) -> None:
    with pytest.raises(PolicyRefused) as refusal:
        parse_key_policy(value, account=ACCOUNT)
    assert (refusal.value.pointer, refusal.value.field) == (pointer, f"policy{pointer}")
    assert words in refusal.value.message
    assert isinstance(refusal.value, Unprocessable)
    assert refusal.value.message.replace("…", "").isascii()


@pytest.mark.parametrize(("value", "pointer", "words"), REFUSED_IDENTITY_POLICIES)
def test_an_identity_policy_is_about_whoever_has_it(value: object, pointer: str, words: str) -> None:
    with pytest.raises(PolicyRefused) as refusal:
        parse_identity_policy(value)
    assert refusal.value.pointer == pointer
    assert words in refusal.value.message


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ("", ""),
        ("{", ""),
        ('{"Statement": NaN}', ""),
        ("[" * 20000, ""),
        ('{"Version": "2012-10-17", "Version": "2008-10-17"}', "/Version"),
        ('{"Statement": [{"Effect": "Deny", "Effect": "Allow"}]}', "/Statement/0/Effect"),
        ('{"Statement": {"Condition": {"Bool": {"a/b": "true", "a/b": "false"}}}}', "/Statement/Condition/Bool/a~1b"),
        ("[]" + " " * (MOST_BYTES - 1), ""),
        (b"\xff", ""),
        (b"\xfe\xff\x00{\x00}", ""),
        ('"' + "9" * 10 + "\ud800" + '"', ""),
        ("9" * 5000, ""),
    ],
)
def test_the_text_of_a_policy_is_strict_json(text: str | bytes, pointer: str) -> None:
    with pytest.raises(PolicyRefused) as refusal:
        decode_policy(text)
    assert refusal.value.pointer == pointer


def test_principals_have_long_and_short_forms() -> None:
    named = [
        f"arn:aws:iam::{ACCOUNT}:role/ci",
        "user/ann",
        ROOT,
        ACCOUNT,
        f"arn:aws:iam::{ACCOUNT}:user/bob.b@example.org",
    ]
    parsed = key_policy(statement(Principal={"AWS": named})).statements[0].principals
    assert parsed == Principals(False, frozenset({ACCOUNT}), frozenset({CI, ANN, "user/bob.b@example.org"}))
    for everybody in ("*", {"AWS": "*"}, {"AWS": ["*"]}):
        assert key_policy(statement(Principal=everybody)).statements[0].principals == Principals(everybody=True)


def test_a_document_without_version_is_of_2008_and_a_single_statement_needs_no_list() -> None:
    parsed = parse_key_policy({"Id": "key-default-1", "Statement": statement(Sid="Allow it all")}, account=ACCOUNT)
    assert (parsed.version, parsed.id) == ("2008-10-17", "key-default-1")
    assert (parsed.statements[0].sid, parsed.statements[0].effect) == ("Allow it all", Effect.ALLOW)


@pytest.mark.parametrize("action", ["*", "kms:*", "KMS:sign", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:?ign"])
def test_actions_match_as_in_aws(action: str) -> None:
    assert key_policy(statement(Action=[action])).statements[0].actions == (action,)


@pytest.mark.parametrize(
    "resource",
    ["*", KEY, f"arn:aws:kms:*:{ACCOUNT}:key/*", "arn:aws:kms:*:*:key/mrk-*", f"arn:*:kms:us-?ast-1:{ACCOUNT}:*"],
)
def test_resources_are_keys(resource: str) -> None:
    assert key_policy(statement(Resource=resource)).statements[0].resources == (resource,)
    assert parse_identity_policy(without_principal(Resource=[resource])).statements[0].resources == (resource,)


def test_an_identity_policy_may_name_keys_of_any_account_as_in_aws() -> None:
    assert parse_identity_policy(without_principal(Resource="arn:aws:kms:*:444455556666:key/*")).statements


def test_stored_texts_are_parsed_once() -> None:
    text = json.dumps(document(statement()))
    assert compiled_key_policy(text, ACCOUNT) is compiled_key_policy(f"{text} "[:-1], ACCOUNT)
    identity = json.dumps(without_principal())
    assert compiled_identity_policy(identity) is compiled_identity_policy(f"{identity} "[:-1])
    with pytest.raises(PolicyRefused):
        compiled_identity_policy(text)


_texts = st.text("aB*?$~/ \n\u212a\U0001f511", max_size=5)
_names = st.sampled_from([CI, ANN, "user/bob", ACCOUNT, "*"])
_resources = st.lists(st.sampled_from(["*", KEY, f"arn:aws:kms:*:{ACCOUNT}:key/*"]), min_size=1, max_size=2)
_actions = st.lists(st.sampled_from(["kms:*", "kms:Sign", "kms:Get*", "*", "KMS:putkeypolicy"]), min_size=1, max_size=3)
_conditions = st.dictionaries(
    st.sampled_from(["StringEquals", "StringNotLikeIfExists", "ForAnyValue:StringEqualsIgnoreCase"]),
    st.dictionaries(
        st.sampled_from(["aws:username", "kms:EncryptionContext:App", "sealmark:Purpose"]),
        st.one_of(_texts, st.lists(_texts, min_size=1, max_size=3)),
        min_size=1,
    ),
    min_size=1,
)


@st.composite
def documents(draw: st.DrawFn) -> Json:
    statements = []
    for index in range(draw(st.integers(1, 4))):
        entry: Json = {
            "Effect": draw(st.sampled_from(["Allow", "Deny"])),
            draw(st.sampled_from(["Action", "NotAction"])): draw(_actions),
            draw(st.sampled_from(["Resource", "NotResource"])): draw(_resources),
        }
        named: object = {"AWS": draw(st.lists(_names, min_size=1, max_size=3))}
        entry["Principal"] = draw(st.sampled_from(["*", named]))
        if draw(st.booleans()):
            entry["Sid"] = f"s{index}"
        if draw(st.booleans()):
            entry["Condition"] = draw(_conditions)
        statements.append(entry)
    return {"Version": draw(st.sampled_from(["2012-10-17", "2008-10-17"])), "Statement": statements}


@given(documents())
def test_a_parsed_document_serialised_parses_equal(value: Json) -> None:
    parsed = parse_key_policy(value, account=ACCOUNT)
    assert parse_key_policy(json.loads(json.dumps(serialise(parsed))), account=ACCOUNT) == parsed


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | _texts | st.sampled_from(["Allow", "*", "kms:Sign", CI]),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Version", "Statement", "Effect", "Principal", "AWS", "Action", "Resource", "Condition", "Bool"]
            ),
            children,
        )
    ),
    max_leaves=20,
)


def _at(value: object, pointer: str) -> object:
    for part in pointer.split("/")[1:]:
        if isinstance(value, list):
            value = value[int(part)]
        else:
            assert isinstance(value, dict)
            value = value[part.replace("~1", "/").replace("~0", "~")]
    return value


@given(_json)
def test_whatever_is_given_is_parsed_or_refused_with_a_pointer_that_leads_somewhere(value: object) -> None:
    for parse in (partial(parse_key_policy, account=ACCOUNT), parse_identity_policy):
        try:
            parse(value)
        except PolicyRefused as refusal:
            _at(value, refusal.pointer)
