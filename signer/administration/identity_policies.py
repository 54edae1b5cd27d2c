"""Identity policies: documents that an administrator attaches to a principal, never to their own.

What a principal can do at all is its duty, which stands like a ready-made policy that nobody changes. An attached
policy allows within it, where a key's policy leaves that to the account, and denies anywhere.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from keystore.access import Change, IdentityPolicy
from keystore.errors import NotFound as NoSuchRow
from signer.access import Duty
from signer.access.documents import parse_identity_policy
from signer.access.duties import actions_of_duty
from signer.administration.separation import compiled
from signer.errors import NotFound, Unprocessable, WrongState

if TYPE_CHECKING:
    from keystore.api import PrincipalRecord
    from keystore.journal import Head
    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.administration.separation import Separation
    from signer.request import IdentityPolicyBody

LONGEST: Final = 6_144  # characters, as of AWS's managed policies (IAM User Guide, "IAM and AWS STS quotas")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
NO_SUCH_POLICY: Final = "there is no such policy of this principal"


class IdentityPolicyAdministration:
    """Every change to identity policies; each is called with the permit for it."""

    def __init__(self, keystore: Keystore, separation: Separation) -> None:
        self._keystore = keystore
        self._separation = separation

    def put(self, permit: Permit, principal: str, name: str, body: IdentityPolicyBody) -> IdentityPolicy:
        """Attaches a policy, or replaces the one of this name: in force with the principal's next request.

        Raises: `Unprocessable` with the JSON pointer, `NotFound`, `WrongState`, `SeparationOfDuties`; `LimitExceeded`
        of the keystore.
        """
        self._changeable(permit, principal)
        if not _NAME.fullmatch(name):
            msg = "a policy's name is 1 to 128 letters, digits, - and _, beginning with a letter or digit"
            raise Unprocessable(msg, field="policy")
        document = parse_identity_policy(body.policy)
        text = json.dumps(body.policy, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        if len(text) > LONGEST:
            msg = f"an identity policy has at most {LONGEST} characters, white space not counted; this has {len(text)}"
            raise Unprocessable(msg, field="policy")
        change = self._change(permit, body.reason)

        def attempt(seen: Head) -> IdentityPolicy:
            kept = [found for found in self.present(principal).policies if found[0] != name]
            self._separation.require_for_principal(principal, [*compiled(kept), (name, document)], "policy")
            return self._keystore.put_identity_policy(principal, name, text, change, seen=seen)

        return self._keystore.checked_change(attempt)

    def delete(self, permit: Permit, principal: str, name: str, reason: str) -> None:
        """Takes a policy away; one that denies may be what keeps duties apart, so that is checked too.

        Raises: `NotFound`, `WrongState`, `SeparationOfDuties`.
        """
        self._changeable(permit, principal)
        change = self._change(permit, reason)

        def attempt(seen: Head) -> None:
            kept = [found for found in self.present(principal).policies if found[0] != name]
            self._separation.require_for_principal(principal, compiled(kept), "policy")
            self._keystore.delete_identity_policy(principal, name, change, seen=seen)

        try:
            self._keystore.checked_change(attempt)
        except NoSuchRow as absent:
            raise NotFound(NO_SUCH_POLICY, field="policy") from absent

    def find(self, principal: str, name: str) -> IdentityPolicy:
        """One of a principal's policies. Raises `NotFound`."""
        for policy in self._keystore.list_identity_policies(self.present(principal).name):
            if policy.name == name:
                return policy
        raise NotFound(NO_SUCH_POLICY, field="policy")

    def present(self, principal: str) -> PrincipalRecord:
        """The principal. Raises `NotFound`."""
        found = self._keystore.find_principal(principal)
        if found is None or found.state == "deleted":
            msg = f"there is no principal {principal}"
            raise NotFound(msg, field="name")
        return found

    def _changeable(self, permit: Permit, principal: str) -> None:
        if principal == permit.principal.name:
            msg = "nobody changes their own policies; another administrator must"
            raise WrongState(msg)
        if self.present(principal).duty == Duty.ROOT:
            msg = f"{principal} is for breaking glass: it stands above policies, and none is attached to it"
            raise WrongState(msg)

    def _change(self, permit: Permit, reason: str) -> Change:
        return Change(permit.principal.name, self._keystore.clock(), reason)


def duty_policy(principal: PrincipalRecord) -> dict[str, object]:
    """The ready-made policy of a principal's duty, for reading: every action that it can ever have."""
    return {"name": principal.duty, "actions": sorted(actions_of_duty(Duty(principal.duty)))}


def summary(policy: IdentityPolicy) -> dict[str, object]:
    """What there is to say of a policy beside its document."""
    return {
        "name": policy.name,
        "revision": policy.revision,
        "changed_at": policy.changed_at,
        "changed_by": policy.changed_by,
        "reason": policy.reason,
    }


def described(policy: IdentityPolicy) -> dict[str, object]:
    """A policy as JSON members."""
    return {**summary(policy), "policy": json.loads(policy.document)}
