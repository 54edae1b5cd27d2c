"""Sigstore bundles: what holds, and each way of bending one with its reason."""

from __future__ import annotations

import hashlib
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.verifier import pki
from tests.verifier.bundle_builder import (
    Json,
    b64,
    bundle,
    certificate_material,
    encoded,
    envelope,
    message_signature,
    public_key_material,
    sign,
    statement,
    subject,
)
from tests.verifier.trust_builder import authority_entry, key_entry
from tests.verifier.trust_builder import bundle as trust_bundle
from verifier import VerificationError, parse_trust, verify_artifact
from verifier.artifacts.bundle import MAXIMUM_BUNDLE_BYTES
from verifier.thumbprint import thumbprint

if TYPE_CHECKING:
    from verifier import Trust, VerifiedArtifact

CONTENT = b"\x7fELF a release\n"
KEY = pki.key("p256")
LEAF = pki.leaf()
AUTHORITY = parse_trust(pki.pem(pki.root().certificate))


def trust(kind: str = "p256") -> Trust:
    return parse_trust(pki.public_pem(pki.key(kind)))


def verify(members: Json | bytes, content: bytes = CONTENT, by: Trust | None = None) -> VerifiedArtifact:
    signature = members if isinstance(members, bytes) else encoded(members)
    return verify_artifact(io.BytesIO(content), signature, by or trust())


def code(members: Json | bytes, content: bytes = CONTENT, by: Trust | None = None) -> str:
    with pytest.raises(VerificationError) as caught:
        verify(members, content, by)
    return caught.value.code


def signed(material: Json | None = None, **changes: Any) -> Json:
    return bundle(material, messageSignature=message_signature(KEY, CONTENT) | changes)


def attested(material: Json | None = None, key: pki.PrivateKey = KEY) -> Json:
    return bundle(material, dsseEnvelope=envelope(key, encoded(statement(subject(CONTENT)))))


@pytest.mark.parametrize(
    ("kind", "hash_name", "algorithm"),
    [
        ("p256", "sha256", "ECDSA_SHA_256"),
        ("p384", "sha384", "ECDSA_SHA_384"),
        ("p521", "sha512", "ECDSA_SHA_512"),
        ("rsa2048", "sha256", "RSASSA_PKCS1_V1_5_SHA_256"),
    ],
)
def test_every_algorithm(kind: str, hash_name: str, algorithm: str) -> None:
    made = bundle(messageSignature=message_signature(pki.key(kind), CONTENT, hash_name))
    facts = verify(made, by=trust(kind))
    assert (facts.signature_format, facts.key.algorithm) == ("bundle", algorithm)
    assert facts.digests == {hash_name: hashlib.new(hash_name, CONTENT).hexdigest()}
    assert facts.statement is None
    assert any("transparency logs" in limit for limit in facts.not_covered)
    assert code(made, CONTENT + b"x", by=trust(kind)) == "digest_mismatch"


def test_an_envelope_in_a_bundle() -> None:
    facts = verify(attested())
    assert facts.signature_format == "bundle"
    assert facts.statement is not None
    assert [each.name for each in facts.statement.matched] == ["tool"]
    assert code(attested(), b"another") == "digest_mismatch"


@pytest.mark.parametrize("make", [signed, attested])
def test_a_certificate_counts_by_its_chain_alone(make: Any) -> None:
    made = make(certificate_material(LEAF.certificate))
    if make is attested:
        made = attested(certificate_material(LEAF.certificate), LEAF.private_key)
    else:
        made["messageSignature"] = message_signature(LEAF.private_key, CONTENT)
    facts = verify(made, by=AUTHORITY)
    assert len(facts.certificates) == 2
    assert facts.key.trusted_by == "authority"
    stranger = parse_trust(pki.pem(pki.root("Another").certificate))
    assert code(made, by=stranger) == "untrusted_signer"
    assert code(made, by=trust("p384")) == "untrusted_signer"


def test_a_certificate_of_the_attacker_does_not_become_trust() -> None:
    own = pki.issue("release", pki.key("p256", "attacker"), None, pki.Profile())
    made = bundle(certificate_material(own.certificate), messageSignature=message_signature(own.private_key, CONTENT))
    assert code(made, by=AUTHORITY) == "untrusted_signer"
    assert code(made) == "untrusted_signer"


