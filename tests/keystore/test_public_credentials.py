"""Bindings of certificates and request keys, and nonces, as the store keeps them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest

from keystore.access import Change
from keystore.api import CredentialMatch, PrincipalRecord, PublicCredentialRecord
from keystore.errors import Conflict, NotFound, WrongState

if TYPE_CHECKING:
    from keystore.keystore import Keystore
    from tests.keystore.support import Place

NOW: Final = datetime(2030, 1, 1, tzinfo=UTC)
LATER: Final = NOW + timedelta(hours=1)
PEOPLE: Final = ("role/ci", "role/other")
NAME: Final = PublicCredentialRecord(
    "a", "role/ci", CredentialMatch.DNS, "ci.example", None, None, "label", "enabled", NOW, "user/admin", LATER
)
KEY: Final = replace(
    NAME, id="b", match=CredentialMatch.REQUEST_KEY, value="ab" * 32, public_key=b"key", algorithm="ed25519"
)
PIN: Final = replace(NAME, id="c", match=CredentialMatch.PUBLIC_KEY, value="cd" * 32, public_key=b"pinned")
EXACT: Final = replace(NAME, id="d", match=CredentialMatch.CERTIFICATE, value="ef" * 32, public_key=b"pinned")


@pytest.fixture
def keystore(place: Place) -> Keystore:
    for name in PEOPLE:
        place.warm.create_principal(PrincipalRecord(name, "key-user", "enabled", NOW, "user/admin"))
    return place.warm


def test_what_is_added_is_found_as_it_was(place: Place, keystore: Keystore) -> None:
    for record in (NAME, KEY, PIN):
        keystore.add_public_credential(record)
    with place.fresh() as fresh:
        for worker in (keystore, fresh):
            assert worker.find_public_credential("b") == KEY
            assert worker.find_public_credential("none") is None
            assert worker.matching_public_credentials(CredentialMatch.DNS, "ci.example") == (NAME,)
            assert worker.matching_public_credentials(CredentialMatch.URI, "ci.example") == ()
            assert worker.list_public_credentials("role/ci") == [NAME, KEY, PIN]
            assert worker.list_public_credentials("role/ci", after="a", limit=1) == [KEY]
            assert worker.list_public_credentials("role/other") == []


@pytest.mark.parametrize("record", [NAME, KEY, PIN, EXACT])
@pytest.mark.parametrize("principal", PEOPLE)
def test_nothing_is_bound_twice_until_it_is_revoked(
    keystore: Keystore, record: PublicCredentialRecord, principal: str
) -> None:
    keystore.add_public_credential(record)
    again = replace(record, id="again", principal=principal)
    with pytest.raises(Conflict):
        keystore.add_public_credential(again)
    assert keystore.find_public_credential("again") is None
    assert keystore.revoke_public_credential("role/ci", record.id) == replace(record, state="revoked")
    keystore.add_public_credential(again)


def test_one_certificate_is_never_matched_by_two_pins(keystore: Keystore) -> None:
    keystore.add_public_credential(PIN)
    for principal in PEOPLE:
        with pytest.raises(Conflict):
            keystore.add_public_credential(replace(EXACT, principal=principal))
    keystore.revoke_public_credential("role/ci", "c")
    keystore.add_public_credential(EXACT)
    renewed = replace(EXACT, id="renewed", value="12" * 32)
    with pytest.raises(Conflict):
        keystore.add_public_credential(replace(renewed, principal="role/other"))
    with pytest.raises(Conflict):
        keystore.add_public_credential(replace(PIN, id="again"))
    keystore.add_public_credential(renewed)


def test_a_request_key_and_a_certificate_are_different_things(keystore: Keystore) -> None:
    keystore.add_public_credential(PIN)
    keystore.add_public_credential(replace(KEY, value=PIN.value, public_key=PIN.public_key))
    keystore.add_public_credential(NAME)
    keystore.add_public_credential(replace(NAME, id="uri", match=CredentialMatch.URI))


def test_only_a_principals_own_is_revoked_and_once(keystore: Keystore) -> None:
    keystore.add_public_credential(NAME)
    for principal, credential in (("role/other", "a"), ("role/ci", "none")):
        with pytest.raises(NotFound):
            keystore.revoke_public_credential(principal, credential)
    keystore.revoke_public_credential("role/ci", "a")
    with pytest.raises(WrongState):
        keystore.revoke_public_credential("role/ci", "a")


def test_who_is_not_there_or_not_enabled_gets_none(keystore: Keystore) -> None:
    with pytest.raises(NotFound):
        keystore.add_public_credential(replace(NAME, principal="role/nobody"))
    keystore.set_principal_state("role/ci", "disabled")
    with pytest.raises(WrongState, match="disabled"):
        keystore.add_public_credential(NAME)


def test_all_of_a_principals_end_with_it(keystore: Keystore) -> None:
    for record in (NAME, KEY):
        keystore.add_public_credential(record)
    others = replace(PIN, principal="role/other")
    keystore.add_public_credential(others)
    keystore.revoke_public_credential("role/ci", "a")
    keystore.delete_principal("role/ci", Change("user/admin", NOW))
    assert {one.state for one in keystore.list_public_credentials("role/ci")} == {"revoked"}
    assert keystore.list_public_credentials("role/other") == [others]


def test_a_nonce_is_used_once_also_by_two_at_the_same_time(place: Place, keystore: Keystore) -> None:
    keystore.use_nonce("first", LATER)
    with pytest.raises(Conflict):
        keystore.use_nonce("first", LATER)

    def use(worker: Keystore) -> bool:
        try:
            worker.use_nonce("second", NOW)
        except Conflict:
            return False
        return True

    with place.fresh() as fresh, ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(use, [keystore, fresh] * 4)) == [False] * 7 + [True]
    assert keystore.forget_nonces(NOW) == 0
    assert keystore.forget_nonces(NOW + timedelta(microseconds=1)) == 1
    keystore.use_nonce("second", LATER)
