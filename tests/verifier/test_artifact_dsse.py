"""DSSE envelopes over in-toto statements: what holds, and each way of bending one with its reason."""

from __future__ import annotations

import hashlib
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.verifier import pki
from tests.verifier.bundle_builder import BUILDER, Json, b64, encoded, envelope, pae, sign, statement, subject
from tests.verifier.trust_builder import KEY_ID, authority_entry, bundle, key_entry
from verifier import FileDigests, VerificationError, parse_trust, verify_artifact
from verifier.artifacts.dsse import MAXIMUM_ENVELOPE_BYTES
from verifier.thumbprint import thumbprint

if TYPE_CHECKING:
    from verifier import Trust, VerifiedArtifact

CONTENT = b"\x7fELF a release\n"
KEY = pki.key("p256")
OTHER = pki.key("p256", "other")


def trust(kind: str = "p256") -> Trust:
    return parse_trust(pki.public_pem(pki.key(kind)))


def verify(members: Json | bytes, content: bytes = CONTENT, by: Trust | None = None) -> VerifiedArtifact:
    signature = members if isinstance(members, bytes) else encoded(members)
    return verify_artifact(io.BytesIO(content), signature, by or trust())


def code(members: Json | bytes, content: bytes = CONTENT, by: Trust | None = None) -> str:
    with pytest.raises(VerificationError) as caught:
        verify(members, content, by)
    return caught.value.code


def over(*subjects: Json, **changes: Any) -> Json:
    """A well-signed envelope over a statement."""
    return envelope(KEY, encoded(statement(*(subjects or (subject(CONTENT),)), **changes)))


def test_the_facts() -> None:
    facts = verify(over(subject(b"another", "other"), subject(CONTENT, "tool.bin", "sha256", "sha512")))
    assert facts.signature_format == "dsse"
    assert facts.digests == {name: hashlib.new(name, CONTENT).hexdigest() for name in ("sha256", "sha512")}
    found = facts.statement
    assert found is not None
    assert found.predicate_type == "https://slsa.dev/provenance/v1"
    assert found.builder == BUILDER
    assert [each.name for each in found.subjects] == ["other", "tool.bin"]
    assert [each.name for each in found.matched] == ["tool.bin"]
    assert json.loads(json.dumps(facts.as_json()))["what"]["statement"]["matched"] == ["tool.bin"]
    assert any("predicate" in limit for limit in facts.not_covered)


@pytest.mark.parametrize(
    ("kind", "hash_name", "algorithm"),
    [
        ("p256", "sha256", "ECDSA_SHA_256"),
        ("p384", "sha384", "ECDSA_SHA_384"),
        ("p521", "sha512", "ECDSA_SHA_512"),
        ("rsa2048", "sha256", "RSASSA_PKCS1_V1_5_SHA_256"),
        ("ed25519", "sha256", "ED25519_SHA_512"),
    ],
)
def test_every_algorithm(kind: str, hash_name: str, algorithm: str) -> None:
    made = envelope(pki.key(kind), encoded(statement(subject(CONTENT))), hash_name=hash_name)
    assert verify(made, by=trust(kind)).key.algorithm == algorithm
    assert code(made, by=trust("secp256k1")) == "signature_invalid"


def test_no_subject_is_the_file() -> None:
    assert code(over(), CONTENT + b"x") == "digest_mismatch"


def test_one_of_several_subjects_is_the_file() -> None:
    several = over(*(subject(name.encode(), name) for name in "abc"), subject(CONTENT), subject(CONTENT, "again"))
    found = verify(several).statement
    assert found is not None
    assert [each.name for each in found.matched] == ["tool", "again"]
    assert verify(several, b"b").statement is not None
    assert code(several, b"d") == "digest_mismatch"


def test_a_subject_whose_digests_disagree_is_not_the_file() -> None:
    torn = subject(CONTENT, "tool", "sha256") | {}
    torn["digest"]["sha512"] = hashlib.sha512(b"another").hexdigest()
    assert code(over(torn)) == "digest_mismatch"
    assert code(over(torn), b"another") == "digest_mismatch"


@pytest.mark.parametrize("name", ["sha1", "md5", "gitCommit", "blake2b", "SHA256"])
def test_a_digest_of_another_algorithm_alone_decides_nothing(name: str) -> None:
    assert code(over({"name": "tool", "digest": {name: "ab" * 32}})) == "algorithm_not_allowed"


