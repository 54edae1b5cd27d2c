"""An HSM that fails in every way that a module can tell of, at a running service of one worker or two.

The matrix is `tests/faults/hsm_matrix.py`, its expectations are the table of `docs/operations/hsm-faults.md`.
"""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import pytest
from pkcs11 import Mechanism, TokenFlag

from keystore.hsm.return_values import ReturnValue
from tests.faults.forwarded import forwarded_service
from tests.faults.forwarding import ALWAYS, until
from tests.faults.hsm_matrix import CODES, FUNCTIONS, SETTINGS, expected, try_cell
from tests.scale.scene import make_scene, worker_pids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.forwarded import Answered, Client, Forwarded
    from tests.faults.forwarding import Control
    from tests.scale.scene import Scene

# A quarter of the matrix, every code and every function among it; `python -m tests.faults.hsm_matrix` runs all of it.
SOME: Final = [
    (function, code)
    for place, function in enumerate(FUNCTIONS)
    for number, code in enumerate(CODES)
    if (place + number) % 4 == 0
]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def running(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forwarded]:
    """A service of one worker, for what is counted at its HSM."""
    with forwarded_service(scene, tmp_path_factory.mktemp("one"), "--workers", "1", hsm=SETTINGS) as place:
        yield place
        place.control.heal()
        assert place.open_intents() == 0


@pytest.fixture
def place(running: Forwarded) -> Iterator[Forwarded]:
    yield running
    running.control.heal()


@pytest.fixture
def client(place: Forwarded) -> Iterator[Client]:
    """Who has had a signature just now: the service knows its caller."""
    client = place.client()
    place.sign_until_good(client)
    yield client
    client.close()


def test_the_table_of_the_documentation_has_every_cell() -> None:
    assert set(expected()) == {(function, code.name) for function in FUNCTIONS for code in CODES}


@pytest.mark.parametrize(("function", "code"), SOME, ids=lambda value: getattr(value, "name", value))
def test_a_code_at_a_function(place: Forwarded, client: Client, function: str, code: ReturnValue) -> None:
    assert try_cell(place, client, function, code, expected()[function, code.name]).differences == []


def test_a_restarted_hsm_costs_nobody_an_error(place: Forwarded, client: Client) -> None:
    """Its old state answers DEVICE_ERROR for ever; one new login is enough."""
    for _ in range(3):
        logins = place.control.calls("C_Login")
        place.control.restart()
        assert client.sign().status == 200
        assert place.control.calls("C_Login") == logins + 1


def test_sessions_that_the_hsm_has_dropped(place: Forwarded, client: Client) -> None:
    place.control.drop_sessions()
    assert client.sign().status == 200
    assert client.sign().status == 200


def test_a_token_that_is_taken_out_and_put_back(place: Forwarded, client: Client) -> None:
    place.control.take_out()
    for _ in range(3):
        answer = client.sign()
        assert (answer.status, answer.code, answer.signature) == (503, "hsm_unavailable", None)
    logins = place.control.calls("C_Login")
    place.control.take_out(away=False)
    until(lambda: place.control.calls("C_Login") > logins, "a login that nobody has asked for")
    place.sign_until_good(client)


def test_a_module_that_cannot_be_begun_anew(place: Forwarded, client: Client) -> None:
    """The HSM is killed: nothing of the module works, its initialisation neither."""
    place.control.answer("C_Initialize", ReturnValue.GENERAL_ERROR)
    place.control.restart()
    assert {client.sign().status for _ in range(3)} == {503}
    attempts = place.control.calls("C_Initialize")
    for _ in range(20):  # callers do not make more attempts than there are without them
        assert client.sign().status == 503
    assert place.control.calls("C_Initialize") - attempts < 20
    place.control.heal()
    place.sign_until_good(client)


def test_a_slow_hsm_is_waited_for(place: Forwarded, client: Client) -> None:
    place.control.slow_down(0.002)
    assert [client.sign().status for _ in range(3)] == [200] * 3
    place.control.restart()
    place.sign_until_good(client)


def test_a_wrong_pin_after_a_restart_is_tried_once(place: Forwarded, client: Client) -> None:
    pin = place.scene.state / "hsm.pin"
    right, logins = pin.read_bytes(), place.control.calls("C_Login")
    pin.write_bytes(b"wrong wrong")
    place.control.restart()
    assert {client.sign().status for _ in range(5)} == {503}
    place.control.restart()
    assert {client.sign().status for _ in range(5)} == {503}
    assert place.control.calls("C_Login") == logins + 1
    told = place.logged()
    assert "it is not tried again. Write the right one there" in told
    assert "wrong wrong" not in told
    assert right.decode() not in told
    pin.write_bytes(right)
    place.sign_until_good(client)
    assert place.control.calls("C_Login") == logins + 2


