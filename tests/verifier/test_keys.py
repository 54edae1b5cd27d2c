"""Public keys that are refused, by every way that a key comes in: PEM, trust.json, a key set, a certificate."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import random
from functools import cache
from typing import TYPE_CHECKING

import pytest
from asn1crypto import keys as asn1_keys
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key

from tests.verifier import pki
from tests.verifier.jwt_builder import encode
from tests.verifier.trust_builder import bundle, key_entry
from tests.verifier.wycheproof import groups
from verifier import Indeterminate, VerificationError, parse_jwks, parse_trust, verify_artifact
from verifier.edwards import is_public_key
from verifier.keys import load_pem_public_key
from verifier.moduli import fault_of, has_close_primes, is_roca

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD = pki.key("rsa2048")
assert isinstance(GOOD, rsa.RSAPrivateKey)
N = GOOD.public_key().public_numbers().n


def is_probable_prime(number: int) -> bool:
    return all(pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7))


ODD_NUMBERS = math.prod(range(3, 2000, 2))


@cache
def next_prime(number: int) -> int:
    number |= 1
    while math.gcd(number, ODD_NUMBERS) != 1 or not is_probable_prime(number):
        number += 2
    return number


@cache
def roca_prime(seed: int, primes: int = 71) -> int:
    """k * M + (65537^a mod M), M the product of the first `primes` primes: 71 for primes of 1024 bits (section 2.1)."""
    source = random.Random(seed)  # noqa: S311 - a fixed one, so that every run finds the same
    small = [number for number in range(2, 400) if all(number % d for d in range(2, math.isqrt(number) + 1))][:primes]
    product = math.prod(small)
    while True:
        k = source.getrandbits(1024 - product.bit_length()) | 3 << (1022 - product.bit_length())
        candidate = k * product + pow(65537, source.getrandbits(200), product)
        if candidate.bit_length() == 1024 and is_probable_prime(candidate):
            return candidate


def roca_modulus() -> int:
    return roca_prime(1) * roca_prime(2)


def close_modulus() -> int:
    first = next_prime(3 << 1022)
    return first * next_prime(first + 2)


def rsa_der(modulus: int, exponent: int) -> bytes:
    """By asn1crypto: cryptography refuses to make some of these."""
    key = asn1_keys.RSAPublicKey({"modulus": modulus, "public_exponent": exponent})
    made: bytes = asn1_keys.PublicKeyInfo.wrap(key, "rsa").dump()
    return made


def rsa_jwk(modulus: int, exponent: int) -> dict[str, object]:
    def text(number: int) -> str:
        return encode(number.to_bytes((number.bit_length() + 7) // 8, "big"))

    return {"kty": "RSA", "n": text(modulus), "e": text(exponent), "alg": "RS256"}


def pem(der: bytes) -> bytes:
    return b"-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(der) + b"-----END PUBLIC KEY-----\n"


def reason_by_pem(der: bytes) -> str:
    try:
        parse_trust(pem(der))
    except Indeterminate as error:
        return f"{error.code}: {error.message}"
    return "trusted"


def reason_by_bundle(der: bytes, algorithm: str) -> str:
    try:
        parse_trust(bundle([key_entry(GOOD, algorithm, public_key=pki.base64_of(der))]))
    except Indeterminate as error:
        return f"{error.code}: {error.message}"
    return "trusted"


def reason_by_key_set(entry: dict[str, object]) -> str:
    try:
        parse_jwks(json.dumps({"keys": [{**entry, "kid": "key", "use": "sig"}]}).encode()).find("key")
    except VerificationError as error:
        return f"{error.code}: {error.message}"
    return "usable"


BAD_RSA: dict[str, tuple[Callable[[], tuple[int, int]], str]] = {
    "2047 bits": (lambda: (N >> 1 | 1, 65537), "2048"),
    "1024 bits": (lambda: (N >> 1024 | 1, 65537), "2048"),
    "8193 bits": (lambda: (N << 6145 | 1, 65537), "8192"),
    "even modulus": (lambda: (N - 1, 65537), "small factor"),
    "exponent 1": (lambda: (N, 1), "exponent"),
    "exponent 2": (lambda: (N, 2), "exponent"),
    "exponent 3": (lambda: (N, 3), "exponent"),
    "exponent 65536": (lambda: (N, 65536), "exponent"),
    "exponent 65538": (lambda: (N, 65538), "exponent"),
    "exponent beyond 2^256": (lambda: (N, 2**256 + 1), "exponent"),
    "exponent as large as the modulus": (lambda: (N, N - 2), "exponent"),
    "small factor 3": (lambda: (3 * ((N // 3) | 1), 65537), "small factor"),
    "small factor 751": (lambda: (751 * ((N // 751) | 1), 65537), "small factor"),
    "ROCA": (lambda: (roca_modulus(), 65537), "ROCA"),
    "primes side by side": (lambda: (close_modulus(), 65537), "too close"),
    "a square": (lambda: (next_prime(3 << 1022) ** 2, 65537), "too close"),
}


@pytest.mark.parametrize("name", BAD_RSA)
def test_rsa_keys_that_are_refused(name: str) -> None:
    make, reason = BAD_RSA[name]
    modulus, exponent = make()
    der = rsa_der(modulus, exponent)
    by_pem, by_bundle = reason_by_pem(der), reason_by_bundle(der, "RSASSA_PKCS1_V1_5_SHA_256")
    assert (by_pem.partition(":")[0], by_bundle.partition(":")[0]) == ("invalid_trust", "invalid_trust")
    by_key_set = reason_by_key_set(rsa_jwk(modulus, exponent))
    assert by_key_set.startswith("weak_key: ")
    assert reason in by_key_set


@pytest.mark.parametrize("exponent", [65537, 65539, 2**32 + 1, 2**256 - 1])
def test_rsa_exponents_in_range(exponent: int) -> None:
    der = rsa_der(N, exponent)
    assert reason_by_pem(der) == "trusted"
    assert reason_by_bundle(der, "RSASSA_PKCS1_V1_5_SHA_256") == "trusted"
    assert reason_by_key_set(rsa_jwk(N, exponent)) == "usable"


def test_weak_keys_in_certificates() -> None:
    p, q = roca_prime(1), roca_prime(2)
    d = pow(65537, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(65537, p * q)
    )
    key = numbers.private_key()
    authority = pki.issue("weak", key, None, pki.AUTHORITY).certificate
    with pytest.raises(Indeterminate, match="ROCA"):
        parse_trust(pki.pem(authority))


def test_roca_is_found_for_every_size_of_its_keys_and_nowhere_else() -> None:
    for primes in (39, 126):
        assert is_roca(roca_prime(7, primes) * roca_prime(8, primes)), primes
    source = random.Random(1)  # noqa: S311
    assert not any(is_roca(source.getrandbits(2048) | 1) for _ in range(5_000))
    # One prime of the form is not enough: the modulus of the other kind shows nothing.
    assert not is_roca(roca_prime(1) * next_prime(source.getrandbits(1024) | 3 << 1022))
    assert fault_of(N) is None
    assert not has_close_primes(N)


# --- curves ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("curve", [ec.SECP192R1(), ec.SECP224R1(), ec.BrainpoolP256R1(), ec.BrainpoolP512R1()])
def test_curves_outside_the_list(curve: ec.EllipticCurve) -> None:
    public = ec.generate_private_key(curve).public_key()
    der = pki.spki_of(public)
    assert reason_by_pem(der).startswith(f"invalid_trust: The trust file cannot be used: the curve {curve.name}")
    assert reason_by_bundle(der, "ECDSA_SHA_256").startswith("invalid_trust: ")
    point = public.public_numbers()
    size = (curve.key_size + 7) // 8
    coordinates: dict[str, object] = {
        "x": encode(point.x.to_bytes(size, "big")),
        "y": encode(point.y.to_bytes(size, "big")),
    }
    for name in (curve.name, "P-224"):
        assert reason_by_key_set({"kty": "EC", "crv": name, **coordinates}).startswith("unsupported_key: ")
    # The point under the name of a curve that it is not on.
    wrong = reason_by_key_set({"kty": "EC", "crv": "P-256", **coordinates})
    assert wrong.startswith("invalid_jwks: ")


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "secp256k1"])
def test_points_off_the_curve(kind: str) -> None:
    der = pki.spki(pki.key(kind))
    size = (pki.key(kind).key_size + 7) // 8  # type: ignore[union-attr]
    points = {
        "off the curve": der[:-1] + bytes((der[-1] ^ 1,)),
        "zero": der[: -2 * size] + bytes(2 * size),
        "out of the field": der[: -2 * size] + b"\xff" * (2 * size),
    }
    for name, bad in points.items():
        assert reason_by_pem(bad).startswith("invalid_trust: "), name
        assert reason_by_bundle(bad, "ECDSA_SHA_256").startswith("invalid_trust: "), name
        if kind != "secp256k1":
            entry: dict[str, object] = {
                "kty": "EC",
                "crv": f"P-{kind[1:]}",
                "x": encode(bad[-2 * size : -size]),
                "y": encode(bad[-size:]),
            }
            assert reason_by_key_set(entry).startswith("invalid_jwks: "), name


# --- Ed25519 ---------------------------------------------------------------------------------------------------------

P = 2**255 - 19
# The eight points of small order, then what is not the one encoding of a point (RFC 8032 section 5.1.3).
SMALL_ORDER = [
    (1).to_bytes(32, "little"),
    (P - 1).to_bytes(32, "little"),
    (0).to_bytes(32, "little"),
    (1 << 255).to_bytes(32, "little"),
    *(
        bytes.fromhex(text)
        for text in (
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        )
    ),
]
NOT_CANONICAL = [
    *((P + y).to_bytes(32, "little") for y in range(19)),
    *((P + y | 1 << 255).to_bytes(32, "little") for y in range(19)),
    (1 | 1 << 255).to_bytes(32, "little"),
    (P - 1 | 1 << 255).to_bytes(32, "little"),
    b"\xff" * 32,
]
OFF_THE_CURVE = [y.to_bytes(32, "little") for y in (2, 7, 8, 11, 12, 13)]


@pytest.mark.parametrize("encoded", [*SMALL_ORDER, *NOT_CANONICAL, *OFF_THE_CURVE], ids=bytes.hex)
def test_ed25519_keys_that_are_refused(encoded: bytes) -> None:
    der = pki.spki_of(ed25519.Ed25519PublicKey.from_public_bytes(encoded))
    assert reason_by_pem(der).startswith("invalid_trust: The trust file cannot be used: an Ed25519 key")
    assert reason_by_bundle(der, "ED25519_SHA_512").startswith("invalid_trust: ")
    assert reason_by_key_set({"kty": "OKP", "crv": "Ed25519", "x": encode(encoded)}).startswith("weak_key: ")


def test_ed25519_signature_that_anybody_can_make() -> None:
    """Under the neutral point, R = [s]B is a signature for every message, and OpenSSL says so."""
    base, neutral = "5866666666666666666666666666666666666666666666666666666666666666", SMALL_ORDER[0]
    forged = bytes.fromhex(base) + (1).to_bytes(32, "little")
    ed25519.Ed25519PublicKey.from_public_bytes(neutral).verify(forged, b"anything at all")
    assert not is_public_key(neutral)


def test_ed25519_keys_that_are_read() -> None:
    for number in range(20):
        private = ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(bytes((number,))).digest())
        assert is_public_key(private.public_key().public_bytes_raw())
    assert not is_public_key(bytes(31))


# --- encodings -------------------------------------------------------------------------------------------------------


def test_pem_holds_one_key_and_nothing_that_hides_another() -> None:
    good = pki.public_pem(pki.key("p256"))
    body = good.splitlines()[1]
    assert parse_trust(b"A comment above.\n" + good.replace(b"\n", b"\r\n")).keys
    for bad in (
        good + good,
        good.replace(body, body[:-1]),
        good.replace(body, body + b"!"),
        good.replace(body, b"Proc-Type: 4,ENCRYPTED\n" + body),
        good.replace(b"PUBLIC", b"RSA PUBLIC"),
        pem(pki.spki(pki.key("p256")) + b"\x00"),
        pem(b""),
    ):
        with pytest.raises(Indeterminate, match="invalid_trust"):
            parse_trust(bad)
        with pytest.raises(ValueError, match=r"\w"):
            load_pem_public_key(bad)


def test_key_bound_to_pss_is_refused() -> None:
    """The library would forget what it is bound to, and take PKCS #1 v1.5 signatures from it."""
    bound = next(group.der for group in groups() if group.name.startswith("rsa_pss_2048_sha256_mgf1_32_params"))
    assert isinstance(load_der_public_key(bound), rsa.RSAPublicKey)
    assert "encoding" in reason_by_pem(bound)
    assert "encoding" in reason_by_bundle(bound, "RSASSA_PSS_SHA_256")


def test_certificate_of_a_key_bound_to_pss_is_refused() -> None:
    bound = next(group.der for group in groups() if group.name.startswith("rsa_pss_2048_sha256_mgf1_32_params"))
    authority = pki.issue("bound", GOOD, None, pki.AUTHORITY).certificate
    assert parse_trust(pki.pem(authority)).authorities
    der = authority.public_bytes(Encoding.DER)
    made = asn1_x509.Certificate.load(der)
    made["tbs_certificate"]["subject_public_key_info"] = asn1_keys.PublicKeyInfo.load(bound)
    with pytest.raises(Indeterminate, match="bound to PSS"):
        parse_trust(pki.pem(x509.load_der_x509_certificate(made.dump(force=True))))


def test_weak_key_in_the_trust_decides_nothing() -> None:
    """The answer is about the trust, not about the file: it could not be decided."""
    with pytest.raises(Indeterminate) as caught:
        verify_artifact(__file__, bytes(256), parse_trust(pem(rsa_der(roca_modulus(), 65537))))
    assert "ROCA" in caught.value.message
