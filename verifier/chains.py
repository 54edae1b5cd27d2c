"""Certificate chains for signatures over files and for keys to encrypt to (RFC 5280 section 6, the parts they use).

A leaf, at most two intermediates that come along, and an authority that the caller trusts. What a message
carries is only a candidate. Every check is explicit; an extension that is critical and not handled here refuses the
chain. Certificate policies are not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

from verifier.certificates import (
    certified_key,
    check_validity,
    describe_certificate,
    extension,
    identities_of,
    is_strong_signature,
    name_of,
)
from verifier.errors import Indeterminate, Rejected
from verifier.keys import WeakKeyError
from verifier.name_constraints import check_name_constraints
from verifier.revocation import RevocationPolicy, check_revocation
from verifier.times import format_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from verifier.results import CertificateFacts, RevocationFacts
    from verifier.trust import Authority

MAXIMUM_CHAIN: Final = 4
_HANDLED_EXTENSIONS: Final = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.NameConstraints,
    x509.SubjectAlternativeName,
)


@dataclass(frozen=True, slots=True)
class LeafUse:
    """What a leaf is wanted for: the key usage it must have (RFC 5280 section 4.2.1.3) and the extended key usage.

    `is_needed` says whether a leaf must name the extended usage; where it need not, one that names others only is
    refused all the same (section 4.2.1.12).
    """

    key_usage: Literal["digital_signature", "key_encipherment"]
    key_usage_words: str
    extended: x509.ObjectIdentifier
    words: str
    verb: str
    is_needed: bool


CODE_SIGNING: Final = LeafUse(
    "digital_signature", "digital signatures", ExtendedKeyUsageOID.CODE_SIGNING, "code signing", "sign files", True
)
# No extended usage is registered for the encryption of files: a leaf names none, or any.
ENCRYPTION: Final = LeafUse(
    "key_encipherment",
    "key encipherment",
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "encryption",
    "have files encrypted to it",
    False,
)


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain that holds, leaf first, to the certificate of `authority`; `revocation` for each but the authority's."""

    certificates: tuple[x509.Certificate, ...]
    authority: Authority
    revocation: tuple[RevocationFacts, ...]

    def describe(self) -> tuple[CertificateFacts, ...]:
        """The certificates for people and programs, leaf first."""
        states = (*self.revocation, None)
        return tuple(describe_certificate(each, state) for each, state in zip(self.certificates, states, strict=True))

    @property
    def revoked_later(self) -> tuple[str, ...]:
        """Revocations that came after the signature was proven to exist, one sentence each."""
        return tuple(state.reason for state in self.revocation if state.status == "revoked-later" and state.reason)

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Why the revocation of certificates is not known, one reason each."""
        reasons = (state.reason for state in self.revocation if state.status == "not-checked" and state.reason)
        return tuple(dict.fromkeys(reasons))


def check_chain(
    leaf: x509.Certificate,
    candidates: Sequence[x509.Certificate],
    authorities: Sequence[Authority],
    policy: RevocationPolicy,
    use: LeafUse = CODE_SIGNING,
) -> Chain:
    """The chain from `leaf` to one of `authorities`, all of it fit for the use at the policy's moment.

    `candidates` are intermediates that came along. One chain that holds is enough. Where none does:
    Indeterminate if one of them could not be decided, else Rejected with the reason of the first that ends at an
    authority, or untrusted_signer where there is none.
    """
    rejected: Rejected | None = None
    undecided: Indeterminate | None = None
    for path, authority in _paths((leaf,), candidates, authorities):
        try:
            return _check_path(path, authority, policy, use)
        except Rejected as error:
            rejected = rejected or error
        except Indeterminate as error:
            undecided = undecided or error
    raise (
        undecided
        or rejected
        or Rejected("untrusted_signer", f"No authority that you trust vouches for {name_of(leaf)}.")
    )


def _paths(
    path: tuple[x509.Certificate, ...], candidates: Sequence[x509.Certificate], authorities: Sequence[Authority]
) -> Iterator[tuple[tuple[x509.Certificate, ...], Authority]]:
    """Every path of at most MAXIMUM_CHAIN certificates from the last of `path` to an authority, with that authority."""
    for authority in authorities:
        if _issued(authority.certificate, path[-1]):
            yield (*path, authority.certificate), authority
    if len(path) + 2 > MAXIMUM_CHAIN:
        return
    anchors = {authority.certificate for authority in authorities}
    for candidate in candidates:
        if candidate not in path and candidate not in anchors and _issued(candidate, path[-1]):
            yield from _paths((*path, candidate), candidates, authorities)


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Whether the issuer's name and key are those that signed the certificate."""
    if issuer.subject != certificate.issuer:
        return False
    try:
        certified_key(issuer)
        if not is_strong_signature(certificate):
            return False
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, ValueError, UnsupportedAlgorithm):
        return False
    return True


