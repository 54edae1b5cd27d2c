"""Keys of `protection: software` through the service: refused until the operator lists their specs, then named for what
they are, and verified by other implementations."""

from __future__ import annotations

import base64
import json
import resource
from typing import TYPE_CHECKING, Any, Final

import pytest
import structlog.testing
from Crypto.Hash import SHA512
from Crypto.Signature import eddsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey, MLDSAMuHasher
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from dilithium_py.ml_dsa import ML_DSA_65
from kyber_py.ml_kem import ML_KEM_768

from keystore.algorithms import SOFTWARE_ONLY, SOFTWARE_SPECS
from signer.access.short_form import document_of
from signer.software_watch import forbid_core_dumps, report_software_keys
from tests.signer.service import ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.hsm import Token

ADMIN: Final = "user/key-admin"
MESSAGE: Final = b"a message that is signed whole"
USAGES: Final = {"ML_KEM_768": "ENCAPSULATE_DECAPSULATE", "ML_KEM_1024": "ENCAPSULATE_DECAPSULATE"}
POLICY: Final = json.dumps(document_of([ADMIN], ["role/ci"], "000000000000"))


@pytest.fixture(scope="module")
def allowing(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceInProcess]:
    with running_service(token, tmp_path_factory.mktemp("software"), software_specs=SOFTWARE_SPECS) as running:
        yield running


def told(service: ServiceInProcess, who: str, operation: str, asked: object) -> Any:
    answer = service.kms(who, operation, asked)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_json(force=True)


def refusal(service: ServiceInProcess, who: str, operation: str, asked: object) -> tuple[str, str]:
    answer = service.kms(who, operation, asked)
    assert answer.status_code == 400, answer.get_data(as_text=True)
    found = answer.get_json(force=True)
    return found["__type"], found["message"]


def made(service: ServiceInProcess, spec: str, **more: object) -> dict[str, Any]:
    asked = {"KeySpec": spec, "KeyUsage": USAGES.get(spec, "SIGN_VERIFY"), "Policy": POLICY, **more}
    metadata: dict[str, Any] = told(service, ADMIN, "CreateKey", asked)["KeyMetadata"]
    return metadata


