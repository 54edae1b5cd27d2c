"""What anybody may have: public keys and certificates of published keys, key sets, metadata, the trust bundle.

A key that is not published looks here exactly like one that does not exist.
"""

from __future__ import annotations

import base64
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Final

from keystore.algorithms import KEY_SPECS, SIGNING_PURPOSES, KeyKind, Purpose, key_algorithms
from keystore.api import AssertionSettings, KeyState, TokenSettings
from keystore.errors import NotFound as NoSuchRow
from keystore.lifecycle import current_version, retired_at
from signer.errors import NotFound, WrongState
from signer.formats import discovery, jwks
from signer.request import LONGEST_ASSERTION

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from keystore.api import CertificateRecord, Issuer, Key, KeyVersion, NewKey
    from keystore.carried import CarriedKey
    from keystore.keystore import Keystore
    from signer.published_logs import TrustedLog

KEY_SET_MAX_AGE: Final = 300  # seconds that a client may cache a key set
KEY_SET_MARGIN: Final = 600  # seconds for clocks and for clients that cache longer
DEFAULT_ISSUER: Final = "default"
PUBLISHED_BY_DEFAULT: Final = frozenset({Purpose.ARTIFACT, Purpose.JWT, Purpose.SAML})
_ENCIPHER: Final = frozenset({Purpose.ENCRYPT, Purpose.AGREE})  # what certificates know of purposes that do not sign
_NO_KEY: Final = "there is no such published key"


