"""A certificate for every version of a published key, from the built-in authority, whose key lives in the same
hierarchy.

The authority signs only here, on behalf of whoever was permitted to make or rotate the key; each certificate has an
intent and an outcome of its own in the audit trail.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import structlog
from cryptography import x509

from keystore.algorithms import Purpose
from keystore.api import CertificateRecord, UncertifiedVersion
from keystore.errors import HsmFault
from keystore.lifecycle import current_version
from signer.access.decision import permit_certificate
from signer.audit import AuditedKey, Outcome
from signer.certificates import authority
from signer.errors import AuditUnavailable, ServiceUnavailable
from signer.formats.observed import ObservedKey
from signer.problems import SERVER_FAULTS, code_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystore.api import Key
    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.audit import AuditTrail, RecordedIntent
    from signer.call import Call

_log = structlog.get_logger("sealmark.certification")


class Certification:
    """The service's certificate authority."""

    def __init__(self, keystore: Keystore, audit: AuditTrail) -> None:
        self._keystore = keystore
        self._audit = audit

    def found(self, permit: Permit, call: Call, root: Key) -> CertificateRecord:
        """The authority's own certificate, at `init`."""
        version = root.versions[-1]
        moment = self._keystore.clock()

        def build(signing_key: ObservedKey) -> tuple[bytes, ...]:
            return (authority.self_signed(signing_key, common_name="Sealmark certificate authority", now=moment),)

        subject = UncertifiedVersion(root.id, version.id, None, root.purpose, version.public_key)
        record = self._issued(permit, call, root, subject, build)
        self._keystore.add_certificate(record)
        return record

    def certify(self, permit: Permit, call: Call, version: UncertifiedVersion) -> CertificateRecord:
        """A certificate for one version of a published key, for the keystore to store together with it.

        Raises what the HSM, the keystore and the audit trail raise.
        """
        root, root_certificate = self._root()
        moment = self._keystore.clock()

        def build(signing_key: ObservedKey) -> tuple[bytes, ...]:
            leaf = authority.issue_leaf(
                signing_key,
                root_certificate,
                public_key=version.public_key,
                purpose=version.purpose,
                common_name=(version.alias or version.key_id)[:64],  # RFC 5280 appendix A: at most 64
                key_id=version.key_id,
                now=moment,
            )
            return (leaf, root_certificate)

        return self._issued(permit_certificate(permit, root), call, root, version, build)

    def _issued(
        self,
        permit: Permit,
        call: Call,
        root: Key,
        version: UncertifiedVersion,
        build: Callable[[ObservedKey], tuple[bytes, ...]],
    ) -> CertificateRecord:
        signer = current_version(root.versions, self._keystore.clock())
        audited = AuditedKey(root.id, signer.id, signer.number, root.algorithm, root.purpose.value)
        intent = self._audit.open(permit, call, audited, 1, {"certificate_for": version.key_id})
        try:
            observed = ObservedKey(self._keystore.signing_key(intent))
            record = _record(version, build(observed))
        except Exception as error:
            self._record_failure(intent, error)
            raise
        made = observed.made[-1]
        self._audit.close([(intent, [Outcome(0, "succeeded", None, made.message_digest, made.signature_sha256)])])
        return record

    def _record_failure(self, intent: RecordedIntent, error: Exception) -> None:
        code = code_of(error)
        if isinstance(error, HsmFault):
            _log.critical("hsm_fault", alarm=True, key_id=intent.key_id, reason=str(error))
        try:
            self._audit.close([(intent, [Outcome(0, "failed" if code in SERVER_FAULTS else "denied", code)])])
        except AuditUnavailable:  # the error that is being handled is the one to report
            _log.error("failure_recorded_late", alarm=True, key_id=intent.key_id, code=code)

    def _root(self) -> tuple[Key, bytes]:
        roots = self._keystore.find_keys_by_purpose(Purpose.CA)
        if len(roots) != 1:
            msg = f"there must be exactly one certificate authority, there are {len(roots)}"
            raise ServiceUnavailable(msg)
        certificate = self._keystore.find_certificate(roots[0].versions[-1].id)
        if certificate is None:
            msg = "the certificate authority has no certificate"
            raise ServiceUnavailable(msg)
        return roots[0], certificate.chain[0]


def _record(version: UncertifiedVersion, chain: tuple[bytes, ...]) -> CertificateRecord:
    leaf = x509.load_der_x509_certificate(chain[0])
    return CertificateRecord(
        id=str(uuid.uuid4()),
        key_id=version.key_id,
        version_id=version.version_id,
        serial=f"{leaf.serial_number:x}",
        chain=chain,
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
    )
