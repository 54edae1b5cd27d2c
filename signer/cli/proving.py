"""How this client proves who calls: by a token, by a client certificate, or by signing each request (RFC 9421).

Exactly one of them. What stands on the command line counts before the environment, so that a token that lies about in
it does not spoil a call that is to be signed.
"""

from __future__ import annotations

import os
import ssl
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signer.cli.credentials import TOKEN_VARIABLE, find_token
from signer.cli.errors import CommandFailed

if TYPE_CHECKING:
    import httpx

    from signer.authn.possession import PrivateKey

CERTIFICATE_VARIABLE = "SEALMARK_CLIENT_CERT"
CERTIFICATE_KEY_VARIABLE = "SEALMARK_CLIENT_KEY"
SIGNING_KEY_VARIABLE = "SEALMARK_SIGNING_KEY"
SIGNING_KEY_ID_VARIABLE = "SEALMARK_SIGNING_KEY_ID"
TAG = "sealmark"
# What the service wants covered wherever it is sent (docs/credentials.md).
_ALWAYS = ("@method", "@authority", "@target-uri")
_WHERE_SENT = ("content-type", "idempotency-key", "sealmark-approval", "x-request-id")


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate and its key, PEM files; `key` None: both are in one."""

    certificate: Path
    key: Path | None

    def context(self) -> ssl.SSLContext:
        """The TLS settings of a connection that shows it. Raises: CommandFailed."""
        import httpx

        require_private(self.key or self.certificate)
        context = httpx.create_ssl_context()
        try:
            # An encrypted key would make OpenSSL ask on the terminal.
            context.load_cert_chain(self.certificate, self.key, password=lambda: b"")
        except (OSError, ssl.SSLError) as exc:
            message = f"{self.certificate} and its key (PEM, not encrypted) cannot be used: {exc.strerror or exc}"
            raise CommandFailed(message, code="bad_certificate") from exc
        return context


@dataclass(frozen=True, slots=True)
class RequestSigner:
    """Signs each request with a key that the service knows by `key_id`."""

    key: PrivateKey = field(repr=False)
    key_id: str

    def sign(self, request: httpx.Request) -> None:
        """Adds the digest of the body and the signature, in place of any that are there: each attempt is signed anew,
        since a nonce counts once."""
        import secrets

        from http_message_signatures import HTTPMessageSigner, MappingKeyResolver

        from signer.authn.request_keys import ALGORITHMS, algorithm_of

        for name in ("Content-Digest", "Signature", "Signature-Input"):
            request.headers.pop(name, None)
        signer = HTTPMessageSigner(
            signature_algorithm=ALGORITHMS[algorithm_of(self.key.public_key()) or ""],
            key_resolver=MappingKeyResolver(public_keys={}, private_keys={self.key_id: self.key}),
        )
        signer.sign(
            request,
            key_id=self.key_id,
            nonce=secrets.token_urlsafe(18),
            label=TAG,
            tag=TAG,
            covered_component_ids=(*_ALWAYS, *(name for name in _WHERE_SENT if name in request.headers)),
            body=request.content or None,
        )


@dataclass(frozen=True, slots=True)
class Proof:
    """What the client shows: one of the three, or nothing."""

    token: str | None = field(default=None, repr=False)
    certificate: ClientCertificate | None = None
    signer: RequestSigner | None = None

    def __bool__(self) -> bool:
        return any(found is not None for found in (self.token, self.certificate, self.signer))


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says; the environment is read where it says nothing."""

    token_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    signing_key: Path | None = None
    signing_key_id: str | None = None

    def proof(self) -> Proof:
        """The one credential that is named. Raises: click.UsageError where two are, CommandFailed for a bad file."""
        options = {
            "--token-file": self.token_file,
            "--client-cert": self.client_cert,
            "--signing-key": self.signing_key,
        }
        if not any(options.values()):
            variables = (TOKEN_VARIABLE, CERTIFICATE_VARIABLE, SIGNING_KEY_VARIABLE)
            options = {name: _path(name) for name in variables}
        named = [name for name, value in options.items() if value is not None]
        if len(named) > 1:
            raise click.UsageError(f"{' and '.join(named)} exclude each other: a call carries one credential")
        _, certificate, signing_key = options.values()
        if certificate is not None:
            return Proof(certificate=ClientCertificate(certificate, self.client_key or _path(CERTIFICATE_KEY_VARIABLE)))
        if signing_key is not None:
            return Proof(signer=self._signer(signing_key))
        return Proof(token=find_token(self.token_file))

    def _signer(self, path: Path) -> RequestSigner:
        key_id = self.signing_key_id or os.environ.get(SIGNING_KEY_ID_VARIABLE)
        if not key_id or not key_id.isascii() or not key_id.isprintable() or '"' in key_id or "\\" in key_id:
            raise click.UsageError(
                f"--signing-key needs --signing-key-id ID (or {SIGNING_KEY_ID_VARIABLE}): "
                "the id that `sealmark credentials add-key` printed"
            )
        return RequestSigner(load_private_key(path), key_id)


def load_private_key(path: Path) -> PrivateKey:
    """A private key, PEM, of a kind that may sign requests. Raises: CommandFailed."""
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from signer.authn.request_keys import KINDS, algorithm_of

    require_private(path)
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as exc:
        raise CommandFailed(f"{path} cannot be read: {exc.strerror}", code="unreadable_file") from exc
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError) as exc:
        raise CommandFailed(f"{path} holds no private key (PEM, not encrypted)", code="bad_key") from exc
    wanted = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
    if not isinstance(key, wanted) or algorithm_of(key.public_key()) is None:
        raise CommandFailed(f"{path} holds a key of another kind than {KINDS}", code="bad_key")
    return key


def require_private(path: Path) -> None:
    """Refuse a key file that others may read. Raises: CommandFailed."""
    try:
        status = path.stat()
    except OSError as exc:
        raise CommandFailed(f"{path} cannot be read: {exc.strerror}", code="unreadable_file") from exc
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
        raise CommandFailed(f"{path} may be read by others: run chmod 600 {path}", code="weak_file_mode")


def _path(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None
