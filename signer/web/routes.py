"""Every route there is, and how Flask comes to know of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flask import Flask, Response, g, request

from signer.call import Trace
from signer.kms.operations import MEDIA_TYPE
from signer.measuring import call_ended
from signer.web import (
    access,
    access_keys,
    approvals,
    audit,
    certificates,
    credentials,
    cryptography,
    grants,
    health,
    identities,
    issuers,
    keys,
    kms,
    labels,
    log,
    policies,
    public,
    public_credentials,
    replicas,
    signing,
    trusted_issuers,
    usage,
)
from signer.web.counting import UNKNOWN, Counting, name_of
from signer.web.http import (
    MAXIMUM_BODY,
    RESPONSE_HEADERS,
    current_call,
    json_response,
    refuse_strange_paths,
    request_id,
)
from signer.web.lane import SigningLane
from signer.web.peer import refuse_forged_certificate, require_safe_transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from signer.services import Services
    from signer.web.endpoints import Endpoint

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *health.ENDPOINTS,
    *identities.ENDPOINTS,
    *credentials.ENDPOINTS,
    *access_keys.ENDPOINTS,
    *keys.ENDPOINTS,
    *labels.ENDPOINTS,
    *replicas.ENDPOINTS,
    *certificates.ENDPOINTS,
    *signing.ENDPOINTS,
    *cryptography.ENDPOINTS,
    *issuers.ENDPOINTS,
    *public.ENDPOINTS,
    *log.ENDPOINTS,
    *public_credentials.ENDPOINTS,
    *access.ENDPOINTS,
    *grants.ENDPOINTS,
    *policies.ENDPOINTS,
    *trusted_issuers.ENDPOINTS,
    *approvals.ENDPOINTS,
    *audit.ENDPOINTS,
    *usage.ENDPOINTS,
    *kms.ENDPOINTS,
)


def register(app: Flask, services: Services) -> None:
    """Adds every endpoint, the checks before routing and the one way errors are answered."""
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.url_map.redirect_defaults = False
    # One more than the limit: a body of unknown length (chunked) is cut off by Werkzeug at its own, without a word.
    app.config["MAX_CONTENT_LENGTH"] = MAXIMUM_BODY + 1

    @app.before_request
    def check_before_routing() -> None:
        refuse_strange_paths()
        require_safe_transport(services.configuration)
        refuse_forged_certificate(services.configuration)

    counting = Counting(services, ENDPOINTS)

    @app.after_request
    def name_the_request(response: Response) -> Response:
        counting.count(response)
        call = g.get("call")
        call_ended(Trace() if call is None else call.trace, g.get("refused_with"), request.endpoint or UNKNOWN)
        response.headers["X-Request-Id"] = request_id()
        for name, value in RESPONSE_HEADERS:
            response.headers.setdefault(name, value)
        return response

    app.register_error_handler(Exception, counting.refused)
    for endpoint in ENDPOINTS:
        app.add_url_rule(
            endpoint.path,
            endpoint=name_of(endpoint),
            view_func=_view(endpoint, services),
            methods=[endpoint.method],
            provide_automatic_options=False,
        )
    app.wsgi_app = SigningLane(app, services, {**signing.OPERATIONS, **cryptography.OPERATIONS})  # type: ignore[method-assign]


def _view(endpoint: Endpoint, services: Services) -> Callable[..., Response]:
    view, media_type = endpoint.view, MEDIA_TYPE if endpoint.wire else "application/json"

    def dispatch(**parameters: str) -> Response:
        answer = view(services, current_call(services.configuration, media_type), **parameters)
        return answer if isinstance(answer, Response) else json_response(answer)

    return dispatch
