"""A hand on the database without an HSM session: every edit is refused at next use, by warm and by fresh workers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import LargeBinary, Text

from keystore.access import Change, GrantRecord
from keystore.api import (
    AccessKeyRecord,
    ApprovalBinding,
    ApprovalRequestRecord,
    ApprovalRequirement,
    ApprovalState,
    ApprovalVoteRecord,
    CertificateRecord,
    CredentialMatch,
    CredentialRecord,
    EnrolmentRecord,
    Issuer,
    PrincipalRecord,
    PublicCredentialRecord,
    SignedDocument,
)
from keystore.db.schema import ROW_JOURNAL, SEALED_TABLES
from keystore.errors import IntegrityFailure
from keystore.journal import chain
from keystore.regions import NOTHING_UNDER_WAY
from keystore.trust import RoleMapping, TrustedIssuer, UsedAssertion
from tests.keystore.support import CHANGE, Place, intent_for, make_place, new_key, policy_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from keystore.api import Key
    from keystore.db import Value
    from keystore.hsm import Token
    from keystore.keystore import Keystore

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
EDITS = [(name, column.name) for name, table in SEALED_TABLES.items() for column in table.table.columns]


@dataclass
class Populated:
    """A database with a row in every sealed table: its id, and the use that reads it."""

    place: Place
    key: Key
    rows: dict[str, str]
    uses: dict[str, Callable[[Keystore], object]]


def populate(place: Place) -> Populated:
    keystore = place.warm
    key = keystore.create_key(new_key("release"))
    version = key.versions[0].id
    keystore.create_issuer(Issuer("issuer-1", "default", "https://issuer.example", "https://issuer.example", NOW))
    keystore.keep_document(SignedDocument("document-1", b"h" * 32, b"<signed/>", NOW, LATER), replaces=None)
    credential = CredentialRecord("credential-1", "role/ci", b"h" * 32, "enabled", NOW, LATER)
    enrolment = EnrolmentRecord("enrolment-1", "role/ci", b"c" * 32, "open", NOW, LATER)
    principal = PrincipalRecord("role/ci", "key-user", "enabled", NOW, "user/admin")
    keystore.create_principal(principal, enrolment=enrolment, credential=credential)
    keystore.add_certificate(CertificateRecord("certificate-1", key.id, version, "0a", (b"leaf", b"root"), NOW, LATER))
    keystore.reserve_idempotency("answer-1", "role/ci", b"r" * 32)
    keystore.complete_idempotency("answer-1", b"{}")
    keystore.add_public_credential(
        PublicCredentialRecord(
            "public-credential-1",
            "role/ci",
            CredentialMatch.REQUEST_KEY,
            "ab" * 32,
            b"p" * 32,
            "ed25519",
            "label",
            "enabled",
            NOW,
            "user/admin",
            LATER,
        )
    )
    keystore.create_access_key(
        AccessKeyRecord(
            *("access-key-1", "role/ci", b"sealed", "label", "enabled", NOW, "role/ci", LATER),
            *(b"t" * 32, "credential:credential-1", "{}"),
        ),
        most=1,
    )
    change = Change("user/admin", NOW, "why")
    keystore.create_grant(GrantRecord("grant-1", key.id, "role/ci", ("Sign",), NOW, "user/key-admin"))
    keystore.put_identity_policy("role/ci", "no-nights", '{"Statement":[]}', change)
    mapping = RoleMapping("role/ci", {"repository": ("octo/app",)})
    trusted = TrustedIssuer(
        *("github", "https://github.example", ("a",), ("RS256",), (mapping,), 600, 900, NOW, "user/admin"),
        *(NOW, "user/admin"),
    )
    revision = keystore.create_trusted_issuer(trusted).revision
    session = CredentialRecord("credential-2", "role/ci", b"s" * 32, "enabled", NOW, LATER, "session")
    keystore.begin_session(UsedAssertion("assertion-1", "github", NOW, LATER), session, revision=revision)
    request = _hold_and_approve(keystore, key.id)
    root: dict[str, Value] = {"kind": "integrity", "domain": None, "version": None, "token_label": "integrity"}
    with keystore.store.transaction() as transaction:
        transaction.insert("wrapped_roots", "integrity", {**root, "wrapped": b"w", "state": "current"})
        wrapping: dict[str, Value] = {"key_id": key.id, "spec": "RSA_2048", "domain": "default", "domain_version": 1}
        blobs: dict[str, Value] = {"wrapped": b"w", "public_key": b"p", "expires_at": 1}
        transaction.insert("import_parameters", "import-1", wrapping | blobs)
        transaction.insert("replications", key.id, NOTHING_UNDER_WAY)

    def sign(worker: Keystore) -> object:
        worker.get_key("release")
        return worker.signing_key(intent_for(key)).sign(b"message")

    return Populated(
        place,
        key,
        {
            "deployment": "deployment",
            "domains": "default",
            "wrapped_roots": "integrity",
            "keys": key.id,
            "key_versions": version,
            "import_parameters": "import-1",
            "replications": key.id,
            "aliases": "release",
            "policies": key.id,
            "issuers": "issuer-1",
            "signed_documents": "document-1",
            "principals": "role/ci",
            "credentials": "credential-1",
            "enrolments": "enrolment-1",
            "certificates": "certificate-1",
            "idempotency": "answer-1",
            "public_credentials": "public-credential-1",
            "access_keys": "access-key-1",
            "grants": "grant-1",
            "principal_policies": "role/ci",
            "policy_versions": "principal/role/ci/1",
            "trusted_issuers": "github",
            "used_assertions": "assertion-1",
            "approval_rules": key.id,
            "approval_requests": request.id,
            "approval_votes": f"{request.id} user/alice",
        },
        {
            "deployment": sign,
            "domains": lambda worker: worker.get_domain("default"),
            "wrapped_roots": lambda worker: worker.store.get("wrapped_roots", "integrity"),
            "keys": sign,
            "key_versions": sign,
            "import_parameters": lambda worker: worker.store.get("import_parameters", "import-1"),
            "replications": lambda worker: worker.regions.get(key.id),
            "aliases": sign,
            "policies": sign,
            "issuers": lambda worker: worker.list_issuers(),
            "signed_documents": lambda worker: worker.find_document("document-1"),
            "principals": lambda worker: worker.find_principal("role/ci"),
            "credentials": lambda worker: worker.find_credential("credential-1"),
            "enrolments": lambda worker: worker.find_enrolment("enrolment-1"),
            "certificates": lambda worker: worker.store.select("certificates"),
            "idempotency": lambda worker: worker.find_idempotency("answer-1"),
            "public_credentials": lambda worker: worker.find_public_credential("public-credential-1"),
            "access_keys": lambda worker: worker.find_access_key("access-key-1"),
            "grants": lambda worker: worker.find_grant("grant-1"),
            "principal_policies": lambda worker: worker.find_principal("role/ci"),
            "policy_versions": lambda worker: worker.list_identity_policy_versions("role/ci", 0, 10),
            "trusted_issuers": lambda worker: worker.find_trusted_issuer("github"),
            "used_assertions": lambda worker: worker.is_assertion_used("assertion-1"),
            "approval_rules": sign,
            "approval_requests": lambda worker: worker.find_approval_request(request.id),
            "approval_votes": lambda worker: worker.approval_facts(request).votes,
        },
    )


def _hold_and_approve(keystore: Keystore, key_id: str) -> ApprovalRequestRecord:
    keystore.create_principal(PrincipalRecord("user/alice", "auditor", "enabled", NOW, "user/admin"))
    requirement = ApprovalRequirement(("user/alice",), 1, 600)
    keystore.set_approval_rule(key_id, {"rotation": requirement}, revision=0, now=NOW)
    request = ApprovalRequestRecord(
        id="request-1",
        key_id=key_id,
        operation="rotate",
        requester="role/ci",
        body=b"{}",
        shown_sha256=b"s" * 32,
        binding=ApprovalBinding(version_count=1),
        rule_revision=1,
        requirements=(requirement,),
        reason="",
        created_at=NOW,
        expires_at=LATER,
    )
    keystore.create_approval_request(request)
    vote = ApprovalVoteRecord("request-1", "user/alice", "approve", "", b"s" * 32, NOW, "bearer:1", "token", None)
    keystore.cast_approval_vote(vote, lambda _: ApprovalState.OPEN)
    return request


@pytest.fixture(scope="module")
def populated(tmp_path_factory: pytest.TempPathFactory, token: Token) -> Iterator[Populated]:
    with make_place(tmp_path_factory.mktemp("tampering"), token) as place:
        yield populate(place)


def test_every_sealed_table_is_tried(populated: Populated) -> None:
    assert set(populated.rows) == set(populated.uses) == set(SEALED_TABLES)
    for use in populated.uses.values():
        assert use(populated.place.warm)


def edited(table: str, column: str, value: Value) -> Value:
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:]
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    kind = SEALED_TABLES[table].table.c[column].type
    return b"x" if isinstance(kind, LargeBinary) else "x" if isinstance(kind, Text) else 1


@pytest.mark.parametrize(("table", "column"), EDITS)
def test_an_edited_column_is_refused_at_next_use(populated: Populated, table: str, column: str) -> None:
    place, use = populated.place, populated.uses[table]
    use(place.warm)
    before = place.attacker.row(table, populated.rows[table])
    change = {column: edited(table, column, before[column])}
    place.attacker.set(table, before["id"], change)
    try:
        if column == "id" and not SEALED_TABLES[table].journaled:  # a row that may go: not found again
            assert not use(place.warm)
            return
        with pytest.raises(IntegrityFailure):
            use(place.warm)
        with pytest.raises(IntegrityFailure), place.fresh() as fresh:
            use(fresh)
    finally:
        place.attacker.set(table, {**before, **change}["id"], before)
    assert use(place.warm)


@pytest.mark.parametrize("table", [name for name, table in SEALED_TABLES.items() if table.journaled])
def test_a_row_taken_away_is_refused(populated: Populated, table: str) -> None:
    place, row_id = populated.place, populated.rows[table]
    before = place.attacker.row(table, row_id)
    place.attacker.delete(table, row_id)
    try:
        with pytest.raises(IntegrityFailure):
            place.warm.store.get(table, row_id)
        with pytest.raises(IntegrityFailure):
            place.warm.store.verify_everything()
        if table in ("keys", "key_versions", "policies", "aliases", "approval_rules"):
            with pytest.raises(IntegrityFailure):
                place.warm.get_key("release")
        if table == "principal_policies":  # it may deny something
            with pytest.raises(IntegrityFailure):
                place.warm.find_principal("role/ci")
        if table == "policy_versions":
            with pytest.raises(IntegrityFailure, match="not every version"):
                place.warm.list_identity_policy_versions("role/ci", 0, 10)
    finally:
        place.attacker.insert(table, before)
    assert place.warm.store.verify_everything()


def test_a_row_of_another_database_is_refused(populated: Populated, tmp_path: Path, token: Token) -> None:
    place = populated.place
    with make_place(tmp_path, token) as other:
        foreign = other.warm.create_key(new_key("foreign"))
        stolen = [(name, other.attacker.row(name, foreign.id)) for name in ("keys", "policies")]
        stolen.append(("key_versions", other.attacker.row("key_versions", foreign.versions[0].id)))
        for table, row in stolen:
            place.attacker.insert(table, row)
        try:
            with pytest.raises(IntegrityFailure):
                place.warm.get_key(foreign.id)
        finally:
            for table, row in reversed(stolen):
                place.attacker.delete(table, row["id"])


def matchings(count: int) -> Iterator[list[tuple[int, int]]]:
    """Every pair out of an even number of players, in rounds of disjoint pairs (the circle method)."""
    players = list(range(count))
    for _ in range(count - 1):
        yield [(players[i], players[count - 1 - i]) for i in range(count // 2)]
        players = [players[0], players[-1], *players[1:-1]]


def test_every_pair_meets_once() -> None:
    for count in (20, 50):
        pairs = [frozenset(pair) for round_ in matchings(count) for pair in round_]
        assert len(pairs) == len(set(pairs)) == count * (count - 1) // 2


EXCHANGED: dict[str, tuple[str, tuple[str, ...]]] = {
    "wrapped blob and tag": ("key_versions", ("wrapped", "seal")),
    "every value of the version but the id": (
        "key_versions",
        ("key_id", "revision", "seal", *(name for name in SEALED_TABLES["key_versions"].columns if name != "key_id")),
    ),
    "every value of the key but the id": ("keys", ("revision", "seal", *SEALED_TABLES["keys"].columns)),
    "every value of the policy but the id": ("policies", ("revision", "seal", "document")),
    "every value of the alias but the id": ("aliases", ("revision", "seal", "key_id", "created_at", "updated_at")),
}
# What an attacker would most like to exchange is exchanged between all pairs of 50; the rest goes the same way.
MANY, SOME = 50, 20


@pytest.mark.parametrize(("what", "count"), [(what, MANY if "blob" in what else SOME) for what in EXCHANGED])
def test_values_exchanged_between_two_keys_are_refused_for_all_pairs(
    tmp_path: Path, token: Token, what: str, count: int
) -> None:
    table, columns = EXCHANGED[what]
    with make_place(tmp_path, token) as place:
        # Values that differ from key to key, so that each exchange changes something.
        keys = [place.warm.create_key(replace(new_key(f"key-{i}"), description=str(i))) for i in range(count)]
        for i, key in enumerate(keys):
            place.warm.set_policy(key.id, policy_for(f"role/{i}"), CHANGE)
            assert place.warm.signing_key(intent_for(key)).sign(b"message")
        ids = [{"key_versions": key.versions[0].id, "aliases": key.alias}.get(table, key.id) for key in keys]
        before = [place.attacker.row(table, row_id) for row_id in ids]
        for round_ in matchings(len(keys)):
            with place.attacker.transaction() as run:
                for one, other in (pair[::order] for pair in round_ for order in (1, -1)):
                    # A version's number is unique within its key, so the first of two steps aside for a moment.
                    taken = {name: before[other][name] for name in columns}
                    run(table, ids[one], {**taken, "key_id": f"aside-{one}"} if "key_id" in columns else taken)
                for one, other in (pair[::order] for pair in round_ for order in (1, -1)):
                    run(table, ids[one], {name: before[other][name] for name in columns})
            with place.fresh() as fresh:
                for key in keys:
                    for worker in (place.warm, fresh):
                        with pytest.raises(IntegrityFailure):
                            worker.signing_key(intent_for(key))
                        with pytest.raises(IntegrityFailure):
                            worker.get_key(key.alias or "")
            with place.attacker.transaction() as run:
                for row in before:
                    run(table, row["id"], {"key_id": f"aside-{row['id']!r}"} if "key_id" in columns else {})
                for row in before:
                    run(table, row["id"], row)
        for key in keys:
            assert place.warm.signing_key(intent_for(key)).sign(b"message")


class History:
    """A policy at two revisions, with other writes between and after."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.key = place.warm.create_key(new_key("release"))
        self.older = place.attacker.row("policies", self.key.id)
        place.warm.create_key(new_key("other"))
        place.warm.set_policy(self.key.id, policy_for(), CHANGE)
        self.newer = place.attacker.row("policies", self.key.id)
        place.warm.create_key(new_key("third"))

    def refused(self, worker: Keystore) -> None:
        for reference in (self.key.id, "release"):
            with pytest.raises(IntegrityFailure):
                worker.get_key(reference)
        with pytest.raises(IntegrityFailure):
            worker.signing_key(intent_for(self.key))


