"""The smaller repositories: issuers, documents, domains and idempotent answers, over the sealed store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete

from keystore.api import DomainRecord, IdempotencyRecord, Issuer, SignedDocument
from keystore.db.schema import IDEMPOTENCY, SEALED_TABLES
from keystore.errors import Conflict, NotFound
from keystore.keys import existing
from keystore.queries import Join, parameter
from keystore.values import stored_time, time_of

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.clock import Clock
    from keystore.db.engine import Value
    from keystore.queries import Records
    from keystore.sealing import SealedRow
    from keystore.store import SealedStore


def _joins_by_name() -> list[Join]:
    rows = SEALED_TABLES["issuers"].table.alias()
    return [Join(SEALED_TABLES["issuers"], rows, rows.c.id, rows.c.name == parameter("name"))]


class IssuerRepository:
    """Who tokens and assertions speak for."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store
        self._issuer_by_name = store.query(_joins_by_name, _issuer_of)

    def get_issuer(self, name: str) -> Issuer:
        """The issuer of this name. Raises `NotFound`."""
        issuer = self._store.read(self._issuer_by_name, (name,))
        if issuer is None:
            raise NotFound("there is no such issuer")
        return issuer

    def list_issuers(self) -> list[Issuer]:
        """Every issuer by name."""
        return [_issuer(row) for row in self._store.select("issuers", order="name")]

    def create_issuer(self, issuer: Issuer) -> None:
        """Raises `Conflict` if the name is taken."""
        with self._store.transaction() as transaction:
            transaction.insert(
                "issuers",
                issuer.id,
                {
                    "name": issuer.name,
                    "url": issuer.url,
                    "entity_id": issuer.entity_id,
                    "jwks_uri": issuer.jwks_uri,
                    "authorization_endpoint": issuer.authorization_endpoint,
                    "token_endpoint": issuer.token_endpoint,
                    "sign_on_url": issuer.sign_on_url,
                    "created_at": stored_time(issuer.created_at),
                },
            )


class DocumentRepository:
    """Signed documents that are published as they are, by id."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store

    def find_document(self, document_id: str) -> SignedDocument | None:
        """The document that was kept last under this id."""
        row = self._store.get("signed_documents", document_id)
        if row is None:
            return None
        made_at, valid_until = time_of(row.number("made_at")), time_of(row.number("valid_until"))
        return SignedDocument(
            row.id, row.octets("content_hash"), row.octets("document"), made_at, valid_until, row.revision
        )

    def keep_document(self, document: SignedDocument, *, replaces: SignedDocument | None) -> None:
        """Keep a document in place of the one that its maker saw. Raises `Conflict` if somebody was faster."""
        values: dict[str, Value] = {
            "content_hash": document.content_hash,
            "document": document.document,
            "made_at": stored_time(document.made_at),
            "valid_until": stored_time(document.valid_until),
        }
        with self._store.transaction() as transaction:
            row = transaction.get("signed_documents", document.id)
            if (row.revision if row else 0) != (replaces.revision if replaces else 0):
                raise Conflict("the document was made by somebody else meanwhile")
            if row is None:
                transaction.insert("signed_documents", document.id, values)
            else:
                transaction.update(row, values)


class DomainRepository:
    """Domains and the number of each one's current key; they are made and rotated in a ceremony."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store

    def get_domain(self, name: str) -> DomainRecord:
        """The domain of this name. Raises `NotFound`."""
        row = self._store.get("domains", name)
        if row is None:
            raise NotFound("there is no such domain")
        return _domain(row)

    def list_domains(self) -> list[DomainRecord]:
        """Every domain by name."""
        return [_domain(row) for row in self._store.select("domains")]


class IdempotencyRepository:
    """Answers remembered by `Idempotency-Key`. Sealed, but not journaled: these rows may go."""

    def __init__(self, store: SealedStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def reserve_idempotency(self, record_id: str, principal: str, request_hash: bytes) -> None:
        """Take the place of an answer to come; it is empty until then. Raises `Conflict` if it is taken."""
        values: dict[str, Value] = {"principal": principal, "request_hash": request_hash, "response": b""}
        values["created_at"] = stored_time(self._clock())
        with self._store.transaction() as transaction:
            transaction.insert("idempotency", record_id, values)

    def complete_idempotency(self, record_id: str, response: bytes) -> None:
        """Fill a reserved place. Raises `NotFound`."""
        with self._store.transaction() as transaction:
            transaction.update(existing(transaction, "idempotency", record_id), {"response": response})

    def release_idempotency(self, record_id: str) -> None:
        """Give a place back that was never filled; one that was filled stays."""
        with self._store.transaction() as transaction:
            row = transaction.get("idempotency", record_id)
            if row is not None and not row.octets("response"):
                transaction.connection.execute(delete(IDEMPOTENCY).where(IDEMPOTENCY.c.id == record_id))

    def find_idempotency(self, record_id: str) -> IdempotencyRecord | None:
        """What stands in a place; an empty response is one still to come, or one whose worker died."""
        row = self._store.get("idempotency", record_id)
        if row is None:
            return None
        created_at = time_of(row.number("created_at"))
        return IdempotencyRecord(
            row.id, row.text("principal"), row.octets("request_hash"), row.octets("response"), created_at
        )

    def forget_idempotency(self, before: datetime) -> int:
        """Delete the places taken before this time; returns how many."""
        old = IDEMPOTENCY.c.created_at < stored_time(before)
        with self._store.database.write() as connection:
            return connection.execute(delete(IDEMPOTENCY).where(old)).rowcount


def _issuer_of(records: Records) -> Issuer | None:
    row = records[0][0]
    return None if row is None else _issuer(row)


def _issuer(row: SealedRow) -> Issuer:
    return Issuer(
        row.id,
        row.text("name"),
        row.text("url"),
        row.text("entity_id"),
        time_of(row.number("created_at")),
        jwks_uri=row.optional_text("jwks_uri"),
        authorization_endpoint=row.optional_text("authorization_endpoint"),
        token_endpoint=row.optional_text("token_endpoint"),
        sign_on_url=row.optional_text("sign_on_url"),
    )


def _domain(row: SealedRow) -> DomainRecord:
    return DomainRecord(
        row.id, row.number("current_version"), time_of(row.number("created_at")), row.optional_text("home_region")
    )
