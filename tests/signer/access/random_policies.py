"""Random policies and requests for the comparison of the two evaluators: raw JSON, small alphabets, so that matches are
frequent; every operator, every set operator, every inverted element, missing keys, several values, wildcards."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Final

from tests.signer.access.reference_evaluator import Question

ACCOUNT: Final = "000000000000"
KEYS: Final = (
    f"arn:aws:kms:us-east-1:{ACCOUNT}:key/0a000000-0000-4000-8000-000000000001",
    f"arn:aws:kms:us-east-1:{ACCOUNT}:key/0b000000-0000-4000-8000-000000000002",
)
PRINCIPALS: Final = ("user/alice", "user/Alice", "role/ci", "role/alice", "role/deploy")
ACTIONS: Final = (
    *("kms:Sign", "kms:SignArtifact", "kms:Verify", "kms:DescribeKey", "kms:GetPublicKey", "kms:GetKeyPolicy"),
    *("kms:Decrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyPair", "kms:CreateGrant", "kms:RetireGrant"),
    *("kms:PutKeyPolicy", "kms:ScheduleKeyDeletion"),
)
NO_KEY_ACTIONS: Final = ("kms:CreateKey", "kms:ListKeys", "sealmark:ListPrincipals", "sealmark:CreatePrincipal")
ACTION_PATTERNS: Final = (
    *("kms:*", "*", "kms:Sign*", "kms:*Key*", "kms:Get?ublicKey", "KMS:sign", "kms:S*t", "kms:GenerateDataKey*"),
    *("kms:Sig?", "sealmark:*", "kms:*Grant", "kms:Describe*", "kms:D*Key", "kms:????????"),
)
RESOURCE_PATTERNS: Final = (
    *("*", "arn:aws:kms:us-east-1:*:key/*", f"arn:aws:kms:*:{ACCOUNT}:key/*", "arn:aws:kms:*:*:key/0a*"),
    *(f"arn:aws:kms:eu-*:{ACCOUNT}:key/*", f"arn:aws:kms:us-east-?:{ACCOUNT}:key/0?000000-*"),
    f"arn:aws:kms:*1:{ACCOUNT}:key/0b*-0000-*2",
)
GRANTABLE: Final = (
    *("Sign", "SignArtifact", "Verify", "DescribeKey", "GetPublicKey", "Decrypt", "RetireGrant", "CreateGrant"),
)

_STRING: Final = ("StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase")
_LIKE: Final = ("StringLike", "StringNotLike")
_ARN: Final = ("ArnEquals", "ArnNotEquals", "ArnLike", "ArnNotLike")
_ORDERS: Final = ("Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals")
_NUMERIC: Final = tuple(f"Numeric{order}" for order in _ORDERS)
_DATE: Final = tuple(f"Date{order}" for order in _ORDERS)


@dataclass(frozen=True)
class KeyKind:
    """A condition key as the generator draws it: its operators, and values of policies and of requests."""

    name: str
    operators: tuple[str, ...]
    wanted: tuple[Any, ...]
    given: tuple[str, ...]
    several: bool = False


def _strings(name: str, given: tuple[str, ...], patterns: tuple[str, ...] = (), *, several: bool = False) -> KeyKind:
    other_case = (given[0].swapcase(),)
    return KeyKind(name, (*_STRING, *_LIKE), (*given, *other_case, *patterns), (*given, *other_case), several)


_ARNS: Final = tuple(f"arn:aws:iam::{ACCOUNT}:{name}" for name in PRINCIPALS)
CONTEXT_KEYS: Final = ("App", "repository", "Stage")
CONTEXT_VALUES: Final = ("pay", "Pay", "web/main", "p.y", "release[1]")
ODD_VALUES: Final = ("p\ny", "pay\n", "Ray", "payé", "")  # what a caller may send and no policy says
KINDS: Final = (
    KeyKind(
        "aws:PrincipalArn",
        (*_ARN, *_ARN, *_STRING, *_LIKE),
        (*_ARNS, f"arn:aws:iam::{ACCOUNT}:user/*", f"arn:aws:iam::{ACCOUNT}:role/?i", f"arn:*:iam::{ACCOUNT}:*/alice"),
        (*_ARNS, *[f"arn:aws:sts:iam::{ACCOUNT}:user/alice"] * 3),  # a wildcard of an ARN stays between its colons
    ),
    _strings("aws:PrincipalAccount", (ACCOUNT, "111122223333"), ("0*",)),
    _strings("kms:CallerAccount", (ACCOUNT, "111122223333"), ("*3333",)),
    _strings("kms:SigningAlgorithm", ("ECDSA_SHA_256", "RSASSA_PSS_SHA_256", "RSASSA_PSS_SHA_512"), ("RSASSA_PSS*",)),
    _strings("kms:MessageType", ("RAW", "DIGEST"), ("R?W", "*")),
    _strings("kms:KeySpec", ("ECC_NIST_P256", "RSA_3072"), ("RSA_*", "ECC_*P???")),
    _strings("kms:EncryptionContext:App", CONTEXT_VALUES, ("p*", "*/*", "p?y", "*[*")),
    _strings("sealmark:SigningContext:repository", CONTEXT_VALUES, ("?ay", "web/*", "*", "*.*", "?*?")),
    _strings("kms:EncryptionContextKeys", CONTEXT_KEYS, ("*", "S*"), several=True),
    _strings("kms:GrantConstraintType", ("EncryptionContextEquals", "EncryptionContextSubset"), ("*Equals",)),
    _strings("kms:GrantOperations", ("Sign", "Verify", "Decrypt"), ("*i*",), several=True),
    _strings("kms:ResourceAliases", ("alias/release", "alias/test-1"), ("alias/test*",), several=True),
    KeyKind("aws:SecureTransport", ("Bool",), ("true", "false", True, False), ("true", "false")),
    KeyKind("kms:BypassPolicyLockoutSafetyCheck", ("Bool",), ("true", "false", True), ("true", "false")),
    KeyKind(
        "aws:SourceIp",
        ("IpAddress", "NotIpAddress"),
        (
            "192.0.2.0/24",
            "192.0.2.128/25",
            "203.0.113.7",
            "203.0.113.0/29",
            "2001:db8:1234:5678::/64",
            "::1",
            "0.0.0.0/0",
        ),
        (
            "192.0.2.5",
            "::ffff:192.0.2.200",
            "203.0.113.7",
            "203.0.113.8",
            "2001:db8:1234:5678::9",
            "2001:db8::1",
            "::1",
        ),
    ),
    KeyKind(
        "aws:CurrentTime",
        _DATE,
        (
            *(
                "2026-06-01T12:00:00Z",
                "2026-06-01T12:00Z",
                "2026-06-01T14:00:00+02:00",
                "2026-06-01",
                "2026-06",
                "2026",
            ),
            *("2026-06-01T11:59:59.5Z", "2026-06-02T00:00:00-05:30", "1780315200"),
        ),
        (
            "2026-06-01T12:00:00Z",
            "2026-06-01T00:00:00Z",
            "2026-05-31T23:59:59Z",
            "2025-12-31T23:59:59Z",
            "2026-06-02T05:30:00Z",
        ),
    ),
    KeyKind(
        "aws:EpochTime", (*_DATE, *_NUMERIC), ("1780315200", "1780271999", 1780272000), ("1780315200", "1780272000")
    ),
    KeyKind("sealmark:TokenLifetime", _NUMERIC, ("300", 300, "300.0", "60", 3600, "60.5"), ("60", "300", "301")),
)


@dataclass(frozen=True)
class Case:
    """One pair of policies and request, as raw JSON; grants in the form of ListGrants with our names."""

    question: Question
    key_policy: dict[str, Any] | None
    identity_policies: tuple[tuple[str, dict[str, Any]], ...]
    grants: tuple[dict[str, Any], ...]


def seeded(seed: int | str) -> Random:
    """A source of chance that is the same in every run."""
    return Random(seed)  # noqa: S311 (repeatable on purpose)


def random_case(random: Random) -> Case:
    """The next case of this generator."""
    about_key = random.random() < 0.92
    action = random.choice(ACTIONS if about_key else NO_KEY_ACTIONS)
    resource = random.choice(KEYS) if about_key else "*"
    principal = random.choice(PRINCIPALS)
    question = Question(principal, ACCOUNT, action, resource, _context(random, principal))
    identities = tuple(
        (f"policy-{place}", _document(random, question, key_policy=False))
        for place in range(random.choice((0, 1, 1, 2)))
    )
    grants = tuple(
        _grant(random, question, place) for place in range(random.choice((0, 0, 0, 1, 2)) if about_key else 0)
    )
    return Case(question, _document(random, question, key_policy=True) if about_key else None, identities, grants)


def _context(random: Random, principal: str) -> dict[str, tuple[str, ...]]:
    context: dict[str, tuple[str, ...]] = {}
    for kind in KINDS:
        if random.random() < 0.3:
            continue
        count = random.choice((0, 1, 1, 2, 3)) if kind.several else 1
        context[kind.name.lower()] = tuple(dict.fromkeys(random.choices(kind.given, k=count)))
    context.pop("kms:encryptioncontext:app", None)
    context.pop("sealmark:signingcontext:repository", None)
    # A request has one kind of context, if any; its keys keep their case.
    prefix = random.choice(("kms:encryptioncontext:", "sealmark:signingcontext:", None))
    if prefix:
        for name in random.sample(CONTEXT_KEYS, random.choice((1, 1, 2))):
            for written in random.choice(((name,), (name,), (name.lower(),), (name, name.swapcase()))):
                context[prefix + written] = (random.choice((*CONTEXT_VALUES, *CONTEXT_VALUES, *ODD_VALUES)),)
    if random.random() < 0.5:
        context["aws:principalarn"] = (f"arn:aws:iam::{ACCOUNT}:{principal}",)
    return context


def _one_or_list(random: Random, values: list[Any]) -> Any:
    return values[0] if len(values) == 1 and random.random() < 0.5 else values


def _document(random: Random, question: Question, *, key_policy: bool) -> dict[str, Any]:
    count = random.choice((1, 1, 2, 2, 3))
    statements = [_statement(random, question, place, key_policy=key_policy) for place in range(count)]
    document: dict[str, Any] = {"Version": "2012-10-17", "Statement": _one_or_list(random, statements)}
    if key_policy and random.random() < 0.2:
        document["Id"] = "an-id"
    return document


def _statement(random: Random, question: Question, place: int, *, key_policy: bool) -> dict[str, Any]:
    statement: dict[str, Any] = {"Effect": random.choices(("Allow", "Deny"), (7, 2))[0]}
    if random.random() < 0.5:
        statement["Sid"] = f"S{place}"
    if key_policy:
        inverted = statement["Effect"] == "Deny" and random.random() < 0.3
        statement["NotPrincipal" if inverted else "Principal"] = _principal(random, question, everybody=not inverted)
    patterns = _some(random, (*ACTION_PATTERNS, *ACTIONS, *NO_KEY_ACTIONS), question.action)
    statement["NotAction" if random.random() < 0.15 else "Action"] = _one_or_list(random, patterns)
    resources = _some(random, (*RESOURCE_PATTERNS, *KEYS), "*")
    statement["NotResource" if random.random() < 0.1 else "Resource"] = _one_or_list(random, resources)
    conditions: dict[str, dict[str, Any]] = {}
    for _ in range(random.choice((0, 0, 1, 1, 2, 3))):
        _add_condition(random, question, conditions)
    if conditions:
        statement["Condition"] = conditions
    return statement


def _some(random: Random, alphabet: tuple[str, ...], likely: str) -> list[Any]:
    chosen = random.sample(alphabet, random.choice((1, 1, 2, 3)))
    if random.random() < 0.6:
        chosen.append(likely)
    return list(dict.fromkeys(chosen))


def _principal(random: Random, question: Question, *, everybody: bool) -> Any:
    root, arns = f"arn:aws:iam::{ACCOUNT}:root", [f"arn:aws:iam::{ACCOUNT}:{name}" for name in PRINCIPALS]
    drawn = random.random()
    if drawn < 0.1 and everybody:
        return random.choice(("*", {"AWS": "*"}, {"AWS": ["*"]}))
    if drawn < 0.45:
        return {"AWS": random.choice((root, ACCOUNT, [root], [root, random.choice(arns)]))}
    named = random.sample(arns, random.choice((1, 1, 2)))
    if random.random() < 0.6:
        named.append(question.arn)
    if not everybody and random.random() < 0.6:
        named.append(random.choice((root, ACCOUNT)))
    return {"AWS": _one_or_list(random, list(dict.fromkeys(named)))}


def _add_condition(random: Random, question: Question, conditions: dict[str, dict[str, Any]]) -> None:
    kind = random.choice(KINDS)
    given = question.context.get(kind.name.lower(), ())
    # Keys do not depend on case, so that every spelling is tried.
    name = random.choice((kind.name, kind.name, kind.name.lower(), kind.name.upper()))
    if random.random() < 0.1:
        _put(conditions, "Null", name, random.choice(("true", "false", True, False)))
        return
    operator = random.choice(kind.operators)
    if random.random() < 0.2:
        operator += "IfExists"
    if kind.several:
        operator = f"{random.choice(('ForAnyValue', 'ForAllValues'))}:{operator}"
    elif random.random() < 0.1:  # ForAllValues is refused with a key that has one value
        operator = f"ForAnyValue:{operator}"
    count = 1 if kind.operators == ("Bool",) else random.choice((1, 1, 2, 3))
    values = random.sample(kind.wanted, min(len(kind.wanted), count))
    if given and kind.operators != ("Bool",) and random.random() < 0.4:
        values.append(random.choice(given))
    _put(conditions, operator, name, _one_or_list(random, values))


def _put(conditions: dict[str, dict[str, Any]], operator: str, name: str, values: Any) -> None:
    line = conditions.setdefault(operator, {})
    if name.lower() not in {written.lower() for written in line}:  # one key twice, in whatever spelling, is refused
        line[name] = values


def _grant(random: Random, question: Question, place: int) -> dict[str, Any]:
    operations = random.sample(GRANTABLE, random.choice((1, 2, 3)))
    asked = question.action.removeprefix("kms:")
    if asked in GRANTABLE and random.random() < 0.5 and asked not in operations:
        operations.append(asked)
    grant: dict[str, Any] = {
        "GrantId": f"grant-{place}",
        "GranteePrincipal": question.principal if random.random() < 0.6 else random.choice(PRINCIPALS),
        "Operations": operations,
    }
    if random.random() < 0.3:
        grant["RetiringPrincipal"] = random.choice((question.principal, *PRINCIPALS))
    if random.random() < 0.6:
        kind = random.choice(("EncryptionContextEquals", "EncryptionContextSubset"))
        grant["Constraints"] = {kind: _constraint(random, question)}
    return grant


def _constraint(random: Random, question: Question) -> dict[str, str]:
    given = {
        name.partition("context:")[2]: values[0] for name, values in question.context.items() if "context:" in name
    }
    if given and random.random() < 0.6:
        kept = random.sample(sorted(given), random.randint(1, len(given)))
        return {name: given[name] for name in kept}
    return {random.choice(CONTEXT_KEYS): random.choice(CONTEXT_VALUES)}
