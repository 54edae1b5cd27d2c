"""The four signing calls."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from signer.operations.artifacts import ArtifactSignatures
from signer.operations.assertions import IssuedAssertions
from signer.operations.signatures import RawSignatures
from signer.operations.tokens import IssuedTokens
from signer.web.endpoints import Endpoint, View

if TYPE_CHECKING:
    from collections.abc import Mapping

    from signer.call import Answer, Call
    from signer.operations.base import Operation
    from signer.services import Services

_Body = TypeVar("_Body", bound=msgspec.Struct)


def _view(operation: Operation[_Body]) -> View:
    def view(services: Services, call: Call, key: str) -> Answer:
        return services.pipeline.sign(call, key, operation)

    return view


def _signs(path: str, summary: str, operation: Operation[_Body]) -> Endpoint:
    return Endpoint(
        "POST",
        f"/v1/keys/<key>/{path}",
        summary,
        _view(operation),
        operation.action,
        operation.body_type,
        tag="signing",
    )


_SIGNATURES: Final = RawSignatures()
_ARTIFACTS: Final = ArtifactSignatures()
_TOKENS: Final = IssuedTokens()
_ASSERTIONS: Final = IssuedAssertions()
OPERATIONS: Final[Mapping[str, Operation[Any]]] = MappingProxyType(
    {"signatures": _SIGNATURES, "artifacts": _ARTIFACTS, "jwts": _TOKENS, "assertions": _ASSERTIONS}
)
ENDPOINTS: Final = (
    _signs("signatures", "Sign messages or digests with a key for general use", _SIGNATURES),
    _signs("artifacts", "Sign release files by their digests", _ARTIFACTS),
    _signs("jwts", "Issue JSON Web Tokens", _TOKENS),
    _signs("assertions", "Issue a SAML response with one assertion", _ASSERTIONS),
)