@pytest.mark.parametrize(("flag", "told"), [("FINAL_TRY", "leaves that try to you"), ("LOCKED", "PIN is locked")])
def test_the_last_try_is_left_to_people(place: Forwarded, client: Client, flag: str, told: str) -> None:
    logins = place.control.calls("C_Login")
    place.control.flag_token(TokenFlag[f"USER_PIN_{flag}"])
    place.control.restart()
    assert {client.sign().status for _ in range(3)} == {503}
    assert place.control.calls("C_Login") == logins
    assert told in place.logged()
    place.control.flag_token(0)
    place.sign_until_good(client)


# --- two workers, of which one hangs; their HSM has 16 sessions ------------------------------------------------------


@pytest.fixture(scope="module")
def pair(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forwarded]:
    folder = tmp_path_factory.mktemp("two")

    def before(control: Control) -> None:
        control.limit_sessions(16)
        control.flag_token(TokenFlag.SO_PIN_LOCKED)

    settings = {"deadline_seconds": 1.0}
    with forwarded_service(scene, folder, "--workers", "2", hsm=settings, before=before) as place:
        yield place
        place.control.heal()
        until(lambda: place.open_intents() == 0, "the end of every intent")


def test_two_workers_share_sixteen_sessions(pair: Forwarded) -> None:
    until(lambda: len(pair.serving_workers()) == 2, "both workers")
    assert pair.control.sessions() == 16


def test_a_locked_officer_is_told_of(pair: Forwarded) -> None:
    assert "officer_pin_locked" in pair.logged()


def test_a_call_that_hangs_is_answered_and_its_worker_replaced(pair: Forwarded) -> None:
    function = "C_SignInit"
    until(lambda: len(pair.serving_workers()) == 2, "both workers")
    clients = [pair.client() for _ in range(4)]
    for client in clients:
        pair.sign_until_good(client)
    before = set(worker_pids(pair.service))
    pair.control.catch(function, mechanism=Mechanism.ECDSA)  # a caller's: the log and the seals have others
    answers: list[Answered] = []
    with ThreadPoolExecutor(len(clients)) as pool:
        answers = list(pool.map(lambda client: client.sign(), clients))
    hung = pair.control.function(function).waiting_pid
    assert hung in before
    (refused,) = [answer for answer in answers if answer.status != 200]
    assert (refused.status, refused.code, refused.closes) == (503, "hsm_unavailable", True)
    assert (refused.retry_after or "").isdigit()
    assert refused.signature is None
    # The worker goes though its call never comes back; the other one stays, and a new one comes.
    until(lambda: hung not in worker_pids(pair.service), "the end of the worker that hangs")
    assert pair.control.function(function).held
    until(lambda: len(set(worker_pids(pair.service)) - before) == 1, "a new worker")
    assert len(set(worker_pids(pair.service)) & before) == 1
    pair.control.release(function)
    until(lambda: pair.open_intents() == 0, "the end of the intent of the call that hung")
    assert pair.unknown_or_failed() >= 1
    for client in clients:
        pair.sign_until_good(client)
        client.close()


def test_a_worker_whose_whole_hsm_hangs_answers_all_its_callers(pair: Forwarded) -> None:
    """Each of its threads is inside; whoever comes after them is told as well, and nobody is left without an answer."""
    until(lambda: len(pair.serving_workers()) == 2, "both workers")
    clients = [pair.client() for _ in range(12)]
    for client in clients:
        pair.sign_until_good(client)
    hung, other = pair.serving_workers()
    pair.control.catch("C_SignInit", ALWAYS, pid=hung)
    with ThreadPoolExecutor(len(clients)) as pool:
        answers = list(pool.map(lambda client: client.sign(), clients))
    refused = [answer for answer in answers if answer.status != 200]
    assert refused
    assert {answer.status for answer in refused} <= {429, 503}
    assert all(answer.retry_after for answer in refused)
    until(lambda: hung not in worker_pids(pair.service), "the end of the worker that hangs")
    assert other in worker_pids(pair.service)
    pair.control.release("C_SignInit")
    for client in clients:
        pair.sign_until_good(client)
        client.close()


def test_a_call_that_comes_back_late_is_not_released(pair: Forwarded) -> None:
    """Its caller was told 503, and so is the log, whether its thread came to that or a living worker did it."""
    until(lambda: len(pair.serving_workers()) == 2, "both workers")
    client = pair.client()
    pair.sign_until_good(client)
    pair.control.catch("C_SignInit", mechanism=Mechanism.ECDSA)
    name = secrets.token_hex(8)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.sign, request_id=name)
        until(asked.done, "an answer")
        pair.control.release("C_SignInit")
        answer = asked.result()
    assert (answer.status, answer.signature) == (503, None)
    until(lambda: pair.outcomes_of_caller(name), "the outcome of the call")
    assert pair.outcomes_of_caller(name) in (["failed"], ["unknown"])
    pair.sign_until_good(client)
    client.close()
