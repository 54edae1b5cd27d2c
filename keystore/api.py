"""All that the signer sees of the keystore: value types and the few protocols between the two.

Values are frozen. Bytes are raw (no base64), public keys are DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7), times
are timezone-aware UTC with microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from keystore.algorithms import KeyUse, Origin, Protection, Purpose, SigningAlgorithm, UseAlgorithm

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

    from keystore.importable import Material


class KeyState(StrEnum):
    """The stored state of a key."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    PENDING_DELETION = "pending_deletion"
    PENDING_IMPORT = "pending_import"  # it has no material (yet, or any more)
    PENDING_REPLICA_DELETION = "pending_replica_deletion"  # to be deleted once its last replica is
    CREATING = "creating"  # a replica that is being made
    UPDATING = "updating"  # its primary region is changing
    DELETED = "deleted"  # the material is gone; the row stays, so that the id is never used again


class VersionState(StrEnum):
    """A version's state at one moment, derived from its times and the other versions; never stored."""

    PENDING = "pending"
    ACTIVE = "active"
    RETIRED = "retired"
    REVOKED = "revoked"  # for good: it neither signs nor counts any more


class RevocationReason(StrEnum):
    """Why a certificate or a version was revoked (RFC 5280 section 5.3.1). Those of CAs and of attribute certificates
    are left out, and so is `certificateHold`: nothing here is ever taken back."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "key_compromise"
    AFFILIATION_CHANGED = "affiliation_changed"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessation_of_operation"
    PRIVILEGE_WITHDRAWN = "privilege_withdrawn"


class CertificateOrigin(StrEnum):
    """Who issued a version's certificate."""

    BUILT_IN = "built-in"  # the service's own authority
    INSTALLED = "installed"  # an outside CA


class Storage(StrEnum):
    """Where the backing key is kept."""

    WRAPPED = "wrapped"  # in the database, wrapped by its domain key
    TOKEN = "token"  # in the HSM, because the module cannot wrap it


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """What the HSM says of itself."""

    manufacturer: str
    model: str
    serial: str
    label: str
    officer_locked: bool = False  # the security officer's PIN is locked: no ceremony can be held
    officer_failed: bool = False  # somebody has tried a wrong one


@dataclass(frozen=True, slots=True)
class BackingKey:
    """How to get at one version's private or secret key: the wrapped blob and the domain key's label, or a token
    object's label.

    `version_id` names the cache entry; `spec` is a name of `KEY_SPECS`; `use` is all that the HSM will let the key do.
    Exactly one of (`wrapped`, `domain_label`) and `token_label` is set.
    """

    version_id: str
    spec: str
    domain_label: str | None
    wrapped: bytes | None = field(repr=False)
    token_label: str | None
    use: KeyUse = KeyUse.SIGN
    protection: Protection = Protection.HSM  # SOFTWARE: `wrapped` is as `keystore.software` encodes it


@dataclass(frozen=True, slots=True)
class GeneratedKey:
    """A key or key pair just made in the HSM, and the two ways of keeping it. A secret key has no public half:
    `public_key` is empty; `material_id` (hex SHA-256) tells the material of an AES key."""

    public_key: bytes
    wrapped: bytes | None = field(repr=False)
    token_label: str | None
    material_id: str | None = None


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """A key's policy: a JSON document in the form of AWS KMS key policies, as text. What it means is the signer's."""

    document: str
    revision: int = 0


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """What a `jwt` key's tokens may say of their origin. `max_ttl` is seconds; the first audience and type are the
    defaults."""

    issuer: str  # an issuer's NAME
    audiences: tuple[str, ...]
    max_ttl: int
    types: tuple[str, ...] = ("JWT",)


