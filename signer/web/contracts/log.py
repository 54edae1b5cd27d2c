"""Contracts of the calls about the transparency log."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from signer.web.contracts.contract import Contract
from signer.web.contracts.examples import CHECKPOINT, ORIGIN, PROOF

_CONTRACTS: Final = {
    "checkpoint": Contract(example=CHECKPOINT),
    "proof/<index>": Contract(example=PROOF),
    "key": Contract(example=f"{ORIGIN}+e59af800+AYf0…\n"),
}
LOG: Final[Mapping[str, Contract]] = MappingProxyType(
    {
        f"GET {base}/{name}": contract
        for base in ("/log", "/logs/<log>")
        for name, contract in _CONTRACTS.items()
    }
)  # fmt: skip
