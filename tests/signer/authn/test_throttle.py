"""Failed attempts wait: counted by source and by claim, before any look-up, in bounded memory."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import pytest

from signer.authn.throttle import FIRST_WAIT, LONGEST_WAIT, MOST, WINDOW, Throttle
from signer.authn.tokens import new_enrolment_code, new_token
from signer.errors import TooManyRequests, Unauthenticated
from tests.signer.service import ServiceInProcess, running_service
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from werkzeug.test import TestResponse

    from keystore.hsm import Token

HERE: Final = "192.0.2.1"
ELSEWHERE: Final = "198.51.100.7"


class Moment:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.present = 1000.0

    def __call__(self) -> float:
        return self.present


@pytest.fixture
def moment() -> Moment:
    return Moment()


@pytest.fixture
def throttle(moment: Moment) -> Throttle:
    return Throttle(now=moment)


def fail(throttle: Throttle, times: int = MOST, source: str = HERE) -> None:
    for _ in range(times):
        throttle.failed(source, new_token())


def wait_of(throttle: Throttle, source: str = HERE, claimed: str | None = "smk_new") -> int:
    """The seconds that an attempt has to wait, 0 if it is let through."""
    try:
        throttle.admit(source, claimed)
    except TooManyRequests as refusal:
        return refusal.retry_after
    return 0


def test_a_source_that_fails_too_often_waits(throttle: Throttle, moment: Moment) -> None:
    fail(throttle, MOST - 1)
    assert wait_of(throttle) == 0
    fail(throttle, 1)
    assert wait_of(throttle) == FIRST_WAIT
    assert wait_of(throttle, ELSEWHERE) == 0
    moment.present += FIRST_WAIT - 0.5
    assert wait_of(throttle) == 1
    moment.present += 0.5
    assert wait_of(throttle) == 0


def test_each_further_failure_waits_twice_as_long_up_to_a_bound(throttle: Throttle, moment: Moment) -> None:
    fail(throttle)
    waits = [wait_of(throttle)]
    for _ in range(8):
        moment.present += waits[-1]
        fail(throttle, 1)
        waits.append(wait_of(throttle))
    assert waits == [5, 10, 20, 40, 80, 160, LONGEST_WAIT, LONGEST_WAIT, LONGEST_WAIT]


def test_failures_are_forgotten_after_a_while(throttle: Throttle, moment: Moment) -> None:
    fail(throttle, MOST - 1)
    moment.present += WINDOW + 1
    fail(throttle, MOST - 1)
    assert wait_of(throttle) == 0
    fail(throttle, 1)
    moment.present += FIRST_WAIT + WINDOW + 1
    fail(throttle, 1)  # after a quiet time the first one again, not the eleventh
    assert wait_of(throttle) == 0


def test_attempts_that_were_under_way_together_wait_once(throttle: Throttle) -> None:
    fail(throttle, MOST + 30)
    assert wait_of(throttle) == FIRST_WAIT


def test_one_claim_from_everywhere_waits_too(throttle: Throttle) -> None:
    """A token that has ended, in a script that runs on many machines."""
    for number in range(MOST):
        throttle.failed(f"192.0.2.{number}", "Bearer smk_ended")
    assert wait_of(throttle, ELSEWHERE, "Bearer smk_ended") == FIRST_WAIT
    assert wait_of(throttle, ELSEWHERE, "Bearer smk_other") == 0


def test_who_was_right_before_is_let_through_behind_the_same_address(throttle: Throttle) -> None:
    throttle.succeeded("Bearer smk_right")
    fail(throttle)
    assert wait_of(throttle, HERE, "Bearer smk_right") == 0
    assert wait_of(throttle, HERE, "Bearer smk_newcomer") == FIRST_WAIT


def test_who_was_right_and_is_wrong_now_waits_like_others(throttle: Throttle) -> None:
    throttle.succeeded("Bearer smk_right")
    fail(throttle)
    throttle.failed(HERE, "Bearer smk_right")
    assert wait_of(throttle, HERE, "Bearer smk_right") > 0


def test_no_credential_is_no_attempt_and_no_pass(throttle: Throttle) -> None:
    for _ in range(5 * MOST):
        throttle.failed(HERE, None)
    assert wait_of(throttle) == 0
    throttle.succeeded(None)
    fail(throttle)
    assert wait_of(throttle, HERE, None) == FIRST_WAIT


@pytest.mark.parametrize(
    ("failing", "trying", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("unknown", "unknown", True),
        ("not:an:address", "not:an:address", True),
    ],
)
def test_a_network_of_one_holder_counts_as_one_source(
    throttle: Throttle, failing: str, trying: str, same: bool
) -> None:
    fail(throttle, source=failing)
    assert (wait_of(throttle, trying) > 0) is same


def test_memory_is_bounded_whatever_comes(moment: Moment) -> None:
    throttle = Throttle(now=moment, places=50)
    for number in range(2000):
        throttle.failed(f"10.0.{number >> 8}.{number & 255}", f"smk_{number}")
        throttle.succeeded(f"smk_right_{number}")
    assert len(throttle._failures) <= 50
    assert len(throttle._right) + len(throttle._right_before) <= 100
    assert wait_of(throttle, "10.0.7.207", "smk_right_1999") == 0


def test_nothing_of_a_secret_is_kept(throttle: Throttle) -> None:
    token = f"Bearer {new_token()}"
    throttle.failed(HERE, token)
    throttle.succeeded(token)
    assert "smk_" not in repr(vars(throttle))


def test_a_block_that_raises_anything_else_is_no_failed_attempt(throttle: Throttle) -> None:
    for _ in range(2 * MOST):
        with pytest.raises(ValueError, match="x"), throttle.attempt(HERE, "sme_code"):
            raise ValueError("x")
    assert wait_of(throttle) == 0
    for _ in range(MOST):
        with pytest.raises(Unauthenticated), throttle.attempt(HERE, new_enrolment_code()):
            raise Unauthenticated("no")
    with pytest.raises(TooManyRequests), throttle.attempt(HERE, "sme_code"):
        pytest.fail("the block ran")


@pytest.fixture
def guarded(token: Token, tmp_path_factory: pytest.TempPathFactory, moment: Moment) -> Iterator[ServiceInProcess]:
    """A service with the throttle that every service has."""
    with running_service(token, tmp_path_factory.mktemp("guarded"), throttle=Throttle(now=moment)) as service:
        yield service


def enrol(service: ServiceInProcess, code: str) -> TestResponse:
    return service.call(None, "POST", "/v1/enrolments", {"code": code})


def counted_fetches(service: ServiceInProcess, patch: pytest.MonkeyPatch) -> list[str]:
    database = service.services.keystore.database
    asked: list[str] = []
    fetch = database.fetch

    def counting(sql: str, *arguments: Any, **named: Any) -> Any:
        asked.append(sql)
        return fetch(sql, *arguments, **named)

    patch.setattr(database, "fetch", counting)
    return asked


def test_guessing_is_stopped_before_any_look_up_on_every_door(
    guarded: ServiceInProcess, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = guarded.make_key("release", purpose="general")["id"]
    assert guarded.call("role/ci", "GET", "/v1/whoami").status_code == 200
    signing, message = f"/v1/keys/{key}/signatures", {"message": "AAAA"}
    for attempt in range(MOST):
        door = attempt % 3
        if door == 0:
            answer = guarded.call(new_token(), "GET", "/v1/whoami")
        elif door == 1:
            answer = enrol(guarded, new_enrolment_code())
        else:
            answer = guarded.call(new_token(), "POST", signing, message)  # the short way of signing calls
        assert_refused(answer, 401, "unauthenticated", "code" if door == 1 else None)
    asked = counted_fetches(guarded, monkeypatch)
    for answer in (
        guarded.call(new_token(), "GET", "/v1/whoami"),
        guarded.call(new_token(), "GET", f"/v1/keys/{key}/public-key"),
        enrol(guarded, new_enrolment_code()),
        guarded.call(new_token(), "POST", signing, message),
    ):
        assert "5 s" in assert_refused(answer, 429, "too_many_requests")
        assert answer.headers["Retry-After"] == "5"
    assert [sql for sql in asked if "credentials" in sql or "enrolments" in sql or "principals" in sql] == []
    # Who works behind the same address goes on; a valid token that was never seen here waits.
    assert guarded.call("role/ci", "POST", signing, message).status_code == 200
    assert guarded.call("role/other", "GET", "/v1/whoami").status_code == 429
    moment.present += FIRST_WAIT
    assert guarded.call("role/other", "GET", "/v1/whoami").status_code == 200


def test_refusals_before_authentication_are_counted_not_recorded(guarded: ServiceInProcess) -> None:
    ids = [guarded.call(new_token(), "GET", "/v1/whoami").headers["X-Request-Id"] for _ in range(MOST + 2)]
    assert all(guarded.outcomes(each) == [] for each in ids)
    counted = {"unauthenticated": {"unauthenticated": MOST}, "too_many_requests": {"too_many_requests": 2}}
    assert guarded.services.audit._counts == counted


def test_a_crowd_of_guesses_gets_no_more_than_its_threads(guarded: ServiceInProcess) -> None:
    """Counted under a lock: however they interleave, none is lost."""
    start = threading.Barrier(8)

    def guess() -> None:
        start.wait()
        for _ in range(5):
            guarded.services.throttle.failed(HERE, new_token())

    threads = [threading.Thread(target=guess) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert guarded.services.throttle._failures[HERE].count == 40
