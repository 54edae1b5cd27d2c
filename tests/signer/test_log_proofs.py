"""Every signature that leaves the service comes with a proof, which the verifier takes for that one signature alone."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest

from signer.audit.checkpoints import NoteSigner
from tests.signer.service import ISSUER_URL
from tests.verifier.log_builder import cosign, witness_signer
from verifier import (
    Rejected,
    TrustedLog,
    VerifiedFacts,
    parse_trust,
    trusted_log,
    verify_artifact,
    verify_jwt,
    verify_saml,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.signer.service import ServiceInProcess

CONTENT: Final = b"a release of the service's own\n"
AUDIENCE: Final = "https://reader.example"
RECIPIENT: Final = "https://reader.example/acs"
WITNESS: Final = witness_signer("witness.example/of-the-service")
GENERAL: Final = {
    "RSASSA_PKCS1_V1_5_SHA_256": "RSA_2048",
    "RSASSA_PSS_SHA_384": "RSA_2048",
    "ECDSA_SHA_256": "ECC_NIST_P256",
    "ECDSA_SHA_384": "ECC_NIST_P384",
    "ED25519_SHA_512": "ECC_NIST_EDWARDS25519",
}


@pytest.fixture(scope="module")
def log(service: ServiceInProcess) -> TrustedLog:
    """The service's log, trusted with one witness, whose cosignature the tests add."""
    anchor = service.services.keystore.log
    return trusted_log(NoteSigner(anchor.origin, anchor.public_key).verifier_key, [WITNESS.text], 1)


@pytest.fixture(scope="module")
def keys(service: ServiceInProcess) -> dict[str, str]:
    """A key of each purpose, and of each kind among the general ones; their ids."""
    made = {spec: service.make_key(f"proven-{spec}", spec, "general") for spec in set(GENERAL.values())}
    formats = ["cms", "raw", "bundle", "dsse"]
    made["artifact"] = service.make_key("proven-artifact", "ECC_NIST_P256", "artifact", formats=formats)
    made["jwt"] = service.make_key("proven-jwt", "ECC_NIST_P256", "jwt", audiences=[AUDIENCE], max_ttl=600)
    made["saml"] = service.make_key("proven-saml", "RSA_2048", "saml", audiences=[AUDIENCE], recipients=[RECIPIENT])
    return {name: key["id"] for name, key in made.items()}


def sign(service: ServiceInProcess, key: str, call: str, body: object) -> Any:
    (result,) = service.made("role/ci", "POST", f"/v1/keys/{key}/{call}", body)["results"]
    return result


def trust(service: ServiceInProcess) -> Any:
    return parse_trust(service.call(None, "GET", "/v1/trust").get_data())


def seen(proof: str) -> bytes:
    """The proof once the witness has cosigned its checkpoint."""
    head, note = proof.encode().split(b"\n\n", 1)
    return head + b"\n\n" + cosign(note, WITNESS, datetime.now(UTC))


def check(result: Any, log: TrustedLog, verify: Callable[..., VerifiedFacts]) -> None:
    """The proof is small, holds for what it came with, and its place and time are told."""
    proof = seen(result["proof"])
    assert len(result["proof"]) < 2048
    facts = verify(proof=proof, logs=[log])
    position = facts.log_position
    assert position is not None
    assert (position.origin, position.key_version, position.index < position.size) == (log.origin, 1, True)
    assert position.proven_at is not None
    assert abs((position.proven_at - position.logged_at).total_seconds()) < 60
    with pytest.raises(Rejected) as caught:
        verify(proof=result["proof"], logs=[log])
    assert caught.value.code == "too_few_cosignatures"


