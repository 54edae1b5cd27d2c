"""The side that is told: a sealed statement of another region becomes a replica here, or what is new of one.

Who may say so is decided twice: the caller is a key administrator of this deployment, and what is said bears the seal
of an HSM that has the link key of the domain.
"""

from __future__ import annotations

from functools import partial
from hmac import compare_digest
from typing import TYPE_CHECKING

from keystore.algorithms import KEY_SPECS
from keystore.carried import FirstReplica
from keystore.errors import Conflict as Taken
from keystore.errors import NotFound as NoSuchRow
from keystore.errors import Overtaken, Unsupported
from keystore.errors import WrongState as WrongKeyState
from signer.errors import Conflict, NotFound, Unprocessable, WrongState
from signer.published import has_certificate
from signer.regions import statements

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystore.api import Certify, Key
    from keystore.carried import CarriedKey
    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.administration.policies import PolicyAdministration
    from signer.call import Call
    from signer.certification import Certification
    from signer.regions.settings import RegionSettings
    from signer.regions.statements import ReplicaStatement


class ReplicaReception:
    """Takes statements in; each call comes with its permit."""

    def __init__(
        self,
        keystore: Keystore,
        regions: Iterable[RegionSettings],
        policies: PolicyAdministration,
        certification: Certification,
    ) -> None:
        self._keystore = keystore
        self._regions = {region.name for region in regions}
        self._policies = policies
        self._certification = certification

    def take(self, permit: Permit, call: Call, statement: ReplicaStatement) -> Key:
        """What was said, done. Raises `Unprocessable`, `NotFound`, `Conflict`, `WrongState`, `SeparationOfDuties`."""
        self._require_sealed(statement)
        try:
            if statement.about == "gone":
                self._keystore.regions.forget(statement.key_id, statement.sender, statement.serial)
                return self._keystore.get_key(statement.key_id)
            if statement.key is None:
                msg = "a statement of this kind tells the key"
                raise Unprocessable(msg, field="key")
            if statement.key.spec not in KEY_SPECS:
                msg = f"there is no key spec {statement.key.spec!r} in {self._keystore.region}"
                raise Unprocessable(msg, field="spec")
            self._require_same_issuer(statement.key)
            carried = statements.carried(statement, statement.key)
            certify = partial(self._certification.certify, permit, call) if has_certificate(carried) else None
            if statement.about == "making":
                return self._made(permit, statement, carried, certify)
            return self._keystore.replicas.update(carried, statement.sender, statement.serial, certify)
        except Overtaken:
            raise
        except Taken as refused:
            raise Conflict(str(refused), field="key_id") from refused
        except NoSuchRow as absent:
            msg = f"the key is not in {self._keystore.region}"
            raise NotFound(msg, field="key_id") from absent
        except WrongKeyState as refused:
            raise WrongState(str(refused), field="key_id") from refused
        except Unsupported as refused:
            raise Unprocessable(str(refused), field=refused.field) from refused

    def _made(self, permit: Permit, statement: ReplicaStatement, carried: CarriedKey, certify: Certify | None) -> Key:
        beginning = statement.beginning
        if beginning is None or carried.multi_region.primary_region != statement.sender:
            msg = "a replica is made with what it begins with, by the region of its primary key"
            raise Unprocessable(msg, field="beginning")
        arn = self._keystore.arn_of(carried.id)
        bypass = beginning.bypass_policy_lockout_safety_check
        policy = self._policies.of_replica(beginning.policy, arn, bypass=bypass)
        first = FirstReplica(
            policy=policy,
            created_by=permit.principal.name,
            description=beginning.description,
            tags=beginning.tags,
            approvals=statements.approvals(beginning),
        )
        return self._keystore.replicas.make(
            carried,
            statement.serial,
            first,
            certify,
            lambda: self._policies.require_fit(policy, arn, bypass=bypass),
        )

    def _require_sealed(self, statement: ReplicaStatement) -> None:
        """By a region that is known here, to this one, of this account, by the HSM that it says."""
        if statement.account != self._keystore.account or statement.receiver != self._keystore.region:
            msg = f"this is {self._keystore.region} of account {self._keystore.account}"
            raise Unprocessable(msg, field="receiver")
        if statement.sender not in self._regions:
            msg = f"{statement.sender} is not among the [[regions]] of this deployment"
            raise Unprocessable(msg, field="sender")
        domains = {domain.name for domain in self._keystore.list_domains() if domain.home_region is not None}
        if statement.domain not in domains:
            msg = f"there is no domain {statement.domain!r} of multi-region keys here; a ceremony carries it"
            raise Unprocessable(msg, field="domain")
        seal = self._keystore.regions.sealed(statement.domain, statements.to_be_sealed(statement))
        if not compare_digest(seal, statement.seal):
            msg = "the seal is not that of the domain's link key over this statement"
            raise Unprocessable(msg, field="seal")

    def _require_same_issuer(self, key: statements.StatedKey) -> None:
        """Tokens of one key speak for one issuer, whatever region signs them."""
        said = key.settings
        if said is None:
            return
        try:
            issuer = self._keystore.get_issuer(said.issuer)
        except NoSuchRow as absent:
            msg = f"there is no issuer {said.issuer!r} in {self._keystore.region}; make it with POST /v1/issuers"
            raise Unprocessable(msg, field="key.settings.issuer") from absent
        if (issuer.url, issuer.entity_id) != (said.issuer_url, said.issuer_entity_id):
            msg = f"the issuer {said.issuer!r} has another url or entity id in {self._keystore.region}"
            raise Unprocessable(msg, field="key.settings.issuer")
