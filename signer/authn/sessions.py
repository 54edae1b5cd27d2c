"""What a session's credential says of where it came from, and whether that still stands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from signer.authn.assertions import Assertion


class Origins(Protocol):
    """The one look-up that is needed."""

    def trusted_issuer_revision(self, name: str) -> int | None: ...


def facts_of(assertion: Assertion, deciding: dict[str, object]) -> str:
    """Canonical JSON: the issuer and its revision, the subject, the token's own name, and the claims that decided."""
    facts = {
        "issuer": assertion.issuer.url,
        "trusted_issuer": assertion.issuer.name,
        "trusted_issuer_revision": assertion.issuer.revision,
        "subject": assertion.subject,
        "jti": assertion.jti,
        "assertion": assertion.id,
        "claims": deciding,
    }
    return msgspec.json.encode(facts, order="sorted").decode()


def still_stands(facts: str | None, origins: Origins) -> bool:
    """Whether the issuer whose token began the session is trusted as it was then: not deleted, not changed since."""
    if facts is None:
        return False
    found = json.loads(facts)
    revision = origins.trusted_issuer_revision(found["trusted_issuer"])
    return revision is not None and revision == found["trusted_issuer_revision"]
