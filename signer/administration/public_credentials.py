"""Public credentials: whose client certificates and request keys are whose.

A principal adds its own, and proves that it holds the private key; an administrator adds another's. A name in a
certificate (URI, DNS) is bound by administrators alone, since nobody can prove that a name is theirs.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from keystore.api import CredentialMatch, PublicCredentialRecord
from keystore.errors import Conflict as Taken
from keystore.errors import NotFound as NoSuchRow
from keystore.errors import WrongState as NotEnabled
from signer.access import DUTIES_OF, Action, Duty
from signer.authn.certificate import is_usable, public_key_of, require_client_certificate
from signer.authn.possession import is_proved
from signer.authn.refused import Refused
from signer.authn.request_keys import (
    UnusableKey,
    algorithm_of,
    der_of,
    fingerprint,
    load_public_key,
    require_request_key,
)
from signer.errors import Conflict, DutyForbids, NotFound, Unprocessable, WrongState
from signer.formats import publickey

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.authn.request_keys import RequestKey
    from signer.request import NewPublicCredential

MOST_USABLE: Final = 64  # of one principal
_DNS_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_URI: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x29\x2b-\x7e]+"
)  # RFC 3986; no asterisk, which is no wildcard
# Which member of the body says what is to be recognised.
_MEMBER: Final = {
    CredentialMatch.PUBLIC_KEY: "certificate",
    CredentialMatch.CERTIFICATE: "certificate",
    CredentialMatch.URI: "name",
    CredentialMatch.DNS: "name",
    CredentialMatch.REQUEST_KEY: "public_key",
}


class PublicCredentialAdministration:
    """Every change to public credentials."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore

    def add(self, permit: Permit, principal: str, body: NewPublicCredential) -> PublicCredentialRecord:
        """Binds a certificate, a name or a key to a principal.

        Raises: `DutyForbids`, `NotFound`, `Unprocessable` naming the member, `Conflict`, `WrongState`.
        """
        require_may_manage(permit, principal)
        self.require_credentials_may_be_added(principal)
        moment = self._keystore.clock()
        match = CredentialMatch(body.match)
        _require_members(body, match)
        if body.expires_at is not None and body.expires_at <= moment:
            msg = "expires_at must be to come"
            raise Unprocessable(msg, field="expires_at")
        value, key, algorithm = _recognised(body, match, moment)
        _require_possession(permit, principal, body, key)
        record = PublicCredentialRecord(
            str(uuid.uuid4()),
            principal,
            match,
            value,
            None if key is None else der_of(key),
            algorithm,
            body.label,
            "enabled",
            moment,
            permit.principal.name,
            body.expires_at,
        )
        self._keep(record, moment)
        return record

    def require_credentials_may_be_added(self, principal: str) -> None:
        """Whether this principal may be given a further credential at all: it must be there and enabled, and not break
        glass, which has the one token of its ceremony. The one place where that is asked.

        Raises: `NotFound`, `WrongState`.
        """
        found = self._keystore.find_principal(principal)
        if found is None or found.state == "deleted":
            msg = f"there is no principal {principal}"
            raise NotFound(msg, field="name")
        if Duty(found.duty) is Duty.ROOT:
            msg = f"{principal} has the one token that its ceremony made, and no other credential"
            raise WrongState(msg)
        if found.state != "enabled":
            msg = f"{principal} is {found.state}"
            raise WrongState(msg)

    def list_page(self, permit: Permit, principal: str, after: str | None, limit: int) -> list[PublicCredentialRecord]:
        """Up to `limit` of a principal's by id, beyond the id `after`, revoked ones too. Raises `DutyForbids`,
        `NotFound`."""
        require_may_manage(permit, principal)
        self._require_known(principal)
        return self._keystore.list_public_credentials(principal, after=after, limit=limit)

    def revoke(self, permit: Permit, principal: str, credential_id: str) -> PublicCredentialRecord:
        """Ends a credential, from the next request on. Raises `DutyForbids`, `NotFound`, `WrongState`."""
        require_may_manage(permit, principal)
        self._require_known(principal)
        try:
            return self._keystore.revoke_public_credential(principal, credential_id)
        except NoSuchRow as absent:
            msg = f"{principal} has no such credential"
            raise NotFound(msg, field="credential") from absent
        except NotEnabled as revoked:
            msg = "the credential is revoked already"
            raise WrongState(msg) from revoked

    def _require_known(self, principal: str) -> None:
        if self._keystore.find_principal(principal) is None:
            msg = f"there is no principal {principal}"
            raise NotFound(msg, field="name")

    def _keep(self, record: PublicCredentialRecord, moment: datetime) -> None:
        present = self._keystore.list_public_credentials(record.principal)
        if sum(is_usable(other, moment) for other in present) >= MOST_USABLE:
            msg = f"{record.principal} has {MOST_USABLE} credentials already; revoke one that is no longer needed"
            raise WrongState(msg)
        try:
            self._keystore.add_public_credential(record)
        except Taken as taken:
            msg = "an enabled credential matches the same certificate, or holds the same key; revoke that one first"
            raise Conflict(msg, field=_MEMBER[record.match]) from taken
        except NotEnabled as refused:  # disabled since, or an approver of a key
            raise WrongState(str(refused), field="name") from refused


