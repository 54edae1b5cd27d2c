"""An issuer's OpenID Connect discovery document (OpenID Connect Discovery 1.0 section 3): what is true of it, no more.

Sealmark signs tokens and is no authorization server: the endpoints of one stand here only where the issuer names them.
Without an authorization endpoint `response_types_supported`, which must not be missing, says `id_token`, as other
issuers do whose tokens nobody logs in for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystore.api import Issuer

KEY_SET_PATH: Final = "/jwks.json"
ROOT_KEY_SET_PATH: Final = "/.well-known/jwks.json"


def is_bare_origin(url: str) -> bool:
    """Whether a URL is scheme, host and port alone: its discovery document then lies at the root of the host."""
    return urlsplit(url).path in ("", "/")


def key_set_url(issuer: Issuer, *, at_root: bool) -> str:
    """Where readers of the document find the issuer's key set, absolute.

    What the issuer names; else below its url, or, `at_root`, where the service itself has the default issuer's.
    """
    if issuer.jwks_uri is not None:
        return issuer.jwks_uri
    return issuer.url.rstrip("/") + (ROOT_KEY_SET_PATH if at_root else KEY_SET_PATH)


def configuration(issuer: Issuer, *, key_set: str, algorithms: Iterable[str]) -> dict[str, object]:
    """The document's members. `key_set` is the set's URL, `algorithms` the JWS names of its keys, never none."""
    return {
        "issuer": issuer.url,
        **_present("authorization_endpoint", issuer.authorization_endpoint),
        **_present("token_endpoint", issuer.token_endpoint),
        "jwks_uri": key_set,
        "response_types_supported": [_response_type(issuer)],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": sorted(set(algorithms)),
    }


def _response_type(issuer: Issuer) -> str:
    with_code = issuer.authorization_endpoint is not None and issuer.token_endpoint is not None
    return "code" if with_code else "id_token"


def _present(name: str, value: str | None) -> dict[str, str]:
    return {} if value is None else {name: value}
