"""Defect class: timing of unknown users. Unknown, wrong, ended, revoked, disabled and deleted cost the same work,
counted piece by piece: hashes, comparisons, statements, rounds to the HSM. No clock is asked here; what a clock says is
printed by `python -m tests.signer.authn.timing`."""

from __future__ import annotations

import hmac
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from signer.administration import credentials
from signer.authn import bearer
from tests.signer.authn.people import CASES, CODES, SERVED, Cast, cast_of
from tests.signer.service import running_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keystore.hsm import Token


@pytest.fixture(scope="module")
def cast(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    with running_service(token, tmp_path_factory.mktemp("timing")) as service:
        yield cast_of(service)


@pytest.fixture
def work(cast: Cast, token: Token, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts every piece of work of authentication from now on."""
    done: Counter[str] = Counter()

    def counted(owner: Any, name: str, label: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def counting(*arguments: Any, **named: Any) -> Any:
            if threading.current_thread() is threading.main_thread():  # the service has work of its own meanwhile
                done[label] += 1
            return original(*arguments, **named)

        monkeypatch.setattr(owner, name, counting)

    keystore = cast.service.services.keystore
    counted(bearer, "stored_form", "hashes")
    counted(credentials, "stored_form", "hashes")
    counted(hmac, "compare_digest", "comparisons")
    counted(keystore.database, "fetch", "statements")
    counted(keystore.store, "_read_checked", "checked reads")
    counted(keystore.store.sealer, "is_row", "HMACs in the HSM")
    counted(keystore.store.sealer, "is_link", "HMACs in the HSM")
    return done


def work_of(work: Counter[str], attempt: Callable[[str], int], secret: str) -> tuple[int, dict[str, int]]:
    attempt(secret)  # whatever is remembered of a row that was read before is remembered now
    work.clear()
    return attempt(secret), dict(work)


def test_every_wrong_token_costs_the_same_work(cast: Cast, work: Counter[str]) -> None:
    found = {name: work_of(work, cast.show, cast.tokens[name]) for name in CASES}
    assert found == {
        name: (200 if name in SERVED else 401, {"hashes": 1, "comparisons": 1, "statements": 2}) for name in CASES
    }


def test_every_wrong_code_costs_the_same_work(cast: Cast, work: Counter[str]) -> None:
    found = {name: work_of(work, cast.spend, cast.codes[name]) for name in CODES}
    assert found == {name: (401, {"hashes": 1, "comparisons": 1, "statements": 2}) for name in CODES}


def test_every_wrong_credential_is_answered_word_for_word_alike(cast: Cast) -> None:
    answers = [cast.service.call(cast.tokens[name], "GET", "/v1/whoami") for name in CASES if name not in SERVED]
    bodies = [{**answer.get_json(), "request_id": ""} for answer in answers]
    headers = [sorted(name for name, _ in answer.headers) for answer in answers]
    assert all(body == bodies[0] for body in bodies)
    assert all(names == headers[0] for names in headers)


def test_a_key_that_may_not_be_seen_costs_what_one_that_is_not_there_costs_in_statements(
    cast: Cast, work: Counter[str]
) -> None:
    cast.service.make_key("hidden", users=[])
    statements = {}
    for name in ("hidden", "not-there"):
        status, done = work_of(work, cast.look_at, name)
        assert status == 404
        statements[name] = done["statements"]
    assert statements["hidden"] == statements["not-there"]
