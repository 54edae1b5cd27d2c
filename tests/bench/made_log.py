"""A log of many entries in a database of its own: what a service writes, by the service's own sequencer and store.

Two things are in software: the key that signs checkpoints and the one that seals rows. All else is as it is served:
intents, records, leaves, tiles, heads, sealed rows and their journal. The same seed makes the same log, but for nonces
and times.
"""

from __future__ import annotations

import hashlib
import hmac
import random
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keystore.db.schema import AUDIT_EPOCHS
from keystore.sealing import Sealer
from keystore.store import SealedStore
from signer.audit.identifiers import time_ordered_id
from signer.audit.logged import Due
from signer.audit.outcomes import outcomes_of
from signer.audit.records import Outcome, canonical, decision
from signer.audit.sequencer import Sequencer
from tests.databases import new_database
from tests.signer.audit.anchor import SoftwareAnchor, software_anchor

if TYPE_CHECKING:
    from pathlib import Path

    from keystore.db import Database, Value
    from signer.audit.logged import Logged
    from signer.audit.records import Entry

_REQUESTS: Final = 32  # that share a commit
_MOST: Final = 5 * _REQUESTS + 3  # entries of a commit
_KEYS: Final = 40
_PEOPLE: Final = 5


@dataclass
class Maker:
    """Fills a log. `checkpoints` are the signed notes of some of the sizes that it had on the way."""

    path: Path
    seed: int
    anchor: SoftwareAnchor = field(init=False)
    checkpoints: dict[int, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - the same log for the same seed
        self.anchor = software_anchor(Ed25519PrivateKey.from_private_bytes(self._random.randbytes(32)))
        self._database: Database = new_database(self.path)
        self._sequencer = Sequencer(self._database, self.anchor)
        seal_key = self._random.randbytes(32)
        sealer = Sealer(lambda octets: hmac.digest(seal_key, octets, "sha256"), "seal-key")
        self._store = SealedStore(self._database, sealer)
        self._epoch = str(uuid.UUID(bytes=self._random.randbytes(16), version=4))
        with self._database.write() as connection:
            connection.execute(
                AUDIT_EPOCHS.insert().values(id=self._epoch, started_at=_now(), closed_at=None, node="made", beats=0)
            )
        self._keys = [str(uuid.UUID(bytes=self._random.randbytes(16), version=4)) for _ in range(_KEYS)]
        self._people: list[str] = []
        self._groups = 0

    def fill(self, size: int) -> None:
        """Until the log has just so many entries."""
        while (left := size - self._sequencer.size) > 0:
            if left > _MOST:
                logged = self._append_group()
                self._groups += 1
                if self._groups % 4 == 0:
                    self.checkpoints[self._sequencer.size] = logged.checkpoint
            elif self._sequencer.pending_rows:
                self._sequencer.append([], proved=True)
            else:
                self._sequencer.append([self._decided("succeeded", None) for _ in range(left)], proved=True)
        self._sequencer.publish()
        self._sequencer.keep()

    def _append_group(self) -> Logged:
        """Some requests that share a commit."""
        if self._groups % 2 == 0:
            self._change_people()
        intents: list[dict[str, Any]] = []
        entries = [entry for _ in range(_REQUESTS) for entry in self._request(intents)]
        return self._sequencer.write(Due(intents, entries, proved=True))

    def close(self) -> None:
        """Leaves the file whole, without a journal of SQLite's beside it."""
        with self._database.append() as appending:
            del appending
        self._database.close()

    def _change_people(self) -> None:
        """One to three sealed writes: people are made, or change."""
        with self._store.transaction() as transaction:
            for _ in range(self._random.randint(1, 3)):
                if len(self._people) < _PEOPLE:
                    name = f"role/r{len(self._people)}"
                    values: dict[str, Value] = {
                        "duty": "key-user",
                        "state": "active",
                        "created_at": _now(),
                        "created_by": "user/admin",
                    }
                    transaction.insert("principals", name, values | {"enabled_until": None})
                    self._people.append(name)
                    continue
                row = transaction.get("principals", self._random.choice(self._people))
                assert row is not None
                transaction.update(row, {"state": self._random.choice(("active", "deleted"))})

    def _request(self, intents: list[dict[str, Any]]) -> list[Entry]:
        kind = self._random.random()
        if kind < 0.70:
            return self._signing(intents, items=1)
        if kind < 0.76:
            return self._signing(intents, items=self._random.randint(2, 5))
        if kind < 0.90:
            return [self._decided("denied", "not_found")]
        if kind < 0.98:
            return [self._decided("succeeded", None)]
        detail = canonical({"missing_credential": self._random.randint(1, 90)})
        counted = {"outcome": "counted", "code": "unauthenticated", "detail": detail}
        return [decision(counted, time=_now(), epoch=self._epoch, kind="count")]

    def _asked(self, action: str) -> dict[str, Any]:
        return {
            "request_id": str(uuid.UUID(bytes=self._random.randbytes(16), version=4)),
            "caller_request_id": f"build-{self._random.randrange(10**9)}" if self._random.random() < 0.5 else None,
            "principal": f"role/r{self._random.randrange(_PEOPLE)}",
            "credential": str(uuid.UUID(bytes=self._random.randbytes(16), version=4)),
            "proof": canonical({"kind": "token"}) if self._random.random() < 0.5 else None,
            "source": f"192.0.2.{self._random.randrange(256)}",
            "action": action,
            "subject": None,
        }

    def _decided(self, outcome: str, code: str | None) -> Entry:
        told = self._asked("sealmark:DescribeKey") | {"outcome": outcome, "code": code, "item": 0}
        return decision(told | {"key_id": self._random.choice(self._keys)}, time=_now(), epoch=self._epoch)

    def _signing(self, intents: list[dict[str, Any]], items: int) -> list[Entry]:
        key = self._random.randrange(_KEYS)
        intent = {
            "id": time_ordered_id(),
            "epoch": self._epoch,
            "time": _now(),
            **self._asked("sealmark:SignArtifact"),
            "key_id": self._keys[key],
            "version_id": str(uuid.UUID(int=key)),
            "version": 1 + key % 3,
            "key_sha256": hashlib.sha256(bytes([key])).digest(),
            "algorithm": "ECDSA_SHA_256",
            "purpose": "artifact",
            "domain": "default",
            "items": items,
            "context": canonical({"repository": f"project-{key}", "run": str(self._random.randrange(10**6))}),
            "policy_revision": 1 + key % 7,
            "decided_by": "statement 1",
            "approval": None,
        }
        intents.append(intent)
        outcomes = [self._outcome(item) for item in range(items)]
        return outcomes_of(intent, outcomes, time=_now(), epoch=self._epoch)

    def _outcome(self, item: int) -> Outcome:
        digest = self._random.randbytes(32)
        about = {"name": f"file-{item}.tar.gz", "size": 1000 + item, "digests": {"sha256": digest.hex()}}
        count = self._random.choice((1, 1, 2))
        made = [(digest if at == 0 else self._random.randbytes(32), self._random.randbytes(32)) for at in range(count)]
        return Outcome(item, "succeeded", None, made, about=canonical(about), artifact_digest=digest)


def _now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def made(path: Path, size: int, seed: int = 1) -> Maker:
    """A database at `path` whose log has `size` entries."""
    maker = Maker(path, seed)
    maker.fill(size)
    maker.close()
    return maker
