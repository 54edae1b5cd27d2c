"""A route and everything that is known of it: the source of Flask's rules, of `/openapi.json` and of the access
tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask import Response

from signer.call import Answer

if TYPE_CHECKING:
    import msgspec

    from signer.access import Action

# A view gets the services, the call and the path's parameters, and returns JSON content or a finished response.
View = Callable[..., Answer | Response]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method on one path. `action` None: no credential is asked for."""

    method: str
    path: str  # Flask's form, such as /v1/keys/<key>
    summary: str
    view: View
    action: Action | None = None
    body: type[msgspec.Struct] | None = None
    status: int = 200
    media_type: str = "application/json"
    query: Mapping[str, str] = field(default_factory=dict)  # name → description
    tag: str = "service"
    credential_helps: bool = False  # without an action: who has a credential may be shown more
    wire: bool = False  # without an action: a protocol of its own, whose calls name the action themselves
