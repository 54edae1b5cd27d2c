"""Every table of the service, as SQLAlchemy Core sees it; `migrations/` is how a database gets there.

Times are integers, microseconds since 1970-01-01 UTC. JSON is canonical text (sorted members, no spaces). Truth values
are 0 and 1. A sealed table has `id`, `revision` (1, 2, ...) and `seal` (HMAC-SHA-256, made in the HSM) besides its own
columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.sql.schema import SchemaItem

METADATA: Final = MetaData()

# SQLite numbers rows by itself only for a column of type INTEGER.
_SERIAL: Final = BigInteger().with_variant(Integer, "sqlite")


@dataclass(frozen=True, slots=True)
class SealedTable:
    """A sealed table: its own columns (without id, revision and seal) in the order that the seal covers them."""

    name: str
    table: Table
    columns: tuple[str, ...]
    journaled: bool


def _text(name: str, *items: SchemaItem, nullable: bool = False) -> Column[str]:
    return Column(name, Text, *items, nullable=nullable)


def _number(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _octets(name: str, *, nullable: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=nullable)


_SEALED: dict[str, SealedTable] = {}


def _sealed(name: str, *items: SchemaItem, identity: tuple[SchemaItem, ...] = (), journaled: bool = True) -> Table:
    columns = tuple(str(item.name) for item in items if isinstance(item, Column))
    table = Table(
        name, METADATA, Column("id", Text, *identity, primary_key=True), _number("revision"), _octets("seal"), *items
    )
    _SEALED[name] = SealedTable(name, table, columns, journaled)
    return table


DEPLOYMENT: Final = _sealed(
    "deployment",
    _text("account"),
    _text("region"),
    _text("seal_key_id"),
    _octets("log_public_key"),
    _number("created_at"),
)
DOMAINS: Final = _sealed(
    "domains",
    _number("current_version"),
    _number("created_at"),
    _text("home_region", nullable=True),  # of multi-region keys: where its keys are made; null: keys of this region
)
WRAPPED_ROOTS: Final = _sealed(
    "wrapped_roots",
    _text("kind"),
    _text("domain", nullable=True),
    _number("version", nullable=True),
    _text("token_label"),
    _octets("wrapped", nullable=True),
    _text("state"),
)
KEYS: Final = _sealed(
    "keys",
    _text("spec"),
    _text("purpose"),
    _text("algorithm"),
    _text("formats"),
    _text("settings", nullable=True),
    _text("domain", ForeignKey("domains.id")),
    _text("storage"),
    _text("state"),
    _text("description"),
    _number("published"),
    _number("version_count"),  # sealed with the key, so that a version taken away is missed
    _number("created_at"),
    _text("created_by"),
    _number("deletion_at", nullable=True),
    _text("protection"),  # hsm, software
    _text("origin"),  # AWS_KMS, EXTERNAL
    _text("tags"),  # canonical JSON: name to value
    _number("rotation_days", nullable=True),  # rotated by itself every so many days
    _number("rotation_at", nullable=True),
    _text("multi_region", nullable=True),  # canonical JSON: primary and replica regions
    Index("keys_by_purpose", "purpose"),
    Index("keys_by_state", "state"),
    Index("keys_by_rotation", "rotation_at"),
)
# They are counted whenever a worker starts.
Index(
    "keys_in_software",
    KEYS.c.state,
    sqlite_where=KEYS.c.protection == literal_column("'software'"),
    postgresql_where=KEYS.c.protection == literal_column("'software'"),
)
KEY_VERSIONS: Final = _sealed(
    "key_versions",
    _text("key_id", ForeignKey("keys.id")),
    _number("number"),
    _number("created_at"),
    _text("created_by"),
    _number("activate_at"),
    _octets("public_key"),
    _number("domain_version", nullable=True),
    _octets("wrapped", nullable=True),
    _text("token_label", nullable=True),
    _number("revoked_at", nullable=True),
    _text("revocation_reason", nullable=True),
    _text("cause"),  # created, automatic, on_demand, imported
    _text("material_id", nullable=True),  # hex SHA-256, of secret keys
    _text("material_description", nullable=True),
    _number("expires_at", nullable=True),  # of imported material
    UniqueConstraint("key_id", "number", name="one_version_of_a_number"),
    Index("key_versions_by_expiry", "expires_at"),
)
# RSA wrapping keys under which material comes in, each good for a day: it is never changed but by a domain's rotation.
IMPORT_PARAMETERS: Final = _sealed(
    "import_parameters",
    _text("key_id", ForeignKey("keys.id")),
    _text("spec"),
    _text("domain"),
    _number("domain_version"),
    _octets("wrapped"),
    _octets("public_key"),
    _number("expires_at"),
    Index("import_parameters_by_expiry", "expires_at"),
    journaled=False,  # an older copy opens the same material, and goes with its day
)
# What is on its way between the regions of a multi-region key; one row for each such key.
REPLICATIONS: Final = _sealed(
    "replications",
    _number("serial"),  # of the last statement about the key that was made or taken here
    _text("making"),  # regions where a replica is being made
    _text("moving_to", nullable=True),  # the region that is becoming the primary one
    _number("deletion_days", nullable=True),  # how long the primary key waits once its last replica is gone
    _text("sent"),  # canonical JSON: region to the SHA-256, hex, of what it was told last
    _number("owes_notice"),  # 1: a replica that is deleted, of which the primary region is to be told
    identity=(ForeignKey("keys.id"),),
)
ALIASES: Final = _sealed(
    "aliases",
    _text("key_id", ForeignKey("keys.id"), nullable=True),  # null: it names no key any more, and is free
    _number("created_at"),  # since when it names any key
    _number("updated_at"),  # since when it names this one
    Index("aliases_by_key", "key_id"),
)
POLICIES: Final = _sealed("policies", _text("document"), identity=(ForeignKey("keys.id"),))
ISSUERS: Final = _sealed(
    "issuers",
    _text("name"),
    _text("url"),
    _text("entity_id"),
    _text("jwks_uri", nullable=True),
    _text("authorization_endpoint", nullable=True),
    _text("token_endpoint", nullable=True),
    _text("sign_on_url", nullable=True),
    _number("created_at"),
    UniqueConstraint("name", name="one_issuer_of_a_name"),
)
# Documents that are published as they were signed, so that every worker shows the same bytes and none signs them again.
SIGNED_DOCUMENTS: Final = _sealed(
    "signed_documents",
    _octets("content_hash"),
    _octets("document"),
    _number("made_at"),
    _number("valid_until"),
)
PRINCIPALS: Final = _sealed(
    "principals",
    _text("duty"),
    _text("state"),
    _number("created_at"),
    _text("created_by"),
    _number("enabled_until", nullable=True),  # break-glass: when an enabled principal is disabled again by itself
)
CREDENTIALS: Final = _sealed(
    "credentials",
    _text("principal", ForeignKey("principals.id")),
    _text("kind"),  # token, session
    _text("label"),
    _octets("token_hash"),
    _text("state"),
    _number("created_at"),
    _text("created_by"),
    _text("facts", nullable=True),  # canonical JSON: what was proved of the holder when a session began
    _number("expires_at", nullable=True),
    Index("credentials_by_principal", "principal"),
    Index("credentials_by_creator", "created_by"),
)
ENROLMENTS: Final = _sealed(
    "enrolments",
    _text("principal", ForeignKey("principals.id")),
    _octets("code_hash"),
    _text("state"),
    _number("created_at"),
    _text("created_by"),
    _number("expires_at"),
    Index("enrolments_by_principal", "principal"),
)
CERTIFICATES: Final = _sealed(
    "certificates",
    _text("key_id", ForeignKey("keys.id")),
    _text("version_id", ForeignKey("key_versions.id")),
    _text("serial"),
    _text("chain"),
    _number("not_before"),
    _number("not_after"),
    _text("origin"),
    _text("state"),  # valid, revoked
    _number("revoked_at", nullable=True),
    _text("revocation_reason", nullable=True),
    Index("certificates_by_version", "version_id"),
    Index("certificates_by_key", "key_id"),
    Index("certificates_by_state", "state"),
)
IDEMPOTENCY: Final = _sealed(
    "idempotency",
    _text("principal"),
    _octets("request_hash"),
    _octets("response"),
    _number("created_at"),
    Index("idempotency_by_time", "created_at"),
    journaled=False,  # an older copy of an answer is the same answer
)
# What proves a principal without a secret of ours: a client certificate's binding, or a key that signs requests.
PUBLIC_CREDENTIALS: Final = _sealed(
    "public_credentials",
    _text("principal", ForeignKey("principals.id")),
    _text("match"),  # public-key, certificate, uri, dns; request-key
    _text("value"),  # lower-case hex SHA-256, or the name
    _octets("public_key", nullable=True),  # DER SubjectPublicKeyInfo; null where a name is matched
    _text("algorithm", nullable=True),  # of a request key: the only one that it signs with
    _text("label"),
    _text("state"),
    _number("created_at"),
    _text("created_by"),
    _number("expires_at", nullable=True),
    Index("public_credentials_by_principal", "principal"),
    Index("public_credentials_by_value", "value"),
)
# Access keys in the manner of AWS. The secret is the one thing here that can be read back: sealed in the hierarchy
# (`keystore.secrets`), with the row's id and principal as its context.
ACCESS_KEYS: Final = _sealed(
    "access_keys",
    _text("principal", ForeignKey("principals.id")),
    _octets("secret"),
    _text("label"),
    _text("state"),  # enabled, disabled, revoked
    _number("created_at"),
    _text("created_by"),
    _number("expires_at"),
    _octets("session_token_hash", nullable=True),  # of temporary credentials
    _text("made_with", nullable=True),  # of temporary credentials: the credential that made them, which ends them too
    _text("facts", nullable=True),  # canonical JSON: of the session that made them
    Index("access_keys_by_principal", "principal", "id"),
    Index("access_keys_by_end", "principal", "expires_at"),
)
# OIDC issuers whose tokens are exchanged for sessions; a deleted one's row stays, so that its revisions go on.
TRUSTED_ISSUERS: Final = _sealed(
    "trusted_issuers",
    _text("url"),
    _text("audiences"),
    _text("algorithms"),
    _text("jwks_url", nullable=True),
    _text("jwks", nullable=True),
    _number("max_token_age"),
    _number("session_lifetime"),
    _text("mappings"),
    _text("state"),  # enabled, deleted
    _number("created_at"),
    _text("created_by"),
    _number("updated_at"),
    _text("updated_by"),
    Index("trusted_issuers_by_url", "url"),
)
USED_ASSERTIONS: Final = _sealed(
    "used_assertions",
    _text("trusted_issuer", ForeignKey("trusted_issuers.id")),
    _number("used_at"),
    _number("expires_at"),
    Index("used_assertions_by_expiry", "expires_at"),
    journaled=False,  # there is one revision of each, and it goes when the token would be refused anyway
)
# A key has at most one rule; null: it was taken away. The row stays, so that its revisions go on.
APPROVAL_RULES: Final = _sealed("approval_rules", _text("document", nullable=True), identity=(ForeignKey("keys.id"),))
APPROVAL_REQUESTS: Final = _sealed(
    "approval_requests",
    _text("key_id", ForeignKey("keys.id")),
    _text("operation"),
    _text("requester", ForeignKey("principals.id")),
    _octets("body"),
    _octets("shown_sha256"),
    _number("key_version", nullable=True),
    _number("version_count", nullable=True),
    _number("policy_revision", nullable=True),
    _number("rule_revision"),
    _text("requirements"),
    _text("reason"),
    _number("created_at"),
    _number("expires_at"),
    _text("state"),  # open, released, rejected, withdrawn
    _number("closed_at", nullable=True),
    _text("closed_by", nullable=True),
    Index("approval_requests_by_state", "state"),
    Index("approval_requests_by_requester", "requester"),
)
# One row for each approver of a request, by its id: no approver is counted twice, and none can be left out unseen.
APPROVAL_VOTES: Final = _sealed(
    "approval_votes",
    _text("request_id", ForeignKey("approval_requests.id")),
    _text("approver", ForeignKey("principals.id")),
    _text("vote"),  # approve, reject
    _text("reason"),
    _octets("shown_sha256"),
    _number("voted_at"),
    _text("credential"),
    _text("credential_kind"),
    _text("proof", nullable=True),
)

GRANTS: Final = _sealed(
    "grants",
    _text("key_id", ForeignKey("keys.id")),
    _text("grantee", ForeignKey("principals.id")),
    _text("retiring", nullable=True),
    _text("name", nullable=True),
    _text("operations"),
    _text("constraints", nullable=True),
    _text("state"),  # active, retired, revoked
    _number("created_at"),
    _text("created_by"),
    _number("ended_at", nullable=True),
    _text("ended_by", nullable=True),
    Index("grants_by_key", "key_id", "state", "grantee"),
    Index("grants_by_grantee", "grantee", "state"),
    Index("grants_by_retiring", "retiring", "state"),
)
# One row a principal, so that none of its policies can be taken away without its being missed: one may deny.
PRINCIPAL_POLICIES: Final = _sealed("principal_policies", _text("policies"), identity=(ForeignKey("principals.id"),))
# Every policy that ever was: of a key by the number of its policy's revision, of a principal by that of its row.
POLICY_VERSIONS: Final = _sealed(
    "policy_versions",
    _text("subject"),  # key/ID, principal/user/NAME, principal/role/NAME
    _number("number"),
    _text("policy", nullable=True),  # the name of a principal's policy
    _text("document", nullable=True),  # null: taken away
    _number("created_at"),
    _text("created_by"),
    _text("reason"),
    UniqueConstraint("subject", "number", name="one_policy_version_of_a_number"),
)

SEALED_TABLES: Final[Mapping[str, SealedTable]] = MappingProxyType(_SEALED)

ROW_JOURNAL: Final = Table(
    "row_journal",
    METADATA,
    Column("seq", _SERIAL, primary_key=True, autoincrement=False),
    _text("table_name"),
    _text("row_id"),
    _number("revision"),
    _octets("seal"),
    _number("previous"),  # seq of the same row's entry before this one, 0 for its first
    _octets("link"),
    _octets("link_seal"),
    UniqueConstraint("table_name", "row_id", "revision", name="one_entry_of_a_revision"),
)
ROW_JOURNAL_HEAD: Final = Table(
    "row_journal_head", METADATA, Column("id", Integer, primary_key=True), _number("seq"), _octets("link")
)
# Where a process that starts begins to follow the journal (`keystore.journal_snapshots`): one row, sealed by the HSM.
ROW_JOURNAL_SNAPSHOTS: Final = Table(
    "row_journal_snapshots",
    METADATA,
    Column("id", Integer, primary_key=True),
    _number("seq"),
    _octets("link"),
    _octets("superseded"),
    _text("latest"),
    _octets("seal"),
)

# Only that a nonce is here says anything, so there is nothing that a seal could protect.
REQUEST_NONCES: Final = Table(
    "request_nonces",
    METADATA,
    Column("id", Text, primary_key=True),  # hex SHA-256 over the key's id and the nonce
    _number("kept_until"),
    Index("request_nonces_by_time", "kept_until"),
)

# How much of each quota has been claimed in its window, by all workers together; one row a quota and subject.
QUOTA_WINDOWS: Final = Table(
    "quota_windows",
    METADATA,
    Column("id", Text, primary_key=True),
    _number("window"),  # its number since 1970
    _number("used"),
    _number("carried"),  # what the windows before have left for this one
)

AUDIT_EPOCHS: Final = Table(
    "audit_epochs",
    METADATA,
    Column("id", Text, primary_key=True),
    _number("started_at"),
    _number("closed_at", nullable=True),  # null: its worker lives, or has not been found dead yet
    _text("node"),  # the workers that can lock each other's files
    _number("beats"),  # counted up by a living worker, where other machines share the database
)
AUDIT_INTENTS: Final = Table(
    "audit_intents",
    METADATA,
    Column("id", Text, primary_key=True),
    _text("epoch"),
    _number("time"),
    _text("request_id"),
    _text("caller_request_id", nullable=True),
    _text("principal"),
    _text("credential", nullable=True),
    _text("proof", nullable=True),  # how the principal proved itself, where the credential's name does not say all
    _text("source", nullable=True),
    _text("action"),
    _text("subject", nullable=True),  # the principal that the action is about, where it is about one
    _text("key_id", nullable=True),
    _text("version_id", nullable=True),
    _number("version", nullable=True),
    _octets("key_sha256", nullable=True),  # of the version's SubjectPublicKeyInfo
    _text("algorithm", nullable=True),
    _text("purpose", nullable=True),
    _text("domain", nullable=True),
    _number("items"),
    _text("context", nullable=True),
    _number("policy_revision", nullable=True),
    _text("decided_by", nullable=True),
    _text("approval", nullable=True),
    Index("audit_intents_by_epoch", "epoch"),
)
# The transparency log: one row a leaf, in the order of the tree. The tree is what protects them: its head is signed,
# and kept outside the database. `record` is canonical JSON of all that is known; the other columns are for searching.
LOG_ENTRIES: Final = Table(
    "log_entries",
    METADATA,
    Column("seq", _SERIAL, primary_key=True, autoincrement=False),  # the index of the leaf + its log's `first`
    _text("kind"),  # decision, count, rows
    _text("intent_id", nullable=True),
    _number("item", nullable=True),
    _number("time"),
    _text("outcome", nullable=True),
    _text("code", nullable=True),
    _text("request_id", nullable=True),
    _text("caller_request_id", nullable=True),
    _text("principal", nullable=True),
    _text("credential", nullable=True),
    _text("proof", nullable=True),
    _text("source", nullable=True),
    _text("action", nullable=True),
    _text("subject", nullable=True),  # the principal that the action is about, where it is about one
    _text("key_id", nullable=True),
    _octets("digest", nullable=True),  # of the first signature: what was signed
    _octets("signature_sha256", nullable=True),
    _octets("artifact_digest", nullable=True),  # of the file, where the signature is about one
    _text("detail", nullable=True),
    _text("epoch", nullable=True),
    _octets("leaf"),
    _octets("leaf_hash"),
    _octets("nonce", nullable=True),
    _text("record", nullable=True),
    Index("log_entries_by_intent", "intent_id", "item", unique=True),  # no item has two outcomes
    Index("log_entries_by_time", "time"),
    # All that a report counts stands in the index: it is made without a look at the entries.
    Index("log_entries_by_key", "key_id", "time", "principal", "action", "outcome", "code"),
    Index("log_entries_by_principal", "principal", "time"),
    Index("log_entries_by_action", "action", "time"),
    Index("log_entries_by_request", "request_id"),
)
# What few entries have is indexed for these alone.
for _name, _columns in (("subject", ("subject", "time")), ("callers_request", ("caller_request_id",))):
    _there = LOG_ENTRIES.c[_columns[0]].is_not(None)
    Index(
        f"log_entries_by_{_name}",
        *(LOG_ENTRIES.c[column] for column in _columns),
        sqlite_where=_there,
        postgresql_where=_there,
    )
# The newest leaf about a row is looked for when a worker starts: behind it there may be a million decisions.
Index(
    "log_entries_of_rows",
    LOG_ENTRIES.c.seq,
    sqlite_where=LOG_ENTRIES.c.kind == literal_column("'rows'"),
    postgresql_where=LOG_ENTRIES.c.kind == literal_column("'rows'"),
)
# Every digest by which an entry is found: of what was signed, of the signatures, of the files. Digests are random: one
# index over all of them would be written to all over, page after page, and the more the longer the log is. So those of
# neighbours lie together, and who looks for one looks into each bucket.
DIGEST_BUCKET: Final = 1024  # entries
LOG_DIGESTS: Final = Table(
    "log_digests",
    METADATA,
    Column("bucket", BigInteger, primary_key=True, autoincrement=False),  # of `seq`
    Column("digest", LargeBinary, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,  # the table is its own index
)
# Full tiles of 256 hashes (C2SP tlog-tiles); what is not full yet is read from the entries and the tiles below.
LOG_TILES: Final = Table(
    "log_tiles",
    METADATA,
    Column("log", BigInteger, primary_key=True, autoincrement=False),
    Column("level", BigInteger, primary_key=True, autoincrement=False),
    Column("tile", BigInteger, primary_key=True, autoincrement=False),
    _octets("hashes"),
    _octets("root"),
)
# One log for each HSM that the deployment ever had; the last one grows.
LOG_HEADS: Final = Table(
    "log_heads",
    METADATA,
    Column("log", BigInteger, primary_key=True, autoincrement=False),
    _text("origin"),
    _octets("public_key"),
    _number("first"),  # `seq` of its first leaf
    _number("size"),
    _octets("root"),
    _number("journal"),  # the last entry of the rows' journal that is a leaf
    _number("checkpoint_size"),
    _text("checkpoint", nullable=True),
    _number("cosigned_size"),
    _text("cosigned", nullable=True),  # the last checkpoint that has the witnesses' cosignatures
    UniqueConstraint("origin", name="one_log_of_an_origin"),
)
