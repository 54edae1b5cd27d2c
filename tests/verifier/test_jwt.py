"""Tokens: what PyJWT makes is accepted; what it would wrongly accept is not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import jwt as pyjwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier import pki
from tests.verifier.jwt_builder import AUDIENCE, ISSUER, KINDS, SECONDS, claims, encode, forge, jwk, jwks, token
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


@pytest.mark.parametrize("algorithm", KINDS)
def test_every_character_counts(algorithm: str) -> None:
    text = token(algorithm)
    for position in range(0, len(text), 7):
        other = "A" if text[position] != "A" else "B"
        with pytest.raises(VerificationError):
            verify(text[:position] + other + text[position + 1 :])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"iss": None}, "missing_claim"),
        ({"iss": "https://other.example"}, "issuer_mismatch"),
        ({"iss": ISSUER + "/"}, "issuer_mismatch"),
        ({"iss": [ISSUER]}, "malformed"),
        ({"aud": None}, "missing_claim"),
        ({"aud": "other"}, "audience_mismatch"),
        ({"aud": []}, "audience_mismatch"),
        ({"aud": ["other"]}, "audience_mismatch"),
        ({"aud": [AUDIENCE, 7]}, "malformed"),
        ({"aud": [AUDIENCE, AUDIENCE]}, "malformed"),
        ({"aud": {"a": AUDIENCE}}, "malformed"),
        ({"exp": None}, "missing_claim"),
        ({"exp": SECONDS}, "expired"),
        ({"exp": str(SECONDS + 300)}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"exp": -1}, "malformed"),
        ({"exp": 10**15}, "malformed"),
        ({"nbf": SECONDS + 1}, "not_yet_valid"),
        ({"nbf": "0"}, "malformed"),
        ({"iat": SECONDS + 1}, "not_yet_valid"),
        ({"iat": [0]}, "malformed"),
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
    late = token(payload=claims(exp=SECONDS - 30))
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


@pytest.mark.parametrize(
    "member",
    [
        '"jwk":{}',
        '"jku":"https://evil.example"',
        '"x5u":"u"',
        '"x5c":[]',
        '"crit":["exp"]',
        '"b64":false',
        '"zip":"DEF"',
    ],
)
def test_headers_that_bring_their_own_rules_are_refused(member: str) -> None:
    header = b'{"alg":"ES256","kid":"ES256","typ":"JWT",%s}' % member.encode()
    assert code(forge(json.dumps(claims()).encode(), header)) == "malformed"


@pytest.mark.parametrize(
    "payload",
    [
        b'{"iss":"x","iss":"%s"}' % ISSUER.encode(),
        json.dumps(claims()).encode("utf-16"),
        b"\xef\xbb\xbf" + json.dumps(claims()).encode(),
        json.dumps(claims(n=float("nan"))).encode(),
        json.dumps(claims()).encode()[:-1] + b',"n":1e999}',
        json.dumps(claims(n="\ud800")).encode(),
        b"[1]",
        b'"text"',
        b"not json",
        b"[" * 100_000,
        b'{"a":' * 5_000,
        b'{"n":' + b"9" * 5_000 + b"}",
        b"\xff",
    ],
    ids=lambda payload: repr(payload[:12]),
)
def test_payload_must_be_strict_json(payload: bytes) -> None:
    assert code(forge(payload)) in {"malformed", "too_large"}


def test_segments() -> None:
    head, body, signature = token().split(".")
    for text in (
        "",
        "..",
        f"{head}.{body}",
        f"{head}.{body}.",
        f"{head}.{body}.{signature}.x",
        f"{head}.{body}.{signature}=",
        f"{head}.{body}.{signature}==",
        f" {head}.{body}.{signature}",
        f"{head}.{body}.{signature}\n",
        f"{head}.{body}.{signature[:-1]}+",
        f"{head}.{body}.{signature}AAA",
        f"{head}é.{body}.{signature}",
    ):
        assert code(text) == "malformed"
    assert code("A" * 70_000) == "too_large"


def test_trailing_bits_must_be_zero() -> None:
    head, body, signature = token().split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    sibling = alphabet[alphabet.index(signature[-1]) ^ 1]
    assert code(f"{head}.{body}.{signature[:-1]}{sibling}") == "malformed"


def test_algorithm_is_the_keys_own() -> None:
    payload = encode(json.dumps(claims()).encode())

    def unsigned(algorithm: str) -> str:
        return f"{encode(json.dumps({'alg': algorithm, 'kid': 'ES256', 'typ': 'JWT'}).encode())}.{payload}.AAAA"

    assert code(unsigned("none")) == "algorithm_not_allowed"
    assert code(unsigned("HS256")) == "algorithm_not_allowed"
    assert code(unsigned("ES256K")) == "algorithm_not_allowed"
    assert code(unsigned("RS256")) == "algorithm_mismatch"
    # The same RSA key published for RS256 alone does not make PS256 tokens.
    assert code(token("PS256", kid="RS256")) == "algorithm_mismatch"


def test_hmac_with_the_public_key_is_refused() -> None:
    head = encode(b'{"alg":"HS256","kid":"RS256","typ":"JWT"}')
    text = f"{head}.{encode(json.dumps(claims()).encode())}.{encode(b'0' * 32)}"
    assert code(text) == "algorithm_not_allowed"


def test_ecdsa_signature_must_have_its_fixed_length() -> None:
    head, body, signature = token().split(".")
    raw = base64url.decode(signature)
    assert code(f"{head}.{body}.{encode(raw[:32] + bytes(1) + raw[32:])}") == "signature_invalid"
    assert code(f"{head}.{body}.{encode(bytes(64))}") == "signature_invalid"


def test_unknown_key_is_not_decided() -> None:
    with pytest.raises(VerificationError) as caught:
        verify(token(kid="yesterday"))
    assert (caught.value.code, caught.value.outcome) == ("unknown_key", "indeterminate")


def test_another_issuers_key_does_not_count() -> None:
    foreign = parse_jwks(jwks(jwk(pki.key("p256", "foreign"), "ES256")))
    with pytest.raises(VerificationError, match="signature_invalid"):
        verify_jwt(token(), foreign, issuer=ISSUER, audience=AUDIENCE)


def test_agrees_with_pyjwt_on_good_tokens() -> None:
    text = token("PS256")
    theirs = pyjwt.decode(text, pki.key("rsa2048").public_key(), algorithms=["PS256"], audience=AUDIENCE, issuer=ISSUER)
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
