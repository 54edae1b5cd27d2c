"""That the audit trail knows of every request: what is nobody's own record is counted, by the minute.

The pipeline records what known callers do, and counts whom it turns away. Here is the rest: public documents, health,
and whatever is refused before or outside the pipeline: a path that is not there, a body that is too large, a
connection that is not safe. If who is refused so proves who it is, that is recorded as any other refusal.

A request that gunicorn itself refuses, since it is no HTTP, never gets here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flask import g, request

from keystore.errors import KeystoreError
from signer.errors import InsecureTransport, SealmarkError
from signer.kms.operations import action_of as wire_action
from signer.web.http import code_of_any, error_response, turned_away_call
from signer.web.kms import error_response as wire_error_response
from signer.web.kms import is_wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask import Response

    from signer.call import Call
    from signer.services import Services
    from signer.web.endpoints import Endpoint

_HEALTH: Final = frozenset({"/healthz", "/readyz"})
UNKNOWN: Final = "UnknownCall"  # the action of a path or method that there is not


def name_of(endpoint: Endpoint) -> str:
    """What Flask and the counts call it: the method and the path's form."""
    return f"{endpoint.method} {endpoint.path}"


class Counting:
    """One per application."""

    def __init__(self, services: Services, endpoints: Sequence[Endpoint]) -> None:
        self._services = services
        self._endpoints = {name_of(endpoint): endpoint for endpoint in endpoints}

    def refused(self, error: Exception) -> Response:
        """Any exception as a problem; one that the pipeline has not seen is recorded, if its caller is known."""
        if "call" not in g and not isinstance(error, InsecureTransport):
            try:
                self._record(code_of_any(error))
            except (SealmarkError, KeystoreError) as fault:
                error = fault  # as in the pipeline: what cannot be recorded is not answered otherwise
        return wire_error_response(error, self._services) if is_wire() else error_response(error)

    def count(self, response: Response) -> None:
        """Counts an answer that the trail has not been told of."""
        call: Call | None = g.get("call")
        if call is not None and call.trace.told:
            return
        code: str | None = g.get("refused_with")
        name = request.endpoint or UNKNOWN
        if request.path in _HEALTH:
            self._services.audit.count("health", name if code is None else f"{name} {code}")
        elif code is not None:
            self._services.audit.count_unauthenticated(code)
        else:
            self._services.audit.count("public", name)

    def _record(self, code: str) -> None:
        endpoint = self._endpoints.get(request.endpoint or "")
        if endpoint is not None and endpoint.action is None and not endpoint.wire:
            return
        g.call = turned_away_call(self._services.configuration)
        if g.call is None:
            return
        action = UNKNOWN if endpoint is None or endpoint.action is None else endpoint.action.value
        if endpoint is not None and endpoint.wire:
            action = wire_action(g.call.headers)
        found = request.view_args or {}
        subject = f"{found['kind']}/{found['name']}" if "kind" in found else None
        self._services.pipeline.turned_away(g.call, action, code, found.get("key"), subject)
