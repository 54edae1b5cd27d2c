"""Attacks on tokens, each by name with the code of its refusal. What can be signed rightly is signed rightly first."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.verifier import pki
from tests.verifier.jwt_builder import (
    AUDIENCE,
    ISSUER,
    KINDS,
    SECONDS,
    claims,
    encode,
    forge,
    jwk,
    jwks,
    signing_key,
    token,
)
from verifier import KeySet, VerificationError, parse_jwks, verify_jwt
from verifier.tokens import base64url

KEYS = parse_jwks(jwks())
PAYLOAD = json.dumps(claims()).encode()
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def answer(text: str, keys: KeySet = KEYS, **options: object) -> str:
    """`verified`, or the code of the refusal."""
    expected: dict[str, object] = {"issuer": ISSUER, "audience": AUDIENCE, "now": pki.NOW}
    try:
        verify_jwt(text, keys, **(expected | options))  # type: ignore[arg-type]
    except VerificationError as error:
        return error.code
    return "verified"


def header(**members: object) -> bytes:
    """A good header with some members changed; None removes one."""
    made: dict[str, object] = {"alg": "ES256", "kid": "ES256", "typ": "JWT", **members}
    return json.dumps({name: value for name, value in made.items() if value is not None}).encode()


def with_header(**members: object) -> str:
    return forge(PAYLOAD, header(**members))


def with_claims(**changes: object) -> str:
    return forge(json.dumps(claims(**changes)).encode())


def with_signature(signature: bytes, text: str | None = None) -> str:
    return f"{(text or token()).rpartition('.')[0]}.{encode(signature)}"


def test_the_builders_make_good_tokens() -> None:
    assert {answer(text) for text in (token(), forge(PAYLOAD), with_header(), with_claims())} == {"verified"}


# --- the algorithm ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("victim", ["RS256", "ES256", "EdDSA"])
def test_hmac_keyed_with_the_public_key(victim: str, digest: str) -> None:
    public = signing_key(victim).public_key()
    entry = jwk(signing_key(victim), victim)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    secrets = [
        pem,
        pem.strip(),
        pem.replace(b"\n", b"\r\n"),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(entry).encode(),
        json.dumps(entry, separators=(",", ":"), sort_keys=True).encode(),
        base64url.decode(str(entry.get("n") or entry["x"])),
        b"",
    ]
    for secret in secrets:
        signing_input = f"{encode(header(alg=f'HS{digest[3:]}', kid=victim))}.{encode(PAYLOAD)}"
        mac = hmac.new(secret, signing_input.encode(), digest).digest()
        assert answer(f"{signing_input}.{encode(mac)}") == "algorithm_not_allowed"
        # and the same bytes under the name of the key's own algorithm
        signing_input = f"{encode(header(alg=victim, kid=victim))}.{encode(PAYLOAD)}"
        mac = hmac.new(secret, signing_input.encode(), digest).digest()
        assert answer(f"{signing_input}.{encode(mac)}") == "signature_invalid"


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "none ", " none", "none\x00", "n\u03bfne", "null"])
def test_none_in_every_spelling(name: str) -> None:
    unsigned = f"{encode(header(alg=name))}.{encode(PAYLOAD)}"
    assert answer(f"{unsigned}.") == "malformed"
    assert answer(unsigned) == "malformed"
    assert answer(f"{unsigned}.AAAA") == "algorithm_not_allowed"
    assert answer(with_header(alg=name)) == "algorithm_not_allowed"


@pytest.mark.parametrize("name", ["", None, True, 7, ["ES256"], {"ES256": 1}])
def test_algorithm_that_is_no_name(name: object) -> None:
    assert answer(with_header(alg=name)) == "malformed"


@pytest.mark.parametrize(
    "name", ["es256", "ES256 ", "ES256K", "ES256\n", "RS1", "PS1", "HS256", "EdDSA448", "Ed25519", "A128KW", "dir"]
)
def test_algorithm_outside_the_list(name: str) -> None:
    assert answer(with_header(alg=name)) == "algorithm_not_allowed"


@pytest.mark.parametrize("algorithm", KINDS)
def test_the_header_does_not_choose_the_algorithm(algorithm: str) -> None:
    """Signed rightly by the named key, with any algorithm that its kind can make but the one it is published for."""
    for other, kind in KINDS.items():
        if kind == KINDS[algorithm] and other != algorithm:
            assert answer(token(other, key=signing_key(algorithm), kid=algorithm)) == "algorithm_mismatch"


# --- keys that a token brings, or points to --------------------------------------------------------------------------


def test_embedded_key_of_the_attacker() -> None:
    attacker = pki.key("p256", "attacker")
    embedded = token(key=attacker, jwk=jwk(attacker, "ES256"))
    assert answer(embedded) == "malformed"
    assert answer(token(key=attacker)) == "signature_invalid"


@pytest.mark.parametrize(
    "members",
    [
        {"jwk": {}},
        {"jwk": None, "jku": "https://issuer.example/jwks"},
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/c.pem"},
        {"x5c": []},
        {"x5c": ["AAAA"]},
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"b64": True},
        {"zip": "DEF"},
        {"enc": "A256GCM"},
        {"cty": "JWT"},
        {"cty": "json"},
    ],
    ids=str,
)
def test_members_that_bring_keys_or_rules(members: dict[str, object]) -> None:
    assert answer(with_header(**members)) == "malformed"


def test_other_members_of_the_header_mean_nothing() -> None:
    """RFC 7515 section 4: what is not understood is ignored, however it is spelled."""
    members = {"CRIT": ["x"], "Jwk": {}, "nonce": "n", "url": "https://evil.example", "exp": 0, "alg ": "none"}
    assert answer(with_header(**members)) == "verified"


def test_detached_payload_that_is_not_encoded() -> None:
    """RFC 7797: the payload stands as it is, or elsewhere."""
    head = header(b64=False, crit=["b64"])
    signature = forge(PAYLOAD, head).rpartition(".")[2]
    assert answer(f"{encode(head)}..{signature}") == "malformed"
    assert answer(f"{encode(head)}.plain text.{signature}") == "malformed"
    assert answer(f"{encode(header())}..{signature}") == "malformed"


def certified(thumbprints: tuple[str, ...] = (), *, chain: bool) -> tuple[KeySet, dict[str, str]]:
    """A key set whose key has a certificate, and that certificate's thumbprints."""
    der = pki.issue("jwt", signing_key("ES256")).certificate.public_bytes(Encoding.DER)
    found = {
        "x5t": encode(hashlib.sha1(der, usedforsecurity=False).digest()),
        "x5t#S256": encode(hashlib.sha256(der).digest()),
    }
    members: dict[str, object] = {name: found[name] for name in thumbprints}
    if chain:
        members["x5c"] = [pki.base64_of(der)]
    return parse_jwks(jwks(jwk(signing_key("ES256"), "ES256", **members))), found


