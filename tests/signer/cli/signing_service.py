"""A scripted service that makes real signatures: software keys behind the formats that the real service uses."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from keystore.algorithms import Purpose
from signer.certificates.authority import issue_leaf, self_signed
from signer.formats import cms
from tests.signer.cli.scripted import Answer, Asked, ScriptedService
from tests.software_key import SoftwareKey, software_key

NOW = datetime.now(UTC)


def pem(label: str, der: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n".encode() + base64.encodebytes(der) + f"-----END {label}-----\n".encode()


def public_pem(key: SoftwareKey) -> bytes:
    public = load_der_public_key(key.public_key_der)
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


Tamper = Callable[[dict[str, object]], dict[str, object]]


@dataclass
class SigningService:
    """Signs artifacts with a key `release`. `tamper` may spoil each result before it is sent."""

    service: ScriptedService
    spec: str = "ECC_NIST_P256"
    tamper: Tamper = lambda result: result
    description: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.key = software_key(self.spec, Purpose.ARTIFACT)
        authority = software_key("ECC_NIST_P256", Purpose.CA)
        root = self_signed(authority, common_name="Test CA", now=NOW)
        leaf = issue_leaf(
            authority,
            root,
            public_key=self.key.public_key_der,
            purpose=Purpose.ARTIFACT,
            common_name="release",
            key_id=self.key.info.key_id,
            now=NOW,
        )
        self.chain = (leaf, root)
        self.digest = str(self.key.info.algorithm.hash_name)
        described = {
            "id": self.key.info.key_id,
            "purpose": "artifact",
            "algorithm": self.key.info.algorithm.name,
            "required_digest": self.digest,
            "formats": ["cms", "raw"],
            "published": True,
        }
        self.service.on("GET", "/v1/keys/release", Answer(body=described | self.description))
        self.service.on("GET", "/v1/keys/release/public-key", Answer(body=public_pem(self.key)))
        certificates = b"".join(pem("CERTIFICATE", der) for der in self.chain)
        self.service.on("GET", "/v1/keys/release/certificate", Answer(body=certificates))

    def sign(self, asked: Asked) -> Answer:
        artifacts, formats = asked.body["artifacts"], asked.body["formats"]
        assert isinstance(artifacts, list)
        assert isinstance(formats, list)
        return Answer(body={"results": [self.tamper(self._result(artifact, formats)) for artifact in artifacts]})

    def _result(self, artifact: dict[str, object], formats: list[str]) -> dict[str, object]:
        digests = artifact["digests"]
        assert isinstance(digests, dict)
        digest = bytes.fromhex(digests[self.digest])
        makers = {
            "cms": lambda: cms.detached(self.key, digest, self.chain, NOW),
            "raw": lambda: self.key.sign_digest(digest),
        }
        return {
            "name": artifact["name"],
            "key_id": self.key.info.key_id,
            "key_version": 3,
            "algorithm": self.key.info.algorithm.name,
            "request_id": "r-7",
            "signatures": {name: base64.b64encode(makers[name]()).decode() for name in formats},
        }


def digest_of(content: bytes, name: str = "sha256") -> str:
    return hashlib.new(name, content).hexdigest()
