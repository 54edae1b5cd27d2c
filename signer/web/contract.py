"""What each call answers, and an example of what is asked and answered: for `/openapi.json`, by method and path."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from signer.web.contracts.access import ACCESS
from signer.web.contracts.approvals import APPROVALS
from signer.web.contracts.audit import AUDIT
from signer.web.contracts.contract import Contract
from signer.web.contracts.cryptography import CRYPTOGRAPHY
from signer.web.contracts.identities import EXCHANGE, IDENTITIES
from signer.web.contracts.keys import INSTALLATION, KEYS
from signer.web.contracts.log import LOG
from signer.web.contracts.published import PUBLISHED
from signer.web.contracts.signing import SIGNING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CONTRACTS", "EXCHANGE", "INSTALLATION", "PARAMETERS", "Contract", "contract_of"]

# Parameters of paths: what stands for them in examples, and what they mean.
PARAMETERS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "key": ("release", "a key's alias or id"),
        "kind": ("role", "`user` or `role`"),
        "name": ("ci", "the name without its kind"),
        "credential": ("3f2a9c04d1be", "a token's `id`, as lists and records show it"),
        "access_key": ("AKIA2S6GQ7LWB5HX4NTD", "an access key's id"),
        "issuer": ("default", "an issuer's name"),
        "binding": ("7c1d2a5e-93b4-4d0f-8a6b-2f1e0c9d8b7a", "a credential's id"),
        "grant": ("9d1f6a52-6f0c-4f7e-8a55-0c7d9a2f6c22", "a grant's id"),
        "policy": ("own-network", "the name of an identity's policy"),
        "revision": ("1", "the number of a version of a key's policy"),
        "trusted": ("github", "a trusted issuer's name"),
        "log": ("3f2a9c04d1be77a0", "the last part of the log's origin"),
        "level": ("0", "the level of tiles: 0 has the hashes of the entries"),
        "tile": ("x001/234", "the tile's number, in groups of three digits; 042.p/17 is one that holds 17 so far"),
        "index": ("1234", "the entry's place in the log, from 0"),
        "request": ("01953f5a-7c1e-7d3a-9b42-5e1f0a6c8d21", "an approval request's id"),
    }
)
CONTRACTS: Final[Mapping[str, Contract]] = MappingProxyType(
    {**PUBLISHED, **IDENTITIES, **KEYS, **ACCESS, **SIGNING, **CRYPTOGRAPHY, **APPROVALS, **LOG, **AUDIT}
)


def contract_of(method: str, path: str) -> Contract:
    """The contract of a route, in Flask's form; an empty one where nothing is written."""
    return CONTRACTS.get(f"{method} {path}", Contract())