class Published:
    """Reads only; every row it reads is checked by the keystore."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore

    def key(self, reference: str) -> Key:
        """A published key that is not deleted. Raises `NotFound`."""
        try:
            key = self._keystore.get_key(reference)
        except NoSuchRow as absent:
            raise NotFound(_NO_KEY, field="key") from absent
        if not key.published or key.state is KeyState.DELETED:
            raise NotFound(_NO_KEY, field="key")
        return key

    def signing_version(self, key: Key) -> KeyVersion:
        """The version that signs now."""
        return current_version(key.versions, self._keystore.clock())

    def issuer(self, name: str) -> Issuer:
        """An issuer by its name. Raises `NotFound`."""
        try:
            return self._keystore.get_issuer(name)
        except NoSuchRow as absent:
            msg = f"there is no issuer {name!r}"
            raise NotFound(msg, field="issuer") from absent

    def certificate(self, version: KeyVersion) -> CertificateRecord:
        """The newest certificate of a version. Raises `WrongState` if it has none."""
        record = self._keystore.find_certificate(version.id)
        if record is None:
            msg = "this key has no certificate: it is not published, and nothing that it signs carries one"
            raise WrongState(msg)
        return record

    def chain(self, version: KeyVersion) -> tuple[bytes, ...]:
        """The version's certificates, DER, leaf first."""
        return self.certificate(version).chain

    def signing_chain(self, version: KeyVersion) -> tuple[bytes, ...]:
        """The same, to go with a signature. Raises `WrongState` if it is revoked or over: no verifier would take it."""
        record = self.certificate(version)
        if record.revoked_at is not None:
            msg = "the certificate of this key's version is revoked: renew it, or install another"
            raise WrongState(msg)
        if record.not_after <= self._keystore.clock():
            msg = "the certificate of this key's version has ended: renew it, or install another"
            raise WrongState(msg)
        return record.chain

    def unrevoked_chain(self, version: KeyVersion) -> tuple[bytes, ...]:
        """The chain to publish beside a key; none where it is revoked and the key is not."""
        record = self.certificate(version)
        return record.chain if record.revoked_at is None else ()

    def key_set(self, issuer_name: str) -> jwks.JsonWebKeySet:
        """The JWK set (RFC 7517 section 5) of one issuer: what verifies its tokens now, did of late, and will soon."""
        issuer = self.issuer(issuer_name)
        now = self._keystore.clock()
        members = []
        for key in self._keys_of(Purpose.JWT):
            settings = key.settings
            if isinstance(settings, TokenSettings) and settings.issuer == issuer.name:
                keep = timedelta(seconds=settings.max_ttl + KEY_SET_MARGIN)
                members += [
                    jwks.jwk(version.public_key, algorithm=key.algorithm, chain=self.unrevoked_chain(version))
                    for version in _versions_in_use(key, now, keep)
                ]
        return jwks.key_set(members)

    def discovery(self, issuer_name: str) -> dict[str, object]:
        """The discovery document (OpenID Connect Discovery 1.0) of one issuer. Raises `NotFound` if it has no key."""
        issuer = self.issuer(issuer_name)
        algorithms = [jwks.algorithm_of(key) for key in self.key_set(issuer.name)["keys"]]
        if not algorithms:
            msg = f"the issuer {issuer.name} has no published jwt key, so there is nothing to discover"
            raise NotFound(msg, field="issuer")
        at_root = issuer.name == DEFAULT_ISSUER and discovery.is_bare_origin(issuer.url)
        key_set = discovery.key_set_url(issuer, at_root=at_root)
        return discovery.configuration(issuer, key_set=key_set, algorithms=algorithms)

    def root_discovery(self) -> dict[str, object]:
        """The same at the root of the host: the default issuer's, if its url is the host alone (section 4.1)."""
        issuer = self.issuer(DEFAULT_ISSUER)
        if not discovery.is_bare_origin(issuer.url):
            msg = "the default issuer's url has a path: its discovery document lies below that"
            raise NotFound(msg)
        return self.discovery(issuer.name)

    def assertion_versions(self, issuer_name: str) -> list[tuple[Key, KeyVersion]]:
        """The key versions whose assertions of one issuer count now, did of late, or will soon."""
        now = self._keystore.clock()
        keep = timedelta(seconds=LONGEST_ASSERTION + KEY_SET_MARGIN)
        return [
            (key, version)
            for key in self._keys_of(Purpose.SAML)
            if isinstance(key.settings, AssertionSettings) and key.settings.issuer == issuer_name
            for version in _versions_in_use(key, now, keep)
            if self.unrevoked_chain(version)
        ]

    def authority(self) -> CertificateRecord:
        """The certificate authority's own certificate."""
        (key,) = self._keystore.find_keys_by_purpose(Purpose.CA)
        return self.certificate(key.versions[-1])

    def trust(self, crl: bytes, logs: Sequence[TrustedLog]) -> dict[str, object]:
        """The trust bundle that `sealmark-verify --trust` takes, with the authority's revocation list (DER) and the
        transparency logs."""
        entries = [
            entry
            for purpose in (Purpose.ARTIFACT, Purpose.JWT, Purpose.SAML, Purpose.GENERAL, Purpose.ENCRYPT)
            for key in self._keys_of(purpose)
            if purpose is not Purpose.ENCRYPT or may_be_encrypted_to(key)
            for entry in self._trust_entries(key)
        ]
        authority = base64.b64encode(self.authority().chain[0]).decode()
        return {
            "version": 1,
            "generated_at": rfc3339(self._keystore.clock()),
            "keys": entries,
            "authorities": [
                {
                    "purposes": ["artifact", "jwt", "saml", "general", "encrypt"],
                    "certificate": authority,
                    "identities": None,
                    "issuer": None,
                    "not_before": None,
                    "not_after": None,
                    "crl": base64.b64encode(crl).decode(),
                }
            ],
            "logs": logs,
        }

    def _trust_entries(self, key: Key) -> Iterator[dict[str, object]]:
        issuer = None
        if isinstance(key.settings, TokenSettings):
            issuer = self.issuer(key.settings.issuer).url
        elif isinstance(key.settings, AssertionSettings):
            issuer = self.issuer(key.settings.issuer).entity_id
        for version in key.versions:
            yield {
                "key_id": key.id,
                "key_version": version.number,
                "name": key.alias,
                "purpose": key.purpose.value,
                "issuer": issuer,
                "algorithms": list(key_algorithms(key.purpose, key.spec, key.algorithm, key.protection)),
                "public_key": base64.b64encode(version.public_key).decode(),
                "not_before": rfc3339(version.created_at),
                "not_after": None,
                "revoked_at": None if version.revoked_at is None else rfc3339(version.revoked_at),
            }

    def _keys_of(self, purpose: Purpose) -> list[Key]:
        return [
            key
            for key in self._keystore.find_keys_by_purpose(purpose)
            if key.published and key.state is not KeyState.DELETED
        ]


def may_be_encrypted_to(key: Key) -> bool:
    """Whether strangers are told to encrypt to it: an RSA key, and not while nobody could decrypt what they send."""
    return KEY_SPECS[key.spec].has_public_key and key.state is KeyState.ENABLED


def has_certificate(key: Key | NewKey | CarriedKey) -> bool:
    """Whether its versions are certified: those of published key pairs, and of keys whose signatures carry a
    certificate. ML-DSA keys have none: hardly anybody reads such certificates yet."""
    if KEY_SPECS[key.spec].kind is KeyKind.ML_DSA:
        return False
    if key.purpose not in SIGNING_PURPOSES:
        return key.published and key.purpose in _ENCIPHER and KEY_SPECS[key.spec].has_public_key
    return key.published or key.purpose is Purpose.SAML or "cms" in key.formats


def _versions_in_use(key: Key, now: datetime, keep: timedelta) -> list[KeyVersion]:
    """Pending and active versions, and retired ones until the last thing that they signed is past its life. A revoked
    one is gone at once."""
    in_use = []
    for version in key.versions:
        if version.revoked_at is not None:
            continue
        retired = retired_at(key.versions, version.number)
        if retired is None or retired + keep > now:
            in_use.append(version)
    return in_use


def rfc3339(moment: datetime) -> str:
    """A time as documents write it: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