@pytest.mark.parametrize("algorithm", GENERAL)
@pytest.mark.parametrize("by_digest", [False, True])
def test_signatures(
    service: ServiceInProcess, keys: dict[str, str], log: TrustedLog, algorithm: str, *, by_digest: bool
) -> None:
    key = keys[GENERAL[algorithm]]
    if by_digest and algorithm == "ED25519_SHA_512":
        return  # it signs messages alone
    body: dict[str, object] = {"message": base64.b64encode(CONTENT).decode(), "algorithm": algorithm}
    if by_digest:
        name = algorithm.rpartition("SHA_")[2]
        digest = base64.b64encode(hashlib.new(f"sha{name}", CONTENT).digest()).decode()
        body = {"digest": digest, "algorithm": algorithm}
    result = sign(service, key, "signatures", body)
    pem = parse_trust(service.call("role/ci", "GET", f"/v1/keys/{key}/public-key?format=pem").get_data())
    signature = base64.b64decode(result["signature"])
    check(result, log, lambda **proven: verify_artifact(io.BytesIO(CONTENT), signature, pem, **proven))


def test_every_format_of_one_file_has_one_proof(
    service: ServiceInProcess, keys: dict[str, str], log: TrustedLog
) -> None:
    digests = {"sha256": hashlib.sha256(CONTENT).hexdigest()}
    body = {
        "artifacts": [{"name": "app", "size": len(CONTENT), "digests": digests}],
        "formats": ["cms", "raw", "bundle", "dsse"],
    }
    result = sign(service, keys["artifact"], "artifacts", body)
    made = result["signatures"]
    signatures = {
        "cms": base64.b64decode(made["cms"]),
        "raw": base64.b64decode(made["raw"]),
        "bundle": json.dumps(made["bundle"]).encode(),
        "dsse": json.dumps(made["dsse"]).encode(),
    }
    published = trust(service)
    for name, signature in signatures.items():
        check(result, log, lambda signature=signature, **proven: _artifact(signature, published, **proven))
        assert _artifact(signature, published).signature_format == name


def _artifact(signature: bytes, published: Any, **proven: Any) -> Any:
    return verify_artifact(io.BytesIO(CONTENT), signature, published, **proven)


def test_tokens(service: ServiceInProcess, keys: dict[str, str], log: TrustedLog) -> None:
    result = sign(service, keys["jwt"], "jwts", {"claims": {"sub": "somebody", "aud": AUDIENCE}})
    token, published = result["token"], trust(service)
    check(
        result,
        log,
        lambda **proven: verify_jwt(token, published, issuer=ISSUER_URL, audience=AUDIENCE, leeway=5, **proven),
    )


@pytest.mark.parametrize("part", ["assertion", "response", "both"])
def test_assertions(service: ServiceInProcess, keys: dict[str, str], log: TrustedLog, part: str) -> None:
    body = {"subject": "somebody", "audience": AUDIENCE, "recipient": RECIPIENT, "sign": part}
    result = sign(service, keys["saml"], "assertions", body)
    message, published = base64.b64decode(result["response"]), trust(service)
    check(
        result,
        log,
        lambda **proven: verify_saml(
            message, trust=published, issuer=ISSUER_URL, audience=AUDIENCE, recipient=RECIPIENT, leeway=5, **proven
        ),
    )


def test_the_proof_of_one_item_is_not_that_of_another(
    service: ServiceInProcess, keys: dict[str, str], log: TrustedLog
) -> None:
    key = keys["ECC_NIST_P256"]
    texts = (b"one", b"two")
    items = [{"message": base64.b64encode(text).decode()} for text in texts]
    results = service.made("role/ci", "POST", f"/v1/keys/{key}/signatures", {"items": items})["results"]
    pem = parse_trust(service.call("role/ci", "GET", f"/v1/keys/{key}/public-key?format=pem").get_data())
    for number, text in enumerate(texts):
        signature = base64.b64decode(results[number]["signature"])
        assert verify_artifact(io.BytesIO(text), signature, pem, proof=seen(results[number]["proof"]), logs=[log])
        with pytest.raises(Rejected) as caught:
            verify_artifact(io.BytesIO(text), signature, pem, proof=seen(results[1 - number]["proof"]), logs=[log])
        assert caught.value.code == "log_entry_mismatch"
