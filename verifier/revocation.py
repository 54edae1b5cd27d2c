"""Revocation lists (CRLs, RFC 5280 section 5), read from files and held against certificates. Fetches nothing.

Read are full lists, signed by the authority itself. What narrows or splits a list (issuing distribution points, delta
lists, indirect lists) and every critical extension besides is refused: who reads past it misses revocations.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from verifier.certificates import certified_key, extension, is_strong_signature, name_of
from verifier.errors import Indeterminate, Rejected
from verifier.results import RevocationFacts
from verifier.times import CLOCK_MARGIN, format_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

MAXIMUM_CRL_BYTES: Final = 16 * 1024 * 1024
MAXIMUM_LISTS: Final = 100
_PEM_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_NARROWING: Final = (x509.IssuingDistributionPoint, x509.DeltaCRLIndicator)
_HANDLED: Final = (x509.CRLNumber, x509.AuthorityKeyIdentifier)
_HARMLESS: Final = frozenset({"affiliationChanged", "superseded", "cessationOfOperation"})
_HANDLED_IN_ENTRIES: Final = (x509.CRLReason, x509.InvalidityDate)


@dataclass(frozen=True, slots=True)
class Revocation:
    """One line of a list. `reason` is RFC 5280's name for it (`keyCompromise`), `unspecified` where none is given.

    `since` is the invalidity date, where the line has an earlier one than that of the revocation (section 5.3.2).
    """

    at: datetime
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class RevocationList:
    """One list in full: who must have signed it (checked by `is_by`), when it holds, which serial numbers it names."""

    issuer: x509.Name
    this_update: datetime
    next_update: datetime
    revoked: Mapping[int, Revocation]
    source: x509.CertificateRevocationList

    def is_by(self, authority: x509.Certificate) -> bool:
        """Whether this authority's key signed the list, by an algorithm that is allowed, and may sign lists."""
        usage = extension(authority, x509.KeyUsage)
        if self.issuer != authority.subject or (usage is not None and not usage.crl_sign):
            return False
        try:
            return is_strong_signature(self.source) and self.source.is_signature_valid(certified_key(authority))
        except (TypeError, ValueError, UnsupportedAlgorithm):
            return False

    def is_current(self, at: datetime) -> bool:
        """Whether the moment lies between this list and the next (RFC 5280 sections 5.1.2.4 and 5.1.2.5)."""
        return self.this_update <= at <= self.next_update


@dataclass(frozen=True, slots=True)
class RevocationPolicy:
    """What is asked of certificates at the moment `at`.

    A revocation counts from its own time on; `latest` is the last time that counts, and is the machine's clock or `at`,
    whichever is later: a time that is merely claimed does not get a signature past a revocation that is known.
    `demanded` makes a certificate without a current list `Indeterminate`. `proven_at` is the moment by which a log's
    witnesses had seen the signature, where that is what `at` was taken from.
    """

    at: datetime
    latest: datetime
    lists: tuple[RevocationList, ...] = ()
    demanded: bool = False
    proven_at: datetime | None = None

    def excuses(self, revocation: Revocation) -> bool:
        """Whether the signature is proven to be older than this revocation, and its reason tells that the key was good.

        RFC 3161 section 4 judges the same for time-stamps. It excuses an unspecified reason too, and this does not: who
        does not say why may have lost the key, and when is not known.
        """
        if self.proven_at is None or revocation.reason not in _HARMLESS:
            return False
        return self.proven_at + CLOCK_MARGIN < revocation.since

    def clears(self, each: RevocationList, certificate: x509.Certificate) -> bool:
        """Whether the list, which does not name the certificate, tells that it is not revoked.

        One of today's tells it of a signature that a log proves to be older, unless the certificate had expired by
        then: authorities take those off their lists (RFC 5280 section 3.3).
        """
        if each.is_current(self.at):
            return True
        is_listed = certificate.not_valid_after_utc >= each.this_update
        return self.proven_at is not None and each.is_current(self.latest) and is_listed


def load_revocation_lists(data: bytes) -> tuple[RevocationList, ...]:
    """Reads one DER list, or PEM lists. `Indeterminate` (invalid_crl) for one that is malformed or must not be used."""
    try:
        if len(data) > MAXIMUM_CRL_BYTES:
            raise ValueError(f"larger than {MAXIMUM_CRL_BYTES} bytes")
        if b"-----BEGIN " not in data:
            return (parse_revocation_list(data),)
        blocks = list(_PEM_BLOCK.finditer(data))
        if not 1 <= len(blocks) <= MAXIMUM_LISTS or any(block[1] != b"X509 CRL" for block in blocks):
            raise ValueError(f"it must hold 1 to {MAXIMUM_LISTS} PEM revocation lists and nothing else")
        return tuple(_read(x509.load_pem_x509_crl, block[0]) for block in blocks)
    except ValueError as error:
        raise Indeterminate("invalid_crl", f"The revocation list cannot be used: {error}.") from error


