"""The compact JWS (RFC 7515) as text: three segments, read so strictly that nothing in it can be written otherwise.

An ECDSA signature can still be turned into a second one by anybody (r, s to r, n - s): the text of a token, or a digest
of it, is no name for the token. Its `jti` is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from verifier.algorithms import BY_JWS
from verifier.errors import Rejected
from verifier.keys import check_message
from verifier.strict_json import JsonValue, parse_object
from verifier.tokens import base64url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from verifier.tokens.jwks import TokenKey

MAXIMUM_TOKEN_CHARACTERS: Final = 64 * 1024
# Members that would let a token bring its own key or change how it is to be read. `cty` announces another token inside.
_FORBIDDEN_HEADERS: Final = ("jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc", "cty")
_CERTIFICATE_HEADERS: Final = ("x5t", "x5t#S256")
_REPLICATED_CLAIMS: Final = ("iss", "sub", "aud")  # RFC 7519 section 5.3


@dataclass(frozen=True, slots=True)
class ParsedToken:
    """A token that is well-formed and nothing more: its signature is not checked yet."""

    algorithm: str
    key_id: str
    token_type: str
    payload: dict[str, JsonValue]
    signing_input: bytes
    signature: bytes
    certificates: Mapping[str, JsonValue]  # what the header names by x5t and x5t#S256


def parse_token(token: str) -> ParsedToken:
    """Reads the text. Rejected for everything that is not the one strict form."""
    if len(token) > MAXIMUM_TOKEN_CHARACTERS:
        raise Rejected("too_large", f"The token is longer than {MAXIMUM_TOKEN_CHARACTERS} characters.")
    segments = _segments(token)
    try:
        header = parse_object(base64url.decode(segments[0]))
        payload = parse_object(base64url.decode(segments[1]))
        signature = base64url.decode(segments[2])
    except ValueError as error:
        raise Rejected("malformed", f"The token is malformed: {error}.") from error
    if forbidden := [name for name in _FORBIDDEN_HEADERS if name in header]:
        raise Rejected("malformed", f"The token's header has the member {forbidden[0]!r}, which is refused.")
    for name in _REPLICATED_CLAIMS:
        if name in header and (name not in payload or header[name] != payload[name]):
            raise Rejected("malformed", f"The token's header has another {name!r} than its claims.")
    algorithm = _header_text(header, "alg")
    if algorithm not in BY_JWS:
        raise Rejected("algorithm_not_allowed", "The token's algorithm is not allowed.")
    return ParsedToken(
        algorithm=algorithm,
        key_id=_header_text(header, "kid"),
        token_type=_header_text(header, "typ"),
        payload=payload,
        signing_input=f"{segments[0]}.{segments[1]}".encode("ascii"),
        signature=signature,
        certificates={name: header[name] for name in _CERTIFICATE_HEADERS if name in header},
    )


def _segments(token: str) -> list[str]:
    """RFC 7515 section 7.1. The other serialisations, and what is encrypted, are told by their form and not read."""
    segments = token.split(".")
    if token.lstrip()[:1] == "{":
        raise Rejected("malformed", "The token is in a JSON serialisation: only the compact form is read.")
    if len(segments) == 5:
        raise Rejected("malformed", "The token is encrypted (JWE), not signed.")
    if len(segments) != 3:
        raise Rejected("malformed", "The token does not have three segments.")
    if not segments[2]:
        raise Rejected("malformed", "The token is not signed: its third segment is empty.")
    if not all(segments):
        raise Rejected("malformed", "The token lacks its header or its payload.")
    return segments


def _header_text(header: dict[str, JsonValue], member: str) -> str:
    value = header.get(member)
    if not isinstance(value, str) or not value:
        raise Rejected("malformed", f"The token's header lacks the member {member!r}.")
    return value


def check_signature(token: ParsedToken, key: TokenKey) -> bytes:
    """The signature as the key made it (DER for ECDSA).

    Rejected unless the token is signed by the key, with the key's own algorithm: the header decides nothing.
    """
    if token.algorithm != key.algorithm.jws:
        raise Rejected("algorithm_mismatch", f"The token's key signs with {key.algorithm.jws} only.")
    for name, thumbprint in token.certificates.items():
        if key.thumbprints.get(name) != thumbprint:
            raise Rejected("signer_mismatch", f"The token's header names a certificate ({name}) that its key lacks.")
    signature = token.signature
    try:
        if isinstance(key.public_key, ec.EllipticCurvePublicKey):
            signature = _ecdsa_der(signature, (key.public_key.key_size + 7) // 8)
        check_message(key.algorithm, key.public_key, signature, token.signing_input)
    except InvalidSignature as error:
        raise Rejected("signature_invalid", "The token's signature is not that of its key.") from error
    return signature


def _ecdsa_der(signature: bytes, field_bytes: int) -> bytes:
    """RFC 7518 section 3.4: r and s as octet strings of the field's length, one after the other."""
    if len(signature) != 2 * field_bytes:
        raise InvalidSignature
    r, s = signature[:field_bytes], signature[field_bytes:]
    return encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
