"""`/v1/keys/{key}/csr` and `/v1/keys/{key}/certificate`: what a key's administrators do with its certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signer.access import Action
from signer.call import Answer, Call
from signer.pipeline import present
from signer.request import CertificateChain, CertificateRequest, Renewal, Revocation
from signer.web.endpoints import Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystore.api import Key
    from signer.access import Permit
    from signer.services import Services


def request(services: Services, call: Call, key: str) -> Answer:
    def work(permit: Permit, found: Key | None, body: CertificateRequest) -> Answer:
        return Answer({"csr": services.certificates.request(permit, call, present(found), body)})

    return services.pipeline.change(call, Action.REQUEST_CERTIFICATE, CertificateRequest, work, key)


def install(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None, body: CertificateChain) -> Answer:
        installed = services.certificates.install(present(found), body)
        return Answer(installed, recorded=_recorded(installed))

    return services.pipeline.change(call, Action.INSTALL_CERTIFICATE, CertificateChain, work, key)


def renew(services: Services, call: Call, key: str) -> Answer:
    def work(permit: Permit, found: Key | None, body: Renewal) -> Answer:
        renewed = services.certificates.renew(permit, call, present(found), body)
        return Answer(renewed, recorded=_recorded(renewed))

    return services.pipeline.change(call, Action.RENEW_CERTIFICATE, Renewal, work, key)


def revoke(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None, body: Revocation) -> Answer:
        revoked = services.certificates.revoke(call, present(found), body)
        return Answer(revoked, recorded=_recorded(revoked))

    return services.pipeline.change(call, Action.REVOKE_CERTIFICATE, Revocation, work, key)


def _recorded(changed: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in changed.items() if name != "key_id" and value is not None}


ENDPOINTS: Final = (
    Endpoint(
        "POST",
        "/v1/keys/<key>/csr",
        "A certificate request (PKCS #10) for an outside CA",
        request,
        Action.REQUEST_CERTIFICATE,
        CertificateRequest,
        tag="certificates",
    ),
    Endpoint(
        "PUT",
        "/v1/keys/<key>/certificate",
        "Install an outside CA's chain",
        install,
        Action.INSTALL_CERTIFICATE,
        CertificateChain,
        tag="certificates",
    ),
    Endpoint(
        "POST",
        "/v1/keys/<key>/certificate/renew",
        "A new certificate for the same key version",
        renew,
        Action.RENEW_CERTIFICATE,
        Renewal,
        tag="certificates",
    ),
    Endpoint(
        "POST",
        "/v1/keys/<key>/certificate/revoke",
        "Revoke a version's certificates; for a compromised key the version too",
        revoke,
        Action.REVOKE_CERTIFICATE,
        Revocation,
        tag="certificates",
    ),
)
