"""The certificates of a key as its administrators handle them: requested, installed, renewed, revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import structlog

from keystore.algorithms import SIGNING_PURPOSES
from keystore.api import CertificateOrigin, RevocationReason, UncertifiedVersion, VersionState
from keystore.errors import KeystoreError
from keystore.lifecycle import version_state
from signer.certificates import installation
from signer.certificates import request as requests
from signer.certification import certificate_record
from signer.errors import SealmarkError, Unprocessable, WrongPurpose, WrongState
from signer.formats import publickey
from signer.problems import code_of
from signer.published import has_certificate

if TYPE_CHECKING:
    from keystore.api import CertificateRecord, Key, KeyVersion
    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.call import Call
    from signer.certification import Certification
    from signer.request import CertificateChain, CertificateRequest, Renewal, Revocation
    from signer.revocation import RevocationLists

_log = structlog.get_logger("sealmark.certificates")


class CertificateAdministration:
    """Every change to the certificates of a key; each is called with the permit for it."""

    def __init__(self, keystore: Keystore, certification: Certification, lists: RevocationLists) -> None:
        self._keystore = keystore
        self._certification = certification
        self._lists = lists

    def request(self, permit: Permit, call: Call, key: Key, body: CertificateRequest) -> str:
        """A PKCS #10 request by the signing version, PEM. Raises `Unprocessable`, `WrongState`, `WrongPurpose`."""
        if key.purpose not in SIGNING_PURPOSES:
            msg = f"this key is for {key.purpose} and signs nothing, its own certificate request neither"
            raise WrongPurpose(msg)
        name = requests.parse_subject(body.subject or f"CN={(key.alias or key.id)[:64]}")
        names = requests.alternative_names(body.dns_names, body.uris)
        request = self._certification.request(permit, call, key, name, names)
        return publickey.pem(request, "CERTIFICATE REQUEST")

    def install(self, key: Key, body: CertificateChain) -> dict[str, object]:
        """An outside CA's chain in place of what the version has. Raises `Unprocessable`, `WrongState`."""
        version = self._version(key, body.version)
        chain = installation.checked_chain(
            body.chain,
            body.anchor,
            public_key=version.public_key,
            purpose=key.purpose,
            now=self._keystore.clock(),
        )
        record = certificate_record(key.id, version.id, chain, CertificateOrigin.INSTALLED)
        self._keystore.add_certificate(record)
        return described(version, record)

    def renew(self, permit: Permit, call: Call, key: Key, body: Renewal) -> dict[str, object]:
        """A new certificate of the built-in CA for the same version, with a serial number of its own.

        The one before stays valid until its end. Raises `WrongState`, `Unprocessable`.
        """
        if not has_certificate(key):
            msg = "this key has no certificate: it is not published, and nothing that it signs carries one"
            raise WrongState(msg)
        version = self._version(key, body.version)
        present = self._keystore.find_certificate(version.id)
        is_installed = present is not None and present.origin is CertificateOrigin.INSTALLED
        if is_installed and not body.replace_installed:
            msg = (
                "an outside CA's chain is installed: install its renewed chain, or set replace_installed to go back to "
                "the built-in CA's"
            )
            raise WrongState(msg)
        subject = UncertifiedVersion(key.id, version.id, key.alias, key.purpose, version.public_key)
        record = self._certification.certify(permit, call, subject, days=body.days)
        self._keystore.add_certificate(record)
        return described(version, record)

    def revoke(self, call: Call, key: Key, body: Revocation) -> dict[str, object]:
        """Revokes the certificates of a version that are not over, and for a compromised key the version itself.

        Raises `WrongState` if nothing is left to revoke.
        """
        version = self._version(key, body.version)
        reason, moment = RevocationReason(body.reason), self._keystore.clock()
        if reason is RevocationReason.KEY_COMPROMISE:
            revoked = self._keystore.revoke_version(version.id, reason, moment)
        else:
            revoked = self._keystore.revoke_certificates(version.id, reason, moment)
        self.publish_revocations(call)
        return {
            "key_id": key.id,
            "key_version": version.number,
            "reason": reason.value,
            "revoked_at": moment,
            "version_revoked": reason is RevocationReason.KEY_COMPROMISE,
            "certificates": [{"serial": record.serial, "origin": record.origin.value} for record in revoked],
        }

    def publish_revocations(self, call: Call) -> None:
        """Makes the revocation list anew. A revocation stands whatever happens here: who fetches the list next makes
        it."""
        try:
            self._lists.current(call)
        except (KeystoreError, SealmarkError) as fault:
            _log.error("revocation_list_postponed", alarm=True, code=code_of(fault))

    def _version(self, key: Key, number: int | None) -> KeyVersion:
        """The version of this number, or the one that signs; not one that is revoked. Raises `Unprocessable`,
        `WrongState`."""
        now = self._keystore.clock()
        if number is None:
            states = {version.number: version_state(key.versions, version.number, now) for version in key.versions}
            number = next((found for found, state in states.items() if state is VersionState.ACTIVE), None)
            if number is None:
                msg = "no version of the key signs now: name one, or rotate the key"
                raise WrongState(msg)
        found = next((version for version in key.versions if version.number == number), None)
        if found is None:
            _refuse_version(key)
        if found.revoked_at is not None:
            msg = f"version {number} of the key is revoked for good"
            raise WrongState(msg)
        return found


def _refuse_version(key: Key) -> NoReturn:
    msg = f"this key has the versions {', '.join(str(version.number) for version in key.versions)}"
    raise Unprocessable(msg, field="version")


def described(version: KeyVersion, record: CertificateRecord) -> dict[str, object]:
    """A version's certificate, as JSON members."""
    return {"key_id": version.key_id, "key_version": version.number, **summary(record)}


def summary(record: CertificateRecord) -> dict[str, object]:
    """What there is to say of a certificate beside its bytes."""
    return {
        "serial": record.serial,
        "origin": record.origin.value,
        "not_before": record.not_before,
        "not_after": record.not_after,
        "revoked_at": record.revoked_at,
        "revocation_reason": record.revocation_reason and record.revocation_reason.value,
    }
