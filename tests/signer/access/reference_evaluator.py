"""A second policy evaluator, plain and slow, to compare the service's own with.

Written from AWS's documentation alone, over raw JSON documents: it shares no code, and no type, with `signer.access`.

Sources, by the names they have below:
- [logic]      IAM User Guide, "Policy evaluation logic"
- [elements]   IAM User Guide, "IAM JSON policy elements": (Not)Principal, (Not)Action, (Not)Resource, Condition
- [operators]  IAM User Guide, "IAM JSON policy elements: Condition operators"
- [multiple]   IAM User Guide, "Conditions with multiple context keys or values"
- [sets]       IAM User Guide, "Single-valued vs. multivalued context keys"
- [key policy] AWS KMS Developer Guide, "Key policies", "Default key policy"
- [grants]     AWS KMS Developer Guide, "Grants in AWS KMS"; API reference, "GrantConstraints"
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, Final

Json = Mapping[str, Any]

ENCRYPTION_CONTEXT: Final = "kms:encryptioncontext:"
SIGNING_CONTEXT: Final = "sealmark:signingcontext:"


@dataclass(frozen=True)
class Question:
    """Who asks for what, and in which circumstances: condition key → its values."""

    principal: str  # user/NAME or role/NAME
    account: str
    action: str
    resource: str
    context: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{self.account}:{self.principal}"


@dataclass(frozen=True)
class Verdict:
    """What applies: every Deny, every Allow that counts, as (source, label). Denied where nothing allows."""

    denies: tuple[tuple[str, str], ...]
    allows: tuple[tuple[str, str], ...]

    @property
    def allowed(self) -> bool:
        # [logic]: "an explicit deny in any policy overrides any allows"; "by default, all requests are implicitly
        # denied".
        return not self.denies and bool(self.allows)


def judge(
    question: Question,
    key_policy: Json | None,
    identity_policies: Sequence[tuple[str, Json]] = (),
    grants: Sequence[Json] = (),
) -> Verdict:
    """Everything that speaks for or against the question. `grants` are in the form of ListGrants, with our principals'
    names; `key_policy` is None where the action is about no key."""
    denies: list[tuple[str, str]] = []
    allows: list[tuple[str, str]] = []
    delegated = key_policy is None  # an action about no key needs an identity policy alone
    for label, statement in _statements(key_policy or {}):
        names = _who(statement, question)
        if names == "nobody" or not _applies(statement, question):
            continue
        if statement["Effect"] == "Deny":
            denies.append(("key policy", label))
        elif names == "account":
            # [key policy]: the account principal "doesn't give any IAM users or roles permission"; it "allows the
            # account to use IAM policies to delegate the permissions specified in the policy statement".
            delegated = True
        else:
            allows.append(("key policy", label))
    for name, document in identity_policies:
        for label, statement in _statements(document):
            if not _applies(statement, question):
                continue
            if statement["Effect"] == "Deny":  # effective without any permission from the key policy [key policy]
                denies.append(("identity policy", f"{name}: {label}"))
            elif delegated:
                allows.append(("identity policy", f"{name}: {label}"))
    if key_policy is not None:
        allows.extend(("grant", grant["GrantId"]) for grant in grants if _grants(grant, question))
    return Verdict(tuple(denies), tuple(allows))


def _statements(document: Json) -> Iterator[tuple[str, Json]]:
    for place, statement in enumerate(_listed(document.get("Statement", []))):
        yield statement.get("Sid") or f"Statement[{place}]", statement


def _listed(value: Any) -> list[Any]:
    """A single value may stand without its brackets [elements]."""
    return list(value) if isinstance(value, list | tuple) else [value]


def _applies(statement: Json, question: Question) -> bool:
    return (
        _action(statement, question.action)
        and _resource(statement, question.resource)
        and _conditions(statement.get("Condition", {}), question.context, denies=statement["Effect"] == "Deny")
    )


def _who(statement: Json, question: Question) -> str:
    """Whether a statement of a key policy speaks of the caller: "caller", "account" (through the account alone), or
    "nobody"."""
    if "NotPrincipal" in statement:
        # [elements], NotPrincipal: "all principals except the user … are explicitly denied" where the user and the
        # user's account are listed: so the account excepts none of its users. And "you must also specify the account
        # ARN of the not-denied principal": without it the user is denied with the account.
        # (With Allow, "not recommended", the service stores none.)
        listed = _principals(statement["NotPrincipal"])
        return "nobody" if question.arn in listed and _account_in(listed, question) else "caller"
    listed = _principals(statement["Principal"])
    if "*" in listed or question.arn in listed:
        return "caller"
    return "account" if _account_in(listed, question) else "nobody"


def _account_in(listed: Sequence[str], question: Question) -> bool:
    return question.account in listed or f"arn:aws:iam::{question.account}:root" in listed


def _principals(element: Any) -> list[str]:
    if element == "*":
        return ["*"]
    return [name for kind, names in element.items() if kind == "AWS" for name in _listed(names)]


def _action(statement: Json, action: str) -> bool:
    # [elements], Action: "the prefix and the action name are case insensitive"
    inverted = "NotAction" in statement
    patterns = _listed(statement["NotAction" if inverted else "Action"])
    return inverted != any(fits(pattern.lower(), action.lower()) for pattern in patterns)


def _resource(statement: Json, resource: str) -> bool:
    # [elements], Resource: a wildcard at the end of a segment "can expand to match beyond the colon boundaries"
    inverted = "NotResource" in statement
    patterns = _listed(statement["NotResource" if inverted else "Resource"])
    return inverted != any(fits(pattern, resource) for pattern in patterns)


@cache
def fits(pattern: str, text: str) -> bool:
    """`*` is any number of characters, `?` is one; everything else is itself."""
    if "*" not in pattern and "?" not in pattern:
        return pattern == text
    reached = _past_asterisks(pattern, {0})  # places in the pattern that the text read so far can have led to
    for character in text:
        stay = {place for place in reached if pattern[place : place + 1] == "*"}
        step = {place + 1 for place in reached if pattern[place : place + 1] in ("?", character)}
        reached = _past_asterisks(pattern, stay | step)
    return len(pattern) in reached


def _past_asterisks(pattern: str, reached: set[int]) -> set[int]:
    """The same places and, since an asterisk may stand for nothing, those behind one."""
    found = set(reached)
    for place in reached:
        behind = place
        while pattern[behind : behind + 1] == "*":
            behind += 1
            found.add(behind)
    return found


# Conditions


def _conditions(block: Json, context: Mapping[str, Sequence[str]], *, denies: bool) -> bool:
    # [multiple]: several operators, and several keys of one operator, are joined by AND.
    return all(
        _condition(operator, key, [_text(value) for value in _listed(values)], context, denies=denies)
        for operator, line in block.items()
        for key, values in line.items()
    )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _condition(
    operator: str, key: str, wanted: Sequence[str], context: Mapping[str, Sequence[str]], *, denies: bool
) -> bool:
    # Condition key names, the context key of kms:EncryptionContext among them, are not case-sensitive [elements].
    present = [value for name, values in context.items() if name.lower() == key.lower() for value in values]
    quantifier, _, name = operator.rpartition(":")
    optional = name.endswith("IfExists")
    name = name.removesuffix("IfExists")
    if name == "Null":
        return any((value.lower() == "true") == (not present) for value in wanted)
    negated, compare = _OPERATORS[name]
    if not present:
        if optional:  # [operators]: "if the key is not present, evaluate the condition element as true"
            return True
        if quantifier:  # [sets]: without a value ForAllValues is true, ForAnyValue is false
            return quantifier == "ForAllValues"
        return negated  # [operators]: not present is "not matched"
    if quantifier and not any(
        present
    ):  # [sets]: "or if the key value resolves to a null dataset, such as an empty string"
        return quantifier == "ForAllValues"
    # [multiple]: the values of the policy are joined by OR, for a negated operator by NOR.
    judged = [negated != any(compare(value, given) for value in wanted) for given in present]
    if quantifier:
        return all(judged) if quantifier == "ForAllValues" else any(judged)
    # More than one value without a set operator: only a context with two keys that differ in case alone can do that.
    # AWS leaves it open ("unexpected condition failures" [elements]); the service's rule is to fail closed.
    return any(judged) if denies else all(judged)


def _arn(pattern: str, given: str) -> bool:
    # [operators]: "each of the six colon-delimited components of the ARN is checked separately"
    parts, found = pattern.split(":", 5), given.split(":", 5)
    return len(parts) == len(found) == 6 and all(fits(part, text) for part, text in zip(parts, found, strict=True))


@cache
def _address(network: str, given: str) -> bool:
    # [operators]: CIDR; without a prefix it is the one address
    block, address = ipaddress.ip_network(_unmapped(network), strict=False), ipaddress.ip_address(_unmapped(given))
    return block.version == address.version and address in block


def _unmapped(text: str) -> str:
    """An IPv4 address written as IPv6 is that IPv4 address. AWS says nothing of it: the service's rule."""
    return text.removeprefix("::ffff:") if "." in text else text


