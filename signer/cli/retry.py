"""When a call is tried again and for how long: with patience, within bounds, and never what might be done twice."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_random_exponential

from signer.cli.errors import CommandFailed
from signer.cli.output import note


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """How long a call is tried: at most `attempts` times, waiting at most `seconds` in all."""

    attempts: int = 6
    seconds: float = 60.0
    first_wait: float = 0.5  # seconds; the waits grow twofold from here, with jitter


class TryAgain(CommandFailed):
    """A failure after which the same call may be made again, `retry_after` seconds later where the service said so."""

    retry_after: float = 0.0


def parse_retry_after(value: str | None, now: datetime) -> float:
    """Seconds to wait by a Retry-After header, seconds or a date (RFC 9110 section 10.2.3); 0 where it says nothing."""
    if value is None:
        return 0.0
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, math.ceil((moment - now).total_seconds()))


def retrying(limits: RetryLimits, sleep: Callable[[float], None]) -> Retrying:
    """Tries again on `TryAgain` alone; the last failure is raised as it is."""
    jitter = wait_random_exponential(multiplier=limits.first_wait, max=limits.seconds)

    def wait(state: RetryCallState) -> float:
        failure = state.outcome.exception() if state.outcome is not None else None
        asked = failure.retry_after if isinstance(failure, TryAgain) else 0.0
        return max(asked, jitter(state))

    def tell(state: RetryCallState) -> None:
        failure = state.outcome.exception() if state.outcome is not None else None
        if isinstance(failure, TryAgain) and state.upcoming_sleep >= 1:
            note(f"{failure.code}: trying again in {state.upcoming_sleep:.0f} s")

    return Retrying(
        retry=retry_if_exception_type(TryAgain),
        wait=wait,
        stop=stop_after_attempt(limits.attempts) | stop_before_delay(limits.seconds),
        sleep=sleep,
        before_sleep=tell,
        reraise=True,
    )
