"""Every route there is, and how Flask comes to know of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flask import Flask, Response, g, request

from keystore.errors import KeystoreError
from signer.access import Action
from signer.errors import InsecureTransport, SealmarkError, TooManyRequests, Unauthenticated
from signer.problems import SERVER_FAULTS, code_of
from signer.web import (
    access,
    approvals,
    certificates,
    credentials,
    grants,
    health,
    identities,
    issuers,
    keys,
    policies,
    public,
    public_credentials,
    signing,
    trusted_issuers,
)
from signer.web.http import (
    MAXIMUM_BODY,
    RESPONSE_HEADERS,
    answered_code,
    current_call,
    error_response,
    json_response,
    refuse_strange_paths,
    refused_call,
    request_id,
)
from signer.web.lane import SigningLane
from signer.web.peer import refuse_forged_certificate, require_safe_transport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from signer.call import Answer
    from signer.services import Services
    from signer.web.endpoints import Endpoint

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *health.ENDPOINTS,
    *identities.ENDPOINTS,
    *credentials.ENDPOINTS,
    *keys.ENDPOINTS,
    *certificates.ENDPOINTS,
    *signing.ENDPOINTS,
    *issuers.ENDPOINTS,
    *public.ENDPOINTS,
    *public_credentials.ENDPOINTS,
    *access.ENDPOINTS,
    *grants.ENDPOINTS,
    *policies.ENDPOINTS,
    *trusted_issuers.ENDPOINTS,
    *approvals.ENDPOINTS,
)

NO_SUCH_CALL: Final = "NoSuchCall"  # the action of what has no route


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

    @app.after_request
    def name_the_request(response: Response) -> Response:
        response.headers["X-Request-Id"] = request_id()
        for name, value in RESPONSE_HEADERS:
            response.headers.setdefault(name, value)
        return response

    actions = {_name_of(endpoint): endpoint.action for endpoint in ENDPOINTS}

    @app.errorhandler(Exception)
    def refuse(error: Exception) -> Response:
        """Those whom no view has looked at are recorded or counted here, before they are answered."""
        if "seen" not in g:
            try:
                _turn_away(services, error, actions)
            except (SealmarkError, KeystoreError) as fault:
                return error_response(fault)
        return error_response(error)

    for endpoint in ENDPOINTS:
        app.add_url_rule(
            endpoint.path,
            endpoint=_name_of(endpoint),
            view_func=_view(endpoint, services),
            methods=[endpoint.method],
            provide_automatic_options=False,
        )
    app.wsgi_app = SigningLane(app, services, signing.OPERATIONS)  # type: ignore[method-assign]


def _view(endpoint: Endpoint, services: Services) -> Callable[..., Response]:
    view = endpoint.view

    def dispatch(**parameters: str) -> Response:
        call = current_call(services.configuration)
        g.seen = True
        if endpoint.action is None:
            answer = _counted(endpoint, services, lambda: view(services, call, **parameters))
        else:
            answer = view(services, call, **parameters)
        return answer if isinstance(answer, Response) else json_response(answer)

    return dispatch


def _counted(endpoint: Endpoint, services: Services, work: Callable[[], Answer | Response]) -> Answer | Response:
    """What asks for no credential: what is given to anybody, and what is refused to somebody unknown."""
    try:
        answer = work()
    except (Unauthenticated, TooManyRequests):  # counted by whoever refused
        raise
    except SealmarkError as refusal:
        if "known_caller" not in g and code_of(refusal) not in SERVER_FAULTS:
            services.audit.count_unauthenticated(code_of(refusal))
        raise
    if endpoint.method == "GET" and "known_caller" not in g:
        services.audit.count("health" if endpoint in health.PROBES else "public", _name_of(endpoint))
    return answer


def _turn_away(services: Services, error: Exception, actions: Mapping[str, Action | None]) -> None:
    """For a request that no view was given: there is no such call, it is too large, it is not JSON."""
    action = actions.get(request.endpoint or "", NO_SUCH_CALL)
    # Over a connection that others listen to nobody is asked to prove himself, nor where anybody is welcome.
    if action is None or isinstance(error, InsecureTransport):
        services.audit.count_unauthenticated(answered_code(error))
        return
    name = action.value if isinstance(action, Action) else action
    services.pipeline.turn_away(refused_call(services.configuration), name, answered_code(error))


def _name_of(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"
