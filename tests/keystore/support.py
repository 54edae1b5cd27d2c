"""A keystore over a real SoftHSM token and its own database, and a hand that writes there without the HSM."""

from __future__ import annotations

import itertools
import json
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from keystore import log_anchor
from keystore.access import Change
from keystore.algorithms import KeyUse, Purpose
from keystore.api import KeyPolicy, NewKey
from keystore.db import open_database
from keystore.hsm.labels import LOG_HEADS
from keystore.keystore import Keystore
from keystore.log_anchor import LogAnchor
from keystore.sealing import Sealer
from keystore.store import SealedStore
from keystore.values import stored_time
from tests.databases import hand, new_database, url_of
from tests.hsm_support import log_public_key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from keystore.algorithms import SigningAlgorithm, UseAlgorithm
    from keystore.api import BackingKey, DataKeyPair, GeneratedKey, HardwareToken, Key, TokenInfo
    from keystore.db import Database, Value
    from keystore.importable import Material

SEAL_KEY_ID: Final = "test-integrity"


def policy_for(*users: str) -> str:
    """A document; to the keystore any text is one."""
    return json.dumps({"users": users})


POLICY: Final = KeyPolicy(policy_for("role/ci"))
CHANGE: Final = Change("user/key-admin", datetime(2030, 1, 1, tzinfo=UTC), "of a test")


@dataclass(frozen=True)
class Intent:
    """What the audit trail would hand over."""

    key_id: str
    version_id: str
    algorithm: str
    intent_id: str = "00000000-0000-4000-8000-000000000000"


def intent_for(key: Key, algorithm: str | None = None) -> Intent:
    return Intent(key.id, key.versions[-1].id, algorithm or key.algorithm)


def new_key(alias: str | None = None, spec: str = "ECC_NIST_P256", purpose: Purpose = Purpose.GENERAL) -> NewKey:
    return NewKey(spec=spec, purpose=purpose, created_by="user/key-admin", policy=POLICY, alias=alias)


def allow_software_keys(state: Path, *specs: str) -> None:
    """What an operator writes into the configuration of a state directory."""
    configuration = state / "sealmark.toml"
    listed = ", ".join(f'"{spec}"' for spec in specs)
    configuration.write_text(f"{configuration.read_text()}\n[keys]\nsoftware_specs = [{listed}]\n")


def make_database(path: Path, token: HardwareToken) -> Database:
    """An initialised database: the rows that a ceremony writes first."""
    database = new_database(path)
    log_public_key = log_public_key_of(token.info)
    now = stored_time(datetime.now(UTC))
    deployment: dict[str, Value] = {
        "account": "000000000000",
        "region": "us-east-1",
        "seal_key_id": SEAL_KEY_ID,
        "log_public_key": log_public_key,
        "created_at": now,
    }
    with SealedStore(database, Sealer(token.seal, SEAL_KEY_ID)).transaction() as transaction:
        transaction.insert("deployment", "deployment", deployment)
        transaction.insert("domains", "default", {"current_version": 1, "created_at": now, "home_region": None})
    empty_kept_head(token, LogAnchor(token, "000000000000", "us-east-1", log_public_key).origin)
    return database


def empty_kept_head(token: HardwareToken, origin: str) -> None:
    """What a ceremony leaves, also on a token that keeps a head already."""
    for name in LOG_HEADS:
        token.write_text(name, log_anchor._encode(log_anchor.KeptHead(origin, 0, log_anchor.EMPTY_ROOT)))


