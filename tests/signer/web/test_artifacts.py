"""`POST /v1/keys/{key}/artifacts`: bundles and statements over HTTP, by a real HSM, as callers see and misuse them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from typing import Any, Final

import pytest

from signer.operations import artifacts
from tests.signer.service import ServiceInProcess
from tests.signer.web.refusal import assert_refused
from verifier import parse_trust, verify_artifact

CONTENT: Final = b"a release"
OTHER: Final = b"another file"
ALL: Final = ["cms", "raw", "bundle", "dsse", "attestation"]
HASHES: Final = ("sha256", "sha384", "sha512")


def artifact(content: bytes = CONTENT, name: str = "app.bin", hashes: tuple[str, ...] = HASHES) -> dict[str, Any]:
    digests = {each: hashlib.new(each, content).hexdigest() for each in hashes}
    return {"name": name, "size": len(content), "digests": digests}


@pytest.fixture(scope="module", autouse=True)
def keys(service: ServiceInProcess) -> None:
    service.make_key("all-formats", formats=["cms", "raw", "bundle", "dsse"])
    service.make_key("usual-formats")
    service.make_key("edwards", "ECC_NIST_EDWARDS25519")


def sign(service: ServiceInProcess, key: str = "all-formats", **body: Any) -> Any:
    return service.made("role/ci", "POST", f"/v1/keys/{key}/artifacts", {"artifacts": [artifact()], **body})["results"]


def refuse(service: ServiceInProcess, key: str, field: str, status: int = 422, **body: Any) -> None:
    answer = service.call("role/ci", "POST", f"/v1/keys/{key}/artifacts", {"artifacts": [artifact()], **body})
    code = "unprocessable" if status == 422 else "wrong_state"
    assert_refused(answer, status, code, field if status == 422 else None)


def statement(envelope: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(envelope["payload"]))


def verified(service: ServiceInProcess, signature: object, content: bytes = CONTENT) -> Any:
    encoded = base64.b64decode(signature) if isinstance(signature, str) else json.dumps(signature).encode()
    trust = parse_trust(service.client.get("/v1/trust").get_data())
    return verify_artifact(io.BytesIO(content), encoded, trust)


@pytest.mark.parametrize("spec", ["ECC_NIST_P384", "ECC_NIST_P521", "RSA_2048"])
def test_every_format_of_one_file(service: ServiceInProcess, spec: str) -> None:
    key = service.make_key(f"all-{spec}", spec, formats=["cms", "raw", "bundle", "dsse"])
    (result,) = sign(service, key["id"], formats=ALL)
    made = result["signatures"]
    assert list(made) == ALL
    assert made["attestation"]["dsseEnvelope"] == made["dsse"]  # one signature, in two frames
    for name in ALL:
        facts = verified(service, made[name])
        assert (facts.key.key_id, facts.key.key_version) == (key["id"], 1)
    kid = key["versions"][0]["kid"]
    assert made["dsse"]["signatures"][0]["keyid"] == kid
    assert made["bundle"]["verificationMaterial"] == {"publicKey": {"hint": kid}}
    outcomes = service.outcomes(result["request_id"])
    assert [row["outcome"] for row in outcomes] == ["succeeded"]
    # In all four: none is signed without a record.
    assert len(json.loads(outcomes[0]["record"])["signatures"]) == 4


def test_an_ed25519_key_makes_statements_alone(service: ServiceInProcess) -> None:
    (result,) = sign(service, "edwards", formats=["dsse", "attestation"])
    for name in ("dsse", "attestation"):
        assert verified(service, result["signatures"][name]).key.algorithm == "ED25519_SHA_512"
    described = service.made("role/ci", "GET", "/v1/keys/edwards")
    assert (described["formats"], described["required_digest"]) == (["dsse"], None)
    for name in ("cms", "raw", "bundle"):
        refuse(service, "edwards", "formats", formats=[name])


def test_formats_that_a_key_was_not_made_with(service: ServiceInProcess) -> None:
    assert service.made("role/ci", "GET", "/v1/keys/usual-formats")["formats"] == ["cms", "dsse"]
    (result,) = sign(service, "usual-formats", formats=["cms", "dsse"])
    assert verified(service, result["signatures"]["dsse"]).statement.matched[0].name == "app.bin"
    for name in ("raw", "bundle"):
        refuse(service, "usual-formats", "formats", formats=["cms", name])


def test_provenance_from_the_context(service: ServiceInProcess) -> None:
    context = {"repository": "https://git.example/app", "commit": "4f" * 20, "run": "7"}
    (result,) = sign(service, formats=["dsse"], context=context)
    found = statement(result["signatures"]["dsse"])
    assert found["predicateType"] == "https://slsa.dev/provenance/v1"
    assert found["predicate"]["buildDefinition"]["externalParameters"] == context
    assert found["predicate"]["buildDefinition"]["internalParameters"]["requestId"] == result["request_id"]
    assert found["predicate"]["runDetails"]["builder"]["id"] == "urn:sealmark:000000000000:role/ci"
    assert verified(service, result["signatures"]["dsse"]).statement.builder == "urn:sealmark:000000000000:role/ci"
    refuse(service, "all-formats", "context.started_on", formats=["dsse"], context={"started_on": "noon"})


def test_a_predicate_of_the_caller_s(service: ServiceInProcess) -> None:
    predicate = {"packages": [{"name": "é", "n": 1.5}], "big": 2**53 - 1, "none": None}
    kind = "https://spdx.dev/Document/v2.3"
    (result,) = sign(service, formats=["dsse"], predicate=predicate, predicate_type=kind)
    found = statement(result["signatures"]["dsse"])
    assert (found["predicateType"], found["predicate"]) == (kind, predicate)
    assert verified(service, result["signatures"]["dsse"]).statement.predicate_type == kind


@pytest.mark.parametrize(
    "text", ["../../etc/passwd\n", "\u0000\u001f\u007f", "\u202eexe.app", "\U0001f511" * 64, '"}\\', " "]
)
def test_what_the_service_signs_the_verifier_reads(service: ServiceInProcess, text: str) -> None:
    """Names, contexts and predicates of every kind: a signature that nobody could verify would be worth nothing."""
    deepest: Any = text
    for _ in range(31):
        deepest = [deepest]
    kind = "https://x.example/v1"
    named = [{**artifact(), "name": text}]
    body = {"formats": ["dsse", "attestation"], "context": {text[:128]: text}}
    for more in ({}, {"predicate": {text: deepest}, "predicate_type": kind}):
        answer = service.made("role/ci", "POST", "/v1/keys/all-formats/artifacts", {"artifacts": named, **body, **more})
        (result,) = answer["results"]
        for name in body["formats"]:
            assert verified(service, result["signatures"][name]).statement.matched[0].name == text


def test_a_predicate_that_is_refused(service: ServiceInProcess) -> None:
    kind = "https://x.example/v1"
    refuse(service, "all-formats", "predicate", formats=["dsse"], predicate_type=kind)
    refuse(service, "all-formats", "predicate_type", formats=["dsse"], predicate={})
    refuse(service, "all-formats", "predicate_type", formats=["cms"], predicate={}, predicate_type=kind)
    large = {"x": "y" * 65_536}
    refuse(service, "all-formats", "predicate", formats=["dsse"], predicate=large, predicate_type=kind)
    refuse(service, "all-formats", "predicate", formats=["dsse"], predicate={"big": 2**53}, predicate_type=kind)
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"x": deep}
    refuse(service, "all-formats", "predicate", formats=["dsse"], predicate=deep, predicate_type=kind)
    for wrong, field in (
        ({"predicate": [], "predicate_type": kind}, "predicate"),
        ({"predicate": {}, "predicate_type": "no URI"}, "predicate_type"),
        ({"predicate": {}, "predicate_type": "https://x.example/\n"}, "predicate_type"),
        ({"statement": "two"}, "statement"),
        ({"material": "none"}, "material"),
        ({"predicateType": kind}, "predicateType"),
    ):
        body = {"artifacts": [artifact()], "formats": ["dsse"], **wrong}
        answer = service.call("role/ci", "POST", "/v1/keys/all-formats/artifacts", body)
        assert_refused(answer, 422, "malformed_request", field)


def test_many_predicates_are_bounded_together(service: ServiceInProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "MAXIMUM_STATEMENT_BYTES", 2500)
    two = [artifact(), artifact(OTHER, "other")]
    kind = "https://x.example/v1"
    body: dict[str, Any] = {
        "artifacts": two,
        "formats": ["dsse"],
        "predicate": {"x": "y" * 2000},
        "predicate_type": kind,
    }
    answer = service.call("role/ci", "POST", "/v1/keys/all-formats/artifacts", body)
    assert_refused(answer, 422, "unprocessable", "predicate")
    assert len(sign(service, **(body | {"statement": "one"}))) == 1
    refuse(service, "all-formats", "context", artifacts=two, formats=["dsse"], context={"x": "y" * 1024})


def test_one_statement_over_many_files(service: ServiceInProcess) -> None:
    many = [artifact(), artifact(OTHER, "other", ("sha256",))]
    (result,) = sign(service, artifacts=many, formats=["dsse", "attestation"], statement="one")
    assert result["names"] == ["app.bin", "other"]
    assert [each["name"] for each in statement(result["signatures"]["dsse"])["subject"]] == ["app.bin", "other"]
    for content in (CONTENT, OTHER):
        facts = verified(service, result["signatures"]["attestation"], content)
        assert (len(facts.statement.subjects), len(facts.statement.matched)) == (2, 1)
    refuse(service, "all-formats", "statement", artifacts=many, formats=["dsse", "cms"], statement="one")
    refuse(service, "all-formats", "statement", artifacts=many, formats=["raw"], statement="one")


def test_one_statement_is_for_all_files_or_none(service: ServiceInProcess) -> None:
    many = [artifact(), {"name": "other", "size": 1, "digests": {}}]
    body: dict[str, Any] = {"artifacts": many, "formats": ["dsse"], "statement": "one"}
    refuse(service, "all-formats", "artifacts[1].digests", **body)
    first, second = sign(service, artifacts=many, formats=["dsse"])  # by default each file has its own
    assert "signatures" in first
    assert second["error"]["field"] == "artifacts[1].digests"


def test_each_format_says_which_digest_it_needs(service: ServiceInProcess) -> None:
    only = [artifact(hashes=("sha512",))]
    for name in ("cms", "raw", "bundle"):
        refuse(service, "all-formats", "artifacts[0].digests.sha256", artifacts=only, formats=[name])
    (result,) = sign(service, artifacts=only, formats=["dsse"])
    assert list(statement(result["signatures"]["dsse"])["subject"][0]["digest"]) == ["sha512"]


def test_a_certificate_as_material(service: ServiceInProcess) -> None:
    (result,) = sign(service, formats=["bundle", "attestation"], material="certificate")
    for name in ("bundle", "attestation"):
        made = result["signatures"][name]
        assert list(made["verificationMaterial"]) == ["certificate"]
        assert len(verified(service, made).certificates) == 2
    refuse(service, "all-formats", "material", formats=["dsse"], material="certificate")
    service.make_key("unpublished", published=False, formats=["bundle"])
    refuse(service, "unpublished", "", status=409, formats=["bundle"], material="certificate")
    assert sign(service, "unpublished", formats=["bundle"])


def test_the_same_key_and_body_give_the_same_answer(service: ServiceInProcess) -> None:
    body = {"artifacts": [artifact()], "formats": ["attestation"], "context": {"run": "1"}}
    path, headers = "/v1/keys/all-formats/artifacts", {"Idempotency-Key": "statement-1"}
    first = service.call("role/ci", "POST", path, body, headers)
    again = service.call("role/ci", "POST", path, body, headers)
    assert first.get_data() == again.get_data()
    assert_refused(
        service.call("role/ci", "POST", path, body | {"context": {}}, headers), 409, "conflict", "Idempotency-Key"
    )
