"""Who signed: the certificate and the key of a signature, held against what the caller trusts for files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from verifier.certificates import name_of
from verifier.chains import Chain, check_chain
from verifier.errors import Indeterminate, Rejected
from verifier.keys import PublicKey, describe_key, fingerprint
from verifier.results import KeyFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from verifier.algorithms import SignatureAlgorithm
    from verifier.results import CertificateFacts
    from verifier.revocation import RevocationPolicy
    from verifier.trust import Trust, TrustedKey

PURPOSE: Final = "artifact"

NOT_REVOCATION: Final = "revocation was not checked: "
NOT_CERTIFICATE: Final = "the certificate in the signature was not judged: you trust its key"


@dataclass(frozen=True, slots=True)
class Signer:
    """The signer of a file, as trust knows it: by a chain to an authority, by an entry for the key, or by both."""

    public_key: PublicKey
    algorithm: SignatureAlgorithm
    chain: Chain | None
    listed: TrustedKey | None

    @property
    def name(self) -> str:
        """The certificate's subject, or what trust calls the key."""
        if self.chain is not None:
            return name_of(self.chain.certificates[0])
        return f"key {fingerprint(self.public_key)[:16]}" if self.listed is None else self.listed.label

    def describe_key(self) -> KeyFacts:
        """The key, and the entries of trust that it was held against."""
        entries = [] if self.chain is None else [self.chain.authority.describe()]
        if self.listed is not None:
            entries.append(self.listed.describe())
        return KeyFacts(
            algorithm=self.algorithm.name,
            kind=describe_key(self.public_key),
            sha256=fingerprint(self.public_key),
            trusted_by="key" if self.chain is None else "authority",
            key_id=None if self.listed is None else self.listed.key_id,
            key_version=None if self.listed is None else self.listed.key_version,
            name=None if self.listed is None else self.listed.name,
            entries=tuple(entries),
        )

    def describe_certificates(self) -> tuple[CertificateFacts, ...]:
        """The chain, leaf first; empty where the key itself is trusted."""
        return () if self.chain is None else self.chain.describe()


def trust_certified_signer(
    certificate: x509.Certificate,
    candidates: Sequence[x509.Certificate],
    signed: tuple[PublicKey, SignatureAlgorithm],
    trust: Trust,
    policy: RevocationPolicy,
) -> tuple[Signer, tuple[str, ...]]:
    """The signer of a signature that carries its certificate, and what of it was not covered.

    Where trust names authorities for files, a chain to one of them is always needed; a listed key must be used as its
    entry says whether or not there is a chain. Rejected or Indeterminate otherwise.
    """
    public_key, algorithm = signed
    listed = trust.find_key(public_key)
    if listed is not None:
        check_listed_key(listed, algorithm, policy)
    authorities = trust.authorities_for(PURPOSE)
    if authorities:
        chain = check_chain(certificate, candidates, authorities, policy)
        limits = tuple(NOT_REVOCATION + each for each in chain.unchecked)
        return Signer(public_key, algorithm, chain, listed), (*chain.revoked_later, *limits)
    if listed is None:
        raise Rejected("untrusted_signer", f"{name_of(certificate)} signed with a key that you do not trust.")
    check_revocation_possible(policy)
    return Signer(public_key, algorithm, None, listed), (NOT_CERTIFICATE, trust.revocation_limit)


def trust_listed_signer(key: TrustedKey, algorithm: SignatureAlgorithm, policy: RevocationPolicy) -> Signer:
    """The signer of a signature that carries no certificate, by the entry whose key made it. Rejected if it may not."""
    check_listed_key(key, algorithm, policy)
    check_revocation_possible(policy)
    return Signer(key.public_key, algorithm, None, key)


def check_listed_key(key: TrustedKey, algorithm: SignatureAlgorithm, policy: RevocationPolicy) -> None:
    """Rejected unless the trust lets the key make artifact signatures with this algorithm at this moment."""
    if not key.speaks_for(PURPOSE):
        message = f"The key {key.label} is trusted for {key.purpose}, not for artifacts."
        raise Rejected("key_not_for_this_purpose", message)
    if algorithm not in key.algorithms:
        raise Rejected("algorithm_mismatch", f"The key {key.label} is not trusted for {algorithm.name}.")
    key.check_usable(at=policy.at, latest=policy.latest)


def check_revocation_possible(policy: RevocationPolicy) -> None:
    """Indeterminate where a revocation list is demanded and a bare key is trusted: no list names keys."""
    if policy.demanded:
        message = "A revocation list is demanded, but what you trust is a key: there is no certificate to look up."
        raise Indeterminate("revocation_unknown", message)
