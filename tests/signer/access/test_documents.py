"""What a policy document may say, and for each thing that it may not the pointer and the words of the refusal."""

from __future__ import annotations

import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signer.access.condition_keys import CONDITION_KEYS
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


def with_condition(operator: str, block: object) -> Json:
    return document(statement(Condition={operator: block}))


def without_principal(**elements: object) -> Json:
    return document(statement(Principal=None, **elements))


S = "/Statement/0"
C = f"{S}/Condition"

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
    (document(statement(Principal={"AWS": []})), f"{S}/Principal/AWS", "at least one"),
    (document(statement(Principal={"AWS": [CI, 7]})), f"{S}/Principal/AWS/1", "texts alone"),
    (document(statement(Principal={"aws": CI})), f"{S}/Principal/aws", "no element aws"),
    (document(statement(Principal={"Service": "ec2.amazonaws.com"})), f"{S}/Principal/Service", "Service principals"),
    (document(statement(Principal={"AWS": CI, "Federated": "x"})), f"{S}/Principal/Federated", "Federated principals"),
    (document(statement(Principal={"AWS": "444455556666"})), f"{S}/Principal/AWS", "another account"),
    (document(statement(Principal={"AWS": "arn:aws:iam::444455556666:root"})), f"{S}/Principal/AWS", "another account"),
    (document(statement(Principal={"AWS": [CI, "arn:aws:iam::444455556666:role/ci"]})), f"{S}/Principal/AWS/1", "another"),
    (document(statement(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:role/*"})), f"{S}/Principal/AWS", "no wildcards"),
    (document(statement(Principal={"AWS": "role/c?"})), f"{S}/Principal/AWS", "no wildcards"),
    (document(statement(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:group/all"})), f"{S}/Principal/AWS", "is no principal"),
    (document(statement(Principal={"AWS": f"arn:aws:sts::{ACCOUNT}:assumed-role/a/b"})), f"{S}/Principal/AWS", "is no"),
    (document(statement(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:role/team/ci"})), f"{S}/Principal/AWS", "is no"),
    (document(statement(Principal={"AWS": "root"})), f"{S}/Principal/AWS", "is no principal"),
    (document(statement(Principal={"AWS": "Role/ci"})), f"{S}/Principal/AWS", "is no principal"),
    (document(statement(Principal={"AWS": "role/ci\n"})), f"{S}/Principal/AWS", "is no principal"),
    (document(statement(Principal={"AWS": " role/ci"})), f"{S}/Principal/AWS", "is no principal"),
    (document(statement(Principal={"AWS": "role/c\u0456"})), f"{S}/Principal/AWS", "\\u0456"),
    (document(statement(Principal={"AWS": "role/../ci"})), f"{S}/Principal/AWS", "is no principal"),
    (document(statement(Principal={"AWS": "role/${aws:username}"})), f"{S}/Principal/AWS", "policy variables"),
    (document(statement(Principal={"AWS": "\uff11\uff11\uff11\uff11\uff12\uff12\uff12\uff12\uff13\uff13\uff13\uff13"})),
     f"{S}/Principal/AWS", "is no principal"),
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
    (document(statement(Resource=f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/release")), f"{S}/Resource", "kms:ResourceAliases"),
    (document(statement(Resource="alias/release")), f"{S}/Resource", "an alias is no resource"),
    (document(statement(Resource="arn:aws:s3:::bucket")), f"{S}/Resource", "is no resource"),
    (document(statement(Resource="arn:aws:kms:us-east-1:444455556666:key/*")), f"{S}/Resource", "another account"),
    (document(statement(Resource=f"arn:aws:kms:us-east-1:{ACCOUNT}:key/${{aws:username}}")), f"{S}/Resource", "variables"),
    (document(statement(Resource=f"{KEY}\n")), f"{S}/Resource", "is no resource"),
    # conditions
    (document(statement(Condition={})), C, "at least one"),
    (document(statement(Condition=[])), C, "must be an object"),
    (with_condition("StringEquals", {}), f"{C}/StringEquals", "at least one"),
    (with_condition("StringEquals", "x"), f"{C}/StringEquals", "must be an object"),
    (with_condition("StringEqual", {"aws:username": "x"}), f"{C}/StringEqual", "no condition operator StringEqual"),
    (with_condition("stringEquals", {"aws:username": "x"}), f"{C}/stringEquals", "no condition operator"),
    (with_condition("ForAll:StringEquals", {"aws:username": "x"}), f"{C}/ForAll:StringEquals", "ForAllValues:"),
    (with_condition("StringEqualsifexists", {"aws:username": "x"}), f"{C}/StringEqualsifexists", "IfExists"),
    (with_condition("BinaryEquals", {"aws:username": "eA=="}), f"{C}/BinaryEquals", "no condition key here holds bytes"),
    (with_condition("NullIfExists", {"aws:username": "true"}), f"{C}/NullIfExists", "Null takes neither"),
    (with_condition("ForAnyValue:Null", {"aws:username": "true"}), f"{C}/ForAnyValue:Null", "Null takes neither"),
    (with_condition("StringEquals", {"kms:Foo": "x"}), f"{C}/StringEquals/kms:Foo", "no condition key kms:Foo"),
    (with_condition("StringEquals", {"kms:EncryptionContext:": "x"}), f"{C}/StringEquals/kms:EncryptionContext:", "no"),
    (with_condition("StringEquals", {"aws:RequestTag/": "x"}), f"{C}/StringEquals/aws:RequestTag~1", "no condition key"),
    (with_condition("StringEquals", {"aws:\u017fourceIp": "x"}), f"{C}/StringEquals/aws:\u017fourceIp", "\\u017f"),
    (with_condition("StringEquals", {"aws:username": "x", "AWS:UserName": "y"}),
     f"{C}/StringEquals/AWS:UserName", "stands twice"),
    (with_condition("StringEquals", {"aws:username": []}), f"{C}/StringEquals/aws:username", "at least one value"),
    (with_condition("StringEquals", {"aws:username": None}), f"{C}/StringEquals/aws:username", "a value must be a text"),
    (with_condition("StringEquals", {"aws:username": ["x", {}]}), f"{C}/StringEquals/aws:username/1", "a value must be"),
    (with_condition("StringEquals", {"aws:username": "${aws:username}"}), f"{C}/StringEquals/aws:username", "variables"),
    (with_condition("StringLike", {"aws:username": "${*}"}), f"{C}/StringLike/aws:username", "variables"),
    (with_condition("StringEquals", {"aws:username": "x" * 2049}), f"{C}/StringEquals/aws:username", "2048"),
    (with_condition("StringEquals", {"aws:SourceIp": "10.0.0.1"}), f"{C}/StringEquals/aws:SourceIp", "use IpAddress"),
    (with_condition("StringEquals", {"sealmark:TokenLifetime": "900"}), f"{C}/StringEquals/sealmark:TokenLifetime",
     "NumericEquals"),
    (with_condition("NumericEquals", {"aws:username": "1"}), f"{C}/NumericEquals/aws:username", "use StringEquals"),
    (with_condition("NumericLessThan", {"aws:CurrentTime": "1"}), f"{C}/NumericLessThan/aws:CurrentTime", "DateEquals"),
    (with_condition("Bool", {"aws:username": "true"}), f"{C}/Bool/aws:username", "does not fit"),
    (with_condition("IpAddress", {"aws:username": "10.0.0.1"}), f"{C}/IpAddress/aws:username", "does not fit"),
    (with_condition("StringEquals", {"kms:ResourceAliases": "alias/a"}), f"{C}/StringEquals/kms:ResourceAliases",
     "ForAnyValue:StringEquals or ForAllValues:StringEquals"),
    (with_condition("ForAllValues:StringEquals", {"kms:EncryptionContext:App": "x"}),
     f"{C}/ForAllValues:StringEquals/kms:EncryptionContext:App", "OverlyPermissiveCondition"),
    (with_condition("NumericEquals", {"sealmark:TokenLifetime": "1e3"}), f"{C}/NumericEquals/sealmark:TokenLifetime", "900"),
    (with_condition("NumericEquals", {"sealmark:TokenLifetime": ["1", True]}),
     f"{C}/NumericEquals/sealmark:TokenLifetime/1", "must be a number"),
    (with_condition("NumericEquals", {"sealmark:TokenLifetime": "\u0661"}), f"{C}/NumericEquals/sealmark:TokenLifetime",
     "must be a number"),
    (with_condition("DateLessThan", {"aws:CurrentTime": "tomorrow"}), f"{C}/DateLessThan/aws:CurrentTime", "RFC 3339"),
    (with_condition("DateLessThan", {"aws:CurrentTime": "2026-02-30T00:00:00Z"}), f"{C}/DateLessThan/aws:CurrentTime",
     "must be a date"),
    (with_condition("DateLessThan", {"aws:CurrentTime": "2026-02-01T00:00:00"}), f"{C}/DateLessThan/aws:CurrentTime",
     "must be a date"),
    (with_condition("Bool", {"aws:SecureTransport": "yes"}), f"{C}/Bool/aws:SecureTransport", "true or false"),
    (with_condition("Bool", {"aws:SecureTransport": ["true", "false"]}), f"{C}/Bool/aws:SecureTransport", "contradict"),
    (with_condition("Null", {"aws:username": [True, "false"]}), f"{C}/Null/aws:username", "contradict"),
    (with_condition("Null", {"aws:username": "x"}), f"{C}/Null/aws:username", "true or false"),
    (with_condition("IpAddress", {"aws:SourceIp": "10.0.0.0/33"}), f"{C}/IpAddress/aws:SourceIp", "203.0.113.0/24"),
    (with_condition("IpAddress", {"aws:SourceIp": "10.0.0.1/8"}), f"{C}/IpAddress/aws:SourceIp", "without host bits"),
    (with_condition("IpAddress", {"aws:SourceIp": "10.*"}), f"{C}/IpAddress/aws:SourceIp", "must be an IP address"),
    (with_condition("ArnLike", {"aws:PrincipalArn": "role/ci"}), f"{C}/ArnLike/aws:PrincipalArn", "must be an ARN"),
    (with_condition("ArnLike", {"aws:PrincipalArn": "*"}), f"{C}/ArnLike/aws:PrincipalArn", "must be an ARN"),
    # values that are no JSON
    (document(statement(), Id="\ud800"), "", "UTF-8"),
    (document(statement(Condition={"NumericEquals": {"sealmark:TokenLifetime": float("nan")}})), "", "JSON"),
    (document(statement(Sid=b"x")), "", "JSON"),
    (document(*[statement(Sid=f"s{index}") for index in range(500)]), "", "32768 are the most"),
]  # fmt: skip

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
        (" " * (MOST_BYTES + 1), ""),
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


def test_numbers_and_booleans_may_stand_unquoted() -> None:
    condition = {
        "Bool": {"kms:GrantIsForAWSResource": True, "aws:SecureTransport": "True"},
        "NumericLessThanEquals": {"sealmark:TokenLifetime": 900, "kms:ValidTo": 1546257599.5},
    }
    values = [entry.values for entry in key_policy(statement(Condition=condition)).statements[0].conditions]
    assert values == [("true",), ("true",), ("900",), ("1546257599.5",)]


def test_every_condition_key_can_be_stored_by_some_operator() -> None:
    for row in CONDITION_KEYS.values():
        assert key_policy(statement(Condition={"Null": {row.name: "false"}})), row.name


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
