"""Answers about signing calls."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from signer.web.answers.common import KeyId


class Problem(msgspec.Struct):
    """RFC 9457 problem details. Decide by `code`, which is stable."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    field: Annotated[str, Meta(description="path of the member at fault")] | msgspec.UnsetType = msgspec.UNSET


class Made(msgspec.Struct):
    """What every result has, unless it is an `error`."""

    key_id: KeyId | msgspec.UnsetType = msgspec.UNSET
    key_version: int | msgspec.UnsetType = msgspec.UNSET
    algorithm: str | msgspec.UnsetType = msgspec.UNSET
    request_id: str | msgspec.UnsetType = msgspec.UNSET
    proof: (
        Annotated[
            str, Meta(description="that the signature is in the log: `c2sp.org/tlog-proof@v1`, at most 4096 octets")
        ]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    error: Problem | msgspec.UnsetType = msgspec.UNSET


class MadeSignature(Made):
    """One raw signature, base64: DER for ECDSA."""

    signature: bytes | msgspec.UnsetType = msgspec.UNSET


class MadeSignatures(msgspec.Struct):
    """In the order asked."""

    results: list[MadeSignature]


class MadeArtifact(Made):
    """One file's signatures: base64, or a JSON object, by format."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    names: Annotated[list[str], Meta(description="of one statement over all files")] | msgspec.UnsetType = msgspec.UNSET
    signatures: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class MadeArtifacts(msgspec.Struct):
    """In the order asked."""

    results: list[MadeArtifact]


class MadeToken(Made):
    """One JWT, compact."""

    token: str | msgspec.UnsetType = msgspec.UNSET


class MadeTokens(msgspec.Struct):
    """In the order asked."""

    results: list[MadeToken]


class MadeResponse(Made):
    """One SAML response, base64 of its XML."""

    response: bytes | msgspec.UnsetType = msgspec.UNSET


class MadeResponses(msgspec.Struct):
    """One."""

    results: list[MadeResponse]
