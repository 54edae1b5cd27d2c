"""What was verified: frozen facts for programs and, by `as_json()`, for reports.

Every result says what it does not cover (`not_covered`), so that nobody reads more into it than was checked.
`log_position` is where a transparency log has it, by a proof that holds; None says that no proof was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from verifier.times import format_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from verifier.strict_json import JsonValue


def _optional_time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)


@dataclass(frozen=True, slots=True)
class RevocationFacts:
    """Whether a certificate was looked up in its issuer's revocation list.

    `not-revoked` holds until `checked_until`, when the issuer's next list is due; `not-checked` says why in `reason`.
    `revoked-later` says there what happened after the signature was proven to exist.
    """

    status: Literal["not-revoked", "not-checked", "revoked-later"]
    checked_until: datetime | None = None
    reason: str | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """The facts as JSON-compatible values."""
        return {"status": self.status, "checked_until": _optional_time(self.checked_until), "reason": self.reason}


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """One certificate of the chain that was used. `serial` and `sha256` are lower-case hex, names RFC 4514 text.

    `revocation` is None for a certificate that is trusted as it is: nobody stands above it who could revoke it.
    """

    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    sha256: str
    revocation: RevocationFacts | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """The facts as JSON-compatible values."""
        return {
            "subject": self.subject,
            "issuer": self.issuer,
            "serial": self.serial,
            "not_before": format_time(self.not_before),
            "not_after": format_time(self.not_after),
            "sha256": self.sha256,
            "revocation": None if self.revocation is None else self.revocation.as_json(),
        }


@dataclass(frozen=True, slots=True)
class TrustEntryFacts:
    """An entry of the trust file that was held against the signature; None stands for "any" and "no limit".

    `sha256` is over the key's SubjectPublicKeyInfo, or over the authority's certificate.
    """

    kind: Literal["authority", "key"]
    name: str
    sha256: str
    purposes: tuple[str, ...] | None = None
    issuer: str | None = None
    identities: tuple[str, ...] | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """The facts as JSON-compatible values."""
        return {
            "kind": self.kind,
            "name": self.name,
            "sha256": self.sha256,
            "purposes": None if self.purposes is None else list(self.purposes),
            "issuer": self.issuer,
            "identities": None if self.identities is None else list(self.identities),
            "not_before": _optional_time(self.not_before),
            "not_after": _optional_time(self.not_after),
        }


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """The key that made the signature. `sha256` is over its SubjectPublicKeyInfo; the ids are trust's or the key set's.

    `trusted_by` says which part of the trust given speaks for it, `entries` which entries of a trust file were obeyed.
    """

    algorithm: str
    kind: str
    sha256: str
    trusted_by: Literal["authority", "key", "key-set", "certificate"]
    key_id: str | None = None
    key_version: int | None = None
    name: str | None = None
    entries: tuple[TrustEntryFacts, ...] = ()

    def as_json(self) -> dict[str, JsonValue]:
        """The facts as JSON-compatible values."""
        return {
            "algorithm": self.algorithm,
            "kind": self.kind,
            "sha256": self.sha256,
            "trusted_by": self.trusted_by,
            "key_id": self.key_id,
            "key_version": self.key_version,
            "name": self.name,
            "trust_entries": [entry.as_json() for entry in self.entries],
        }


@dataclass(frozen=True, slots=True)
class TimeFacts:
    """When the key and its certificate were judged: at this machine's clock (`now`), at the caller's word (`given`), or
    at the moment by which a log's witnesses had seen the signature (`log`).

    `as_of` is the moment that ages and a message's own times are counted to: the clock or the caller's word, never the
    log's. It differs from `judged_at` where `basis` is `log`.
    """

    judged_at: datetime
    basis: Literal["now", "given", "log"]
    as_of: datetime

    def as_json(self) -> dict[str, JsonValue]:
        """The facts as JSON-compatible values."""
        return {
            "judged_at": format_time(self.judged_at),
            "basis": self.basis,
            "as_of": format_time(self.as_of),
        }


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A trusted witness that saw the log's head, and when: its word."""

    witness: str
    at: datetime

    def as_json(self) -> dict[str, JsonValue]:
        """The facts as JSON-compatible values."""
        return {"witness": self.witness, "at": format_time(self.at)}


@dataclass(frozen=True, slots=True)
class LogPosition:
    """Where a transparency log has the signature: entry `index` of the `size` under the head with `root` (hex).

    `logged_at` is the log's word. `proven_at` is when `cosignatures` witnesses, as many as were asked for, had seen it:
    the signature existed by then. None where none were asked for. `record_sha256` binds the full record, for auditors.
    """

    origin: str
    index: int
    size: int
    root: str
    logged_at: datetime
    record_sha256: str
    key_version: int | None
    cosignatures: int
    cosigned: tuple[Cosigned, ...]
    proven_at: datetime | None

    def as_json(self) -> dict[str, JsonValue]:
        """The facts as JSON-compatible values."""
        return {
            "origin": self.origin,
            "index": self.index,
            "size": self.size,
            "root": self.root,
            "logged_at": format_time(self.logged_at),
            "record_sha256": self.record_sha256,
            "key_version": self.key_version,
            "cosignatures": self.cosignatures,
            "cosigned": [each.as_json() for each in self.cosigned],
            "proven_at": _optional_time(self.proven_at),
        }


@dataclass(frozen=True, slots=True)
class StatementSubject:
    """A file that a statement is about: the signer's name for it, and digests by algorithm, lower-case hex."""

    name: str
    digests: Mapping[str, str]

    def as_json(self) -> dict[str, JsonValue]:
        """The facts as JSON-compatible values."""
        return {"name": self.name, "digests": dict(self.digests)}


