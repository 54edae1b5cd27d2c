"""Project Wycheproof's vectors through the verifier as it is shipped: files with bare signatures, and tokens.

The rule is strict: `valid` verifies where the algorithm is on the list, everything else is refused, `acceptable` too.
`pytest -s` prints how many there are; the floors are what the vectors held when this was written.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass, field

import pytest

from tests.verifier import pki
from tests.verifier.trust_builder import bundle, key_entry
from tests.verifier.wycheproof import EncodedKey, Group, Vector, encoded_keys, groups, ml_dsa_vectors
from verifier import (
    ALGORITHMS,
    Indeterminate,
    KeySet,
    Rejected,
    Trust,
    VerificationError,
    parse_jwks,
    parse_trust,
    verify_artifact,
)
from verifier.tokens.jws import ParsedToken, check_signature

INSIDE = [group for group in groups() if group.algorithm is not None]
REFUSED_KEYS = [group for group in groups() if group.key_refused]
REFUSED_ALGORITHMS = [group for group in groups() if group.algorithm is None and not group.key_refused]
# Signatures that are right under another algorithm of the same key, such as SHA-512 in the place of SHA-256.
MADE_OTHERWISE = {"WrongHash", "WrongPrimitive"}


def answer_to_file(trust: Trust, vector: Vector, algorithm: str | None = None) -> str:
    """The algorithm that verified, or the code of the refusal."""
    try:
        facts = verify_artifact(
            io.BytesIO(vector.message), vector.signature, trust, signature_format="raw", algorithm=algorithm
        )
    except Rejected as reason:
        return reason.code
    return facts.key.algorithm


def answer_to_token(keys: KeySet, jws: str, vector: Vector) -> str:
    """As `verify_jwt` comes to it. The vectors' messages are no signing inputs, so parsing is left away."""
    try:
        key = keys.find("key")
        check_signature(ParsedToken(jws, "key", "JWT", {}, vector.message, vector.signature, {}), key)
    except VerificationError as reason:
        return reason.code
    return key.algorithm.name


def key_set(group: Group, jws: str) -> KeySet:
    assert group.jwk is not None
    return parse_jwks(json.dumps({"keys": [{**group.jwk, "kid": "key", "use": "sig", "alg": jws}]}).encode())


@dataclass
class Count:
    """How many vectors verified as they must, how many were refused as they must, and which did otherwise."""

    verified: int = 0
    refused: int = 0
    otherwise: list[Vector] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, vector: Vector, answer: str, algorithm: str) -> None:
        if vector.must_verify and answer == algorithm:
            self.verified += 1
        elif not vector.must_verify and answer == "signature_invalid":
            self.refused += 1
        elif vector.flags & MADE_OTHERWISE and answer in ALGORITHMS and answer != algorithm:
            self.otherwise.append(vector)
        else:
            self.wrong.append(f"{vector.name} ({vector.result}): {answer}")


# Algorithm: files verified, files refused, tokens verified, tokens refused.
FLOORS = {
    "RSASSA_PKCS1_V1_5_SHA_256": (52, 1003, 52, 1003),
    "RSASSA_PKCS1_V1_5_SHA_384": (52, 1007, 52, 1007),
    "RSASSA_PKCS1_V1_5_SHA_512": (52, 1007, 52, 1007),
    "RSASSA_PSS_SHA_256": (190, 135, 190, 135),
    "RSASSA_PSS_SHA_384": (191, 92, 191, 92),
    "RSASSA_PSS_SHA_512": (133, 47, 133, 47),
    "ECDSA_SHA_256": (504, 928, 173, 89),
    "ECDSA_SHA_384": (194, 310, 193, 87),
    "ECDSA_SHA_512": (943, 1241, 231, 87),
    "ED25519_SHA_512": (117, 63, 117, 63),
}


# ML-DSA's vectors are of another form, and come below; Wycheproof has none of Ed25519ph (test_bare_only.py).
ELSEWHERE = {"ML_DSA_SHAKE_256", "ED25519_PH_SHA_512"}


def test_the_floors_name_the_whole_list() -> None:
    assert FLOORS.keys() | ELSEWHERE == ALGORITHMS.keys()


@pytest.mark.parametrize(
    ("name", "floors"), [("mldsa_44", (75, 105)), ("mldsa_65", (77, 131)), ("mldsa_87", (69, 172))]
)
def test_ml_dsa_over_files(name: str, floors: tuple[int, int]) -> None:
    """With an empty context string, as the service signs: what is valid with another one is refused."""
    count, algorithm = Count(), "ML_DSA_SHAKE_256"
    for der, vector in ml_dsa_vectors(name):
        try:
            trust = parse_trust(bundle([entry(der, algorithm)]))
        except Indeterminate:
            count.add(vector, "signature_invalid", algorithm)  # refused for its key
        else:
            count.add(vector, answer_to_file(trust, vector), algorithm)
    assert count.wrong == []
    assert count.verified >= floors[0]
    assert count.refused >= floors[1]


@pytest.mark.parametrize("algorithm", FLOORS)
def test_bare_signatures_over_files(algorithm: str) -> None:
    """`verify_artifact` with the vector's PEM key as trust, first without a demand: all the key's algorithms are tried.

    A vector that is made with another algorithm of the list is refused as soon as the right one is demanded.
    """
    count = Count()
    for group in INSIDE:
        if group.algorithm is ALGORITHMS[algorithm] and not group.p1363:
            trust = parse_trust(group.pem)
            for vector in group.vectors:
                count.add(vector, answer_to_file(trust, vector), algorithm)
            for vector in count.otherwise:
                count.add(vector, answer_to_file(trust, vector, algorithm), algorithm)
            count.otherwise.clear()
    assert count.wrong == []
    print(f"\n{algorithm}, files: {count.verified} valid verified, {count.refused} others refused")  # noqa: T201
    assert count.verified >= FLOORS[algorithm][0]
    assert count.refused >= FLOORS[algorithm][1]