@pytest.fixture
def history(place: Place) -> History:
    return History(place)


def test_an_older_copy_of_a_row_is_refused(history: History) -> None:
    place = history.place
    assert place.warm.get_key("release").policy.document == policy_for()
    place.attacker.put("policies", history.older)
    history.refused(place.warm)
    with place.fresh() as fresh:
        history.refused(fresh)
    place.attacker.put("policies", history.newer)
    assert place.warm.get_key("release").policy.document == policy_for()


@pytest.mark.parametrize("used_before", [True, False])
def test_an_older_copy_whose_later_journal_entry_is_removed_is_refused(history: History, used_before: bool) -> None:
    place = history.place
    with place.fresh() as warm:
        if used_before:
            warm.get_key("release")
        place.attacker.put("policies", history.older)
        place.attacker.run("DELETE FROM row_journal WHERE table_name = 'policies' AND revision = 2")
        history.refused(warm)
    with pytest.raises(IntegrityFailure), place.fresh():
        pass


@pytest.mark.parametrize("used_before", [True, False])
def test_an_older_copy_with_the_journals_tail_cut_is_refused_by_a_warm_worker(place: Place, used_before: bool) -> None:
    key = place.warm.create_key(new_key("release"))
    older = place.attacker.row("policies", key.id)
    ((seq, link),) = place.attacker.rows("SELECT seq, link FROM row_journal_head")
    place.warm.set_policy(key.id, policy_for(), CHANGE)
    with place.fresh() as warm:
        if used_before:
            warm.get_key(key.id)
        place.attacker.put("policies", older)
        place.attacker.run("DELETE FROM row_journal WHERE seq > ?", seq)
        place.attacker.set("row_journal_head", 1, {"seq": seq, "link": link})
        with pytest.raises(IntegrityFailure, match="went back"):
            warm.get_key(key.id)
        # Who started after the cut cannot know of it; what is written then does not hide it from who did.
        with place.fresh() as deceived:
            for number in range(3):
                deceived.create_issuer(Issuer(f"i{number}", f"i{number}", "https://i.example", "i", NOW))
        with pytest.raises(IntegrityFailure, match="chain is broken"):
            warm.get_key(key.id)
        with pytest.raises(IntegrityFailure):
            warm.create_key(new_key())


