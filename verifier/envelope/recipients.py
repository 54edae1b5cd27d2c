"""Whom a file is encrypted to: one RSA key that the caller's trust names for that, or that an authority certifies.

Nothing is encrypted to a key that is revoked, out of its time, for another purpose, weak, or of another fingerprint
than the caller gives.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import padding, rsa

from verifier.algorithms import ENCRYPTION_ALGORITHMS, EncryptionAlgorithm
from verifier.certificates import certified_key, identities_of, load_pem_certificates, name_of
from verifier.chains import ENCRYPTION, check_chain
from verifier.errors import Indeterminate, Rejected
from verifier.keys import describe_key, fingerprint
from verifier.revocation import RevocationPolicy
from verifier.times import format_time, require_aware
from verifier.trust import ENCRYPT, TrustedKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from verifier.chains import Chain
    from verifier.results import CertificateFacts
    from verifier.revocation import RevocationList
    from verifier.strict_json import JsonValue
    from verifier.trust import Trust

_KEY_NAME: Final = re.compile(r"urn:uuid:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Recipient:
    """A public key that may be encrypted to, and the algorithm. Made by `recipient_of` and `certified_recipient`.

    `name` is what trust, or the certificate's subject, calls it; `certificates` the chain that vouches for it.
    """

    public_key: rsa.RSAPublicKey
    algorithm: EncryptionAlgorithm
    key_id: str | None = None
    key_version: int | None = None
    name: str | None = None
    certificates: tuple[CertificateFacts, ...] = ()
    not_covered: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """SHA-256 of the key's SubjectPublicKeyInfo, lower-case hex."""
        return fingerprint(self.public_key)

    @property
    def maximum_plaintext(self) -> int:
        """Octets that one bare ciphertext can hold."""
        return self.algorithm.maximum_plaintext(self.public_key.key_size)

    def encrypt(self, plaintext: bytes) -> bytes:
        """The bare ciphertext, as long as the modulus: what the service's decrypt and AWS KMS Decrypt take.

        ValueError for more than `maximum_plaintext` octets.
        """
        if len(plaintext) > self.maximum_plaintext:
            raise ValueError(f"{self.algorithm.name} under this key encrypts at most {self.maximum_plaintext} octets")
        digest = self.algorithm.digest
        return self.public_key.encrypt(plaintext, padding.OAEP(padding.MGF1(digest), digest, None))

    def as_json(self) -> dict[str, JsonValue]:
        """The key as JSON-compatible values."""
        return {
            "key_id": self.key_id,
            "key_version": self.key_version,
            "name": self.name,
            "kind": describe_key(self.public_key),
            "sha256": self.sha256,
            "algorithm": self.algorithm.name,
            "certificates": [each.as_json() for each in self.certificates],
        }


def recipient_of(
    trust: Trust,
    *,
    key: str | None = None,
    algorithm: str | None = None,
    sha256: str | None = None,
    at: datetime | None = None,
) -> Recipient:
    """The key of a trust bundle or a PEM file that files are to be encrypted to: its newest version that counts.

    `key` is a name or an id, and may be left out where one key alone is for encryption. `algorithm` is an AWS name
    (RSAES_OAEP_SHA_256 unless given), `sha256` the fingerprint that the key must have (hex, with or without colons).
    Rejected, Indeterminate (no_trust, unknown_key), and ValueError for arguments that make no sense.
    """
    now = _moment(at)
    versions = _versions(trust, key)
    usable = _newest_usable(versions, now)
    if not isinstance(usable.public_key, rsa.RSAPublicKey):
        raise Rejected("algorithm_mismatch", f"The key {usable.label} is not an RSA key: nothing is encrypted to it.")
    recipient = Recipient(
        public_key=usable.public_key,
        algorithm=_algorithm(algorithm, usable),
        key_id=usable.key_id,
        key_version=usable.key_version,
        name=usable.name,
        not_covered=(trust.revocation_limit,),
    )
    return _demand(recipient, sha256)


