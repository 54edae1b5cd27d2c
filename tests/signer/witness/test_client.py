"""The service's side of tlog-witness: what it sends, what it believes of the answer, and how long it waits."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from werkzeug.serving import make_server

from signer.audit import witnessing
from signer.audit.cosignatures import CLOCK_SECONDS, BadCosignature, own_line, parse_witness_key
from signer.audit.witnessing import (
    SIZE_TYPE,
    Beyond,
    Contradiction,
    NotCosigned,
    Reply,
    Witness,
    Witnesses,
    ask,
    request_body,
)
from signer.witness.app import WitnessApplication
from signer.witness.state import create_state
from tests.signer.witness.support import ask as post
from tests.signer.witness.support import growth, leaves
from tests.verifier.log_builder import LogBuilder, cosign, log_signer, witness_signer
from verifier.notes import parse_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from typing import Any

SIGNER = log_signer()
LOG = LogBuilder(leaves(60))
W1 = witness_signer("witness.example/w1")
KEY = parse_witness_key(W1.text)
NOW = int(datetime.now(UTC).timestamp())


def checkpoint(size: int, log: LogBuilder = LOG) -> str:
    return log.checkpoint(SIGNER, size).decode()


class Scripted:
    """A witness that gives these answers, one after the other; `sent` are the bodies it was sent."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.sent: list[bytes] = []

    def __call__(self, body: bytes) -> Reply:
        self.sent.append(body)
        return self.replies.pop(0)


def conflict(size: int | str) -> Reply:
    return Reply(409, SIZE_TYPE, f"{size}\n".encode())


GOOD = Reply(200, "text/plain", b"a line\n")


def asked(known: int, size: int, *replies: Reply) -> tuple[str, list[bytes]]:
    script = Scripted(*replies)
    return ask(script, known, checkpoint(size), size, LOG.consistency), script.sent


def test_it_sends_what_the_protocol_says() -> None:
    assert request_body(20, LOG.consistency(20, 30), checkpoint(30)) == growth(LOG, SIGNER, 20, 30)
    assert request_body(0, [], checkpoint(30)) == growth(LOG, SIGNER, 0, 30)


def test_it_goes_on_from_where_the_witness_stands() -> None:
    assert asked(0, 30, GOOD)[1] == [growth(LOG, SIGNER, 0, 30)]
    for known in (0, 10):
        sent = [growth(LOG, SIGNER, known, 30), growth(LOG, SIGNER, 20, 30)]
        assert asked(known, 30, conflict(20), GOOD) == ("a line\n", sent)
    assert asked(0, 30, conflict(30), GOOD)[1][1] == growth(LOG, SIGNER, 30, 30)
    assert asked(20, 30, conflict(0), GOOD)[1][1] == growth(LOG, SIGNER, 0, 30)  # it was made anew


def test_a_witness_that_has_seen_more_is_not_asked_again() -> None:
    for known, replies in ((0, [conflict(31)]), (31, [])):
        with pytest.raises(Beyond) as beyond:
            asked(known, 30, *replies)
        assert beyond.value.size == 31


@pytest.mark.parametrize(
    ("known", "replies"),
    [
        (20, [Reply(422, "text/plain", b"no")]),
        (0, [conflict(20), Reply(422, "text/plain", b"no")]),
        (30, [Reply(409, "text/plain", b"another root")]),
        (30, [conflict(30)]),
    ],
)
def test_another_history_is_a_contradiction(known: int, replies: list[Reply]) -> None:
    with pytest.raises(Contradiction):
        asked(known, 30, *replies)


@pytest.mark.parametrize(
    "replies",
    [
        [Reply(404, "text/plain", b"unknown log\x1b[2J")],
        [Reply(403, "text/plain", b"")],
        [Reply(500, "text/html", b"<p>")],
        [Reply(302, "text/html", b"")],
        [Reply(409, "text/plain", b"20\n")],
        [conflict(20), conflict(20)],
        [conflict(20), conflict(21), conflict(22)],
        [conflict("-1")],
        [conflict("x")],
        [conflict("")],
        [conflict("1" * 5000)],
        [conflict("２０")],  # noqa: RUF001
        [Reply(409, SIZE_TYPE, b"\xff")],
        [Reply(200, "text/plain", b"\xff")],
    ],
)
def test_whatever_else_it_answers_is_no_cosignature(replies: list[Reply]) -> None:
    with pytest.raises(NotCosigned) as reason:
        asked(0, 30, *replies)
    assert str(reason.value).isprintable()


def line_of(note: bytes) -> str:
    return note.decode().rstrip("\n").rpartition("\n")[2] + "\n"


def good_line(size: int = 30, at: int = NOW) -> str:
    return line_of(cosign(LOG.checkpoint(SIGNER, size), W1, at))


def text(size: int = 30) -> bytes:
    return checkpoint(size).partition("\n\n")[0].encode() + b"\n"


