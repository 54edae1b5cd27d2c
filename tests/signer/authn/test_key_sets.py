"""Key sets that are fetched: how long they count, how seldom anybody asks, and what an outage does."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from keystore.trust import RoleMapping, TrustedIssuer
from signer.authn import fetching
from signer.authn.fetching import LARGEST_DOCUMENT, NotFetched, fetch_key_set
from signer.authn.key_sets import FRESH, HARD_AGE, PAUSE, KeySets, NoKey
from signer.authn.token_keys import TOKEN_ALGORITHMS, KeySet, parse_key_set
from tests.oidc import DISCOVERY, LocalIssuer, key_set, new_key, say
from tests.signer.service import MovedClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler

NOW: Final = datetime(2026, 6, 1, tzinfo=UTC)
ES256: Final = TOKEN_ALGORITHMS["ES256"]
SECOND: Final = timedelta(seconds=1)


def trusted(url: str, name: str = "local", revision: int = 1, **members: Any) -> TrustedIssuer:
    mapping = RoleMapping("role/ci", {"repository": ("octo/app",)})
    fixed = (name, url, ("a",), ("ES256",), (mapping,), 600, 900, NOW, "user/admin", NOW, "user/admin")
    return TrustedIssuer(*fixed, revision=revision, **members)


@pytest.fixture
def issuer() -> Iterator[LocalIssuer]:
    with LocalIssuer() as running:
        yield running


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock(NOW)


def refusal(key_sets: KeySets, issuer: TrustedIssuer, kid: str) -> str:
    with pytest.raises(NoKey) as refused:
        key_sets.find(issuer, kid, ES256)
    return refused.value.code


def test_a_set_is_fetched_once_while_it_is_fresh(issuer: LocalIssuer, clock: MovedClock) -> None:
    key_sets = KeySets(clock)
    for _ in range(3):
        assert key_sets.find(trusted(issuer.url), "key-1", ES256).kid == "key-1"
    clock.move(FRESH - SECOND)
    key_sets.find(trusted(issuer.url), "key-1", ES256)
    assert issuer.asked == [DISCOVERY, "/jwks"]
    clock.move(SECOND)
    key_sets.find(trusted(issuer.url), "key-1", ES256)
    assert issuer.asked == [DISCOVERY, "/jwks"] * 2


def test_a_rotated_key_is_found_at_once_and_the_withdrawn_one_no_more(issuer: LocalIssuer, clock: MovedClock) -> None:
    key_sets = KeySets(clock)
    key_sets.find(trusted(issuer.url), "key-1", ES256)
    issuer.rotate("key-2")
    assert key_sets.find(trusted(issuer.url), "key-2", ES256).kid == "key-2"
    clock.move(PAUSE)
    assert refusal(key_sets, trusted(issuer.url), "key-1") == "unknown_kid"


def test_a_withdrawn_key_ends_at_the_next_refresh(issuer: LocalIssuer, clock: MovedClock) -> None:
    key_sets = KeySets(clock)
    key_sets.find(trusted(issuer.url), "key-1", ES256)
    issuer.rotate("key-2")
    assert key_sets.find(trusted(issuer.url), "key-1", ES256)
    clock.move(FRESH)
    assert refusal(key_sets, trusted(issuer.url), "key-1") == "unknown_kid"


def test_invented_kids_do_not_make_the_issuer_be_asked(issuer: LocalIssuer, clock: MovedClock) -> None:
    key_sets = KeySets(clock)
    for number in range(50):
        assert refusal(key_sets, trusted(issuer.url), f"invented-{number}") == "unknown_kid"
    assert issuer.asked.count("/jwks") == 2  # the first fetch, and one look again
    clock.move(PAUSE)
    for number in range(50):
        assert refusal(key_sets, trusted(issuer.url), f"invented-{number}") == "unknown_kid"
    assert issuer.asked.count("/jwks") == 3


def test_an_outage_is_bridged_for_an_hour_and_opens_no_door(issuer: LocalIssuer, clock: MovedClock) -> None:
    key_sets = KeySets(clock)
    key_sets.find(trusted(issuer.url), "key-1", ES256)
    issuer.answers["/jwks"] = lambda handler: handler.send_error(503)
    clock.move(HARD_AGE - SECOND)
    assert key_sets.find(trusted(issuer.url), "key-1", ES256)
    assert refusal(key_sets, trusted(issuer.url), "invented") == "unknown_kid"
    clock.move(SECOND)
    assert refusal(key_sets, trusted(issuer.url), "key-1") == "no_key_set"
    clock.move(PAUSE)
    del issuer.answers["/jwks"]
    assert key_sets.find(trusted(issuer.url), "key-1", ES256)


def test_an_issuer_that_is_away_is_asked_now_and_then(issuer: LocalIssuer, clock: MovedClock) -> None:
    key_sets = KeySets(clock)
    issuer.answers[DISCOVERY] = lambda handler: handler.send_error(503)
    for _ in range(20):
        assert refusal(key_sets, trusted(issuer.url), "key-1") == "no_key_set"
    assert issuer.asked == [DISCOVERY]
    clock.move(PAUSE)
    del issuer.answers[DISCOVERY]
    assert key_sets.find(trusted(issuer.url), "key-1", ES256)


def test_a_clock_that_went_back_makes_no_key_young_again(issuer: LocalIssuer, clock: MovedClock) -> None:
    key_sets = KeySets(clock)
    key_sets.find(trusted(issuer.url), "key-1", ES256)
    issuer.answers["/jwks"] = lambda handler: handler.send_error(503)
    clock.move(-SECOND)
    assert refusal(key_sets, trusted(issuer.url), "key-1") == "no_key_set"


def test_one_kid_at_two_issuers_is_two_keys(clock: MovedClock) -> None:
    with LocalIssuer(new_key("same")) as one, LocalIssuer(new_key("same")) as other:
        key_sets = KeySets(clock)
        found = [key_sets.find(trusted(each.url, name), "same", ES256) for each, name in ((one, "a"), (other, "b"))]
        assert found[0].public_key.public_numbers() != found[1].public_key.public_numbers()  # type: ignore[union-attr]
        assert key_sets.find(trusted(one.url, "a"), "same", ES256) is found[0]


def test_a_changed_issuer_begins_with_no_key_of_before(issuer: LocalIssuer, clock: MovedClock) -> None:
    key_sets = KeySets(clock)
    key_sets.find(trusted(issuer.url), "key-1", ES256)
    with LocalIssuer(new_key("key-2")) as moved:
        assert refusal(key_sets, trusted(moved.url, revision=2), "key-1") == "unknown_kid"


def test_two_keys_of_one_kid_are_none(clock: MovedClock) -> None:
    with LocalIssuer(new_key("same"), new_key("same")) as issuer:
        assert refusal(KeySets(clock), trusted(issuer.url), "same") == "ambiguous_kid"


def test_many_who_wait_fetch_once_and_hold_no_lock(clock: MovedClock) -> None:
    begun, go_on, fetched = threading.Event(), threading.Event(), []

    def fetch(issuer: TrustedIssuer) -> KeySet:
        fetched.append(issuer.name)
        if issuer.name == "slow":
            begun.set()
            assert go_on.wait(10)
        return parse_key_set(json.dumps(key_set(KEY)).encode())

    key_sets = KeySets(clock, fetch)
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(key_sets.find, trusted("x", "slow"), "key-1", ES256) for _ in range(5)]
        assert begun.wait(10)
        assert key_sets.find(trusted("y", "quick"), "key-1", ES256).kid == "key-1"  # is not held up
        go_on.set()
        assert [each.result(10).kid for each in waiting] == ["key-1"] * 5
    assert sorted(fetched) == ["quick", "slow"]


KEY: Final = new_key("key-1")


def html(handler: BaseHTTPRequestHandler) -> None:
    say(handler, b"<!doctype html><title>Sign in</title>", kind="text/html")


def dripping(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(50):
        handler.wfile.write(b"X")
        handler.wfile.flush()
        time.sleep(0.02)


MISBEHAVIOUR: Final[dict[str, tuple[str, Any, str]]] = {
    "HTML": ("/jwks", html, "not JSON"),
    "no key set": ("/jwks", lambda handler: say(handler, {"keys": "none"}), "no JWKS"),
    "duplicated members": ("/jwks", lambda handler: say(handler, b'{"keys":[],"keys":[]}'), "twice"),
    "too large": ("/jwks", lambda handler: say(handler, b" " * (LARGEST_DOCUMENT + 1)), "more than"),
    "an error": ("/jwks", lambda handler: say(handler, {}, 500), "answered 500"),
    "a redirect": (
        "/jwks",
        lambda handler: say(handler, b"", 302, Location="http://127.0.0.1:9/jwks"),
        "redirects are not followed",
    ),
    "a redirect to itself": ("/jwks", lambda handler: say(handler, b"", 307, Location="/jwks2"), "not followed"),
    "silence": ("/jwks", lambda handler: handler.close_connection, "RemoteProtocolError"),
    "octet by octet": ("/jwks", dripping, "no whole answer"),
    "discovery in HTML": (DISCOVERY, html, "not JSON"),
    "another issuer's discovery": (
        DISCOVERY,
        lambda handler: say(handler, {"issuer": "https://other.example", "jwks_uri": "https://other.example/jwks"}),
        "of another issuer",
    ),
    "no jwks_uri": (DISCOVERY, None, "no jwks_uri"),
    "jwks_uri elsewhere": (DISCOVERY, "http://169.254.169.254/latest/meta-data", "another origin"),
    "jwks_uri of another scheme": (DISCOVERY, "file:///etc/passwd", "another origin"),
    "jwks_uri at another port": (DISCOVERY, "http://127.0.0.1:1/jwks", "another origin"),
    "jwks_uri no URL": (DISCOVERY, "http://[", "not a URL"),
}


@pytest.mark.parametrize("what", MISBEHAVIOUR)
def test_whatever_an_issuer_answers_there_is_a_key_set_or_a_reason(
    what: str, issuer: LocalIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, answer, reason = MISBEHAVIOUR[what]
    monkeypatch.setattr(fetching, "TIME_LIMIT", 0.3 if what == "octet by octet" else 5.0)
    if answer is None or isinstance(answer, str):
        document = {"issuer": issuer.url} | ({"jwks_uri": answer} if answer else {})
        issuer.answers[path] = lambda handler: say(handler, document)
    else:
        issuer.answers[path] = answer
    with pytest.raises(NotFetched, match=reason):
        fetch_key_set(trusted(issuer.url))
    assert "/jwks2" not in issuer.asked


def test_plain_http_is_for_this_machine_alone() -> None:
    for url in ("http://issuer.example", "ftp://issuer.example", "http://127.0.0.1.issuer.example"):
        with pytest.raises(NotFetched, match="not https"):
            fetch_key_set(trusted(url))


def test_keys_are_where_an_administrator_says(issuer: LocalIssuer, clock: MovedClock) -> None:
    elsewhere = trusted("https://issuer.example", jwks_url=f"{issuer.url}/jwks")
    assert KeySets(clock).find(elsewhere, "key-1", ES256).kid == "key-1"
    assert issuer.asked == ["/jwks"]
    with LocalIssuer() as never:
        text = json.dumps(key_set(KEY))
        assert KeySets(clock).find(trusted(never.url, jwks=text), "key-1", ES256).kid == "key-1"
        assert never.asked == []
