"""DSSE envelopes, Sigstore bundles and SLSA provenance: the bytes that are signed, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from keystore.algorithms import Purpose
from signer.errors import ServiceUnavailable, Unprocessable
from signer.formats import bundle, dsse, provenance
from tests.signer.formats.support import NOW, certified
from tests.software_key import software_key

KEY = software_key("ECC_NIST_P256", Purpose.ARTIFACT)
CALL = provenance.SigningCall(
    "arn:aws:kms:eu-central-1:123456789012:key/6f0e", 2, "role/ci", "r-1", datetime(2026, 1, 31, 12, tzinfo=UTC)
)


@pytest.mark.parametrize(
    ("kind", "payload", "encoded"),
    [
        # The vector of the DSSE protocol's own text.
        ("http://example.com/HelloWorld", b"hello world", b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"),
        ("", b"", b"DSSEv1 0  0 "),
        ("a", "é".encode(), b"DSSEv1 1 a 2 \xc3\xa9"),
        ("é", b"", b"DSSEv1 2 \xc3\xa9 0 "),
    ],
)
def test_pae(kind: str, payload: bytes, encoded: bytes) -> None:
    assert dsse.pre_authentication_encoding(kind, payload) == encoded


def test_the_envelope_is_signed_over_its_pae_and_nothing_else() -> None:
    payload = dsse.statement([("a", {"sha256": "ab" * 32}), ("b", {"sha512": "cd" * 64})], "https://x.example/v1", {})
    made = dsse.envelope(KEY, payload, kid="k")
    assert base64.b64decode(made["payload"]) == payload
    assert json.loads(payload) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": "a", "digest": {"sha256": "ab" * 32}},
            {"name": "b", "digest": {"sha512": "cd" * 64}},
        ],
        "predicateType": "https://x.example/v1",
        "predicate": {},
    }
    ((signature,),) = [made["signatures"]]
    assert signature["keyid"] == "k"
    signed = b"DSSEv1 28 application/vnd.in-toto+json %d %b" % (len(payload), payload)
    public_key = KEY.public_key
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    public_key.verify(base64.b64decode(signature["sig"]), signed, ec.ECDSA(hashes.SHA256()))


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"x": [value]}
    return value


def test_a_predicate_has_its_bounds() -> None:
    dsse.require_bounded({"x": "y" * (dsse.MAXIMUM_PREDICATE_BYTES - 8)})
    with pytest.raises(Unprocessable, match="65536 are allowed"):
        dsse.require_bounded({"x": "y" * (dsse.MAXIMUM_PREDICATE_BYTES - 7)})
    dsse.require_bounded(nested(15) | {"y": 1})
    with pytest.raises(Unprocessable, match="32 deep") as refusal:
        dsse.require_bounded(nested(16))
    assert refusal.value.field == "predicate"


@pytest.mark.parametrize("value", [2**53, -(2**53), 2**70, float("nan"), float("inf"), "\ud800", {"\udfff": 1}])
def test_a_predicate_that_readers_would_read_differently_is_refused(value: object) -> None:
    """The verifier refuses it too: what nobody could verify is not signed."""
    dsse.require_bounded({"x": [2**53 - 1, -(2**53 - 1), 0.5, None, True, "\U0001f511"]})
    with pytest.raises(Unprocessable) as refusal:
        dsse.require_bounded({"x": [value]})
    assert refusal.value.field == "predicate"


def test_the_bundle_has_the_members_of_protobuf_s_json() -> None:
    digest = hashlib.sha256(b"file").digest()
    made = bundle.over_digest(KEY, digest, bundle.public_key_material("k"))
    signature = made["messageSignature"]
    assert isinstance(signature, dict)
    assert made == {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": "k"}},
        "messageSignature": {
            "messageDigest": {"algorithm": "SHA2_256", "digest": base64.b64encode(digest).decode()},
            "signature": signature["signature"],
        },
    }


@pytest.mark.parametrize(("spec", "name"), [("ECC_NIST_P384", "SHA2_384"), ("ECC_NIST_P521", "SHA2_512")])
def test_the_bundle_names_the_key_s_own_hash(spec: str, name: str) -> None:
    key = software_key(spec, Purpose.ARTIFACT)
    digest = hashlib.new(str(key.info.algorithm.hash_name), b"file").digest()
    made: Any = bundle.over_digest(key, digest, bundle.public_key_material("k"))
    assert made["messageSignature"]["messageDigest"]["algorithm"] == name
    with pytest.raises(Unprocessable, match="digests of"):
        bundle.over_digest(key, digest[:-1], bundle.public_key_material("k"))


def test_ed25519_makes_no_message_signature() -> None:
    with pytest.raises(Unprocessable, match="signs messages"):
        bundle.over_digest(
            software_key("ECC_NIST_EDWARDS25519", Purpose.ARTIFACT), bytes(64), bundle.public_key_material("k")
        )


def test_a_certificate_in_a_bundle_is_the_key_s_and_valid() -> None:
    signer = certified("ECC_NIST_P256", Purpose.ARTIFACT)
    bundle.require_usable(signer.key, signer.leaf, NOW)
    with pytest.raises(ServiceUnavailable, match="not the key's"):
        bundle.require_usable(software_key("ECC_NIST_P384", Purpose.ARTIFACT), signer.leaf, NOW)
    with pytest.raises(Unprocessable, match="renew it") as refusal:
        bundle.require_usable(signer.key, signer.leaf, NOW + timedelta(days=40_000))
    assert refusal.value.field == "material"


def test_an_envelope_in_a_bundle_has_one_signature() -> None:
    made = dsse.envelope(KEY, b"{}", kid="k")
    assert bundle.around(made, bundle.public_key_material("k"))["dsseEnvelope"] is made
    made["signatures"] *= 2
    with pytest.raises(ServiceUnavailable, match="exactly one"):
        bundle.around(made, bundle.public_key_material("k"))


def test_provenance_says_what_the_service_knows_and_what_it_was_told() -> None:
    context = {
        "repository": "https://git.example/app",
        "ref": "refs/tags/v1",
        "commit": "4f" * 20,
        "run": "https://ci.example/7",
        "started_on": "2026-01-31T11:00:00Z",
        "note": "é",
    }
    assert provenance.predicate(CALL, context) == {
        "buildDefinition": {
            "buildType": "urn:sealmark:build-type:signing-context:v1",
            "externalParameters": context,
            "internalParameters": {"keyArn": CALL.key_arn, "keyVersion": 2, "requestId": "r-1"},
            "resolvedDependencies": [
                {"uri": "git+https://git.example/app@refs/tags/v1", "digest": {"gitCommit": "4f" * 20}}
            ],
        },
        "runDetails": {
            "builder": {"id": "urn:sealmark:123456789012:role/ci"},
            "metadata": {
                "invocationId": "https://ci.example/7",
                "startedOn": "2026-01-31T11:00:00Z",
                "finishedOn": "2026-01-31T12:00:00Z",
            },
        },
    }


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"repository": "https://git.example/app"},
        {"commit": "4f" * 20},
        {"repository": "git.example/app", "commit": "4f" * 20},
        {"repository": "https://git.example/app", "commit": "4f2a91c"},
        {"repository": "javascript:alert(1)", "commit": "4f" * 20},
    ],
)
def test_provenance_names_no_source_that_is_not_whole(context: dict[str, str]) -> None:
    made = provenance.predicate(CALL, context)
    assert "resolvedDependencies" not in made["buildDefinition"]
    assert made["buildDefinition"]["externalParameters"] == context
    assert made["runDetails"]["metadata"] == {"invocationId": "r-1", "finishedOn": "2026-01-31T12:00:00Z"}


@pytest.mark.parametrize("name", ["started_on", "finished_on"])
@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", "2026-01-31T12:00:00+01:00"])
def test_a_time_of_the_build_is_a_time(name: str, text: str) -> None:
    with pytest.raises(Unprocessable, match="RFC 3339") as refusal:
        provenance.predicate(CALL, {name: text})
    assert refusal.value.field == f"context.{name}"