def test_its_own_valid_line_is_kept_and_no_other() -> None:
    stranger = line_of(cosign(LOG.checkpoint(SIGNER, 30), witness_signer("other.example"), NOW))
    assert own_line(stranger + good_line() + stranger, KEY, text(), NOW) == good_line()
    assert own_line(good_line(at=NOW - CLOCK_SECONDS), KEY, text(), NOW) == good_line(at=NOW - CLOCK_SECONDS)


BAD_LINES: dict[str, str] = {
    "nothing": "",
    "no line feed": good_line().rstrip("\n"),
    "twice": good_line() * 2,
    "another checkpoint's": good_line(29),
    "another witness's": line_of(cosign(LOG.checkpoint(SIGNER, 30), witness_signer("other.example"), NOW)),
    "the log's own": checkpoint(30).partition("\n\n")[2],
    "the past": good_line(at=NOW - CLOCK_SECONDS - 1),
    "the future": good_line(at=NOW + CLOCK_SECONDS + 1),
    "no time": good_line(at=0),
    "cut": good_line()[:-6] + "\n",
    "a bit": good_line().replace("\n", "").rstrip("=")[:-3] + "AAA=\n",
    "a hyphen": good_line().replace("\u2014", "-"),
    "a plain signature": W1.line(W1.private_key.sign(text())).decode(),
    "a page": "<html>\n",
}


@pytest.mark.parametrize("bad", BAD_LINES)
def test_no_other_line_is_believed(bad: str) -> None:
    with pytest.raises(BadCosignature):
        own_line(BAD_LINES[bad], KEY, text(), NOW)


def test_a_key_is_read_in_one_form() -> None:
    assert str(KEY) == W1.text
    assert KEY.key_id == W1.key_id
    for wrong in ("", "x", "a+b+c", W1.text + "\n", " " + W1.text, W1.text[:-1], W1.text.replace("+", "", 1),
                  W1.text.replace("w1", "w 1"), W1.text.replace("w1", "w2"), log_signer().text):  # fmt: skip
        with pytest.raises(ValueError, match=r"it is not|its name|its id"):
            parse_witness_key(wrong)


@contextmanager
def serving(application: Any) -> Iterator[str]:
    """A WSGI application on a port of its own."""
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def witness_application(folder: Path, name: str) -> tuple[WitnessApplication, str]:
    state = create_state(folder / name, f"witness.example/{name}")
    state.store.add_log(parse_key(SIGNER.text))
    return WitnessApplication(state), str(state.key.public)


def clock() -> datetime:
    return datetime.now(UTC)


def witnesses(*each: tuple[str, str], size: Callable[[], int] = lambda: 60, log: LogBuilder = LOG) -> Witnesses:
    return Witnesses([Witness(url, parse_witness_key(key)) for url, key in each], log.consistency, size, clock)


def test_real_witnesses_cosign_step_by_step(tmp_path: Path) -> None:
    first, first_key = witness_application(tmp_path, "w1")
    second, second_key = witness_application(tmp_path, "w2")
    with serving(first) as at_first, serving(second) as at_second:
        both = witnesses((at_first, first_key), (at_second, second_key))
        for size in (0, 1, 5, 5, 20):
            note = (checkpoint(size) + "".join(both.cosign(checkpoint(size), size))).encode()
            lines = note.decode().partition("\n\n")[2].splitlines()
            assert {line.split()[1] for line in lines} == {SIGNER.name, "witness.example/w1", "witness.example/w2"}
        post(first, growth(LOG, SIGNER, 20, 31))  # somebody else has asked meanwhile
        assert len(both.cosign(checkpoint(40), 40)) == 2
        again = witnesses((at_first, first_key), (at_second, second_key))  # after a restart: nothing is known
        assert len(again.cosign(checkpoint(41), 41)) == 2
        assert contradiction_of(both) is None
        both.close()
        again.close()


def contradiction_of(witnesses: Witnesses) -> str | None:
    return witnesses.contradiction


def test_a_database_behind_a_witness_is_a_contradiction_until_it_agrees(tmp_path: Path) -> None:
    application, key = witness_application(tmp_path, "w1")
    post(application, growth(LOG, SIGNER, 0, 30))
    size = 29
    with serving(application) as url:
        one = witnesses((url, key), size=lambda: size)
        with capture_logs() as logs:
            assert one.cosign(checkpoint(20), 20) == []
        assert contradiction_of(one) == "witness.example/w1: it has seen 30 leaves, the database has 29"
        assert [(entry["event"], entry.get("alarm")) for entry in logs] == [("witness_contradicts", True)]
        size = 30
        assert len(one.cosign(checkpoint(30), 30)) == 1
        assert contradiction_of(one) is None
        # That another worker has gone on meanwhile says nothing against the database.
        assert one.cosign(checkpoint(20), 20) == []
        assert contradiction_of(one) is None
        one.close()


