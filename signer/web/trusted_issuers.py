"""`/v1/trusted-issuers` and `/v1/token-exchange`: workloads that prove themselves by their own tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signer.access import Action
from signer.administration.trusted_issuers import described
from signer.call import Answer, Call
from signer.decoding import decode
from signer.request import Empty, NewTrustedIssuer, TokenExchange, TrustedIssuerBody
from signer.web.endpoints import Endpoint
from signer.web.paging import QUERY, next_cursor, requested_page

if TYPE_CHECKING:
    from keystore.api import Key
    from keystore.trust import TrustedIssuer
    from signer.access import Permit
    from signer.services import Services

_ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # RFC 8693 section 3


def create(services: Services, call: Call) -> Answer:
    def work(permit: Permit, _key: Key | None, body: NewTrustedIssuer) -> Answer:
        made = services.trusted_issuers.create(permit, body)
        return Answer(described(made), 201, _recorded(made))

    return services.pipeline.change(call, Action.CREATE_TRUSTED_ISSUER, NewTrustedIssuer, work)


def list_all(services: Services, call: Call) -> Answer:
    def work(_permit: Permit, _key: Key | None) -> Answer:
        page = requested_page()
        found = services.keystore.list_trusted_issuers(page.after, page.limit + 1)
        shown = found[: page.limit]
        last = shown[-1].name if len(found) > page.limit else None
        return Answer({"trusted_issuers": [described(each) for each in shown], "next_cursor": next_cursor(last)})

    return services.pipeline.read(call, Action.LIST_TRUSTED_ISSUERS, work)


def show(services: Services, call: Call, trusted: str) -> Answer:
    def work(_permit: Permit, _key: Key | None) -> Answer:
        return Answer(described(services.trusted_issuers.get(trusted)))

    return services.pipeline.read(call, Action.LIST_TRUSTED_ISSUERS, work)


def update(services: Services, call: Call, trusted: str) -> Answer:
    def work(permit: Permit, _key: Key | None, body: TrustedIssuerBody) -> Answer:
        updated = services.trusted_issuers.update(permit, trusted, body)
        return Answer(described(updated), recorded=_recorded(updated))

    return services.pipeline.change(call, Action.UPDATE_TRUSTED_ISSUER, TrustedIssuerBody, work)


def delete(services: Services, call: Call, trusted: str) -> Answer:
    def work(permit: Permit, _key: Key | None, _body: Empty) -> Answer:
        services.trusted_issuers.delete(permit, trusted)
        return Answer({"name": trusted, "state": "deleted"}, recorded={"name": trusted, "state": "deleted"})

    return services.pipeline.change(call, Action.DELETE_TRUSTED_ISSUER, Empty, work)


def _recorded(issuer: TrustedIssuer) -> dict[str, object]:
    """All that decides who may come in by it; of pinned keys only that they are pinned."""
    shown = described(issuer) | {"jwks": None if issuer.jwks is None else "pinned"}
    return {name: value for name, value in shown.items() if value is not None}


def exchange(services: Services, call: Call) -> Answer:
    body = decode(call.body, TokenExchange)
    with services.throttle.attempt(call.source, body.subject_token):
        session = services.exchange.exchange(call, body)
    return Answer(
        {
            "access_token": session.token,
            "issued_token_type": _ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": session.expires_in,
            "name": session.name,
        }
    )


_ALL: Final = "/v1/trusted-issuers"
_ONE: Final = "/v1/trusted-issuers/<trusted>"
ENDPOINTS: Final = (
    Endpoint(
        "POST",
        _ALL,
        "Trust an OIDC issuer's tokens",
        create,
        Action.CREATE_TRUSTED_ISSUER,
        NewTrustedIssuer,
        201,
        tag="identities",
    ),
    Endpoint("GET", _ALL, "List trusted issuers", list_all, Action.LIST_TRUSTED_ISSUERS, query=QUERY, tag="identities"),
    Endpoint("GET", _ONE, "Show a trusted issuer", show, Action.LIST_TRUSTED_ISSUERS, tag="identities"),
    Endpoint(
        "PUT",
        _ONE,
        "Change a trusted issuer, and end its sessions",
        update,
        Action.UPDATE_TRUSTED_ISSUER,
        TrustedIssuerBody,
        tag="identities",
    ),
    Endpoint(
        "DELETE",
        _ONE,
        "Trust an issuer no more, and end its sessions",
        delete,
        Action.DELETE_TRUSTED_ISSUER,
        Empty,
        tag="identities",
    ),
    Endpoint(
        "POST",
        "/v1/token-exchange",
        "Exchange a workload's own token for a short session",
        exchange,
        None,
        TokenExchange,
        tag="identities",
    ),
)
