"""JWTs: joserfc accepts each algorithm with keys from the published set; callers say only what the key lets them."""

from __future__ import annotations

import base64
import hashlib
import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwt as joserfc_jwt
from joserfc.errors import BadSignatureError, JoseError, SecurityWarning
from joserfc.jwk import KeySet

from keystore.algorithms import PURPOSES, SIGNING_ALGORITHMS, Purpose
from keystore.api import TokenSettings
from keystore.errors import HsmFault
from signer.errors import Unprocessable
from signer.formats import claims as claim_rules
from signer.formats import jwks, jwt
from tests.software_key import LyingKey, generate, information, new_key, software_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.software_key import SoftwareKey

NOW = datetime(2026, 6, 1, 12, 30, 45, 999_999, tzinfo=UTC)
SETTINGS = TokenSettings("default", ("https://api.example", "https://other.example"), 3600, ("JWT", "at+jwt"))
JWT_KEYS = [
    (spec, algorithm)
    for spec, algorithms in PURPOSES[Purpose.JWT].items()
    for algorithm in algorithms
    if spec not in {"RSA_3072", "RSA_4096"}
]


def issue(
    key: SoftwareKey,
    *,
    claims: Mapping[str, object] | None = None,
    ttl: int | None = None,
    typ: str | None = None,
    token_settings: TokenSettings = SETTINGS,
) -> str:
    return jwt.issue(
        key,
        kid=jwks.thumbprint(key.public_key_der),
        settings=token_settings,
        issuer_url="https://issuer.example",
        claims=claims,
        ttl=ttl,
        typ=typ,
        now=NOW,
        jti="2b1f0a",
    )


def curve_key() -> SoftwareKey:
    return software_key("ECC_NIST_P256", Purpose.JWT)


def segment(token: str, index: int) -> dict[str, object]:
    part = token.split(".")[index]
    decoded = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    assert isinstance(decoded, dict)
    return decoded


def accepted_claims(token: str, key: SoftwareKey) -> dict[str, object]:
    """What joserfc reads with the published set alone."""
    name = key.info.algorithm.name
    published = json.dumps(jwks.key_set([jwks.jwk(key.public_key_der, algorithm=name)]))
    key_set = KeySet.import_key_set(json.loads(published))
    # joserfc warns of the name EdDSA since RFC 9864; PyJWT drops keys that say Ed25519, so the set says EdDSA.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        return dict(joserfc_jwt.decode(token, key_set, algorithms=[str(SIGNING_ALGORITHMS[name].jws)]).claims)


@pytest.mark.parametrize(("spec", "algorithm"), JWT_KEYS)
def test_joserfc_accepts_each_algorithm(spec: str, algorithm: str) -> None:
    key = software_key(spec, Purpose.JWT, algorithm)
    token = issue(key, claims={"sub": "alice", "roles": ["a", "ä"]})
    assert accepted_claims(token, key) == {
        "iss": "https://issuer.example",
        "aud": "https://api.example",
        "iat": 1780317045,
        "nbf": 1780317045,
        "exp": 1780317045 + 300,
        "jti": "2b1f0a",
        "sub": "alice",
        "roles": ["a", "ä"],
    }


@pytest.mark.parametrize(("spec", "algorithm"), JWT_KEYS)
def test_joserfc_refuses_one_character_changed(spec: str, algorithm: str) -> None:
    key = software_key(spec, Purpose.JWT, algorithm)
    token = issue(key)
    header, payload, signature = token.split(".")
    for changed in (
        f"{header}.{payload[:20]}{'A' if payload[20] != 'A' else 'B'}{payload[21:]}.{signature}",
        f"{header}.{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
    ):
        with pytest.raises((BadSignatureError, JoseError, ValueError)):
            accepted_claims(changed, key)


@pytest.mark.parametrize(("spec", "algorithm"), JWT_KEYS)
def test_the_header_is_exactly_alg_kid_typ(spec: str, algorithm: str) -> None:
    key = software_key(spec, Purpose.JWT, algorithm)
    assert segment(issue(key, typ="at+jwt"), 0) == {
        "alg": SIGNING_ALGORITHMS[algorithm].jws,
        "kid": jwks.thumbprint(key.public_key_der),
        "typ": "at+jwt",
    }


def test_type_and_audience_are_the_first_of_the_keys_own_by_default() -> None:
    token = issue(curve_key())
    assert segment(token, 0)["typ"] == "JWT"
    assert segment(token, 1)["aud"] == "https://api.example"


@pytest.mark.parametrize("audience", ["https://other.example", ["https://other.example", "https://api.example"]])
def test_an_audience_is_picked_out_of_the_keys_own(audience: str | list[str]) -> None:
    assert segment(issue(curve_key(), claims={"aud": audience}), 1)["aud"] == audience


@pytest.mark.parametrize(
    ("claims", "field", "reason"),
    [
        ({"exp": 1}, "claims.exp", "`ttl`"),
        ({"iss": "https://issuer.example"}, "claims.iss", "the key's issuer"),
        ({"iat": 1}, "claims.iat", "time of signing"),
        ({"nbf": None}, "claims.nbf", "time of signing"),
        ({"jti": "x"}, "claims.jti", "unique"),
        ({"Exp": 1}, "claims.Exp", "can be taken for `exp`"),
        ({"iss ": "x"}, "claims.iss ", "can be taken for `iss`"),
        ({"ISS": "x"}, "claims.ISS", "can be taken for `iss`"),
        ({"Sub": "x"}, "claims.Sub", "can be taken for `sub`"),
        (
            {"i\u017fs": "x"},
            "claims.i\u017fs",  # LATIN SMALL LETTER LONG S folds to s
            "can be taken for `iss`",
        ),
        ({"": 1}, "claims", "not empty"),
        ({"aud": "https://evil.example"}, "claims.aud", "one of the key's audiences"),
        ({"aud": ["https://api.example", "https://evil.example"]}, "claims.aud", "one of"),
        ({"aud": ["https://api.example", "https://api.example"]}, "claims.aud", "different"),
        ({"aud": []}, "claims.aud", "one of"),
        ({"aud": None}, "claims.aud", "one of"),
        ({"aud": [["https://api.example"]]}, "claims.aud", "one of"),
        ({"aud": {"https://api.example": 1}}, "claims.aud", "one of"),
        ({"sub": 7}, "claims.sub", "string"),
        ({"sub": ""}, "claims.sub", "string"),
        ({"sub": "a" * 1025}, "claims.sub", "1024"),
        ({"sub": "\ud800"}, "claims.sub", "surrogate"),
        ({"x": "\udfff"}, "claims.x", "surrogate"),
        ({"x": {"\udfff": 1}}, "claims.x", "surrogate"),
        ({"x": float("nan")}, "claims.x", "NaN"),
        ({"x": 2**53}, "claims.x", "as a string"),
        ({"x": {"y": [-(2**53)]}}, "claims.x", "as a string"),
        ({"x": [1, {"y": float("-inf")}]}, "claims.x", "NaN"),
        ({"x": b"bytes"}, "claims.x", "not JSON"),
        ({"x": {1: 2}}, "claims.x", "names that are strings"),
        ({"\ud800": 1}, "claims", "surrogate"),
        ({"x": 10**5000}, "claims.x", "as a string"),
        ({"x": "a" * 16384}, "claims", "16384 are allowed"),
    ],
)
def test_what_a_caller_may_not_say_is_refused_by_name(claims: dict[str, object], field: str, reason: str) -> None:
    key = curve_key()
    before = len(key.messages)
    with pytest.raises(Unprocessable, match=reason) as refusal:
        issue(key, claims=claims)
    assert refusal.value.field == field
    assert len(key.messages) == before


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"x": inner}])
def test_depth_is_bounded(wrap: Callable[[object], object]) -> None:
    inner: object = 1
    for _ in range(claim_rules.MAXIMUM_DEPTH - 1):
        inner = wrap(inner)
    issue(curve_key(), claims={"x": inner})
    with pytest.raises(Unprocessable, match="16 deep"):
        issue(curve_key(), claims={"x": wrap(inner)})


