"""Who verifies: Sealmark's verifier in an environment of its own, and stock tools: yes, no, or could not judge.

A judge gets what was published (public keys, CA certificate, key sets, SAML metadata, trust bundle) and the exhibit; it
never talks to the service. A tool that fails in any other way than by refusing the signature is an error, no refusal.
"""

from __future__ import annotations

import json
import os
import subprocess
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet

if TYPE_CHECKING:
    from pathlib import Path

    from tools.demo.exhibits import Exhibit

Words: TypeAlias = "list[str | Path]"

ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"
_ASSERTION: Final = "urn:oasis:names:tc:SAML:2.0:assertion:Assertion"
_RESPONSE: Final = "urn:oasis:names:tc:SAML:2.0:protocol:Response"
_SIGNATURE_OF: Final = {  # the Signature element that is a child of the element named
    "assertion": "//*[local-name()='Assertion']/*[local-name()='Signature']",
    "response": "/*[local-name()='Response']/*[local-name()='Signature']",
}


# RFC 9864 renames EdDSA to Ed25519; key sets say EdDSA, since most libraries in use know no other name.
warnings.filterwarnings("ignore", message="EdDSA is deprecated")


class CouldNotJudge(Exception):
    """The tool neither accepted nor refused; its words."""


@dataclass(frozen=True, slots=True)
class Published:
    """The folder of what the service publishes, and what a relying party knows of itself."""

    folder: Path
    issuer: str
    audience: str
    recipient: str
    request_id: str

    def public_key(self, exhibit: Exhibit) -> Path:
        """The PEM public key of the exhibit's key."""
        return self.folder / f"{exhibit.key}.pub.pem"


class Judge(Protocol):
    """One verifying program."""

    name: str

    def takes(self, exhibit: Exhibit) -> bool:
        """Whether it reads this format."""

    def judge(self, exhibit: Exhibit, subject: Path, published: Published) -> str:
        """`accepted` or `rejected`. Raises: `CouldNotJudge`."""


def _run(command: Words) -> tuple[int, str]:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    words = [str(word) for word in command]
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False, env=environment
    )
    return done.returncode, done.stdout + done.stderr


def _verdict(name: str, status: int, output: str, *, refusal: tuple[int, str]) -> str:
    """Acceptance is exit status 0; refusal is that tool's own status and words; everything else is neither."""
    if status == 0:
        return ACCEPTED
    if status == refusal[0] and refusal[1].lower() in output.lower():
        return REJECTED
    raise CouldNotJudge(f"{name}: exit {status}: {output.strip()[-600:]}")


class SealmarkVerify:
    """`sealmark-verify`, from an environment that holds its wheel and nothing of the service."""

    name = "sealmark-verify"

    def __init__(self, program: Path) -> None:
        self._program = program

    def takes(self, exhibit: Exhibit) -> bool:
        """Every format."""
        return bool(exhibit.kind)

    def judge(self, exhibit: Exhibit, subject: Path, published: Published) -> str:
        """By exit status 0 or 1, which the JSON must confirm."""
        status, output = _run([self._program, *self._arguments(exhibit, subject, published), "--json"])
        if status in (0, 1) and json.loads(output).get("verified") is not (status == 0):
            raise CouldNotJudge(f"{self.name}: exit {status} but its JSON says otherwise")
        return _verdict(self.name, status, output, refusal=(1, ""))

    def _arguments(self, exhibit: Exhibit, subject: Path, published: Published) -> Words:
        if exhibit.kind == "jwt":
            token = subject.read_text(encoding="ascii")
            expected: Words = ["--issuer", published.issuer, "--audience", published.audience]
            return ["jwt", token, "--jwks", published.folder / "jwks.json", *expected]
        if exhibit.kind == "saml":
            certificate = published.folder / "idp.crt"
            place: Words = ["--audience", published.audience, "--recipient", published.recipient]
            return ["saml", subject, "--cert", certificate, *place, "--in-response-to", published.request_id]
        trust = published.folder / "trust.json" if exhibit.kind == "cms" else published.public_key(exhibit)
        return ["artifact", subject, "--signature", exhibit.signature, "--trust", trust]


class OpensslDgst:
    """`openssl dgst -verify` for raw signatures, with the published public key."""

    name = "openssl dgst"

    def takes(self, exhibit: Exhibit) -> bool:
        """Raw signatures over a file's digest."""
        return exhibit.kind == "raw"

    def judge(self, exhibit: Exhibit, subject: Path, published: Published) -> str:
        """By exit status."""
        digest = f"-sha{exhibit.algorithm[2:]}"
        key, signature = published.public_key(exhibit), exhibit.signature
        status, output = _run(["openssl", "dgst", digest, "-verify", key, "-signature", signature, subject])
        return _verdict(self.name, status, output, refusal=(1, "Verification failure"))


class OpensslCms:
    """`openssl cms -verify` for detached CMS, with the published CA certificate."""

    name = "openssl cms"

    def takes(self, exhibit: Exhibit) -> bool:
        """Detached CMS."""
        return exhibit.kind == "cms"

    def judge(self, exhibit: Exhibit, subject: Path, published: Published) -> str:
        """By exit status. The content goes to a file, for it is binary."""
        trust: Words = ["-CAfile", published.folder / "ca.pem", "-purpose", "any"]
        form: Words = ["-inform", "DER", "-in", exhibit.signature, "-content", subject, "-out", os.devnull]
        status, output = _run(["openssl", "cms", "-verify", "-binary", *form, *trust])
        return _verdict(self.name, status, output, refusal=(4, "Verification failure"))


class Xmlsec1:
    """`xmlsec1 --verify` for SAML, each signature by its node, with the certificate out of the published metadata."""

    name = "xmlsec1"

    def takes(self, exhibit: Exhibit) -> bool:
        """SAML responses."""
        return exhibit.kind == "saml"

    def judge(self, exhibit: Exhibit, subject: Path, published: Published) -> str:
        """Accepted where every signature is; rejected where every one is."""
        verdicts = {part: self._one(part, subject, published) for part in exhibit.signed}
        if len(set(verdicts.values())) != 1:
            raise CouldNotJudge(f"{self.name} is of two minds: {verdicts}")
        return next(iter(verdicts.values()))

    def _one(self, part: str, subject: Path, published: Published) -> str:
        ids = ["--id-attr:ID", _ASSERTION, "--id-attr:ID", _RESPONSE]
        # Without --enabled-key-data it would take a key out of the document that is to be judged.
        trust: Words = ["--enabled-key-data", "raw-x509-cert", "--pubkey-cert-pem", published.folder / "idp.crt"]
        status, output = _run(["xmlsec1", "--verify", *ids, "--node-xpath", _SIGNATURE_OF[part], *trust, subject])
        return _verdict(self.name, status, output, refusal=(1, "FAIL"))


class Joserfc:
    """The library joserfc for JWTs, with the published key set."""

    name = "joserfc"

    def takes(self, exhibit: Exhibit) -> bool:
        """JWTs."""
        return exhibit.kind == "jwt"

    def judge(self, exhibit: Exhibit, subject: Path, published: Published) -> str:
        """By the exception for a bad signature; every other one is an error here."""
        keys = KeySet.import_key_set(json.loads((published.folder / "jwks.json").read_bytes()))
        try:
            token = jwt.decode(subject.read_text(encoding="ascii"), keys, algorithms=[exhibit.algorithm])
        except BadSignatureError:
            return REJECTED
        jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": published.issuer}, aud={"essential": True, "value": published.audience}
        ).validate(token.claims)
        return ACCEPTED
