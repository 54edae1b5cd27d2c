"""Attacks on the text, the type and the claims of tokens: rightly signed, and refused, each with its code."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from tests.verifier import pki
from tests.verifier.jwt_builder import (
    AUDIENCE,
    SECONDS,
    answer,
    claims,
    encode,
    forge,
    header,
    payload,
    token,
    with_claims,
    with_header,
)

PAYLOAD = payload()


# --- the text --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        b'{"iss":"x",' + PAYLOAD[1:],
        b'{"\\u0069ss":"x",' + PAYLOAD[1:],
        PAYLOAD[:-1] + b',"deep":{"list":[{"a":1,"a":2}]}}',
    ],
    ids=["plain", "escaped", "nested"],
)
def test_duplicate_claims(payload: bytes) -> None:
    assert answer(forge(payload)) == "malformed"


def test_duplicate_members_of_the_header() -> None:
    assert answer(forge(PAYLOAD, b'{"alg":"ES256","kid":"ES256","typ":"JWT","alg":"ES256"}')) == "malformed"
    assert answer(forge(PAYLOAD, b'{"alg":"ES256","kid":"ES256","typ":"JWT","x":{"a":1,"a":1}}')) == "malformed"


@pytest.mark.parametrize(
    "number",
    [
        *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000, "9007199254740992", "-9007199254740992"),
        *("+1", "01", "0x10", "1.", ".5", "1_000", "\uff11"),
    ],
    ids=lambda number: number[:20],
)
def test_numbers_that_readers_disagree_about(number: str) -> None:
    for member in ("n", "exp"):
        text = json.dumps(claims(**{member: "@"})).replace('"@"', number)
        assert answer(forge(text.encode())) == "malformed"


def test_numbers_that_all_readers_agree_about() -> None:
    for number in ("9007199254740991", "-9007199254740991", "0.1", "1e300", "-0", "1E-400"):
        assert answer(forge(json.dumps(claims(n="@")).replace('"@"', number).encode())) == "verified"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig"])
def test_other_encodings(encoding: str) -> None:
    assert answer(forge(json.dumps(claims(sub="ü"), ensure_ascii=False).encode(encoding))) == "malformed"
    assert answer(forge(PAYLOAD, header().decode().encode(encoding))) == "malformed"


@pytest.mark.parametrize(
    "octets", [b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\\ud800", b"\\udc00\\ud800"]
)
def test_text_that_is_no_unicode(octets: bytes) -> None:
    assert answer(forge(json.dumps(claims(sub="@")).encode().replace(b"@", octets))) == "malformed"
    assert answer(forge(json.dumps(claims(n={"@": 1})).encode().replace(b"@", octets))) == "malformed"


@pytest.mark.parametrize("payload", [b"", b"[1]", b'"text"', b"1", b"null", b"{}x", b"{", b"not json", b"{'a':1}"])
def test_payload_that_is_no_object(payload: bytes) -> None:
    assert answer(forge(payload)) == "malformed"


def test_control_characters_and_comments_in_json() -> None:
    assert answer(forge(PAYLOAD.replace(b"user-1", b"user\n1"))) == "malformed"
    assert answer(forge(PAYLOAD.replace(b"{", b"{/* */", 1))) == "malformed"
    assert answer(forge(PAYLOAD + b"\x00")) == "malformed"


@pytest.mark.parametrize("part", [0, 1, 2])
def test_every_other_spelling_of_base64(part: int) -> None:
    """Each decodes to the same bytes in one lenient reader or another."""
    segments = token(payload=claims(sub="???>>>~~~")).split(".")
    good = segments[part]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    others = {
        f"{good}=",
        f"{good}==",
        f"{good}\n",
        f" {good}",
        f"{good[:8]}\n{good[8:]}",
        f"{good[:8]} {good[8:]}",
        f"{good[:8]}!{good[8:]}",
        f"{good}%3D",
        good.replace("-", "+").replace("_", "/"),
        good.replace("A", "\uff21"),
    }
    if len(good) % 4:
        others.add(good[:-1] + alphabet[alphabet.index(good[-1]) ^ 1])
    for other in others - {good}:
        text = ".".join([*segments[:part], other, *segments[part + 1 :]])
        assert answer(text) == "malformed", other


def test_json_serialisations() -> None:
    head, payload, signature = token().split(".")
    flattened = {"payload": payload, "protected": head, "signature": signature}
    general = {"payload": payload, "signatures": [{"protected": head, "signature": signature}]}
    unprotected = {"payload": payload, "header": {"alg": "none"}, "signature": ""}
    for document in (flattened, general, unprotected):
        assert answer(json.dumps(document)) == "malformed"
        assert answer(" " + json.dumps(document | {"a": "..", "b": 1})) == "malformed"


def test_encrypted_token_in_place_of_a_signed_one() -> None:
    text = ".".join([encode(b'{"alg":"RSA-OAEP","enc":"A256GCM","kid":"RS256","typ":"JWT"}'), *["AAAA"] * 4])
    assert answer(text) == "malformed"
    assert answer(".".join(text.split(".")[:3])) == "malformed"


def test_token_inside_a_token() -> None:
    assert answer(forge(token().encode())) == "malformed"
    assert answer(forge(token().encode(), header(cty="JWT"))) == "malformed"
    assert answer(forge(json.dumps(token()).encode(), header(cty="JWT"))) == "malformed"


@pytest.mark.parametrize("text", ["", ".", "..", "...", "a.b", "a.b.c.d", "Bearer {}", "{}.", ".{}", "{}\n", "{}{}"])
def test_number_of_segments(text: str) -> None:
    assert answer(text.format(token(), token())) == "malformed"


def test_size_and_depth() -> None:
    assert answer("A" * (64 * 1024 + 1)) == "too_large"
    assert answer(forge(json.dumps(claims(n="x" * 64_000)).encode())) == "too_large"
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        for depth in (64, 1000, 9000):
            nested = opening * depth + (b"1" if opening != b"[" else b"") + closing * depth
            assert answer(forge(PAYLOAD[:-1] + b',"n":' + nested + b"}")) in {"malformed", "too_large"}
    nested = b"[" * 63 + b"]" * 63
    assert answer(forge(PAYLOAD[:-1] + b',"n":' + nested + b"}")) == "verified"
    assert answer(forge(PAYLOAD[:-1] + b',"n":[' + nested + b"]}")) == "malformed"


# --- the type --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["at+jwt", "JWT ", "application/at+jwt", "text/JWT", "jwt;v=1", "JOSE", "J\u212aT"])
def test_wrong_type(kind: str) -> None:
    assert answer(with_header(typ=kind)) == "type_mismatch"


def test_letters_that_become_ascii_without_their_case() -> None:
    assert answer(with_header(typ="kb+jwt"), types=("kb+jwt",)) == "verified"
    assert answer(with_header(typ="\u212ab+jwt"), types=("kb+jwt",)) == "type_mismatch"


@pytest.mark.parametrize("kind", [None, "", 7, ["JWT"], True])
def test_missing_type(kind: object) -> None:
    assert answer(with_header(typ=kind)) == "malformed"


# --- the claims ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value",
    ["4070908800", "", True, False, None, [4070908800], {}, -1, -0.5, 253402300800, 1e15, 1e300, "2099-01-01"],
    ids=str,
)
def test_dates_that_are_none(claim: str, value: object) -> None:
    text = json.dumps(claims() | {claim: value}).encode()
    assert answer(forge(text)) == "malformed"


def test_token_without_an_end() -> None:
    assert answer(with_claims(exp=None)) == "missing_claim"


def test_token_that_ends_before_it_begins() -> None:
    assert answer(with_claims(exp=SECONDS + 5, nbf=SECONDS + 5, iat=SECONDS), leeway=60) == "malformed"
    assert answer(with_claims(exp=SECONDS + 5, nbf=SECONDS, iat=SECONDS + 5), leeway=60) == "malformed"
    assert answer(with_claims(exp=SECONDS + 5, nbf=SECONDS + 4, iat=SECONDS + 4), leeway=60) == "verified"


@pytest.mark.parametrize(
    ("changes", "offset", "leeway", "expected"),
    [
        ({"exp": SECONDS + 10}, 9, 0, "verified"),
        ({"exp": SECONDS + 10}, 10, 0, "expired"),  # RFC 7519 section 4.1.4: on or after
        ({"exp": SECONDS + 10.5}, 10, 0, "verified"),
        ({"exp": SECONDS + 10}, 69, 60, "verified"),
        ({"exp": SECONDS + 10}, 70, 60, "expired"),
        ({"nbf": SECONDS + 10}, 9, 0, "not_yet_valid"),
        ({"nbf": SECONDS + 10}, 10, 0, "verified"),
        ({"nbf": SECONDS + 10, "iat": None}, -50, 60, "verified"),
        ({"nbf": SECONDS + 10, "iat": None}, -51, 60, "not_yet_valid"),
        ({"iat": SECONDS + 10, "nbf": None}, 9, 0, "not_yet_valid"),
        ({"iat": SECONDS + 10, "nbf": None}, 10, 0, "verified"),
        ({"iat": SECONDS + 10, "nbf": None}, 5, 5, "verified"),
        ({"iat": SECONDS + 10, "nbf": None}, 4, 5, "not_yet_valid"),
    ],
)
def test_clock_skew_at_each_boundary(changes: dict[str, object], offset: int, leeway: float, expected: str) -> None:
    moment = pki.NOW + timedelta(seconds=offset)
    assert answer(with_claims(**changes), now=moment, leeway=leeway) == expected


def test_age_at_its_boundary() -> None:
    def old(seconds: float, leeway: float) -> str:
        return answer(token(), now=pki.NOW + timedelta(seconds=seconds), max_age=100, leeway=leeway)

    assert [old(100, 0), old(100.5, 0), old(105, 5), old(105.5, 5)] == ["verified", "expired", "verified", "expired"]


@pytest.mark.parametrize(
    ("audience", "expected"),
    [
        (AUDIENCE, "verified"),
        ([AUDIENCE], "verified"),
        (["https://other.example", AUDIENCE], "verified"),  # one of many is enough; the results name all
        ([], "audience_mismatch"),
        ("", "malformed"),
        ([""], "malformed"),
        ([AUDIENCE, ""], "malformed"),
        ([AUDIENCE, None], "malformed"),
        ([[AUDIENCE]], "malformed"),
        ([AUDIENCE, AUDIENCE], "malformed"),
        ({AUDIENCE: 1}, "malformed"),
        (True, "malformed"),
        (AUDIENCE + "/", "audience_mismatch"),
        (AUDIENCE.upper(), "audience_mismatch"),
        (f"{AUDIENCE} https://other.example", "audience_mismatch"),
        (f"{AUDIENCE},other", "audience_mismatch"),
        ("*", "audience_mismatch"),
        (None, "missing_claim"),
    ],
    ids=str,
)
def test_audience(audience: object, expected: str) -> None:
    assert answer(with_claims(aud=audience)) == expected


@pytest.mark.parametrize("name", ["iss", "sub", "aud"])
def test_claims_repeated_in_the_header(name: str) -> None:
    """RFC 7519 section 5.3: they must be the same."""
    assert answer(with_header(**{name: claims()[name]})) == "verified"
    assert answer(with_header(**{name: "https://evil.example"})) == "malformed"
    head = header(**{name: "x"})
    assert answer(forge(json.dumps(claims(**{name: None})).encode(), head)) == "malformed"
