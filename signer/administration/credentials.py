"""Tokens: how a principal comes to its first one, makes further ones for itself, and ends them.

An administrator makes codes and ends tokens; only the holder ever sees a token. A code in another's name can be made,
for a lost token, and is recorded so that it stands out: who made it, for whom, who used it and from where.
"""

from __future__ import annotations

import hmac
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from keystore.api import CredentialRecord
from keystore.errors import NotFound as NoSuchRow
from keystore.errors import WrongState as NotInState
from signer.access import Duty
from signer.administration.identities import new_enrolment, require_present
from signer.administration.principal_rules import require_no_break_glass
from signer.authn.bearer import NOBODY
from signer.authn.principal import BEARER, BREAK_GLASS, ROOT, CredentialKind
from signer.authn.tokens import SHORT, new_token, short_id, stored_form
from signer.errors import DutyForbids, NotFound, Unauthenticated, Unprocessable, WrongState

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from keystore.api import EnrolmentRecord
    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.authn.principal import Principal
    from signer.request import NewApiToken

MOST_TOKENS: Final = 100  # of one principal at a time
ENROLLED: Final = "enrolled"  # the label of a token that a code was exchanged for
_NO_DIGEST: Final = bytes(32)
_REFUSAL: Final = "the enrolment code is not valid: unknown, used or expired"
_HEX: Final = frozenset("0123456789abcdef")
_ADMINISTRATORS: Final = (Duty.ADMINISTRATOR, Duty.ROOT)
_log = structlog.get_logger("sealmark.identities")


