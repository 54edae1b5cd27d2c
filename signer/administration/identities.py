"""Principals and how they come to a token: an administrator makes the identity, only its holder ever sees the token."""

from __future__ import annotations

import hmac
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from keystore.access import Change
from keystore.api import CredentialRecord, EnrolmentRecord, PrincipalRecord
from keystore.errors import Conflict as Taken
from keystore.errors import NotFound as NoSuchRow
from keystore.errors import WrongState as AlreadyUsed
from signer.authn.tokens import new_enrolment_code, new_token, stored_form
from signer.errors import Conflict, NotFound, Unauthenticated, Unprocessable, WrongState

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.request import NewPrincipal

ENROLMENT_LIFE: Final = timedelta(hours=24)
_NO_DIGEST: Final = bytes(32)
_REFUSAL: Final = "the enrolment code is not valid: unknown, used or expired"


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
        code = new_enrolment_code()
        stored = stored_form(code)
        principal = PrincipalRecord(body.name, body.duty, "enabled", moment, permit.principal.name)
        enrolment = EnrolmentRecord(stored.id, body.name, stored.digest, "open", moment, moment + ENROLMENT_LIFE)
        try:
            self._keystore.create_principal(principal, enrolment=enrolment)
        except Taken as taken:
            msg = f"there is or was a principal {body.name}; names are never used again, since policies name them"
            raise Conflict(msg, field="name") from taken
        return {"name": body.name, "duty": body.duty, "enrolment_code": code, "expires_at": enrolment.expires_at}

    def delete(self, permit: Permit, name: str) -> None:
        """Ends a principal and all its credentials. Nobody ends their own."""
        if name == permit.principal.name:
            msg = "nobody deletes their own principal; another administrator must"
            raise WrongState(msg)
        principal = self._keystore.find_principal(name)
        if principal is None or principal.state == "deleted":
            msg = f"there is no principal {name}"
            raise NotFound(msg, field="name")
        self._keystore.delete_principal(name, Change(permit.principal.name, self._keystore.clock()))

    def enrol(self, code: str, record: Callable[[str], None]) -> tuple[str, str]:
        """Uses a code up: (principal's name, its new token). `record` is told the name before that happens.

        Raises: `Unauthenticated`, and what `record` raises.
        """
        moment = self._keystore.clock()
        stored = stored_form(code)
        enrolment = self._keystore.find_enrolment(stored.id)
        matches = hmac.compare_digest(enrolment.code_hash if enrolment else _NO_DIGEST, stored.digest)
        principal = self._keystore.find_principal(enrolment.principal if enrolment else "user/nobody")
        if enrolment is None or principal is None or not matches:
            raise Unauthenticated(_REFUSAL, field="code")
        if enrolment.state != "open" or enrolment.expires_at <= moment or principal.state != "enabled":
            raise Unauthenticated(_REFUSAL, field="code")
        record(principal.name)
        token = new_token()
        kept = stored_form(token)
        credential = CredentialRecord(kept.id, principal.name, kept.digest, "enabled", moment, None)
        try:
            self._keystore.use_enrolment(enrolment.id, credential, moment)
        except (AlreadyUsed, NoSuchRow) as used:
            raise Unauthenticated(_REFUSAL, field="code") from used
        return principal.name, token

    def list_present(self, after: str | None, limit: int) -> list[PrincipalRecord]:
        """Up to `limit` principals by name, beyond the name `after`; deleted ones left out."""
        found: list[PrincipalRecord] = []
        while len(found) < limit and (page := self._keystore.list_principals(after=after, limit=limit)):
            found += [principal for principal in page if principal.state != "deleted"]
            after = page[-1].name
        return found[:limit]


def described(principal: PrincipalRecord) -> dict[str, object]:
    """A principal as JSON members."""
    return {
        "name": principal.name,
        "duty": principal.duty,
        "state": principal.state,
        "created_at": principal.created_at,
        "created_by": principal.created_by,
    }