def encoded(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def public_key(service: ServiceInProcess, key: dict[str, Any]) -> object:
    der = told(service, "role/ci", "GetPublicKey", {"KeyId": key["KeyId"]})["PublicKey"]
    return load_der_public_key(base64.b64decode(der))


def signed(service: ServiceInProcess, key: dict[str, Any], message: bytes, algorithm: str, kind: str) -> bytes:
    asked = {
        "KeyId": key["KeyId"],
        "Message": encoded(message),
        "SigningAlgorithm": algorithm,
        "MessageType": kind,
    }
    signature: bytes = base64.b64decode(told(service, "role/ci", "Sign", asked)["Signature"])
    checked = told(service, "role/ci", "Verify", {**asked, "Signature": encoded(signature)})
    assert checked["SignatureValid"] is True
    changed = {**asked, "Signature": encoded(signature[:-1] + bytes([signature[-1] ^ 1]))}
    assert refusal(service, "role/ci", "Verify", changed)[0] == "KMSInvalidSignatureException"
    return signature


@pytest.mark.parametrize("spec", SOFTWARE_ONLY)
def test_no_such_key_is_made_until_the_operator_lists_its_spec(service: ServiceInProcess, spec: str) -> None:
    asked = {"KeySpec": spec, "KeyUsage": USAGES.get(spec, "SIGN_VERIFY"), "Policy": POLICY}
    name, message = refusal(service, ADMIN, "CreateKey", asked)
    assert name == "UnsupportedOperationException"
    assert "[keys] software_specs" in message
    purpose = "encapsulate" if spec in USAGES else "general"
    answer = service.call(ADMIN, "POST", "/v1/keys", {"spec": spec, "purpose": purpose, "users": ["role/ci"]})
    assert (answer.status_code, answer.get_json()["code"], answer.get_json()["field"]) == (422, "unsupported", "spec")


@pytest.mark.parametrize(("spec", "usage"), [("ML_KEM_512", "ENCAPSULATE_DECAPSULATE"), ("SM2", "SIGN_VERIFY")])
def test_what_no_library_has_is_not_offered_at_all(allowing: ServiceInProcess, spec: str, usage: str) -> None:
    name, message = refusal(allowing, ADMIN, "CreateKey", {"KeySpec": spec, "KeyUsage": usage})
    assert name == "UnsupportedOperationException"
    assert "is not offered: neither the HSM" in message


def test_a_software_key_says_what_it_is(allowing: ServiceInProcess) -> None:
    with structlog.testing.capture_logs() as logged:
        key = made(allowing, "ML_DSA_65", Description="for releases", Tags=[{"TagKey": "a", "TagValue": "b"}])
    (line,) = [entry for entry in logged if entry["event"] == "software_key_made"]
    assert (line["alarm"], line["spec"], line["key_id"]) == (True, "ML_DSA_65", key["KeyId"])
    assert key["Description"] == "for releases [protection: software]"
    assert key["SigningAlgorithms"] == ["ML_DSA_SHAKE_256"]
    tags = told(allowing, ADMIN, "ListResourceTags", {"KeyId": key["KeyId"]})["Tags"]
    assert {"TagKey": "sealmark:protection", "TagValue": "software"} in tags
    named: dict[str, object] = {"KeyId": key["KeyId"]}
    for operation, asked in (
        ("UntagResource", named | {"TagKeys": ["sealmark:protection"]}),
        ("TagResource", named | {"Tags": [{"TagKey": "sealmark:protection", "TagValue": "hsm"}]}),
    ):
        assert refusal(allowing, ADMIN, operation, asked)[0] == "TagException"
    native = allowing.made(ADMIN, "GET", f"/v1/keys/{key['KeyId']}")
    assert (native["protection"], native["storage"]) == ("software", "wrapped")
    assert native["tags"] == {"a": "b", "sealmark:protection": "software"}
    published = allowing.make_key("published", spec="ML_DSA_44", purpose="general", published=True)
    listed = [one for one in allowing.made(None, "GET", "/v1/trust")["keys"] if one["key_id"] == published["id"]]
    assert [one["algorithms"] for one in listed] == [["ML_DSA_SHAKE_256"]]
    assert published["versions"][0]["certificate"] is None  # X.509 by ML-DSA is for few readers yet
    own = allowing.make_key("own", purpose="general", description="")
    assert (own["protection"], own["description"], own["tags"]) == ("hsm", "", {})


def test_the_service_says_at_its_start_what_is_allowed(
    allowing: ServiceInProcess, service: ServiceInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(allowing, "ML_DSA_44")
    with structlog.testing.capture_logs() as logged:
        assert report_software_keys(allowing.services.keystore)
    (line,) = logged
    assert (line["event"], line["alarm"], line["specs"]) == ("software_keys_allowed", True, list(SOFTWARE_SPECS))
    assert line["keys"] >= 1
    monkeypatch.setattr(allowing.services.keystore, "software_specs", ())
    assert report_software_keys(allowing.services.keystore)  # they are there, whatever is allowed now
    assert not report_software_keys(service.services.keystore)


def test_a_process_that_holds_them_leaves_no_core_dump() -> None:
    before = resource.getrlimit(resource.RLIMIT_CORE)
    try:
        forbid_core_dumps()
        assert resource.getrlimit(resource.RLIMIT_CORE) == (0, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


def test_ml_dsa_signs_messages_and_representatives_and_no_digests(allowing: ServiceInProcess) -> None:
    key = made(allowing, "ML_DSA_65")
    public = public_key(allowing, key)
    assert isinstance(public, MLDSA65PublicKey)
    octets = public.public_bytes_raw()
    assert ML_DSA_65.verify(octets, MESSAGE, signed(allowing, key, MESSAGE, "ML_DSA_SHAKE_256", "RAW"))
    hasher = MLDSAMuHasher(public)
    hasher.update(MESSAGE)
    mu = hasher.finalize()
    assert ML_DSA_65.verify(octets, MESSAGE, signed(allowing, key, mu, "ML_DSA_SHAKE_256", "EXTERNAL_MU"))
    for message, kind in ((bytes(64), "DIGEST"), (bytes(63), "EXTERNAL_MU"), (bytes(65), "EXTERNAL_MU")):
        asked = {"KeyId": key["KeyId"], "Message": encoded(message), "SigningAlgorithm": "ML_DSA_SHAKE_256"}
        assert refusal(allowing, "role/ci", "Sign", {**asked, "MessageType": kind})[0] == "ValidationException"
    other = {"KeyId": key["KeyId"], "Message": encoded(MESSAGE), "SigningAlgorithm": "ED25519_SHA_512"}
    assert refusal(allowing, "role/ci", "Sign", other)[0] == "InvalidKeyUsageException"
    path = f"/v1/keys/{key['KeyId']}/signatures"
    native = allowing.made("role/ci", "POST", path, {"items": [{"mu": encoded(mu)}, {"message": encoded(MESSAGE)}]})
    for result in native["results"]:
        assert ML_DSA_65.verify(octets, MESSAGE, base64.b64decode(result["signature"]))
    for body, field in (
        ({"mu": encoded(mu[:-1])}, "mu"),
        ({"mu": encoded(mu), "message": encoded(MESSAGE)}, "message"),
        ({"digest": encoded(bytes(32))}, "digest"),
    ):
        answer = allowing.call("role/ci", "POST", path, body)
        assert (answer.status_code, answer.get_json()["field"]) == (422, field)
    jwk = allowing.made("role/ci", "GET", f"/v1/keys/{key['KeyId']}/public-key?format=jwk")
    assert (jwk["kty"], jwk["alg"], jwk["pub"]) == ("AKP", "ML-DSA-65", encoded(octets).translate(_URL).rstrip("="))


_URL: Final = str.maketrans("+/", "-_")


def test_ed25519ph_hashes_what_it_is_given_as_a_digest_once_more(allowing: ServiceInProcess) -> None:
    """AWS KMS API Reference, Sign, MessageType."""
    key = made(allowing, "ECC_NIST_EDWARDS25519")
    assert key["SigningAlgorithms"] == ["ED25519_SHA_512", "ED25519_PH_SHA_512"]
    public = public_key(allowing, key)
    assert isinstance(public, Ed25519PublicKey)
    digest = SHA512.new(MESSAGE).digest()
    signature = signed(allowing, key, digest, "ED25519_PH_SHA_512", "DIGEST")
    eddsa.new(eddsa.import_public_key(public.public_bytes_raw()), "rfc8032").verify(SHA512.new(digest), signature)
    public.verify(signed(allowing, key, MESSAGE, "ED25519_SHA_512", "RAW"), MESSAGE)
    for algorithm, kind in (("ED25519_PH_SHA_512", "RAW"), ("ED25519_SHA_512", "DIGEST")):
        asked = {"KeyId": key["KeyId"], "Message": encoded(digest), "SigningAlgorithm": algorithm, "MessageType": kind}
        assert refusal(allowing, "role/ci", "Sign", asked)[0] == "ValidationException"


def test_a_key_that_the_hsm_made_has_no_prehashed_variant(service: ServiceInProcess) -> None:
    key = made(service, "ECC_NIST_EDWARDS25519")
    assert key["SigningAlgorithms"] == ["ED25519_SHA_512"]
    asked = {"KeyId": key["KeyId"], "Message": encoded(bytes(64)), "SigningAlgorithm": "ED25519_PH_SHA_512"}
    assert refusal(service, "role/ci", "Sign", {**asked, "MessageType": "DIGEST"})[0] == "InvalidKeyUsageException"


def test_a_secret_is_shared_with_another_implementation(allowing: ServiceInProcess) -> None:
    key = made(allowing, "ML_KEM_768")
    assert (key["KeyUsage"], key["EncapsulationAlgorithms"]) == ("ENCAPSULATE_DECAPSULATE", ["ML_KEM"])
    public = public_key(allowing, key)
    assert isinstance(public, MLKEM768PublicKey)
    secret, ciphertext = ML_KEM_768.encaps(public.public_bytes_raw())
    asked = {"KeyId": key["KeyId"], "EncapsulationAlgorithm": "ML_KEM"}

    def recovered(octets: bytes) -> bytes:
        opened = {**asked, "SharedSecretCiphertextBlob": encoded(octets)}
        return base64.b64decode(told(allowing, "role/ci", "Decapsulate", opened)["SharedSecret"])

    assert recovered(ciphertext) == secret
    assert recovered(bytes([ciphertext[0] ^ 1]) + ciphertext[1:]) != secret  # FIPS 203: implicit rejection
    here = told(allowing, "role/ci", "Encapsulate", asked)
    assert recovered(base64.b64decode(here["SharedSecretCiphertextBlob"])) == base64.b64decode(here["SharedSecret"])
    for wrong in (ciphertext[:-1], ciphertext + b"x"):
        opened = {**asked, "SharedSecretCiphertextBlob": encoded(wrong)}
        assert refusal(allowing, "role/ci", "Decapsulate", opened)[0] == "InvalidCiphertextException"
    assert refusal(allowing, ADMIN, "Decapsulate", {**asked, "SharedSecretCiphertextBlob": "AAAA"})[0] == (
        "AccessDeniedException"
    )
    sign = {"KeyId": key["KeyId"], "Message": encoded(MESSAGE), "SigningAlgorithm": "ML_DSA_SHAKE_256"}
    assert refusal(allowing, "role/ci", "Sign", sign)[0] == "InvalidKeyUsageException"
    native = allowing.made(ADMIN, "GET", f"/v1/keys/{key['KeyId']}")
    assert native["versions"][0]["kid"] is None
