"""Verified facts as a few lines for a person: who, what, when, with which key, and what was not covered.

Names and texts come from whoever made the message, so control characters never reach a terminal.
"""

from __future__ import annotations

from typing import TypeAlias

from verifier.results import (
    CertificateFacts,
    KeyFacts,
    LogPosition,
    RevocationFacts,
    StatementFacts,
    TimeFacts,
    TrustEntryFacts,
    VerifiedArtifact,
    VerifiedAssertion,
    VerifiedToken,
)
from verifier.times import format_time

Verified: TypeAlias = VerifiedArtifact | VerifiedToken | VerifiedAssertion


def printable(text: str) -> str:
    """The text with everything escaped that could move a cursor, change a colour or not be printed at all."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def describe(facts: Verified) -> str:
    """The lines, without a newline at the end."""
    if isinstance(facts, VerifiedArtifact):
        lines = _artifact(facts)
    elif isinstance(facts, VerifiedToken):
        lines = _token(facts)
    else:
        lines = _assertion(facts)
    lines += [("key", _key(facts.key)), *(("trust", _entry(entry)) for entry in facts.key.entries)]
    if not isinstance(facts, VerifiedToken):
        lines += [("certificate", _certificate(each)) for each in facts.certificates]
    if facts.log_position is not None:
        lines += _log(facts.log_position)
    lines.append(("judged", _judged(facts.time)))
    lines += [("not covered", limit) for limit in facts.not_covered]
    return "\n".join(["VERIFIED", *(f"  {label + ':':<13} {printable(text)}" for label, text in lines)])


def _artifact(facts: VerifiedArtifact) -> list[tuple[str, str]]:
    lines = [
        ("who", facts.signer),
        ("what", f"{facts.name or 'the stream'}, {facts.size} bytes ({facts.signature_format} signature)"),
    ]
    lines += [(name, digest) for name, digest in facts.digests.items()]
    if facts.statement is not None:
        lines += _statement(facts.statement)
    if facts.claimed_signing_time is not None:
        lines.append(("when", f"signed at {format_time(facts.claimed_signing_time)}, says the signer"))
    return lines


def _statement(statement: StatementFacts) -> list[tuple[str, str]]:
    names = ", ".join(subject.name for subject in statement.matched)
    lines = [
        ("statement", statement.predicate_type),
        ("about", f"{names} ({len(statement.matched)} of {len(statement.subjects)} files in it)"),
    ]
    return lines if statement.builder is None else [*lines, ("built by", f"{statement.builder}, says the signer")]


def _token(facts: VerifiedToken) -> list[tuple[str, str]]:
    return [
        ("who", f"{facts.subject or 'no subject'}, says {facts.issuer}"),
        ("what", f"{facts.token_type} {facts.token_id or 'without an id'} for {', '.join(facts.audiences)}"),
        ("when", f"expires at {format_time(facts.expires_at)}"),
    ]


def _assertion(facts: VerifiedAssertion) -> list[tuple[str, str]]:
    lines = [
        ("who", f"{facts.subject}, says {facts.issuer}"),
        ("what", f"assertion {facts.assertion_id} for {', '.join(facts.audiences)}, signed: {', '.join(facts.signed)}"),
        ("when", f"issued at {format_time(facts.issued_at)}, holds until {format_time(facts.not_on_or_after)}"),
    ]
    lines += [(f"attribute {name}", ", ".join(values)) for name, values in facts.attributes.items()]
    return lines


def _key(key: KeyFacts) -> str:
    names = [key.name, key.key_id, None if key.key_version is None else f"version {key.key_version}"]
    named = ", ".join(name for name in names if name is not None)
    return f"{named + ', ' if named else ''}{key.kind}, {key.algorithm}, sha256 {key.sha256}"


def _entry(entry: TrustEntryFacts) -> str:
    """The entry of the trust file that was obeyed, and how far it reaches."""
    limits = [
        "for anything" if entry.purposes is None else f"for {', '.join(entry.purposes)}",
        None if entry.issuer is None else f"of {entry.issuer}",
        None if entry.identities is None else f"identities {', '.join(entry.identities)}",
        None if entry.not_before is None else f"from {format_time(entry.not_before)}",
        None if entry.not_after is None else f"until {format_time(entry.not_after)}",
    ]
    return f"{entry.kind} {entry.name}, {', '.join(limit for limit in limits if limit)}, sha256 {entry.sha256}"


def _certificate(facts: CertificateFacts) -> str:
    validity = f"from {format_time(facts.not_before)} until {format_time(facts.not_after)}"
    names = f"{facts.subject}, by {facts.issuer}, serial {facts.serial}"
    return f"{names}, {validity}, {_revocation(facts.revocation)}, sha256 {facts.sha256}"


def _revocation(facts: RevocationFacts | None) -> str:
    if facts is None:
        return "trusted as it is"
    if facts.status == "revoked-later":
        return "revoked later"
    if facts.checked_until is None:
        return "revocation not checked"
    return f"not revoked (list until {format_time(facts.checked_until)})"


def _judged(time: TimeFacts) -> str:
    """The moment, and whose word it is; a message's own times are never judged by the log."""
    basis = {"now": "the clock", "given": "the time given", "log": "when the log's witnesses had seen it"}[time.basis]
    ages = f"; ages and expiry at {format_time(time.as_of)}" if time.basis == "log" else ""
    return f"at {format_time(time.judged_at)} ({basis}){ages}"


def _log(position: LogPosition) -> list[tuple[str, str]]:
    """Where a log has it, by whose word."""
    place = f"entry {position.index} of {position.size} in {position.origin}"
    lines = [("log", f"{place}, made at {format_time(position.logged_at)}, says the log")]
    lines += [("cosigned", f"by {each.witness} at {format_time(each.at)}") for each in position.cosigned]
    if position.proven_at is not None:
        count = f"{position.cosignatures} witness{'' if position.cosignatures == 1 else 'es'}"
        lines.append(("proven", f"it existed by {format_time(position.proven_at)}: {count} had seen it"))
    return lines
