"""Signatures in what somebody holds: a signed file's companion, a token, an assertion, a proof. Nothing is verified.

The trail names a signature by its SHA-256, over the form in which the HSM's key gives it: ECDSA in DER, also where JWS
and XML carry r and s side by side.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

if TYPE_CHECKING:
    from verifier.saml.xml import Node

_Read = TypeVar("_Read")
LARGEST: Final = 8 * 1024 * 1024  # octets of anything that holds signatures
_JWS: Final = re.compile(rb"\s*([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)\.([A-Za-z0-9_-]+)\s*")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/\s]+={0,2}\s*")
_DS: Final = "http://www.w3.org/2000/09/xmldsig#"
_PROOF_HEADER: Final = b"c2sp.org/tlog-proof@v1\n"


@dataclass(frozen=True, slots=True)
class Held:
    """What it was taken for, and the SHA-256 (hex) of each signature found in it."""

    kind: str
    signatures: tuple[str, ...]


def found_signatures(content: bytes) -> Held | None:
    """The signatures in a CMS, bundle, envelope, JWT, SAML message or proof; None for any other content."""
    for read in (_proof, _jws, _json, _saml, _cms):
        held = read(content)
        if held is not None:
            return held
    return None


def _proof(content: bytes) -> Held | None:
    """C2SP tlog-proof: the leaf stands in it, and names its signatures itself."""
    if not content.startswith(_PROOF_HEADER):
        return None
    extra = re.search(rb"^extra (\S+)$", content, re.MULTILINE)
    try:
        leaf = json.loads(base64.b64decode(extra[1], validate=True)) if extra else {}
        signatures = tuple(str(each["sha256"]) for each in leaf.get("signatures", ()))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return Held("proof", signatures)


def _jws(content: bytes) -> Held | None:
    """RFC 7515, compact serialization."""
    found = _JWS.fullmatch(content)
    if found is None:
        return None
    try:
        header = json.loads(_base64url(found[1]))
        signature = _base64url(found[3])
    except (ValueError, RecursionError):
        return None
    if not isinstance(header, dict) or not isinstance(header.get("alg"), str):
        return None
    return Held("token", (_sha256(_der(signature) if header["alg"].startswith("ES") else signature),))


def _json(content: bytes) -> Held | None:
    """A Sigstore bundle or a DSSE envelope."""
    if not content.lstrip().startswith(b"{"):
        return None
    from verifier.artifacts.bundle import parse_bundle
    from verifier.artifacts.dsse import parse_envelope

    bundle = _read(lambda: parse_bundle(content))
    if bundle is not None:
        return Held("bundle", (_sha256(bundle.content.signature),))
    envelope = _read(lambda: parse_envelope(content))
    return None if envelope is None else Held("envelope", (_sha256(envelope.signature),))


def _cms(content: bytes) -> Held | None:
    """RFC 5652, detached."""
    from verifier.artifacts.cms import looks_like_cms, parse_detached

    if not looks_like_cms(content):
        return None
    signed = _read(lambda: parse_detached(content))
    return None if signed is None else Held("CMS", (_sha256(signed.signature),))


def _saml(content: bytes) -> Held | None:
    """Every XML signature of a SAML message, which may come in base64 as browsers carry it."""
    if not content.lstrip().startswith(b"<") and _BASE64.fullmatch(content):
        try:
            content = base64.b64decode(b"".join(content.split()), validate=True)
        except (binascii.Error, ValueError):
            return None
    if not content.lstrip().startswith(b"<"):
        return None
    from verifier.saml.xml import parse_xml

    root = _read(lambda: parse_xml(content))
    if root is None:
        return None
    made = tuple(_sha256(signature) for node in root.walk() if node.is_a(_DS, "Signature") for signature in _xml(node))
    return Held("SAML message", made) if made else None


def _xml(signature: Node) -> Iterator[bytes]:
    """The value of an XML signature, as the key gave it."""
    methods = [node.attributes.get("Algorithm", "") for node in signature.walk() if node.is_a(_DS, "SignatureMethod")]
    for value in signature.all(_DS, "SignatureValue"):
        try:
            octets = base64.b64decode("".join(value.text.split()), validate=True)
        except (binascii.Error, ValueError):
            continue
        yield _der(octets) if any("#ecdsa-" in method for method in methods) else octets


def _read(reader: Callable[[], _Read]) -> _Read | None:
    """What the verifier's strict reader makes of it; None where it refuses: it is then taken for an ordinary file."""
    from verifier import VerificationError

    try:
        return reader()
    except VerificationError:
        return None


def _der(signature: bytes) -> bytes:
    """r and s side by side (RFC 7518 section 3.4, XML Signature 6.4.3) as DER; what cannot be one stays as it is."""
    half = len(signature) // 2
    if not half or len(signature) % 2:
        return signature
    return encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))


def _sha256(signature: bytes) -> str:
    return hashlib.sha256(signature).hexdigest()


def _base64url(text: bytes) -> bytes:
    """Raises `ValueError`."""
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
