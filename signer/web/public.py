"""What anybody may fetch without a credential: public keys, certificates, the authority, its revocation list, the trust
bundle.

What is revoked is still served to who asks for that version, since old signatures may have to be looked into; the
answer says so in headers of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from flask import Response, request

from keystore.algorithms import KEY_SPECS, SIGNING_PURPOSES
from signer.access import Action
from signer.call import Answer, Call
from signer.certificates import chain as certificates
from signer.errors import MalformedRequest, NotFound, WrongPurpose
from signer.formats import jwks, publickey
from signer.published import rfc3339
from signer.web.endpoints import Endpoint
from signer.web.issuers import cacheable
from signer.web.paging import require_known_parameters

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.api import Key, KeyVersion, RevocationReason
    from signer.access import Permit
    from signer.services import Services

_PEM: Final = "application/x-pem-file"
_CRL: Final = "application/pkix-crl"  # RFC 2585 section 4.2
_FORMATS: Final = ("pem", "der", "jwk")
_VERSION_QUERY: Final = {"version": "a version's number; the signing one if absent"}


def public_key(services: Services, call: Call, key: str) -> Response:
    require_known_parameters("format", "version")
    found = _published_or_permitted(services, call, key)
    if not KEY_SPECS[found.spec].has_public_key:
        msg = f"a {found.spec} key is secret: it has no public half"
        raise WrongPurpose(msg)
    version = _wanted_version(services, found)
    response = _in_format(services, found, version, request.args.get("format", "pem"))
    _mark_revoked(response, version.revoked_at, version.revocation_reason)
    if not found.published:
        response.headers["Cache-Control"] = "no-store"  # a cache on the way would show it to others
        del response.headers["Access-Control-Allow-Origin"]
    return response


def _in_format(services: Services, key: Key, version: KeyVersion, wanted: str) -> Response:
    if wanted == "pem":
        return cacheable(publickey.pem(version.public_key).encode(), _PEM)
    if wanted == "der":
        return cacheable(version.public_key, "application/octet-stream")
    if wanted == "jwk" and key.purpose in SIGNING_PURPOSES:
        chain = services.published.unrevoked_chain(version) if key.published else ()
        member = jwks.jwk(version.public_key, algorithm=key.algorithm, chain=chain)
        return cacheable(msgspec.json.encode(member), "application/jwk+json")
    msg = f"format is one of {', '.join(_FORMATS)}; jwk of a key that signs"
    raise MalformedRequest(msg, field="format")


def certificate(services: Services, _call: Call, key: str) -> Response:
    require_known_parameters("version")
    version = _wanted_version(services, services.published.key(key))
    record = services.published.certificate(version)
    response = cacheable(_pem_chain(record.chain), _PEM)
    _mark_revoked(response, record.revoked_at, record.revocation_reason)
    return response


def authority(services: Services, _call: Call) -> Response:
    require_known_parameters()
    return cacheable(_pem_chain(services.published.authority().chain), _PEM)


def revocation_list(services: Services, call: Call) -> Response:
    require_known_parameters("format")
    wanted = request.args.get("format", "der")
    if wanted not in ("der", "pem"):
        msg = "format is one of der, pem"
        raise MalformedRequest(msg, field="format")
    document = services.revocation_lists.current(call)
    if wanted == "pem":
        return cacheable(publickey.pem(document, "X509 CRL").encode(), _PEM)
    return cacheable(document, _CRL)


def trust(services: Services, call: Call) -> Response:
    require_known_parameters()
    bundle = services.published.trust(services.revocation_lists.current(call), services.published_logs.trusted())
    return cacheable(msgspec.json.encode(bundle), "application/json")


def _mark_revoked(response: Response, revoked_at: datetime | None, reason: RevocationReason | None) -> None:
    if revoked_at is not None and reason is not None:
        response.headers["Sealmark-Revoked-At"] = rfc3339(revoked_at)
        response.headers["Sealmark-Revocation-Reason"] = reason.value


def _published_or_permitted(services: Services, call: Call, key: str) -> Key:
    """A published key for anybody; another one for those whom its policy names."""
    try:
        return services.published.key(key)
    except NotFound:
        if call.authorization is None:
            raise
    seen: list[Key] = []

    def work(_permit: Permit, found: Key | None) -> Answer:
        seen.extend([] if found is None else [found])
        return Answer(None)

    services.pipeline.read(call, Action.GET_PUBLIC_KEY, work, key)
    return seen[0]


def _wanted_version(services: Services, key: Key) -> KeyVersion:
    asked = request.args.get("version")
    if asked is None:
        return services.published.signing_version(key)
    numbered = [version for version in key.versions if str(version.number) == asked]
    if not numbered:
        msg = f"this key has the versions {', '.join(str(version.number) for version in key.versions)}"
        raise NotFound(msg, field="version")
    return numbered[0]


def _pem_chain(chain: tuple[bytes, ...]) -> bytes:
    return certificates.pem(chain).encode()


ENDPOINTS: Final = (
    Endpoint(
        "GET",
        "/v1/keys/<key>/public-key",
        "A published key's public half",
        public_key,
        credential_helps=True,
        media_type=_PEM,
        query={"format": "pem (default), der or jwk", **_VERSION_QUERY},
        tag="published",
    ),
    Endpoint(
        "GET",
        "/v1/keys/<key>/certificate",
        "A published key's certificates, leaf first, root last",
        certificate,
        media_type=_PEM,
        query=_VERSION_QUERY,
        tag="published",
    ),
    Endpoint("GET", "/v1/ca", "The certificate authority's certificate", authority, media_type=_PEM, tag="published"),
    Endpoint(
        "GET",
        "/v1/ca/crl",
        "The certificate authority's revocation list",
        revocation_list,
        media_type=_CRL,
        query={"format": "der (default) or pem"},
        tag="published",
    ),
    Endpoint("GET", "/v1/trust", "The trust bundle for sealmark-verify", trust, tag="published"),
)
