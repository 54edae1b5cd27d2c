"""A certificate for every version of a published key, from the built-in authority, whose key lives in the same
hierarchy.

The authority signs only here, on behalf of whoever was permitted to make or rotate the key; each certificate has an
intent and an outcome of its own in the audit trail.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

import structlog
from cryptography import x509

from keystore.algorithms import Purpose
from keystore.api import CertificateOrigin, CertificateRecord, UncertifiedVersion
from signer.access import Duty
from signer.access.decision import permit_certificate, permit_revocation_list
from signer.authn.principal import SERVICE, Principal
from signer.certificates import authority
from signer.certificates import request as requests
from signer.errors import ServiceUnavailable
from signer.own_signature import OwnSignatures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from keystore.api import Key
    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.audit import AuditTrail
    from signer.call import Call
    from signer.config import CertificateConfiguration
    from signer.formats.observed import ObservedKey

_PRINCIPAL: Final = Principal(SERVICE, Duty.ROOT, "publication")
_log = structlog.get_logger("sealmark.certification")


class Certification:
    """The service's certificate authority."""

    def __init__(self, keystore: Keystore, audit: AuditTrail, configuration: CertificateConfiguration) -> None:
        self._keystore = keystore
        self._own = OwnSignatures(keystore, audit)
        self._configuration = configuration

    def found(self, permit: Permit, call: Call, root: Key, *, within: x509.Name | None = None) -> CertificateRecord:
        """The authority's own certificate, at `init`, constrained to subjects below `within` where that is given."""
        version = root.versions[-1]
        moment = self._keystore.clock()

        def build(signing_key: ObservedKey) -> tuple[bytes, ...]:
            name = "Sealmark certificate authority"
            return (authority.self_signed(signing_key, common_name=name, now=moment, within=within),)

        subject = UncertifiedVersion(root.id, version.id, None, root.purpose, version.public_key)
        record = self._issued(permit, call, root, subject, build)
        self._keystore.add_certificate(record)
        return record

    def certify(
        self, permit: Permit, call: Call, version: UncertifiedVersion, *, days: int | None = None
    ) -> CertificateRecord:
        """A certificate for one version of a published key, for the keystore to store; `days` None: as configured.

        Raises what the HSM, the keystore and the audit trail raise.
        """
        root, root_certificate = self.authority()
        options = authority.LeafOptions(
            days or self._configuration.leaf_days, self._configuration.authority_url, self._configuration.crl_url
        )
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
                options=options,
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
        context = {"certificate_for": version.key_id}
        return self._own.make(permit, call, root, context, lambda key: _record(version, build(key)))

    def request(
        self, permit: Permit, call: Call, key: Key, subject: x509.Name, names: Sequence[x509.GeneralName]
    ) -> bytes:
        """A PKCS #10 request by the key's own signing version, DER."""
        context = {"certificate_request": subject.rfc4514_string()[:1024]}
        return self._own.make(permit, call, key, context, lambda signing: requests.build(signing, subject, names))

    def revocation_list(self, call: Call, number: int, build: Callable[[ObservedKey, bytes], bytes]) -> bytes:
        """The authority's signature on a revocation list, in the service's own name."""
        root, root_certificate = self.authority()
        permit = permit_revocation_list(_PRINCIPAL, root)
        context = {"revocation_list": str(number)}
        return self._own.make(permit, call, root, context, lambda key: build(key, root_certificate))

    def authority(self) -> tuple[Key, bytes]:
        """The authority's key and certificate. Raises `ServiceUnavailable` unless there is exactly one."""
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
    return certificate_record(version.key_id, version.version_id, chain, CertificateOrigin.BUILT_IN)


def certificate_record(
    key_id: str, version_id: str, chain: tuple[bytes, ...], origin: CertificateOrigin
) -> CertificateRecord:
    """A chain of a key version, DER, leaf first, to be stored."""
    leaf = x509.load_der_x509_certificate(chain[0])
    return CertificateRecord(
        id=str(uuid.uuid4()),
        key_id=key_id,
        version_id=version_id,
        serial=f"{leaf.serial_number:x}",
        chain=chain,
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        origin=origin,
    )
