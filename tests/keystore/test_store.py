"""The sealed store: what is written is read, by many threads and processes at once, and none is refused by mistake."""

from __future__ import annotations

import multiprocessing
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from keystore.api import CredentialRecord, EnrolmentRecord, Issuer, PrincipalRecord
from keystore.db import open_database
from keystore.errors import Conflict, WrongState
from keystore.hsm import open_token
from keystore.keystore import Keystore
from keystore.queries import BoundedCache
from tests.databases import url_of
from tests.keystore.support import CHANGE, Place, TokenProxy, intent_for, new_key, policy_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keystore.configuration import HsmConfiguration
    from keystore.db import Value
    from tests.hsm_support import TestToken

NOW = datetime(2030, 1, 1, tzinfo=UTC)
VALUES: dict[str, Value] = {
    "duty": "key-user",
    "state": "enabled",
    "created_at": 1,
    "created_by": "user/admin",
    "enabled_until": None,
}


def principal(name: str) -> PrincipalRecord:
    return PrincipalRecord(name, "key-user", "enabled", NOW, "user/admin")


def test_a_row_goes_through_its_revisions(place: Place) -> None:
    store = place.warm.store
    with store.transaction() as transaction:
        assert transaction.get("principals", "role/ci") is None
        first = transaction.insert("principals", "role/ci", VALUES)
        assert transaction.get("principals", "role/ci") == first
        second = transaction.update(first, {"state": "disabled"})
        assert transaction.get("principals", "role/ci") == second
    assert store.get("principals", "role/ci") == second
    assert (second.revision, second.values) == (2, {**VALUES, "state": "disabled"})
    with pytest.raises(Conflict), store.transaction() as transaction:
        transaction.update(first, {"state": "deleted"})
    with pytest.raises(Conflict), store.transaction() as transaction:
        transaction.insert("principals", "role/ci", VALUES)
    assert store.get("principals", "role/ci") == second


def test_a_transaction_that_fails_leaves_nothing(place: Place) -> None:
    store = place.warm.store
    before = store.verify_everything()

    def fail_half_way() -> None:
        with store.transaction() as transaction:
            transaction.insert("principals", "role/ci", VALUES)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert store.get("principals", "role/ci") is None
    assert store.verify_everything() == before


def test_every_column_must_be_named(place: Place) -> None:
    with pytest.raises(ValueError, match="state"), place.warm.store.transaction() as transaction:
        transaction.insert("principals", "role/ci", {"duty": "key-user", "created_at": 1, "created_by": "user/admin"})


def test_a_selection_is_ordered_and_paged(place: Place) -> None:
    store = place.warm.store
    with store.transaction() as transaction:
        for number in range(5):
            state = "enabled" if number % 2 else "disabled"
            transaction.insert("principals", f"role/{number}", {**VALUES, "state": state})
    assert [row.id for row in store.select("principals", {"state": "disabled"})] == ["role/0", "role/2", "role/4"]
    assert [row.id for row in store.select("principals", limit=2)] == ["role/0", "role/1"]
    assert [row.id for row in store.select("principals", after="role/1", limit=2)] == ["role/2", "role/3"]
    assert store.select("principals", after="role/4", limit=2) == []


def test_a_checked_row_is_not_checked_by_the_hsm_again(place: Place) -> None:
    class Counted(TokenProxy):
        seals = 0

        def seal(self, message: bytes) -> bytes:
            self.seals += 1
            return super().seal(message)

    key = place.warm.create_key(new_key("release"))
    token = Counted(place.token)
    keystore = Keystore(token, place.warm.database)
    keystore.get_key("release")
    token.seals = 0
    for _ in range(10):
        assert keystore.get_key("release") == key
    assert token.seals == 0
    place.warm.create_key(new_key("other"))
    assert keystore.get_key("release") == key
    assert token.seals == 1  # the journal's new end