@dataclass(frozen=True, slots=True)
class AssertionSettings:
    """What a `saml` key's assertions may say of their origin."""

    issuer: str  # an issuer's NAME; its entity id is the Issuer
    audiences: tuple[str, ...]
    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ApprovalRequirement:
    """Who must approve operations of one class: at least `needed` of `approvers` (`user/NAME`), within
    `window_seconds` of the request; `signed`: by a signed request each."""

    approvers: tuple[str, ...]
    needed: int
    window_seconds: int
    signed: bool = False


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """What a key requires, by class of operation (`sign`, `policy`, `rotation`, `deletion`). Empty: nothing.

    `revision` is the row's: 0 where there never was a rule.
    """

    requirements: Mapping[str, ApprovalRequirement]
    revision: int


NO_APPROVAL_RULE = ApprovalRule(MappingProxyType({}), 0)
NO_TAGS: Mapping[str, str] = MappingProxyType({})


class VersionCause(StrEnum):
    """Why a version was made."""

    CREATED = "created"
    AUTOMATIC = "automatic"  # by the key's own schedule
    ON_DEMAND = "on_demand"
    IMPORTED = "imported"


@dataclass(frozen=True, slots=True)
class RotationSchedule:
    """A key that is rotated by itself: every so many days, next at this time."""

    period_days: int
    next_at: datetime


