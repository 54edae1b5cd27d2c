"""Bodies: of each call of our own API, of each operation of AWS's wire protocol, policies, JSON of strangers."""

from __future__ import annotations

import contextlib
from functools import cache
from typing import Any, Final

import msgspec

from signer import strict_json
from signer.access.documents import parse_identity_policy, parse_key_policy
from signer.access.policy_json import decode_policy
from signer.access.policy_refusal import PolicyRefused
from signer.decoding import decode
from signer.errors import SealmarkError
from signer.kms.decoding import decode as decode_kms
from signer.kms.operations import OPERATIONS
from signer.web.contract import CONTRACTS
from signer.web.routes import ENDPOINTS
from tests.hostile.parser import (
    ACCOUNT,
    JSON_TROUBLE,
    Parser,
    json_of,
)


@cache
def _bodies() -> tuple[tuple[type[msgspec.Struct], bytes], ...]:
    found = []
    for endpoint in ENDPOINTS:
        if endpoint.body is not None:
            contract = CONTRACTS.get(f"{endpoint.method} {endpoint.path}")
            found.append((endpoint.body, json_of(contract.request if contract and contract.request else {})))
    return tuple(found)


def body(data: bytes) -> None:
    """The first octet chooses the call."""
    if data:
        decode(data[1:], _bodies()[data[0] % len(_bodies())][0])


@cache
def _operations() -> tuple[Any, ...]:
    return tuple(OPERATIONS[name] for name in sorted(OPERATIONS))


def kms_body(data: bytes) -> None:
    """The first octet chooses the operation."""
    if data:
        decode_kms(data[1:], _operations()[data[0] % len(_operations())].request)


def _kms_seeds() -> list[bytes]:
    import random

    from tests.hostile.wire import Maker

    maker = Maker(random.Random(7), ["app"])  # noqa: S311 (repeatable on purpose)
    made = [bytes([at]) + maker.body(operation.request) for at, operation in enumerate(_operations())]
    return made + [b"\0" + each for each in JSON_TROUBLE]


def policy(data: bytes) -> None:
    """A key policy, and a policy of an identity."""
    decoded = decode_policy(data)
    with contextlib.suppress(PolicyRefused):
        parse_identity_policy(decoded)
    parse_key_policy(decoded, account=ACCOUNT)


def policies() -> list[bytes]:
    statement = {
        "Sid": "Use",
        "Effect": "Allow",
        "Principal": {"AWS": [f"arn:aws:iam::{ACCOUNT}:user/a", "*"]},
        "Action": ["kms:Sign", "kms:Get*"],
        "Resource": "*",
        "Condition": {
            "StringLike": {"kms:EncryptionContext:a": ["x*", "y"]},
            "IpAddress": {"aws:SourceIp": "192.0.2.0/24"},
            "DateLessThan": {"aws:CurrentTime": "2027-01-01T00:00:00Z"},
            "NumericLessThanEquals": {"kms:GrantConstraintType": "1"},
            "Bool": {"aws:SecureTransport": "true"},
        },
    }
    identity = {name: value for name, value in statement.items() if name != "Principal"}
    documents: list[object] = [
        {"Version": "2012-10-17", "Id": "a", "Statement": [statement]},
        {"Version": "2012-10-17", "Statement": identity},
        {"Statement": [{"Effect": "Deny", "NotPrincipal": "*", "NotAction": "*", "NotResource": ["*"]}]},
    ]
    return [*map(json_of, documents), *JSON_TROUBLE, b"[" * 990 + b"]" * 990]


PARSERS: Final = (
    Parser(
        "bodies",
        lambda: [bytes([at]) + seed for at, (_, seed) in enumerate(_bodies())] + [b"\1" + s for s in JSON_TROUBLE],
        body,
        (SealmarkError,),
    ),
    Parser("aws-bodies", _kms_seeds, kms_body, (SealmarkError,)),
    Parser("policies", policies, policy, (PolicyRefused,)),
    Parser("json", lambda: [b'{"a":[1,2.5,null,"\\u00e9"]}', *JSON_TROUBLE], strict_json.parse_object, (ValueError,)),
)