def _check_path(
    path: tuple[x509.Certificate, ...], authority: Authority, policy: RevocationPolicy, use: LeafUse
) -> Chain:
    _check_leaf(path[0], use)
    for below, issuer in enumerate(path[1:]):
        _check_issuer(issuer, use, intermediates_below=below, is_anchor=below == len(path) - 2)
    for certificate in path:
        _check_critical_extensions(certificate)
        check_validity(certificate, policy.at)
    check_name_constraints(path)
    _check_authority_entry(authority, path[0], policy.at)
    if authority.crl is not None:
        policy = replace(policy, lists=(*policy.lists, authority.crl))
    revocation = tuple(check_revocation(certificate, issuer, policy) for certificate, issuer in pairwise(path))
    return Chain(path, authority, revocation)


def _check_authority_entry(authority: Authority, leaf: x509.Certificate, at: datetime) -> None:
    """The window and the identities for which the trust lets the authority speak."""
    who = name_of(authority.certificate)
    if authority.not_before is not None and at < authority.not_before:
        begin = format_time(authority.not_before)
        raise Rejected("authority_not_yet_valid", f"The authority {who} is trusted from {begin} only.")
    if authority.not_after is not None and at > authority.not_after:
        end = format_time(authority.not_after)
        raise Rejected("authority_expired", f"The authority {who} is trusted until {end} only.")
    if authority.identities is None:
        return
    identities = identities_of(leaf)
    if not identities:
        message = f"The certificate of {name_of(leaf)} names no identity; {who} is trusted for some identities only."
        raise Rejected("identity_mismatch", message)
    for identity in identities:
        if identity not in authority.identities:
            raise Rejected("identity_mismatch", f"The authority {who} is not trusted for the identity {identity!r}.")


def _check_leaf(leaf: x509.Certificate, use: LeafUse) -> None:
    who = name_of(leaf)
    constraints = extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise Rejected("certificate_not_suitable", f"{who} is an authority: its certificate may not {use.verb}.")
    usage = extension(leaf, x509.KeyUsage)
    if usage is None or not getattr(usage, use.key_usage):
        raise Rejected("certificate_not_suitable", f"The certificate of {who} does not allow {use.key_usage_words}.")
    purposes = extension(leaf, x509.ExtendedKeyUsage)
    if (purposes is None and use.is_needed) or (purposes is not None and use.extended not in purposes):
        raise Rejected("certificate_not_suitable", f"The certificate of {who} is not for {use.words}.")
    try:
        certified_key(leaf)
    except WeakKeyError as error:
        raise Rejected("weak_key", f"The key of {who} is refused: {error}.") from error


def _check_issuer(authority: x509.Certificate, use: LeafUse, *, intermediates_below: int, is_anchor: bool) -> None:
    who = name_of(authority)
    constraints = extension(authority, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise Rejected("certificate_not_suitable", f"{who} is not an authority and may not certify others.")
    if constraints.path_length is not None and intermediates_below > constraints.path_length:
        raise Rejected("certificate_not_suitable", f"The chain under {who} is longer than its certificate allows.")
    usage = extension(authority, x509.KeyUsage)
    if (usage is None and not is_anchor) or (usage is not None and not usage.key_cert_sign):
        raise Rejected("certificate_not_suitable", f"The certificate of {who} does not allow it to certify others.")
    purposes = extension(authority, x509.ExtendedKeyUsage)
    if purposes is not None and use.extended not in purposes:
        raise Rejected("certificate_not_suitable", f"The authority {who} may not certify {use.words}.")


def _check_critical_extensions(certificate: x509.Certificate) -> None:
    for entry in certificate.extensions:
        if entry.critical and not isinstance(entry.value, _HANDLED_EXTENSIONS):
            message = f"The certificate of {name_of(certificate)} has a critical extension {entry.oid.dotted_string}"
            raise Rejected("certificate_not_suitable", f"{message} that this verifier does not handle.")
