"""Principals, credentials and enrolments; issuers, certificates, domains and idempotent answers."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from keystore.access import Change
from keystore.api import CertificateRecord, CredentialRecord, EnrolmentRecord, Issuer, PrincipalRecord, RevocationReason
from keystore.errors import Conflict, NotFound, WrongState
from tests.keystore.support import new_key

if TYPE_CHECKING:
    from keystore.keystore import Keystore
    from tests.keystore.support import Place

NOW = datetime(2030, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
CI = PrincipalRecord("role/ci", "key-user", "enabled", NOW, "user/admin")
ENROLMENT = EnrolmentRecord("enrolment", "role/ci", b"c" * 32, "open", NOW, LATER)
CREDENTIAL = CredentialRecord("credential", "role/ci", b"h" * 32, "enabled", NOW, LATER)


@pytest.fixture
def keystore(place: Place) -> Keystore:
    return place.warm


def test_a_principal_enrols_once(keystore: Keystore) -> None:
    keystore.create_principal(CI, enrolment=ENROLMENT)
    assert keystore.find_principal("role/ci") == CI
    assert keystore.find_enrolment("enrolment") == ENROLMENT
    assert keystore.find_credential("credential") is None
    assert keystore.use_enrolment("enrolment", CREDENTIAL, NOW) == CI
    assert keystore.find_credential("credential") == CREDENTIAL
    assert keystore.find_enrolment("enrolment") == replace(ENROLMENT, state="used")
    with pytest.raises(WrongState, match="used or has expired"):
        keystore.use_enrolment("enrolment", replace(CREDENTIAL, id="second"), NOW)
    assert keystore.find_credential("second") is None


def test_an_enrolment_that_may_not_be_used(keystore: Keystore) -> None:
    keystore.create_principal(CI, enrolment=ENROLMENT)
    keystore.create_principal(replace(CI, name="role/other"))
    with pytest.raises(WrongState, match="expired"):
        keystore.use_enrolment("enrolment", CREDENTIAL, LATER)
    with pytest.raises(Conflict, match="another principal"):
        keystore.use_enrolment("enrolment", replace(CREDENTIAL, principal="role/other"), NOW)
    with pytest.raises(NotFound):
        keystore.use_enrolment("none", CREDENTIAL, NOW)
    keystore.set_principal_state("role/ci", "disabled")
    with pytest.raises(WrongState, match="disabled"):
        keystore.use_enrolment("enrolment", CREDENTIAL, NOW)
    keystore.set_principal_state("role/ci", "enabled")
    assert keystore.use_enrolment("enrolment", CREDENTIAL, NOW) == CI


def test_a_name_is_never_used_again(keystore: Keystore) -> None:
    keystore.create_principal(CI, credential=CREDENTIAL)
    with pytest.raises(Conflict):
        keystore.create_principal(CI)
    keystore.create_enrolment(ENROLMENT)
    keystore.create_credential(replace(CREDENTIAL, id="second", expires_at=None))
    keystore.delete_principal("role/ci", Change("user/admin", NOW))
    assert keystore.find_principal("role/ci") == replace(CI, state="deleted")
    for credential in ("credential", "second"):
        found = keystore.find_credential(credential)
        assert found is not None
        assert found.state == "revoked"
    assert keystore.find_enrolment("enrolment") == replace(ENROLMENT, state="used")
    with pytest.raises(Conflict):
        keystore.create_principal(CI)
    with pytest.raises(NotFound):
        keystore.delete_principal("role/ci", Change("user/admin", NOW))
    with pytest.raises(WrongState):
        keystore.set_principal_state("role/ci", "enabled")
    with pytest.raises(WrongState):
        keystore.create_credential(replace(CREDENTIAL, id="third"))


def test_a_credential_is_revoked(keystore: Keystore) -> None:
    keystore.create_principal(CI, credential=CREDENTIAL)
    keystore.revoke_credential("credential")
    assert keystore.find_credential("credential") == replace(CREDENTIAL, state="revoked")
    with pytest.raises(NotFound):
        keystore.revoke_credential("none")


def test_nobody_unknown_gets_a_credential(keystore: Keystore) -> None:
    with pytest.raises(NotFound):
        keystore.create_credential(CREDENTIAL)
    with pytest.raises(NotFound):
        keystore.create_enrolment(ENROLMENT)
    with pytest.raises(NotFound):
        keystore.delete_principal("role/ci", Change("user/admin", NOW))
    with pytest.raises(NotFound):
        keystore.set_principal_state("role/ci", "disabled")


def test_principals_are_listed_in_pages(keystore: Keystore) -> None:
    for number in range(5):
        keystore.create_principal(replace(CI, name=f"role/{number}"))
    assert [person.name for person in keystore.list_principals(None, 3)] == ["role/0", "role/1", "role/2"]
    assert [person.name for person in keystore.list_principals("role/2", 3)] == ["role/3", "role/4"]


def test_an_issuers_name_is_taken_once(keystore: Keystore) -> None:
    issuer = Issuer("one", "default", "https://issuer.example", "urn:issuer", NOW)
    keystore.create_issuer(issuer)
    with pytest.raises(Conflict):
        keystore.create_issuer(replace(issuer, id="two"))
    keystore.create_issuer(replace(issuer, id="two", name="a"))
    assert keystore.get_issuer("default") == issuer
    assert [found.name for found in keystore.list_issuers()] == ["a", "default"]
    with pytest.raises(NotFound):
        keystore.get_issuer("none")


def test_the_newest_certificate_of_a_version_counts(keystore: Keystore) -> None:
    key = keystore.create_key(new_key())
    version = key.versions[0].id
    assert keystore.find_certificate(version) is None
    first = CertificateRecord("z", key.id, version, "0a", (b"leaf", b"root"), NOW, LATER)
    keystore.add_certificate(first)
    assert keystore.find_certificate(version) == first
    second = replace(first, id="a", serial="0b", chain=(b"other",), not_before=NOW - timedelta(days=1))
    keystore.add_certificate(second)
    assert keystore.find_certificate(version) == second
    with pytest.raises(Conflict):
        keystore.add_certificate(first)
    with pytest.raises(NotFound):
        keystore.add_certificate(replace(first, id="b", version_id=str(uuid.uuid4())))


def test_a_revoked_version_gets_no_certificate_however_late_it_comes(keystore: Keystore) -> None:
    """A renewal that was under way while the version was revoked."""
    key = keystore.create_key(new_key())
    version = key.versions[0].id
    keystore.add_certificate(CertificateRecord("one", key.id, version, "0a", (b"leaf",), NOW, LATER))
    (revoked,) = keystore.revoke_version(version, RevocationReason.KEY_COMPROMISE, NOW)
    assert (revoked.id, revoked.revoked_at, revoked.revocation_reason) == ("one", NOW, RevocationReason.KEY_COMPROMISE)
    assert keystore.list_revoked_certificates() == [revoked]
    with pytest.raises(WrongState, match="revoked"):
        keystore.add_certificate(CertificateRecord("two", key.id, version, "0b", (b"leaf",), NOW, LATER))
    with pytest.raises(WrongState, match="revoked already"):
        keystore.revoke_version(version, RevocationReason.SUPERSEDED, LATER)
    assert keystore.find_certificate(version) == revoked


def test_domains(keystore: Keystore) -> None:
    (domain,) = keystore.list_domains()
    assert (domain.name, domain.version) == ("default", 1)
    assert keystore.get_domain("default") == domain
    with pytest.raises(NotFound):
        keystore.get_domain("none")


def test_an_answer_is_reserved_filled_and_found(keystore: Keystore) -> None:
    assert keystore.find_idempotency("one") is None
    keystore.reserve_idempotency("one", "role/ci", b"h" * 32)
    reserved = keystore.find_idempotency("one")
    assert reserved is not None
    assert (reserved.principal, reserved.request_hash, reserved.response) == ("role/ci", b"h" * 32, b"")
    with pytest.raises(Conflict):
        keystore.reserve_idempotency("one", "role/ci", b"h" * 32)
    keystore.complete_idempotency("one", b'{"results":[]}')
    keystore.release_idempotency("one")  # too late: it is filled
    assert keystore.find_idempotency("one") == replace(reserved, response=b'{"results":[]}')
    with pytest.raises(NotFound):
        keystore.complete_idempotency("none", b"{}")


def test_an_answer_is_not_written_over_one_that_was_not_seen(keystore: Keystore) -> None:
    keystore.reserve_idempotency("one", "role/ci", b"h" * 32)
    seen = keystore.store.get("idempotency", "one")
    assert seen is not None
    keystore.complete_idempotency("one", b"first")
    with pytest.raises(Conflict), keystore.store.transaction() as transaction:
        transaction.update(seen, {"response": b"second"})
    found = keystore.find_idempotency("one")
    assert found is not None
    assert found.response == b"first"


def test_an_empty_place_is_given_back(keystore: Keystore) -> None:
    keystore.reserve_idempotency("one", "role/ci", b"h" * 32)
    keystore.release_idempotency("one")
    keystore.release_idempotency("one")
    assert keystore.find_idempotency("one") is None
    keystore.reserve_idempotency("one", "role/ci", b"i" * 32)


def test_old_answers_are_forgotten(keystore: Keystore) -> None:
    keystore.reserve_idempotency("one", "role/ci", b"h" * 32)
    keystore.complete_idempotency("one", b"{}")
    assert keystore.forget_idempotency(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert keystore.forget_idempotency(datetime.now(UTC) + timedelta(hours=1)) == 1
    assert keystore.find_idempotency("one") is None
    assert keystore.store.verify_everything()
