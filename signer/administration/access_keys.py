"""Access keys in the manner of AWS: made by their principal for itself, disabled and enabled by it, ended by it or by
an administrator. Temporary ones end with the credential that made them.

Only the answer that makes one ever shows its secret.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from keystore.access_keys import DISABLED, ENABLED, REVOKED
from keystore.api import AccessKeyRecord
from keystore.errors import NotFound as NoSuchRow
from keystore.errors import WrongState as NotInState
from signer.administration.credentials import require_own_or_administrator
from signer.administration.identities import require_present
from signer.authn.makers import maker_of, maker_stands
from signer.authn.principal import CredentialKind
from signer.authn.tokens import new_access_key_id, new_secret_access_key, new_session_token, stored_form
from signer.errors import DutyForbids, NotFound, Unprocessable, WrongState

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.authn.principal import Principal
    from signer.request import NewAccessKey

MOST_TEMPORARY: Final = 1_000  # sets of one principal at a time: a job a second would have a quarter of an hour each
USUAL_DURATION: Final = timedelta(hours=1)
_BOUNDED: Final = (CredentialKind.SESSION, CredentialKind.ACCESS_KEY)


@dataclass(frozen=True, slots=True)
class MadeAccessKey:
    """What the caller gets, this once. `session_token` is None of keys that are not temporary."""

    record: AccessKeyRecord
    secret: str = field(repr=False)
    session_token: str | None = field(repr=False)


class AccessKeyAdministration:
    """Every change to access keys. `most` is how many a principal has at a time, temporary ones not counted; `longest`
    how long one lives at most, and lives where nothing else is asked."""

    def __init__(self, keystore: Keystore, most: int, longest: timedelta) -> None:
        self._keystore = keystore
        self._most = most
        self._longest = longest

    def create(self, permit: Permit, name: str, body: NewAccessKey) -> MadeAccessKey:
        """An access key of the caller's own, or temporary credentials.

        Raises: `DutyForbids` for another's, and of callers whose credential is bounded itself; `Unprocessable`,
        `LimitExceeded`, `WrongState`.
        """
        caller = permit.principal
        if name != caller.name:
            msg = "nobody makes access keys for another; their holder makes them"
            raise DutyForbids(msg)
        label = body.label or ""
        if not label.isprintable():
            msg = "a label is printable text"
            raise Unprocessable(msg, field="label")
        moment = self._keystore.clock()
        if body.temporary:
            return self._temporary(caller, label, body, moment)
        if body.duration_seconds is not None:
            msg = "duration_seconds is for temporary credentials; an access key lives for `days`"
            raise Unprocessable(msg, field="duration_seconds")
        self._require_unbounded(caller)
        return self._made(caller, label, moment, moment + self._life(body))

    def page(self, permit: Permit, name: str, after: str | None, limit: int) -> list[AccessKeyRecord]:
        """Up to `limit` of a principal's by id, beyond the id `after`, ended ones too. Raises `DutyForbids`,
        `NotFound`."""
        require_own_or_administrator(permit.principal, name)
        require_present(self._keystore, name)
        return self._keystore.list_access_keys(name, after, limit)

    def stands(self, record: AccessKeyRecord, now: datetime) -> bool:
        """Whether what made an access key is in use still; not asked of one that is over anyway."""
        return record.expires_at <= now or maker_stands(record, self._keystore, now)

    def disable(self, permit: Permit, name: str, access_key_id: str) -> AccessKeyRecord:
        """Takes an access key out of use until it is enabled again. Raises as `enable`."""
        _require_own(permit.principal, name)
        return self._in_state(name, access_key_id, DISABLED)

    def enable(self, permit: Permit, name: str, access_key_id: str) -> AccessKeyRecord:
        """Puts it into use again. Raises `DutyForbids` for another's and by itself, `NotFound`, `WrongState`."""
        _require_own(permit.principal, name)
        return self._in_state(name, access_key_id, ENABLED)

    def revoke(self, permit: Permit, name: str, access_key_id: str) -> AccessKeyRecord:
        """Ends an access key at once and for good; one that has ended stays so. Raises `DutyForbids`, `NotFound`."""
        require_own_or_administrator(permit.principal, name)
        require_present(self._keystore, name)
        return self._in_state(name, access_key_id, REVOKED)

    def _temporary(self, caller: Principal, label: str, body: NewAccessKey, moment: datetime) -> MadeAccessKey:
        if body.days is not None:
            msg = "days are for access keys that stay; temporary credentials live for `duration_seconds`"
            raise Unprocessable(msg, field="days")
        if caller.kind is CredentialKind.ACCESS_KEY and self._is_temporary(caller):
            msg = "temporary credentials make no others: use what made them"
            raise DutyForbids(msg)
        made_with = maker_of(caller, self._keystore)
        if made_with is None:
            msg = "the credential of this call has ended"
            raise WrongState(msg)
        asked = USUAL_DURATION if body.duration_seconds is None else timedelta(seconds=body.duration_seconds)
        ends = moment + asked
        if caller.credential_expires_at is not None:
            ends = min(ends, caller.credential_expires_at)  # never beyond what made them
        facts = caller.proof if caller.kind is CredentialKind.SESSION else None
        return self._made(caller, label, moment, ends, made_with=made_with, facts=facts)

    def _made(
        self,
        caller: Principal,
        label: str,
        moment: datetime,
        ends: datetime,
        *,
        made_with: str | None = None,
        facts: str | None = None,
    ) -> MadeAccessKey:
        temporary = made_with is not None
        access_key_id, secret = new_access_key_id(temporary=temporary), new_secret_access_key()
        session_token = new_session_token() if temporary else None
        record = AccessKeyRecord(
            access_key_id,
            caller.name,
            self._keystore.sealed_secret(secret, access_key_id, caller.name),
            label,
            ENABLED,
            moment,
            caller.name,
            ends,
            None if session_token is None else stored_form(session_token).digest,
            made_with,
            facts,
        )
        self._keystore.create_access_key(record, most=MOST_TEMPORARY if temporary else self._most)
        return MadeAccessKey(record, secret, session_token)

    def _life(self, body: NewAccessKey) -> timedelta:
        if body.days is None:
            return self._longest
        asked = timedelta(days=body.days)
        if asked > self._longest:
            msg = f"an access key lives at most {self._longest.days} days here"
            raise Unprocessable(msg, field="days")
        return asked

    def _require_unbounded(self, caller: Principal) -> None:
        if caller.kind is CredentialKind.SESSION or (
            caller.kind is CredentialKind.ACCESS_KEY and self._is_temporary(caller)
        ):
            msg = "a session makes no access keys: they would outlive what it was given for; ask for temporary ones"
            raise DutyForbids(msg, field="temporary")

    def _is_temporary(self, caller: Principal) -> bool:
        found = self._keystore.find_access_key(caller.credential.partition(":")[2])
        return found is None or found.is_temporary

    def _in_state(self, name: str, access_key_id: str, state: str) -> AccessKeyRecord:
        try:
            return self._keystore.set_access_key_state(name, access_key_id, state)
        except NoSuchRow as absent:
            msg = f"{name} has no such access key"
            raise NotFound(msg, field="access_key") from absent
        except NotInState as ended:
            msg = "the access key is revoked"
            raise WrongState(msg) from ended


def _require_own(caller: Principal, name: str) -> None:
    """Asked before anybody is looked up. Raises `DutyForbids`."""
    if name != caller.name:
        msg = "another's access keys are for their holder to disable and enable; an administrator ends them"
        raise DutyForbids(msg)


def described_access_key(record: AccessKeyRecord, now: datetime, *, stands: bool = True) -> dict[str, object]:
    """An access key as JSON members, without anything secret. `stands`: what made it, where it is temporary, is in use
    still."""
    state = record.state if stands else REVOKED
    over = record.expires_at <= now and state != REVOKED
    return {
        "access_key_id": record.id,
        "principal": record.principal,
        "temporary": record.is_temporary,
        "label": record.label,
        "state": "expired" if over else state,
        "created_at": record.created_at,
        "created_by": record.created_by,
        "expires_at": record.expires_at,
    }
