"""Grants, identity policies, the history of policies, and a check and its write as one step."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from keystore.access import Change, GrantRecord, GrantState
from keystore.api import CredentialRecord, Issuer, PrincipalRecord
from keystore.errors import Conflict, IntegrityFailure, LimitExceeded, NotFound, Overtaken, WrongState
from keystore.grants import MAXIMUM_GRANTS
from keystore.policies import MAXIMUM_POLICIES
from keystore.store import ATTEMPTS
from tests.keystore.support import new_key, policy_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystore.api import Key
    from keystore.db import Value
    from keystore.journal import Head
    from keystore.keystore import Keystore
    from tests.keystore.support import Place

NOW = datetime(2030, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
CHANGE = Change("user/admin", NOW, "for the nightly build")
CI = PrincipalRecord("role/ci", "key-user", "enabled", NOW, "user/admin")


@pytest.fixture
def keystore(place: Place) -> Keystore:
    place.warm.create_principal(CI)
    place.warm.create_principal(replace(CI, name="role/other"))
    return place.warm


@pytest.fixture
def key(keystore: Keystore) -> Key:
    return keystore.create_key(new_key("release"))


def grant_on(key: Key, number: int = 1, **members: object) -> GrantRecord:
    grant = GrantRecord(f"grant-{number}", key.id, "role/ci", ("DescribeKey", "Sign"), NOW, "user/key-admin")
    return replace(grant, **members)  # type: ignore[arg-type]


def test_a_grant_is_found_by_its_grantee_alone(keystore: Keystore, key: Key) -> None:
    other = keystore.create_key(new_key("other"))
    constrained = grant_on(key, context_subset={"branch": "main"}, retiring="user/key-admin", name="nightly")
    assert keystore.create_grant(constrained) == constrained
    keystore.create_grant(grant_on(key, 2, grantee="role/other"))
    assert keystore.grants_for(key.id, "role/ci") == (constrained,)
    assert keystore.grants_for(other.id, "role/ci") == ()
    assert keystore.grants_for(key.id, "role/ci' OR '1'='1") == ()
    assert keystore.find_grant("grant-1") == constrained
    assert [grant.id for grant in keystore.list_grants(key.id)] == ["grant-1", "grant-2"]
    assert [grant.id for grant in keystore.list_grants(key.id, "grant-1", 5)] == ["grant-2"]
    assert [grant.id for grant in keystore.list_grants(key.id, grantee="role/other")] == ["grant-2"]
    assert keystore.list_grants_of("role/ci") == [constrained]


@pytest.mark.parametrize("state", [GrantState.RETIRED, GrantState.REVOKED])
def test_an_ended_grant_stays_and_allows_nothing_on_any_worker(
    place: Place, keystore: Keystore, key: Key, state: GrantState
) -> None:
    keystore.create_grant(grant_on(key))
    with place.fresh() as another:
        assert another.grants_for(key.id, "role/ci")
        ended = keystore.end_grant(key.id, "grant-1", state, Change("user/key-admin", LATER))
        assert (ended.state, ended.ended_at, ended.ended_by) == (state, LATER, "user/key-admin")
        assert another.grants_for(key.id, "role/ci") == ()
        assert another.find_grant("grant-1") == ended
        assert another.list_grants(key.id) == []
        assert another.list_grants(key.id, state=None) == [ended]
        with pytest.raises(NotFound):
            another.end_grant(key.id, "grant-1", state, CHANGE)


def test_a_grant_ends_on_its_own_key_alone(keystore: Keystore, key: Key) -> None:
    other = keystore.create_key(new_key("other"))
    keystore.create_grant(grant_on(key))
    for key_id, grant_id in ((other.id, "grant-1"), (key.id, "none")):
        with pytest.raises(NotFound):
            keystore.end_grant(key_id, grant_id, GrantState.REVOKED, CHANGE)
    assert keystore.grants_for(key.id, "role/ci")


def test_an_ended_grant_brought_back_by_hand_is_refused(place: Place, keystore: Keystore, key: Key) -> None:
    keystore.create_grant(grant_on(key))
    before = place.attacker.row("grants", "grant-1")
    keystore.end_grant(key.id, "grant-1", GrantState.REVOKED, CHANGE)
    state_alone: dict[str, Value] = {"id": "grant-1", "state": "active"}
    for values in (before, state_alone):
        place.attacker.put("grants", values)
        with pytest.raises(IntegrityFailure):
            keystore.grants_for(key.id, "role/ci")
        with pytest.raises(IntegrityFailure), place.fresh() as fresh:
            fresh.grants_for(key.id, "role/ci")


def test_the_same_grant_again_is_the_same_grant(keystore: Keystore, key: Key) -> None:
    first = grant_on(key, name="nightly", context_equals={"a": "1"})
    keystore.create_grant(first)
    again = replace(first, id="again", created_at=LATER, operations=("Sign", "DescribeKey"))
    assert keystore.create_grant(again) == first
    others = [
        replace(first, operations=("Sign",)),
        replace(first, context_equals={"a": "2"}),
        replace(first, retiring="role/other"),
        replace(first, name="weekly"),
        replace(first, name=None),
        replace(first, name=None),
    ]
    for number, other in enumerate(others):
        assert keystore.create_grant(replace(other, id=f"other-{number}")).id == f"other-{number}"
    keystore.end_grant(key.id, "grant-1", GrantState.RETIRED, CHANGE)
    assert keystore.create_grant(replace(first, id="new")).id == "new"


def test_who_and_what_a_grant_is_about_must_be_there(keystore: Keystore, key: Key) -> None:
    with pytest.raises(NotFound):
        keystore.create_grant(grant_on(key, grantee="role/nobody"))
    with pytest.raises(NotFound):
        keystore.create_grant(grant_on(key, key_id="00000000-0000-4000-8000-000000000000"))
    keystore.set_principal_state("role/ci", "disabled")
    with pytest.raises(WrongState):
        keystore.create_grant(grant_on(key))
    keystore.schedule_deletion(key.id, days=7)
    assert keystore.delete_due(datetime.now(UTC) + timedelta(days=8)) == [key.id]
    with pytest.raises(WrongState):
        keystore.create_grant(grant_on(key, grantee="role/other"))


def test_a_key_has_so_many_active_grants_and_no_more(keystore: Keystore, key: Key) -> None:
    with keystore.store.transaction() as transaction:
        for number in range(MAXIMUM_GRANTS):
            values: dict[str, Value] = {"key_id": key.id, "grantee": "role/other", "operations": '["Sign"]'}
            values |= dict.fromkeys(("retiring", "name", "constraints", "ended_at", "ended_by"))
            values |= {"state": "active", "created_at": 1, "created_by": "user/key-admin"}
            transaction.insert("grants", f"many-{number}", values)
    with pytest.raises(LimitExceeded):
        keystore.create_grant(grant_on(key))
    keystore.end_grant(key.id, "many-0", GrantState.REVOKED, CHANGE)
    assert keystore.create_grant(grant_on(key))


def test_a_deleted_principal_has_no_grants_and_its_history_stays(keystore: Keystore, key: Key) -> None:
    keystore.create_grant(grant_on(key))
    keystore.create_grant(grant_on(key, 2, grantee="role/other"))
    keystore.put_identity_policy("role/ci", "nights", "{}", CHANGE)
    keystore.delete_principal("role/ci", Change("user/admin", LATER))
    assert keystore.grants_for(key.id, "role/ci") == ()
    (ended, _) = keystore.list_grants(key.id, state=None)
    assert (ended.state, ended.ended_at, ended.ended_by) == (GrantState.REVOKED, LATER, "user/admin")
    assert [grant.id for grant in keystore.list_grants(key.id)] == ["grant-2"]
    assert [version.policy for version in keystore.list_identity_policy_versions("role/ci", 0, 9)] == ["nights"]
    with pytest.raises(WrongState):
        keystore.put_identity_policy("role/ci", "nights", "{}", CHANGE)
    with pytest.raises(WrongState):
        keystore.create_grant(grant_on(key, 3))


def test_identity_policies_come_with_their_principal(place: Place, keystore: Keystore) -> None:
    with place.fresh() as another:
        assert another.find_principal("role/ci") == CI
        made = keystore.put_identity_policy("role/ci", "b", '{"b":1}', CHANGE)
        assert (made.revision, made.changed_by, made.reason) == (1, "user/admin", "for the nightly build")
        keystore.put_identity_policy("role/ci", "a", '{"a":"é"}', CHANGE)
        found = another.find_principal("role/ci")
        assert found == replace(CI, policies=(("a", '{"a":"é"}'), ("b", '{"b":1}')))
        assert found in another.list_principals(None, 9)
        assert keystore.put_identity_policy("role/ci", "b", '{"b":2}', CHANGE).revision == 3
        keystore.delete_identity_policy("role/ci", "a", Change("user/other", LATER))
        assert another.find_principal("role/ci") == replace(CI, policies=(("b", '{"b":2}'),))
        assert another.find_principal("role/other") == replace(CI, name="role/other")
        history = another.list_identity_policy_versions("role/ci", 0, 10)
        assert [(entry.revision, entry.policy, entry.document, entry.created_by) for entry in history] == [
            (1, "b", '{"b":1}', "user/admin"),
            (2, "a", '{"a":"é"}', "user/admin"),
            (3, "b", '{"b":2}', "user/admin"),
            (4, "a", None, "user/other"),
        ]
        assert another.list_identity_policy_versions("role/ci", 1, 2) == history[1:3]
        assert another.list_identity_policy_versions("role/ci", 4, 2) == []


def test_policies_that_cannot_be_put_or_taken_away(keystore: Keystore) -> None:
    for number in range(MAXIMUM_POLICIES):
        keystore.put_identity_policy("role/ci", f"p{number}", "{}", CHANGE)
    with pytest.raises(LimitExceeded):
        keystore.put_identity_policy("role/ci", "more", "{}", CHANGE)
    assert keystore.put_identity_policy("role/ci", "p3", '{"x":1}', CHANGE)
    with pytest.raises(NotFound):
        keystore.delete_identity_policy("role/ci", "more", CHANGE)
    with pytest.raises(NotFound):
        keystore.delete_identity_policy("role/other", "p1", CHANGE)
    with pytest.raises(NotFound):
        keystore.put_identity_policy("role/nobody", "p1", "{}", CHANGE)


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_version_missing_from_a_history_is_noticed(place: Place, keystore: Keystore, missing: int) -> None:
    for number in range(3):
        keystore.put_identity_policy("role/ci", "p", f'{{"x":{number}}}', CHANGE)
    place.attacker.delete("policy_versions", f"principal/role/ci/{missing}")
    with pytest.raises(IntegrityFailure, match="not every version"):
        keystore.list_identity_policy_versions("role/ci", 0, 10)


def change_policy(keystore: Keystore) -> None:
    keystore.put_identity_policy("role/other", "p", "{}", CHANGE)


OVERTAKING: dict[str, Callable[[Keystore, Key], object]] = {
    "a principal": lambda keystore, _key: keystore.set_principal_state("role/other", "disabled"),
    "an identity policy": lambda keystore, _key: change_policy(keystore),
    "a grant": lambda keystore, key: keystore.create_grant(grant_on(key, 99)),
    "a key with its policy": lambda keystore, _key: keystore.create_key(new_key("meanwhile")),
}


@pytest.mark.parametrize("what", OVERTAKING)
def test_a_check_does_not_outlive_what_it_looked_at(place: Place, keystore: Keystore, key: Key, what: str) -> None:
    with place.fresh() as another:
        head = keystore.store.head()
        OVERTAKING[what](another, key)
        for attempt in (
            lambda: keystore.create_grant(grant_on(key), seen=head),
            lambda: keystore.put_identity_policy("role/ci", "p", "{}", CHANGE, seen=head),
            lambda: keystore.delete_identity_policy("role/ci", "p", CHANGE, seen=head),
        ):
            with pytest.raises(Overtaken):
                attempt()
        assert keystore.grants_for(key.id, "role/ci") == another.grants_for(key.id, "role/ci")
        assert keystore.create_grant(grant_on(key), seen=keystore.store.head())


def test_what_decides_nothing_does_not_overtake(place: Place, keystore: Keystore, key: Key) -> None:
    """Tokens are made all the time; a check over thousands of keys must come to its end nevertheless."""
    with place.fresh() as another:
        head = keystore.store.head()
        another.create_credential(CredentialRecord("c", "role/ci", b"h" * 32, "enabled", NOW, LATER))
        another.create_issuer(Issuer("i", "i", "https://i.example", "i", NOW))
        another.reserve_idempotency("one", "role/ci", b"h" * 32)
        assert keystore.create_grant(grant_on(key), seen=head)


def test_an_overtaken_change_is_tried_again_and_at_last_given_up(place: Place, keystore: Keystore, key: Key) -> None:
    attempts: list[Head] = []

    def change(times: int) -> Callable[[Head], GrantRecord]:
        def attempt(head: Head) -> GrantRecord:
            attempts.append(head)
            if len(attempts) <= times:
                change_policy(another)
            return keystore.create_grant(grant_on(key), seen=head)

        return attempt

    with place.fresh() as another:
        with pytest.raises(Overtaken):
            keystore.checked_change(change(ATTEMPTS))
        assert len(attempts) == len(set(attempts)) == ATTEMPTS
        assert keystore.grants_for(key.id, "role/ci") == ()
        attempts.clear()
        assert keystore.checked_change(change(ATTEMPTS - 1)).id == "grant-1"
        assert len(attempts) == ATTEMPTS


def test_a_refused_check_is_not_tried_again(keystore: Keystore) -> None:
    calls: list[Head] = []

    def attempt(head: Head) -> None:
        calls.append(head)
        raise Conflict("the name is taken")

    with pytest.raises(Conflict, match="the name is taken"):
        keystore.checked_change(attempt)
    assert len(calls) == 1


def test_of_two_that_exclude_each_other_one_comes_through(place: Place, keystore: Keystore, key: Key) -> None:
    """Each checks that the other's change is not there, then writes its own: on two workers, at the same time."""
    with place.fresh() as another:
        both_checked = threading.Barrier(2, timeout=5)
        done: list[str] = []

        def as_grant(worker: Keystore) -> str:
            def attempt(head: Head) -> str:
                free = not worker.list_identity_policies("role/ci")
                meet(both_checked)
                if free:
                    worker.create_grant(grant_on(key), seen=head)
                return "grant" if free else "nothing"

            return at_the_same_time(worker, attempt)

        def as_policy(worker: Keystore) -> str:
            def attempt(head: Head) -> str:
                free = not worker.grants_for(key.id, "role/ci")
                meet(both_checked)
                if free:
                    worker.put_identity_policy("role/ci", "p", "{}", CHANGE, seen=head)
                return "policy" if free else "nothing"

            return at_the_same_time(worker, attempt)

        threads = [
            threading.Thread(target=lambda: done.append(as_grant(keystore))),
            threading.Thread(target=lambda: done.append(as_policy(another))),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(done) in (["grant", "nothing"], ["nothing", "policy"])
        assert bool(keystore.grants_for(key.id, "role/ci")) != bool(keystore.list_identity_policies("role/ci"))


def test_many_that_change_at_once_all_come_through(place: Place, keystore: Keystore) -> None:
    """Each checks for a while; were they not to wait for one another, the last would be overtaken by all the others."""
    failed: list[str] = []
    begun = threading.Barrier(24, timeout=5)

    def change(worker: Keystore, number: int) -> None:
        def attempt(head: Head) -> None:
            time.sleep(0.01)  # a check takes its time
            worker.put_identity_policy(
                f"role/{'ci' if number % 2 else 'other'}", f"p{number % 10}", "{}", CHANGE, seen=head
            )

        begun.wait()
        try:
            worker.checked_change(attempt)
        except Overtaken as error:
            failed.append(str(error))

    with place.fresh() as another:
        threads = [
            threading.Thread(target=change, args=((keystore, another)[number % 3 == 0], number)) for number in range(24)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []
    assert sum(len(keystore.list_identity_policy_versions(name, 0, 99)) for name in ("role/ci", "role/other")) == 24


def at_the_same_time(worker: Keystore, attempt: Callable[[Head], str]) -> str:
    """As `checked_change`, but without waiting for the other one first."""
    try:
        return attempt(worker.store.head())
    except Overtaken:
        return worker.checked_change(attempt)


def meet(barrier: threading.Barrier) -> None:
    """The first time, wait until both have checked; whoever tries again goes on alone."""
    try:
        if not barrier.broken:
            barrier.wait()
            barrier.abort()
    except threading.BrokenBarrierError:
        return


def test_a_head_that_lags_behind_the_database_is_followed_first(place: Place, keystore: Keystore) -> None:
    with place.fresh() as another:
        change_policy(another)
        assert keystore.store.head() == another.store.head()
        assert keystore.store.journal.head.seq == another.store.journal.head.seq


def test_an_entry_whose_table_was_renamed_hides_nothing(place: Place, keystore: Keystore, key: Key) -> None:
    """Which tables changed is read of the chain that was followed, not asked of the database again."""
    head = keystore.store.head()
    change_policy(keystore)
    keystore.store.head()
    place.attacker.run("UPDATE row_journal SET table_name = 'issuers' WHERE seq > ?", head.seq)
    with pytest.raises(Overtaken):
        keystore.create_grant(grant_on(key), seen=head)


def test_every_version_of_a_keys_policy_is_kept(place: Place, keystore: Keystore, key: Key) -> None:
    second = Change("user/other-key-admin", LATER, "the nightly build too")
    keystore.set_policy(key.id, policy_for("role/ci", "role/nightly"), second)
    history = keystore.list_policy_versions(key.id, 0, 10)
    assert [(version.revision, version.created_by, version.reason) for version in history] == [
        (1, "user/key-admin", "the key was made"),
        (2, "user/other-key-admin", "the nightly build too"),
    ]
    assert [version.document for version in history] == [key.policy.document, policy_for("role/ci", "role/nightly")]
    assert history[1].created_at == LATER
    assert keystore.find_policy_version(key.id, 2) == history[1]
    assert keystore.find_policy_version(key.id, 3) is None
    assert keystore.list_policy_versions(key.id, 1, 1) == history[1:]
    with place.fresh() as another:
        assert another.list_policy_versions(key.id, 0, 1) == history[:1]


def test_a_policy_that_is_not_stored_leaves_no_version(place: Place, keystore: Keystore, key: Key) -> None:
    with place.fresh() as another:
        head = keystore.store.head()
        change_policy(another)
        with pytest.raises(Overtaken):
            keystore.set_policy(key.id, policy_for(), CHANGE, seen=head)
    with pytest.raises(Conflict):
        keystore.set_policy(key.id, policy_for(), CHANGE, revision=7)
    assert keystore.get_key(key.id).policy.revision == 1
    assert len(keystore.list_policy_versions(key.id, 0, 10)) == 1


def test_a_keys_newest_version_missing_from_its_history_is_noticed(place: Place, keystore: Keystore, key: Key) -> None:
    keystore.set_policy(key.id, policy_for(), CHANGE)
    place.attacker.delete("policy_versions", f"key/{key.id}/2")
    with pytest.raises(IntegrityFailure, match="not every version"):
        keystore.list_policy_versions(key.id, 0, 10)
    with pytest.raises(IntegrityFailure):
        keystore.find_policy_version(key.id, 2)


def test_a_new_key_is_checked_until_nobody_overtakes(place: Place, keystore: Keystore) -> None:
    """The key pair is made once; the check is made again."""
    asked: list[int] = []
    with place.fresh() as another:

        def check() -> None:
            asked.append(len(asked))
            if len(asked) <= 2:
                change_policy(another)

        key = keystore.create_key(new_key("checked"), check=check)
        assert (len(asked), keystore.get_key("checked")) == (3, key)

        def refuse() -> None:
            raise Conflict("no such key for anybody")

        with pytest.raises(Conflict, match="for anybody"):
            keystore.create_key(new_key("refused"), check=refuse)
        with pytest.raises(NotFound):
            another.get_key("refused")