@pytest.mark.parametrize("column", [column.name for column in ROW_JOURNAL.columns])
def test_an_edited_journal_entry_is_refused(history: History, column: str) -> None:
    place = history.place
    (entry,) = place.attacker.rows(
        "SELECT seq FROM row_journal WHERE table_name = 'policies' AND row_id = ? AND revision = 2", history.key.id
    )
    ((value,),) = place.attacker.rows(f"SELECT {column} FROM row_journal WHERE seq = ?", *entry)  # noqa: S608
    changed = bytes([value[0] ^ 1]) + value[1:] if isinstance(value, bytes) else _other(value)
    place.attacker.set("row_journal", entry[0], {column: changed}, key="seq")
    with pytest.raises(IntegrityFailure), place.fresh() as fresh:
        fresh.get_key("release")


def _other(value: Value) -> Value:
    return value + 1000 if isinstance(value, int) else f"{value!r}x"


@pytest.mark.parametrize("change", ["seq = seq - 1", "seq = seq + 1", "link = link || link", "id = 2"])
def test_an_edited_head_is_refused(history: History, change: str) -> None:
    place = history.place
    place.warm.get_key("release")
    place.attacker.run(f"UPDATE row_journal_head SET {change}")  # noqa: S608
    history.refused(place.warm)
    with pytest.raises(IntegrityFailure):
        place.warm.disable(history.key.id)
    with pytest.raises(IntegrityFailure), place.fresh():
        pass


