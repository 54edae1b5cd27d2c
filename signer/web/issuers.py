"""`/v1/issuers` and `/v1/domains`, and what each issuer publishes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec
from flask import Response, request

from signer.access import Action
from signer.call import Answer, Call
from signer.formats import metadata
from signer.published import DEFAULT_ISSUER, KEY_SET_MAX_AGE
from signer.request import NewIssuer
from signer.web.endpoints import Endpoint

if TYPE_CHECKING:
    from keystore.api import Issuer, Key
    from signer.access import Permit
    from signer.services import Services

_KEY_SET_TYPE: Final = "application/jwk-set+json"


def create(services: Services, call: Call) -> Answer:
    def work(_permit: Permit, _key: Key | None, body: NewIssuer) -> Answer:
        made = _described(services.issuers.create(body))
        return Answer(made, 201, {name: value for name, value in made.items() if value is not None})

    return services.pipeline.change(call, Action.CREATE_ISSUER, NewIssuer, work)


def list_all(services: Services, call: Call) -> Answer:
    def work(_permit: Permit, _key: Key | None) -> Answer:
        return Answer({"issuers": [_described(issuer) for issuer in services.keystore.list_issuers()]})

    return services.pipeline.read(call, Action.LIST_ISSUERS, work)


def list_domains(services: Services, call: Call) -> Answer:
    def work(_permit: Permit, _key: Key | None) -> Answer:
        domains = [
            {
                "name": domain.name,
                "version": domain.version,
                "created_at": domain.created_at,
                "home_region": domain.home_region,
            }
            for domain in services.keystore.list_domains()
        ]
        return Answer({"domains": domains})

    return services.pipeline.read(call, Action.LIST_DOMAINS, work)


def key_set(services: Services, _call: Call, issuer: str = DEFAULT_ISSUER) -> Response:
    return cacheable(msgspec.json.encode(services.published.key_set(issuer)), _KEY_SET_TYPE)


def discovery(services: Services, _call: Call, issuer: str) -> Response:
    return cacheable(msgspec.json.encode(services.published.discovery(issuer)), "application/json")


def root_discovery(services: Services, _call: Call) -> Response:
    return cacheable(msgspec.json.encode(services.published.root_discovery()), "application/json")


def saml_metadata(services: Services, call: Call, issuer: str = DEFAULT_ISSUER) -> Response:
    return cacheable(services.saml_metadata.document(call, issuer), metadata.CONTENT_TYPE)


def cacheable(body: bytes, media_type: str, caching: str = f"public, max-age={KEY_SET_MAX_AGE}") -> Response:
    """A public document: 200 with an ETag, or 304 to who has it already (RFC 9110 section 13). Pages of any origin may
    read it, since it says the same to everybody and no credential goes with it."""
    response = Response(body, mimetype=media_type)
    response.headers["Cache-Control"] = caching
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.set_etag(hashlib.sha256(body).hexdigest()[:32])
    response.make_conditional(request)
    return response


def _described(issuer: Issuer) -> dict[str, object]:
    return {
        "name": issuer.name,
        "url": issuer.url,
        "entity_id": issuer.entity_id,
        "jwks_uri": issuer.jwks_uri,
        "authorization_endpoint": issuer.authorization_endpoint,
        "token_endpoint": issuer.token_endpoint,
        "sign_on_url": issuer.sign_on_url,
        "created_at": issuer.created_at,
    }


ENDPOINTS: Final = (
    Endpoint("POST", "/v1/issuers", "Make an issuer", create, Action.CREATE_ISSUER, NewIssuer, 201, tag="issuers"),
    Endpoint("GET", "/v1/issuers", "List issuers", list_all, Action.LIST_ISSUERS, tag="issuers"),
    Endpoint("GET", "/v1/domains", "List domains", list_domains, Action.LIST_DOMAINS, tag="issuers"),
    Endpoint(
        "GET", "/issuers/<issuer>/jwks.json", "An issuer's key set", key_set, media_type=_KEY_SET_TYPE, tag="published"
    ),
    Endpoint(
        "GET",
        "/.well-known/jwks.json",
        "The default issuer's key set",
        key_set,
        media_type=_KEY_SET_TYPE,
        tag="published",
    ),
    Endpoint(
        "GET",
        "/issuers/<issuer>/.well-known/openid-configuration",
        "An issuer's OpenID Connect discovery document",
        discovery,
        tag="published",
    ),
    Endpoint(
        "GET",
        "/.well-known/openid-configuration",
        "The default issuer's discovery document, if its url is the host alone",
        root_discovery,
        tag="published",
    ),
    Endpoint(
        "GET",
        "/issuers/<issuer>/saml/metadata",
        "An issuer's SAML metadata",
        saml_metadata,
        media_type=metadata.CONTENT_TYPE,
        tag="published",
    ),
    Endpoint(
        "GET",
        "/saml/metadata",
        "The default issuer's SAML metadata",
        saml_metadata,
        media_type=metadata.CONTENT_TYPE,
        tag="published",
    ),
)
