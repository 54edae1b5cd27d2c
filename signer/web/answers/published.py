"""Answers about what is published, and the service itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


class Status(msgspec.Struct):
    """Of the process or the service."""

    status: str


class ReadyPart(msgspec.Struct, omit_defaults=True):
    """A part of the service: `ready`, or `warning` with a code and words; in the problem of a 503 also `not_ready`."""

    status: str
    code: str | None = None
    words: str | None = None


class ReadyParts(msgspec.Struct):
    """All parts."""

    database: ReadyPart
    hsm: ReadyPart
    audit: ReadyPart
    certificates: ReadyPart
    configuration: ReadyPart


class Ready(msgspec.Struct):
    """That the service can be used, and each of its parts."""

    status: str
    parts: ReadyParts


class Issuer(msgspec.Struct):
    """Who tokens speak for."""

    name: str
    url: str
    entity_id: str
    jwks_uri: str | None
    authorization_endpoint: str | None
    token_endpoint: str | None
    sign_on_url: str | None
    created_at: datetime


class Issuers(msgspec.Struct):
    """Every issuer."""

    issuers: list[Issuer]


class Domain(msgspec.Struct):
    """A wrapping key in the HSM that holds keys together. `home_region`: of one that holds multi-region keys, and
    those alone, where it is made."""

    name: str
    version: int
    created_at: datetime
    home_region: str | None


class Domains(msgspec.Struct):
    """Every domain."""

    domains: list[Domain]


class Discovery(msgspec.Struct):
    """An OpenID provider's configuration (OpenID Connect Discovery 1.0 section 3)."""

    issuer: str
    jwks_uri: str
    response_types_supported: list[str]
    subject_types_supported: list[str]
    id_token_signing_alg_values_supported: list[str]
    authorization_endpoint: str | msgspec.UnsetType = msgspec.UNSET
    token_endpoint: str | msgspec.UnsetType = msgspec.UNSET


class KeySet(msgspec.Struct):
    """A JWK Set (RFC 7517)."""

    keys: list[dict[str, Any]]
