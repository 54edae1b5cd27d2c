"""The samples whose bytes are flipped: read from `flip_samples.json`, so that offsets are the same in every run.

`python -m tests.verifier.flip_samples` writes docs/verifier-coverage.md; with `--new` it makes the samples anew first.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from signxml.algorithms import SignatureMethod

from tests.verifier import cms_builder, jwt_builder, pki, proof_builder, saml_builder, trust_builder
from tests.verifier.flips import EVERY_BIT, Facts, Sample, page
from tests.verifier.log_builder import LogBuilder, cosign, decision_leaf, leaf_time, rows_leaf, witness_signer
from verifier import load_certificates, parse_jwks, parse_trust, verify_artifact, verify_jwt, verify_saml
from verifier.times import format_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = Path(__file__).with_suffix(".json")
STRANGER = witness_signer("witness.example/stranger")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "verifier-coverage.md"


def make() -> dict[str, bytes]:
    """New samples, by P-256 keys that are thrown away."""
    signer = pki.key("p256", "release")
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    content = b"a small file\n"
    signing = saml_builder.Signing(saml_builder.identity("p256"), SignatureMethod.ECDSA_SHA256)
    made = {
        "made_at": format_time(pki.NOW).encode(),
        "file": content,
        "cms": cms_builder.sign(content, pki.leaf()),
        "raw": signer.sign(content, ec.ECDSA(hashes.SHA256())),
        "trust.json": trust_builder.bundle([trust_builder.key_entry(signer, "ECDSA_SHA_256")]),
        "pub.pem": pki.public_pem(signer),
        "ca.pem": pki.pem(pki.root().certificate),
        "jwt": jwt_builder.token().encode(),
        "jwks": jwt_builder.jwks(jwt_builder.jwk(pki.key("p256"), "ES256")),
        "idp.pem": pki.pem(signing.identity.certificate),
    }
    for part in ("assertion", "response", "both"):
        made[f"saml-{part}"] = saml_builder.build(sign=part, signing=signing)
    return made | make_proven(made, pki.spki(signer))


def make_proven(made: dict[str, bytes], public_key: bytes) -> dict[str, bytes]:
    """The proof of the bare signature, with a witness that nobody trusts beside the three, and trust with its log."""
    seen = parse_time(made["made_at"].decode())
    entry = decision_leaf(
        proof_builder.logged(made["file"], made["raw"]),
        algorithm="ECDSA_SHA_256",
        key_sha256=hashlib.sha256(public_key).hexdigest(),
        key_version=1,
        time=leaf_time(seen),
    )
    log = LogBuilder([rows_leaf(1), entry, rows_leaf(2)])
    head = cosign(proof_builder.cosigned(log.checkpoint(proof_builder.LOG), first=seen), STRANGER, seen)
    listed = json.loads(made["trust.json"]) | {"logs": [proof_builder.log_entry(3)]}
    return {"proof": log.proof(1, head), "trust-log.json": json.dumps(listed).encode()}


def read() -> dict[str, bytes]:
    """The samples of the file."""
    return {name: base64.b64decode(text) for name, text in json.loads(FILE.read_text()).items()}


def _only(facts: Facts, *members: str) -> Facts:
    """These members of the facts, `key` without what trust says of the key: its ids, its name, its entry."""
    kept = {name: value for name, value in facts.items() if name in members}
    key = facts["key"]
    if "key" in kept and isinstance(key, dict):
        kept["key"] = {name: key[name] for name in ("algorithm", "kind", "sha256")}
    return kept


# In words, what nothing covers, and the pattern that finds it.
PEM = {
    "line breaks around and inside the base64": rb"\n",
    "the certificate, but for its key, usages, constraints and form: it is trusted as it is": (
        rb"-----BEGIN CERTIFICATE-----(.*)-----END"
    ),
}
TRUST = {
    "`generated_at`: when the file was made": rb'"generated_at": "([^"]*)"',
    "the key's id and name, by which it is reported": rb'"(?:key_id|name)": "([^"]*)"',
    "the key's window, where the moment still lies inside": rb'"not_before": "([^"]*)"',
}
PROOF = {"a cosignature by a witness that is not trusted": rb"\n\xe2\x80\x94 (witness.example/stranger [^\n]*)\n"}
LOGS = {"how many cosignatures the log's head needs": rb'"cosignatures": (\d)'}
KEY_SET = {"the name of the member `alg`: a P-256 key without it is one for ES256 all the same": rb'"(alg)"'}
KEY_INFO = {
    "KeyInfo: line breaks, and the certificate but for its form and its key, which must be the trusted one": (
        rb"<ds:X509Certificate>(.*?)</ds:X509Certificate>"
    ),
    "the prefix in a namespace declaration that repeats the one of the response": rb"<saml:Assertion xmlns:(saml)=",
}
WRAPPER = {
    "the unsigned response's ID, which is not reported": rb'<samlp:Response [^>]*?ID="([^"]*)"',
    "the unsigned response's time of issue, where it is not in the future": rb'<samlp:Response [^>]*?Instant="([^"]*)"',
}
SAML_MASKS = (0x01, 0x80)  # slower than the others


@cache
def samples() -> tuple[Sample, ...]:
    """Every sample with the call that verifies it and, in words, what of it nothing covers."""
    files = read()
    return (*_artifacts(files), *_tokens(files), *_assertions(files))


def _artifacts(files: dict[str, bytes]) -> list[Sample]:
    at = parse_time(files["made_at"].decode())

    def verify(file: bytes, signature: bytes, trust: bytes) -> Facts:
        return verify_artifact(io.BytesIO(file), signature, parse_trust(trust), at=at).as_json()

    content, cms, raw = files["file"], files["cms"], files["raw"]
    ca, listed, public = files["ca.pem"], files["trust.json"], files["pub.pem"]
    proof, with_log = files["proof"], files["trust-log.json"]

    def verify_logged(signature: bytes, trust: bytes, made: bytes) -> Facts:
        return verify_artifact(io.BytesIO(content), signature, parse_trust(trust), at=at, proof=made).as_json()

    return [
        Sample("signed file (CMS)", content, lambda data: verify(data, cms, ca)),
        Sample("signed file (bare signature)", content, lambda data: verify(data, raw, listed)),
        Sample("CMS signature", cms, lambda data: verify(content, data, ca)),
        Sample("bare signature, ECDSA", raw, lambda data: verify(content, data, listed), masks=EVERY_BIT),
        Sample("trust.json", listed, lambda data: _only(verify(content, raw, data), "what", "when", "key"), TRUST),
        Sample("public key, PEM", public, lambda data: _only(verify(content, raw, data), "what", "when", "key"), PEM),
        Sample(
            "authority's certificate, PEM",
            ca,
            lambda data: _only(verify(content, cms, data), "who", "what", "key"),
            PEM,
        ),
        Sample("log proof", proof, lambda data: verify_logged(raw, with_log, data), PROOF),
        Sample(
            "bare signature, ECDSA, with a log proof",
            raw,
            lambda data: verify_logged(data, with_log, proof),
            masks=EVERY_BIT,
        ),
        Sample(
            "trust.json with a log",
            with_log,
            lambda data: _only(verify_logged(raw, data, proof), "what", "when", "key"),
            TRUST | LOGS,
        ),
    ]


def _tokens(files: dict[str, bytes]) -> list[Sample]:
    now = parse_time(files["made_at"].decode())

    def verify(token: bytes, jwks: bytes) -> Facts:
        # The command reads a token as text; what is not ASCII reaches the verifier as it is.
        text = token.decode("latin-1")
        issuer, audience = jwt_builder.ISSUER, jwt_builder.AUDIENCE
        return verify_jwt(text, parse_jwks(jwks), issuer=issuer, audience=audience, now=now).as_json()

    token, jwks = files["jwt"], files["jwks"]
    return [
        Sample("JWT", token, lambda data: verify(data, jwks), masks=EVERY_BIT),
        Sample("JWKS", jwks, lambda data: verify(token, data), KEY_SET),
    ]


def _assertions(files: dict[str, bytes]) -> list[Sample]:
    now = parse_time(files["made_at"].decode())

    def verify(message: bytes, certificate: bytes) -> Facts:
        return verify_saml(
            message,
            certificates=load_certificates(certificate),
            audience=saml_builder.AUDIENCE,
            recipient=saml_builder.RECIPIENT,
            issuer=saml_builder.ISSUER,
            in_response_to=saml_builder.REQUEST,
            now=now,
        ).as_json()

    def of(message: bytes) -> Callable[[bytes], Facts]:
        return lambda data: verify(data, idp)

    idp = files["idp.pem"]
    assertion, response, both = (files[f"saml-{part}"] for part in ("assertion", "response", "both"))
    return [
        Sample("SAML, assertion signed", assertion, of(assertion), WRAPPER | KEY_INFO, SAML_MASKS),
        Sample("SAML, response signed", response, of(response), KEY_INFO, SAML_MASKS),
        Sample("SAML, both signed", both, of(both), KEY_INFO, SAML_MASKS),
        Sample(
            "identity provider's certificate, PEM",
            idp,
            lambda data: _only(verify(assertion, data), "who", "what", "key"),
            PEM,
        ),
    ]


def main() -> None:
    """Writes the page, and before it new samples if asked to."""
    if "--new" in sys.argv[1:]:
        encoded = {name: base64.b64encode(data).decode() for name, data in make().items()}
        FILE.write_text(json.dumps(encoded, indent=1) + "\n")
    PAGE.write_text(page(samples()))


if __name__ == "__main__":
    main()
