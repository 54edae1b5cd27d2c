"""Fills a state directory with keys and leaves, by the keystore's own sealed writes and the log's own sequencer.

Every row is sealed by the HSM and journaled, every entry of the journal and every decision is a leaf, intents stand
beside their outcomes: `sealmark audit verify` finds nothing. What a key is made of in the HSM is shared: the further
keys are copies of the first one under ids and names of their own, and each of them signs.
"""

from __future__ import annotations

import os
import random
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

from keystore import open_keystore
from signer.audit import AuditTrail
from signer.audit.identifiers import time_ordered_id
from signer.audit.logged import Due
from signer.audit.outcomes import outcomes_of
from signer.audit.records import Outcome
from signer.logs import configure_logs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from keystore.keystore import Keystore
    from keystore.sealing import SealedRow
    from keystore.transactions import SealedTransaction
    from signer.audit.records import Entry

_KEYS_AT_ONCE: Final = 500
_LEAVES_AT_ONCE: Final = 4_000
_PRINCIPALS: Final = 50


def fill(state: Path, alias: str, keys: int, leaves: int) -> list[str]:
    """Copies the key of this alias until there are `keys` more, then signs in words until the log has `leaves` leaves.

    Nobody serves the state meanwhile. Returns the ids of the copies.
    """
    configure_logs("ERROR")  # the sweeper stands behind large transactions
    keystore = open_keystore(state)
    try:
        made = _copy_keys(keystore, alias, keys)
        trail = AuditTrail(keystore.database, state / "locks", keystore.log)
        try:
            _fill_log(trail, made or [keystore.get_key(alias).id], leaves)
        finally:
            trail.stop()
    finally:
        keystore.close()
    return made


def _copy_keys(keystore: Keystore, alias: str, count: int) -> list[str]:
    key = keystore.get_key(alias)
    rows = {
        "keys": keystore.store.get("keys", key.id),
        "key_versions": keystore.store.get("key_versions", key.versions[0].id),
        "policies": keystore.store.get("policies", key.id),
        "aliases": keystore.store.get("aliases", alias),
    }
    templates: dict[str, SealedRow] = {name: row for name, row in rows.items() if row is not None}
    made: list[str] = []
    while len(made) < count:
        with keystore.store.transaction() as transaction:
            for _ in range(min(_KEYS_AT_ONCE, count - len(made))):
                made.append(_copy_key(transaction, templates, f"{alias}-{len(made)}"))
    return made


def _copy_key(transaction: SealedTransaction, templates: dict[str, SealedRow], alias: str) -> str:
    key_id, version_id = str(uuid.uuid4()), str(uuid.uuid4())
    transaction.insert("keys", key_id, templates["keys"].values)
    transaction.insert("key_versions", version_id, {**templates["key_versions"].values, "key_id": key_id})
    transaction.insert("policies", key_id, templates["policies"].values)
    transaction.insert("aliases", alias, {**templates["aliases"].values, "key_id": key_id})
    return key_id


def _fill_log(trail: AuditTrail, keys: Sequence[str], leaves: int) -> None:
    chance = random.Random(1)  # noqa: S311 - the same log each time
    while trail.log.pending_rows:
        trail.log.write(Due())
    while (left := leaves - trail.log.size) > 0:
        intents: list[dict[str, Any]] = []
        entries: list[Entry] = []
        for _ in range(min(left, _LEAVES_AT_ONCE)):
            intent = _intent(trail._epoch.id, chance.choice(keys), f"role/r{chance.randrange(_PRINCIPALS)}")
            intents.append(intent)
            signature = (os.urandom(32), os.urandom(32))
            outcome = Outcome(0, "succeeded", None, [signature])
            entries += outcomes_of(intent, [outcome], time=_now(), epoch=trail._epoch.id)
        trail.log.write(Due(intents, entries, proved=left <= _LEAVES_AT_ONCE))


def _intent(epoch: str, key_id: str, principal: str) -> dict[str, Any]:
    return {
        "id": time_ordered_id(),
        "epoch": epoch,
        "time": _now(),
        "request_id": os.urandom(16).hex(),
        "caller_request_id": None,
        "principal": principal,
        "credential": "filled",
        "proof": None,
        "source": "192.0.2.1",
        "action": "sealmark:Sign",
        "subject": None,
        "key_id": key_id,
        "version_id": key_id,
        "version": 1,
        "key_sha256": bytes(32),
        "algorithm": "ECDSA_SHA_256",
        "purpose": "general",
        "domain": "default",
        "items": 1,
        "context": None,
        "policy_revision": 1,
        "decided_by": "statement 1",
        "approval": None,
    }


def _now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000
