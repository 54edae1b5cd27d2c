"""The table of AWS's documented examples, read from `aws_examples/*.json`: document, request, outcome, source.

The policies are those of AWS's guides (their samples are MIT-0), with the account 111122223333 of AWS's examples as the
deployment's own. "Principals who can assume the role" are the role itself. `adapted` says what else was changed.

    python -m tests.signer.access.aws_examples

writes `docs/policy-examples.md` anew from the table.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from tests.signer.access.reference_evaluator import ENCRYPTION_CONTEXT, SIGNING_CONTEXT, Question

PAGE: Final = Path(__file__).resolve().parents[3] / "docs" / "policy-examples.md"
FOLDER: Final = Path(__file__).with_name("aws_examples")
KEY: Final = "arn:aws:kms:us-west-2:{account}:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@dataclass(frozen=True)
class Source:
    """Where AWS says so."""

    guide: str
    page: str
    section: str
    url: str

    def __str__(self) -> str:
        return f"{self.page}: {self.section}"


@dataclass(frozen=True)
class Refusal:
    """Which document is not stored, where in it the reason is (a JSON pointer), and the reason in words."""

    document: str
    pointer: str
    why: str


@dataclass(frozen=True)
class Row:
    """One request of one example, and what AWS documents for it."""

    what: str
    question: Question
    outcome: str  # allowed, denied (nothing allows it), explicitly denied


@dataclass(frozen=True)
class Example:
    """One example of a page."""

    source: Source
    account: str
    adapted: str | None
    key_policy: dict[str, Any] | None
    identity_policies: tuple[tuple[str, dict[str, Any]], ...]
    grants: tuple[dict[str, Any], ...]
    refused: Refusal | None
    rows: tuple[Row, ...]


@cache
def examples() -> tuple[Example, ...]:
    """All of them, page by page."""
    return tuple(
        _example(page, example)
        for path in sorted(FOLDER.glob("*.json"))
        for page in (json.loads(path.read_text()),)
        for example in page["examples"]
    )


def _example(page: dict[str, Any], example: dict[str, Any]) -> Example:
    account = page["account"]
    return Example(
        source=Source(page["guide"], page["page"], example["section"], page["url"]),
        account=account,
        adapted=example.get("adapted"),
        key_policy=example.get("key_policy"),
        identity_policies=tuple(example.get("identity_policies", {}).items()),
        grants=tuple(example.get("grants", ())),
        refused=Refusal(**example["refused"]) if "refused" in example else None,
        rows=tuple(_row(case, account) for case in example["cases"]),
    )


def _row(case: dict[str, Any], account: str) -> Row:
    resource = case.get("resource", KEY.format(account=account))
    context = {
        _as_in_a_request(key): tuple(values) if isinstance(values, list) else (values,)
        for key, values in case.get("context", {}).items()
    }
    return Row(case["case"], Question(case["principal"], account, case["action"], resource, context), case["outcome"])


def _as_in_a_request(key: str) -> str:
    """Condition keys are in lower case, but for the caller's own keys of a context."""
    for prefix in (ENCRYPTION_CONTEXT, SIGNING_CONTEXT):
        if key.lower().startswith(prefix):
            return prefix + key[len(prefix) :]
    return key.lower()


_INTRODUCTION: Final = """# AWS's examples, as they are decided here

Key policies, identity policies and grants mean here what AWS documents. Each line below is one of AWS's own documented
examples, put to the service's evaluator and to a second one, written from AWS's documentation alone
(`tests/signer/access/reference_evaluator.py`); both decide as documented. The documents, and what was adapted in each,
are in `tests/signer/access/aws_examples/`; `tests/signer/access/test_aws_examples.py` tries them in every run,
and holds this page against the table. `python -m tests.signer.access.aws_examples` writes it anew.

*Denied* means that nothing allows it, *explicitly denied* that a Deny applies. Some requests have what only AWS's own
surroundings have (a calling service, MFA): policies may ask for it, but no request here ever has it. The boundary of
duties and the separation of duties stand before and beside all this: they can only refuse more.
"""
_HEAD: Final = "| example | who asks for what | outcome |\n|---|---|---|\n"
_REFUSED: Final = """
## What is not stored here

A document that asks for what does not exist here is refused when it is stored, by the place that says it.

| example | place | why |
|---|---|---|
"""


def page() -> str:
    """`docs/policy-examples.md`, from the table."""
    lines = [_INTRODUCTION]
    stored = [example for example in examples() if not example.refused]
    for source, group in groupby(stored, key=lambda example: replace(example.source, section="")):
        lines.append(f"\n## {source.guide}: [{source.page}]({source.url})\n\n{_HEAD}")
        lines += [_line(example, row) for example in group for row in example.rows]
    lines.append(_REFUSED)
    for example in examples():
        if example.refused:
            lines.append(
                f"| [{_cell(str(example.source))}]({example.source.url}) | `{example.refused.pointer}` of the "
                f"{example.refused.document} | {_cell(example.refused.why)} |\n"
            )
    return "".join(lines)


def _line(example: Example, row: Row) -> str:
    asked = f"{_cell(row.what)}: `{row.question.principal}`, `{row.question.action}`"
    return f"| {_cell(example.source.section)} | {asked} | {row.outcome} |\n"


def _cell(text: str) -> str:
    return re.sub(r"([|*])", r"\\\1", text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
