"""Credentials in every state, and what it is to show them: for the test of what that costs, and for its clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from keystore.access import Change
from keystore.api import CredentialRecord, EnrolmentRecord, PrincipalRecord
from signer.authn.tokens import new_enrolment_code, new_token, stored_form

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.keystore import Keystore
    from tests.signer.service import ServiceInProcess

SERVED: Final = ("right",)
CASES: Final = ("unknown", "wrong", "expired", "revoked", "of who is disabled", "of who is deleted", "right")
CODES: Final = ("unknown", "wrong", "used", "expired", "of who is disabled", "of who is deleted")


@dataclass(frozen=True)
class Cast:
    """A service and one secret of each state."""

    service: ServiceInProcess
    tokens: dict[str, str]
    codes: dict[str, str]

    def show(self, token: str) -> int:
        return self.service.call(token, "GET", "/v1/whoami").status_code

    def spend(self, code: str) -> int:
        return self.service.call(None, "POST", "/v1/enrolments", {"code": code}).status_code

    def look_at(self, key: str) -> int:
        return self.service.call("role/other", "GET", f"/v1/keys/{key}").status_code


def cast_of(service: ServiceInProcess) -> Cast:
    """One principal for each state, as `init` and years of use leave them."""
    keystore = service.services.keystore
    moment = keystore.clock()
    _principal(keystore, "user/root", "root", "disabled", moment)
    tokens = {name: new_token() for name in CASES}
    codes = {name: new_enrolment_code() for name in CODES}
    for name in {*CASES, *CODES} - {"unknown"}:
        holder = f"user/{name.replace(' ', '-')}"
        _principal(keystore, holder, "key-user", "enabled", moment)
        end = moment - timedelta(seconds=1) if name == "expired" else moment + timedelta(days=30)
        if name in CASES:
            stored = stored_form(tokens[name])
            # A row that the look-up finds and whose other hash does not fit: nobody can make one, who has no HSM.
            digest = bytes(32) if name == "wrong" else stored.digest
            state = "revoked" if name == "revoked" else "enabled"
            keystore.create_credential(CredentialRecord(stored.id, holder, digest, state, moment, end))
        if name in CODES:
            stored = stored_form(codes[name])
            digest = bytes(32) if name == "wrong" else stored.digest
            state = "used" if name == "used" else "open"
            keystore.create_enrolment(EnrolmentRecord(stored.id, holder, digest, state, moment, end, "user/admin"))
    keystore.set_principal_state("user/of-who-is-disabled", "disabled")
    keystore.delete_principal("user/of-who-is-deleted", Change("user/admin", moment))
    return Cast(service, tokens, codes)


def _principal(keystore: Keystore, name: str, duty: str, state: str, moment: datetime) -> None:
    if keystore.find_principal(name) is None:
        keystore.create_principal(PrincipalRecord(name, duty, state, moment, "user/admin"))
