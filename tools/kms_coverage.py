"""docs/kms-coverage.md: `python -m tools.kms_coverage > docs/kms-coverage.md`, with botocore in .venv-aws.

What the tests hold against botocore's own model, operation by operation; tests/signer/kms/test_modelled_errors.py keeps
the page as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from signer.kms.operations import OPERATIONS
from tests.signer.kms.model import errors_of, input_of, operation_names
from tests.signer.kms.unprovoked import why_not

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "kms-coverage.md"
_HEAD: Final = """# AWS KMS, operation by operation

Made by `python -m tools.kms_coverage > docs/kms-coverage.md` from botocore's model of AWS KMS, and held by the tests
(`tests/signer/kms`), which read the model from the botocore that is installed. How to point a client here, and what
differs from AWS: [aws-kms.md](aws-kms.md).

*Members*: required + optional, each of them read as the model has it. *Bounds*: requests that each break one bound of
the model (a length, a range, a pattern, an enum, a type, a required member) and are refused in AWS's words by the
running service. *Errors*: those that the model lists, each provoked once with AWS's name and status.

| operation | members | bounds | errors provoked | errors not provoked |
|---|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    return _HEAD + "\n".join(_rows()) + "\n\n## Why some errors are not provoked\n\n" + "\n".join(_reasons()) + "\n"


def _rows() -> Iterator[str]:
    for name in operation_names():
        shape = input_of(name)
        required = len(shape.required)
        bounds = sum(len(list(member.broken())) + 1 for member in shape.members.values()) + 2 * required
        provoked, others = _errors(name)
        supported = "" if OPERATIONS[name].actions else " (not supported)"
        yield (
            f"| {name}{supported} | {required} + {len(shape.members) - required} | {bounds} | {', '.join(provoked)} "
            f"| {', '.join(others)} |"
        )


def _errors(name: str) -> tuple[list[str], list[str]]:
    """Those that are provoked and those that are not, without `Exception`."""
    provoked = [error for error in sorted(errors_of(name)) if why_not(name, error) is None]
    others = [error for error in sorted(errors_of(name)) if error not in provoked]
    return [_short(error) for error in provoked], [_short(error) for error in others]


def _reasons() -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for name in operation_names():
        for error in sorted(errors_of(name)):
            reason = why_not(name, error)
            if reason is not None:
                reasons.setdefault(reason, []).append(f"{name} {_short(error)}")
    for reason, where in sorted(reasons.items(), key=lambda each: (-len(each[1]), each[0])):
        yield f"- {reason}: {', '.join(where) if len(where) <= 16 else f'{len(where)} of them'}."


def _short(error: str) -> str:
    return error.removesuffix("Exception")


if __name__ == "__main__":
    print(page(), end="")
