"""A trust file for people: what stands in it, what of it counts at a moment, and how two of them differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from verifier.certificates import describe_certificate
from verifier.keys import describe_key
from verifier.report import printable
from verifier.times import format_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from verifier.results import CertificateFacts, TrustEntryFacts
    from verifier.revocation import RevocationList
    from verifier.strict_json import JsonValue
    from verifier.trust import Authority, Trust, TrustedKey
    from verifier.trusted_logs import TrustedLog

State = Literal["counts", "not yet", "over", "revoked"]


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key of the file and whether it counts."""

    entry: TrustEntryFacts
    key_id: str | None
    key_version: int | None
    kind: str
    algorithms: tuple[str, ...]
    revoked_at: datetime | None
    state: State

    def as_json(self) -> dict[str, JsonValue]:
        """The key as JSON-compatible values; the members of its entry first."""
        return {
            **self.entry.as_json(),
            "key_id": self.key_id,
            "key_version": self.key_version,
            "key": self.kind,
            "algorithms": list(self.algorithms),
            "revoked_at": None if self.revoked_at is None else format_time(self.revoked_at),
            "state": self.state,
        }


@dataclass(frozen=True, slots=True)
class ListedCrl:
    """An authority's revocation list: when it holds, and which serial numbers (hex) it names."""

    this_update: datetime
    next_update: datetime
    revoked: tuple[tuple[str, str], ...]  # serial number, "time (reason)"
    state: Literal["current", "not yet", "over"]

    def as_json(self) -> dict[str, JsonValue]:
        """The list as JSON-compatible values."""
        return {
            "this_update": format_time(self.this_update),
            "next_update": format_time(self.next_update),
            "revoked": dict(self.revoked),
            "state": self.state,
        }


@dataclass(frozen=True, slots=True)
class ListedAuthority:
    """An authority of the file and whether it counts."""

    entry: TrustEntryFacts
    certificate: CertificateFacts
    crl: ListedCrl | None
    state: State

    def as_json(self) -> dict[str, JsonValue]:
        """The authority as JSON-compatible values; the members of its entry first."""
        return {
            **self.entry.as_json(),
            "certificate": self.certificate.as_json(),
            "crl": None if self.crl is None else self.crl.as_json(),
            "state": self.state,
        }


@dataclass(frozen=True, slots=True)
class TrustFacts:
    """A trust file as of `judged_at`. `generated_at` is its maker's word, None for PEM files."""

    generated_at: datetime | None
    judged_at: datetime
    keys: tuple[ListedKey, ...]
    authorities: tuple[ListedAuthority, ...]
    logs: tuple[TrustedLog, ...] = ()

    def as_json(self) -> dict[str, JsonValue]:
        """The file as JSON-compatible values."""
        return {
            "generated_at": None if self.generated_at is None else format_time(self.generated_at),
            "judged_at": format_time(self.judged_at),
            "keys": [key.as_json() for key in self.keys],
            "authorities": [authority.as_json() for authority in self.authorities],
            "logs": [_log_as_json(log) for log in self.logs],
        }


def describe_trust(trust: Trust, at: datetime) -> TrustFacts:
    """What stands in the trust and what of it counts at the moment `at`."""
    return TrustFacts(
        generated_at=trust.generated_at,
        judged_at=at,
        keys=tuple(_list_key(key, at) for key in trust.keys),
        authorities=tuple(_list_authority(authority, at) for authority in trust.authorities),
        logs=trust.logs,
    )


def _log_as_json(log: TrustedLog) -> dict[str, JsonValue]:
    return {
        "key": str(log.key),
        "witnesses": [str(witness) for witness in log.witnesses],
        "cosignatures": log.cosignatures,
    }


def _list_key(key: TrustedKey, at: datetime) -> ListedKey:
    is_revoked = key.revoked_at is not None and key.revoked_at <= at
    return ListedKey(
        entry=key.describe(),
        key_id=key.key_id,
        key_version=key.key_version,
        kind=describe_key(key.public_key),
        algorithms=(*(each.name for each in key.algorithms), *(each.name for each in key.encryption)),
        revoked_at=key.revoked_at,
        state="revoked" if is_revoked else _window((key.not_before,), (key.not_after,), at),
    )


def _list_authority(authority: Authority, at: datetime) -> ListedAuthority:
    certificate = describe_certificate(authority.certificate)
    begins = (authority.not_before, certificate.not_before)
    ends = (authority.not_after, certificate.not_after)
    return ListedAuthority(
        entry=authority.describe(),
        certificate=certificate,
        crl=None if authority.crl is None else _list_crl(authority.crl, at),
        state=_window(begins, ends, at),
    )


def _list_crl(crl: RevocationList, at: datetime) -> ListedCrl:
    named = sorted(crl.revoked.items())
    return ListedCrl(
        this_update=crl.this_update,
        next_update=crl.next_update,
        revoked=tuple((f"{serial:x}", f"{format_time(each.at)} ({each.reason})") for serial, each in named),
        state="not yet" if at < crl.this_update else "over" if at > crl.next_update else "current",
    )


def _window(
    begins: tuple[datetime | None, ...], ends: tuple[datetime | None, ...], at: datetime
) -> Literal["counts", "not yet", "over"]:
    if any(begin is not None and at < begin for begin in begins):
        return "not yet"
    return "over" if any(end is not None and at > end for end in ends) else "counts"