@pytest.mark.parametrize("name", ["x5t", "x5t#S256"])
def test_certificate_thumbprint_must_be_that_of_the_key(name: str) -> None:
    """It selects nothing; but a token that names another certificate than its key's names two signers."""
    keys, found = certified(chain=True)
    assert answer(with_header(**{name: found[name]}), keys) == "verified"
    assert answer(with_header(**{name: encode(bytes(32))}), keys) == "signer_mismatch"
    assert answer(with_header(**{name: [found[name]]}), keys) == "signer_mismatch"
    stated, found = certified((name,), chain=False)
    assert answer(with_header(**{name: found[name]}), stated) == "verified"
    assert answer(with_header(**{name: found[name]})) == "signer_mismatch"


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null",
        "/etc/passwd",
        "file:///etc/passwd",
        "https://evil.example/jwks.json",
        "' OR '1'='1",
        "ES256' UNION SELECT 'key",
        "es256",
        "ES256 ",
        "ES256\x00",
        "ES256/../RS256",
        "__class__",
        "k" * 30_000,
        "\u202e652SE",
    ],
    ids=lambda kid: repr(kid[:24]),
)
def test_key_id_is_compared_and_nothing_else(kid: str) -> None:
    assert answer(with_header(kid=kid)) == "unknown_key"


