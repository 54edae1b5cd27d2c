"""One operator alone, with every move of the API, against a key that needs two of three: nothing is released.

Each sequence is one credential holder's: an administrator, a key administrator, a key user, or an approver who has one
of these powers besides. He may make principals and enrol them himself, ask, vote, withdraw, replay, swap bodies, play
with headers, take people away and call twice at once. Honest people's requests lie about, one of them approved. What is
allowed is said here a second time and plainly: the one call that honest approvers have released, by who asked for it,
once. The database is looked at besides: what the audit trail says was signed, and that policy, rule and versions are
what they were.
"""

from __future__ import annotations

import itertools
import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import func, select

from keystore.api import ApprovalState, KeyState
from keystore.db.schema import LOG_ENTRIES
from tests.signer.guarded import ADMINISTRATOR, CI, Guarded, artifacts, enrolled
from tests.signer.service import ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keystore.hsm import Token

SEQUENCES: Final = 500
MOVES: Final = 6
OF_ONE_WORLD: Final = 25  # sequences, or fewer if an approver is gone
WEEK: Final = 604800
DUTIES: Final = ("administrator", "key-administrator", "key-user", "auditor")
POWERS: Final = ("admin", "key-admin", "ci", "boss", "it", "dev")

_numbers = itertools.count()


@dataclass
class World:
    """A key with its people. `boss` administers it too, `it` makes principals, `dev` uses it: all three approve."""

    guarded: Guarded
    people: dict[str, str]
    waiting: Any = None  # an honest request with one approval
    ready: Any = None  # an honest request that is released to who asked for it
    ready_used: bool = True
    spent: tuple[str, str] = ("", "")  # an approval that was used, and the Idempotency-Key of the call

    @property
    def service(self) -> ServiceInProcess:
        return self.guarded.service

    def honest(self) -> None:
        """Requests of honest people, where they are not there any more."""
        guarded, people = self.guarded, self.people
        if self.ready_used:
            self.ready_used = False
            self.ready = guarded.ask(CI, request=artifacts("honest"))
            guarded.approve(people["boss"], self.ready)
            guarded.approve(people["dev"], self.ready)
        if self.waiting is None or not self._is_open(self.waiting["id"]):
            self.waiting = guarded.ask(CI, request=artifacts("waiting"))
            guarded.approve(people["boss"], self.waiting)
        if not self.spent[0]:
            made, name = guarded.ask(CI, request=artifacts("spent")), str(uuid.uuid4())
            guarded.approve(people["it"], made)
            guarded.approve(people["dev"], made)
            signed = guarded.sign(artifacts("spent"), made["id"], **{"Idempotency-Key": name})
            assert signed.status_code == 200
            self.spent = (made["id"], name)

    def _is_open(self, request_id: str) -> bool:
        found = self.service.services.keystore.find_approval_request(request_id)
        return found is not None and found.state is ApprovalState.OPEN

    def state(self) -> tuple[int, int, int]:
        """What only an approved call changes."""
        key = self.service.services.keystore.get_key(self.guarded.key)
        assert key.state in (KeyState.ENABLED, KeyState.DISABLED)
        return key.policy.revision, key.approval_rule.revision, len(key.versions)

    def signatures(self) -> int:
        with self.service.services.keystore.database.read() as connection:
            made = (LOG_ENTRIES.c.key_id == self.guarded.key, LOG_ENTRIES.c.signature_sha256.is_not(None))
            found = select(func.count()).select_from(LOG_ENTRIES).where(*made)
            return int(connection.execute(found).scalar_one())


def new_world(service: ServiceInProcess) -> World:
    number = next(_numbers)
    people = {
        "admin": "user/admin",
        "key-admin": ADMINISTRATOR,
        "ci": CI,
        "boss": enrolled(service, f"user/boss-{number}", "key-administrator"),
        "it": enrolled(service, f"user/it-{number}", "administrator"),
        "dev": enrolled(service, f"user/dev-{number}", "key-user"),
    }
    approvers = [people[name] for name in ("boss", "it", "dev")]
    quorum = {"approvers": approvers, "needed": 2, "window_seconds": WEEK}
    members: dict[str, Any] = {
        "administrators": [people["boss"]],
        "users": [CI, people["dev"]],
        "formats": ["raw"],
    }
    key = service.make_key(f"w{number}", **members)["id"]
    rule = dict.fromkeys(("sign", "policy", "rotation", "deletion"), quorum)
    service.made(ADMINISTRATOR, "PUT", f"/v1/keys/{key}/approval-rule", rule)
    return World(Guarded(service, key), people)


