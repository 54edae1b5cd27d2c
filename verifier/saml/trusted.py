"""An identity provider's keys from a trust file: those that it lists for the purpose `saml` and for this one issuer.

signxml takes keys in certificates only. A key that is listed bare is wrapped in a certificate made for the occasion by
a key that is thrown away: it carries the key to signxml and proves nothing, and no result ever shows it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from verifier.errors import Indeterminate, Rejected

if TYPE_CHECKING:
    from verifier.results import KeyFacts
    from verifier.trust import Trust, TrustedKey

PURPOSE: Final = "saml"
_MARGIN: Final = timedelta(days=1)


def trusted_carriers(trust: Trust, issuer: str, *, at: datetime, latest: datetime) -> tuple[x509.Certificate, ...]:
    """The keys that may sign this issuer's assertions at the moment `at`, each in a carrier.

    `latest` is the last moment whose revocations count (`TrustedKey.check_usable`). `Indeterminate` (no_trust) if the
    trust lists none of the issuer; Rejected with the first reason if none of them may sign.
    """
    listed = trust.keys_of(PURPOSE, issuer)
    if not listed:
        raise Indeterminate("no_trust", f"The trust file names no key for assertions of {issuer!r}.")
    usable: list[TrustedKey] = []
    refused: Rejected | None = None
    for key in listed:
        try:
            key.check_usable(at=at, latest=latest)
            usable.append(key)
        except Rejected as error:
            refused = refused or error
    if refused is not None and not usable:
        raise refused
    return tuple(_carrier(key, at) for key in usable)


def describe_trusted_key(trust: Trust, issuer: str, carrier: x509.Certificate, algorithm: str) -> KeyFacts:
    """The key that a carrier held, with the entry that lists it. Rejected if it is not listed for the algorithm."""
    listed = trust.find_key(carrier.public_key())
    if listed is None or listed not in trust.keys_of(PURPOSE, issuer):
        raise Rejected("untrusted_signer", "The signature's key is not listed for this issuer.")
    if algorithm not in {each.name for each in listed.algorithms}:
        raise Rejected("algorithm_mismatch", f"The key {listed.label} is not trusted for {algorithm}.")
    return listed.key_facts(algorithm)


def _carrier(key: TrustedKey, at: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "carrier of a trusted key")])
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key,
        serial_number=x509.random_serial_number(),
        not_valid_before=at - _MARGIN,
        not_valid_after=at + _MARGIN,
    ).add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
