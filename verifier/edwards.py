"""Which 32 bytes are an Ed25519 public key: a point of the curve, in its one encoding, of the large prime order; and
Ed25519ph, which the library does not verify.

OpenSSL takes any 32 bytes. Under a key of small order (eight points, the neutral one among them) signatures can be made
without a private key; under one of mixed order, verifiers disagree (RFC 8032 section 8.8). Only public values go in, so
nothing here needs to take constant time.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final, TypeAlias

# RFC 8032 section 5.1
_P: Final = 2**255 - 19
_L: Final = 2**252 + 27742317777372353535851937790883648493
_D: Final = -121665 * pow(121666, -1, _P) % _P
_ROOT_OF_MINUS_ONE: Final = pow(2, (_P - 1) // 4, _P)

_Point: TypeAlias = tuple[int, int, int, int]  # x = X/Z, y = Y/Z, xy = T/Z
_NEUTRAL: Final[_Point] = (0, 1, 1, 0)


_DOM2: Final = b"SigEd25519 no Ed25519 collisions\x01\x00"  # section 5.1: prehashed, with an empty context


def is_prehashed_signature(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the 64 bytes are an Ed25519ph signature over the message (RFC 8032 section 5.1.7, without the cofactor).

    `public_key` is one that `is_public_key` takes.
    """
    if len(signature) != 64:
        return False
    key, point, scalar = _decode(public_key), _decode(signature[:32]), int.from_bytes(signature[32:], "little")
    if key is None or point is None or scalar >= _L:
        return False
    digest = hashlib.sha512(message).digest()
    challenge = int.from_bytes(hashlib.sha512(_DOM2 + signature[:32] + public_key + digest).digest(), "little") % _L
    return _is_same(_multiply(scalar, _base()), _add(point, _multiply(challenge, key)))


@lru_cache(maxsize=1)
def _base() -> _Point:
    """Section 5.1: y is 4/5, x the even root."""
    base = _decode((4 * pow(5, -1, _P) % _P).to_bytes(32, "little"))
    assert base is not None  # noqa: S101 - a constant of the RFC
    return base


def _is_same(left: _Point, right: _Point) -> bool:
    return (left[0] * right[2] - right[0] * left[2]) % _P == 0 == (left[1] * right[2] - right[1] * left[2]) % _P


@lru_cache(maxsize=256)
def is_public_key(encoded: bytes) -> bool:
    """Whether the 32 bytes are a point that a private key has (RFC 8032 section 5.1.5): not the neutral one."""
    point = _decode(encoded)
    return point is not None and not _is_neutral(point) and _is_neutral(_multiply(_L, point))


def _decode(encoded: bytes) -> _Point | None:
    """RFC 8032 section 5.1.3; None for what is off the curve or not the one encoding of its point."""
    if len(encoded) != 32:
        return None
    number = int.from_bytes(encoded, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    if y >= _P:
        return None
    # x^2 = (y^2 - 1) / (d y^2 + 1); the denominator is never zero, since -1/d has no square root.
    squared = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(squared, (_P + 3) // 8, _P)
    if x * x % _P != squared:
        x = x * _ROOT_OF_MINUS_ONE % _P
    if x * x % _P != squared or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return (x, y, 1, x * y % _P)


def _add(left: _Point, right: _Point) -> _Point:
    """RFC 8032 section 5.1.4, which is complete: it doubles too."""
    a = (left[1] - left[0]) * (right[1] - right[0]) % _P
    b = (left[1] + left[0]) * (right[1] + right[0]) % _P
    c = 2 * left[3] * right[3] * _D % _P
    d = 2 * left[2] * right[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _multiply(factor: int, point: _Point) -> _Point:
    product = _NEUTRAL
    while factor:
        if factor & 1:
            product = _add(product, point)
        point = _add(point, point)
        factor >>= 1
    return product


def _is_neutral(point: _Point) -> bool:
    return point[0] == 0 and (point[1] - point[2]) % _P == 0
