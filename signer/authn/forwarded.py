"""A client certificate as a proxy states it in a header: RFC 9440's `Client-Cert`, or nginx's
`$ssl_client_escaped_cert`. Who may state one is decided elsewhere (`signer.web.peer`)."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final
from urllib.parse import unquote

import http_sf

# RFC 7468 section 3, as OpenSSL writes it, every octet but letters and digits percent-encoded.
_ESCAPED: Final = re.compile(r"-----BEGIN%20CERTIFICATE-----(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})+")
_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=\n]+)-----END CERTIFICATE-----\n?")


def forwarded_certificate(value: str) -> bytes | None:
    """The certificate, DER, that the header's value holds; None where it holds none that can be read."""
    return _from_structured_field(value) if value.startswith(":") else _from_escaped_pem(value)


def _from_structured_field(value: str) -> bytes | None:
    """One byte sequence without parameters (RFC 9440 section 2.1, RFC 8941 section 3.3.5)."""
    try:
        parsed = http_sf.parse(value.encode("ascii"), tltype="item")
    except ValueError:
        return None
    found, parameters = parsed if isinstance(parsed, tuple) else (None, None)
    return found if isinstance(found, bytes) and not parameters else None


def _from_escaped_pem(value: str) -> bytes | None:
    if not _ESCAPED.fullmatch(value):
        return None
    written = _PEM.fullmatch(unquote(value, errors="replace"))
    try:
        return base64.b64decode(written[1].replace("\n", ""), validate=True) if written else None
    except binascii.Error:
        return None
