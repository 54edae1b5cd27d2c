"""Everybody and everything that mixed requests need: principals of every duty, keys of several purposes, a rule.

Made by the service's own commands and calls, before anything is counted.
"""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signer.cli.proving import RequestSigner
from tests.scale.scene import ALIAS, Scene
from tools.service import running_service

if TYPE_CHECKING:
    from tools.service import Service

USER: Final = "role/scale"
AUDIENCE: Final = "https://reader.example"
_PEOPLE: Final = {
    USER: "key-user",
    "role/other": "key-user",
    "user/auditor": "auditor",
    "user/approver": "key-user",
}


@dataclass(frozen=True)
class Deployment:
    """A state directory that nobody serves just now, the token of each principal, and a key that signs requests."""

    scene: Scene
    tokens: dict[str, str] = field(repr=False)
    signer: RequestSigner

    @property
    def database(self) -> Path:
        return self.scene.state / "sealmark.db"

    def copied(self, folder: Path) -> Deployment:
        """The same in a folder of its own."""
        return Deployment(self.scene.copied(folder), self.tokens, self.signer)


def make_deployment(folder: Path) -> Deployment:
    """`sealmark init`, and then what it takes."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with running_service(folder) as service:
        tokens = {name: service.enrolled(name, duty) for name, duty in _PEOPLE.items()}
        tokens |= {f"user/{name}": service.token_of(name) for name in ("admin", "key-admin")}
        public_key = _make_keys(service, tokens)
        signer = _make_signer(service, tokens)
    shutil.rmtree(service.state / "ceremony")
    return Deployment(Scene(service.state, tokens[USER], public_key), tokens, signer)


def _make_keys(service: Service, tokens: dict[str, str]) -> bytes:
    general = {"spec": "ECC_NIST_P256", "purpose": "general", "users": [USER]}
    rule = {"sign": {"approvers": ["user/approver"], "needed": 1, "window_seconds": 3600}}
    with service.caller(tokens["user/key-admin"]) as administrator:
        for alias in (ALIAS, "guarded", "subject"):
            administrator.json("POST", "/v1/keys", {**general, "alias": alias})
        artifact = {"alias": "files", "spec": "ECC_NIST_P256", "purpose": "artifact", "formats": ["raw", "dsse"]}
        administrator.json("POST", "/v1/keys", {**artifact, "users": [USER]})
        jwt = {"alias": "tokens", "spec": "ECC_NIST_P256", "purpose": "jwt", "audiences": [AUDIENCE], "max_ttl": 600}
        administrator.json("POST", "/v1/keys", {**jwt, "users": [USER]})
        administrator.json("PUT", "/v1/keys/guarded/approval-rule", rule)
    with service.caller(tokens[USER]) as user:
        return user.content(f"/v1/keys/{ALIAS}/public-key?format=der")


def _make_signer(service: Service, tokens: dict[str, str]) -> RequestSigner:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    body = {"match": "request-key", "public_key": pem}
    with service.caller(tokens["user/admin"]) as administrator:
        made = administrator.json("POST", f"/v1/principals/{USER}/public-credentials", body)
    return RequestSigner(key, made["id"])


def new_name() -> str:
    """A name that nothing has."""
    return f"n{secrets.token_hex(8)}"