class CredentialAdministration:
    """Every change to tokens. `longest` is how long one lives at most, and lives where nothing else is asked."""

    def __init__(self, keystore: Keystore, longest: timedelta) -> None:
        self._keystore = keystore
        self._longest = longest

    def create(self, permit: Permit, name: str, body: NewApiToken) -> tuple[CredentialRecord, str]:
        """A further token of the caller's own, shown this once. Raises `DutyForbids` for another's, `Unprocessable`,
        `LimitExceeded`."""
        if name != permit.principal.name:
            msg = "nobody makes tokens for another; an administrator makes an enrolment code instead"
            raise DutyForbids(msg)
        if permit.principal.kind is CredentialKind.SESSION:
            msg = "a session makes no tokens: they would outlive what it was given for"
            raise DutyForbids(msg)
        if not body.label.isprintable():
            msg = "a label is printable text"
            raise Unprocessable(msg, field="label")
        moment = self._keystore.clock()
        token, credential = self._new_token(name, name, body.label, moment, moment + self._life(body))
        self._keystore.create_credential(credential, most=MOST_TOKENS)
        return credential, token

    def page(self, permit: Permit, name: str, after: str | None, limit: int) -> list[CredentialRecord]:
        """Up to `limit` credentials of a principal, beyond the short id `after`. Raises `DutyForbids`, `NotFound`."""
        require_own_or_administrator(permit.principal, name)
        require_present(self._keystore, name)
        beyond = None if after is None else f"{after}~"  # every id that begins with it sorts before this
        return self._keystore.list_credentials(name, beyond, limit)

    def revoke(self, permit: Permit, name: str, credential: str) -> CredentialRecord:
        """Ends a token at once and for good. Raises `DutyForbids`, `NotFound`."""
        require_own_or_administrator(permit.principal, name)
        require_no_break_glass(name)
        require_present(self._keystore, name)
        found = self._find(name, credential)
        self._keystore.revoke_credential(found.id)
        return found

    def enrol_again(self, permit: Permit, name: str, *, revoke: bool) -> tuple[str, EnrolmentRecord, int]:
        """A new code for a principal that is there: (code, what is stored of it, how many old tokens have ended).

        Open codes that it had end. Raises: `NotFound`; `WrongState` for the caller itself, and unless it is enabled.
        """
        if name == permit.principal.name:
            msg = "nobody enrols themselves again; make a token instead, or ask another administrator"
            raise WrongState(msg)
        require_no_break_glass(name)
        require_present(self._keystore, name)
        code, enrolment = new_enrolment(name, permit, self._keystore.clock())
        revoked = self._keystore.create_enrolment(enrolment, revoke_credentials=revoke)
        _log.warning(
            "enrolment_in_anothers_name", alarm=True, principal=name, made_by=permit.principal.name, revoked=revoked
        )
        return code, enrolment, revoked

    def enrol(
        self, code: str, source: str, record: Callable[[EnrolmentRecord, bool], None]
    ) -> tuple[str, str, datetime]:
        """Uses a code up: (principal's name, its new token, when that ends). Before that happens, `record` is told of
        the code, and whether its principal had a credential before.

        Raises: `Unauthenticated`, and what `record` raises.
        """
        moment = self._keystore.clock()
        stored = stored_form(code)
        enrolment = self._keystore.find_enrolment(stored.id)
        matches = hmac.compare_digest(enrolment.code_hash if enrolment else _NO_DIGEST, stored.digest)
        principal = self._keystore.find_principal(enrolment.principal if enrolment else NOBODY)
        if enrolment is None or principal is None or not matches:
            raise Unauthenticated(_REFUSAL, field="code")
        if enrolment.state != "open" or enrolment.expires_at <= moment or not principal.is_enabled(moment):
            raise Unauthenticated(_REFUSAL, field="code")
        again = bool(self._keystore.list_credentials(principal.name, None, 1))
        record(enrolment, again)
        if again:
            made_by, code_id = enrolment.created_by, short_id(enrolment.id)
            _log.warning(
                "enrolled_again",
                alarm=True,
                principal=principal.name,
                made_by=made_by,
                enrolment=code_id,
                source=source,
            )
        ends = moment + self._longest
        token, credential = self._new_token(principal.name, enrolment.created_by, ENROLLED, moment, ends)
        try:
            self._keystore.use_enrolment(enrolment.id, credential, moment)
        except (NotInState, NoSuchRow) as used:
            raise Unauthenticated(_REFUSAL, field="code") from used
        return principal.name, token, ends

    def _new_token(
        self, name: str, maker: str, label: str, moment: datetime, ends: datetime
    ) -> tuple[str, CredentialRecord]:
        token = new_token()
        kept = stored_form(token)
        return token, CredentialRecord(
            kept.id, name, kept.digest, "enabled", moment, ends, label=label, created_by=maker
        )

    def _life(self, body: NewApiToken) -> timedelta:
        if body.days is not None and body.expires_in is not None:
            msg = "give either `days` or `expires_in`"
            raise Unprocessable(msg, field="expires_in")
        if body.days is None and body.expires_in is None:
            return self._longest
        asked = timedelta(days=body.days or 0, seconds=body.expires_in or 0)
        if asked > self._longest:
            msg = f"a token lives at most {self._longest.days} days here"
            raise Unprocessable(msg, field="days" if body.days is not None else "expires_in")
        return asked

    def _find(self, name: str, credential: str) -> CredentialRecord:
        if len(credential) == SHORT and set(credential) <= _HEX:
            found = [
                each for each in self._keystore.list_credentials(name, credential, 2) if short_id(each.id) == credential
            ]
            if len(found) == 1:
                return found[0]
        msg = f"{name} has no such token"
        raise NotFound(msg, field="credential")


def require_own_or_administrator(caller: Principal, name: str) -> None:
    """Asked before anybody is looked up. Raises `DutyForbids`."""
    if name != caller.name and caller.duty not in _ADMINISTRATORS:
        msg = "another's credentials are for the duty administrator"
        raise DutyForbids(msg)


def described_credential(credential: CredentialRecord, now: datetime) -> dict[str, object]:
    """A token as JSON members, without anything secret. `id` is how records name it, after the colon."""
    over = credential.expires_at is not None and credential.expires_at <= now
    return {
        "id": short_id(credential.id),
        "kind": credential.kind,
        "label": credential.label,
        "state": "expired" if over and credential.state == "enabled" else credential.state,
        "created_at": credential.created_at,
        "created_by": credential.created_by,
        "expires_at": credential.expires_at,
    }


def named_in_records(credential: CredentialRecord) -> str:
    """How records name a credential."""
    return f"{BREAK_GLASS if credential.principal == ROOT else BEARER}:{short_id(credential.id)}"
