"""Key policies as they are set: from what a caller sends to a document that may be stored.

A document is stored only if it is understood to its last element, names nobody whom its statement could never serve,
leaves somebody who can change it, and lets nobody both administer and use the key.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from keystore.access import Change
from keystore.api import KeyPolicy
from signer.access import Duty
from signer.access.documents import compiled_key_policy, parse_key_policy
from signer.access.duties import actions_of_duty
from signer.access.model import Effect
from signer.access.short_form import actions_of, document_of, named
from signer.decoding import decode
from signer.errors import Conflict, MalformedRequest, NotFound, Unprocessable
from signer.request import ShortPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystore.access import PolicyVersion
    from keystore.api import Key, PrincipalRecord
    from keystore.journal import Head
    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.access.model import Document, Statement
    from signer.administration.separation import Separation
    from signer.request import NewKeyBody, PolicyBody, Restoration


class PolicyAdministration:
    """What may become a key's policy."""

    def __init__(self, keystore: Keystore, separation: Separation) -> None:
        self._keystore = keystore
        self._separation = separation

    def first(self, permit: Permit, body: NewKeyBody, key_arn: str) -> KeyPolicy:
        """The policy of the key that is about to be made; its maker is an administrator of it unless a whole document
        says otherwise. Raises `Unprocessable`, `SeparationOfDuties`."""
        if body.policy is not None and (body.users is not None or body.administrators is not None):
            msg = "give either `policy`, or `users` and `administrators`"
            raise Unprocessable(msg, field="policy")
        if body.policy is not None and {"Version", "Statement"} & set(body.policy):
            bypass = body.bypass_policy_lockout_safety_check
            return KeyPolicy(self._checked_document(body.policy, key_arn, bypass=bypass))
        short = None if body.policy is None else _short(body.policy)
        maker = permit.principal.name
        asked = short.administrators if short else body.administrators or []
        users = short.users if short else body.users or []
        administrators = list(dict.fromkeys([maker, *asked]))
        self._require_short_form(administrators, users, maker)
        document = document_of(administrators, users, self._keystore.account)
        return KeyPolicy(self._checked_document(document, key_arn))

    def of_replica(self, document: dict[str, Any], key_arn: str, *, bypass: bool) -> KeyPolicy:
        """The policy of a replica that is about to be made, as another region says it. Raises as `first` does."""
        return KeyPolicy(self._checked_document(document, key_arn, bypass=bypass))

    def require_fit(self, policy: KeyPolicy, key_arn: str, *, bypass: bool = False) -> None:
        """Whether the policy of a key that is about to be stored may still be so. Raises as `first` does."""
        self._require_fit(compiled_key_policy(policy.document, self._keystore.account), key_arn, bypass=bypass)

    def replaced(self, permit: Permit, key: Key, body: PolicyBody) -> Key:
        """Replaces a key's policy. Raises `Unprocessable`, `SeparationOfDuties`, `Conflict`."""
        change = Change(permit.principal.name, self._keystore.clock(), body.reason)
        document = self._document_of(body)
        return self._stored(permit, key, document, change, body.revision, body.bypass_policy_lockout_safety_check)

    def check_replacement(self, _permit: Permit, key: Key, body: PolicyBody) -> None:
        """Raises `Unprocessable`, `SeparationOfDuties`: what `replaced` would refuse."""
        bypass = body.bypass_policy_lockout_safety_check
        self._checked_document(self._document_of(body), key.arn, key=key, bypass=bypass)

    def restored(self, permit: Permit, key: Key, number: int, body: Restoration) -> Key:
        """Makes an earlier version count again, as a new one, if it may be stored today. Raises as `replaced` does, and
        `NotFound`."""
        document = json.loads(self.version(key, number).document or "null")
        change = Change(permit.principal.name, self._keystore.clock(), body.reason or f"revision {number} restored")
        return self._stored(permit, key, document, change, body.revision, body.bypass_policy_lockout_safety_check)

    def version(self, key: Key, number: int) -> PolicyVersion:
        """A version of a key's policy. Raises `NotFound`."""
        found = self._keystore.find_policy_version(key.id, number)
        if found is None:
            msg = f"the key's policy has no revision {number}; the newest is {key.policy.revision}"
            raise NotFound(msg, field="revision")
        return found

    def _stored(
        self,
        permit: Permit,
        key: Key,
        document: dict[str, Any],
        change: Change,
        revision: int | None,
        bypass: bool,
    ) -> Key:
        """What one policy permitted replaces that one alone: who was taken out of it meanwhile writes nothing."""
        if revision is not None and revision != permit.policy_revision:
            msg = f"the policy is at revision {permit.policy_revision}, not {revision}"
            raise Conflict(msg, field="revision")

        def attempt(seen: Head) -> Key:
            text = self._checked_document(document, key.arn, key=key, bypass=bypass)
            return self._keystore.set_policy(key.id, text, change, revision=permit.policy_revision, seen=seen)

        return self._keystore.checked_change(attempt)

    def _document_of(self, body: PolicyBody) -> dict[str, Any]:
        short = body.administrators is not None or body.users is not None
        whole = body.statement is not None or body.version is not None or body.id is not None
        if short == whole:
            msg = "give a document (`Version`, `Statement`) or the short form (`administrators`, `users`)"
            raise Unprocessable(msg, field="Statement")
        if whole:
            members = {"Version": body.version, "Id": body.id, "Statement": body.statement}
            return {name: value for name, value in members.items() if value is not None}
        if body.administrators is None or body.users is None:
            msg = "`administrators` and `users` go together: each list is replaced, an empty one names nobody"
            raise Unprocessable(msg, field="users" if body.users is None else "administrators")
        self._require_short_form(body.administrators, body.users, None)
        return document_of(body.administrators, body.users, self._keystore.account)

    def _checked_document(
        self, document: dict[str, Any], key_arn: str, *, key: Key | None = None, bypass: bool = False
    ) -> str:
        policy = parse_key_policy(document, account=self._keystore.account)
        self._require_fit(policy, key_arn, key=key, bypass=bypass)
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))

    def _require_fit(self, policy: Document, key_arn: str, *, key: Key | None = None, bypass: bool = False) -> None:
        people = self._separation.people()
        for at, statement in enumerate(policy.statements):
            _require_people_whom_it_serves(statement, f"policy/Statement/{at}/Principal", people)
        self._separation.require_for_key_policy(key_arn, policy, people, key=key, field="policy")
        if not bypass:
            self._separation.require_keeper(key_arn, policy, people, field="policy")

    def _require_short_form(self, administrators: Iterable[str], users: Iterable[str], maker: str | None) -> None:
        if not list(administrators):
            msg = "a key needs at least one administrator, or nobody could ever change it"
            raise Unprocessable(msg, field="administrators")
        for name in administrators:
            if name != maker:
                self._require_duty(name, Duty.KEY_ADMINISTRATOR, "administrators")
        for name in users:
            self._require_duty(name, Duty.KEY_USER, "users")

    def _require_duty(self, name: str, duty: Duty, member: str) -> None:
        principal = self._keystore.find_principal(name)
        if principal is None or principal.state == "deleted" or principal.duty != duty:
            msg = f"{name} is not a principal with the duty {duty}"
            raise Unprocessable(msg, field=member)