def test_a_digest_of_another_algorithm_beside_a_good_one_is_not_read() -> None:
    both = subject(CONTENT)
    both["digest"]["sha1"] = "00" * 20
    assert verify(over(both)).statement is not None


@pytest.mark.parametrize(
    "digest",
    [{}, {"sha256": "ab"}, {"sha256": "AB" * 32}, {"sha256": "ab" * 48}, {"sha256": 7}, {"sha256": ""}, [], "ab", None],
)
def test_a_broken_digest(digest: object) -> None:
    assert code(over({"name": "tool", "digest": digest}, subject(CONTENT))) == "malformed"


def test_another_type_of_payload_is_refused_although_its_signature_holds() -> None:
    payload = encoded(statement(subject(CONTENT)))
    for kind in ("application/json", "application/vnd.in-toto+json ", "text/plain", ""):
        assert code(envelope(KEY, payload, payload_type=kind)) == "type_mismatch"
    assert code(over() | {"payloadType": 7}) == "malformed"


@pytest.mark.parametrize("kind", ["https://in-toto.io/Statement/v2", "https://in-toto.io/Link/v1", ""])
def test_another_type_of_statement(kind: str) -> None:
    assert code(over(_type=kind)) == "type_mismatch"


def test_version_0_1_of_the_statement_is_read() -> None:
    assert verify(over(_type="https://in-toto.io/Statement/v0.1")).statement is not None


@pytest.mark.parametrize("count", [0, 2])
def test_one_signature_neither_none_nor_two(count: int) -> None:
    made = over()
    assert code(made | {"signatures": made["signatures"] * count}) == "malformed"


def test_pae_is_not_the_payload_alone_nor_another_type_nor_another_length() -> None:
    """Signatures over anything but the pre-authentication encoding of this very type and payload."""
    payload = encoded(statement(subject(CONTENT)))
    confusions = (
        lambda payload, kind: payload,
        lambda payload, kind: kind.encode() + payload,
        lambda payload, kind: pae(payload, "application/json"),
        lambda payload, kind: pae(payload).replace(b"DSSEv1", b"DSSEv2"),
        lambda payload, kind: pae(payload).replace(b" 28 ", b" 028 "),
        lambda payload, kind: pae(payload + b" "),
    )
    for signed in confusions:
        assert code(envelope(KEY, payload, signed=signed)) == "signature_invalid"


def test_a_bare_signature_over_the_file_is_no_envelope_and_an_envelope_s_is_no_bare_one() -> None:
    made = over()
    assert code(made | {"signatures": [{"sig": b64(sign(KEY, CONTENT))}]}) == "signature_invalid"


def test_a_statement_with_duplicate_members() -> None:
    text = encoded(statement(subject(b"another"))).decode()
    twice = text[:-1] + f', "subject": [{json.dumps(subject(CONTENT))}]}}'
    assert json.loads(twice)["subject"][0]["name"] == "tool"  # Python's reader takes the last
    assert code(envelope(KEY, twice.encode())) == "malformed"


def test_an_envelope_with_duplicate_members() -> None:
    text = encoded(over()).decode()
    assert code((text[:-1] + ', "payloadType": "application/vnd.in-toto+json"}').encode()) == "malformed"


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": []},
        {"subject": {}},
        {"subject": None},
        {"subject": ["tool"]},
        {"subject": [subject(CONTENT) | {"uri": "file:tool"}]},
        {"subject": [{"digest": subject(CONTENT)["digest"]}]},
        {"predicateType": None},
        {"predicateType": ""},
        {"predicateType": ["x"]},
        {"predicate": None},
        {"predicate": []},
        {"extra": 1},
        {"_type": None},
        {"_type": 7},
    ],
)
def test_a_broken_statement(changes: Json) -> None:
    assert code(over(**changes)) == "malformed"


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"payload": "e30"},
        {"payload": "e30= "},
        {"payload": "e31="},
        {"payload": ""},
        {"payload": 7},
        {"payload": "\u0435\u0435\u0435\u0435"},
        {"signatures": {}},
        {"signatures": ["sig"]},
        {"signatures": [{"keyid": "x"}]},
        {"signatures": [{"keyid": 7, "sig": "AAAA"}]},
        {"signatures": [{"sig": "AAAA", "cert": "x"}]},
    ],
)
def test_a_broken_envelope(change: Json) -> None:
    assert code(over() | change) == "malformed"


