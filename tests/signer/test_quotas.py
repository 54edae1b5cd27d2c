"""Quotas: never more than the configuration has, in all workers together; a refusal says which, and until when."""

from __future__ import annotations

import json
import threading
import time
import tomllib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from keystore.errors import StoreUnavailable
from signer.access.duties import Action
from signer.config import ServerConfiguration
from signer.errors import ConfigurationError, QuotaExceeded
from signer.quota_settings import Quota, read_quotas
from signer.quotas import Quotas, report_strange_quotas
from tests.keystore.support import make_database, own_texts
from tests.signer.service import MovedClock, ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.db.engine import Database
    from keystore.hsm import Token

ADA, BEN = "role/ada", "role/ben"
DAY = datetime(2026, 11, 26, 12, 30, 15, tzinfo=UTC)
CONFIGURED = """
[[quotas]]
name = "few-a-day"
principal = "role/ci"
key = "scarce"
action = ["Sign"]
every = "day"
items = 5

[[quotas]]
name = "looks"
principal = "user/aud*"
every = "hour"
requests = 2
"""


@pytest.fixture(scope="module")
def database(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with own_texts(token) as own:
        made = make_database(tmp_path_factory.mktemp("quotas") / "sealmark.db", own)
        yield made
        made.close()


@pytest.fixture(scope="module")
def world(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceInProcess]:
    quotas = read_quotas("quotas", tomllib.loads(CONFIGURED)["quotas"])
    configuration = replace(ServerConfiguration(), quotas=quotas)
    folder = tmp_path_factory.mktemp("quotas")
    with running_service(token, folder, clock=MovedClock(datetime.now(UTC)), configuration=configuration) as service:
        service.make_key("scarce", "ECC_NIST_P256", "general")
        service.make_key("plenty", "ECC_NIST_P256", "general")
        yield service


def taken(quotas: Quotas, times: int, principal: str = ADA, items: int = 1) -> int:
    """How many of so many calls were let through."""
    passed = 0
    for _ in range(times):
        try:
            quotas.take(principal, Action.SIGN, None, items)
        except QuotaExceeded:
            continue
        passed += 1
    return passed


def test_workers_together_never_have_more(database: Database) -> None:
    rules = [Quota("exact", "minute", requests=500)]
    workers = [Quotas(database, MovedClock(DAY), rules) for _ in range(4)]
    passed: list[int] = []
    threads = [threading.Thread(target=lambda one=one: passed.append(taken(one, 300))) for one in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 485 <= sum(passed) <= 500
    assert sum(passed) + sum(taken(one, 100) for one in workers) <= 500


def test_one_worker_has_all_of_it_and_each_caller_its_own(database: Database) -> None:
    quotas = Quotas(database, MovedClock(DAY), [Quota("own", "minute", requests=100)])
    assert taken(quotas, 150) == 100
    assert taken(quotas, 150, BEN) == 100


def test_a_new_window_begins_with_the_clock(database: Database) -> None:
    clock = MovedClock(DAY)
    quotas = Quotas(database, clock, [Quota("windows", "minute", requests=3)])
    assert taken(quotas, 5) == 3
    with pytest.raises(
        QuotaExceeded, match="quota windows: the 3 requests of the caller a minute are used up"
    ) as refused:
        quotas.take(ADA, Action.SIGN, None)
    assert refused.value.retry_after == 45
    clock.move(timedelta(seconds=45))
    assert taken(quotas, 5) == 3


def test_what_was_not_used_is_carried_over_up_to_the_burst(database: Database) -> None:
    clock = MovedClock(DAY)
    quotas = Quotas(database, clock, [Quota("bursts", "minute", requests=10, burst=5)])
    assert taken(quotas, 8) == 8
    clock.move(timedelta(minutes=1))
    assert taken(quotas, 50) == 12
    clock.move(timedelta(minutes=1))
    assert taken(quotas, 50) == 10
    clock.move(timedelta(minutes=10))
    assert taken(quotas, 50) == 15


def test_a_clock_that_is_behind_does_not_begin_a_window_anew(database: Database) -> None:
    ahead, behind = MovedClock(DAY + timedelta(minutes=1)), MovedClock(DAY)
    rules = [Quota("clocks", "minute", requests=3)]
    assert taken(Quotas(database, ahead, rules), 2) == 2
    assert taken(Quotas(database, behind, rules), 5) == 1


def test_a_call_that_does_not_fit_takes_nothing(database: Database) -> None:
    rules = [Quota("calls", "day", requests=10), Quota("pieces", "day", items=10)]
    quotas = Quotas(database, MovedClock(DAY), rules)
    assert taken(quotas, 1, items=8) == 1
    assert taken(quotas, 20, items=3) == 0
    assert taken(quotas, 20, items=1) == 2
    quotas = Quotas(database, MovedClock(DAY), rules[:1])
    assert taken(quotas, 20) == 6  # three were used, and the first worker holds the one that it gave back


def test_what_is_used_up_costs_no_further_claim(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    quotas = Quotas(database, MovedClock(DAY), [Quota("cheap", "day", requests=640)])
    writes = []
    write = database.write

    def counted() -> object:
        writes.append(1)
        return write()

    monkeypatch.setattr(database, "write", counted)
    assert taken(quotas, 2_000) == 640
    assert len(writes) < 130


def test_a_database_that_is_away_refuses(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    quotas = Quotas(database, MovedClock(DAY), [Quota("closed", "day", requests=640)])

    def away() -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(database, "write", away)
    with pytest.raises(StoreUnavailable):
        quotas.take(ADA, Action.SIGN, None)


def signed(world: ServiceInProcess, alias: str, items: int = 1) -> Any:
    body = {"items": [{"message": "AAAA"}] * items} if items > 1 else {"message": "AAAA"}
    return world.call("role/ci", "POST", f"/v1/keys/{alias}/signatures", body)


def test_a_used_up_quota_is_named_counted_and_not_recorded(world: ServiceInProcess) -> None:
    audit = world.services.audit
    audit._counted_at = time.monotonic()
    assert signed(world, "scarce", 4).status_code == 200
    refused = signed(world, "scarce", 2)
    assert refused.status_code == 429
    assert refused.get_json()["code"] == "quota_exceeded"
    assert "few-a-day" in refused.get_json()["detail"]
    assert 0 < int(refused.headers["Retry-After"]) <= 86_400
    assert world.outcomes(refused.headers["X-Request-Id"]) == []
    assert world.intents(refused.headers["X-Request-Id"]) == []
    assert audit._counts["quota_exceeded"] == {"few-a-day role/ci": 1}
    assert signed(world, "scarce").status_code == 200
    assert signed(world, "plenty", 9).status_code == 200


def test_it_is_a_throttling_exception_of_aws(world: ServiceInProcess) -> None:
    body = {"KeyId": "alias/scarce", "Message": "AAAA", "SigningAlgorithm": "ECDSA_SHA_256"}
    answers = [world.kms("role/ci", "Sign", body) for _ in range(6)]
    assert answers[-1].status_code == 400
    assert json.loads(answers[-1].get_data())["__type"] == "ThrottlingException"
    assert "few-a-day" in json.loads(answers[-1].get_data())["message"]
    assert int(answers[-1].headers["x-amz-retry-after"]) == 1000 * int(answers[-1].headers["Retry-After"])


def test_who_may_not_use_the_key_uses_up_nothing(world: ServiceInProcess) -> None:
    for _ in range(6):
        assert world.call("role/other", "POST", "/v1/keys/plenty/signatures", {"message": "AAAA"}).status_code == 404
    assert signed(world, "plenty").status_code == 200


def test_looks_have_quotas_too(world: ServiceInProcess) -> None:
    answers = [world.call("user/auditor", "GET", "/v1/audit/entries").status_code for _ in range(3)]
    assert answers == [200, 200, 429]


MALFORMED = [
    ({"name": "A"}, "quotas[0].every is one of second, minute, hour, day"),
    ({"name": "A", "every": "day", "items": 1}, "quotas[0].name is 1 to 63 of"),
    ({"name": "a", "every": "day"}, "quotas[0] limits nothing: give requests or items"),
    ({"name": "a", "every": "day", "items": 0}, "quotas[0].items is a whole number from 1"),
    ({"name": "a", "every": "day", "items": True}, "quotas[0].items is a whole number"),
    ({"name": "a", "every": "day", "items": 1, "burst": -1}, "quotas[0].burst is a whole number from 0"),
    ({"name": "a", "every": "day", "items": 1, "principal": "ada"}, "quotas[0].principal is user/NAME or role/NAME"),
    ({"name": "a", "every": "day", "items": 1, "key": "a?"}, "quotas[0].key is a key's id or alias"),
    ({"name": "a", "every": "day", "items": 1, "action": "Sing"}, "quotas[0].action: there is no action Sing"),
    ({"name": "a", "every": "day", "items": 1, "each": "one"}, "quotas[0].each is one of principal, key"),
    ({"name": "a", "every": "day", "items": 1, "limit": 1}, "quotas[0].limit is not a setting"),
]


@pytest.mark.parametrize(("table", "words"), MALFORMED)
def test_what_no_quota_is(table: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_quotas("quotas", [table])
    assert words in str(refused.value)


def test_a_name_twice() -> None:
    with pytest.raises(ConfigurationError, match="named twice"):
        read_quotas("quotas", [{"name": "a", "every": "day", "items": 1}] * 2)


def test_quotas_of_nobody_are_told(world: ServiceInProcess, capsys: pytest.CaptureFixture[str]) -> None:
    keystore = world.services.keystore
    quotas = [
        Quota("there", "day", principal="role/ci", key="scarce", items=1),
        Quota("not-there", "day", principal="role/nobody", key="no-key", items=1),
        Quota("pattern", "day", principal="role/no*", items=1),
    ]
    report_strange_quotas(quotas, keystore)
    told = capsys.readouterr()
    said = told.out + told.err
    assert said.count("quota_names_nobody") == 2
    assert "role/nobody" in said
    assert "no-key" in said
