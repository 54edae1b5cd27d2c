"""RSA moduli that give their private key away: known faults of the programs that made them, found from outside.

None of this proves that a modulus is good. It finds three that are known to be bad: a prime factor that anybody finds,
two primes next to each other, and the primes that Infineon's library made (ROCA, CVE-2017-15361).
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import Final


def _primes_below(limit: int) -> tuple[int, ...]:
    return tuple(n for n in range(2, limit) if all(n % divisor for divisor in range(2, math.isqrt(n) + 1)))


_SMALLEST_FACTOR: Final = 752  # NIST SP 800-89 section 5.3.3: no factor is smaller
_FERMAT_ROUNDS: Final = 100  # the keys of CVE-2022-26320 need fewer
_ROCA_GENERATOR: Final = 65537
_ROCA_LAST_PRIME: Final = 167


@cache
def _small_primes_product() -> int:
    return math.prod(_primes_below(_SMALLEST_FACTOR))


@cache
def _roca_remainders() -> tuple[tuple[int, frozenset[int]], ...]:
    """For each odd prime, the remainders that are powers of the generator. Made when first needed: it takes a while."""
    return tuple(
        (prime, frozenset(pow(_ROCA_GENERATOR, exponent, prime) for exponent in range(prime - 1)))
        for prime in _primes_below(_ROCA_LAST_PRIME + 1)[1:]
    )


@lru_cache(maxsize=256)
def fault_of(modulus: int) -> str | None:
    """What is wrong with the modulus, in a few words for a person; None where nothing is known to be."""
    if math.gcd(modulus, _small_primes_product()) != 1:
        return "its modulus has a small factor"
    if is_roca(modulus):
        return "its modulus has the form that is weak to ROCA (CVE-2017-15361)"
    if has_close_primes(modulus):
        return "its two primes are too close to each other"
    return None


def is_roca(modulus: int) -> bool:
    """Whether the modulus is a power of 65537 modulo every small prime, as the fault's are.

    Nemec, Sys, Svenda, Klinec, Matyas: The Return of Coppersmith's Attack (CCS 2017), section 2.3. Their primes are
    k * M + (65537^a mod M), M being the product of the first n primes; 39 of them, up to 167, for the shortest keys.
    A modulus is then a power of 65537 modulo each; of others, about one in 2^154 is.
    """
    return all(modulus % prime in remainders for prime, remainders in _roca_remainders())


def has_close_primes(modulus: int) -> bool:
    """Whether Fermat's method finds both primes at once: modulus = a^2 - b^2 with `a` next to the square root."""
    middle = math.isqrt(modulus)
    if middle * middle < modulus:
        middle += 1
    for candidate in range(middle, middle + _FERMAT_ROUNDS):
        square = candidate * candidate - modulus
        if math.isqrt(square) ** 2 == square:
            return True
    return False