def test_an_invented_journal_entry_is_refused(history: History) -> None:
    """The older row again, under a new revision that the attacker journals without the HSM."""
    place = history.place
    place.warm.get_key("release")
    ((seq, link),) = place.attacker.rows("SELECT seq, link FROM row_journal_head")
    assert isinstance(seq, int)
    assert isinstance(link, bytes)
    seal = history.older["seal"]
    ((known,),) = place.attacker.rows("SELECT link_seal FROM row_journal WHERE seq = ?", seq)
    invented = (seq + 1, "policies", history.key.id, 3, seal, 0)
    names = [column.name for column in ROW_JOURNAL.columns]
    values = (*invented, chain(link, *invented), known)
    place.attacker.insert("row_journal", dict(zip(names, values, strict=True)))
    place.attacker.put("policies", {**history.older, "revision": 3})
    history.refused(place.warm)
    place.attacker.set("row_journal_head", 1, {"seq": seq + 1, "link": values[6]})
    history.refused(place.warm)
    with pytest.raises(IntegrityFailure), place.fresh():
        pass


def test_a_journal_that_goes_on_beyond_its_head_is_refused(history: History) -> None:
    place = history.place
    (last,) = place.attacker.rows("SELECT * FROM row_journal ORDER BY seq DESC LIMIT 1")
    names = [column.name for column in ROW_JOURNAL.columns]
    beyond = {**dict(zip(names, last, strict=True)), "seq": _other(last[0]), "revision": 2}
    place.attacker.insert("row_journal", beyond)
    with pytest.raises(IntegrityFailure, match="journal's end"), place.fresh():
        pass


def test_a_text_that_is_none_is_refused(history: History) -> None:
    place = history.place
    place.attacker.run("UPDATE policies SET document = CAST(x'ff' AS TEXT) WHERE id = ?", history.key.id)
    history.refused(place.warm)