def certified_recipient(
    chain: bytes,
    trust: Trust,
    *,
    algorithm: str | None = None,
    sha256: str | None = None,
    at: datetime | None = None,
    crls: Iterable[RevocationList] = (),
    require_crl: bool = False,
) -> Recipient:
    """The key of the first certificate in `chain` (PEM, leaf first), which one of trust's authorities must vouch for.

    The leaf must allow key encipherment. A key that trust lists besides is held to its entry. The other arguments are
    those of `recipient_of` and of `verify_artifact`. Rejected, Indeterminate, ValueError as there.
    """
    now = _moment(at)
    authorities = trust.authorities_for(ENCRYPT)
    if not authorities:
        raise Indeterminate("no_trust", "The trust file names no authority for keys to encrypt to.")
    try:
        leaf, *others = load_pem_certificates(chain)
    except ValueError as error:
        raise Indeterminate("invalid_trust", f"The certificates cannot be used: {error}.") from error
    policy = RevocationPolicy(at=now, latest=max(now, datetime.now(UTC)), lists=tuple(crls), demanded=require_crl)
    held = check_chain(leaf, others, authorities, policy, ENCRYPTION)
    public_key = certified_key(leaf)
    if not isinstance(public_key, rsa.RSAPublicKey):
        message = f"The certificate of {name_of(leaf)} is not for an RSA key: nothing is encrypted to it."
        raise Rejected("algorithm_mismatch", message)
    listed = trust.find_key(public_key)
    if listed is not None:
        _check_purpose(listed)
        listed.check_usable(at=policy.at, latest=policy.latest)
    named = [match[1] for match in map(_KEY_NAME.fullmatch, identities_of(leaf)) if match]
    recipient = Recipient(
        public_key=public_key,
        algorithm=_algorithm(algorithm, listed),
        key_id=named[0] if len(named) == 1 else None,
        key_version=None if listed is None else listed.key_version,
        name=name_of(leaf),
        certificates=held.describe(),
        not_covered=_unchecked(held),
    )
    return _demand(recipient, sha256)


def _unchecked(held: Chain) -> tuple[str, ...]:
    return tuple(f"revocation was not checked: {each}" for each in held.unchecked)


def _moment(at: datetime | None) -> datetime:
    return datetime.now(UTC) if at is None else require_aware(at, "at")


def _versions(trust: Trust, named: str | None) -> Sequence[TrustedKey]:
    """All versions of the one key that is meant."""
    if named is not None:
        found = [each for each in trust.keys if named in (each.name, each.key_id) and each.key_id is not None]
        if not found:
            raise Indeterminate("unknown_key", f"The trust file names no key {named!r}.")
    else:
        found = [each for each in trust.keys if each.speaks_for(ENCRYPT)]
        if not found:
            raise Indeterminate("no_trust", "The trust file names no key to encrypt to.")
    if len({each.key_id for each in found}) > 1:
        labels = ", ".join(sorted({f"{each.label} ({each.key_id})" for each in found}))
        raise ValueError(f"say which key to encrypt to, by its id: {labels}")
    for each in found:
        _check_purpose(each)
    return found


def _check_purpose(key: TrustedKey) -> None:
    if not key.speaks_for(ENCRYPT):
        message = f"The key {key.label} is trusted for {key.purpose}, not to encrypt to."
        raise Rejected("key_not_for_this_purpose", message)


def _newest_usable(versions: Sequence[TrustedKey], now: datetime) -> TrustedKey:
    """The newest version that counts. Rejected with the newest one's reason where none does."""
    refused: Rejected | None = None
    for version in sorted(versions, key=lambda each: each.key_version or 0, reverse=True):
        try:
            version.check_usable(at=now, latest=max(now, datetime.now(UTC)))
        except Rejected as reason:
            refused = refused or reason
        else:
            return version
    raise refused or Indeterminate("unknown_key", f"No version of the key counts at {format_time(now)}.")


def _algorithm(named: str | None, key: TrustedKey | None) -> EncryptionAlgorithm:
    """The algorithm named, or the first that the key has, as far as trust says which it has."""
    if named is not None and named not in ENCRYPTION_ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(ENCRYPTION_ALGORITHMS)}")
    allowed = tuple(ENCRYPTION_ALGORITHMS.values()) if key is None else key.encryption
    fitting = [each for each in ENCRYPTION_ALGORITHMS.values() if each in allowed and named in (None, each.name)]
    if not fitting:
        who = "The key" if key is None else f"The key {key.label}"
        raise Rejected(
            "algorithm_mismatch", f"{who} is not trusted for {named or 'an algorithm that this package has'}."
        )
    return fitting[0]


def _demand(recipient: Recipient, sha256: str | None) -> Recipient:
    """The recipient, if its fingerprint is the one that the caller has from elsewhere."""
    if sha256 is None:
        return recipient
    wanted = sha256.replace(":", "").lower()
    if not _FINGERPRINT.fullmatch(wanted):
        raise ValueError("a fingerprint is the SHA-256 of the key's SubjectPublicKeyInfo: 64 hexadecimal digits")
    if recipient.sha256 != wanted:
        raise Rejected("key_mismatch", f"The key's fingerprint is {recipient.sha256}, not the one that you gave.")
    return recipient