@dataclass(frozen=True, slots=True)
class StatementFacts:
    """What the signer states (in-toto Statement) about several files, `matched` being those that the file at hand is.

    `builder` is who built it by SLSA provenance. The predicate is the signer's word: nothing was judged by it.
    """

    predicate_type: str
    subjects: tuple[StatementSubject, ...]
    matched: tuple[StatementSubject, ...]
    builder: str | None
    predicate: Mapping[str, JsonValue]

    def as_json(self) -> dict[str, JsonValue]:
        """The facts as JSON-compatible values."""
        return {
            "predicate_type": self.predicate_type,
            "subjects": [subject.as_json() for subject in self.subjects],
            "matched": [subject.name for subject in self.matched],
            "builder": self.builder,
            "predicate": dict(self.predicate),
        }


@dataclass(frozen=True, slots=True)
class VerifiedArtifact:
    """A file whose signature holds. `claimed_signing_time` is the signer's own word and nothing was judged by it.

    `statement` is what a DSSE envelope, alone or in a bundle, says of the file.
    """

    name: str | None
    size: int
    digests: Mapping[str, str]
    signature_format: Literal["cms", "raw", "bundle", "dsse"]
    signer: str
    key: KeyFacts
    time: TimeFacts
    claimed_signing_time: datetime | None = None
    statement: StatementFacts | None = None
    certificates: tuple[CertificateFacts, ...] = ()
    not_covered: tuple[str, ...] = ()
    log_position: LogPosition | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """Who, what, when, with which key, and what was not covered, as JSON-compatible values."""
        return {
            "verified": True,
            "kind": "artifact",
            "who": {"signer": self.signer},
            "what": {
                "file": self.name,
                "size": self.size,
                "digests": dict(self.digests),
                "signature_format": self.signature_format,
                "statement": None if self.statement is None else self.statement.as_json(),
            },
            "when": {**self.time.as_json(), "claimed_signing_time": _optional_time(self.claimed_signing_time)},
            "key": self.key.as_json(),
            "certificates": [certificate.as_json() for certificate in self.certificates],
            "not_covered": list(self.not_covered),
            "log_position": None if self.log_position is None else self.log_position.as_json(),
        }


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A JWT whose signature and registered claims hold. `claims` are all of them, as they were signed."""

    issuer: str
    subject: str | None
    audiences: tuple[str, ...]
    token_type: str
    token_id: str | None
    expires_at: datetime
    not_before: datetime | None
    issued_at: datetime | None
    claims: Mapping[str, JsonValue]
    key: KeyFacts
    time: TimeFacts
    not_covered: tuple[str, ...] = ()
    log_position: LogPosition | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """Who, what, when, with which key, and what was not covered, as JSON-compatible values."""
        return {
            "verified": True,
            "kind": "jwt",
            "who": {"issuer": self.issuer, "subject": self.subject, "audiences": list(self.audiences)},
            "what": {"token_type": self.token_type, "token_id": self.token_id, "claims": dict(self.claims)},
            "when": {
                **self.time.as_json(),
                "issued_at": _optional_time(self.issued_at),
                "not_before": _optional_time(self.not_before),
                "expires_at": format_time(self.expires_at),
            },
            "key": self.key.as_json(),
            "certificates": [],
            "not_covered": list(self.not_covered),
            "log_position": None if self.log_position is None else self.log_position.as_json(),
        }


@dataclass(frozen=True, slots=True)
class VerifiedAssertion:
    """A SAML assertion whose signature and conditions hold. Every value was read from what the signature covers.

    `response_id` is None where the response around the assertion is not signed.
    """

    issuer: str
    subject: str
    name_id_format: str | None
    audiences: tuple[str, ...]
    recipient: str
    in_response_to: str | None
    assertion_id: str
    response_id: str | None
    signed: tuple[Literal["assertion", "response"], ...]
    issued_at: datetime
    not_before: datetime | None
    not_on_or_after: datetime
    authenticated_at: datetime | None
    session_index: str | None
    attributes: Mapping[str, tuple[str, ...]]
    one_time_use: bool
    key: KeyFacts
    time: TimeFacts
    certificates: tuple[CertificateFacts, ...] = ()
    not_covered: tuple[str, ...] = ()
    log_position: LogPosition | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """Who, what, when, with which key, and what was not covered, as JSON-compatible values."""
        return {
            "verified": True,
            "kind": "saml",
            "who": {
                "issuer": self.issuer,
                "subject": self.subject,
                "name_id_format": self.name_id_format,
                "audiences": list(self.audiences),
                "recipient": self.recipient,
            },
            "what": {
                "assertion_id": self.assertion_id,
                "response_id": self.response_id,
                "signed": list(self.signed),
                "in_response_to": self.in_response_to,
                "session_index": self.session_index,
                "one_time_use": self.one_time_use,
                "attributes": {name: list(values) for name, values in self.attributes.items()},
            },
            "when": {
                **self.time.as_json(),
                "issued_at": format_time(self.issued_at),
                "authenticated_at": _optional_time(self.authenticated_at),
                "not_before": _optional_time(self.not_before),
                "not_on_or_after": format_time(self.not_on_or_after),
            },
            "key": self.key.as_json(),
            "certificates": [certificate.as_json() for certificate in self.certificates],
            "not_covered": list(self.not_covered),
            "log_position": None if self.log_position is None else self.log_position.as_json(),
        }
