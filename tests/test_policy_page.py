"""docs/policy-language.md: its tables are the code's, and its example can be stored and decides as it says."""

from __future__ import annotations

import json
import re

from signer.access.documents import parse_key_policy
from signer.access.evaluation import evaluate
from signer.access.model import AccessRequest
from tools.policy_page import PAGE, written

TEXT = PAGE.read_text(encoding="utf-8")
ACCOUNT = "000000000000"


def test_the_tables_are_those_of_the_code() -> None:
    assert written(TEXT) == TEXT, "python -m tools.policy_page writes the tables"
    assert "`kms:PutKeyPolicy`" in TEXT
    assert "`sealmark:SigningContext:NAME`" in TEXT


def test_the_example_is_a_policy_that_decides_as_it_says() -> None:
    [example] = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    policy = parse_key_policy(json.loads(example), account=ACCOUNT)
    key = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1"

    def allows(principal: str, action: str, source: str = "10.1.2.3", ref: str = "refs/tags/v1") -> bool:
        context = {"aws:sourceip": (source,), "sealmark:signingcontext:ref": (ref,)}
        return evaluate(AccessRequest(principal, ACCOUNT, action, key, context), policy, (), ()).allowed

    assert allows("role/ci", "kms:SignArtifact")
    assert not allows("role/ci", "kms:SignArtifact", source="192.0.2.1")
    assert not allows("role/ci", "kms:SignArtifact", ref="refs/heads/main")
    assert not allows("role/ci", "kms:PutKeyPolicy")
    assert allows("user/key-admin", "kms:PutKeyPolicy")
    assert not allows("user/key-admin", "kms:SignArtifact")
