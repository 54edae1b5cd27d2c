"""Does the time that an RSA-OAEP decryption takes tell why it failed? Asked of the padding alone and of the whole way.

Ciphertexts of four kinds are decrypted in a random order: those whose encoded message begins with another octet than
zero, those whose label's hash is wrong, those without the octet 01 before the message, and good ones. Failures are
compared with each other by Welch's t, after the slowest tenth (the machine's own noise) is left out of each; |t| above
4.5 is what dudect (Reparaz, Balasch, Verbauwhede 2017) calls a leak. A naive decoder in Python, which returns as soon
as it knows, is measured the same way, so that it stays seen that the method finds what is there.

    .venv/bin/python -m tests.bench.oaep_timing --count 20000
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import secrets
import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keystore.algorithms import ENCRYPTION_ALGORITHMS, KeyUse, Purpose
from keystore.api import BackingKey, OpenedKeyInfo
from keystore.errors import Undecipherable
from keystore.hsm import open_token
from keystore.opened.oaep import unpad
from keystore.opened.rsa import RsaEncryptionKey
from tests.hsm_support import DOMAIN, make_token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SIZE: Final = 256  # octets of the modulus
HASH: Final = "sha256"
LEAK: Final = 4.5
KINDS: Final = ("first octet", "label", "separator", "good")


def mask(seed: bytes, size: int) -> bytes:
    """MGF1 (RFC 8017 appendix B.2.1)."""
    blocks = itertools.count()
    made = b""
    while len(made) < size:
        made += hashlib.new(HASH, seed + next(blocks).to_bytes(4, "big")).digest()
    return made[:size]


def xor(one: bytes, other: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(one, other, strict=True))


def encoded(kind: str) -> bytes:
    """An encoded message of that kind (RFC 8017 section 7.1.1 step 2)."""
    digest = hashlib.new(HASH)
    label = secrets.token_bytes(digest.digest_size) if kind == "label" else digest.digest()
    message = secrets.token_bytes(32)
    room = SIZE - 2 * len(label) - 2
    padding = bytes(room - len(message)) + b"\x01" + message if kind != "separator" else bytes(room + 1)
    seed = secrets.token_bytes(len(label))
    data = xor(label + padding, mask(seed, SIZE - len(label) - 1))
    first = b"\x01" if kind == "first octet" else b"\x00"
    return first + xor(seed, mask(data, len(label))) + data


def naive(message: bytes) -> bytes:
    """What nobody should do: it returns as soon as it knows."""
    size = hashlib.new(HASH).digest_size
    if message[0]:
        raise Undecipherable("first octet")
    seed = xor(message[1 : size + 1], mask(message[size + 1 :], size))
    data = xor(message[size + 1 :], mask(seed, SIZE - size - 1))
    if data[:size] != hashlib.new(HASH).digest():
        raise Undecipherable("label")
    rest = data[size:].lstrip(b"\0")
    if rest[:1] != b"\x01":
        raise Undecipherable("separator")
    return rest[1:]


def timed(work: Callable[[bytes], object], inputs: Mapping[str, Sequence[bytes]]) -> dict[str, list[int]]:
    """Nanoseconds by kind, each input once, in a random order."""
    order = [(kind, each) for kind, all_of in inputs.items() for each in all_of]
    random.shuffle(order)
    times: dict[str, list[int]] = {kind: [] for kind in inputs}
    for kind, each in order:
        begin = time.perf_counter_ns()
        with suppress(Undecipherable):
            work(each)
        times[kind].append(time.perf_counter_ns() - begin)
    return {kind: sorted(all_of)[: len(all_of) * 9 // 10] for kind, all_of in times.items()}


def welch(one: Sequence[int], other: Sequence[int]) -> float:
    """Welch's t of two samples."""
    spread = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    return (statistics.mean(one) - statistics.mean(other)) / math.sqrt(spread)


def report(name: str, times: Mapping[str, Sequence[int]]) -> float:
    """Prints medians and t of each pair of failures; returns the greatest |t|."""
    medians = ", ".join(f"{kind} {statistics.median(all_of) / 1000:.2f} µs" for kind, all_of in times.items())
    click.echo(f"{name}: medians {medians}")
    values = []
    for one, other in itertools.combinations([kind for kind in times if kind != "good"], 2):
        values.append(welch(times[one], times[other]))
        click.echo(f"  {one} / {other}: t = {values[-1]:+.2f}")
    worst = max(map(abs, values))
    click.echo(f"  {'told apart' if worst > LEAK else 'not told apart'} (greatest |t| {worst:.2f}, bound {LEAK})")
    return worst


@click.command()
@click.option("--count", default=20_000, help="Ciphertexts of each kind.")
def main(count: int) -> None:
    """Exit status 0 if the failures of our own way are not told apart, and those of the naive one are."""
    messages = {kind: [encoded(kind) for _ in range(count)] for kind in KINDS}
    found = [
        report("padding alone, naive", timed(naive, {kind: all_of[:2_000] for kind, all_of in messages.items()})),
        report("padding alone, OpenSSL", timed(lambda message: unpad(message, HASH), messages)),
    ]
    with tempfile.TemporaryDirectory() as directory:
        made = make_token(Path(directory))
        token = open_token(made.configuration)
        pair = token.generate("RSA_2048", DOMAIN, "key/none", KeyUse.DECRYPT)
        algorithm = ENCRYPTION_ALGORITHMS["RSAES_OAEP_SHA_256"]
        info = OpenedKeyInfo("key", "version", 1, "RSA_2048", Purpose.ENCRYPT, algorithm)
        backing = BackingKey("version", "RSA_2048", DOMAIN, pair.wrapped, None, KeyUse.DECRYPT)
        key = RsaEncryptionKey(token, backing, info, pair.public_key, active=True)
        published = load_der_public_key(pair.public_key)
        if not isinstance(published, RSAPublicKey):
            raise TypeError("not RSA")
        numbers = published.public_numbers()
        ciphertexts = {
            kind: [
                pow(int.from_bytes(message, "big") % numbers.n, numbers.e, numbers.n).to_bytes(SIZE, "big")
                for message in all_of[: count // 4]
            ]
            for kind, all_of in messages.items()
        }
        found.append(report("the whole way, HSM and padding", timed(key.decrypt, ciphertexts)))
        token.close()
    raise SystemExit(0 if found[0] > LEAK >= max(found[1:]) else 1)


if __name__ == "__main__":
    main()
