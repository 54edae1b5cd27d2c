"""The side that tells: replicas are made, kept up to date, and given the primary key, by statements to other regions.

Every step is noted before the other region is told, and ended after it has answered (`keystore.regions`). Where nobody
knows what became of one, `settle` finds out: it runs with the service's upkeep, in every worker, and may run twice at
once, for a region takes no statement after a later one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from keystore.api import KeyState
from keystore.errors import Conflict as Taken
from keystore.errors import KeystoreError
from keystore.regions import is_primary, swapped
from signer.access.short_form import document_of
from signer.audit.identifiers import new_request_id
from signer.authn.principal import SERVICE
from signer.call import Call
from signer.errors import Conflict, SealmarkError, Unprocessable
from signer.problems import code_of
from signer.regions import client, statements
from signer.regions.client import RefusedThere, Unreachable
from signer.request import ShortPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from keystore.api import Issuer, Key, MultiRegion
    from keystore.carried import Replication
    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.audit import AuditTrail
    from signer.regions.client import Taken as Answered
    from signer.regions.settings import RegionSettings
    from signer.regions.statements import About, ReplicaStatement, StatedBeginning
    from signer.request import NewReplica

    Send = Callable[[RegionSettings, ReplicaStatement], Answered]

SYNCHRONIZE: Final = "SynchronizeMultiRegionKey"
# Refusals after which it is certain that nothing was changed there. Not `conflict`: a later statement may have been
# taken, and then this one was, too.
_UNCHANGED: Final = frozenset({"not_found", "wrong_state", "unprocessable", "unsupported", "malformed_request"})
_log = structlog.get_logger("sealmark.regions")


class RegionAdministration:
    """Tells other regions of this deployment's multi-region keys."""

    def __init__(
        self,
        keystore: Keystore,
        audit: AuditTrail,
        regions: Iterable[RegionSettings],
        send: Send = client.send,
    ) -> None:
        self._keystore = keystore
        self._audit = audit
        self._settings = {region.name: region for region in regions}
        self._send = send

    def replicate(self, permit: Permit, key: Key, body: NewReplica) -> Answered:
        """Makes a replica in another region. Called again after it was cut short, it goes on.

        Returns how it is there. Raises: `Unprocessable`, `Conflict`, `WrongState`, `RefusedThere`; `Unreachable` where
        nobody knows yet.
        """
        region = self._region(body.region)
        beginning = self._beginning(permit, key, body)
        begun_before = body.region in self._keystore.regions.get(key.id).making
        try:
            self._keystore.regions.begin(key.id, region.name)
        except Taken as there:
            raise Conflict(str(there), field="region") from there
        try:
            self._tell(key, region, self._regions_with(key, region.name), "making", beginning)
        except RefusedThere:
            if not begun_before:
                self._keystore.regions.forget(key.id, region.name)
            raise
        self._keystore.regions.made(key.id, region.name)
        try:
            return self._confirm(self._keystore.get_key(key.id), region)
        except Unreachable as fault:
            _log.warning("region_unreachable", region=region.name, reason=str(fault))
            return client.Taken(key.id, region.name, KeyState.CREATING.value)  # it is there, and told the rest later

    def move(self, key: Key, name: str) -> Key:
        """Gives the primary key to another region. Raises as `replicate` does."""
        region = self._region(name)
        try:
            self._keystore.regions.begin_move(key.id, name)
        except Taken as nowhere:
            raise Conflict(str(nowhere), field="region") from nowhere
        self._finish_move(key, region)
        return self._keystore.get_key(key.id)

    def spread(self, key_id: str) -> None:
        """Tells every replica what is new of a key, if anything is. Whom it does not reach, `settle` tells later."""
        try:
            key = self._keystore.get_key(key_id)
            if is_primary(key, self._keystore.region):
                self._tell_replicas(key, self._keystore.regions.get(key.id), set())
        except (KeystoreError, SealmarkError) as fault:
            _log.warning("replicas_postponed", key_id=key_id, code=code_of(fault))

    def settle(self) -> None:
        """Everything that is under way about any key, one step further. A region that does not answer is left alone
        until the next time."""
        silent: set[str] = set()
        for under_way in self._keystore.regions.every():
            try:
                self._settle(self._keystore.get_key(under_way.key_id), under_way, silent)
            except (KeystoreError, SealmarkError) as fault:
                _log.warning("replication_postponed", key_id=under_way.key_id, code=code_of(fault), reason=str(fault))

    def _settle(self, key: Key, under_way: Replication, silent: set[str]) -> None:
        if key.state is KeyState.DELETED:
            if under_way.owes_notice:
                self._give_notice(key, silent)
            return
        if not is_primary(key, self._keystore.region):
            return
        if under_way.moving_to is not None:
            self._watched(under_way.moving_to, silent, lambda region: self._finish_move(key, region))
            return
        for name in under_way.making:
            self._watched(name, silent, lambda region: self._settle_making(key, region))
        self._tell_replicas(self._keystore.get_key(key.id), under_way, silent)

    def _tell_replicas(self, key: Key, under_way: Replication, silent: set[str]) -> None:
        if key.multi_region is None or not key.multi_region.replicas:
            return
        digest = statements.digest_of(self._stated(key, key.multi_region))
        for name in key.multi_region.replicas:
            if under_way.sent.get(name, (0, ""))[1] != digest:
                self._watched(name, silent, lambda region: self._confirm(key, region))

    def _settle_making(self, key: Key, region: RegionSettings) -> None:
        """It was made there and nobody heard of it, or it was not: then it is not being made any more."""
        try:
            self._tell(key, region, self._regions_with(key, region.name), "state")
        except RefusedThere as refusal:
            if not _is_not_there(refusal):
                raise
            self._keystore.regions.forget(key.id, region.name)
            self._note(key, region, "not made")
        else:
            self._keystore.regions.made(key.id, region.name)
            self._note(key, region, "made")

    def _confirm(self, key: Key, region: RegionSettings) -> Answered:
        """Tells a replica how the key is. One that is gone is not told of any more."""
        regions = self._regions_with(key, region.name)
        try:
            return self._tell(key, region, regions, "state")
        except RefusedThere as refusal:
            if _is_not_there(refusal):
                self._keystore.regions.forget(key.id, region.name)
                self._note(key, region, "gone")
            raise

    def _finish_move(self, key: Key, region: RegionSettings) -> None:
        try:
            self._tell(key, region, swapped(self._regions_of(key), region.name), "state")
        except RefusedThere as refusal:
            if refusal.code in _UNCHANGED:
                self._keystore.regions.stay(key.id)
                self._note(key, region, "primary key refused")
            raise
        self._keystore.regions.moved(key.id)
        self._note(key, region, "primary key given")

    def _give_notice(self, key: Key, silent: set[str]) -> None:

        def tell(region: RegionSettings) -> None:
            try:
                self._send(region, self._sealed("gone", key, region, None, None))
            except RefusedThere as refusal:
                _log.warning("notice_refused", key_id=key.id, region=region.name, code=refusal.code)
            self._keystore.regions.noticed(key.id)
            self._note(key, region, "deletion told")

        self._watched(self._regions_of(key).primary_region, silent, tell)

    def _tell(
        self,
        key: Key,
        region: RegionSettings,
        regions: MultiRegion,
        about: About,
        beginning: StatedBeginning | None = None,
    ) -> Answered:
        said = self._stated(key, regions)
        statement = self._sealed(about, key, region, said, beginning)
        answer = self._send(region, statement)
        if about == "state":  # a replica that is made has still to be told that it is
            self._keystore.regions.told(key.id, region.name, statement.serial, statements.digest_of(said))
        return answer

    def _sealed(
        self,
        about: About,
        key: Key,
        region: RegionSettings,
        said: statements.StatedKey | None,
        beginning: StatedBeginning | None,
    ) -> ReplicaStatement:
        statement = statements.ReplicaStatement(
            about=about,
            account=self._keystore.account,
            sender=self._keystore.region,
            receiver=region.name,
            serial=self._keystore.regions.next_serial(key.id),
            key_id=key.id,
            domain=key.domain,
            key=said,
            beginning=beginning,
        )
        statement.seal = self._keystore.regions.sealed(key.domain, statements.to_be_sealed(statement))
        return statement

    def _stated(self, key: Key, regions: MultiRegion) -> statements.StatedKey:
        carried = replace(self._keystore.regions.carried(key), multi_region=regions)
        return statements.stated(carried, self._issuer(key))

    def _issuer(self, key: Key) -> Issuer | None:
        return None if key.settings is None else self._keystore.get_issuer(key.settings.issuer)

    def _beginning(self, permit: Permit, key: Key, body: NewReplica) -> StatedBeginning:
        return statements.StatedBeginning(
            asked_by=permit.principal.name,
            policy=self._policy(permit.principal.name, body),
            description=body.description,
            tags=body.tags,
            approvals=statements.stated_approvals(key.approval_rule.requirements),
            bypass_policy_lockout_safety_check=body.bypass_policy_lockout_safety_check,
        )

    def policy_of(self, permit: Permit, body: NewReplica) -> dict[str, object]:
        """The policy that a replica begins with, as the other region is told."""
        return self._policy(permit.principal.name, body)

    def require_known(self, name: str) -> None:
        """Raises `Unprocessable` unless it is one of the other regions."""
        self._region(name)

    def _policy(self, caller: str, body: NewReplica) -> dict[str, object]:
        """A whole document as it is; or the short form, of which the caller is an administrator, as of a new key's.
        Whether it fits the people there is for the other region to say."""
        if body.policy is not None and (body.users is not None or body.administrators is not None):
            msg = "give either `policy`, or `users` and `administrators`"
            raise Unprocessable(msg, field="policy")
        if body.policy is not None and {"Version", "Statement"} & set(body.policy):
            return body.policy
        short = ShortPolicy(administrators=body.administrators or [], users=body.users or [])
        if body.policy is not None:
            short = statements.short_policy(body.policy)
        return document_of([caller, *short.administrators], short.users, self._keystore.account)

    def _region(self, name: str) -> RegionSettings:
        region = self._settings.get(name)
        if region is None or name == self._keystore.region:
            known = ", ".join(sorted(self._settings)) or "none"
            msg = f"{name} is not among the other regions of this deployment ([[regions]] in sealmark.toml: {known})"
            raise Unprocessable(msg, field="region")
        return region

    def _watched(self, name: str, silent: set[str], step: Callable[[RegionSettings], object]) -> None:
        """A step with one region; what it cannot do now keeps no other step from being taken."""
        region = self._settings.get(name)
        if region is None or name in silent:
            return
        try:
            step(region)
        except Unreachable as fault:
            silent.add(region.name)
            _log.warning("region_unreachable", region=region.name, reason=str(fault))
        except RefusedThere as refusal:
            _log.error("region_refuses", alarm=True, region=region.name, code=refusal.code, reason=str(refusal))

    def _regions_of(self, key: Key) -> MultiRegion:
        if key.multi_region is None:
            msg = "the key is not a multi-region key: that is decided when a key is made"
            raise Unprocessable(msg, field="key")
        return key.multi_region

    def _regions_with(self, key: Key, name: str) -> MultiRegion:
        regions = self._regions_of(key)
        return replace(regions, replicas=tuple(sorted({*regions.replicas, name})))

    def _note(self, key: Key, region: RegionSettings, what: str) -> None:
        """For the record: what the service itself found out or did."""
        detail = {"region": region.name, "what": what}
        self._audit.note(SERVICE, SYNCHRONIZE, _own_call(), key=key.id, detail=detail)


def _is_not_there(refusal: RefusedThere) -> bool:
    """The key is not in that region: not just something else that it does not know."""
    return (refusal.code, refusal.field) == client.NOT_THERE


def _own_call() -> Call:
    return Call(new_request_id(), None, "regions", None, None, b"")
