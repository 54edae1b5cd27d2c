"""Making keys and versions: the closed table first, then a key pair in the HSM, then its rows in one transaction."""

from __future__ import annotations

import uuid
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from keystore.access import Change
from keystore.algorithms import Origin, Protection, use_of
from keystore.aliases import take_alias
from keystore.api import (
    BackingKey,
    KeyState,
    Storage,
    UncertifiedVersion,
    VersionCause,
)
from keystore.certificates import insert_certificate, revoke_version
from keystore.db.schema import SEALED_TABLES
from keystore.errors import Conflict, KeystoreError, LimitExceeded, NotFound, Unsupported
from keystore.history import key_subject, record_version
from keystore.keys import KEY_ID_FORM, MULTI_REGION_FORM, domain_label, existing
from keystore.lifecycle import require_enabled
from keystore.new_keys import check_new_key
from keystore.regions import NOTHING_UNDER_WAY, require_primary
from keystore.rotation import due_schedule, next_rotation
from keystore.software import SoftwareKeys, rewrapped
from keystore.values import (
    multi_region_of,
    stored_multi_region,
    stored_names,
    stored_settings,
    stored_tags,
    stored_time,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from keystore.algorithms import KeyUse, Purpose
    from keystore.api import CertificateRecord, Certify, GeneratedKey, HardwareToken, Key, NewKey, RevocationReason
    from keystore.clock import Clock
    from keystore.db.engine import Value
    from keystore.journal import Head
    from keystore.sealing import SealedRow
    from keystore.store import SealedStore
    from keystore.transactions import SealedTransaction


SOFTWARE_NOTE: Final = "[protection: software]"


class KeyMaker:
    """Makes key pairs and their rows."""

    def __init__(
        self,
        token: HardwareToken,
        software: SoftwareKeys,
        store: SealedStore,
        clock: Clock,
        *,
        token_keys: int,
        software_specs: Sequence[str],
        region: str,
    ) -> None:
        self._region = region
        self._token = token
        self._software = software
        self._software_specs = software_specs
        self._store = store
        self._token_keys = token_keys
        self._clock = clock

    def create(
        self, new: NewKey, key_id: str, certify: Certify | None, check: Callable[[], None] | None = None
    ) -> None:
        """A new key with its first version and certificate. Raises: `Unsupported`, `Conflict`, or as `certify` and
        `check` do."""
        algorithm, protection = check_new_key(new, self._software_specs)
        self._check_names(new, key_id)
        wanted = replace(new, algorithm=algorithm, protection=protection)

        def store(version: _NewVersion | None, certificate: CertificateRecord | None) -> None:
            def attempt(head: Head) -> None:
                if check is not None:
                    check()
                self._store_key(wanted, key_id, version, certificate, head)

            self._store.checked_change(attempt)

        if new.origin is Origin.EXTERNAL:
            store(None, None)  # its material comes later
            return
        with self._version(new.spec, new.domain, key_id, use_of(new.purpose), protection) as version:
            if new.multi_region is not None and version.generated.wrapped is None:
                raise Unsupported(
                    f"the HSM cannot wrap a {new.spec} key, so no other region could have it: make it of another spec",
                    field="spec",
                )
            store(version, certify(version.uncertified(new.alias, new.purpose)) if certify else None)

    def _store_key(
        self,
        new: NewKey,
        key_id: str,
        version: _NewVersion | None,
        certificate: CertificateRecord | None,
        seen: Head,
    ) -> None:
        with self._store.transaction(seen=seen) as transaction:
            if version is not None:
                version.follow_domain(transaction)
                self._require_room(version, transaction)
            on_token = version is not None and version.generated.wrapped is None
            moment = self._clock()
            now = stored_time(moment)
            transaction.insert(
                "keys",
                key_id,
                {
                    "spec": new.spec,
                    "purpose": new.purpose.value,
                    "algorithm": new.algorithm,
                    "formats": stored_names(new.formats),
                    "settings": stored_settings(new.settings),
                    "domain": new.domain,
                    "storage": (Storage.TOKEN if on_token else Storage.WRAPPED).value,
                    "state": (KeyState.PENDING_IMPORT if version is None else KeyState.ENABLED).value,
                    "description": _description(new),
                    "published": int(new.published),
                    "version_count": 0 if version is None else 1,
                    "created_at": now,
                    "created_by": new.created_by,
                    "deletion_at": None,
                    "protection": (new.protection or Protection.HSM).value,
                    "origin": new.origin.value,
                    "tags": stored_tags(new.tags),
                    "rotation_days": None,
                    "rotation_at": None,
                    "multi_region": stored_multi_region(new.multi_region),
                },
            )
            if new.multi_region is not None:
                transaction.insert("replications", key_id, NOTHING_UNDER_WAY)
            transaction.insert("policies", key_id, {"document": new.policy.document})
            made = Change(new.created_by, moment, "the key was made")
            record_version(transaction, key_subject(key_id), 1, new.policy.document, made)
            if version is not None:
                version.insert(
                    transaction,
                    number=1,
                    activate_at=now,
                    created_by=new.created_by,
                    now=now,
                    cause=VersionCause.CREATED,
                )
            if new.alias is not None:
                take_alias(transaction, new.alias, key_id, moment)
            if certificate is not None:
                insert_certificate(transaction, certificate)

    def rotate(
        self,
        key: Key,
        activate_at: datetime,
        actor: str,
        certify: Certify | None,
        revoke: RevocationReason | None = None,
        cause: VersionCause = VersionCause.ON_DEMAND,
    ) -> None:
        """A further version of an enabled key, and the end of all older ones if they are to be revoked.

        Raises: `WrongState`; `Conflict` if somebody else was faster, also where `cause` is the key's own schedule and
        it is not due (any more).
        """
        require_enabled(key.state)
        require_primary(key, self._region)
        if key.origin is Origin.EXTERNAL:
            raise Unsupported("the material of this key is imported: import the next before it is rotated", field="key")
        if key.protection is Protection.SOFTWARE and key.spec not in self._software_specs:
            raise Unsupported(
                f"[keys] software_specs in sealmark.toml does not list {key.spec} any more: no new version is made",
                field="key",
            )
        with self._version(key.spec, key.domain, key.id, use_of(key.purpose), key.protection) as version:
            certificate = certify(version.uncertified(key.alias, key.purpose)) if certify else None
            self._store_version(key, activate_at, actor, version, certificate, revoke, cause)

    def _store_version(
        self,
        key: Key,
        activate_at: datetime,
        actor: str,
        version: _NewVersion,
        certificate: CertificateRecord | None,
        revoke: RevocationReason | None,
        cause: VersionCause,
    ) -> None:
        with self._store.transaction() as transaction:
            version.follow_domain(transaction)
            self._require_room(version, transaction)
            row = existing(transaction, "keys", key.id)
            require_enabled(KeyState(row.text("state")))
            if multi_region_of(row.optional_text("multi_region")) != key.multi_region:
                raise Conflict("the key's primary region is changing")
            if row.number("version_count") != len(key.versions):
                raise Conflict("the key was rotated by somebody else")
            number = len(key.versions) + 1
            moment = self._clock()
            schedule = _schedule_moved_on(row, moment) if cause is VersionCause.AUTOMATIC else {}
            transaction.update(row, {"version_count": number, **schedule})
            version.insert(
                transaction,
                number=number,
                activate_at=stored_time(activate_at),
                created_by=actor,
                now=stored_time(moment),
                cause=cause,
            )
            if certificate is not None:
                insert_certificate(transaction, certificate)
            if revoke is not None:
                for older in key.versions:
                    revoke_version(transaction, older.id, revoke, moment)

    def _require_room(self, version: _NewVersion, transaction: SealedTransaction) -> None:
        """A token has room for few objects: keys that must be kept on it have a limit of their own."""
        if version.generated.token_label is None:
            return
        versions = SEALED_TABLES["key_versions"].table
        kept = select(func.count()).select_from(versions).where(versions.c.token_label.is_not(None))
        if transaction.connection.execute(kept).scalar_one() >= self._token_keys:
            raise LimitExceeded(f"{self._token_keys} key versions are kept on the token: hsm.token_keys allows no more")

    def _check_names(self, new: NewKey, key_id: str) -> None:
        """Refuse before the HSM works for seconds; the transaction checks again."""
        if not KEY_ID_FORM.fullmatch(key_id) or key_id != key_id.lower():
            raise Unsupported("a key's id is a UUID, or mrk- and 32 hex digits, in small letters", field="id")
        if (MULTI_REGION_FORM.fullmatch(key_id) is None) != (new.multi_region is None):
            raise Unsupported("the ids of multi-region keys, and no others, begin with mrk-", field="id")
        if self._store.get("keys", key_id) is not None:
            raise Conflict("there is, or was, a key of this id")
        if new.alias is not None:
            taken = self._store.get("aliases", new.alias)
            if taken is not None and taken.optional_text("key_id") is not None:
                raise Conflict("the alias is taken")
        if new.settings is not None and not self._store.select("issuers", {"name": new.settings.issuer}):
            raise Unsupported("there is no such issuer", field="issuer")
        domain = self._store.get("domains", new.domain)
        if domain is None:
            raise Unsupported("there is no such domain", field="domain")
        if (domain.optional_text("home_region") is None) != (new.multi_region is None):
            raise Unsupported("a domain holds multi-region keys alone, or none", field="domain")

    @contextmanager
    def _version(
        self, spec: str, domain: str, key_id: str, use: KeyUse, protection: Protection
    ) -> Iterator[_NewVersion]:
        """A key or key pair just made; its token object, if it has one, is destroyed again if the block fails."""
        row = self._store.get("domains", domain)
        if row is None:
            raise NotFound("there is no such domain")
        version = row.number("current_version")
        version_id = str(uuid.uuid4())
        label = domain_label(domain, version)
        if protection is Protection.SOFTWARE:
            generated = self._software.generate(version_id, spec, label)
        else:
            generated = self._token.generate(spec, label, f"key/{version_id}", use)
        made = _NewVersion(self._token, version_id, key_id, spec, use, protection, domain, version, generated)
        try:
            yield made
        except BaseException:
            self._destroy_orphan(made)
            raise

    def _destroy_orphan(self, made: _NewVersion) -> None:
        """Leave no object on the token that no row names; where that cannot be known, the object stays."""
        if made.generated.token_label is None:
            return
        with suppress(KeystoreError):  # what made the block fail is the error to report
            if self._store.get("key_versions", made.version_id) is None:
                self._token.destroy(made.backing)


class _NewVersion:
    """A generated key pair that is not in the database yet."""

    def __init__(
        self,
        token: HardwareToken,
        version_id: str,
        key_id: str,
        spec: str,
        use: KeyUse,
        protection: Protection,
        domain: str,
        domain_version: int,
        generated: GeneratedKey,
    ) -> None:
        self._token = token
        self.version_id = version_id
        self._key_id = key_id
        self._spec = spec
        self._use = use
        self._domain = domain
        self._domain_version = domain_version
        self._protection = protection
        self.generated = generated

    @property
    def backing(self) -> BackingKey:
        """How the HSM finds the private key."""
        wrapped = self.generated.wrapped
        label = None if wrapped is None else domain_label(self._domain, self._domain_version)
        return BackingKey(
            self.version_id, self._spec, label, wrapped, self.generated.token_label, self._use, self._protection
        )

    def uncertified(self, alias: str | None, purpose: Purpose) -> UncertifiedVersion:
        """What a certificate is to say of this version."""
        return UncertifiedVersion(self._key_id, self.version_id, alias, purpose, self.generated.public_key)

    def follow_domain(self, transaction: SealedTransaction) -> None:
        """Wrap the key again if its domain's key was rotated since: the rotation has not seen this key."""
        current = existing(transaction, "domains", self._domain).number("current_version")
        if current != self._domain_version and self.generated.wrapped is not None:
            wrapped = rewrapped(self._token, self.backing, domain_label(self._domain, current))
            self.generated = replace(self.generated, wrapped=wrapped)
        self._domain_version = current

    def insert(
        self,
        transaction: SealedTransaction,
        *,
        number: int,
        activate_at: int,
        created_by: str,
        now: int,
        cause: VersionCause,
    ) -> None:
        """Write the version's row; times are microseconds since 1970."""
        wrapped = self.generated.wrapped
        transaction.insert(
            "key_versions",
            self.version_id,
            {
                "key_id": self._key_id,
                "number": number,
                "created_at": now,
                "created_by": created_by,
                "activate_at": activate_at,
                "public_key": self.generated.public_key,
                "domain_version": None if wrapped is None else self._domain_version,
                "wrapped": wrapped,
                "token_label": self.generated.token_label,
                "revoked_at": None,
                "revocation_reason": None,
                "cause": cause.value,
                "material_id": self.generated.material_id,
                "material_description": None,
                "expires_at": None,
            },
        )


def _schedule_moved_on(row: SealedRow, now: datetime) -> dict[str, Value]:
    """What changes in a key's row with the version that its schedule asked for. Raises `Conflict` if it asks for none
    now: then somebody else has made it, or the schedule was changed."""
    schedule = due_schedule(row, now)
    if schedule is None:
        raise Conflict("the key is not due to be rotated")
    return {"rotation_at": stored_time(next_rotation(schedule, now))}


def _description(new: NewKey) -> str:
    """What the key's maker says of it, and, of a key that is used in this process, where that is."""
    return f"{new.description} {SOFTWARE_NOTE}".strip() if new.protection is Protection.SOFTWARE else new.description