def _short(policy: dict[str, Any]) -> ShortPolicy:
    try:
        return decode(msgspec.json.encode(policy), ShortPolicy)
    except MalformedRequest as error:
        raise MalformedRequest(error.message, field=f"policy.{error.field}" if error.field else "policy") from error


def _require_people_whom_it_serves(statement: Statement, pointer: str, people: list[PrincipalRecord]) -> None:
    """An Allow that names somebody who is not there, or whose duty never has any of its actions, is a mistake."""
    if statement.effect is not Effect.ALLOW or statement.principals is None:
        return
    duties = {person.name: Duty(person.duty) for person in people}
    for name in sorted(statement.principals.names):
        if name not in duties:
            msg = f"there is no principal {name}"
            raise Unprocessable(msg, field=pointer)
        if not actions_of(statement) & actions_of_duty(duties[name]):
            msg = f"{name} has the duty {duties[name]}, which never has any of this statement's actions"
            raise Unprocessable(msg, field=pointer)


def described(policy: KeyPolicy, account: str) -> dict[str, object]:
    """A policy as JSON members: the document, and whom it names for which part."""
    document: Document = compiled_key_policy(policy.document, account)
    administrators, users = named(document)
    return {
        "policy": json.loads(policy.document),
        "administrators": administrators,
        "users": users,
        "short_form": json.loads(policy.document) == document_of(administrators, users, account),
        "revision": policy.revision,
    }


def version_summary(version: PolicyVersion) -> dict[str, object]:
    """What there is to say of a version beside its document."""
    return {
        "revision": version.revision,
        "created_at": version.created_at,
        "created_by": version.created_by,
        "reason": version.reason,
    }


def described_version(version: PolicyVersion) -> dict[str, object]:
    """A version as JSON members."""
    return {**version_summary(version), "policy": json.loads(version.document or "null")}
