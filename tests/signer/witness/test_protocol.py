"""What the witness cosigns, and each answer that it gives to everything else (C2SP tlog-witness)."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from signer.witness.app import WitnessApplication
from signer.witness.cosigning import CLOCK_STEP_SECONDS, Cosigner
from signer.witness.protocol import MAXIMUM_BODY
from signer.witness.state import create_state
from tests.signer.witness.support import NAME, Answer, ask, growth, leaves, request
from tests.verifier.log_builder import LogBuilder, NoteSigner, cosign, log_signer, sign_note, witness_signer
from verifier.notes import cosigned_at, parse_key, parse_note

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from signer.witness.state import WitnessState

NOON = int(datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp())


@dataclass
class Setting:
    """A witness, the log that it watches, and what time it is."""

    state: WitnessState
    signer: NoteSigner
    log: LogBuilder
    now: int = NOON

    def __post_init__(self) -> None:
        self.application = WitnessApplication(self.state, Cosigner(self.state, lambda: self.now))

    def ask(self, body: bytes) -> Answer:
        return ask(self.application, body)

    def grow(self, old: int, size: int) -> Answer:
        return self.ask(growth(self.log, self.signer, old, size))

    def size(self) -> int:
        found = self.state.store.log(self.signer.name)
        assert found is not None
        return found.head.size


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    state = create_state(tmp_path / "witness", NAME)
    signer = log_signer()
    state.store.add_log(parse_key(signer.text))
    return Setting(state, signer, LogBuilder(leaves(40)))


def refused(setting: Setting, body: bytes, status: int, kind: str = "text/plain; charset=utf-8") -> str:
    """Asserts the answer, and that nothing was written down."""
    before = setting.state.store.logs()
    answer = setting.ask(body)
    assert (answer.status, answer.kind) == (status, kind), answer
    assert setting.state.store.logs() == before
    return answer.text


def test_growth_is_cosigned_step_by_step(setting: Setting) -> None:
    for old, size in ((0, 1), (1, 2), (2, 3), (3, 8), (8, 13), (13, 13), (13, 32), (32, 40)):
        setting.now += 10
        answer = setting.grow(old, size)
        assert answer.status == 200, answer
        assert answer.text.startswith(f"\u2014 {NAME} ")
        assert answer.text.count("\n") == 1
        note = parse_note(setting.log.checkpoint(setting.signer, size) + answer.text.encode())
        assert cosigned_at(note, [setting.state.key.public]) == {NAME: datetime.fromtimestamp(setting.now, UTC)}
        assert setting.size() == size


def test_the_first_checkpoint_may_have_any_size(setting: Setting) -> None:
    assert setting.grow(0, 0).status == 200
    assert setting.grow(0, 17).status == 200


def test_another_size_than_the_last_is_a_conflict_that_names_it(setting: Setting) -> None:
    assert refused(setting, growth(setting.log, setting.signer, 5, 9), 409, "text/x.tlog.size") == "0\n"
    setting.grow(0, 20)
    for old, size in ((0, 20), (0, 30), (19, 30), (21, 30), (5, 9)):
        body = growth(setting.log, setting.signer, old, size)
        assert refused(setting, body, 409, "text/x.tlog.size") == "20\n"


def test_an_old_size_above_the_checkpoints_is_malformed(setting: Setting) -> None:
    setting.grow(0, 20)
    assert "old size" in refused(setting, request(20, [], setting.log.checkpoint(setting.signer, 19)), 400)


def test_a_second_root_of_one_size_is_refused_and_kept_as_proof(setting: Setting) -> None:
    setting.grow(0, 20)
    other = LogBuilder(leaves(20, "other"))
    fork = other.checkpoint(setting.signer)
    stranger = sign_note(fork[: fork.rindex(b"\n\n") + 1], setting.signer, log_signer("stranger"))
    for checkpoint in (fork, fork, stranger):
        assert "another root" in refused(setting, request(20, [], checkpoint), 409)
    (kept,) = setting.state.store.forks()
    assert (kept.origin, kept.size, kept.shown) == (setting.signer.name, 20, fork)
    assert kept.cosigned.startswith(setting.log.checkpoint(setting.signer, 20))


def test_what_does_not_continue_the_history_is_refused(setting: Setting) -> None:
    setting.grow(0, 20)
    other = LogBuilder([*leaves(19), b"another leaf", *leaves(10, "more")])
    proof = setting.log.consistency(20, 30)
    checkpoint = setting.log.checkpoint(setting.signer, 30)
    flipped = [bytes([proof[0][0] ^ 1]) + proof[0][1:], *proof[1:]]
    for wrong in (
        growth(other, setting.signer, 20, 30),
        request(20, proof, other.checkpoint(setting.signer, 30)),
        request(20, [], checkpoint),
        request(20, proof[:-1], checkpoint),
        request(20, [*proof, proof[0]], checkpoint),
        request(20, proof[::-1], checkpoint),
        request(20, flipped, checkpoint),
        request(20, [bytes(32)], setting.log.checkpoint(setting.signer, 20)),
    ):
        refused(setting, wrong, 422)
    assert setting.state.store.forks() == []


def test_nothing_is_proved_from_the_empty_log_on(setting: Setting) -> None:
    refused(setting, request(0, [bytes(32)], setting.log.checkpoint(setting.signer, 5)), 422)


def test_the_empty_log_has_one_root(setting: Setting) -> None:
    text = f"{setting.signer.name}\n0\n{base64.b64encode(bytes(32)).decode()}\n".encode()
    refused(setting, request(0, [], sign_note(text, setting.signer)), 422)
    assert setting.grow(0, 0).status == 200
    refused(setting, request(0, [], sign_note(text, setting.signer)), 422)


def test_an_unknown_log_is_not_found(setting: Setting) -> None:
    stranger = log_signer("stranger")
    refused(setting, growth(setting.log, stranger, 0, 5), 404)
    setting.state.store.add_log(parse_key(stranger.text))
    assert setting.ask(growth(setting.log, stranger, 0, 5)).status == 200
    setting.state.store.remove_log(stranger.name)
    refused(setting, growth(setting.log, stranger, 5, 6), 404)
    setting.state.store.add_log(parse_key(stranger.text))
    assert refused(setting, growth(setting.log, stranger, 0, 6), 409, "text/x.tlog.size") == "5\n"


def test_only_the_logs_own_signature_counts(setting: Setting) -> None:
    checkpoint = setting.log.checkpoint(setting.signer, 5)
    text = checkpoint[: checkpoint.rindex(b"\n\n") + 1]
    stranger = log_signer("stranger")
    namesake = NoteSigner(setting.signer.name, stranger.private_key)
    wrong = setting.signer.line(stranger.private_key.sign(text))
    for signed in (
        sign_note(text, stranger),
        sign_note(text, namesake),
        cosign(sign_note(text, stranger), witness_signer(), NOON),
        text + b"\n" + wrong,
        text + b"\n" + setting.signer.line(setting.signer.private_key.sign(text + b"x")),
        checkpoint + wrong,  # a good one does not make up for it
    ):
        refused(setting, request(0, [], signed), 403)
    many = sign_note(text, namesake, stranger, setting.signer)
    assert setting.ask(request(0, [], cosign(many, witness_signer(), NOON))).status == 200


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "old missing": lambda body: body.replace(b"old 20\n", b""),
    "old in capitals": lambda body: body.replace(b"old", b"Old"),
    "two spaces": lambda body: body.replace(b"old 20", b"old  20"),
    "leading zero": lambda body: body.replace(b"old 20", b"old 020"),
    "signed": lambda body: body.replace(b"old 20", b"old +20"),
    "negative": lambda body: body.replace(b"old 20", b"old -20"),
    "other digits": lambda body: body.replace(b"old 20", "old \uff12\uff10".encode()),
    "huge": lambda body: body.replace(b"old 20", b"old 99999999999999999999"),
    "beyond 63 bits": lambda body: body.replace(b"old 20", b"old 9223372036854775808"),
    "carriage returns": lambda body: body.replace(b"\n", b"\r\n"),
    "no empty line": lambda body: body.replace(b"\n\n", b"\n", 1),
    "two empty lines": lambda body: body.replace(b"\n\n", b"\n\n\n", 1),
    "a space after a hash": lambda body: body.replace(b"=\n", b"= \n", 1),
    "hash without padding": lambda body: body.replace(b"=\n", b"\n", 1),
    "url alphabet": lambda body: body.replace(b"\n\n", b"\n" + b"_" * 43 + b"=\n\n", 1),
    "short hash": lambda body: body.replace(b"\n\n", b"\nAAAA\n\n", 1),
    "64 hashes": lambda body: body.replace(b"\n\n", b"\n" + (b"A" * 43 + b"=\n") * 64 + b"\n", 1),
    "no signature": lambda body: body[: body.rindex(b"\n\n") + 1],
    "no last line feed": lambda body: body[:-1],
    "something after it": lambda body: body + b"x",
    "hyphen for dash": lambda body: body.replace("\u2014".encode(), b"-"),
    "extension line": lambda body: body.replace(b"\n\n\xe2", b"\nmore\n\n\xe2"),
    "size with a zero": lambda body: body.replace(b"\n30\n", b"\n030\n"),
    "root cut": lambda body: body.replace(b"=\n\n\xe2", b"\n\n\xe2"),
    "not UTF-8": lambda body: body.replace(b"sealmark/", b"sealmark\xff"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_not_the_one_encoding_is_malformed(setting: Setting, change: str) -> None:
    setting.grow(0, 20)
    good = growth(setting.log, setting.signer, 20, 30)
    changed = CHANGES[change](good)
    assert changed != good
    refused(setting, changed, 400)
    assert setting.ask(good).status == 200


def test_a_body_has_an_end(setting: Setting) -> None:
    refused(setting, b"old 0\n\n" + b"x" * MAXIMUM_BODY, 413)


def test_times_of_cosignatures_never_run_backwards(setting: Setting) -> None:
    setting.grow(0, 20)
    setting.now = NOON - CLOCK_STEP_SECONDS
    answer = setting.grow(20, 21)
    note = parse_note(setting.log.checkpoint(setting.signer, 21) + answer.text.encode())
    assert cosigned_at(note, [setting.state.key.public]) == {NAME: datetime.fromtimestamp(NOON, UTC)}
    setting.now -= 1
    assert "set back" in refused(setting, growth(setting.log, setting.signer, 21, 22), 503)


def test_the_newest_checkpoint_can_be_fetched(setting: Setting) -> None:
    path = f"/{hashlib.sha256(setting.signer.name.encode()).hexdigest()}/checkpoint"
    assert ask(setting.application, b"", path, "GET").status == 404
    line = setting.grow(0, 20).text
    found = ask(setting.application, b"", path, "GET")
    assert (found.status, found.text) == (200, setting.log.checkpoint(setting.signer, 20).decode() + line)
    assert ask(setting.application, b"", "/" + "0" * 64 + "/checkpoint", "GET").status == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/healthz", 200),
        ("GET", "/add-checkpoint", 405),
        ("PUT", "/add-checkpoint", 405),
        ("POST", "/healthz", 405),
        ("POST", "/add-checkpoint/", 404),
        ("POST", "/sign-subtree", 404),
        ("GET", "/../witness.key", 404),
    ],
)
def test_there_are_few_addresses(setting: Setting, method: str, path: str, status: int) -> None:
    answer = ask(setting.application, b"", path, method)
    assert answer.status == status
    assert "PRIVATE" not in answer.text
    if status == 200:
        assert answer.text == f"{setting.state.key.public}\n"


def test_a_damaged_store_cosigns_nothing(setting: Setting, capfd: pytest.CaptureFixture[str]) -> None:
    setting.grow(0, 20)
    with setting.state.store.exclusively() as update:
        update._connection.execute("UPDATE logs SET size = 3")
    for body in (growth(setting.log, setting.signer, 3, 30), growth(setting.log, setting.signer, 20, 30)):
        assert ask(setting.application, body).status == 503
    assert ask(setting.application, b"", "/healthz", "GET").status == 503
    assert '"alarm": true' in capfd.readouterr().err
