"""Who is at the other end of the connection, and what is believed of what it says: a proxy that the configuration names
may speak for callers (their address, their TLS, their certificate), nobody else may.
"""

from __future__ import annotations

import ipaddress
import ssl
from typing import TYPE_CHECKING, Final

import structlog
from flask import request

from signer.authn.forwarded import forwarded_certificate
from signer.errors import InsecureTransport

if TYPE_CHECKING:
    from signer.config import ServerConfiguration

# A certificate that cannot be read: it is refused like a wrong one, and not like none.
UNREADABLE: Final = b""
_log = structlog.get_logger("sealmark.peer")


def environment_name(header: str) -> str:
    """A header's name in the WSGI environment (PEP 3333)."""
    return "HTTP_" + header.upper().replace("-", "_")


def source_of_call(configuration: ServerConfiguration) -> str:
    """The caller's address: what a proxy that the configuration names says of it, else the connection's own."""
    peer = request.remote_addr or "unknown"
    forwarded = request.headers.get("X-Forwarded-For")
    if forwarded is None or not is_named_proxy(configuration):
        return peer
    nearest = forwarded.rpartition(",")[2].strip()  # the only entry that the proxy itself wrote
    try:
        return str(ipaddress.ip_address(nearest))
    except ValueError:
        return peer


def is_secure(configuration: ServerConfiguration) -> bool:
    """Whether the caller speaks TLS: with this service, or with a named proxy that says so."""
    if request.is_secure:
        return True
    stated = request.headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip()
    return stated == "https" and is_named_proxy(configuration)


def client_certificate(configuration: ServerConfiguration) -> bytes | None:
    """The caller's certificate, DER: of the TLS connection, or as a named proxy states it.

    A named proxy's own certificate proves the proxy, never a caller.
    """
    if is_named_proxy(configuration):
        header = configuration.client_certificate_header
        stated = request.headers.get(header) if header is not None else None
        if not stated:
            return None
        found = forwarded_certificate(stated)
        return UNREADABLE if found is None else found
    connection = request.environ.get("gunicorn.socket")
    if configuration.client_ca is None or not isinstance(connection, ssl.SSLSocket):
        return None
    return connection.getpeercert(binary_form=True) if connection.context.verify_mode is not ssl.CERT_NONE else None


def refuse_forged_certificate(configuration: ServerConfiguration) -> None:
    """The header in which named proxies state certificates is refused from everybody else. Raises
    `InsecureTransport`."""
    header = configuration.client_certificate_header
    if header is None or header not in request.headers or is_named_proxy(configuration):
        return
    _log.warning("client_certificate_header_refused", header=header, peer=request.remote_addr or "unknown")
    msg = f"{header} is taken from a proxy that the service's configuration names, and from nobody else"
    raise InsecureTransport(msg)


def require_safe_transport(configuration: ServerConfiguration) -> None:
    """Plain HTTP from another machine is refused, unless it is a proxy that the configuration names."""
    if request.is_secure:
        return
    source = request.remote_addr
    if not source:  # a Unix socket
        return
    safe = _address(source).is_loopback or is_named_proxy(configuration)
    if safe:
        return
    msg = "callers from another machine need TLS, or a proxy that the service's configuration names"
    raise InsecureTransport(msg)


def is_named_proxy(configuration: ServerConfiguration) -> bool:
    """Whether the other end of the connection is a proxy that the configuration names. A Unix socket has no address,
    so it is none."""
    peer = request.remote_addr
    if not peer:
        return False
    address = _address(peer)
    return any(address in network for network in configuration.trusted_proxies)


def _address(peer: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """A connection's other end. A socket for both families writes IPv4 addresses as ::ffff:192.0.2.1 (RFC 4291)."""
    address = ipaddress.ip_address(peer)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped
