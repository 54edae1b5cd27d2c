"""Attacks on the keys, algorithms and signatures of tokens, each by name with the code of its refusal."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.verifier import pki
from tests.verifier.jwt_builder import (
    ISSUER,
    KINDS,
    answer,
    claims,
    encode,
    forge,
    header,
    jwk,
    jwks,
    payload,
    signing_key,
    token,
    with_claims,
    with_header,
    with_signature,
)
from verifier import KeySet, parse_jwks
from verifier.tokens import base64url

PAYLOAD = payload()
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


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
    for other in (
        raw[:-1],
        raw[:32] + bytes(1) + raw[32:],
        raw + b"\x00",
        b"\x00" + raw,
        bytes(1) + raw[:32] + bytes(1) + raw[32:],
        raw[:32],
        raw * 2,
    ):
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
