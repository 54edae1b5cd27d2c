"""An issuer's SAML metadata, signed in the HSM by one of the issuer's own keys, and published as they were signed.

Anybody may fetch them, so fetching must not make the HSM work: the signed document is kept in the database for all
workers, and made anew only when what it says has changed or half of its validity is over. Each making has an intent and
an outcome in the audit trail, in the service's own name. Whoever fetches chooses nothing that is signed.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from keystore.api import KeyState, SignedDocument, VersionState
from keystore.errors import Conflict, KeystoreError
from keystore.lifecycle import current_version, version_state
from signer.access import Duty
from signer.access.decision import permit_publication
from signer.authn.principal import SERVICE, Principal
from signer.errors import NotFound, ServiceUnavailable
from signer.formats import metadata, saml
from signer.own_signature import OwnSignatures
from signer.problems import code_of
from signer.published import KEY_SET_MAX_AGE

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.api import Key, KeyVersion
    from keystore.keystore import Keystore
    from signer.audit import AuditTrail
    from signer.call import Call
    from signer.formats.observed import ObservedKey
    from signer.published import Published

LIFE: Final = timedelta(days=7)  # from the making to `validUntil`
RENEWED_AFTER: Final = LIFE / 2
RETRIED_AFTER: Final = timedelta(seconds=10)  # if it could not be signed
_CONTENT_FORM: Final = "sealmark saml metadata v1"  # part of the hash: another form of the document is another content
_PRINCIPAL: Final = Principal(SERVICE, Duty.ROOT, "publication")
_log = structlog.get_logger("sealmark.metadata")


@dataclass(frozen=True, slots=True)
class _Content:
    """What the metadata are to say, and the version that signs them."""

    provider: metadata.IdentityProvider
    key: Key
    version: KeyVersion

    def hash(self) -> bytes:
        """SHA-256 over all that decides the document but its id and its times."""
        said = [
            _CONTENT_FORM,
            self.provider.entity_id,
            self.provider.sign_on_url,
            [hashlib.sha256(certificate).hexdigest() for certificate in self.provider.certificates],
            self.version.id,
        ]
        return hashlib.sha256(msgspec.json.encode(said)).digest()


class SamlMetadata:
    """One per worker."""

    def __init__(self, keystore: Keystore, audit: AuditTrail, published: Published) -> None:
        self._keystore = keystore
        self._own = OwnSignatures(keystore, audit)
        self._published = published
        self._making = threading.Lock()
        self._failed_at: dict[str, datetime] = {}  # by issuer; looked at by who holds the lock

    def document(self, call: Call, issuer_name: str) -> bytes:
        """The signed metadata (XML) of one issuer.

        Raises: `NotFound` if there is no such issuer, or none of its published keys can sign; faults of the HSM, the
        keystore and the audit trail, unless what is kept says the same and is still good.
        """
        content = self._content(issuer_name)
        kept = self._kept(content, issuer_name)
        if kept is not None and not self._is_due(kept):
            return kept.document
        still_good = kept is not None and self._keystore.clock() < kept.valid_until
        # Who has nothing to show waits for the one that is at it, and finds what it made.
        if not self._making.acquire(blocking=not still_good) and kept is not None:
            return kept.document
        try:
            return self._renewed(call, issuer_name, content)
        finally:
            self._making.release()

    def _renewed(self, call: Call, issuer_name: str, content: _Content) -> bytes:
        kept = self._kept(content, issuer_name)
        if kept is not None and not self._is_due(kept):
            return kept.document
        try:
            self._require_no_recent_failure(issuer_name)
            return self._made(call, issuer_name, content)
        except (KeystoreError, ServiceUnavailable) as fault:
            if kept is None or kept.valid_until <= self._keystore.clock():
                raise
            _log.error("metadata_renewal_postponed", alarm=True, issuer=issuer_name, code=code_of(fault))
            return kept.document

    def _require_no_recent_failure(self, issuer_name: str) -> None:
        """While the HSM or the audit trail is away, strangers who ask on and on must not fill the trail."""
        failed_at = self._failed_at.get(issuer_name)
        if failed_at is not None and timedelta(0) <= self._keystore.clock() - failed_at < RETRIED_AFTER:
            msg = "the metadata could not be signed just now; try again in a moment"
            raise ServiceUnavailable(msg)

    def _made(self, call: Call, issuer_name: str, content: _Content) -> bytes:
        before = self._keystore.find_document(_document_id(issuer_name))
        moment = self._keystore.clock().replace(microsecond=0)
        made = SignedDocument(
            id=_document_id(issuer_name),
            content_hash=content.hash(),
            document=self._signed_or_noted(call, issuer_name, content, moment + LIFE),
            made_at=moment,
            valid_until=moment + LIFE,
        )
        try:
            self._keystore.keep_document(made, replaces=before)
        except Conflict:  # another worker was faster: all show the same bytes
            faster = self._kept(content, issuer_name)
            return made.document if faster is None else faster.document
        return made.document

    def _signed_or_noted(self, call: Call, issuer_name: str, content: _Content, valid_until: datetime) -> bytes:
        try:
            document = self._signed(call, content, valid_until)
        except Exception:
            self._failed_at[issuer_name] = self._keystore.clock()
            raise
        self._failed_at.pop(issuer_name, None)
        return document

    def _signed(self, call: Call, content: _Content, valid_until: datetime) -> bytes:
        chain = self._published.chain(content.version)

        def build(key: ObservedKey) -> bytes:
            return metadata.signed(
                key,
                chain[0],
                content.provider,
                identifier=saml.new_identifier(),
                valid_until=valid_until,
                cache_seconds=KEY_SET_MAX_AGE,
            )

        permit = permit_publication(_PRINCIPAL, content.key)
        context = {"metadata_of": content.provider.entity_id}
        return self._own.make(permit, call, content.key, context, build, version=content.version)

    def _content(self, issuer_name: str) -> _Content:
        issuer = self._published.issuer(issuer_name)
        versions = self._published.assertion_versions(issuer.name)
        now = self._keystore.clock()
        key = min(
            (
                key
                for key, version in versions
                if key.state is KeyState.ENABLED
                and version_state(key.versions, version.number, now) is VersionState.ACTIVE
            ),
            key=lambda key: (key.created_at, key.id),
            default=None,
        )
        if key is None:
            msg = f"the issuer {issuer.name} has no SAML metadata: none of its published saml keys can sign"
            raise NotFound(msg, field="issuer")
        certificates = tuple(self._published.chain(version)[0] for _, version in versions)
        provider = metadata.IdentityProvider(issuer.entity_id, certificates, issuer.sign_on_url)
        return _Content(provider, key, current_version(key.versions, now))

    def _kept(self, content: _Content, issuer_name: str) -> SignedDocument | None:
        """What is kept, if it says just this."""
        kept = self._keystore.find_document(_document_id(issuer_name))
        return kept if kept is not None and kept.content_hash == content.hash() else None

    def _is_due(self, kept: SignedDocument) -> bool:
        return self._keystore.clock() >= kept.made_at + RENEWED_AFTER


def _document_id(issuer_name: str) -> str:
    return f"saml-metadata/{issuer_name}"
