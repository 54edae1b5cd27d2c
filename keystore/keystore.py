"""The keystore as the signer uses it: the HSM and the sealed store meet here, keys are changed and opened here."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import ColumnElement, func, literal_column, select

from keystore.access_keys import AccessKeyRepository
from keystore.algorithms import SIGNING_ALGORITHMS, SIGNING_PURPOSES, Origin, Protection, key_algorithms
from keystore.aliases import AliasRepository, free_alias_of
from keystore.api import Key, KeyState, SigningKeyInfo, VersionCause, VersionState
from keystore.approvals import ApprovalRepository
from keystore.certificates import CertificateRepository
from keystore.clock import system_clock
from keystore.configuration import DEFAULT_CACHE_SIZE, DEFAULT_TOKEN_KEYS, load_keystore_configuration
from keystore.creation import KeyMaker
from keystore.db import open_database
from keystore.db.schema import KEYS
from keystore.errors import NotFound, Unsupported, WrongState
from keystore.grants import GrantRepository
from keystore.history import HistoryRepository
from keystore.hsm import open_token
from keystore.imports import MaterialImports
from keystore.keys import KeyRepository, existing, new_key_id, version_of
from keystore.lifecycle import (
    DEFAULT_WAIT,
    DISABLED_FROM,
    ENABLED_FROM,
    KEPT_FROM,
    SCHEDULED_FROM,
    check_transition,
    deletion_time,
    is_complete,
    require_state,
    require_usable,
    state_at,
    version_state,
)
from keystore.log_anchor import LogAnchor
from keystore.opened.opening import open_version
from keystore.people import PeopleRepository
from keystore.policies import IdentityPolicyRepository
from keystore.public_credentials import PublicCredentialRepository
from keystore.regions import Regions, is_primary
from keystore.replicas import Replicas
from keystore.repositories import (
    DocumentRepository,
    DomainRepository,
    IdempotencyRepository,
    IssuerRepository,
)
from keystore.rotation import RotationRepository
from keystore.secrets import Secrets
from keystore.signing import HsmSigningKey
from keystore.software import SoftwareKeys, inner_key
from keystore.software_signing import SoftwareSigningKey
from keystore.store import open_store
from keystore.tags import TagRepository
from keystore.trusted_issuers import TrustedIssuerRepository
from keystore.values import optional_stored_time, stored_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from keystore.api import (
        BackingKey,
        Certify,
        HardwareToken,
        Intent,
        KeyVersion,
        NewKey,
        OpenedKey,
        RevocationReason,
        SigningKey,
        TokenInfo,
    )
    from keystore.clock import Clock
    from keystore.db.engine import Database
    from keystore.journal import Head

T = TypeVar("T")


class Keystore(
    KeyRepository,
    PeopleRepository,
    IssuerRepository,
    DocumentRepository,
    CertificateRepository,
    DomainRepository,
    IdempotencyRepository,
    PublicCredentialRepository,
    GrantRepository,
    IdentityPolicyRepository,
    HistoryRepository,
    TrustedIssuerRepository,
    ApprovalRepository,
    AliasRepository,
    TagRepository,
    RotationRepository,
    AccessKeyRepository,
):
    """One process's keystore, safe to use from many threads. Close it to give the token and the database back.

    Every method raises `IntegrityFailure`, `StoreUnavailable` and `HsmUnavailable` besides its own.
    """

    def __init__(
        self,
        token: HardwareToken,
        database: Database,
        *,
        token_keys: int = DEFAULT_TOKEN_KEYS,
        cache_size: int = DEFAULT_CACHE_SIZE,
        software_specs: Sequence[str] = (),
        clock: Clock = system_clock,
    ) -> None:
        self.database = database
        self.clock = clock
        self.store = open_store(database, token.seal)
        KeyRepository.__init__(self, self.store)
        PeopleRepository.__init__(self, self.store)
        IssuerRepository.__init__(self, self.store)
        DocumentRepository.__init__(self, self.store)
        CertificateRepository.__init__(self, self.store)
        DomainRepository.__init__(self, self.store)
        IdempotencyRepository.__init__(self, self.store, clock)
        PublicCredentialRepository.__init__(self, self.store)
        GrantRepository.__init__(self, self.store)
        IdentityPolicyRepository.__init__(self, self.store)
        HistoryRepository.__init__(self, self.store)
        TrustedIssuerRepository.__init__(self, self.store)
        ApprovalRepository.__init__(self, self.store)
        AliasRepository.__init__(self, self.store)
        TagRepository.__init__(self, self.store)
        RotationRepository.__init__(self, self.store)
        self._token = token
        self._software = SoftwareKeys(token, cache_size)
        self.most_token_keys = token_keys
        self.software_specs = tuple(software_specs)  # of which new keys are used in this process; the operator's list
        self.imports = MaterialImports(token, self._software, self.store, clock, self.get_key)
        deployment = self.store.get("deployment", "deployment")
        if deployment is None:
            raise NotFound("deployment: the database was never initialised")
        self.account = deployment.text("account")  # 12 digits, for ARNs; never changes
        self.region = deployment.text("region")
        self._maker = KeyMaker(
            token,
            self._software,
            self.store,
            clock,
            token_keys=token_keys,
            software_specs=self.software_specs,
            region=self.region,
        )
        self.regions = Regions(token, self.store, self, self.region, clock)
        self.replicas = Replicas(token, self._software, self.store, self, self.region, clock, self.software_specs)
        self.secrets = Secrets(
            token, self.arn_of(""), self.get_key, lambda new, key_id: self.create_key(new, key_id=key_id), clock
        )
        AccessKeyRepository.__init__(self, self.store, self.secrets)
        self.log = LogAnchor(token, self.account, self.region, deployment.octets("log_public_key"))
        token.follow(self._as_wrapped_now)

    def _as_wrapped_now(self, backing: BackingKey) -> BackingKey | None:
        """What the database says now of a key version whose domain was rotated since it was read."""
        row = self.store.get("key_versions", backing.version_id)
        key = None if row is None else self.store.get("keys", row.text("key_id"))
        if row is None or key is None:
            return None
        now = version_of(row, key).backing
        if now.wrapped is None:
            return None
        # A software key's own part in the HSM bears its version's id too.
        return inner_key(now) if now.protection is Protection.SOFTWARE else now

    def checked_change(self, attempt: Callable[[Head], T]) -> T:
        """Check who may do what and write what depends on it, as one step: `SealedStore.checked_change`."""
        return self.store.checked_change(attempt)

    def arn_of(self, key_id: str) -> str:
        """The ARN of a key of this deployment, as AWS forms them."""
        return f"arn:aws:kms:{self.region}:{self.account}:key/{key_id}"

    @property
    def token_info(self) -> TokenInfo:
        """What the HSM says of itself."""
        return self._token.info

    def create_key(
        self,
        new: NewKey,
        *,
        key_id: str | None = None,
        certify: Certify | None = None,
        check: Callable[[], None] | None = None,
    ) -> Key:
        """Make a key pair in the HSM, and a key of it that is enabled and signs at once.

        RSA takes seconds; signing goes on meanwhile. `key_id` is an id of the caller's choice. Raises: `Unsupported`
        with the field at fault (not in the closed table, no such domain or issuer); `Conflict` if the alias or id is
        taken. `certify` issues the certificate, which is stored together with the key. `check` raises if nobody should
        have such a key; it is asked when the key pair is there, and holds for what is stored.
        """
        if new.multi_region is not None:
            new = self.regions.as_new(new)
        key_id = key_id or new_key_id(multi_region=new.multi_region is not None)
        self._maker.create(new, key_id, certify, check)
        return self.get_key(key_id)

    def rotate(
        self,
        key_id: str,
        *,
        activate_at: datetime,
        actor: str,
        certify: Certify | None = None,
        revoke: RevocationReason | None = None,
        cause: VersionCause = VersionCause.ON_DEMAND,
    ) -> Key:
        """Make a further version, which signs from `activate_at`; older ones stay verifiable.

        With `revoke`, every older version is revoked with its certificates, in the same transaction. With `cause`
        automatic it is made only if the key's schedule asks for it now, which moves on in the same transaction.
        Raises: `NotFound`; `WrongState` unless the key is enabled; `Conflict` if it is rotated elsewhere meanwhile, or
        not due.
        """
        key = self.get_key(key_id)
        self._maker.rotate(key, activate_at, actor, certify, revoke, cause)
        if key.multi_region is not None and cause is not VersionCause.AUTOMATIC:
            self.regions.on_new_version(key_id)
        return self.get_key(key_id)

    def rotate_to_imported(self, key_id: str, actor: str) -> Key:
        """Make the imported material that waits for it the current one: a rotation on demand.

        Raises: `NotFound`; `Unsupported` unless the key's material is imported; `WrongState` unless the key is enabled
        and such material waits; `Conflict` if the key is changed elsewhere meanwhile.
        """
        self.imports.rotate(key_id, actor)
        return self.get_key(key_id)

    def count_software_keys(self) -> int:
        """How many keys of `protection: software` there are, deleted ones left out. For the log: no seal is checked."""
        columns = KEYS.c
        software: ColumnElement[str] = literal_column(f"'{Protection.SOFTWARE.value}'")  # as the index has it
        kept = columns.protection == software, columns.state != KeyState.DELETED.value
        with self.database.read() as connection:
            return connection.execute(select(func.count()).select_from(KEYS).where(*kept)).scalar_one()

    def disable(self, key_id: str) -> Key:
        """Stop every use of an enabled key until it is enabled again. Raises: `NotFound`, `WrongState`."""
        return self._change(key_id, KeyState.DISABLED, DISABLED_FROM)

    def enable(self, key_id: str) -> Key:
        """Let a disabled key be used again. Raises: `NotFound`, `WrongState`."""
        return self._change(key_id, KeyState.ENABLED, ENABLED_FROM)

    def schedule_deletion(self, key_id: str, *, days: int = DEFAULT_WAIT) -> Key:
        """Stop every use of a key and delete its material after `days`, 7 to 30; of a primary key with replicas, so
        many days after the last of them is deleted.

        Raises: `NotFound`, `WrongState`, `Unsupported` for other numbers of days.
        """
        moment = deletion_time(self.clock(), days)
        if self.regions.hold_deletion(key_id, days):
            return self.get_key(key_id)
        return self._change(key_id, KeyState.PENDING_DELETION, SCHEDULED_FROM, moment)

    def cancel_deletion(self, key_id: str) -> Key:
        """Keep a key whose deletion was scheduled; it is disabled then, or waits for its imported material.

        Raises: `NotFound`, `WrongState`.
        """
        key = self.get_key(key_id)
        lacking = key.origin is Origin.EXTERNAL and not is_complete(key.versions, self.clock())
        return self._change(key_id, KeyState.PENDING_IMPORT if lacking else KeyState.DISABLED, KEPT_FROM)

    def _change(
        self, key_id: str, wanted: KeyState, present: frozenset[KeyState], deletion_at: datetime | None = None
    ) -> Key:
        with self.store.transaction() as transaction:
            row = existing(transaction, "keys", key_id)
            state = KeyState(row.text("state"))
            check_transition(state, wanted)
            require_state(state, present)
            transaction.update(row, {"state": wanted.value, "deletion_at": optional_stored_time(deletion_at)})
        return self.get_key(key_id)

    def delete_due(self, now: datetime) -> list[str]:
        """Destroy the material of every key whose waiting period is over, and return their ids. Public keys stay."""
        rows = self.store.select("keys", {"state": KeyState.PENDING_DELETION.value})
        due = [row.id for row in rows if (row.optional_number("deletion_at") or 0) <= stored_time(now)]
        return [key_id for key_id in due if self._delete(self.get_key(key_id), now)]

    def _delete(self, key: Key, now: datetime) -> bool:
        """Rows first, so that nothing asks for a material that is gone; a crash leaves a token object without a row."""
        with self.store.transaction() as transaction:
            row = existing(transaction, "keys", key.id)
            deletion_at = row.optional_number("deletion_at")
            if row.text("state") != KeyState.PENDING_DELETION.value or (deletion_at or 0) > stored_time(now):
                return False  # cancelled, or done by another process, since it was looked for
            check_transition(KeyState.PENDING_DELETION, KeyState.DELETED)
            transaction.update(row, {"state": KeyState.DELETED.value})
            for version in key.versions:
                gone = {"wrapped": None, "token_label": None, "domain_version": None}
                transaction.update(existing(transaction, "key_versions", version.id), gone)
            if key.multi_region is not None and not is_primary(key, self.region):
                transaction.update(existing(transaction, "replications", key.id), {"owes_notice": 1})
            for alias in key.aliases:
                free_alias_of(transaction, alias, key.id, now)
        for version in key.versions:
            self._destroy(version.backing)
        return True

    def _destroy(self, backing: BackingKey) -> None:
        """Nothing of it is left: on the token, or opened in this process."""
        if backing.protection is Protection.SOFTWARE:
            self._software.forget(backing)
        else:
            self._token.destroy(backing)

    def open_key(self, intent: Intent) -> OpenedKey:
        """Open a key of any purpose for one durable intent: what it is follows from the key.

        Raises: `NotFound`; `WrongState` unless the key is enabled, for a revoked version, and where it is to sign for
        one that is not the active one; `Unsupported` if the key does not have the intent's algorithm.
        """
        key, version, state = self._openable(intent)
        if key.purpose in SIGNING_PURPOSES:
            return self._signing_key(key, version, state, intent.algorithm)
        return open_version(self._token, self._software, key, version, state, intent.algorithm)

    def signing_key(self, intent: Intent) -> SigningKey:
        """Open a key for one durable intent.

        Raises: `NotFound`; `WrongState` unless the key is enabled and the intent's version is the active one;
        `Unsupported` if the key does not sign with the intent's algorithm.
        """
        key, version, state = self._openable(intent)
        return self._signing_key(key, version, state, intent.algorithm)

    def _openable(self, intent: Intent) -> tuple[Key, KeyVersion, VersionState]:
        key = self.get_key(intent.key_id)
        require_usable(state_at(key, self.clock()))
        version = next((version for version in key.versions if version.id == intent.version_id), None)
        if version is None:
            raise NotFound("the key has no such version")
        return key, version, version_state(key.versions, version.number, self.clock())

    def _signing_key(self, key: Key, version: KeyVersion, state: VersionState, algorithm: str) -> SigningKey:
        if state is not VersionState.ACTIVE:
            raise WrongState(f"version {version.number} of the key is {state.value}")
        allowed = key_algorithms(key.purpose, key.spec, key.algorithm, key.protection)
        if key.purpose not in SIGNING_PURPOSES or algorithm not in allowed:
            raise Unsupported(f"the key does not sign with {algorithm}", field="algorithm")
        info = SigningKeyInfo(key.id, version.id, version.number, key.spec, key.purpose, SIGNING_ALGORITHMS[algorithm])
        if key.protection is Protection.SOFTWARE:
            return SoftwareSigningKey(self._software, version.backing, info, version.public_key)
        return HsmSigningKey(self._token, version.backing, info, version.public_key)

    def random_octets(self, size: int) -> bytes:
        """Of the HSM's own random number generator."""
        return self._token.random(size)

    def ready(self) -> None:
        """Raises `HsmUnavailable`, `HsmFault` or `IntegrityFailure` unless the HSM has its keys and a head of the log
        now."""
        self._token.probe()
        self.log.kept_head()

    def require_deployment(self) -> None:
        """Raises `StoreUnavailable`, `IntegrityFailure` or `NotFound` unless the database has its first row now."""
        if self.store.get("deployment", "deployment") is None:
            raise NotFound("deployment: the database was never initialised")

    def close(self) -> None:
        """Log out of the token and close the database."""
        self._token.close()
        self.database.close()


def open_state(state: Path) -> Keystore:
    """What `keystore.open_keystore` does."""
    configuration = load_keystore_configuration(state)
    database = open_database(configuration.database.url, configuration.database.password_file)
    try:
        hsm = configuration.hsm
        token = open_token(hsm, cache_size=hsm.cache_size, sessions=hsm.sessions)
        try:
            return Keystore(
                token,
                database,
                token_keys=hsm.token_keys,
                cache_size=hsm.cache_size,
                software_specs=configuration.software_specs,
            )
        except BaseException:
            token.close()
            raise
    except BaseException:
        database.close()
        raise
