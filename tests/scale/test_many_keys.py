"""Many threads and more keys than a worker keeps unwrapped: nothing fails, and neither cache nor HSM fills up."""

from __future__ import annotations

import ctypes
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11 import Attribute, ObjectClass

from keystore.algorithms import SIGNING_ALGORITHMS
from keystore.api import BackingKey
from keystore.hsm import open_token
from keystore.hsm.return_values import ReturnValue
from tests.attacks.raw import CFunction, PackedTemplate, raw_functions
from tests.hsm_support import DOMAIN, SOFTHSM, founded

if TYPE_CHECKING:
    from keystore.hsm import Token
    from keystore.hsm.session import Session
    from tests.hsm_support import TestToken

__all__ = ["founded"]

THREADS: Final = 16
KEYS: Final = 100
CACHE: Final = 10
SESSIONS: Final = 4
SIGNATURES: Final = 250  # by each thread
MOST_FOUND: Final = 1_000  # more objects than there ever are


@dataclass(frozen=True, slots=True)
class Pair:
    backing: BackingKey
    public_key: EllipticCurvePublicKey


def test_more_keys_than_fit(founded: TestToken) -> None:
    token = open_token(founded.configuration, cache_size=CACHE, sessions=SESSIONS)
    pairs = [made(token, number) for number in range(KEYS)]
    before, login = unwrapped_keys(token), token._connection
    most: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            most.append(unwrapped_keys(token))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(THREADS) as pool:
        made_by_all = sum(pool.map(lambda seed: sign_many(token, pairs, seed), range(THREADS)))
    over.set()
    watcher.join()
    assert made_by_all == THREADS * SIGNATURES
    # Beyond the cache there are only the keys of signatures that are being made, and one that is being unwrapped.
    assert before < max(most) <= CACHE + SESSIONS + 1
    assert unwrapped_keys(token) == CACHE
    assert token._connection is login, "the token was opened anew: what was counted are not the same keys"


def made(token: Token, number: int) -> Pair:
    generated = token.generate("ECC_NIST_P256", DOMAIN, "key/none")
    public_key = load_der_public_key(generated.public_key)
    assert isinstance(public_key, EllipticCurvePublicKey)
    return Pair(BackingKey(f"version-{number}", "ECC_NIST_P256", DOMAIN, generated.wrapped, None), public_key)


def sign_many(token: Token, pairs: list[Pair], seed: int) -> int:
    """Raises `InvalidSignature` for a signature by another key."""
    chance = random.Random(seed)  # noqa: S311
    for _ in range(SIGNATURES):
        pair, digest = chance.choice(pairs), chance.randbytes(32)
        raw = token.sign(pair.backing, SIGNING_ALGORITHMS["ECDSA_SHA_256"], digest)
        signature = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        pair.public_key.verify(signature, digest, ECDSA(Prehashed(SHA256())))
    return SIGNATURES


def unwrapped_keys(token: Token) -> int:
    """How many private keys that live only as long as their session the HSM itself knows.

    Counted by their handles: python-pkcs11 reads each object that it finds, and one that another thread destroys in
    between would look like a lost HSM.
    """
    return token._generating(lambda _, session: _count(raw_functions(Path(SOFTHSM)), session))


def _count(functions: dict[str, CFunction], session: Session) -> int:
    private = PackedTemplate({Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.TOKEN: False})
    handles, found = (ctypes.c_ulong * MOST_FOUND)(), ctypes.c_ulong()
    assert functions["C_FindObjectsInit"](session.handle, private.array, private.count) == ReturnValue.OK
    try:
        code = functions["C_FindObjects"](session.handle, handles, MOST_FOUND, ctypes.byref(found))
    finally:
        assert functions["C_FindObjectsFinal"](session.handle) == ReturnValue.OK
    assert code == ReturnValue.OK
    return found.value