def test_a_database_with_another_history_is_a_contradiction(tmp_path: Path) -> None:
    application, key = witness_application(tmp_path, "w1")
    post(application, growth(LOG, SIGNER, 0, 30))
    other = LogBuilder([*leaves(20), *leaves(20, "other")])
    with serving(application) as url:
        for size, words in ((30, "another root"), (40, "does not find")):
            one = witnesses((url, key), size=lambda: 40, log=other)
            assert one.cosign(checkpoint(size, other), size) == []
            assert words in (contradiction_of(one) or "")
            one.close()


def answering(status: str, body: bytes) -> Any:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        start_response(status, [("Content-Type", "text/plain"), ("Location", "/elsewhere")])
        return [body]

    return application


def hanging_until(over: threading.Event, octets: bytes) -> Any:
    """Answers nothing, or an octet now and then, until it is over."""

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        if octets:
            start_response("200 OK", [("Content-Type", "text/plain")])
        while not over.wait(0.02):
            if octets:
                yield octets
        if not octets:
            start_response("200 OK", [("Content-Type", "text/plain")])
        yield b""

    return application


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy this machine is."""
    monkeypatch.setattr(witnessing, "TIME_LIMIT", 20.0)


@pytest.mark.parametrize("octets", [b"", b"x"])
def test_a_witness_that_hangs_is_waited_for_so_long_and_no_longer(
    monkeypatch: pytest.MonkeyPatch, octets: bytes
) -> None:
    monkeypatch.setattr(witnessing, "TIME_LIMIT", 0.3)
    over = threading.Event()
    with serving(hanging_until(over, octets)) as url:
        one = witnesses((url, W1.text))
        try:
            # It would answer when this test has ended: whoever waited for that would wait for ever.
            assert one.cosign(checkpoint(20), 20) == []
            assert one.cosign(checkpoint(21), 21) == []
        finally:
            over.set()


def test_a_witness_that_fails_holds_nobody_up(tmp_path: Path) -> None:
    application, key = witness_application(tmp_path, "w9")
    others = [witness_signer(f"witness.example/w{number}").text for number in range(1, 6)]
    over = threading.Event()
    with (
        serving(application) as good,
        serving(hanging_until(over, b"")) as hanging,
        serving(hanging_until(over, b"x")) as slow,
        serving(answering("200 OK", b"x" * (witnessing.LARGEST_ANSWER + 1))) as huge,
        serving(answering("307 Temporary Redirect", b"")) as redirecting,
    ):
        urls = (hanging, slow, huge, redirecting, "http://127.0.0.1:1")
        all_of_them = witnesses(*zip(urls, others, strict=True), (good, key))
        try:
            with capture_logs() as logs:
                # Two of them answer no sooner than this test has ended, and the others in no order.
                for size in range(20, 25):
                    assert len(all_of_them.cosign(checkpoint(size), size, enough=1)) == 1
            assert contradiction_of(all_of_them) is None
            told = [entry["event"] for entry in logs if entry["event"] != "audit_sweep_postponed"]  # of other tests
            assert set(told) <= {"witness_failed"}
        finally:
            over.set()


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        ("200 OK", b"x" * (witnessing.LARGEST_ANSWER + 1), "it answered more than"),
        ("307 Temporary Redirect", b"", "it answered 307"),
        ("503 Service Unavailable", b"not\x1b now", "it answered 503: not  now"),
    ],
)
def test_why_a_witness_failed_is_logged(status: str, body: bytes, reason: str) -> None:
    with serving(answering(status, body)) as url, capture_logs() as logs:
        one = witnesses((url, W1.text))
        assert one.cosign(checkpoint(20), 20) == []
        one.close()
    (entry,) = [entry for entry in logs if entry.get("url") == url]  # other tests' witnesses may still be asked
    assert entry["reason"].startswith(reason)


def test_a_witness_that_is_not_there_is_logged() -> None:
    with capture_logs() as logs:
        assert witnesses(("http://127.0.0.1:1", W1.text)).cosign(checkpoint(20), 20) == []
    assert [entry["reason"] for entry in logs] == ["it cannot be reached: ConnectError"]


def test_a_witness_that_failed_is_left_alone_for_a_moment() -> None:
    requests: list[str] = []

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        requests.append(environ["PATH_INFO"])
        start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
        return [b""]

    with serving(application) as url:
        one = witnesses((url, W1.text))
        for _ in range(5):
            assert one.cosign(checkpoint(20), 20) == []
        one.close()
    assert requests == ["/add-checkpoint"]


def test_a_witness_that_lies_is_not_believed(tmp_path: Path) -> None:
    _, key = witness_application(tmp_path, "w1")
    for body in (good_line().encode(), b"nonsense\n", b""):
        with serving(answering("200 OK", body)) as url, capture_logs() as logs:
            one = witnesses((url, key))
            assert one.cosign(checkpoint(30), 30) == []
            one.close()
        assert [entry["event"] for entry in logs] == ["witness_failed"]