@pytest.mark.parametrize("kid", [None, "", 7, True, ["ES256"], {"ES256": 1}])
def test_key_id_that_is_no_text(kid: object) -> None:
    assert answer(with_header(kid=kid)) == "malformed"


def test_two_key_ids() -> None:
    head = b'{"alg":"ES256","kid":"RS256","typ":"JWT","kid":"ES256"}'
    assert answer(forge(PAYLOAD, head)) == "malformed"
    assert answer(forge(PAYLOAD, head.replace(b'"kid":"RS256"', b'"\\u006bid":"RS256"'))) == "malformed"


def test_two_issuers_with_one_key_id() -> None:
    """A verifier of B holds B's set alone: A's key of the same name is nowhere to be found in it."""
    other = pki.key("p256", "issuer B")
    set_of_b = parse_jwks(jwks(jwk(other, "ES256")))
    from_a = token()
    posing = token(payload=claims(iss="https://b.example"))
    assert answer(from_a) == "verified"
    assert answer(from_a, set_of_b) == "signature_invalid"
    assert answer(from_a, set_of_b, issuer="https://b.example") == "signature_invalid"
    assert answer(posing, set_of_b, issuer="https://b.example") == "signature_invalid"
    assert answer(posing, issuer=ISSUER) == "issuer_mismatch"
    assert answer(token(key=other, payload=claims(iss="https://b.example")), set_of_b, issuer="https://b.example") == (
        "verified"
    )


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
    [str(SECONDS + 300), "", True, False, None, [SECONDS], {}, -1, -0.5, 253402300800, 1e15, 1e300, "2099-01-01"],
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


# --- the signature ---------------------------------------------------------------------------------------------------


def test_ecdsa_signature_in_der() -> None:
    raw = base64url.decode(token().rpartition(".")[2])
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    assert answer(with_signature(encode_dss_signature(r, s))) == "signature_invalid"


@pytest.mark.parametrize(
    ("r", "s"),
    [(0, 0), (0, 1), (1, 0), (1, 1), (P256_ORDER, 1), (1, P256_ORDER), (P256_ORDER, P256_ORDER), (2**256 - 1, 1)],
)
def test_ecdsa_psychic_signatures(r: int, s: int) -> None:
    """CVE-2022-21449 and its kin: zero, the order, and what is larger."""
    assert answer(with_signature(r.to_bytes(32, "big") + s.to_bytes(32, "big"))) == "signature_invalid"


def test_ecdsa_halves_of_another_length() -> None:
    text = token()
    raw = base64url.decode(text.rpartition(".")[2])
    for other in (raw[:-1], raw + b"\x00", b"\x00" + raw, bytes(1) + raw[:32] + bytes(1) + raw[32:], raw[:32], raw * 2):
        assert answer(with_signature(other, text)) == "signature_invalid"


@pytest.mark.parametrize("algorithm", KINDS)
def test_signature_of_another_token(algorithm: str) -> None:
    other = token(algorithm, claims(sub="somebody else"))
    assert answer(with_signature(base64url.decode(other.rpartition(".")[2]), token(algorithm))) == "signature_invalid"


@pytest.mark.parametrize("algorithm", KINDS)
def test_every_character_counts(algorithm: str) -> None:
    text = token(algorithm)
    for position in range(0, len(text), 7):
        other = "A" if text[position] != "A" else "B"
        assert answer(text[:position] + other + text[position + 1 :]) != "verified"