@dataclass(frozen=True, slots=True)
class MultiRegion:
    """A key that has the same id and material in several regions. `replicas` are the regions of the others."""

    primary_region: str
    replicas: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One version of a key: its public half, when it begins to sign, and how to reach its private half.

    A secret key has no public half: `public_key` is empty. `material_id` is hex SHA-256 (AWS's KeyMaterialId), of
    secret keys alone; `expires_at` is when imported material goes.
    """

    id: str
    key_id: str
    number: int
    created_at: datetime
    activate_at: datetime
    public_key: bytes
    backing: BackingKey
    revoked_at: datetime | None = None
    revocation_reason: RevocationReason | None = None
    material_id: str | None = None
    expires_at: datetime | None = None
    cause: VersionCause = VersionCause.CREATED
    material_description: str | None = None

    @property
    def has_material(self) -> bool:
        """Whether its private or secret half is here: imported material may be missing, and a deleted key's is."""
        return self.backing.wrapped is not None or self.backing.token_label is not None


@dataclass(frozen=True, slots=True)
class Key:
    """A customer key (or one of the service's own), its policy and all its versions, oldest first."""

    id: str
    arn: str
    alias: str | None
    spec: str
    purpose: Purpose
    algorithm: str  # the default; for every purpose but general the only one
    formats: tuple[str, ...]  # of an artifact key
    settings: TokenSettings | AssertionSettings | None
    domain: str
    storage: Storage
    state: KeyState
    description: str
    published: bool
    created_at: datetime
    created_by: str
    deletion_at: datetime | None
    policy: KeyPolicy
    versions: tuple[KeyVersion, ...]
    approval_rule: ApprovalRule = NO_APPROVAL_RULE
    protection: Protection = Protection.HSM
    origin: Origin = Origin.AWS_KMS
    aliases: tuple[str, ...] = ()  # every one, by name; `alias`: its oldest that has no `/`
    tags: Mapping[str, str] = field(default_factory=lambda: NO_TAGS)
    rotation: RotationSchedule | None = None
    multi_region: MultiRegion | None = None


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a new key is to be; checked against the closed table by `create_key`. None takes the purpose's default."""

    spec: str
    purpose: Purpose
    created_by: str
    policy: KeyPolicy
    alias: str | None = None
    algorithm: str | None = None
    formats: tuple[str, ...] = ()
    settings: TokenSettings | AssertionSettings | None = None
    domain: str = "default"
    description: str = ""
    published: bool = False
    protection: Protection | None = None  # None: software where the configuration lists the spec, the HSM otherwise
    origin: Origin = Origin.AWS_KMS
    tags: Mapping[str, str] = field(default_factory=lambda: NO_TAGS)
    multi_region: MultiRegion | None = None


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who tokens and assertions speak for. What is None is not said of it."""

    id: str
    name: str
    url: str
    entity_id: str
    created_at: datetime
    jwks_uri: str | None = None  # where its key set is fetched, if not below `url`
    authorization_endpoint: str | None = None  # of the authorization server that gives its tokens out
    token_endpoint: str | None = None
    sign_on_url: str | None = None  # where its service providers send browsers


@dataclass(frozen=True, slots=True)
class SignedDocument:
    """A document as it was signed, to be published as it is. `content_hash` names what it was made of."""

    id: str
    content_hash: bytes
    document: bytes = field(repr=False)
    made_at: datetime
    valid_until: datetime
    revision: int = 0  # of the row; 0: not stored yet


@dataclass(frozen=True, slots=True)
class PrincipalRecord:
    """An identity. `duty` is one of the duties of `signer.access`; `state` is enabled, disabled or deleted.

    `enabled_until`: from then on it is disabled, whatever `state` says (the break-glass principal).
    """

    name: str
    duty: str
    state: str
    created_at: datetime
    created_by: str
    policies: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # (name, document) of its identity policies
    enabled_until: datetime | None = None

    def is_enabled(self, now: datetime) -> bool:
        """Whether its credentials work at `now`."""
        return self.state == "enabled" and (self.enabled_until is None or now < self.enabled_until)


@dataclass(frozen=True, slots=True)
class CredentialRecord:
    """A bearer token's stored form. `id` finds it, `token_hash` (SHA-256, 32 bytes) is compared in constant time.

    `kind` is token (an API token) or session (what a workload's identity was exchanged for); `facts` (canonical JSON)
    says what was proved of a session's holder.
    """

    id: str
    principal: str
    token_hash: bytes = field(repr=False)
    state: str
    created_at: datetime
    expires_at: datetime | None
    kind: str = "token"
    label: str = ""
    created_by: str = ""
    facts: str | None = None


@dataclass(frozen=True, slots=True)
class AccessKeyRecord:
    """An access key in the manner of AWS. `id` is public (AKIA… or, of temporary credentials, ASIA…); `secret` is
    sealed in the hierarchy, and only `AccessKeyRepository.secret_of` opens it.

    Temporary credentials have `session_token_hash` (SHA-256, 32 octets) and `made_with` (`signer.authn.makers`): they
    end with the credential that made them; `facts` (canonical JSON) are those of a session that did. `state` is
    enabled, disabled or revoked. `revision` is that of the row.
    """

    id: str
    principal: str
    secret: bytes = field(repr=False)
    label: str
    state: str
    created_at: datetime
    created_by: str
    expires_at: datetime
    session_token_hash: bytes | None = field(default=None, repr=False)
    made_with: str | None = None
    facts: str | None = None
    revision: int = 1

    @property
    def is_temporary(self) -> bool:
        """Whether it goes with a session token."""
        return self.session_token_hash is not None


@dataclass(frozen=True, slots=True)
class EnrolmentRecord:
    """A one-time enrolment code's stored form; found by `id`, compared by `code_hash`. `created_by` made the code."""

    id: str
    principal: str
    code_hash: bytes = field(repr=False)
    state: str  # open, used
    created_at: datetime
    expires_at: datetime
    created_by: str = ""


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """The chain of one key version, DER, leaf first and root last."""

    id: str
    key_id: str
    version_id: str
    serial: str  # hex
    chain: tuple[bytes, ...]
    not_before: datetime
    not_after: datetime
    origin: CertificateOrigin = CertificateOrigin.BUILT_IN
    revoked_at: datetime | None = None
    revocation_reason: RevocationReason | None = None


@dataclass(frozen=True, slots=True)
class UncertifiedVersion:
    """A key version that is made but not stored yet: what its certificate is to say."""

    key_id: str
    version_id: str
    alias: str | None
    purpose: Purpose
    public_key: bytes


# Issues the certificate of a version that is about to be stored; both are stored together, or neither.
Certify = Callable[[UncertifiedVersion], CertificateRecord]


@dataclass(frozen=True, slots=True)
class DomainRecord:
    """A domain and its current version's number. `home_region`: of one for multi-region keys, where its keys are made;
    None: it holds keys of this region alone."""

    name: str
    version: int
    created_at: datetime
    home_region: str | None = None


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """What stands under an `Idempotency-Key`. `response` is empty until there is one."""

    id: str
    principal: str
    request_hash: bytes
    response: bytes = field(repr=False)
    created_at: datetime


class ApprovalState(StrEnum):
    """The stored state of an approval request. That one has expired follows from the time."""

    OPEN = "open"
    RELEASED = "released"  # used, once and for good
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class ApprovalBinding:
    """What a held operation hangs on besides the rule; None: it does not hang on that.

    `key_version` is the number of the version that would sign, `version_count` how many versions there are.
    """

    key_version: int | None = None
    version_count: int | None = None
    policy_revision: int | None = None


@dataclass(frozen=True, slots=True)
class ApprovalRequestRecord:
    """A held operation. `body` is its body in canonical JSON; `shown_sha256` covers all that approvers are shown.

    `requirements` is what the rule asked for at `rule_revision`: every one of them has to be met.
    """

    id: str
    key_id: str
    operation: str
    requester: str
    body: bytes = field(repr=False)
    shown_sha256: bytes
    binding: ApprovalBinding
    rule_revision: int
    requirements: tuple[ApprovalRequirement, ...]
    reason: str
    created_at: datetime
    expires_at: datetime
    state: ApprovalState = ApprovalState.OPEN
    closed_at: datetime | None = None
    closed_by: str | None = None

    @property
    def approvers(self) -> tuple[str, ...]:
        """Everybody whose vote may count, by name. The requester's own never does."""
        named = {name for requirement in self.requirements for name in requirement.approvers}
        return tuple(sorted(named - {self.requester}))


@dataclass(frozen=True, slots=True)
class ApprovalVoteRecord:
    """One approver's word on one request; a later one takes its place. `vote` is approve or reject.

    `credential`, `credential_kind` and `proof` say how the approver proved itself, as the audit trail does.
    """

    request_id: str
    approver: str
    vote: str
    reason: str
    shown_sha256: bytes
    voted_at: datetime
    credential: str
    credential_kind: str
    proof: str | None


@dataclass(frozen=True, slots=True)
class ApprovalFacts:
    """A request with all that decides about it, as one transaction sees it. `able` are the approvers that are enabled
    principals now; `policy_revision`, `version_count` and `rule_revision` are the key's now."""

    request: ApprovalRequestRecord
    votes: tuple[ApprovalVoteRecord, ...]
    able: frozenset[str]
    rule_revision: int
    policy_revision: int
    version_count: int


@dataclass(frozen=True, slots=True)
class SigningKeyInfo:
    """What a signing key is, for the formats that write it down."""

    key_id: str
    version_id: str
    version: int
    spec: str
    purpose: Purpose
    algorithm: SigningAlgorithm


class Intent(Protocol):
    """The durable record that a signature is about to be made: the only thing that opens a key for use."""

    @property
    def intent_id(self) -> str: ...
    @property
    def key_id(self) -> str: ...
    @property
    def version_id(self) -> str: ...
    @property
    def algorithm(self) -> str: ...


class SigningKey(Protocol):
    """A private key, opened for one intent.

    `sign` hashes (where the algorithm hashes) and signs; `sign_digest` takes the digest itself, of the algorithm's own
    hash and length, and is refused where the message itself is signed (EdDSA, ML-DSA); `sign_mu` takes the message
    representative of ML-DSA (FIPS 204 section 6.2), 64 octets, and is refused for every other algorithm. `sign_digests`
    is `sign_digest` of each, which costs less: it gives each signature as it comes, and raises in its place.

    They return RSA octets (RFC 8017), DER `ECDSA-Sig-Value` (RFC 3279 section 2.2.3), 64 octets of Ed25519 (RFC 8032)
    or an ML-DSA signature (FIPS 204), already verified with the published public key.

    Raises: `HsmFault` if what the HSM returned does not verify, `HsmUnavailable`, `Unsupported`.
    """

    @property
    def info(self) -> SigningKeyInfo: ...
    @property
    def public_key(self) -> PublicKeyTypes: ...
    def sign(self, message: bytes) -> bytes: ...
    def sign_digest(self, digest: bytes) -> bytes: ...
    def sign_digests(self, digests: Sequence[bytes]) -> Iterator[bytes]: ...
    def sign_mu(self, mu: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class OpenedKeyInfo:
    """Which key and version was opened, and for which algorithm."""

    key_id: str
    version_id: str
    version: int
    spec: str
    purpose: Purpose
    algorithm: UseAlgorithm


class EncryptionKey(Protocol):
    """A key of purpose `encrypt` (or `secrets`), opened for one intent.

    `context` is the canonical encoding of the encryption context; RSA has none. A symmetric ciphertext names key and
    version in its header; an RSA ciphertext is bare (RFC 8017 section 7.1). `encrypt` raises `WrongState` unless the
    version is the active one; `decrypt` raises `Undecipherable`, the same for everything that is wrong.
    """

    @property
    def info(self) -> OpenedKeyInfo: ...
    def encrypt(self, plaintext: bytes, context: bytes = b"") -> bytes: ...
    def decrypt(self, ciphertext: bytes, context: bytes = b"") -> bytes: ...


class DataKeySource(EncryptionKey, Protocol):
    """A symmetric key of purpose `encrypt`, opened for one intent: what it encrypts may be made for the caller."""

    def data_key(self, size: int, context: bytes) -> tuple[bytes, bytes]:
        """`size` random octets of the HSM's, in the clear and encrypted by this key."""
        ...

    def data_key_pair(self, spec: str, context: bytes) -> tuple[DataKeyPair, bytes]:
        """A key pair of the HSM's random, and its private half encrypted by this key."""
        ...


@dataclass(frozen=True, slots=True)
class DataKeyPair:
    """A key pair for a caller's own use: DER SubjectPublicKeyInfo, and PKCS#8 (RFC 5208) in the clear."""

    public_key: bytes
    private_key: bytes = field(repr=False)


class MacKey(Protocol):
    """A key of purpose `mac`, opened for one intent. HMAC (RFC 2104), never truncated.

    `mac` raises `WrongState` unless the version is the active one; `verify` raises `InvalidMac`.
    """

    @property
    def info(self) -> OpenedKeyInfo: ...
    def mac(self, message: bytes) -> bytes: ...
    def verify(self, message: bytes, mac: bytes) -> None: ...


class AgreementKey(Protocol):
    """A key of purpose `agree`, opened for one intent. `peer` is DER SubjectPublicKeyInfo of the same curve; the secret
    is the x coordinate (SP 800-56A section 5.7.1.2)."""

    @property
    def info(self) -> OpenedKeyInfo: ...
    def shared_secret(self, peer: bytes) -> bytes: ...


class EncapsulationKey(Protocol):
    """A key of purpose `encapsulate`, opened for one intent (FIPS 203)."""

    @property
    def info(self) -> OpenedKeyInfo: ...
    def encapsulate(self) -> tuple[bytes, bytes]:
        """(shared secret, ciphertext)."""
        ...

    def decapsulate(self, ciphertext: bytes) -> bytes: ...


OpenedKey = SigningKey | EncryptionKey | MacKey | AgreementKey | EncapsulationKey


class HardwareToken(Protocol):
    """What the keystore asks of `keystore.hsm`: one logged-in token of this process, safe to call from many threads.

    `label` arguments name a domain key's token object. `sign` takes what the mechanism takes: the digest (the message
    for PureEdDSA), and returns raw octets: RSA, r and s concatenated for ECDSA, 64 octets for Ed25519.
    `sign_each` appends the same of each input to `made`, whose rest is missing where it raises.

    `encrypt` is AES-256-GCM (SP 800-38D) and returns nonce (12 octets of the HSM's own random), ciphertext and tag (16
    octets); `decrypt` takes the same and raises `Undecipherable` for all that the tag does not cover. `decrypt_raw` is
    RSA's private operation without any padding. `mac` is a whole HMAC. `agree` is ECDH with an uncompressed point on
    the key's curve: the x coordinate. `make_data_key_pair` makes what leaves the HSM in the clear. `material_id` tells
    an AES key's material from others' (hex SHA-256) and is worked out from it.

    `bring_in` wraps material from outside by a domain key; the caller wipes it afterwards.

    `follow` tells it how to find what the database says now of a key whose domain key was retired since it was read.
    Texts are short and stay on the token; a process that is killed while it changes one may leave it missing.
    `texts_locked` keeps other threads and processes from changing any.
    Raises: `HsmUnavailable`; `Unsupported` where the module lacks the mechanism.
    """

    @property
    def info(self) -> TokenInfo: ...
    def follow(self, newer: Callable[[BackingKey], BackingKey | None]) -> None: ...
    def seal(self, message: bytes) -> bytes: ...
    def generate(self, spec: str, domain_label: str, token_label: str, use: KeyUse = KeyUse.SIGN) -> GeneratedKey: ...
    def sign(self, backing: BackingKey, algorithm: SigningAlgorithm, data: bytes) -> bytes: ...
    def sign_each(
        self, backing: BackingKey, algorithm: SigningAlgorithm, inputs: Sequence[bytes], made: list[bytes]
    ) -> None: ...
    def encrypt(self, backing: BackingKey, plaintext: bytes, associated: bytes) -> bytes: ...
    def decrypt(self, backing: BackingKey, sealed: bytes, associated: bytes) -> bytes: ...
    def mac(self, backing: BackingKey, algorithm: UseAlgorithm, message: bytes) -> bytes: ...
    def decrypt_raw(self, backing: BackingKey, ciphertext: bytes) -> bytes: ...
    def agree(self, backing: BackingKey, point: bytes) -> bytes: ...
    def make_data_key_pair(self, spec: str) -> DataKeyPair: ...
    def material_id(self, backing: BackingKey) -> str: ...
    def bring_in(self, material: Material, domain_label: str, use: KeyUse) -> GeneratedKey: ...
    def rewrap(self, backing: BackingKey, to_domain_label: str) -> bytes: ...
    def opens(self, backing: BackingKey) -> bool: ...
    def link_seal(self, domain: str, message: bytes) -> bytes: ...
    def destroy(self, backing: BackingKey) -> None: ...
    def read_text(self, name: str) -> str | None: ...
    def write_text(self, name: str, text: str) -> None: ...
    def texts_locked(self) -> AbstractContextManager[None]: ...
    def random(self, size: int) -> bytes: ...
    def probe(self) -> None: ...
    def close(self) -> None: ...


class CredentialMatch(StrEnum):
    """How a public credential is recognised in what a caller sends."""

    PUBLIC_KEY = "public-key"  # a client certificate by the SHA-256 of its SubjectPublicKeyInfo
    CERTIFICATE = "certificate"  # one client certificate by the SHA-256 of its DER
    URI = "uri"  # a client certificate by one URI of its subjectAltName
    DNS = "dns"  # a client certificate by one DNS name of its subjectAltName
    REQUEST_KEY = (
        "request-key"  # a signed request by the key's id; the value is the SHA-256 of its SubjectPublicKeyInfo
    )


@dataclass(frozen=True, slots=True)
class PublicCredentialRecord:
    """What proves a principal with a private key that is the caller's own. Nothing in it is secret.

    `value` is lower-case hex of a SHA-256, or the name; `public_key` (DER SubjectPublicKeyInfo) is None where a name is
    matched; `algorithm` is a request key's only one (RFC 9421 section 6.2.2). `state` is enabled or revoked.
    """

    id: str
    principal: str
    match: CredentialMatch
    value: str
    public_key: bytes | None
    algorithm: str | None
    label: str
    state: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