def test_a_certificate_of_another_key_than_the_signature_s() -> None:
    assert code(signed(certificate_material(pki.leaf("p384").certificate)), by=AUTHORITY) == "signature_invalid"


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (pki.Profile(purposes=(ExtendedKeyUsageOID.SERVER_AUTH,)), "certificate_not_suitable"),
        (pki.Profile(not_after=pki.NOW - pki.DAY / 2), "certificate_expired"),
        (pki.Profile(not_before=pki.NOW + pki.DAY), "certificate_not_yet_valid"),
    ],
)
def test_a_certificate_for_something_else_or_another_time(profile: pki.Profile, reason: str) -> None:
    unfit = pki.issue("unfit", KEY, pki.root(), profile)
    assert code(signed(certificate_material(unfit.certificate)), by=AUTHORITY) == reason


def test_a_listed_key_s_limits_hold_with_a_certificate_too() -> None:
    made = bundle(certificate_material(LEAF.certificate), messageSignature=message_signature(LEAF.private_key, CONTENT))

    def judged(**changes: object) -> str:
        entries = [key_entry(LEAF.private_key, "ECDSA_SHA_256", **changes)]
        return code(made, by=parse_trust(trust_bundle(entries, [authority_entry(pki.root().certificate)])))

    assert judged(not_after="2021-01-01T00:00:00Z") == "key_expired"
    assert judged(purpose="general") == "key_not_for_this_purpose"


def test_a_hint_selects_no_key_but_must_not_name_another() -> None:
    other = pki.key("p256", "other")
    entry = key_entry(other, "ECDSA_SHA_256", key_id="11111111-1111-4111-8111-111111111111")
    both = parse_trust(trust_bundle([key_entry(KEY, "ECDSA_SHA_256"), entry]))
    spki_digest = b64(hashlib.sha256(pki.spki(KEY)).digest())  # cosign's
    for hint in ("", "whatever", thumbprint(KEY.public_key()), spki_digest):
        assert verify(signed(public_key_material(hint)), by=both).signer == "release"
    assert code(signed(public_key_material(thumbprint(other.public_key()))), by=both) == "signer_mismatch"


def test_no_trusted_key_and_another_key() -> None:
    assert code(signed(), by=AUTHORITY) == "no_trust"
    assert code(signed(), by=parse_trust(pki.public_pem(pki.key("p256", "other")))) == "signature_invalid"
    assert code(signed(), by=trust("p384")) == "signature_invalid"
    assert code(signed(), by=trust("ed25519")) == "algorithm_mismatch"


def test_a_digest_of_another_algorithm_than_the_signature_s() -> None:
    made = message_signature(KEY, CONTENT) | {
        "messageDigest": message_signature(KEY, CONTENT, "sha512")["messageDigest"]
    }
    assert code(bundle(messageSignature=made)) == "signature_invalid"
    for name in ("SHA1", "SHA2_224", "SHA3_256", "HASH_ALGORITHM_UNSPECIFIED", "sha256", "1"):
        wrong = signed()
        wrong["messageSignature"]["messageDigest"]["algorithm"] = name
        assert code(wrong) == "algorithm_not_allowed"
    number = signed()
    number["messageSignature"]["messageDigest"]["algorithm"] = 1  # protobuf's JSON readers would take it
    assert code(number) == "malformed"


def test_the_digest_in_the_bundle_is_not_believed() -> None:
    """The file's own digest is what counts, whichever of the two the attacker changes."""
    other = signed()
    other["messageSignature"]["messageDigest"]["digest"] = b64(hashlib.sha256(b"another").digest())
    assert code(other) == "signature_invalid"
    assert code(other, b"another") == "signature_invalid"


def test_a_message_signature_is_no_envelope_s() -> None:
    payload = encoded(statement(subject(CONTENT)))
    made = bundle(dsseEnvelope=envelope(KEY, payload, signed=lambda payload, _: payload))
    assert code(made) == "signature_invalid"


def test_what_cosign_adds_is_allowed_and_not_looked_at() -> None:
    material = public_key_material() | {"tlogEntries": [{"logIndex": "1"}], "timestampVerificationData": None}
    assert verify(signed(material)).signature_format == "bundle"
    assert verify(signed(public_key_material() | {"tlogEntries": [], "timestampVerificationData": {}}))
    assert code(signed(public_key_material() | {"tlogEntries": {}})) == "malformed"
    assert code(signed(public_key_material() | {"timestampVerificationData": []})) == "malformed"


