"""The whole order, seen from a second connection at each of its moments: the intent is durable, the HSM signs, the
signature is verified, leaves, tiles and head are committed, the log key signs a checkpoint over that head, and only
then is there an answer. The checkpoint is stored with what is committed next. Nobody asks the HSM for anything while he
keeps others from writing."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from keystore import signing
from signer.audit import trail
from signer.audit.checkpoints import checkpoint_text
from signer.audit.logged import Logged
from tests.databases import ON_POSTGRESQL, hand, path_of
from tests.faults import storage
from tests.faults.conftest import FaultyService
from tests.faults.faulty_token import FaultyToken
from tests.faults.requests import EDWARDS, REQUESTS, TYPICAL, SigningRequest
from tests.log_audit import log_key, query, read_log, read_proof
from tests.signer.service import running_service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keystore.api import BackingKey
    from keystore.hsm import Token
    from tests.faults.test_lying_hsm import Log


@pytest.fixture(scope="module")
def quiet(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyService]:
    """A service that does nothing by itself."""
    faulty = FaultyToken(token)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trail, "SWEEP_SECONDS", 600.0)
        with running_service(faulty, tmp_path_factory.mktemp("quiet")) as running:
            yield FaultyService(running, faulty)


def _intents_seen_by_others(faulty: FaultyService) -> list[dict[str, Any]]:
    """What another process would read now: only what is committed."""
    with hand(_database(faulty)) as connection:
        return connection.records("SELECT * FROM audit_intents")


def _outcomes_seen_by_others(faulty: FaultyService, intent_id: str) -> int:
    with hand(_database(faulty)) as connection:
        return int(connection.value("SELECT count(*) FROM log_entries WHERE intent_id = ?", intent_id))


@pytest.mark.parametrize("request_", TYPICAL, ids=str)
def test_the_intent_is_durable_before_the_hsm_is_asked(faulty: FaultyService, request_: SigningRequest) -> None:
    url = request_.url(faulty.running)
    faulty.token.honest()
    known = {row["id"] for row in _intents_seen_by_others(faulty)}
    seen: list[dict[str, Any]] = []

    def look(backing: BackingKey) -> None:
        (intent,) = [row for row in _intents_seen_by_others(faulty) if row["id"] not in known]
        assert intent["version_id"] == backing.version_id
        assert _outcomes_seen_by_others(faulty, intent["id"]) == 0
        seen.append(intent)

    faulty.token.before_signing = look
    answer = faulty.running.call("role/ci", "POST", url, request_.body)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert len(seen) == request_.signatures
    assert _outcomes_seen_by_others(faulty, seen[0]["id"]) == 1
    assert seen[0]["request_id"] == answer.headers["X-Request-Id"]
    assert (seen[0]["principal"], seen[0]["items"]) == ("role/ci", 1)


def test_a_certificates_intent_is_durable_before_the_hsm_is_asked(faulty: FaultyService) -> None:
    known = {row["id"] for row in _intents_seen_by_others(faulty)}
    seen: list[set[str]] = []

    def look(_backing: BackingKey) -> None:
        new = [row for row in _intents_seen_by_others(faulty) if row["id"] not in known]
        assert all(_outcomes_seen_by_others(faulty, row["id"]) == 0 for row in new)
        seen.append({row["action"] for row in new})

    faulty.token.before_signing = look
    faulty.running.make_key("watched", EDWARDS, "jwt", audiences=["https://reader.example"], max_ttl=60)
    assert seen == [{"CreateKey", "IssueCertificate"}]


def test_each_algorithm_of_a_batch_has_its_intent_before_its_first_signature(faulty: FaultyService) -> None:
    """Three algorithms in one call: three intents, each before the HSM is asked for that algorithm."""
    request = next(request for request in REQUESTS if request.name == "message-RSA_2048-RSASSA_PSS_SHA_256")
    url = request.url(faulty.running)
    names = ["RSASSA_PSS_SHA_256", "RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PSS_SHA_512"] * 3
    faulty.token.honest()
    known = {row["id"] for row in _intents_seen_by_others(faulty)}
    counts: list[int] = []
    faulty.token.before_signing = lambda _backing: counts.append(len(_intents_seen_by_others(faulty)) - len(known))
    answer = faulty.running.call(
        "role/ci", "POST", url, {"items": [{"message": "AAAA", "algorithm": name} for name in names]}
    )
    assert answer.status_code == 200
    assert counts == [1] * 3 + [2] * 3 + [3] * 3
    intents = faulty.running.intents(answer.headers["X-Request-Id"])
    assert sorted((row["algorithm"], row["items"]) for row in intents) == sorted((name, 3) for name in names[:3])
    algorithm_of = {row["id"]: row["algorithm"] for row in intents}
    outcomes = faulty.running.outcomes(answer.headers["X-Request-Id"])
    assert {row["item"]: algorithm_of[row["intent_id"]] for row in outcomes} == dict(enumerate(names))
    assert len(outcomes) == 9


def _database(faulty: FaultyService) -> Path:
    return path_of(faulty.running.services.keystore.database)


def _others_could_write(path: Path) -> bool:
    """Whether another process could begin to write right now, by either lock."""
    if ON_POSTGRESQL:
        with hand(path) as other:
            tried = "SELECT pg_try_advisory_lock(24225, 1) AND pg_try_advisory_lock(24225, 2)"
            return bool(other.value(tried))
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return storage.is_free(path.with_name(path.name + ".lock"))


def _stored_checkpoint(path: Path) -> tuple[int, str]:
    ((size, text),) = query(path, "SELECT checkpoint_size, checkpoint FROM log_heads ORDER BY log DESC LIMIT 1")
    return int(size), str(text)


@pytest.mark.parametrize("request_", TYPICAL, ids=str)
def test_each_step_is_seen_by_others_before_the_next_begins(
    quiet: FaultyService, request_: SigningRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty = quiet
    url, path = request_.url(faulty.running), _database(faulty)
    faulty.running.services.audit._sweep()  # what a look has left to the next checkpoint, and rows to the log
    faulty.token.honest()
    known = len(read_log(path).entries)
    steps: list[str] = []

    def seen_by_others() -> tuple[int, int]:
        """How many entries of requests the log has now, and how many intents have none."""
        closed = "SELECT intent_id FROM log_entries WHERE intent_id IS NOT NULL"
        ((waiting,),) = query(path, f"SELECT count(*) FROM audit_intents WHERE id NOT IN ({closed})")  # noqa: S608
        return len(read_log(path).entries) - known, waiting

    def at_the_hsm(_backing: BackingKey) -> None:
        assert _others_could_write(path)
        assert seen_by_others() == (0, 1)
        steps.append("sign")

    def at_the_check(verify: Any) -> Any:
        def verified(*arguments: Any, **named: Any) -> Any:
            assert seen_by_others() == (0, 1)
            answer = verify(*arguments, **named)
            steps.append("verified")
            return answer

        return verified

    def at_the_log_key(text: bytes) -> None:
        assert _others_could_write(path)
        assert seen_by_others() == (1, 0)
        log = read_log(path)  # whose head is that of all leaves, and whose tiles are those
        assert text.decode() == checkpoint_text(log.key.name, len(log.entries), log.root)
        assert _stored_checkpoint(path)[0] < len(log.entries)
        steps.append("checkpoint")

    def at_the_proof(proof: Any) -> Any:
        def made(logged: Any, position: int) -> str:
            text = str(proof(logged, position))
            log = read_log(path)
            assert text.partition("\n\n")[2].startswith(checkpoint_text(log.key.name, len(log.entries), log.root))
            steps.append("proof")
            return text

        return made

    monkeypatch.setattr(signing, "verify_signature", at_the_check(signing.verify_signature))
    monkeypatch.setattr(Logged, "proof", at_the_proof(Logged.proof))
    faulty.token.before_signing, faulty.token.before_checkpoint = at_the_hsm, at_the_log_key
    answer = faulty.running.call("role/ci", "POST", url, request_.body)
    faulty.token.honest()
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert steps == [*["sign", "verified"] * request_.signatures, "checkpoint", "proof"]
    proof = answer.get_json()["results"][0]["proof"]
    kept, _ = read_proof(proof, log_key(path))
    read_log(path).require_kept([kept])
    faulty.running.services.audit._sweep()
    assert _stored_checkpoint(path)[1] == proof.partition("\n\n")[2]


@pytest.mark.parametrize("way", storage.WAYS, ids=lambda way: way.__name__)
def test_a_checkpoint_that_cannot_be_stored_now_is_stored_later(
    quiet: FaultyService, log: Log, way: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is about is durable. The next call, which could not be recorded, gets nothing."""
    service, path, request = quiet.running, _database(quiet), TYPICAL[0]
    database = service.services.keystore.database
    storage.make_impatient(database, monkeypatch)
    url = request.url(service)
    with ExitStack() as broken:

        def break_once(_text: bytes) -> None:
            quiet.token.before_checkpoint = None
            broken.enter_context(way(database))

        quiet.token.before_checkpoint = break_once
        answer = service.call("role/ci", "POST", url, request.body)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        refused = service.call("role/ci", "POST", url, request.body)
        assert (refused.status_code, refused.get_json()["code"]) == (503, "audit_unavailable")
        service.services.audit._sweep_or_postpone()
    proof = answer.get_json()["results"][0]["proof"]
    kept, _ = read_proof(proof, log_key(path))
    assert _stored_checkpoint(path)[0] < kept.size
    service.services.audit._sweep()
    assert _stored_checkpoint(path) == (kept.size, proof.partition("\n\n")[2])
    found = read_log(path)
    found.require_kept([kept])
    assert [line["event"] for line in log if line["event"] == "audit_sweep_postponed"]
    assert len(service.outcomes(answer.headers["X-Request-Id"])) == 1
