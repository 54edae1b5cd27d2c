"""One signing request for every format and algorithm, and the key that it needs."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from keystore.algorithms import SIGNING_ALGORITHMS, Purpose, algorithms_for

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

AUDIENCE: Final = "https://reader.example"
RECIPIENT: Final = "https://reader.example/acs"
MESSAGE: Final = b"what is to be signed"
SPECS: Final = ("RSA_2048", "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521", "ECC_SECG_P256K1")
EDWARDS: Final = "ECC_NIST_EDWARDS25519"

_MEMBERS: Final[dict[str, dict[str, object]]] = {
    "general": {},
    "artifact": {"formats": ["cms", "raw", "bundle", "dsse"]},
    "jwt": {"audiences": [AUDIENCE], "max_ttl": 600},
    "saml": {"audiences": [AUDIENCE], "recipients": [RECIPIENT]},
}


@dataclass(frozen=True)
class SigningRequest:
    """What to send where, and how many signatures an honest HSM makes for it."""

    name: str
    purpose: str
    spec: str
    path: str
    body: dict[str, Any] = field(repr=False, hash=False)
    algorithm: str | None = None  # that the key is made with
    signatures: int = 1

    def __str__(self) -> str:
        return self.name

    def key(self, service: ServiceInProcess) -> str:
        """The id of a key for it, made at the first call."""
        alias = "-".join(("fault", self.purpose, self.spec, self.algorithm or "default"))
        found = service.call("user/key-admin", "GET", f"/v1/keys/{alias}")
        if found.status_code == 200:
            return str(found.get_json()["id"])
        members = dict(_MEMBERS[self.purpose])
        if self.purpose == "artifact" and self.spec == EDWARDS:
            members["formats"] = ["dsse"]
        if self.algorithm is not None:
            members["algorithm"] = self.algorithm
        return str(service.make_key(alias, self.spec, self.purpose, **members)["id"])

    def url(self, service: ServiceInProcess) -> str:
        return f"/v1/keys/{self.key(service)}/{self.path}"


def _raw() -> list[SigningRequest]:
    made = []
    for spec in (*SPECS, EDWARDS):
        for algorithm in algorithms_for(Purpose.GENERAL, spec):
            message = {"algorithm": algorithm, "message": base64.b64encode(MESSAGE).decode()}
            made.append(SigningRequest(f"message-{spec}-{algorithm}", "general", spec, "signatures", message))
            hash_name = SIGNING_ALGORITHMS[algorithm].hash_name
            if hash_name is not None:
                octets = hashlib.new(hash_name, MESSAGE).digest()
                digest = {"algorithm": algorithm, "digest": base64.b64encode(octets).decode()}
                made.append(SigningRequest(f"digest-{spec}-{algorithm}", "general", spec, "signatures", digest))
    return made


def artifact(*formats: str, name: str = "file") -> dict[str, Any]:
    """A body for one file."""
    digests = {hash_name: hashlib.new(hash_name, MESSAGE).hexdigest() for hash_name in ("sha256", "sha384", "sha512")}
    return {"artifacts": [{"name": name, "size": len(MESSAGE), "digests": digests}], "formats": list(formats)}


def _artifacts() -> list[SigningRequest]:
    return [
        SigningRequest(
            f"{'+'.join(formats)}-{spec}-{algorithm}",
            "artifact",
            spec,
            "artifacts",
            artifact(*formats),
            algorithm,
            len({"dsse" if name == "attestation" else name for name in formats}),  # one envelope, alone and in a bundle
        )
        for spec in (*SPECS, EDWARDS)
        for algorithm in algorithms_for(Purpose.ARTIFACT, spec)
        for formats in (("cms",), ("raw",), ("raw", "cms"), ("bundle",), ("attestation", "dsse"))
        if spec != EDWARDS or "dsse" in formats
    ]


def _tokens() -> list[SigningRequest]:
    return [
        SigningRequest(f"jwt-{algorithm}", "jwt", spec, "jwts", {"claims": {"sub": "somebody"}}, algorithm)
        for spec in (*SPECS, EDWARDS)
        for algorithm in algorithms_for(Purpose.JWT, spec)
    ]


def assertion(sign: str = "assertion", **members: object) -> dict[str, Any]:
    """A body for one SAML response."""
    return {"subject": "somebody", "audience": AUDIENCE, "recipient": RECIPIENT, "sign": sign, **members}


def _assertions() -> list[SigningRequest]:
    return [
        SigningRequest(
            f"saml-{sign}-{algorithm}",
            "saml",
            spec,
            "assertions",
            assertion(sign),
            algorithm,
            2 if sign == "both" else 1,
        )
        for spec in SPECS
        for algorithm in algorithms_for(Purpose.SAML, spec)
        for sign in ("assertion", "response", "both")
    ]


REQUESTS: Final = (*_raw(), *_artifacts(), *_tokens(), *_assertions())
# One for each format, for tests that need not try every algorithm.
TYPICAL: Final = tuple(
    next(request for request in REQUESTS if request.name == name)
    for name in (
        "message-ECC_NIST_P256-ECDSA_SHA_256",
        "digest-RSA_2048-RSASSA_PSS_SHA_256",
        "message-ECC_NIST_EDWARDS25519-ED25519_SHA_512",
        "raw+cms-ECC_NIST_P256-ECDSA_SHA_256",
        "jwt-ECDSA_SHA_256",
        "saml-both-RSASSA_PKCS1_V1_5_SHA_256",
        "bundle-ECC_NIST_P384-ECDSA_SHA_384",
        "attestation+dsse-ECC_NIST_EDWARDS25519-ED25519_SHA_512",
    )
)