def print_trust(facts: TrustFacts) -> str:
    """The file as lines for a person, without a newline at the end."""
    made = "" if facts.generated_at is None else f", made {format_time(facts.generated_at)}"
    lines = [f"Trust as of {format_time(facts.judged_at)}{made}"]
    for key in facts.keys:
        version = "" if key.key_version is None else f" version {key.key_version}"
        revoked = None if key.revoked_at is None else f"from {format_time(key.revoked_at)} on"
        lines += _block(
            f"KEY        {key.entry.name}{version}: {key.state}",
            {
                **_entry(key.entry),
                "id": key.key_id,
                "key": f"{key.kind}, sha256 {key.entry.sha256}",
                "algorithms": ", ".join(key.algorithms) or "none that this verifier knows",
                "revoked": revoked,
            },
        )
    for authority in facts.authorities:
        certificate = authority.certificate
        lines += _block(
            f"AUTHORITY  {authority.entry.name}: {authority.state}",
            {
                **_entry(authority.entry),
                "serial": certificate.serial,
                "certificate": f"sha256 {certificate.sha256}",
                "valid": f"{format_time(certificate.not_before)} to {format_time(certificate.not_after)}",
                "revocations": _print_crl(authority.crl),
            },
        )
        lines += [] if authority.crl is None else [f"  revoked      {' '.join(each)}" for each in authority.crl.revoked]
    for log in facts.logs:
        names = ", ".join(witness.name for witness in log.witnesses) or "none"
        needed = f"{log.cosignatures} of {len(log.witnesses)} must have seen its head"
        lines += _block(f"LOG        {log.origin}", {"key": str(log.key), "witnesses": names, "cosigned": needed})
    return "\n".join(printable(line) for line in lines)


def _print_crl(crl: ListedCrl | None) -> str:
    if crl is None:
        return "no list"
    window = f"{format_time(crl.this_update)} to {format_time(crl.next_update)}"
    return f"list of {len(crl.revoked)}, {window}: {crl.state}"


def _entry(entry: TrustEntryFacts) -> dict[str, str | None]:
    begin, end = (None if each is None else format_time(each) for each in (entry.not_before, entry.not_after))
    return {
        "for": "anything" if entry.purposes is None else ", ".join(entry.purposes),
        "issuer": entry.issuer,
        "identities": None if entry.identities is None else ", ".join(entry.identities),
        "window": None if begin is None and end is None else f"{begin or 'ever'} to {end or 'ever'}",
    }


def _block(title: str, members: Mapping[str, str | None]) -> list[str]:
    return [title, *(f"  {name:<12} {value}" for name, value in members.items() if value is not None)]


@dataclass(frozen=True, slots=True)
class TrustDifference:
    """How a trust file differs from an older one. Entries go by names that stay (id and version, or fingerprint)."""

    added: Mapping[str, JsonValue]
    removed: Mapping[str, JsonValue]
    changed: Mapping[str, Mapping[str, tuple[JsonValue, JsonValue]]]  # entry, member: old and new value

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def as_json(self) -> dict[str, JsonValue]:
        """The difference as JSON-compatible values."""
        return {
            "different": bool(self),
            "added": dict(self.added),
            "removed": dict(self.removed),
            "changed": {
                name: {member: {"old": old, "new": new} for member, (old, new) in members.items()}
                for name, members in self.changed.items()
            },
        }


def compare_trust(old: Trust, new: Trust, at: datetime) -> TrustDifference:
    """What was added, removed and changed. When the files were made, and what counts right now, is no difference."""
    before, after = (_entries(describe_trust(trust, at)) for trust in (old, new))
    changed = {
        name: {
            member: (before[name][member], value) for member, value in entry.items() if before[name][member] != value
        }
        for name, entry in after.items()
        if name in before and before[name] != entry
    }
    return TrustDifference(
        added={name: entry for name, entry in after.items() if name not in before},
        removed={name: entry for name, entry in before.items() if name not in after},
        changed=changed,
    )


def _entries(facts: TrustFacts) -> dict[str, dict[str, JsonValue]]:
    """Every entry by a name that stays the same from file to file, without what only the moment decides."""
    entries: dict[str, dict[str, JsonValue]] = {}
    for key in facts.keys:
        named = key.entry.sha256 if key.key_id is None else f"{key.key_id} version {key.key_version}"
        entries[f"key {named}"] = _without_state(key.as_json())
    for authority in facts.authorities:
        issuer = "" if authority.entry.issuer is None else f" for {authority.entry.issuer}"
        entry = _without_state(authority.as_json())
        if isinstance(crl := entry["crl"], dict):
            entry["crl"] = _without_state(crl)
        entries[f"authority {authority.entry.sha256}{issuer}"] = entry
    return entries | {f"log {log.origin}": _log_as_json(log) for log in facts.logs}


def _without_state(entry: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {member: value for member, value in entry.items() if member != "state"}


def print_difference(difference: TrustDifference) -> str:
    """The difference as lines for a person, without a newline at the end."""
    if not difference:
        return "The same keys, authorities and logs."
    lines = [f"- {_titled(name, entry)}" for name, entry in difference.removed.items()]
    lines += [f"+ {_titled(name, entry)}" for name, entry in difference.added.items()]
    for name, members in difference.changed.items():
        lines.append(f"~ {name}")
        lines += [f"    {member}: {_value(old)} -> {_value(new)}" for member, (old, new) in members.items()]
    return "\n".join(printable(line) for line in lines)


def _titled(name: str, entry: JsonValue) -> str:
    return f"{name} ({entry['name']})" if isinstance(entry, dict) and "name" in entry else name


def _value(value: JsonValue) -> str:
    if isinstance(value, dict):
        return _join(f"{member} {_value(each)}" for member, each in value.items())
    if isinstance(value, list):
        return _join(_value(each) for each in value)
    return "none" if value is None else str(value)


def _join(texts: Iterable[str]) -> str:
    return ", ".join(texts) or "empty"