class Attacker:
    """Writes to the database as anybody could who has no HSM session."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def run(self, statement: str, *parameters: Value) -> None:
        with hand(self._path) as connection:
            connection.run(statement, *parameters)

    def rows(self, statement: str, *parameters: Value) -> list[tuple[Value, ...]]:
        with hand(self._path) as connection:
            return connection.rows(statement, *parameters)

    def row(self, table: str, row_id: Value) -> dict[str, Value]:
        with hand(self._path) as connection:
            (found,) = connection.records(f"SELECT * FROM {table} WHERE id = ?", row_id)  # noqa: S608
            return found

    def set(self, table: str, row_id: Value, values: dict[str, Value], *, key: str = "id") -> None:
        """Overwrite columns of a row."""
        assignments = ", ".join(f"{name} = ?" for name in values)
        self.run(f"UPDATE {table} SET {assignments} WHERE {key} = ?", *values.values(), row_id)  # noqa: S608

    @contextmanager
    def transaction(self) -> Iterator[Callable[[str, Value, dict[str, Value]], None]]:
        """Many `set`s in one transaction, which costs one synchronisation of the disk."""
        with hand(self._path) as connection, connection.transaction():

            def run(table: str, row_id: Value, values: dict[str, Value]) -> None:
                if values:
                    assignments = ", ".join(f"{name} = ?" for name in values)
                    connection.run(f"UPDATE {table} SET {assignments} WHERE id = ?", *values.values(), row_id)  # noqa: S608

            yield run

    def insert(self, table: str, values: dict[str, Value]) -> None:
        marks = ", ".join("?" for _ in values)
        self.run(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", *values.values())  # noqa: S608

    def delete(self, table: str, row_id: Value, *, key: str = "id") -> None:
        self.run(f"DELETE FROM {table} WHERE {key} = ?", row_id)  # noqa: S608

    def put(self, table: str, values: dict[str, Value]) -> None:
        """Put a whole row back under its id, whatever stands there now."""
        self.set(table, values["id"], values)


class TokenProxy:
    """A real token; subclasses change one answer of it."""

    def __init__(self, token: HardwareToken) -> None:
        self.real = token

    @property
    def info(self) -> TokenInfo:
        return self.real.info

    def seal(self, message: bytes) -> bytes:
        return self.real.seal(message)

    def generate(self, spec: str, domain_label: str, token_label: str, use: KeyUse = KeyUse.SIGN) -> GeneratedKey:
        return self.real.generate(spec, domain_label, token_label, use)

    def sign(self, backing: BackingKey, algorithm: SigningAlgorithm, data: bytes) -> bytes:
        return self.real.sign(backing, algorithm, data)

    def sign_each(
        self, backing: BackingKey, algorithm: SigningAlgorithm, inputs: Sequence[bytes], made: list[bytes]
    ) -> None:
        for data in inputs:
            made.append(self.sign(backing, algorithm, data))  # noqa: PERF401 - those before a fault are made, too

    def encrypt(self, backing: BackingKey, plaintext: bytes, associated: bytes) -> bytes:
        return self.real.encrypt(backing, plaintext, associated)

    def decrypt(self, backing: BackingKey, sealed: bytes, associated: bytes) -> bytes:
        return self.real.decrypt(backing, sealed, associated)

    def mac(self, backing: BackingKey, algorithm: UseAlgorithm, message: bytes) -> bytes:
        return self.real.mac(backing, algorithm, message)

    def decrypt_raw(self, backing: BackingKey, ciphertext: bytes) -> bytes:
        return self.real.decrypt_raw(backing, ciphertext)

    def agree(self, backing: BackingKey, point: bytes) -> bytes:
        return self.real.agree(backing, point)

    def make_data_key_pair(self, spec: str) -> DataKeyPair:
        return self.real.make_data_key_pair(spec)

    def material_id(self, backing: BackingKey) -> str:
        return self.real.material_id(backing)

    def bring_in(self, material: Material, domain_label: str, use: KeyUse) -> GeneratedKey:
        return self.real.bring_in(material, domain_label, use)

    def rewrap(self, backing: BackingKey, to_domain_label: str) -> bytes:
        return self.real.rewrap(backing, to_domain_label)

    def opens(self, backing: BackingKey) -> bool:
        return self.real.opens(backing)

    def link_seal(self, domain: str, message: bytes) -> bytes:
        return self.real.link_seal(domain, message)

    def destroy(self, backing: BackingKey) -> None:
        self.real.destroy(backing)

    def read_text(self, name: str) -> str | None:
        return self.real.read_text(name)

    def write_text(self, name: str, text: str) -> None:
        self.real.write_text(name, text)

    def follow(self, newer: Callable[[BackingKey], BackingKey | None]) -> None:
        self.real.follow(newer)

    def texts_locked(self) -> AbstractContextManager[None]:
        return self.real.texts_locked()

    def random(self, size: int) -> bytes:
        return self.real.random(size)

    def probe(self) -> None:
        self.real.probe()

    def close(self) -> None:
        self.real.close()


_texts_in_use: Final[set[int]] = set()


class OwnTexts(TokenProxy):
    """See `own_texts`."""

    def __init__(self, token: HardwareToken, number: int) -> None:
        super().__init__(token)
        self._number = number

    def own_name(self, name: str) -> str:
        """What the token calls the text of that name."""
        return f"{self._number}/{name}"

    def read_text(self, name: str) -> str | None:
        return super().read_text(self.own_name(name))

    def write_text(self, name: str, text: str) -> None:
        super().write_text(self.own_name(name), text)


@contextmanager
def own_texts(token: HardwareToken) -> Iterator[OwnTexts]:
    """The token with texts, and so a kept head, of one database alone: tests share a token, deployments never do."""
    number = next(number for number in itertools.count() if number not in _texts_in_use)
    _texts_in_use.add(number)
    try:
        yield OwnTexts(token, number)
    finally:
        _texts_in_use.remove(number)


@dataclass
class Place:
    """A database on disk, its token, and a keystore that has been used already."""

    path: Path
    token: OwnTexts
    warm: Keystore
    attacker: Attacker

    @contextmanager
    def fresh(self, software_specs: Sequence[str] = ()) -> Iterator[Keystore]:
        """A keystore that has just been opened, as another worker would."""
        database = open_database(url_of(self.path))
        try:
            yield Keystore(self.token, database, software_specs=software_specs)
        finally:
            database.close()


@contextmanager
def make_place(directory: Path, token: HardwareToken) -> Iterator[Place]:
    path = directory / f"{uuid.uuid4()}.db"
    with own_texts(token) as own:
        database = make_database(path, own)
        try:
            yield Place(path, own, Keystore(own, database), Attacker(path))
        finally:
            database.close()