# The calls that the rule covers: method, path, and a body that one of them would like.
def covered(world: World, mine: str) -> dict[str, tuple[str, str, Any]]:
    one = {"approvers": [mine if mine.startswith("user/") else world.people["it"]], "needed": 1, "window_seconds": WEEK}
    administrators = [ADMINISTRATOR, world.people["boss"]]
    return {
        "artifacts": ("POST", "artifacts", artifacts("evil")),
        "policy": ("PUT", "policy", {"administrators": administrators, "users": [CI]}),
        "rotate": ("POST", "rotate", {"now": True}),
        "certificate/renew": ("POST", "certificate/renew", {"days": 30}),
        "csr": ("POST", "csr", {"subject": "CN=evil"}),
        "enable": ("POST", "enable", {}),
        "schedule-deletion": ("POST", "schedule-deletion", {"days": 7}),
        "approval-rule": ("PUT", "approval-rule", {"sign": one}),
        "approval-rule/remove": ("DELETE", "approval-rule", {}),
    }


@dataclass
class Attacker:
    """One operator, the principals he made, and the requests that he knows of."""

    world: World
    power: str
    chance: random.Random
    names: list[str] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    allowed: int = 0  # signatures that honest approvers had released to him
    successes: list[str] = field(default_factory=list)  # those that nobody had released

    def __post_init__(self) -> None:
        self.names.append(self.world.people[self.power])

    def who(self) -> str:
        return self.chance.choice(self.names)

    def known(self) -> str:
        """An approval that he might try: of his own requests, of honest ones, a used one, or none at all."""
        world = self.world
        ids = [request["id"] for request in self.asked]
        return str(self.chance.choice([*ids, *ids, world.waiting["id"], world.ready["id"], world.spent[0], "x", ""]))

    def try_call(self, operation: str, body: Any, approval: str | None, **headers: str) -> None:
        """A covered call; a success is held against what honest approvers released."""
        method, path, usual = covered(self.world, self.names[0])[operation]
        who, sent = self.who(), usual if body is None else body
        answer = self.world.guarded.call(who, method, path, sent, approval, **headers)
        self._judge(answer.status_code, who, operation, sent, approval, headers)

    def _judge(
        self, status: int, who: str, operation: str, sent: Any, approval: str | None, headers: dict[str, str]
    ) -> None:
        if status >= 300:
            return
        world = self.world
        released = (CI, "artifacts", world.ready["id"], artifacts("honest"))
        if (who, operation, approval, sent) == released and not world.ready_used:
            world.ready_used, self.allowed = True, self.allowed + 1
            return
        if who == CI and sent == artifacts("spent") and headers.get("Idempotency-Key") == world.spent[1]:
            return  # the answer of then again, no signature: the count of signatures tells
        self.successes.append(f"{who} {operation} {approval} {headers}")


def attempt_without(me: Attacker) -> None:
    me.try_call(me.chance.choice(list(covered(me.world, me.names[0]))), None, None)


def attempt_with_something(me: Attacker) -> None:
    body = me.chance.choice([None, artifacts("evil"), artifacts("honest"), artifacts("waiting"), artifacts("spent")])
    operation = me.chance.choice(["artifacts", "artifacts", *covered(me.world, me.names[0])])
    me.try_call(operation, body if operation == "artifacts" else None, me.known())


def take_the_released_one(me: Attacker) -> None:
    body = me.chance.choice([artifacts("honest"), artifacts("evil"), {**artifacts("honest"), "context": {}}])
    me.try_call("artifacts", body, me.world.ready["id"])


def ask(me: Attacker) -> None:
    calls = covered(me.world, me.names[0])
    operation = me.chance.choice(["artifacts", *calls])
    body = {"operation": operation, "request": calls[operation][2], "reason": "urgent"}
    path = f"/v1/keys/{me.world.guarded.key}/approval-requests"
    answer = me.world.service.call(me.who(), "POST", path, body)
    if answer.status_code == 201:
        me.asked.append(answer.get_json())


def ask_approve_and_go(me: Attacker) -> None:
    """The straight way, with all the names that he has."""
    ask(me)
    if me.asked:
        request = me.asked[-1]
        for name in me.names:
            me.world.guarded.about(name, request, "approve", {"request_sha256": request["request_sha256"]})
        me.try_call(request["operation"], request["request"], request["id"])


def vote(me: Attacker) -> None:
    request = me.chance.choice([me.world.waiting, *me.asked])
    seen = {"request_sha256": me.chance.choice([request, me.world.waiting])["request_sha256"]}
    me.world.guarded.about(me.who(), request, me.chance.choice(["approve", "approve", "reject"]), seen)


def withdraw(me: Attacker) -> None:
    request = me.chance.choice([me.world.waiting, *me.asked])
    me.world.guarded.about(me.who(), request, "withdraw")