_W3C: Final = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(\.\d+)?)?(Z|[+-]\d\d:\d\d))?)?)?", re.ASCII
)


@cache
def seconds(text: str) -> Decimal:
    """A moment as seconds since 1970: from "one of the W3C implementations of the ISO 8601 date formats or in epoch
    (UNIX) time" [operators]. Four digits alone are a year."""
    shape = _W3C.fullmatch(text)
    if shape is None:
        return Decimal(text)
    year, month, day, hour, minute, second, fraction, zone = shape.groups()
    moment = datetime(
        int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=UTC
    )
    if zone not in (None, "Z"):
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:]))
        moment = moment - offset if zone[0] == "+" else moment + offset
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1) + Decimal(fraction or 0)


def _ordered(read: Callable[[str], Decimal], compare: Callable[[Decimal, Decimal], bool]) -> Callable[[str, str], bool]:
    # The key's value is what is compared with the policy's: NumericLessThan is "key < value".
    return lambda wanted, given: compare(read(given), read(wanted))


_ORDERS: Final[Mapping[str, Callable[[Decimal, Decimal], bool]]] = {
    "Equals": lambda given, wanted: given == wanted,
    "LessThan": lambda given, wanted: given < wanted,
    "LessThanEquals": lambda given, wanted: given <= wanted,
    "GreaterThan": lambda given, wanted: given > wanted,
    "GreaterThanEquals": lambda given, wanted: given >= wanted,
}
_PLAIN: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "StringEquals": lambda wanted, given: wanted == given,
    "StringEqualsIgnoreCase": lambda wanted, given: wanted.lower() == given.lower(),
    "StringLike": fits,
    "Bool": lambda wanted, given: wanted.lower() == given.lower(),
    "IpAddress": _address,
    "ArnEquals": _arn,
    "ArnLike": _arn,
    **{f"Numeric{order}": _ordered(Decimal, compare) for order, compare in _ORDERS.items()},
    **{f"Date{order}": _ordered(seconds, compare) for order, compare in _ORDERS.items()},
}
_NEGATED: Final = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "NotIpAddress": "IpAddress",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
}
_OPERATORS: Final[Mapping[str, tuple[bool, Callable[[str, str], bool]]]] = {
    **{name: (False, compare) for name, compare in _PLAIN.items()},
    **{name: (True, _PLAIN[positive]) for name, positive in _NEGATED.items()},
}


