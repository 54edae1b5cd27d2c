"""What a check says: OK, WARN or FAIL, in words, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a check ended."""

    OK = "OK"
    WARN = "WARN"  # it works; a person should look at it
    FAIL = "FAIL"  # the service does not work, or not safely


@dataclass(frozen=True, slots=True)
class Finding:
    """One check, by its stable name."""

    check: str
    status: Status
    says: str
    advice: str | None = None

    def described(self) -> dict[str, str]:
        """As JSON."""
        members = {"check": self.check, "status": str(self.status), "says": self.says, "advice": self.advice}
        return {name: value for name, value in members.items() if value is not None}


def ok(check: str, says: str) -> Finding:
    """Nothing to do."""
    return Finding(check, Status.OK, says)


def warn(check: str, says: str, advice: str) -> Finding:
    """It works, and yet."""
    return Finding(check, Status.WARN, says, advice)


def fail(check: str, says: str, advice: str) -> Finding:
    """It does not."""
    return Finding(check, Status.FAIL, says, advice)


Check = Callable[[], Iterator[Finding]]


def run(check: str, look: Check) -> Iterator[Finding]:
    """The findings of a check; one that breaks off is a finding too, by the kind of what went wrong: the words of a
    stranger's exception may hold anything."""
    try:
        yield from look()
    except Exception as error:  # noqa: BLE001 - a doctor who dies says nothing of the rest
        yield fail(check, f"could not be looked at: {type(error).__name__}", "report this, with what was done before")
