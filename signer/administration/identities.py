"""Principals: made, disabled and enabled, given another duty, ended. Nobody changes their own.

What keeps a change from being made is asked inside its transaction (`signer.administration.principal_rules`): of two
administrators who would end each other at the same time, one does.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from keystore.access import Change
from keystore.api import EnrolmentRecord, PrincipalRecord
from keystore.errors import Conflict as Taken
from signer.administration.principal_rules import (
    require_another_administrator,
    require_duty_change_allowed,
    require_no_break_glass,
)
from signer.authn.tokens import new_enrolment_code, stored_form
from signer.errors import Conflict, NotFound, Unprocessable, WrongState

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.request import NewPrincipal

ENROLMENT_LIFE: Final = timedelta(hours=24)


class IdentityAdministration:
    """Every change to identities."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore

    def create(self, permit: Permit, body: NewPrincipal) -> dict[str, object]:
        """A new principal and the code that enrols it, shown this once.

        Raises: `Conflict`, since a name is never used again; `Unprocessable` for a name that no path can hold.
        """
        if ".." in body.name or not body.name.isprintable():  # `$` of the body's pattern lets a last line feed pass
            msg = "a name must hold no `..` and no line feed: no such path is routed, so nobody could delete it again"
            raise Unprocessable(msg, field="name")
        moment = self._keystore.clock()
        code, enrolment = new_enrolment(body.name, permit, moment)
        principal = PrincipalRecord(body.name, body.duty, "enabled", moment, permit.principal.name)
        try:
            self._keystore.create_principal(principal, enrolment=enrolment)
        except Taken as taken:
            msg = f"there is or was a principal {body.name}; names are never used again, since policies name them"
            raise Conflict(msg, field="name") from taken
        return {"name": body.name, "duty": body.duty, "enrolment_code": code, "expires_at": enrolment.expires_at}

    def delete(self, permit: Permit, name: str) -> None:
        """Ends a principal and all its credentials. Nobody ends their own."""
        self._require_other(permit, name, "deletes")
        require_present(self._keystore, name)
        change = Change(permit.principal.name, self._keystore.clock())
        self._keystore.delete_principal(name, change, require=self._somebody_is_left)

    def disable(self, permit: Permit, name: str) -> PrincipalRecord:
        """Stops every credential of a principal at once, until it is enabled again. Nobody disables their own."""
        self._require_other(permit, name, "disables")
        require_present(self._keystore, name)
        return self._keystore.set_principal_state(name, "disabled", require=self._may_be_disabled)

    def enable(self, permit: Permit, name: str) -> PrincipalRecord:
        """Lets the credentials of a disabled principal work again, those that have not ended meanwhile."""
        self._require_other(permit, name, "enables")
        require_present(self._keystore, name)
        return self._keystore.set_principal_state(name, "enabled", require=_is_disabled)

    def set_duty(self, permit: Permit, name: str, duty: str) -> PrincipalRecord:
        """Gives a principal another duty, from its next call on. Nobody changes their own.

        Raises: `WrongState` while it would make an overlap, or leave nobody who administers identities.
        """
        self._require_other(permit, name, "changes the duty of")
        require_present(self._keystore, name)

        def require(principal: PrincipalRecord) -> None:
            require_duty_change_allowed(self._keystore, principal, duty)
            if principal.duty != duty:
                require_another_administrator(self._keystore, principal)

        return self._keystore.set_duty(name, duty, require=require)

    def list_present(self, after: str | None, limit: int) -> list[PrincipalRecord]:
        """Up to `limit` principals by name, beyond the name `after`; deleted ones left out."""
        found: list[PrincipalRecord] = []
        while len(found) < limit and (page := self._keystore.list_principals(after=after, limit=limit)):
            found += [principal for principal in page if principal.state != "deleted"]
            after = page[-1].name
        return found[:limit]

    def _require_other(self, permit: Permit, name: str, does: str) -> None:
        if name == permit.principal.name:
            msg = f"nobody {does} their own principal; another administrator must"
            raise WrongState(msg)
        require_no_break_glass(name)

    def _somebody_is_left(self, principal: PrincipalRecord) -> None:
        require_another_administrator(self._keystore, principal)

    def _may_be_disabled(self, principal: PrincipalRecord) -> None:
        if principal.state == "disabled":
            msg = f"{principal.name} is disabled already"
            raise WrongState(msg)
        self._somebody_is_left(principal)


def _is_disabled(principal: PrincipalRecord) -> None:
    if principal.state != "disabled":
        msg = f"{principal.name} is {principal.state} already"
        raise WrongState(msg)


def require_present(keystore: Keystore, name: str) -> PrincipalRecord:
    """The principal of this name. Raises `NotFound` for one that never was or is deleted."""
    principal = keystore.find_principal(name)
    if principal is None or principal.state == "deleted":
        msg = f"there is no principal {name}"
        raise NotFound(msg, field="name")
    return principal


def new_enrolment(name: str, permit: Permit, moment: datetime) -> tuple[str, EnrolmentRecord]:
    """A fresh code for a principal, and what is stored of it."""
    code = new_enrolment_code()
    stored = stored_form(code)
    expires_at = moment + ENROLMENT_LIFE
    return code, EnrolmentRecord(stored.id, name, stored.digest, "open", moment, expires_at, permit.principal.name)


def described(principal: PrincipalRecord, clock: Callable[[], datetime]) -> dict[str, object]:
    """A principal as JSON members."""
    over = principal.state == "enabled" and not principal.is_enabled(clock())
    return {
        "name": principal.name,
        "duty": principal.duty,
        "state": "disabled" if over else principal.state,
        "enabled_until": None if over else principal.enabled_until,
        "created_at": principal.created_at,
        "created_by": principal.created_by,
    }