def test_other_versions_are_not_decided() -> None:
    for kind in (
        "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "application/vnd.dev.sigstore.bundle+json;version=0.3",
        "application/vnd.dev.sigstore.bundle.v0.4+json",
    ):
        assert code(signed() | {"mediaType": kind}) == "unsupported_format"
    assert code(signed() | {"mediaType": "application/json"}) == "malformed"
    assert code(signed() | {"mediaType": 7}) == "malformed"
    assert code(b'{"base64Signature": "AAAA", "cert": ""}') == "unsupported_format"


def broken() -> list[Json]:
    good = signed()
    content = good["messageSignature"]
    return [
        good | {"extra": 1},
        {name: value for name, value in good.items() if name != "verificationMaterial"},
        {name: value for name, value in good.items() if name != "messageSignature"},
        good | {"dsseEnvelope": attested()["dsseEnvelope"]},
        good | {"verificationMaterial": {}},
        good | {"verificationMaterial": []},
        good | {"verificationMaterial": public_key_material() | certificate_material(LEAF.certificate)},
        good | {"verificationMaterial": public_key_material() | {"x": 1}},
        good | {"verificationMaterial": {"x509CertificateChain": {"certificates": []}}},
        good | {"verificationMaterial": {"publicKey": {"hint": 7}}},
        good | {"verificationMaterial": {"publicKey": {}}},
        good | {"verificationMaterial": {"publicKey": "release"}},
        good | {"verificationMaterial": {"public_key": {"hint": "x"}}},
        good | {"verificationMaterial": {"certificate": {"rawBytes": "AAAA"}}},
        good | {"verificationMaterial": {"certificate": {}}},
        good | {"messageSignature": []},
        good | {"messageSignature": content | {"extra": 1}},
        good | {"messageSignature": {"signature": content["signature"]}},
        good | {"messageSignature": content | {"signature": ""}},
        good | {"messageSignature": content | {"signature": content["signature"] + "\n"}},
        good | {"messageSignature": content | {"messageDigest": {"algorithm": "SHA2_256", "digest": b64(b"short")}}},
        good | {"messageSignature": content | {"messageDigest": {"algorithm": "SHA2_256"}}},
        bundle(dsseEnvelope=[]),
        bundle(dsseEnvelope=attested()["dsseEnvelope"] | {"extra": 1}),
    ]


@pytest.mark.parametrize("number", range(len(broken())))
def test_a_broken_bundle(number: int) -> None:
    assert code(broken()[number]) == "malformed"


def test_no_json_two_texts_and_too_much() -> None:
    text = encoded(signed())
    assert code(text + b"\n" + text) == "malformed"
    assert code(text[:-1]) == "malformed"
    assert code(text[:-1] + b', "mediaType": "x"}') == "malformed"
    assert code(text + b" " * MAXIMUM_BUNDLE_BYTES) == "too_large"
    assert code(b"{" * 200_000) == "malformed"


def test_weak_keys() -> None:
    weak = pki.issue("weak", pki.key("rsa1024"), pki.root())
    made = bundle(certificate_material(weak.certificate), messageSignature=message_signature(weak.private_key, CONTENT))
    assert code(made, by=AUTHORITY) == "weak_key"


@pytest.mark.parametrize("kind", ["message", "envelope", "certificate"])
def test_every_byte_flipped_is_rejected_or_changes_nothing(kind: str) -> None:
    by, made = trust(), signed()
    if kind == "envelope":
        made = attested()
    elif kind == "certificate":
        by = AUTHORITY
        made = bundle(
            certificate_material(LEAF.certificate), messageSignature=message_signature(LEAF.private_key, CONTENT)
        )
    text = json.dumps(made, separators=(",", ":")).encode()
    genuine = verify(text, by=by).as_json()
    uncovered = set()
    for position in range(len(text)):
        flipped = text[:position] + bytes((text[position] ^ 1,)) + text[position + 1 :]
        try:
            facts = verify(flipped, by=by).as_json()
        except VerificationError:
            continue
        facts["when"] = genuine["when"]
        assert facts == genuine, position
        uncovered.add(position)
    # Nothing protects the hint of a public key: it is the only thing in a bundle that may change.
    hint = text.find(b'"release"') + 1
    allowed = set(range(hint, hint + len("release"))) if kind != "certificate" else set()
    assert uncovered <= allowed


def test_a_bundle_s_signature_alone_is_a_bare_signature() -> None:
    """The same bytes in another frame say the same: over the file, by this key."""
    signature = sign(KEY, CONTENT)
    made = signed(signature=b64(signature))
    assert verify(made).key.sha256 == verify_artifact(io.BytesIO(CONTENT), signature, trust()).key.sha256