def test_the_memory_of_checked_rows_is_bounded() -> None:
    cache: BoundedCache[int, int] = BoundedCache(3)
    for number in range(10):
        cache.put(number, number)
        cache.put(number, -number)
    assert [cache.get(number) for number in range(10)] == [None] * 7 + [-7, -8, -9]


def in_threads(count: int, work: Callable[[int], object]) -> list[BaseException]:
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as failure:  # noqa: BLE001
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return failures


def test_threads_write_and_read_at_once(place: Place) -> None:
    key = place.warm.create_key(new_key("release"))

    def work(number: int) -> None:
        if number % 2:
            for step in range(10):
                place.warm.create_principal(principal(f"role/{number}-{step}"))
                users = (f"role/{number}-{step}",)
                place.warm.set_policy(key.id, policy_for(*users), CHANGE)
        else:
            for _ in range(200):
                assert place.warm.get_key("release").id == key.id
                place.warm.signing_key(intent_for(key))
                assert place.warm.find_principal("role/none") is None

    assert in_threads(8, work) == []
    assert len(place.warm.list_principals(None, 100)) == 40
    assert place.warm.get_key(key.id).policy.revision == 41
    assert place.warm.store.verify_everything()


def test_an_enrolment_is_used_once_by_many_at_once(place: Place) -> None:
    enrolment = EnrolmentRecord("e", "role/ci", b"c" * 32, "open", NOW, NOW + timedelta(days=1))
    place.warm.create_principal(principal("role/ci"), enrolment=enrolment)

    def work(number: int) -> None:
        credential = CredentialRecord(f"credential-{number}", "role/ci", b"h" * 32, "enabled", NOW, None)
        place.warm.use_enrolment("e", credential, NOW)

    failures = in_threads(8, work)
    assert [type(failure) for failure in failures] == [WrongState] * 7
    assert len(place.warm.store.select("credentials")) == 1


def test_an_alias_is_taken_once_by_many_at_once(place: Place) -> None:
    failures = in_threads(6, lambda _: place.warm.create_key(new_key("release")))
    assert [type(failure) for failure in failures] == [Conflict] * 5
    assert len(place.warm.list_keys(None, 100)) == 1


def write_in_a_process(configuration: HsmConfiguration, path: Path, name: str, count: int) -> None:
    token = open_token(configuration)
    database = open_database(url_of(path))
    keystore = Keystore(token, database)
    for number in range(count):
        key = keystore.create_key(new_key(f"{name}-{number}"))
        keystore.set_policy(key.id, policy_for(name), CHANGE)
        assert keystore.signing_key(intent_for(key)).sign(b"message")
        shared = keystore.get_key("shared")
        with suppress(Conflict):  # the other process was faster
            keystore.set_policy(shared.id, policy_for(name), CHANGE, revision=shared.policy.revision)
    database.close()
    token.close()


def test_processes_write_and_read_at_once(place: Place, founded: TestToken) -> None:
    place.warm.create_key(new_key("shared"))
    context = multiprocessing.get_context("spawn")
    arguments = [(founded.configuration, place.path, name, 25) for name in ("one", "two")]
    workers = [context.Process(target=write_in_a_process, args=argument) for argument in arguments]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        assert place.warm.get_key("shared").alias == "shared"
        for worker in workers:
            worker.join(0.01)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(place.warm.list_keys(None, 100)) == 51
    with place.fresh() as fresh:
        assert fresh.store.verify_everything()
        assert fresh.get_key("one-24").policy.document == policy_for("one")


def test_a_long_journal_is_followed_in_pieces(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keystore.journal.CHUNK", 7)
    with place.fresh() as behind:
        for number in range(10):
            place.warm.create_issuer(Issuer(f"i{number}", f"i{number}", "https://i.example", "i", NOW))
        with place.warm.store.transaction() as transaction:
            for number in range(30):
                transaction.insert("principals", f"role/{number}", VALUES)
        assert len(behind.list_principals(None, 100)) == 30
        assert len(behind.list_issuers()) == 10
    with place.fresh() as fresh:
        assert fresh.store.verify_everything()
