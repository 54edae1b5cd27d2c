"""Tokens: what PyJWT makes is accepted, and what the caller expects decides. Attacks are in test_jwt_attacks.py."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import jwt as pyjwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier import pki
from tests.verifier.jwt_builder import AUDIENCE, ISSUER, KINDS, SECONDS, claims, encode, forge, jwks, signing_key, token
from verifier import VerificationError, VerifiedToken, parse_jwks, verify_jwt
from verifier.tokens import base64url

KEYS = parse_jwks(jwks())


def verify(text: str, **options: object) -> VerifiedToken:
    expected: dict[str, object] = {"issuer": ISSUER, "audience": AUDIENCE, "now": pki.NOW}
    return verify_jwt(text, KEYS, **(expected | options))  # type: ignore[arg-type]


def code(text: str, **options: object) -> str:
    with pytest.raises(VerificationError) as caught:
        verify(text, **options)
    return caught.value.code


@pytest.mark.parametrize("algorithm", KINDS)
def test_accepts_each_algorithm(algorithm: str) -> None:
    facts = verify(token(algorithm))
    assert (facts.issuer, facts.subject, facts.audiences, facts.token_id) == (ISSUER, "user-1", (AUDIENCE,), "token-1")
    assert facts.key.key_id == algorithm
    assert facts.expires_at == pki.NOW + timedelta(seconds=3600)
    assert facts.claims == claims()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"iss": None}, "missing_claim"),
        ({"iss": "https://other.example"}, "issuer_mismatch"),
        ({"iss": ISSUER + "/"}, "issuer_mismatch"),
        ({"iss": [ISSUER]}, "malformed"),
        ({"aud": None}, "missing_claim"),
        ({"aud": "other"}, "audience_mismatch"),
        ({"exp": SECONDS}, "expired"),
        ({"nbf": SECONDS + 1}, "not_yet_valid"),
        ({"iat": SECONDS + 1}, "not_yet_valid"),
        ({"sub": 7}, "malformed"),
        ({"jti": 7}, "malformed"),
    ],
)
def test_claims(changes: dict[str, object], expected: str) -> None:
    # PyJWT's encoder refuses some of these, so the payload is put together by hand.
    assert code(forge(json.dumps(claims(**changes)).encode())) == expected


def test_optional_claims_and_audience_list() -> None:
    facts = verify(token(payload=claims(sub=None, jti=None, nbf=None, iat=None, aud=["other", AUDIENCE])))
    assert (facts.subject, facts.token_id, facts.issued_at) == (None, None, None)
    assert facts.audiences == ("other", AUDIENCE)


def test_leeway_and_age() -> None:
    late = token(payload=claims(exp=SECONDS - 30, nbf=SECONDS - 60, iat=SECONDS - 60))
    assert code(late) == "expired"
    assert verify(late, leeway=31)
    assert verify(token(), max_age=10)
    later = pki.NOW + timedelta(seconds=20)
    assert code(token(), max_age=10, now=later) == "expired"
    assert code(token(payload=claims(iat=None)), max_age=10) == "missing_claim"


@pytest.mark.parametrize(
    "options", [{"leeway": 61}, {"leeway": -1}, {"leeway": float("nan")}, {"issuer": ""}, {"audience": ""}]
)
def test_senseless_arguments(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        verify(token(), **options)


def test_more_senseless_arguments() -> None:
    for options in ({"types": "JWT"}, {"types": ()}, {"max_age": -1}, {"now": datetime(2026, 1, 1)}):  # noqa: DTZ001
        with pytest.raises(ValueError, match="must"):
            verify(token(), **options)


def test_type() -> None:
    assert verify(token(typ="jwt"))
    assert verify(token(typ="application/at+jwt"), types=("at+jwt",))
    assert code(token(typ="at+jwt")) == "type_mismatch"
    assert code(forge(json.dumps(claims()).encode(), b'{"alg":"ES256","kid":"ES256"}')) == "malformed"


def test_unknown_key_is_not_decided() -> None:
    with pytest.raises(VerificationError) as caught:
        verify(token(kid="yesterday"))
    assert (caught.value.code, caught.value.outcome) == ("unknown_key", "indeterminate")


def test_agrees_with_pyjwt_on_good_tokens() -> None:
    text = token("PS256")
    theirs = pyjwt.decode(
        text, signing_key("PS256").public_key(), algorithms=["PS256"], audience=AUDIENCE, issuer=ISSUER
    )
    assert dict(verify(text, now=datetime.now(UTC)).claims) == theirs


@given(st.text(max_size=200) | st.lists(st.binary(max_size=40).map(encode), min_size=3, max_size=3).map(".".join))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    with pytest.raises(VerificationError):
        verify(text)


@given(st.binary(max_size=64))
def test_base64url_has_one_text_for_each_value(value: bytes) -> None:
    assert base64url.decode(base64url.encode(value)) == value


@given(st.text(alphabet="ABab01-_=+ ", max_size=12))
def test_base64url_reads_only_what_it_would_write(text: str) -> None:
    try:
        value = base64url.decode(text)
    except ValueError:
        return
    assert base64url.encode(value) == text