def play_with_headers(me: Attacker) -> None:
    approval = me.known()
    games: list[dict[str, str]] = [
        {"Sealmark-Approval": f"{approval},{approval}"},
        {"Sealmark-Approval": f" {approval} "},
        {"X-Sealmark-Approval": approval},
        {"Sealmark_Approval": approval},
        {"Sealmark-Approval": str(uuid.uuid4())},
        {"Sealmark-Approval": "*"},
        {"Idempotency-Key": me.world.spent[1]},
        {"Idempotency-Key": me.world.spent[1], "Sealmark-Approval": me.world.spent[0]},
        {"X-HTTP-Method-Override": "PUT"},
        {"X-Forwarded-User": me.world.people["boss"]},
    ]
    body = me.chance.choice([artifacts("spent"), artifacts("evil")])
    me.try_call("artifacts", body, None, **me.chance.choice(games))


def make_a_principal(me: Attacker) -> None:
    """Somebody who does what he says, or one of the approvers once more."""
    again = me.world.people[me.chance.choice(["boss", "it", "dev"])]
    name = me.chance.choice(
        [again, f"user/p{uuid.uuid4().hex[:12]}", f"{again}.", again.upper().replace("USER", "user")]
    )
    body = {"name": name, "duty": me.chance.choice(DUTIES)}
    made = me.world.service.call(me.who(), "POST", "/v1/principals", body)
    if made.status_code == 201:
        code = {"code": made.get_json()["enrolment_code"]}
        me.world.service.tokens[name] = me.world.service.made(None, "POST", "/v1/enrolments", code)["token"]
        me.names.append(name)


def take_somebody_away(me: Attacker) -> None:
    if me.chance.random() < 0.3:
        gone = me.world.people[me.chance.choice(["boss", "it", "dev"])]
        me.world.service.call(me.who(), "DELETE", f"/v1/principals/{gone}")


def brake_and_let_go(me: Attacker) -> None:
    me.world.guarded.call(me.who(), "POST", "disable")
    me.try_call("enable", {}, me.chance.choice([None, me.known()]))


def call_twice_at_once(me: Attacker) -> None:
    """With one approval, most of all the one that is released."""
    world, who = me.world, me.who()
    approval = me.chance.choice([world.ready["id"], me.known()])
    body = artifacts("honest")

    def sign(_: int) -> int:
        client = world.service.client.application.test_client()
        headers = {"Authorization": f"Bearer {world.service.tokens[who]}", "Sealmark-Approval": approval}
        return client.post(f"/v1/keys/{world.guarded.key}/artifacts", json=body, headers=headers).status_code

    with ThreadPoolExecutor(2) as pool:
        for status in pool.map(sign, range(2)):
            me._judge(status, who, "artifacts", body, approval, {})


MOVES_OF_THE_GAME: Final[tuple[Callable[[Attacker], None], ...]] = (
    attempt_without,
    attempt_with_something,
    take_the_released_one,
    ask,
    ask_approve_and_go,
    ask_approve_and_go,
    vote,
    withdraw,
    play_with_headers,
    make_a_principal,
    take_somebody_away,
    brake_and_let_go,
    call_twice_at_once,
)


@pytest.fixture(scope="module")
def arena(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceInProcess]:
    with running_service(token, tmp_path_factory.mktemp("arena")) as running:
        yield running


def whole(world: World) -> bool:
    """Whether all three approvers are there still."""
    find = world.service.services.keystore.find_principal
    return all((found := find(world.people[name])) and found.state == "enabled" for name in ("boss", "it", "dev"))


def test_nobody_alone_gets_anything_released_in_500_sequences(arena: ServiceInProcess) -> None:
    world, used, allowed = new_world(arena), 0, 0
    for seed in range(SEQUENCES):
        if used == OF_ONE_WORLD or not whole(world):
            world, used = new_world(arena), 0
        used += 1
        world.honest()
        before, signed = world.state(), world.signatures()
        me = Attacker(world, POWERS[seed % len(POWERS)], random.Random(seed))  # noqa: S311
        for _ in range(MOVES):
            me.chance.choice(MOVES_OF_THE_GAME)(me)
        assert me.successes == [], f"sequence {seed}, by {me.power}"
        assert world.state() == before, f"sequence {seed}, by {me.power}"
        assert world.signatures() - signed == me.allowed, f"sequence {seed}, by {me.power}"
        allowed += me.allowed
        keystore = arena.services.keystore
        if keystore.get_key(world.guarded.key).state is KeyState.DISABLED:
            keystore.enable(world.guarded.key)
    assert allowed > 5  # what honest approvers release is released: the game is not won by refusing everything