# Grants

# [grants], API reference, "CreateGrant", Constraints: grants "can include the DescribeKey and RetireGrant operations,
# but the constraint doesn't apply to these operations".
UNCONSTRAINED_OPERATIONS: Final = frozenset({"DescribeKey", "RetireGrant"})


def _grants(grant: Json, question: Question) -> bool:
    operation = question.action.removeprefix("kms:")
    if operation == "RetireGrant" and grant.get("RetiringPrincipal") == question.principal:
        return True  # [grants]: "a grant can be retired by an optional retiring principal specified in the grant"
    if grant["GranteePrincipal"] != question.principal or operation not in grant["Operations"]:
        return False
    constraints = grant.get("Constraints", {})
    if operation in UNCONSTRAINED_OPERATIONS:
        return True
    pairs = _pairs(question.context)
    # "an exact, case-sensitive match": of all pairs, or of the constraint's
    equals = constraints.get("EncryptionContextEquals")
    subset = constraints.get("EncryptionContextSubset")
    if operation == "CreateGrant" and equals is not None:
        # [grants]: a grant made by a grant is "as restrictive or more restrictive": a child "can change an
        # EncryptionContextSubset constraint to an EncryptionContextEquals constraint, but not the reverse".
        kinds = question.context.get("kms:grantconstrainttype", ())
        return list(kinds) == ["EncryptionContextEquals"] and pairs == dict(equals)
    return (equals is None or pairs == dict(equals)) and (subset is None or dict(subset).items() <= pairs.items())


def _pairs(context: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The encryption context, or the signing context, of the request, its keys as they were written."""
    return {
        name[len(prefix) :]: values[0]
        for prefix in (ENCRYPTION_CONTEXT, SIGNING_CONTEXT)
        for name, values in context.items()
        if name.lower().startswith(prefix) and values
    }
