"""What is measured: each load, the bare loop and the peer's operation beside it, and the figures asked of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from tools.bench import bare
from tools.bench.operations import DATA_KEY, ENCRYPT, JWT, SIGN, Operation

CLIENTS: Final = 16
_P256: Final = "ECC_NIST_P256"
_ECDSA: Final = "ECDSA_SHA_256"
_AES: Final = "SYMMETRIC_DEFAULT"


@dataclass(frozen=True, slots=True)
class Workload:
    """One load: which operation by which key, and how many items a request holds.

    `loop` names the bare loop, the key's spec unless given. `base` names the load that this one is compared with, in
    the same round: the single call, or the same operation natively where this one speaks AWS's protocol (`aws`).
    `peer`: whether OpenBao has the operation. `of_bare`, `of_peer`, `of_base` are the figures (`tools.figures`) that
    the three ratios are; a load without any is measured for a third of the time.
    """

    name: str
    spec: str
    algorithm: str
    operation: Operation = SIGN
    batch: int = 1
    prepared: int = 256
    loop: str | None = None
    base: str | None = None
    aws: bool = False
    peer: bool = True
    of_bare: str | None = None
    of_peer: str | None = None
    of_base: str | None = None

    @property
    def is_asked(self) -> bool:
        return any((self.of_bare, self.of_peer, self.of_base))


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long, in seconds, and how often."""

    warm_up: float
    seconds: float
    bare: float
    rounds: int

    def of(self, workload: Workload) -> Lengths:
        """Those of one load."""
        if workload.is_asked:
            return self
        return replace(self, warm_up=self.warm_up / 2, seconds=self.seconds / 3, bare=self.bare / 3)


SINGLE: Final = Workload("P-256, singly", _P256, _ECDSA, of_peer="p256-of-openbao")
BATCHES: Final = Workload(
    "P-256, batches of 100",
    _P256,
    _ECDSA,
    batch=100,
    prepared=64,
    of_bare="p256-batches-of-bare",
    of_peer="p256-batches-of-openbao",
)
RSA: Final = Workload(
    "RSA-2048, singly",
    "RSA_2048",
    "RSASSA_PKCS1_V1_5_SHA_256",
    of_bare="rsa-2048-of-bare",
    of_peer="rsa-2048-of-openbao",
)
_DATA_KEYS: Final = Workload("GenerateDataKey", _AES, _AES, DATA_KEY, loop=bare.DATA_KEY)
WORKLOADS: Final = (
    BATCHES,
    RSA,
    SINGLE,
    Workload("JWT", _P256, _ECDSA, JWT, base=SINGLE.name, peer=False, of_base="jwt-of-single"),
    Workload("Encrypt", _AES, _AES, ENCRYPT),
    _DATA_KEYS,
    Workload("Sign, AWS KMS", _P256, _ECDSA, base=SINGLE.name, aws=True, peer=False),
    Workload("Encrypt, AWS KMS", _AES, _AES, ENCRYPT, base="Encrypt", aws=True, peer=False),
    Workload(
        "GenerateDataKey, AWS KMS",
        _AES,
        _AES,
        DATA_KEY,
        loop=bare.DATA_KEY,
        base=_DATA_KEYS.name,
        aws=True,
        peer=False,
    ),
)