@pytest.mark.parametrize("algorithm", FLOORS)
def test_signatures_of_tokens(algorithm: str) -> None:
    """The vector's JWK by `parse_jwks`, then `check_signature`, which `verify_jwt` calls. ECDSA is r and s here."""
    count = Count()
    row = ALGORITHMS[algorithm]
    for group in INSIDE:
        if group.algorithm is row and group.jws is not None and group.p1363 is (row.scheme == "ECDSA"):
            keys = key_set(group, group.jws)
            for vector in group.vectors:
                count.add(vector, answer_to_token(keys, group.jws, vector), algorithm)
    assert count.wrong == []
    assert count.otherwise == []
    print(f"\n{row.jws}, tokens: {count.verified} valid verified, {count.refused} others refused")  # noqa: T201
    assert count.verified >= FLOORS[algorithm][2]
    assert count.refused >= FLOORS[algorithm][3]


def test_keys_outside_the_list_are_refused_by_every_way_in() -> None:
    """Other curves, short RSA keys, exponent 3, keys bound to PSS, DSA, Ed448, ML-DSA, bad Ed25519 points."""
    keys = {group.der: group for group in REFUSED_KEYS}
    for group in keys.values():
        with pytest.raises(Indeterminate, match="invalid_trust"):
            parse_trust(group.pem)
        for algorithm in ("RSASSA_PKCS1_V1_5_SHA_256", "ECDSA_SHA_256", "ED25519_SHA_512"):
            with pytest.raises(Indeterminate, match="invalid_trust") as caught:
                parse_trust(bundle([entry(group.der, algorithm)]))
            assert "member" not in caught.value.message
        if group.jwk is not None:
            assert answer_to_jwk(group, "EdDSA" if group.jwk["kty"] == "OKP" else "RS256") in {
                "weak_key",
                "unsupported_key",
                "invalid_jwks",
            }
    print(f"\nkeys refused: {len(keys)}, with {sum(len(group.vectors) for group in REFUSED_KEYS)} vectors")  # noqa: T201
    assert len(keys) >= 905


def entry(der: bytes, algorithm: str) -> dict[str, object]:
    """A key of trust.json that is right in everything else."""
    return key_entry(pki.key("p256"), algorithm, public_key=pki.base64_of(der))


def answer_to_jwk(group: Group, jws: str) -> str:
    try:
        key_set(group, jws).find("key")
    except VerificationError as reason:
        return reason.code
    return "usable"


def test_algorithms_outside_the_list_are_refused_for_good_keys() -> None:
    """SHA-1, SHA-224, SHA-3, SHA-512/256, other masks and salts, rightly signed: a bare signature does not tell.

    So it is `signature_invalid`; where the trust names the algorithm, the answer is that it is not allowed.
    """
    tried = 0
    for group in REFUSED_ALGORITHMS:
        trust = parse_trust(group.pem)
        named = parse_trust(bundle([entry(group.der, "RSASSA_PKCS1_V1_5_SHA_1")]))
        assert answer_to_file(named, group.vectors[0]) == "algorithm_not_allowed"
        for vector in group.vectors:
            if vector.result != "invalid":
                tried += 1
                assert answer_to_file(trust, vector) == "signature_invalid", vector.name
    print(f"\nalgorithms refused: {len(REFUSED_ALGORITHMS)} groups, {tried} vectors")  # noqa: T201
    assert tried >= 2172


def test_fixed_length_signatures_are_none_for_files() -> None:
    """RFC 3279: over files ECDSA is DER, and r and s side by side are refused even where they are right."""
    cases = [(parse_trust(group.pem), group) for group in INSIDE if group.p1363]
    answers = {answer_to_file(trust, vector) for trust, group in cases for vector in group.vectors[:40]}
    assert (len(cases) >= 8, answers) == (True, {"signature_invalid"})


def test_curves_and_algorithms_that_no_token_combines() -> None:
    """RFC 7518 section 3.4: P-256 with SHA-512 is on the list for files and does not exist in a token."""
    codes = {
        (str(group.jwk["crv"]), group.algorithm.jws): answer_to_jwk(group, str(group.algorithm.jws))
        for group in INSIDE
        if group.p1363 and group.jwk is not None and group.jws is None and group.algorithm is not None
    }
    assert codes == {
        ("P-256", "ES512"): "algorithm_not_allowed",
        ("P-384", "ES512"): "algorithm_not_allowed",
        ("secp256k1", "ES256"): "unsupported_key",
        ("secp256k1", "ES512"): "unsupported_key",
    }


def test_encodings_of_public_keys() -> None:
    """From the vectors on key agreement: every good key is read, and nothing else, be it off the curve or just odd."""

    def is_read(key: EncodedKey) -> bool:
        body = base64.encodebytes(key.der).decode()
        try:
            parse_trust(f"-----BEGIN PUBLIC KEY-----\n{body}-----END PUBLIC KEY-----\n".encode())
        except Indeterminate:
            return False
        return True

    read = [key for key in encoded_keys() if is_read(key)]
    # A key on another of the allowed curves is no fault of the key.
    wrong = [key.name for key in read if key.result != "valid" and not key.flags & {"WrongCurve", "ModifiedGroup"}]
    missing = {key.name for key in encoded_keys() if key.result == "valid"} - {key.name for key in read}
    print(f"\nencodings of keys: {len(read)} read, {len(encoded_keys()) - len(read)} refused")  # noqa: T201
    assert (wrong, missing) == ([], set())
    assert (len(read) >= 1747, len(encoded_keys()) - len(read) >= 828) == (True, True)
