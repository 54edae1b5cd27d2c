"""An issuer's key set: what of it counts, and what is left out with a reason."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import ECKey, OctKey, OKPKey
from jwt.algorithms import RSAAlgorithm

from signer.authn.token_keys import TOKEN_ALGORITHMS, parse_key_set
from tests.oidc import key_set, new_key

P256: Final = key_set(new_key("a"))["keys"][0]
RSA: Final = new_key("r", "RSA")
SMALL: Final = rsa.RSAPublicNumbers(65537, (1 << 1023) + 1).public_key()


def parsed(*members: Any) -> Any:
    return parse_key_set(json.dumps({"keys": list(members)}).encode())


def test_a_key_verifies_by_its_own_algorithm_alone() -> None:
    keys = parsed(*key_set(RSA, new_key("e"), new_key("o", "OKP"))["keys"])
    usable = {name: [key.kid for key in keys.keys if key.verifies(row)] for name, row in TOKEN_ALGORITHMS.items()}
    assert usable == {
        **{name: [] for name in TOKEN_ALGORITHMS},
        "RS256": ["r"],
        "ES256": ["e"],
        "EdDSA": ["o"],
    }
    unbound = RSA.as_dict(private=False)
    (key,) = parsed(unbound).keys
    assert [name for name, row in TOKEN_ALGORITHMS.items() if key.verifies(row)] == [
        *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
    ]


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (OctKey.generate_key(256, {"kid": "h", "alg": "HS256"}).as_dict(private=True), "kty"),
        ({**P256, "alg": "HS256"}, "alg"),
        ({**P256, "alg": "none"}, "alg"),
        ({**P256, "alg": ["ES256"]}, "alg"),
        (new_key("private").as_dict(private=True), "private half"),
        ({**P256, "use": "enc"}, "use"),
        ({**P256, "key_ops": ["sign"]}, "key_ops"),
        ({name: value for name, value in P256.items() if name != "kid"}, "kid"),
        ({**P256, "kid": 7}, "kid"),
        ({**P256, "kid": ""}, "kid"),
        ({**P256, "x": P256["y"]}, "members"),  # not on the curve
        ({**P256, "crv": "P-384"}, "members"),
        (ECKey.generate_key("secp256k1", {"kid": "k"}).as_dict(private=False), "crv"),
        (OKPKey.generate_key("X25519", {"kid": "x"}).as_dict(private=False), "crv"),
        ({**RSAAlgorithm.to_jwk(SMALL, as_dict=True), "kid": "small"}, "2048"),
        ({**RSA.as_dict(private=False), "e": "Ag"}, "exponent|members"),
    ],
)
def test_what_does_not_count_is_left_out_with_its_reason(member: dict[str, Any], reason: str) -> None:
    keys = parsed(member, key_set(new_key("other"))["keys"][0])
    assert [key.kid for key in keys.keys] == ["other"]
    assert any(word in keys.left_out[0] for word in reason.split("|")), keys.left_out


@pytest.mark.parametrize(
    "data",
    [
        b"<!doctype html><title>Sign in</title>",
        b"",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": ["a"]}',
        b'{"keys": [], "keys": []}',
        b'{"keys": [{"kid": "a", "kid": "b"}]}',
        b'{"keys": [NaN]}',
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps({"keys": [{}] * 101}).encode(),
    ],
)
def test_what_is_no_key_set_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"it |twice|NaN"):
        parse_key_set(data)
