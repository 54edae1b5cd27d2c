"""OIDC issuers that are trusted, the sessions that their tokens were exchanged for, and which tokens were.

A session is bound to the revision of its issuer's row: whatever changes or deletes the issuer ends the sessions that
began before, in the same write.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete

from keystore.db.schema import USED_ASSERTIONS
from keystore.errors import Conflict, IntegrityFailure, NotFound
from keystore.keys import existing
from keystore.people import insert_credential, require_enabled_principal
from keystore.trust import RoleMapping, TrustedIssuer, UsedAssertion
from keystore.values import names_of, stored_json, stored_names, stored_time, time_of

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.api import CredentialRecord
    from keystore.db.engine import Value
    from keystore.sealing import SealedRow
    from keystore.store import SealedStore
    from keystore.transactions import SealedTransaction
    from keystore.trust import ClaimValue

SESSION: Final = "session"
_LIVE_SESSIONS: Final = 100_000  # more than one issuer's tokens can be exchanged for within the hour that one lives


def session_maker(trusted_issuer: str) -> str:
    """What `created_by` says of a session's credential."""
    return f"trusted-issuer/{trusted_issuer}"


class TrustedIssuerRepository:
    """Reads and writes them. Every method raises `IntegrityFailure`, `StoreUnavailable`, `HsmUnavailable` too."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store

    def find_trusted_issuer(self, name: str) -> TrustedIssuer | None:
        """The trusted issuer of this name; None if there is none, or none any more."""
        row = self._store.get("trusted_issuers", name)
        return None if row is None or row.text("state") != "enabled" else _issuer(row)

    def trusted_issuer_revision(self, name: str) -> int | None:
        """The revision that the sessions of this issuer must be of; None if it is not trusted (any more)."""
        row = self._store.get("trusted_issuers", name)
        return None if row is None or row.text("state") != "enabled" else row.revision

    def find_trusted_issuer_of(self, url: str) -> TrustedIssuer | None:
        """The one whose tokens bear this `iss`."""
        rows = self._store.select("trusted_issuers", {"url": url, "state": "enabled"})
        if len(rows) > 1:
            raise IntegrityFailure(f"trusted_issuers/{rows[0].id}: another one has the same url")
        return _issuer(rows[0]) if rows else None

    def list_trusted_issuers(self, after: str | None, limit: int) -> list[TrustedIssuer]:
        """Up to `limit` by name, those beyond the name `after`; deleted ones left out."""
        rows = self._store.select("trusted_issuers", {"state": "enabled"}, after=after, limit=limit)
        return [_issuer(row) for row in rows]

    def create_trusted_issuer(self, issuer: TrustedIssuer) -> TrustedIssuer:
        """Raises `Conflict` if the name or the URL is taken, `NotFound` or `WrongState` for a role that may not be."""
        with self._store.transaction() as transaction:
            self._require_free_url(issuer)
            _require_roles(transaction, issuer)
            row = transaction.get("trusted_issuers", issuer.name)
            if row is not None and row.text("state") == "enabled":
                raise Conflict(f"there is a trusted issuer {issuer.name} already")
            values = _values(issuer)
            if row is None:
                row = transaction.insert("trusted_issuers", issuer.name, values)
            else:  # a deleted one's row goes on, so that no session of before is of this revision
                row = transaction.update(row, values)
        return replace(issuer, revision=row.revision)

    def update_trusted_issuer(self, issuer: TrustedIssuer, *, replaces: int | None) -> TrustedIssuer:
        """Change it as a whole and end its sessions. `replaces` is the revision that was looked at, if one was.

        Raises: `NotFound`, `Conflict` if the URL is taken or somebody was faster, and as `create_trusted_issuer`.
        """
        with self._store.transaction() as transaction:
            row = _enabled(transaction, issuer.name)
            if replaces is not None and replaces != row.revision:
                raise Conflict("the trusted issuer was changed by somebody else meanwhile")
            self._require_free_url(issuer)
            _require_roles(transaction, issuer)
            made: dict[str, Value] = {"created_at": row.number("created_at"), "created_by": row.text("created_by")}
            self._end_sessions(transaction, issuer.name, issuer.updated_at)
            return _issuer(transaction.update(row, {**_values(issuer), **made}))

    def delete_trusted_issuer(self, name: str, actor: str, now: datetime) -> None:
        """Trust it no more, and end its sessions. Raises `NotFound`."""
        with self._store.transaction() as transaction:
            row = _enabled(transaction, name)
            self._end_sessions(transaction, name, now)
            changes: dict[str, Value] = {"state": "deleted", "updated_at": stored_time(now), "updated_by": actor}
            transaction.update(row, changes)

    def is_assertion_used(self, assertion_id: str) -> bool:
        """Whether a token was exchanged already; only `begin_session` decides it."""
        return self._store.get("used_assertions", assertion_id) is not None

    def begin_session(self, assertion: UsedAssertion, credential: CredentialRecord, *, revision: int) -> None:
        """Use a token up for a session, once: of two who try at the same time one gets `Conflict`.

        `revision` is that of the trusted issuer by whose keys and conditions the token was judged.
        Raises: `Conflict` too if the issuer is another one by now, `NotFound` or `WrongState` if issuer or role is not
        there or not enabled any more.
        """
        with self._store.transaction() as transaction:
            if _enabled(transaction, assertion.trusted_issuer).revision != revision:
                raise Conflict("the trusted issuer was changed meanwhile")
            require_enabled_principal(transaction, credential.principal)
            if transaction.get("used_assertions", assertion.id) is not None:
                raise Conflict("the token was exchanged already")
            transaction.insert(
                "used_assertions",
                assertion.id,
                {
                    "trusted_issuer": assertion.trusted_issuer,
                    "used_at": stored_time(assertion.used_at),
                    "expires_at": stored_time(assertion.expires_at),
                },
            )
            insert_credential(transaction, credential)

    def forget_assertions(self, now: datetime) -> int:
        """Forget the tokens that are refused by their age alone; returns how many."""
        with self._store.database.write() as connection:
            old = USED_ASSERTIONS.c.expires_at < stored_time(now)
            return connection.execute(delete(USED_ASSERTIONS).where(old)).rowcount

    def _require_free_url(self, issuer: TrustedIssuer) -> None:
        # Read inside a transaction: alone among writers, so what is read stays so until it commits.
        other = self.find_trusted_issuer_of(issuer.url)
        if other is not None and other.name != issuer.name:
            raise Conflict(f"the trusted issuer {other.name} has this URL already")

    def _end_sessions(self, transaction: SealedTransaction, name: str, now: datetime) -> None:
        """The new revision alone ends them; their rows say so too, for whoever lists credentials."""
        of_it: dict[str, Value] = {"created_by": session_maker(name), "kind": SESSION, "state": "enabled"}
        live = self._store.select(
            "credentials", of_it, order="expires_at", after=stored_time(now), limit=_LIVE_SESSIONS
        )
        for credential in live:
            transaction.update(credential, {"state": "revoked"})


def _enabled(transaction: SealedTransaction, name: str) -> SealedRow:
    row = existing(transaction, "trusted_issuers", name)
    if row.text("state") != "enabled":
        raise NotFound("there is no such trusted issuer")
    return row


def _require_roles(transaction: SealedTransaction, issuer: TrustedIssuer) -> None:
    for mapping in issuer.mappings:
        require_enabled_principal(transaction, mapping.role)


def _values(issuer: TrustedIssuer) -> dict[str, Value]:
    mappings: list[object] = [
        {"conditions": {claim: list(values) for claim, values in mapping.conditions.items()}, "role": mapping.role}
        for mapping in issuer.mappings
    ]
    return {
        "url": issuer.url,
        "audiences": stored_names(issuer.audiences),
        "algorithms": stored_names(issuer.algorithms),
        "jwks_url": issuer.jwks_url,
        "jwks": issuer.jwks,
        "max_token_age": issuer.max_token_age,
        "session_lifetime": issuer.session_lifetime,
        "mappings": stored_json({"mappings": mappings}),
        "state": issuer.state,
        "created_at": stored_time(issuer.created_at),
        "created_by": issuer.created_by,
        "updated_at": stored_time(issuer.updated_at),
        "updated_by": issuer.updated_by,
    }


def _issuer(row: SealedRow) -> TrustedIssuer:
    return TrustedIssuer(
        name=row.id,
        url=row.text("url"),
        audiences=names_of(row.text("audiences")),
        algorithms=names_of(row.text("algorithms")),
        mappings=_mappings(row.text("mappings")),
        max_token_age=row.number("max_token_age"),
        session_lifetime=row.number("session_lifetime"),
        created_at=time_of(row.number("created_at")),
        created_by=row.text("created_by"),
        updated_at=time_of(row.number("updated_at")),
        updated_by=row.text("updated_by"),
        jwks_url=row.optional_text("jwks_url"),
        jwks=row.optional_text("jwks"),
        state=row.text("state"),
        revision=row.revision,
    )


def _mappings(stored: str) -> tuple[RoleMapping, ...]:
    return tuple(
        RoleMapping(mapping["role"], {claim: _claim_values(each) for claim, each in mapping["conditions"].items()})
        for mapping in json.loads(stored)["mappings"]
    )


def _claim_values(stored: list[ClaimValue]) -> tuple[ClaimValue, ...]:
    return tuple(stored)
