"""Grants: the use of a key that one principal is given beside the key's policy, and how it ends."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from keystore.access import Change, GrantRecord, GrantState
from keystore.api import KeyState
from keystore.errors import NotFound as NoSuchRow
from signer.access import Action, Duty
from signer.access.duties import DUTIES_OF
from signer.access.grants import grant_facts, grantable
from signer.access.short_form import arn_of
from signer.errors import Conflict, NotFound, Unprocessable, WrongState

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystore.api import Key, PrincipalRecord
    from keystore.journal import Head
    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.access.model import ConditionValues, GrantFacts
    from signer.administration.separation import Separation
    from signer.request import NewGrant

NO_SUCH_GRANT: Final = "there is no such active grant on this key"
_GRANTS_A_READ: Final = 200


class GrantAdministration:
    """Every change to grants; each is called with the permit for it."""

    def __init__(self, keystore: Keystore, separation: Separation) -> None:
        self._keystore = keystore
        self._separation = separation

    def create(self, permit: Permit, key: Key, body: NewGrant) -> GrantRecord:
        """A new grant, in force at once; or the active one of the same name that says the same.

        Raises: `Unprocessable`, `WrongState`, `SeparationOfDuties`; `LimitExceeded` of the keystore.
        """
        if key.state is KeyState.PENDING_DELETION:
            msg = "the key is pending deletion: nothing is granted on it any more"
            raise WrongState(msg)
        _require_operations(key, body)
        grant = self._wanted(permit, key, body)

        def attempt(seen: Head) -> GrantRecord:
            self._require_person(grant.grantee, "grantee", {Duty.KEY_USER})
            if grant.retiring is not None:
                self._require_person(grant.retiring, "retiring", DUTIES_OF[Action.RETIRE_GRANT] - {Duty.ROOT})
            present = self._keystore.get_key(key.id)
            if present.policy.revision != permit.policy_revision:
                msg = "the key's policy was changed meanwhile; try again"
                raise Conflict(msg)
            self._separation.require_for_grant(present, grant_facts(grant), "grantee")
            return self._keystore.create_grant(grant, seen=seen)

        return self._keystore.checked_change(attempt)

    def end(self, permit: Permit, key: Key, grant_id: str, state: GrantState) -> GrantRecord:
        """Retires or revokes a grant. Raises `NotFound` if there is no such active one on this key."""
        try:
            return self._keystore.end_grant(
                key.id, grant_id, state, Change(permit.principal.name, self._keystore.clock())
            )
        except NoSuchRow as absent:
            raise NotFound(NO_SUCH_GRANT, field="grant") from absent

    def retirable(self, key: Key, grant_id: str, caller: str) -> list[GrantFacts]:
        """The grant itself, where it is an active one on this key: it says who may retire it.

        The caller's other grants come along without their RetireGrant, which is about themselves: so a caller who may
        see the key is answered the same whether there is such a grant or not.
        """
        found = self._keystore.find_grant(grant_id)
        is_here = found is not None and found.key_id == key.id and found.state is GrantState.ACTIVE
        others = [grant for grant in self._keystore.grants_for(key.id, caller) if grant.id != grant_id]
        return [
            *([grant_facts(found)] if found is not None and is_here else []),
            *(replace(facts, operations=facts.operations - {"RetireGrant"}) for facts in map(grant_facts, others)),
        ]

    def retirable_by(
        self, retiring: str, after: str | None, limit: int, sees: Callable[[GrantRecord], bool]
    ) -> list[GrantRecord]:
        """Up to `limit` active grants that this principal is to retire and that the caller `sees`, by id, those beyond
        `after`."""
        found: list[GrantRecord] = []
        while grants := self._keystore.list_retirable_grants(retiring, after, _GRANTS_A_READ):
            found += [grant for grant in grants if sees(grant)]
            if len(found) >= limit:
                break
            after = grants[-1].id
        return found[:limit]

    def circumstances(self, body: NewGrant) -> ConditionValues:
        """What policies may ask of a grant that is to be made."""
        return grant_details(body, self._keystore.account)

    def check(self, _permit: Permit, key: Key, body: NewGrant) -> None:
        """Raises `Unprocessable`: what `create` would refuse, separation aside."""
        _require_operations(key, body)
        self._require_person(body.grantee, "grantee", {Duty.KEY_USER})
        if body.retiring is not None:
            self._require_person(body.retiring, "retiring", DUTIES_OF[Action.RETIRE_GRANT] - {Duty.ROOT})

    def _wanted(self, permit: Permit, key: Key, body: NewGrant) -> GrantRecord:
        constraints = body.constraints
        if constraints is not None and (constraints.context_equals is None) == (constraints.context_subset is None):
            msg = "constraints hold one of context_equals and context_subset"
            raise Unprocessable(msg, field="constraints")
        return GrantRecord(
            id=str(uuid.uuid4()),
            key_id=key.id,
            grantee=body.grantee,
            operations=tuple(sorted(set(body.operations))),
            created_at=self._keystore.clock(),
            created_by=permit.principal.name,
            context_equals=constraints.context_equals if constraints else None,
            context_subset=constraints.context_subset if constraints else None,
            retiring=body.retiring,
            name=body.name,
        )

    def _require_person(self, name: str, member: str, duties: frozenset[Duty] | set[Duty]) -> PrincipalRecord:
        """One message for who is not there and who has another duty: a key administrator is told of no identities."""
        found = self._keystore.find_principal(name)
        if found is None or found.state != "enabled" or found.duty not in duties:
            msg = f"{name} is not an enabled principal with the duty {' or '.join(sorted(duties))}"
            raise Unprocessable(msg, field=member)
        return found


def grant_details(body: NewGrant, account: str) -> ConditionValues:
    """What policies may ask of a grant that is to be made (AWS KMS Developer Guide, "AWS KMS condition keys")."""
    values: dict[str, tuple[str, ...]] = {
        "kms:granteeprincipal": (arn_of(body.grantee, account),),
        "kms:grantoperations": tuple(body.operations),
    }
    if body.retiring is not None:
        values["kms:retiringprincipal"] = (arn_of(body.retiring, account),)
    if body.constraints is not None:
        equals = body.constraints.context_equals is not None
        values["kms:grantconstrainttype"] = ("EncryptionContextEquals" if equals else "EncryptionContextSubset",)
    return values


def _require_operations(key: Key, body: NewGrant) -> None:
    allowed = grantable(key.purpose, key.spec)
    for at, operation in enumerate(body.operations):
        field = f"operations[{at}]"
        if operation == "CreateGrant":
            msg = (
                "a grant cannot carry CreateGrant: here that administers a key, and a grantee uses it; "
                "an administrator of the key makes each grant"
            )
            raise Unprocessable(msg, field=field)
        if operation not in allowed:
            msg = f"a grant on a {key.spec} key for {key.purpose} may carry {', '.join(sorted(allowed))}"
            raise Unprocessable(msg, field=field)
        if operation == "GetPublicKey" and body.constraints is not None:
            msg = "GetPublicKey has no context, so a grant with constraints would never allow it"
            raise Unprocessable(msg, field=field)


def recorded(grant: GrantRecord) -> dict[str, object]:
    """What the record of its change says of a grant."""
    shown = described(grant)
    names = ("grantee", "operations", "constraints", "name", "retiring", "state")
    return {"grant": grant.id, **{name: shown[name] for name in names if shown[name] is not None}}


def described(grant: GrantRecord) -> dict[str, object]:
    """A grant as JSON members."""
    contexts = {"context_equals": grant.context_equals, "context_subset": grant.context_subset}
    constraints = {name: context for name, context in contexts.items() if context is not None}
    return {
        "id": grant.id,
        "key_id": grant.key_id,
        "grantee": grant.grantee,
        "operations": list(grant.operations),
        "constraints": constraints or None,
        "name": grant.name,
        "retiring": grant.retiring,
        "state": grant.state.value,
        "created_at": grant.created_at,
        "created_by": grant.created_by,
        "ended_at": grant.ended_at,
        "ended_by": grant.ended_by,
    }
