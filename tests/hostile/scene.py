"""A running service with people of each duty, keys of each use, and secrets that the caller knows."""

from __future__ import annotations

import base64
import contextlib
import gzip
import os
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from signer.kms.operations import MEDIA_TYPE
from tools.service import ServiceError, free_port, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.service import Caller, Service

DUTIES: Final = ("administrator", "key-administrator", "key-user", "auditor")
VICTIMS: Final = 4  # of each duty: who is named in paths, and may be disabled or removed
# Their key's uses, by what schemathesis may call it.
KEYS: Final[dict[str, dict[str, Any]]] = {
    "app": {"spec": "ECC_NIST_P256", "purpose": "artifact"},
    "device": {"spec": "ECC_NIST_P256", "purpose": "general"},
    "session": {
        "spec": "ECC_NIST_P256",
        "purpose": "jwt",
        "issuer": "default",
        "audiences": ["https://api.example"],
        "max_ttl": 3600,
    },
    "vault": {"spec": "SYMMETRIC_DEFAULT", "purpose": "encrypt"},
    "webhook": {"spec": "HMAC_256", "purpose": "mac"},
    "handshake": {"spec": "ECC_NIST_P256", "purpose": "agree"},
    "pq": {"spec": "ML_KEM_768", "purpose": "encapsulate"},
    "edwards": {"spec": "ECC_NIST_EDWARDS25519", "purpose": "general"},
}
SETTINGS: Final = ('trusted_proxies = ["127.0.0.1/32"]', "max_requests = 5000")
# How files end that hold secrets by their nature: PINs (the officer's too), tokens of people, shares of custodians.
OWN_FILES: Final = frozenset({".pin", ".token", ".share"})


@dataclass(frozen=True)
class Scene:
    """`secrets` may stand in nothing that the service answers, writes or sends, from now on."""

    service: Service
    tokens: dict[str, str]
    secrets: dict[str, bytes]
    known: dict[str, list[str]]
    metrics_url: str
    spans: list[bytes]

    def figures(self) -> bytes:
        """What Prometheus reads."""
        return httpx.get(self.metrics_url, trust_env=False, timeout=30).content


@contextlib.contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """Everything, until the end of the block."""
    port = free_port()
    with _collector() as (collector, spans):
        more = ("", "[metrics]", f'bind = "127.0.0.1:{port}"', "", "[tracing]", f'endpoint = "{collector}"')
        keys = ("", "[keys]", 'software_specs = ["ML_KEM_768", "ECC_NIST_EDWARDS25519"]')
        with running_service(folder, (*SETTINGS, *more, *keys)) as service:
            tokens = {duty: service.enrolled(f"user/hostile-{duty}", duty) for duty in DUTIES}
            secrets = {f"token of {name}": _secret_of(token) for name, token in tokens.items()}
            secrets |= {f"file {path.name}": path.read_bytes().strip() for path in _secret_files(service.state)}
            known = _things(service, tokens, secrets)
            yield Scene(service, tokens, secrets, known, f"http://127.0.0.1:{port}/metrics", spans)


def _secret_files(state: Path) -> list[Path]:
    return [path for path in sorted(state.rglob("*")) if path.is_file() and path.suffix in OWN_FILES]


def _secret_of(token: str) -> bytes:
    """A token without its prefix, which is no secret."""
    return token.partition("_")[2].encode()


def _things(service: Service, tokens: dict[str, str], secrets: dict[str, bytes]) -> dict[str, list[str]]:
    """Makes what paths may name. Returns the names by the path parameter's."""
    users = ["user/hostile-key-user"]
    with service.caller(service.token_of("admin")) as administrator:
        with contextlib.suppress(ServiceError):  # `init` may have made it
            administrator.json("POST", "/v1/issuers", {"name": "default", "url": f"{service.url}/issuers/default"})
        victims = [f"victim-{duty}-{number}" for duty in DUTIES for number in range(VICTIMS)]
        for duty in DUTIES:
            for number in range(VICTIMS):
                administrator.json("POST", "/v1/principals", {"name": f"user/victim-{duty}-{number}", "duty": duty})
    with service.caller(tokens["key-administrator"]) as manager:
        ids = []
        for alias, members in KEYS.items():
            made = manager.json("POST", "/v1/keys", {"alias": alias, "users": users, **members})
            ids.append(str(made["id"]))
        key = bytes(os.urandom(32))
        ids.append(_import(service, tokens["key-administrator"], key))
        secrets["imported AES key"] = key
    with service.caller(tokens["key-user"]) as user:
        secrets |= _data_keys(user)
        made = user.json("POST", "/v1/principals/user/hostile-key-user/access-keys", {"label": "hostile"})
        secrets["access key"] = str(made["secret_access_key"]).encode()
    return {
        "key": [*KEYS, *ids],
        "kind": ["user"],
        "name": victims,
        "issuer": ["default"],
        "policy": ["first", "second"],
        "revision": ["1", "2"],
        "index": ["0", "1", "7"],
        "level": ["0", "1"],
        "tile": ["000", "000.p/1", "000.p/9"],
        "trusted": ["actions"],
    }


def _data_keys(user: Caller) -> dict[str, bytes]:
    """A data key, and the private key of a pair."""
    made = user.json("POST", "/v1/keys/vault/data-keys", {"spec": "AES_256"})["results"][0]
    pair = user.json("POST", "/v1/keys/vault/data-key-pairs", {"spec": "ECC_NIST_P256"})["results"][0]
    private = base64.b64decode(pair["private_key"])
    # Octets 36 to 68 of a P-256 key's PKCS #8 are the secret number itself (RFC 5958, RFC 5915).
    return {"data key": base64.b64decode(made["plaintext"]), "data key pair": private[36:68]}


def _import(service: Service, token: str, material: bytes) -> str:
    """Brings a key in as AWS documents it; returns its id."""
    made = _kms(service, token, "CreateKey", {"Origin": "EXTERNAL"})["KeyMetadata"]
    asked = {"KeyId": made["KeyId"], "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
    parameters = _kms(service, token, "GetParametersForImport", asked)
    public = load_der_public_key(base64.b64decode(parameters["PublicKey"]))
    if not isinstance(public, rsa.RSAPublicKey):
        raise TypeError("the wrapping key is not of RSA")
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    encrypted = base64.b64encode(public.encrypt(material, oaep)).decode()
    brought = {
        "KeyId": made["KeyId"],
        "ImportToken": parameters["ImportToken"],
        "EncryptedKeyMaterial": encrypted,
        "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
    }
    _kms(service, token, "ImportKeyMaterial", brought)
    return str(made["KeyId"])


def _kms(service: Service, token: str, operation: str, members: dict[str, Any]) -> dict[str, Any]:
    headers = {
        "X-Amz-Target": f"TrentService.{operation}",
        "Content-Type": MEDIA_TYPE,
        "Authorization": f"Bearer {token}",
    }
    answer = httpx.post(f"{service.url}/", json=members, headers=headers, trust_env=False, timeout=60)
    if not answer.is_success:
        raise RuntimeError(f"{operation}: {answer.status_code} {answer.text}")
    read: dict[str, Any] = answer.json()
    return read


@contextlib.contextmanager
def _collector() -> Iterator[tuple[str, list[bytes]]]:
    """Takes traces as OpenTelemetry sends them (OTLP over HTTP), and keeps their octets."""
    received: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            received.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *_arguments: object) -> None:  # noqa: A002 (the base class's name)
            del format

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces", received
    finally:
        server.shutdown()
        server.server_close()
