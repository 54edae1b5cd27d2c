"""The lane over a real service: what calls read they share within a moment, and what is changed counts at once."""

from __future__ import annotations

import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import select, update

from keystore.db.schema import PRINCIPALS
from signer.admission import FairQueue
from signer.lane.heads import HeadReader
from signer.lane.lane import Lane
from signer.lane.roads import Roads
from signer.problems import code_of
from signer.web.signing import OPERATIONS
from tests.signer.lane.harness import Caller, Host, Running, Writer, answer_of, close_all, request_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

    from keystore.api import BackingKey
    from signer.lane.flight import Flight
    from tests.signer.service import ServiceInProcess

KEEPER: Final = "user/key-admin"


class Refusing(Host):
    """Says the code of what a call is refused with."""

    def refuse(self, flight: Flight, error: Exception) -> None:
        assert self.lane is not None
        self.lane.answered(flight, answer_of(code_of(error).encode(), 400), closes=False)


@contextmanager
def running_over(service: ServiceInProcess, elsewhere: Executor | None = None) -> Iterator[Running]:
    services, host = service.services, Refusing()
    roads: Any = Roads(services, OPERATIONS)
    reads = services.keystore.store.moment
    queue: FairQueue[Flight] = FairQueue(1_000, 1_000)
    host.lane = Lane(
        host, HeadReader(roads), services.audit.log, reads, server="test", queue=queue, elsewhere=elsewhere
    )
    host.lane.start()
    made = Running(host.lane, host, roads, Writer())
    yield made
    host.lane.stop()
    close_all(made)


@pytest.fixture
def running(service: ServiceInProcess) -> Iterator[Running]:
    with running_over(service) as made:
        yield made


class Signer:
    """Somebody new who may use a key of its own, over one connection that it keeps."""

    def __init__(self, service: ServiceInProcess, running: Running) -> None:
        self.name = f"role/x{uuid.uuid4().hex[:12]}"
        made = service.made("user/admin", "POST", "/v1/principals", {"name": self.name, "duty": "key-user"})
        self.token = service.made(None, "POST", "/v1/enrolments", {"code": made["enrolment_code"]})["token"]
        service.tokens[self.name] = self.token
        self.key = service.make_key(f"k{uuid.uuid4().hex[:12]}", purpose="general", users=[self.name])["id"]
        self.running = running
        self._caller = running.caller()

    def request(self, message: str = "AAAA") -> bytes:
        octets = request_of({"message": message}, path=f"/v1/keys/{self.key}/signatures")
        return octets.replace(b"Bearer smk_x", f"Bearer {self.token}".encode())

    def signs(self, caller: Caller | None = None) -> str:
        """Empty, or the code of the refusal."""
        caller = caller or self._caller
        caller.send(self.request())
        status, _, body = caller.answer()
        if status == 200:
            assert json.loads(body)["results"][0]["proof"].startswith("c2sp.org/tlog-proof@v1\n")
        return "" if status == 200 else body.decode()