def test_the_size_limit_is_of_the_encoded_payload() -> None:
    spare = claim_rules.MAXIMUM_CLAIMS_BYTES - len(json.dumps(segment(issue(curve_key()), 1), separators=(",", ":")))
    fitting = "a" * (spare - len(',"x":""'))
    issue(curve_key(), claims={"x": fitting})
    with pytest.raises(Unprocessable, match="16385 bytes"):
        issue(curve_key(), claims={"x": fitting + "a"})


@pytest.mark.parametrize(
    ("max_ttl", "asked", "lived"), [(3600, None, 300), (60, None, 60), (3600, 3600, 3600), (3600, 1, 1)]
)
def test_lifetime(max_ttl: int, asked: int | None, lived: int) -> None:
    token_settings = TokenSettings("default", ("a",), max_ttl)
    payload = segment(issue(curve_key(), ttl=asked, token_settings=token_settings), 1)
    assert payload["exp"] == 1780317045 + lived


@pytest.mark.parametrize("asked", [0, -1, 3601])
def test_a_lifetime_beyond_the_keys_is_refused(asked: int) -> None:
    with pytest.raises(Unprocessable, match="from 1 to 3600 seconds") as refusal:
        issue(curve_key(), ttl=asked)
    assert refusal.value.field == "ttl"


@pytest.mark.parametrize("asked", ["", "jwt", "logout+jwt", "none"])
def test_a_type_that_is_not_the_keys_is_refused(asked: str) -> None:
    with pytest.raises(Unprocessable, match=r"of type JWT or at\+jwt") as refusal:
        issue(curve_key(), typ=asked)
    assert refusal.value.field == "typ"


def test_a_key_without_audiences_signs_nothing() -> None:
    with pytest.raises(Unprocessable, match="names no audience"):
        issue(curve_key(), token_settings=TokenSettings("default", (), 60))


def test_secp256k1_makes_no_es256() -> None:
    """RFC 7518 section 3.4: ES256 is P-256."""
    with pytest.raises(Unprocessable, match="ES256 tokens are not signed"):
        issue(software_key("ECC_SECG_P256K1", Purpose.GENERAL))


@pytest.mark.parametrize("lie", [b"", b"garbage", encode_dss_signature(1 << 256, 1), encode_dss_signature(1, 1)[:-1]])
def test_what_is_no_signature_of_the_curve_is_an_hsm_fault(lie: bytes) -> None:
    key = LyingKey(generate("ECC_NIST_P256"), information("ECC_NIST_P256", Purpose.JWT), lambda _: lie)
    with pytest.raises(HsmFault):
        issue(key)


@given(r=st.integers(min_value=1, max_value=2**521 - 1), s=st.integers(min_value=1, max_value=2**521 - 1))
def test_both_integers_have_the_width_of_the_curve(r: int, s: int) -> None:
    """RFC 7518 section 3.4: P-521 gives 132 octets, leading zeros included."""
    joined = jwt.joined_integers(encode_dss_signature(r, s), 66)
    assert (int.from_bytes(joined[:66], "big"), int.from_bytes(joined[66:], "big"), len(joined)) == (r, s, 132)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - 2**53, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(value=JSON_VALUES)
def test_every_json_value_arrives_as_it_was_sent(value: object) -> None:
    payload = segment(issue(curve_key(), claims={"x": value}), 1)
    assert payload["x"] == value


def test_the_record_can_name_the_signed_bytes() -> None:
    key = curve_key()
    token = issue(key)
    signing_input = token.rpartition(".")[0].encode()
    assert hashlib.sha256(key.messages[-1]).digest() == hashlib.sha256(signing_input).digest()


def test_threads_do_not_mix_up_keys() -> None:
    """The PyJWS of an algorithm is shared by all threads; the key is an argument."""
    keys = [new_key("ECC_NIST_P256", Purpose.JWT) for _ in range(4)]

    def work(number: int) -> str:
        return issue(keys[number % len(keys)], claims={"sub": str(number)})

    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(work, range(200)))
    for number, token in enumerate(tokens):
        assert accepted_claims(token, keys[number % len(keys)])["sub"] == str(number)
