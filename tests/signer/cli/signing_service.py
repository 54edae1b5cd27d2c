"""A scripted service that makes real signatures: software keys behind the formats that the real service uses."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography.x509 import load_der_x509_certificate

from keystore.algorithms import Purpose
from signer.certificates.authority import issue_leaf, self_signed
from signer.formats import bundle, cms, dsse, jwks, provenance
from signer.formats.observed import ObservedKey
from tests.signer.cli.scripted import Answer, Asked, ScriptedService
from tests.software_key import SoftwareKey, software_key
from tests.verifier.log_builder import LogBuilder, decision_leaf, log_signer, rows_leaf
from tests.verifier.trust_builder import authority_entry, key_entry
from tests.verifier.trust_builder import bundle as trust_bundle

NOW = datetime.now(UTC)


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
        self.log, self.log_key = LogBuilder([rows_leaf(1), rows_leaf(2)]), log_signer()
        described = {
            "id": self.key.info.key_id,
            "purpose": "artifact",
            "algorithm": self.key.info.algorithm.name,
            "required_digest": self.digest,
            "formats": ["cms", "raw", "bundle", "dsse"],
            "published": True,
        }
        self.service.on("GET", "/v1/keys/release", Answer(body=described | self.description))
        self.service.on("GET", "/v1/trust", Answer(body=self.trust(self.key)))

    def trust(self, key: SoftwareKey) -> bytes:
        """The trust bundle, with `key` as version 3 of the key."""
        entry = key_entry(key.private_key, key.info.algorithm.name, key_id=self.key.info.key_id, key_version=3)
        logs = [{"key": self.log_key.text, "witnesses": [], "cosignatures": 0}]
        return trust_bundle([entry], [authority_entry(load_der_x509_certificate(self.chain[-1]))], logs=logs)

    def _logged(self, observed: ObservedKey) -> dict[str, object]:
        """The proof of what was signed last."""
        leaf = decision_leaf(
            *({"digest": made.message_digest.hex(), "sha256": made.signature_sha256.hex()} for made in observed.made),
            algorithm=self.key.info.algorithm.name,
            key_sha256=hashlib.sha256(self.key.public_key_der).hexdigest(),
            key_version=3,
        )
        index = self.log.append(leaf)
        return {"proof": self.log.proof(index, self.log.checkpoint(self.log_key)).decode()}

    def sign(self, asked: Asked) -> Answer:
        body: dict[str, Any] = asked.body
        artifacts, formats = body["artifacts"], body["formats"]
        results: list[dict[str, object]]
        if body.get("statement") == "one":
            observed = ObservedKey(self.key)
            made = self._attested(observed, artifacts, body)
            signatures = {name: made[name] for name in formats}
            named = {"names": [each["name"] for each in artifacts], "signatures": signatures}
            results = [named | self._logged(observed)]
        else:
            results = [self._result(artifact, formats, body) for artifact in artifacts]
        return Answer(body={"results": [self.tamper(self._common() | result) for result in results]})

    def _common(self) -> dict[str, object]:
        return {
            "key_id": self.key.info.key_id,
            "key_version": 3,
            "algorithm": self.key.info.algorithm.name,
            "request_id": "r-7",
        }

    def _result(self, artifact: dict[str, Any], formats: list[str], body: dict[str, Any]) -> dict[str, object]:
        digest = bytes.fromhex(artifact["digests"].get(self.digest, ""))
        observed = ObservedKey(self.key)
        makers: dict[str, Callable[[], object]] = {
            "cms": lambda: base64.b64encode(cms.detached(observed, digest, self.chain, NOW)).decode(),
            "raw": lambda: base64.b64encode(observed.sign_digest(digest)).decode(),
            "bundle": lambda: bundle.over_digest(observed, digest, self._material(body)),
            "dsse": lambda: self._attested(observed, [artifact], body)["dsse"],
            "attestation": lambda: self._attested(observed, [artifact], body)["attestation"],
        }
        signatures = {name: makers[name]() for name in formats}
        return {"name": artifact["name"], "signatures": signatures} | self._logged(observed)

    def _material(self, body: dict[str, Any]) -> bundle.VerificationMaterial:
        if body.get("material") == "certificate":
            return bundle.certificate_material(self.chain[0])
        return bundle.public_key_material(jwks.thumbprint(self.key.public_key_der))

    def _attested(
        self, observed: ObservedKey, artifacts: list[dict[str, Any]], body: dict[str, Any]
    ) -> dict[str, object]:
        kind, predicate = body.get("predicate_type"), body.get("predicate")
        if kind is None:
            arn = "arn:aws:kms:us-east-1:000000000000:key/1"
            call = provenance.SigningCall(arn, 3, "role/ci", "r-7", NOW)
            kind, predicate = provenance.PREDICATE_TYPE, provenance.predicate(call, body.get("context", {}))
        assert predicate is not None
        payload = dsse.statement([(each["name"], each["digests"]) for each in artifacts], kind, predicate)
        envelope = dsse.envelope(observed, payload, kid=jwks.thumbprint(self.key.public_key_der))
        return {"dsse": envelope, "attestation": bundle.around(envelope, self._material(body))}


def digest_of(content: bytes, name: str = "sha256") -> str:
    return hashlib.new(name, content).hexdigest()
