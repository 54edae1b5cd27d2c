"""Asking as AWS's clients do, and what they are told."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any, Final

from signer.kms.operations import MEDIA_TYPE

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

ADMIN: Final = "user/key-admin"
OTHER: Final = "user/other-key-admin"
USER: Final = "role/ci"


def told(service: ServiceInProcess, who: str, operation: str, **members: object) -> dict[str, Any]:
    """What an operation answers that is carried out."""
    answer = service.kms(who, operation, members)
    assert (answer.status_code, answer.mimetype) == (200, MEDIA_TYPE), answer.get_data(as_text=True)
    return dict(json.loads(answer.data)) if answer.data else {}


def refused(service: ServiceInProcess, who: str, operation: str, **members: object) -> tuple[str, str]:
    """The exception's name, and its message."""
    answer = service.kms(who, operation, members)
    found = json.loads(answer.data)
    assert answer.status_code >= 400, found
    return found["__type"], found["message"]


def made_key(service: ServiceInProcess, who: str = ADMIN, **members: object) -> dict[str, Any]:
    """A new key's metadata; a symmetric one, which is made fastest, unless the members say otherwise."""
    return dict(told(service, who, "CreateKey", **members)["KeyMetadata"])


def new_alias() -> str:
    return f"alias/test/{uuid.uuid4().hex}"


def pages(service: ServiceInProcess, who: str, operation: str, member: str, **members: object) -> list[list[Any]]:
    """Every page of a list."""
    found, marker = [], None
    while True:
        page = told(service, who, operation, **members, **({} if marker is None else {"Marker": marker}))
        found.append(page[member])
        marker = page.get("NextMarker")
        assert page["Truncated"] is (marker is not None)
        if marker is None:
            return found