@contextmanager
def asking_meanwhile(signer: Signer, callers: int) -> Iterator[None]:
    """Others ask the same all the time, so that rounds are full and moments follow one another."""
    over = threading.Event()

    def ask(caller: Caller) -> None:
        while not over.is_set():
            signer.signs(caller)

    threads = [threading.Thread(target=ask, args=(signer.running.caller(),)) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(30)


def test_every_change_counts_at_the_next_request_under_load(service: ServiceInProcess, running: Running) -> None:
    signer = Signer(service, running)
    policy = f"/v1/keys/{signer.key}/policy"
    with asking_meanwhile(signer, 6):
        for _ in range(5):
            assert signer.signs() == ""
            service.made(KEEPER, "PUT", policy, {"administrators": [KEEPER], "users": []})
            assert signer.signs() in ("policy_forbids", "not_found")
            service.made(KEEPER, "PUT", policy, {"administrators": [KEEPER], "users": [signer.name]})
            assert signer.signs() == ""
            service.made(KEEPER, "POST", f"/v1/keys/{signer.key}/disable", {})
            assert signer.signs() == "wrong_state"
            service.made(KEEPER, "POST", f"/v1/keys/{signer.key}/enable", {})
        assert signer.signs() == ""
        service.made("user/admin", "DELETE", f"/v1/principals/{signer.name}")
        assert signer.signs() == "unauthenticated"


def test_a_row_that_was_tampered_with_is_seen_at_its_next_use(service: ServiceInProcess, running: Running) -> None:
    signer, database = Signer(service, running), service.services.keystore.database
    mine = PRINCIPALS.c.id == signer.name
    with database.read() as connection:
        created_by = connection.execute(select(PRINCIPALS.c.created_by).where(mine)).scalar_one()
    with asking_meanwhile(signer, 4):
        for _ in range(3):
            assert signer.signs() == ""
            with database.write() as connection:
                connection.execute(update(PRINCIPALS).where(mine).values(created_by="user/mallory"))
            assert signer.signs() == "integrity_failure"
            with database.write() as connection:
                connection.execute(update(PRINCIPALS).where(mine).values(created_by=created_by))


def test_calls_of_one_round_read_what_they_share_once(
    service: ServiceInProcess, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = Signer(service, running)
    assert signer.signs() == ""
    database = service.services.keystore.database
    fetched: list[str] = []
    fetch = type(database).fetch

    def counted(self: Any, sql: str, parameters: Any, **named: Any) -> Any:
        if threading.current_thread().name == "lane":
            fetched.append(sql)
        return fetch(self, sql, parameters, **named)

    monkeypatch.setattr(type(database), "fetch", counted)
    caller = running.caller()
    caller.send(signer.request())
    assert caller.answer()[0] == 200
    alone = len(fetched)
    fetched.clear()
    hold, held = threading.Event(), threading.Event()

    def stand_still() -> None:
        held.set()
        hold.wait(20)

    running.lane._post(stand_still)
    assert held.wait(20)
    callers = [running.caller() for _ in range(10)]
    for each in callers:
        each.send(signer.request())
    hold.set()
    assert [each.answer()[0] for each in callers] == [200] * 10
    assert 0 < len(fetched) <= 2 * alone


def test_nothing_is_shared_outside_of_a_moment_or_after_a_write_of_ones_own(service: ServiceInProcess) -> None:
    store = service.services.keystore.store
    signer = f"role/x{uuid.uuid4().hex[:12]}"
    with store.moment():
        assert store.get("principals", signer) is None
        service.made("user/admin", "POST", "/v1/principals", {"name": signer, "duty": "key-user"})
        assert store.get("principals", signer) is not None  # this thread wrote it
    other = f"role/x{uuid.uuid4().hex[:12]}"
    with store.moment():
        assert store.get("principals", other) is None
        made = threading.Thread(
            target=lambda: service.made("user/admin", "POST", "/v1/principals", {"name": other, "duty": "key-user"})
        )
        made.start()
        made.join(30)
        assert store.get("principals", other) is None  # as it was when the moment began
    assert store.get("principals", other) is not None


def test_calls_that_an_hsm_is_slow_with_wait_for_it_side_by_side(
    service: ServiceInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits in the HSM until four are there; in the lane itself the first would wait for ever."""
    together = threading.Barrier(4)
    token: Any = service.services.keystore._token
    sign = token.sign

    def slow(backing: BackingKey, *arguments: Any) -> bytes:
        if backing.version_id in mine:  # and no checkpoint
            together.wait(30)
        signature: bytes = sign(backing, *arguments)
        return signature

    with ThreadPoolExecutor(4) as pool, running_over(service, pool) as running:
        signer = Signer(service, running)
        mine = {version.id for version in service.services.keystore.get_key(signer.key).versions}
        monkeypatch.setattr(token, "sign", slow)
        callers = [running.caller() for _ in range(8)]
        for caller in callers:
            caller.send(signer.request())
        assert [caller.answer()[0] for caller in callers] == [200] * 8
