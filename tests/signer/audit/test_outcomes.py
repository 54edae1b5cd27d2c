"""An item's entry is, but for its nonce, what `records.decision` makes of the same values."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from signer.audit.leaf import decision_leaf
from signer.audit.outcomes import outcomes_of
from signer.audit.records import DIGESTS, OF_THE_INTENT, Entry, Outcome, canonical, decision
from signer.audit.tree import leaf_hash

TIME: Final = 1_700_000_000_123_456
_NUMBERS: Final = frozenset({"version", "items", "policy_revision"})
_JSON: Final = frozenset({"context", "proof"})

names = st.text(max_size=12)  # with quotes, percent signs, whatever a caller writes
octets = st.binary(min_size=32, max_size=32)
told = st.none() | st.dictionaries(names, names, max_size=3).map(canonical)
files = st.lists(octets, min_size=1, max_size=3).map(
    lambda digests: canonical({"artifacts": [{"digests": {"sha256": digest.hex()}} for digest in digests]})
)
outcomes = st.builds(
    Outcome,
    item=st.integers(0, 99),
    kind=st.sampled_from(("succeeded", "failed", "denied", "unknown")),
    code=st.none() | names,
    signatures=st.lists(st.tuples(octets, octets), max_size=3),
    detail=told,
    about=told | files,
    artifact_digest=st.none() | octets,
    key_id=st.none() | names,
)


def _value(name: str) -> st.SearchStrategy[Any]:
    if name in _JSON:
        return told
    if name == "request_id":  # every call has one
        return names
    if name == "key_sha256":
        return st.none() | octets
    return st.none() | (st.integers(0, 2**40) if name in _NUMBERS else names)


intents = st.fixed_dictionaries(
    {"id": names, "time": st.integers(0, 2**50), **{name: _value(name) for name in OF_THE_INTENT}}
)


def _slowly(intent: dict[str, Any], outcome: Outcome) -> Entry:
    """The entry of the same item, by the way that encodes every member of it."""
    values = {name: intent[name] for name in OF_THE_INTENT} | {
        "intent_id": intent["id"],
        "intent_time": intent["time"],
        "item": outcome.item,
        "outcome": outcome.kind,
        "code": outcome.code,
        "detail": outcome.detail,
        "about": outcome.about,
        "artifact_digest": outcome.artifact_digest,
    }
    if outcome.key_id is not None:
        values["key_id"] = outcome.key_id
    return decision(values, outcome.signatures, time=TIME, epoch="an epoch")


@given(intent=intents, each=st.lists(outcomes, min_size=1, max_size=4))
def test_an_entry_is_the_same_however_it_is_made(intent: dict[str, Any], each: list[Outcome]) -> None:
    made = outcomes_of(intent, each, time=TIME, epoch="an epoch")
    for entry, outcome in zip(made, each, strict=True):
        expected = _slowly(intent, outcome)
        random = {"nonce", "leaf", "leaf_hash"}
        assert {name: value for name, value in entry.items() if name not in random} == {
            name: value for name, value in expected.items() if name not in random
        }
        assert len(entry["nonce"]) == 32
        signed = msgspec.json.decode(entry["leaf"])["signatures"]
        assert signed == msgspec.json.decode(expected["leaf"])["signatures"]
        assert msgspec.json.decode(entry["leaf"])["record_sha256"] == (
            hashlib.sha256(entry["nonce"] + entry["record"].encode()).hexdigest()
        )
        assert entry["leaf"] == decision_leaf(
            entry["record"].encode(),
            entry["nonce"],
            time=TIME,
            algorithm=intent["algorithm"],
            key_sha256=intent["key_sha256"],
            key_version=intent["version"],
            signatures=signed,
        )
        assert entry["leaf_hash"] == leaf_hash(entry["leaf"])
        assert DIGESTS in entry


def test_each_item_has_a_nonce_of_its_own() -> None:
    intent = dict.fromkeys(OF_THE_INTENT) | {"id": "an intent", "time": TIME, "request_id": "a request"}
    made = outcomes_of(intent, [Outcome(0, "failed"), Outcome(0, "failed")], time=TIME, epoch="an epoch")
    assert made[0]["record"] == made[1]["record"]
    assert made[0]["nonce"] != made[1]["nonce"]