def require_may_manage(permit: Permit, principal: str) -> None:
    """The principal itself, or whoever keeps identities; decided before anything is looked up. Raises `DutyForbids`."""
    if permit.principal.name == principal or _keeps_identities(permit):
        return
    msg = f"the credentials of {principal} are for {principal} itself and for an administrator"
    raise DutyForbids(msg)


def described(record: PublicCredentialRecord) -> dict[str, object]:
    """A public credential as JSON members."""
    return {
        "id": record.id,
        "principal": record.principal,
        "match": record.match.value,
        "value": record.value,
        "algorithm": record.algorithm,
        "public_key": None if record.public_key is None else _pem(record.public_key),
        "label": record.label,
        "state": record.state,
        "created_at": record.created_at,
        "created_by": record.created_by,
        "expires_at": record.expires_at,
    }


def _pem(public_key: bytes) -> str:
    return load_der_public_key(public_key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _keeps_identities(permit: Permit) -> bool:
    return permit.principal.duty in DUTIES_OF[Action.CREATE_PRINCIPAL]


def _require_members(body: NewPublicCredential, match: CredentialMatch) -> None:
    """Exactly the member that the match needs."""
    for member in ("certificate", "name", "public_key"):
        wanted, given = member == _MEMBER[match], getattr(body, member) is not None
        if wanted != given:
            msg = f"match {match} goes with {_MEMBER[match]} and with no other of certificate, name and public_key"
            raise Unprocessable(msg, field=member)


def _recognised(
    body: NewPublicCredential, match: CredentialMatch, moment: datetime
) -> tuple[str, RequestKey | None, str | None]:
    """Value, public key and algorithm of the record. Raises `Unprocessable`."""
    if match is CredentialMatch.REQUEST_KEY:
        key = _request_key(body.public_key or "")
        return fingerprint(der_of(key)), key, algorithm_of(key)
    if match in (CredentialMatch.URI, CredentialMatch.DNS):
        return _name(body.name or "", match), None, None
    certificate, key = _certificate(body.certificate or "", moment)
    if match is CredentialMatch.PUBLIC_KEY:
        return fingerprint(der_of(key)), key, None
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(), key, None


def _request_key(text: str) -> RequestKey:
    try:
        return load_public_key(text.encode())
    except UnusableKey as error:
        raise Unprocessable(str(error), field="public_key") from error


def _name(name: str, match: CredentialMatch) -> str:
    form = _URI if match is CredentialMatch.URI else _DNS_NAME
    if not form.fullmatch(name):
        msg = (
            f"name is the whole {match.value} of a certificate's subjectAltName (a DNS name in lower case), no pattern"
        )
        raise Unprocessable(msg, field="name")
    return name


def _certificate(text: str, moment: datetime) -> tuple[x509.Certificate, RequestKey]:
    """The one certificate, and its key; checked as it will be when it is used."""
    try:
        (certificate,) = x509.load_pem_x509_certificates(text.encode())
        require_client_certificate(certificate, moment)
        return certificate, require_request_key(load_der_public_key(public_key_of(certificate)))
    except (Refused, UnusableKey) as reason:
        raise Unprocessable(str(reason), field="certificate") from reason
    except publickey.UNREADABLE as error:
        msg = "certificate holds one client certificate, PEM"
        raise Unprocessable(msg, field="certificate") from error


def _require_possession(permit: Permit, principal: str, body: NewPublicCredential, key: RequestKey | None) -> None:
    if permit.principal.name != principal and body.proof is None:
        return  # an administrator, whose word it is
    if key is None and permit.principal.name == principal:
        msg = "a certificate's name is bound by another administrator: nobody can prove that a name is theirs"
        raise DutyForbids(msg, field="match")
    if key is None or body.proof is None or not is_proved(principal, key, body.proof):
        msg = "proof is the private key's signature that names the principal: `sealmark credentials` makes it"
        raise Unprocessable(msg, field="proof")
