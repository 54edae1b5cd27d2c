"""An OIDC issuer on this machine: real keys, discovery, a key set, tokens, and GitHub's way of handing them to a job.

Tokens are made with joserfc, which the service does not use. `answers` replaces what a path answers, to misbehave.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

Key = ECKey | RSAKey | OKPKey
Answer = Callable[[BaseHTTPRequestHandler], None]
AUDIENCE = "https://sealmark.example"
DISCOVERY = "/.well-known/openid-configuration"
ALGORITHMS = {"EC": "ES256", "RSA": "RS256", "OKP": "EdDSA"}
JOBS_SECRET = "the-job's-own-token-at-github"


def new_key(kid: str, kind: str = "EC") -> Key:
    parameters: Any = {"kid": kid}
    if kind == "RSA":
        return RSAKey.generate_key(2048, parameters)
    return OKPKey.generate_key("Ed25519", parameters) if kind == "OKP" else ECKey.generate_key("P-256", parameters)


def key_set(*keys: Key) -> dict[str, Any]:
    """The public halves, as an issuer publishes them."""
    return {"keys": [{**key.as_dict(private=False), "alg": ALGORITHMS[key.key_type], "use": "sig"} for key in keys]}


def claims(issuer: str, **changes: Any) -> dict[str, Any]:
    """Those of a GitHub Actions job, fresh; a change to None leaves a claim out."""
    now = int(time.time())
    usual = {
        "iss": issuer,
        "aud": AUDIENCE,
        "sub": "repo:octo/app:ref:refs/heads/main",
        "jti": str(uuid.uuid4()),
        "iat": now,
        "nbf": now - 5,
        "exp": now + 300,
        "repository": "octo/app",
        "repository_owner": "octo",
        "repository_id": 74,
        "ref": "refs/heads/main",
        "environment": "release",
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def signed(key: Key, payload: dict[str, Any], **header: Any) -> str:
    """A token; `header` adds to, or with None takes from, its usual members."""
    usual: dict[str, Any] = {"alg": ALGORITHMS[key.key_type], "kid": key.kid, "typ": "JWT", **header}
    members = {name: value for name, value in usual.items() if value is not None}
    return jwt.encode(members, payload, key, algorithms=[members["alg"]])


class LocalIssuer:
    """Answers on 127.0.0.1 until the end of the block."""

    def __init__(self, *keys: Key) -> None:
        self.keys = list(keys) or [new_key("key-1")]
        self.asked: list[str] = []
        self.job: dict[str, Any] = {}  # the claims of the job that GitHub is asked for
        self.answers: dict[str, Answer] = {}
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.handle(self)

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                """Nothing on standard error."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def rotate(self, kid: str) -> None:
        """A new key signs, and the old one is withdrawn."""
        self.keys = [new_key(kid)]

    def token(self, **changes: Any) -> str:
        return signed(self.keys[0], claims(self.url, **changes))

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        path = urlsplit(handler.path).path
        self.asked.append(path)
        if path in self.answers:
            self.answers[path](handler)
        elif path == DISCOVERY:
            say(handler, {"issuer": self.url, "jwks_uri": f"{self.url}/jwks"})
        elif path == "/jwks":
            say(handler, key_set(*self.keys))
        elif path == "/actions" and handler.headers.get("Authorization") == f"Bearer {JOBS_SECRET}":
            (audience,) = parse_qs(urlsplit(handler.path).query)["audience"]
            say(handler, {"value": self.token(**self.job, aud=audience)})
        else:
            handler.send_error(404)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def say(
    handler: BaseHTTPRequestHandler, body: object, status: int = 200, kind: str = "application/json", **headers: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)
