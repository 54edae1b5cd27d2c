"""The life of a key as its administrators see it: made, described, rotated, disabled, deleted."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from keystore.algorithms import SIGNING_ALGORITHMS, SIGNING_PURPOSES, Origin, Purpose, key_algorithms
from keystore.api import AssertionSettings, RevocationReason, TokenSettings
from keystore.errors import Conflict as Taken
from keystore.errors import NotFound as NoSuchRow
from keystore.errors import Overtaken
from keystore.keys import new_key_id
from keystore.lifecycle import state_at, version_state
from keystore.regions import arn_in, is_primary
from signer.administration.certificates import summary
from signer.administration.new_key import new_key
from signer.errors import Conflict, Unprocessable
from signer.formats import jwks
from signer.published import KEY_SET_MARGIN, KEY_SET_MAX_AGE, has_certificate
from signer.software_watch import report_made

if TYPE_CHECKING:
    from keystore.api import Key, KeyVersion
    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.administration.certificates import CertificateAdministration
    from signer.administration.policies import PolicyAdministration
    from signer.call import Call
    from signer.certification import Certification
    from signer.request import NewKeyBody, Rotation


class KeyAdministration:
    """Every change to a key; each is called with the permit for it."""

    def __init__(
        self,
        keystore: Keystore,
        policies: PolicyAdministration,
        certification: Certification,
        certificates: CertificateAdministration,
    ) -> None:
        self._keystore = keystore
        self._policies = policies
        self._certification = certification
        self._certificates = certificates

    def create(self, permit: Permit, call: Call, body: NewKeyBody) -> Key:
        """Makes a key and, where it has one, its certificate: both or nothing. Raises `Unprocessable`, `Conflict`."""
        key_id = new_key_id(multi_region=body.multi_region)
        arn = self._keystore.arn_of(key_id)
        policy = self._policies.first(permit, body, arn)
        wanted = new_key(body, permit.principal.name, policy)
        if wanted.settings is not None:
            self._require_issuer(wanted.settings.issuer)
        if wanted.domain not in {domain.name for domain in self._keystore.list_domains()}:
            msg = f"there is no domain {wanted.domain!r}; domains are made in a ceremony"
            raise Unprocessable(msg, field="domain")
        certify = partial(self._certification.certify, permit, call) if has_certificate(wanted) else None
        bypass = body.bypass_policy_lockout_safety_check

        def check() -> None:
            self._policies.require_fit(policy, arn, bypass=bypass)

        try:
            made = self._keystore.create_key(wanted, key_id=key_id, certify=certify, check=check)
        except Overtaken:
            raise
        except Taken as taken:
            msg = f"there is a key with the alias {wanted.alias} already"
            raise Conflict(msg, field="alias") from taken
        report_made(made)
        return made

    def rotate(self, permit: Permit, call: Call, key: Key, body: Rotation) -> Key:
        """A new version: published at once; signing at once too, or, where clients cache key sets, after they have
        renewed. With `revoke` all earlier versions end in the same moment. Raises `Unprocessable`."""
        if body.revoke is not None and not body.now:
            msg = "revoke goes with now: what is revoked signs no more, so its successor cannot wait"
            raise Unprocessable(msg, field="revoke")
        moment = self._keystore.clock()
        waits = key.purpose in (Purpose.JWT, Purpose.SAML) and not body.now
        activate_at = moment + timedelta(seconds=KEY_SET_MAX_AGE + KEY_SET_MARGIN) if waits else moment
        certify = partial(self._certification.certify, permit, call) if has_certificate(key) else None
        rotated = self._keystore.rotate(
            key.id,
            activate_at=activate_at,
            actor=permit.principal.name,
            certify=certify,
            revoke=None if body.revoke is None else RevocationReason(body.revoke),
        )
        report_made(rotated)
        if body.revoke is not None:
            self._certificates.publish_revocations(call)
        return rotated

    def rotate_on_demand(self, permit: Permit, key: Key) -> Key:
        """A new version of a key that nobody publishes, in use at once; of imported material the one that waits.

        Raises what the keystore does.
        """
        if key.origin is Origin.EXTERNAL:
            return self._keystore.rotate_to_imported(key.id, permit.principal.name)
        return self._keystore.rotate(key.id, activate_at=self._keystore.clock(), actor=permit.principal.name)

    def describe(self, key: Key) -> dict[str, object]:
        """The description of a key, as JSON members."""
        return describe(key, self._keystore)

    def _require_issuer(self, name: str) -> None:
        try:
            self._keystore.get_issuer(name)
        except NoSuchRow as absent:
            msg = f"there is no issuer {name!r}; make it with POST /v1/issuers"
            raise Unprocessable(msg, field="issuer") from absent


def describe(key: Key, keystore: Keystore) -> dict[str, object]:
    """All that its administrators and users may know of a key."""
    now = keystore.clock()
    token = keystore.token_info
    return {
        "id": key.id,
        "arn": key.arn,
        "alias": key.alias,
        "aliases": list(key.aliases),
        "tags": dict(key.tags),
        "spec": key.spec,
        "purpose": key.purpose.value,
        "algorithm": key.algorithm,
        "algorithms": list(key_algorithms(key.purpose, key.spec, key.algorithm, key.protection)),
        "required_digest": SIGNING_ALGORITHMS[key.algorithm].hash_name if key.purpose in SIGNING_PURPOSES else None,
        "formats": list(key.formats),
        **_settings(key),
        "domain": key.domain,
        "multi_region": described_regions(key, keystore),
        "protection": key.protection.value,
        "origin": key.origin.value,
        "storage": key.storage.value,
        "token": {"manufacturer": token.manufacturer, "model": token.model, "serial": token.serial},
        "state": state_at(key, now).value,
        "description": key.description,
        "published": key.published,
        "created_at": key.created_at,
        "created_by": key.created_by,
        "deletion_at": key.deletion_at,
        "rotation": key.rotation and {"days": key.rotation.period_days, "next_at": key.rotation.next_at},
        "policy_revision": key.policy.revision,
        "versions": [
            {
                "version": version.number,
                "state": version_state(key.versions, version.number, now).value,
                "created_at": version.created_at,
                "activate_at": version.activate_at,
                "kid": jwks.key_id(version.public_key),
                "revoked_at": version.revoked_at,
                "revocation_reason": version.revocation_reason and version.revocation_reason.value,
                "certificate": _certificate(version, keystore),
            }
            for version in key.versions
        ],
    }


def described_regions(key: Key, keystore: Keystore) -> dict[str, object] | None:
    """Where else a multi-region key is, and what is under way about it; null for a key of this region alone."""
    regions = key.multi_region
    if regions is None:
        return None
    under_way = keystore.regions.get(key.id)

    def one(region: str) -> dict[str, str]:
        return {"region": region, "arn": arn_in(key.arn, region)}

    return {
        "type": "primary" if is_primary(key, keystore.region) else "replica",
        "primary": one(regions.primary_region),
        "replicas": [one(region) for region in regions.replicas],
        "making": list(under_way.making),
        "moving_to": under_way.moving_to,
    }


def _certificate(version: KeyVersion, keystore: Keystore) -> dict[str, object] | None:
    record = keystore.find_certificate(version.id)
    return None if record is None else summary(record)


def _settings(key: Key) -> dict[str, object]:
    if isinstance(key.settings, TokenSettings):
        return {
            "issuer": key.settings.issuer,
            "audiences": list(key.settings.audiences),
            "max_ttl": key.settings.max_ttl,
            "types": list(key.settings.types),
        }
    if isinstance(key.settings, AssertionSettings):
        return {
            "issuer": key.settings.issuer,
            "audiences": list(key.settings.audiences),
            "recipients": list(key.settings.recipients),
        }
    return {}
