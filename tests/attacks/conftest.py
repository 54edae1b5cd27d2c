"""A token of its own for the attacks, loot from its database, and somebody who knows the service's PIN."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from keystore.algorithms import KeyUse
from keystore.hsm import open_token
from keystore.log_anchor import begin_log
from tests.attacks.attacker import AES_CUSTOMER, EC_PRIVATE, HMAC_CUSTOMER, RSA_PRIVATE, Attacker
from tests.hsm_support import DOMAIN, TestToken, make_token

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from keystore.hsm.attributes import Template

TOKEN_KEY = "key/ed25519"
ORIGIN = "sealmark/000000000000/us-east-1/0123456789abcdef"


@dataclass(frozen=True)
class Loot:
    """What the database holds: a wrapped customer's key of each kind, and the wrapped roots by label."""

    keys: Mapping[str, tuple[bytes, Template]] = field(repr=False)
    roots: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True)
class Position:
    """Where the attacker stands."""

    token: TestToken
    loot: Loot


@pytest.fixture(scope="session")
def position(tmp_path_factory: pytest.TempPathFactory) -> Position:
    made = make_token(tmp_path_factory.mktemp("attacked"))
    service = open_token(made.configuration)
    pairs = {spec: service.generate(spec, DOMAIN, TOKEN_KEY) for spec in ("ECC_NIST_P256", "RSA_2048", "HMAC_256")}
    secret = service.generate("SYMMETRIC_DEFAULT", DOMAIN, TOKEN_KEY, KeyUse.DECRYPT)
    blobs = {spec: made.wrapped for spec, made in {**pairs, "SYMMETRIC_DEFAULT": secret}.items()}
    service.generate("ECC_NIST_EDWARDS25519", DOMAIN, TOKEN_KEY)
    begin_log(service, ORIGIN)
    service.close()
    keys = {
        "EC": (blobs["ECC_NIST_P256"] or b"", EC_PRIVATE),
        "RSA": (blobs["RSA_2048"] or b"", RSA_PRIVATE),
        "AES": (blobs["SYMMETRIC_DEFAULT"] or b"", AES_CUSTOMER),
        "HMAC": (blobs["HMAC_256"] or b"", HMAC_CUSTOMER),
    }
    return Position(made, Loot(keys, {root.label: root.wrapped for root in made.hierarchy.roots}))


@pytest.fixture
def loot(position: Position) -> Loot:
    return position.loot


@pytest.fixture(autouse=True)
def undisturbed() -> Iterator[None]:
    """Nothing that other tests left is collected in the middle of an attack.

    python-pkcs11 ends a search that was left unfinished by its session's number, which may be another's by then.
    """
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def attacker(position: Position) -> Attacker:
    """Logged in anew for each test: what another left behind is gone."""
    return Attacker.logged_in(position.token)
