"""Is it alive, can it sign, and what does it understand."""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING, Final

import msgspec
from flask import Response

from signer.call import Answer, Call
from signer.web import reference
from signer.web.endpoints import Endpoint
from signer.web.openapi import document

if TYPE_CHECKING:
    from signer.services import Services

_making = threading.Lock()


def alive(_services: Services, _call: Call) -> Answer:
    return Answer({"status": "alive"})


def ready(services: Services, _call: Call) -> Answer:
    """Every part, each tried for real. 503 says which is not usable; why is in the service's log."""
    parts = services.readiness.require()
    return Answer({"status": "ready", "parts": {name: part.described() for name, part in parts.items()}})


def openapi(_services: Services, _call: Call) -> Answer:
    return Answer(_contract())


def _contract() -> msgspec.Raw:
    """Made once, by one thread: it is large, and whoever likes may ask for it."""
    with _making:
        return _encoded()


@cache
def _encoded() -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(document()))


def docs(_services: Services, _call: Call) -> Response:
    answer = Response(reference.page(), mimetype="text/html")
    answer.headers["Content-Security-Policy"] = reference.content_security_policy()
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer


ENDPOINTS: Final = (
    Endpoint("GET", "/healthz", "Is the process alive", alive, tag="service"),
    Endpoint("GET", "/readyz", "Can it sign, and which part cannot be used", ready, tag="service"),
    Endpoint("GET", "/openapi.json", "This contract, OpenAPI 3.1", openapi, tag="service"),
    Endpoint("GET", "/docs", "This contract as a page to read", docs, media_type="text/html", tag="service"),
)
