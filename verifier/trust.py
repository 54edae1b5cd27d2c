"""What the caller trusts: a trust bundle (`trust.json`), one PEM public key, or PEM certificates of authorities.

Which of the three it is shows in the content. Nothing that a signature carries ever becomes trust. A trust file that
cannot be used is `Indeterminate`: it says nothing about the signature.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from verifier.algorithms import ALGORITHMS, ENCRYPTION_ALGORITHMS, EncryptionAlgorithm, SignatureAlgorithm
from verifier.certificates import check_authority, load_certificate, load_pem_certificates, name_of
from verifier.errors import Indeterminate, Rejected
from verifier.keys import (
    PublicKey,
    algorithms_of,
    check_public_key,
    describe_key,
    fingerprint,
    key_kind,
    load_pem_public_key,
    load_public_key,
    subject_public_key_info,
)
from verifier.results import KeyFacts, TrustEntryFacts
from verifier.revocation import RevocationList, parse_revocation_list
from verifier.strict_json import JsonValue, check_members, parse_object
from verifier.times import format_time, parse_time
from verifier.trusted_logs import TrustedLog, parse_logs

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

MAXIMUM_TRUST_BYTES: Final = 16 * 1024 * 1024
TRUST_VERSION: Final = 1
ENCRYPT: Final = "encrypt"
PURPOSES: Final = frozenset({"artifact", "jwt", "saml", "general", ENCRYPT})

_BUNDLE_MEMBERS: Final = frozenset({"version", "generated_at", "keys", "authorities"})
_OPTIONAL_MEMBERS: Final = frozenset({"logs"})
_KEY_MEMBERS: Final = frozenset(
    {
        *("key_id", "key_version", "name", "purpose", "issuer", "algorithms", "public_key"),
        *("not_before", "not_after", "revoked_at"),
    }
)
_AUTHORITY_MEMBERS: Final = frozenset(
    {"purposes", "certificate", "identities", "issuer", "not_before", "not_after", "crl"}
)
_WITH_ISSUER: Final = frozenset({"jwt", "saml"})  # purposes whose messages name who issued them
_PEM_LABEL: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key that the trust names. `purpose` None (a bare PEM key) means that the caller vouches for any use.

    `algorithms` are those that it signs with; a key to encrypt to has `encryption` in their place, a bare RSA key both.
    `issuer` is the one whose tokens or assertions the key signs. From `revoked_at` on nothing by the key is accepted.
    """

    public_key: PublicKey
    algorithms: tuple[SignatureAlgorithm, ...]
    key_id: str | None = None
    key_version: int | None = None
    name: str | None = None
    purpose: str | None = None
    issuer: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    revoked_at: datetime | None = None
    encryption: tuple[EncryptionAlgorithm, ...] = ()

    def speaks_for(self, purpose: str) -> bool:
        """Whether the trust lets this key sign for the purpose."""
        return self.purpose in (None, purpose)

    @property
    def label(self) -> str:
        """What a person calls the key: its name, else its id, else its fingerprint."""
        return self.name or self.key_id or f"key {fingerprint(self.public_key)[:16]}"

    def check_usable(self, *, at: datetime, latest: datetime) -> None:
        """Rejected unless the trust lets the key count at the moment `at`.

        A revocation counts once its time is not after `latest`, the later of `at` and the machine's clock: what a known
        revocation forbids cannot be had by claiming an earlier time, nor by proving one, since whoever revokes a key
        seldom knows when it was stolen.
        """
        if self.revoked_at is not None and self.revoked_at <= latest:
            message = f"The key {self.label} was revoked at {format_time(self.revoked_at)}: no use of it is believed."
            raise Rejected("key_revoked", message)
        if self.not_before is not None and at < self.not_before:
            begin = format_time(self.not_before)
            raise Rejected("key_not_yet_valid", f"The key {self.label} is trusted from {begin} only.")
        if self.not_after is not None and at > self.not_after:
            raise Rejected("key_expired", f"The key {self.label} is trusted until {format_time(self.not_after)} only.")

    def key_facts(self, algorithm: str) -> KeyFacts:
        """The key, for the facts of a message that it signed with the algorithm."""
        return KeyFacts(
            algorithm=algorithm,
            kind=describe_key(self.public_key),
            sha256=fingerprint(self.public_key),
            trusted_by="key",
            key_id=self.key_id,
            key_version=self.key_version,
            name=self.name,
            entries=(self.describe(),),
        )

    def describe(self) -> TrustEntryFacts:
        """The entry, for the facts."""
        return TrustEntryFacts(
            kind="key",
            name=self.label,
            sha256=fingerprint(self.public_key),
            purposes=None if self.purpose is None else (self.purpose,),
            issuer=self.issuer,
            not_before=self.not_before,
            not_after=self.not_after,
        )


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that the trust names, and what it may vouch for: None stands for any.

    `identities` are the alternative names that a leaf may have, `issuer` the one whose messages the leaves sign, the
    times a window within which the authority counts, `crl` its own revocation list, the signature checked.
    """

    certificate: x509.Certificate
    purposes: frozenset[str] | None = None
    identities: frozenset[str] | None = None
    issuer: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    crl: RevocationList | None = None

    def describe(self) -> TrustEntryFacts:
        """The entry, for the facts."""
        return TrustEntryFacts(
            kind="authority",
            name=name_of(self.certificate),
            sha256=self.certificate.fingerprint(hashes.SHA256()).hex(),
            purposes=None if self.purposes is None else tuple(sorted(self.purposes)),
            issuer=self.issuer,
            identities=None if self.identities is None else tuple(sorted(self.identities)),
            not_before=self.not_before,
            not_after=self.not_after,
        )


@dataclass(frozen=True, slots=True)
class Trust:
    """All that the caller trusts. Made by `parse_trust`. `generated_at` is what a trust bundle says of itself."""

    keys: tuple[TrustedKey, ...] = ()
    authorities: tuple[Authority, ...] = ()
    generated_at: datetime | None = None
    logs: tuple[TrustedLog, ...] = ()

    @property
    def revocation_limit(self) -> str:
        """What trusting a listed key leaves open: no list is asked about it but this very file."""
        if self.generated_at is None:
            return "whether the key was revoked"
        return f"whether the key was revoked after the trust file was made ({format_time(self.generated_at)})"

    def keys_for(self, purpose: str) -> tuple[TrustedKey, ...]:
        """The keys that may sign for the purpose."""
        return tuple(key for key in self.keys if key.speaks_for(purpose))

    def keys_of(self, purpose: str, issuer: str) -> tuple[TrustedKey, ...]:
        """The keys that sign for the purpose in this issuer's name. A bare public key names no issuer, so it is not
        among them: the caller would have to say whose it is."""
        return tuple(key for key in self.keys if key.purpose == purpose and key.issuer == issuer)

    def authorities_for(self, purpose: str) -> tuple[Authority, ...]:
        """The authorities that may end a chain for the purpose."""
        return tuple(each for each in self.authorities if each.purposes is None or purpose in each.purposes)

    def find_key(self, public_key: object) -> TrustedKey | None:
        """The entry that names this very key, for whatever purpose."""
        wanted = subject_public_key_info(check_public_key(public_key))
        return next((key for key in self.keys if subject_public_key_info(key.public_key) == wanted), None)


def parse_trust(data: bytes) -> Trust:
    """Reads a trust bundle, one PEM public key, or PEM CA certificates. `Indeterminate` (invalid_trust) if unusable."""
    try:
        if len(data) > MAXIMUM_TRUST_BYTES:
            raise ValueError(f"larger than {MAXIMUM_TRUST_BYTES} bytes")
        if data.lstrip()[:1] == b"{":
            return _parse_bundle(parse_object(data))
        return _parse_pem(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Indeterminate("invalid_trust", f"The trust file cannot be used: {error}.") from error


def load_certificates(data: bytes) -> tuple[x509.Certificate, ...]:
    """PEM certificates that the caller trusts as they are (SAML). `Indeterminate` (invalid_trust) if unusable."""
    try:
        labels = set(_PEM_LABEL.findall(data))
        if labels != {b"CERTIFICATE"}:
            raise ValueError("it must hold PEM certificates and nothing else")
        return load_pem_certificates(data)
    except ValueError as error:
        raise Indeterminate("invalid_trust", f"The certificate file cannot be used: {error}.") from error


def _parse_pem(data: bytes) -> Trust:
    labels = _PEM_LABEL.findall(data)
    if any(label.endswith(b"PRIVATE KEY") for label in labels):
        raise ValueError("it holds a private key, which does not belong here")
    if labels == [b"PUBLIC KEY"]:
        key = load_pem_public_key(data)
        encryption = tuple(ENCRYPTION_ALGORITHMS.values()) if key_kind(key) == "RSA" else ()
        return Trust(keys=(TrustedKey(key, algorithms_of(key), encryption=encryption),))
    if labels and set(labels) == {b"CERTIFICATE"}:
        certificates = load_pem_certificates(data)
        for certificate in certificates:
            check_authority(certificate)
        return Trust(authorities=tuple(Authority(certificate) for certificate in certificates))
    raise ValueError("it is neither a trust bundle, nor one PEM public key, nor PEM certificates")


def _parse_bundle(bundle: dict[str, JsonValue]) -> Trust:
    check_members(bundle, "the trust bundle", exactly=_BUNDLE_MEMBERS | (_OPTIONAL_MEMBERS & bundle.keys()))
    if bundle["version"] != TRUST_VERSION or isinstance(bundle["version"], bool):
        raise ValueError(f"the trust bundle's version is not {TRUST_VERSION}")
    generated_at = _time(bundle, "generated_at")
    entries = [_parse_key(_object(entry, "keys")) for entry in _list(bundle, "keys")]
    keys = tuple(key for key in entries if key is not None)
    if len({(key.key_id, key.key_version) for key in keys}) != len(keys):
        raise ValueError("a key and version are listed twice")
    if len({subject_public_key_info(key.public_key) for key in keys}) != len(keys):
        raise ValueError("one public key is listed under two names")
    authorities = tuple(_parse_authority(_object(entry, "authorities")) for entry in _list(bundle, "authorities"))
    if len({(authority.certificate, authority.issuer) for authority in authorities}) != len(authorities):
        raise ValueError("an authority is listed twice")
    return Trust(keys, authorities, generated_at, parse_logs(bundle.get("logs", [])))


def _parse_key(entry: dict[str, JsonValue]) -> TrustedKey | None:
    """One listed key; None where neither it nor its algorithms are on this package's lists: it can never be used.

    A key that is readable but listed for unknown algorithms only stays, so that it is refused and never overlooked.
    """
    check_members(entry, "a key", exactly=_KEY_MEMBERS)
    key_id = _text(entry, "key_id")
    if str(uuid.UUID(key_id)) != key_id:
        raise ValueError("key_id is not a UUID in its usual form")
    version = entry["key_version"]
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError("key_version is not a positive integer")
    purpose = _text(entry, "purpose")
    if purpose not in PURPOSES:
        raise ValueError(f"the purpose {purpose!r} is unknown")
    names = _texts(entry, "algorithms")
    # A key has one purpose: what is listed beside it for another is never used.
    signs, encrypts = ((), names) if purpose == ENCRYPT else (names, ())
    algorithms = tuple(ALGORITHMS[name] for name in signs if name in ALGORITHMS)
    encryption = tuple(ENCRYPTION_ALGORITHMS[name] for name in encrypts if name in ENCRYPTION_ALGORITHMS)
    encoded = _base64(entry, "public_key")
    issuer = _issuer(entry, f"key {key_id}", frozenset({purpose}), needed=purpose in _WITH_ISSUER)
    not_before, not_after = _time(entry, "not_before"), _optional_time(entry, "not_after")
    _check_window(not_before, not_after)
    revoked_at = _optional_time(entry, "revoked_at")
    try:
        public_key = load_public_key(encoded)
    except ValueError:
        if algorithms or encryption:
            raise
        return None
    kinds = {algorithm.key_kind for algorithm in algorithms} | ({"RSA"} if encryption else set())
    if kinds - {key_kind(public_key)}:
        raise ValueError(f"key {key_id} lists an algorithm that its kind of key cannot make")
    return TrustedKey(
        public_key=public_key,
        algorithms=algorithms,
        key_id=key_id,
        key_version=version,
        name=None if entry["name"] is None else _text(entry, "name"),
        purpose=purpose,
        issuer=issuer,
        not_before=not_before,
        not_after=not_after,
        revoked_at=revoked_at,
        encryption=encryption,
    )


def _parse_authority(entry: dict[str, JsonValue]) -> Authority:
    check_members(entry, "an authority", exactly=_AUTHORITY_MEMBERS)
    purposes = frozenset(_texts(entry, "purposes"))
    if unknown := sorted(purposes - PURPOSES):
        raise ValueError(f"the purpose {unknown[0]!r} is unknown")
    certificate = load_certificate(_base64(entry, "certificate"))
    check_authority(certificate)
    who = f"the authority {name_of(certificate)}"
    not_before, not_after = _optional_time(entry, "not_before"), _optional_time(entry, "not_after")
    _check_window(not_before, not_after)
    crl = None if entry["crl"] is None else parse_revocation_list(_base64(entry, "crl"))
    if crl is not None and not crl.is_by(certificate):
        raise ValueError(f"the crl of {who} is not signed by it, or it may not sign one")
    return Authority(
        certificate=certificate,
        purposes=purposes,
        identities=None if entry["identities"] is None else frozenset(_texts(entry, "identities")),
        issuer=_issuer(entry, who, purposes, needed=False),
        not_before=not_before,
        not_after=not_after,
        crl=crl,
    )


def _issuer(entry: dict[str, JsonValue], who: str, purposes: frozenset[str], *, needed: bool) -> str | None:
    """Whose tokens or assertions it speaks for. An issuer beside another purpose would limit nothing."""
    if entry["issuer"] is None:
        if needed:
            raise ValueError(f"{who} must name its issuer")
        return None
    if not purposes <= _WITH_ISSUER:
        raise ValueError(f"{who} names an issuer, which only the purposes jwt and saml have")
    return _text(entry, "issuer")


def _check_window(not_before: datetime | None, not_after: datetime | None) -> None:
    if not_before is not None and not_after is not None and not_after < not_before:
        raise ValueError("not_after is before not_before")


def _optional_time(entry: dict[str, JsonValue], member: str) -> datetime | None:
    return None if entry[member] is None else _time(entry, member)


def _object(value: JsonValue, where: str) -> dict[str, JsonValue]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} holds something that is not an object")
    return value


def _list(entry: dict[str, JsonValue], member: str) -> list[JsonValue]:
    value = entry[member]
    if not isinstance(value, list):
        raise ValueError(f"{member} is not a list")
    return value


def _text(entry: dict[str, JsonValue], member: str) -> str:
    value = entry[member]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{member} is not a text")
    return value


def _texts(entry: dict[str, JsonValue], member: str) -> tuple[str, ...]:
    texts = tuple(value for value in _list(entry, member) if isinstance(value, str) and value)
    if not texts or len(set(texts)) != len(_list(entry, member)):
        raise ValueError(f"{member} is not a list of distinct texts")
    return texts


def _time(entry: dict[str, JsonValue], member: str) -> datetime:
    try:
        return parse_time(_text(entry, member))
    except ValueError as error:
        raise ValueError(f"{member}: {error}") from None


def _base64(entry: dict[str, JsonValue], member: str) -> bytes:
    text = _text(entry, member)
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if not value or base64.b64encode(value).decode() != text:
        raise ValueError(f"{member} is not standard base64")
    return value