def test_base64url_is_not_the_envelope_s_encoding() -> None:
    made = over()
    made["payload"] = made["payload"][:-1] + "-"
    assert code(made) == "malformed"


def test_a_payload_that_is_no_statement_although_its_signature_holds() -> None:
    for payload in (b"[]", b"text", b'"x"', b"\xff\xfe", b'{"_type": NaN}'):
        assert code(envelope(KEY, payload)) == "malformed"


def test_too_large_and_too_deep() -> None:
    assert code(over() | {"payload": b64(b"x" * MAXIMUM_ENVELOPE_BYTES)}) == "too_large"
    deep = encoded(statement(subject(CONTENT))).replace(b'{"runDetails"', b"[" * 100_000 + b'{"runDetails"')
    assert code(envelope(KEY, deep)) == "malformed"


def test_the_signature_is_judged_before_what_it_is_over() -> None:
    made = envelope(OTHER, b"no statement")
    assert code(made) == "signature_invalid"


def test_keyid_is_a_hint_and_selects_no_key() -> None:
    made = over()
    both = parse_trust(
        bundle([
            key_entry(KEY, "ECDSA_SHA_256"),
            key_entry(OTHER, "ECDSA_SHA_256", key_id="11111111-1111-4111-8111-111111111111", name="other"),
        ])
    )  # fmt: skip
    sig = made["signatures"][0]["sig"]
    for hint in ("", "anything", thumbprint(KEY.public_key()), KEY_ID):
        assert verify(made | {"signatures": [{"keyid": hint, "sig": sig}]}, by=both).signer == "release"
    for hint in (thumbprint(OTHER.public_key()), "11111111-1111-4111-8111-111111111111"):
        assert code(made | {"signatures": [{"keyid": hint, "sig": sig}]}, by=both) == "signer_mismatch"


def test_the_thumbprint_is_that_of_rfc_7638() -> None:
    from signer.formats.jwks import thumbprint as published

    for kind in ("p256", "p384", "p521", "secp256k1", "rsa2048", "ed25519"):
        assert thumbprint(pki.key(kind).public_key()) == published(pki.spki(pki.key(kind)))


def test_trust_limits_purpose_algorithm_and_time() -> None:
    made = over()

    def judged(**changes: object) -> str:
        return code(made, by=parse_trust(bundle([key_entry(KEY, "ECDSA_SHA_256", **changes)])))

    assert judged(purpose="general") == "no_trust"
    assert judged(not_after="2021-01-01T00:00:00Z") == "key_expired"
    assert judged(algorithms=["ECDSA_SHA_384"]) == "signature_invalid"
    assert code(made, by=parse_trust(bundle([], [authority_entry(pki.root().certificate)]))) == "no_trust"


def test_a_demanded_algorithm_and_format() -> None:
    made = encoded(over())
    with pytest.raises(VerificationError, match="algorithm_mismatch"):
        verify_artifact(io.BytesIO(CONTENT), made, trust(), algorithm="RSASSA_PSS_SHA_256")
    with pytest.raises(VerificationError, match="malformed"):
        verify_artifact(io.BytesIO(CONTENT), made, trust(), signature_format="bundle")


def test_digests_that_the_caller_has() -> None:
    """A release's SHA256SUMS: the file is not read again."""
    known = FileDigests("tool", len(CONTENT), {"sha256": hashlib.sha256(CONTENT).digest()})
    facts = verify_artifact(known, encoded(over()), trust())
    assert (facts.name, facts.size) == ("tool", len(CONTENT))
    with pytest.raises(VerificationError, match="digest_unknown"):
        verify_artifact(known, encoded(over(subject(CONTENT, "tool", "sha512"))), trust())
    with pytest.raises(VerificationError, match="digest_mismatch"):
        verify_artifact(FileDigests("tool", 1, {"sha256": bytes(32)}), encoded(over()), trust())


def test_every_byte_flipped_is_rejected_or_changes_nothing_but_the_hint() -> None:
    made = encoded(over() | {})
    genuine = verify(made).as_json()
    uncovered = []
    for position in range(len(made)):
        flipped = made[:position] + bytes((made[position] ^ 1,)) + made[position + 1 :]
        try:
            facts = verify(flipped).as_json()
        except VerificationError:
            continue
        facts["when"] = genuine["when"]
        assert facts == genuine, position
        uncovered.append(position)
    spaces = [at for at in range(len(made)) if made[at : at + 1] == b" "]
    assert [at for at in uncovered if at not in spaces] == []
