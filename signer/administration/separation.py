"""The separation of duties over what is stored: would a change let somebody administer and use one key?

Reads what there is and hands it to the pure check (`signer.access.separation`). A check holds for the moment at which
it is made: call it within `Keystore.checked_change`, so that what is written is what was checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keystore.api import KeyState
from signer.access import Duty
from signer.access.documents import compiled_identity_policy, compiled_key_policy
from signer.access.grants import grant_facts
from signer.access.model import Effect
from signer.access.separation import locked_out, overlaps
from signer.errors import SeparationOfDuties, Unprocessable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from keystore.api import Key, PrincipalRecord
    from keystore.keystore import Keystore
    from signer.access.model import Document, GrantFacts
    from signer.access.separation import Overlap

_PEOPLE_A_READ: Final = 500
_KEYS_A_READ: Final = 500
Policies = list[tuple[str, "Document"]]


class Separation:
    """Whom a change would let do both. Every method raises `SeparationOfDuties`, which says who and by what."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore

    def people(self) -> list[PrincipalRecord]:
        """Everybody who is not deleted, by name, with their policies."""
        found: list[PrincipalRecord] = []
        after: str | None = None
        while page := self._keystore.list_principals(after=after, limit=_PEOPLE_A_READ):
            found += [person for person in page if person.state != "deleted"]
            after = page[-1].name
        return found

    def require_for_key_policy(
        self, arn: str, policy: Document, people: Sequence[PrincipalRecord], *, key: Key | None, field: str
    ) -> None:
        """A policy for a key, which is None while it is being made: over everybody."""
        grants = [] if key is None else [grant_facts(grant) for grant in self._keystore.list_grants(key.id)]
        policies = {person.name: compiled(person.policies) for person in people if person.policies}
        found = overlaps(arn, self._keystore.account, policy, policies, grants, [person.name for person in people])
        _refuse(found, field)

    def require_keeper(self, arn: str, policy: Document, people: Sequence[PrincipalRecord], *, field: str) -> None:
        """That somebody could change a key's policy again. Raises `Unprocessable`."""
        keepers = [person for person in people if person.duty == Duty.KEY_ADMINISTRATOR.value]
        policies = {person.name: compiled(person.policies) for person in keepers}
        found = locked_out(arn, self._keystore.account, policy, policies, (), [keeper.name for keeper in keepers])
        if found is not None:
            msg = f"{found}, or say bypass_policy_lockout_safety_check"
            raise Unprocessable(msg, field=field)

    def require_for_grant(self, key: Key, grant: GrantFacts, field: str) -> None:
        """A further grant on a key: over its grantee."""
        grantee = self._keystore.find_principal(grant.grantee)
        policies = {grant.grantee: compiled(grantee.policies)} if grantee else {}
        present = [grant_facts(found) for found in self._keystore.grants_for(key.id, grant.grantee)]
        self._require(key, grant.grantee, policies, [*present, grant], field)

    def require_for_principal(self, name: str, policies: Policies, field: str) -> None:
        """The policies that a principal is to have: over every key."""
        grants: dict[str, list[GrantFacts]] = {}
        for grant in self._keystore.list_grants_of(name):
            grants.setdefault(grant.key_id, []).append(grant_facts(grant))
        for key in self._keys():
            granted = grants.get(key.id, [])
            if granted or _allows_something(self._policy_of(key), name):
                self._require(key, name, {name: policies}, granted, field)

    def _require(
        self, key: Key, name: str, policies: Mapping[str, Policies], grants: Sequence[GrantFacts], field: str
    ) -> None:
        """Of one principal alone. For whoever else the key's policy names nothing changes, and what keeps them apart (a
        Deny of their own) was not read."""
        found = overlaps(key.arn, self._keystore.account, self._policy_of(key), policies, grants, [name])
        _refuse([overlap for overlap in found if overlap.principal == name], field)

    def _keys(self) -> Iterator[Key]:
        after: str | None = None
        while page := self._keystore.list_keys(after=after, limit=_KEYS_A_READ):
            yield from (key for key in page if key.state is not KeyState.DELETED)
            after = page[-1].id

    def _policy_of(self, key: Key) -> Document:
        return compiled_key_policy(key.policy.document, self._keystore.account)


def _refuse(found: Sequence[Overlap], field: str) -> None:
    if found:
        raise SeparationOfDuties(str(found[0]), field=field)


def _allows_something(policy: Document, name: str) -> bool:
    """Whether a key's policy allows this principal anything, by name or by leaving it to the account. Most do not, and
    then nothing that is attached to the principal can."""
    return any(
        statement.effect is Effect.ALLOW
        and (
            statement.principals is None
            or statement.principals.everybody
            or bool(statement.principals.accounts)
            or name in statement.principals.names
        )
        for statement in policy.statements
    )


def compiled(policies: Sequence[tuple[str, str]]) -> Policies:
    """Stored identity policies, parsed."""
    return [(name, compiled_identity_policy(text)) for name, text in policies]