def parse_revocation_list(data: bytes) -> RevocationList:
    """One DER list. ValueError if it is malformed or one that this package does not read."""
    return _read(x509.load_der_x509_crl, data)


def _read(load: Callable[[bytes], x509.CertificateRevocationList], data: bytes) -> RevocationList:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return _decode(load(data))
    except ValueError:
        raise
    except Exception as error:
        # The library decodes late, and says or warns in a dozen ways that it cannot. Not one of them is a usable list.
        raise ValueError(f"not a well-formed revocation list ({type(error).__name__})") from error


def _decode(source: x509.CertificateRevocationList) -> RevocationList:
    _check_extensions(source.extensions)
    revoked: dict[int, Revocation] = {}
    for entry in source:
        if entry.serial_number in revoked:
            raise ValueError("the list names a serial number twice")
        revoked[entry.serial_number] = _revocation(entry)
    if source.next_update_utc is None:
        raise ValueError("the list does not say when the next one is due")
    # A name that cannot be written down is no name: the library decodes some of it only then.
    _ = source.issuer.rfc4514_string()
    return RevocationList(
        source.issuer, source.last_update_utc, source.next_update_utc, MappingProxyType(revoked), source
    )


def _check_extensions(extensions: Iterable[x509.Extension[x509.ExtensionType]]) -> None:
    """RFC 5280 section 5.2: a list with something critical that is not understood must not be used."""
    for entry in extensions:
        if isinstance(entry.value, _NARROWING):
            raise ValueError("lists for some certificates only and delta lists are not read")
        if entry.critical and not isinstance(entry.value, _HANDLED):
            raise ValueError(f"the list has a critical extension {entry.oid.dotted_string} that is not read")


def _revocation(entry: x509.RevokedCertificate) -> Revocation:
    """RFC 5280 section 5.3, where the same holds for what stands in an entry."""
    reason, since = x509.ReasonFlags.unspecified, entry.revocation_date_utc
    for each in entry.extensions:
        if isinstance(each.value, x509.CertificateIssuer):
            raise ValueError("a list that speaks for other authorities is not read")
        if each.critical and not isinstance(each.value, _HANDLED_IN_ENTRIES):
            raise ValueError(f"an entry has a critical extension {each.oid.dotted_string} that is not read")
        if isinstance(each.value, x509.CRLReason):
            reason = each.value.reason
        if isinstance(each.value, x509.InvalidityDate):
            since = min(since, each.value.invalidity_date_utc)
    return Revocation(entry.revocation_date_utc, str(reason.value), since)


def check_revocation(
    certificate: x509.Certificate, issuer: x509.Certificate, policy: RevocationPolicy
) -> RevocationFacts:
    """Rejected if a list of the issuer names the certificate; what is known about it otherwise.

    A list that is out of its time still revokes, but does not clear. `Indeterminate` (revocation_unknown) where a
    current list is demanded and there is none. What the policy excuses is told as `revoked-later`.
    """
    named = [each for each in policy.lists if each.issuer == issuer.subject]
    lists = [each for each in named if each.is_by(issuer)]
    later: str | None = None
    for each in lists:
        entry = each.revoked.get(certificate.serial_number)
        if entry is None or entry.at > policy.latest:
            continue
        when = f"the certificate of {name_of(certificate)} was revoked at {format_time(entry.at)} ({entry.reason})"
        if not policy.excuses(entry):
            raise Rejected("certificate_revoked", f"{when[0].upper()}{when[1:]}.")
        later = f"{when}, after the log's witnesses had seen the signature"
    current = [each.next_update for each in lists if policy.clears(each, certificate)]
    if current:
        status: Literal["not-revoked", "revoked-later"] = "not-revoked" if later is None else "revoked-later"
        return RevocationFacts(status, checked_until=max(current), reason=later)
    reason = _why_unknown(issuer, named, lists, policy.at)
    if policy.demanded:
        message = f"Whether the certificate of {name_of(certificate)} is revoked is not known: {reason}."
        raise Indeterminate("revocation_unknown", message)
    return RevocationFacts("not-checked" if later is None else "revoked-later", reason=later or reason)


def _why_unknown(
    issuer: x509.Certificate, named: Sequence[RevocationList], lists: Sequence[RevocationList], at: datetime
) -> str:
    who = name_of(issuer)
    if not named:
        return f"no revocation list of {who} was given"
    if not lists:
        return f"the revocation list that names {who} is not signed by its key, or it may not sign one"
    newest = max(lists, key=lambda each: each.next_update)
    if at > newest.next_update:
        return f"the revocation list of {who} was to be replaced by {format_time(newest.next_update)}"
    return f"the revocation list of {who} is from {format_time(newest.this_update)} only"
