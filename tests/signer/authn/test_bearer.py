"""From a header to a principal, from values alone: one refusal for everything that is wrong."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from keystore.api import CredentialRecord, PrincipalRecord
from signer.access import Duty
from signer.authn.bearer import REFUSAL, authenticate
from signer.authn.tokens import CODE_PREFIX, TOKEN_PREFIX, new_enrolment_code, new_token, stored_form
from signer.errors import Unauthenticated

NOW: Final = datetime(2026, 6, 1, tzinfo=UTC)
TOKEN: Final = new_token()
STORED: Final = stored_form(TOKEN)
OWNER: Final = PrincipalRecord("role/ci", "key-user", "enabled", NOW, "user/admin")
CREDENTIAL: Final = CredentialRecord(STORED.id, "role/ci", STORED.digest, "enabled", NOW, None)


class Known:
    """The rows that authentication finds, and how often it looked."""

    def __init__(self, credential: CredentialRecord | None, owner: PrincipalRecord | None) -> None:
        self._credential, self._owner = credential, owner
        self.looked_up: list[str] = []

    def find_credential(self, credential_id: str) -> CredentialRecord | None:
        self.looked_up.append("credential")
        return self._credential if self._credential and self._credential.id == credential_id else None

    def find_principal(self, name: str) -> PrincipalRecord | None:
        self.looked_up.append("principal")
        return self._owner if self._owner and self._owner.name == name else None

    def trusted_issuer_revision(self, name: str) -> int | None:
        self.looked_up.append(name)
        return 3 if name == "github" else None


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_valid_token_is_its_principal(scheme: str) -> None:
    principal = authenticate(f"{scheme} {TOKEN}", Known(CREDENTIAL, OWNER), NOW)
    assert (principal.name, principal.duty) == ("role/ci", Duty.KEY_USER)
    assert principal.credential == f"bearer:{STORED.id[:12]}"
    assert TOKEN not in repr(principal)


@pytest.mark.parametrize(
    ("credential", "owner"),
    [
        (None, OWNER),
        (CREDENTIAL, None),
        (None, None),
        (replace(CREDENTIAL, token_hash=bytes(32)), OWNER),
        (replace(CREDENTIAL, token_hash=b""), OWNER),
        (replace(CREDENTIAL, state="revoked"), OWNER),
        (replace(CREDENTIAL, state="Enabled"), OWNER),
        (replace(CREDENTIAL, expires_at=NOW), OWNER),
        (replace(CREDENTIAL, expires_at=NOW - timedelta(days=1)), OWNER),
        (CREDENTIAL, replace(OWNER, state="disabled")),
        (CREDENTIAL, replace(OWNER, state="deleted")),
        (replace(CREDENTIAL, principal="role/other"), OWNER),
    ],
)
def test_whatever_is_wrong_gets_one_refusal_after_the_same_work(
    credential: CredentialRecord | None, owner: PrincipalRecord | None
) -> None:
    known = Known(credential, owner)
    with pytest.raises(Unauthenticated) as refusal:
        authenticate(f"Bearer {TOKEN}", known, NOW)
    assert (refusal.value.message, refusal.value.field) == (REFUSAL, None)
    assert known.looked_up == ["credential", "principal"]


SESSION: Final = replace(
    CREDENTIAL, kind="session", facts='{"trusted_issuer":"github","trusted_issuer_revision":3}', expires_at=None
)


def test_a_session_is_its_role_and_brings_its_proof() -> None:
    principal = authenticate(f"Bearer {TOKEN}", Known(SESSION, OWNER), NOW)
    assert (principal.name, principal.kind, principal.proof) == ("role/ci", "session", SESSION.facts)


@pytest.mark.parametrize(
    "facts",
    [
        '{"trusted_issuer":"github","trusted_issuer_revision":2}',
        '{"trusted_issuer":"github","trusted_issuer_revision":4}',
        '{"trusted_issuer":"gitlab","trusted_issuer_revision":3}',
        None,
    ],
)
def test_a_session_ends_with_the_trust_that_it_began_with(facts: str | None) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        authenticate(f"Bearer {TOKEN}", Known(replace(SESSION, facts=facts), OWNER), NOW)
    assert refusal.value.message == REFUSAL


def test_a_token_lives_until_it_expires() -> None:
    lasting = replace(CREDENTIAL, expires_at=NOW + timedelta(microseconds=1))
    assert authenticate(f"Bearer {TOKEN}", Known(lasting, OWNER), NOW).name == "role/ci"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer:{TOKEN}",
        f"Bearer {TOKEN},{TOKEN}",
        f"Bearer {TOKEN} {TOKEN}",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN.upper()}",
        f"Bearer {TOKEN}é",
        f"Bearer {TOKEN}" + " " * 300,
        "Bearer " + "x" * 100_000,
    ],
    ids=itertools.count(),  # a secret stands in no test's name either
)
def test_another_form_of_header_is_refused(header: str | None) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        authenticate(header, Known(CREDENTIAL, OWNER), NOW)
    assert refusal.value.message == REFUSAL


def test_what_is_stored_tells_nothing_of_the_secret() -> None:
    stored = stored_form(TOKEN)
    assert stored == stored_form(TOKEN)
    assert (len(stored.id), len(stored.digest)) == (32, 32)
    assert not stored.digest.hex().startswith(stored.id)
    assert stored.digest.hex() not in repr(stored)
    assert stored_form(TOKEN + "x").id != stored.id


def test_secrets_are_256_random_bits_and_can_be_recognised() -> None:
    tokens = {new_token() for _ in range(100)} | {new_enrolment_code() for _ in range(100)}
    assert len(tokens) == 200
    assert {len(token) for token in tokens} == {47}
    assert {token[:4] for token in tokens} == {TOKEN_PREFIX, CODE_PREFIX}
