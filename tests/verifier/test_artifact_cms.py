"""CMS detached signatures: what is accepted, and each thing that must not be."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from asn1crypto import cms, core, tsp
from asn1crypto import crl as asn1_crl
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.verifier import pki
from tests.verifier.cms_builder import Attributes, Options, attribute, sign, signing_certificate_v2
from tests.verifier.trust_builder import authority_entry, bundle, key_entry
from verifier import (
    Indeterminate,
    Rejected,
    Trust,
    VerificationError,
    VerifiedArtifact,
    artifacts,
    der,
    parse_trust,
    verify_artifact,
)

CONTENT = b"a release\n" * 1000


def root_trust() -> Trust:
    return parse_trust(pki.pem(pki.root().certificate))


def verify(
    signature: bytes,
    trust: Trust | None = None,
    content: bytes = CONTENT,
    *,
    algorithm: str | None = None,
    at: datetime | None = None,
) -> VerifiedArtifact:
    return verify_artifact(io.BytesIO(content), signature, trust or root_trust(), algorithm=algorithm, at=at)


def code_of(signature: bytes, trust: Trust | None = None, content: bytes = CONTENT) -> str:
    with pytest.raises(VerificationError) as caught:
        verify(signature, trust, content)
    return caught.value.code


@pytest.mark.parametrize(
    ("kind", "options", "algorithm"),
    [
        ("rsa2048", Options(), "RSASSA_PKCS1_V1_5_SHA_256"),
        ("rsa2048", Options(hash_name="sha384"), "RSASSA_PKCS1_V1_5_SHA_384"),
        ("rsa2048", Options(hash_name="sha512", scheme="rsa-encryption"), "RSASSA_PKCS1_V1_5_SHA_512"),
        ("rsa2048", Options(scheme="rsa-encryption"), "RSASSA_PKCS1_V1_5_SHA_256"),
        ("rsa2048", Options(scheme="pss"), "RSASSA_PSS_SHA_256"),
        ("rsa2048", Options(hash_name="sha512", scheme="pss"), "RSASSA_PSS_SHA_512"),
        ("p256", Options(), "ECDSA_SHA_256"),
        ("p384", Options(hash_name="sha384"), "ECDSA_SHA_384"),
        ("p521", Options(hash_name="sha512"), "ECDSA_SHA_512"),
        ("secp256k1", Options(), "ECDSA_SHA_256"),
        ("ed25519", Options(hash_name="sha512"), "ED25519_SHA_512"),
        ("p256", Options(by_key_identifier=True), "ECDSA_SHA_256"),
        ("p256", Options(signing_time=None), "ECDSA_SHA_256"),
    ],
)
def test_accepts(kind: str, options: Options, algorithm: str) -> None:
    signer = pki.leaf(kind)
    options.certificates = (signer.certificate, pki.root().certificate)
    facts = verify(sign(CONTENT, signer, options))
    assert (facts.key.algorithm, facts.key.trusted_by, facts.signature_format) == (algorithm, "authority", "cms")
    assert facts.digests == {options.hash_name: hashlib.new(options.hash_name, CONTENT).hexdigest()}
    assert facts.signer == signer.certificate.subject.rfc4514_string()
    assert facts.claimed_signing_time == options.signing_time
    assert [each.subject for each in facts.certificates] == [facts.signer, "CN=Test Root"]
    assert facts.log_position is None
    assert "when the signature was made is not proven" in facts.not_covered


def test_tampered_file_is_rejected() -> None:
    assert code_of(sign(CONTENT, pki.leaf()), content=CONTENT + b"x") == "digest_mismatch"


def test_every_flipped_byte_is_refused() -> None:
    """Nothing in the encoding may be changed without the verifier noticing: the signature has one form."""
    signature = sign(CONTENT, pki.leaf(), Options(certificates=(pki.leaf().certificate,)))
    for position in range(len(signature)):
        changed = bytearray(signature)
        changed[position] ^= 0x01
        with pytest.raises(VerificationError):
            verify(bytes(changed))


def test_trailing_bytes_and_truncation_are_refused() -> None:
    signature = sign(CONTENT, pki.leaf())
    assert code_of(signature + b"\x00") == "malformed"
    for length in range(20, len(signature), 37):
        with pytest.raises(VerificationError):
            verify(signature[:length])


def test_other_encodings_of_the_same_values_are_refused() -> None:
    signature = sign(CONTENT, pki.leaf())
    assert signature[:2] == b"\x30\x82"
    assert code_of(b"\x30\x80" + signature[4:] + b"\x00\x00") == "malformed"  # indefinite length
    assert code_of(b"\x30\x83\x00" + signature[2:]) == "malformed"  # a length that is not the shortest


def replaced(kind: str, *values: object) -> Options:
    def change(attributes: Attributes) -> Attributes:
        kept = [each for each in attributes if each["type"].native != kind]
        return [*kept, attribute(kind, *values)] if values else kept

    return Options(change_attributes=change)


def added(*more: cms.CMSAttribute) -> Options:
    return Options(change_attributes=lambda attributes: [*attributes, *more])


DIGEST = hashlib.sha256(CONTENT).digest()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        pytest.param(replaced("content_type"), "malformed", id="no content type"),
        pytest.param(replaced("message_digest"), "malformed", id="no message digest"),
        pytest.param(replaced("content_type", "signed_data"), "malformed", id="other content type"),
        pytest.param(replaced("message_digest", DIGEST, DIGEST[::-1]), "malformed", id="two message digests"),
        pytest.param(added(attribute("message_digest", DIGEST)), "malformed", id="message digest twice"),
        pytest.param(added(attribute("message_digest", DIGEST[::-1])), "malformed", id="two digests apart"),
        pytest.param(replaced("message_digest", DIGEST[:-1]), "digest_mismatch", id="short digest"),
        pytest.param(
            replaced("signing_time", cms.Time({"generalized_time": datetime(2026, 1, 1, tzinfo=UTC)})),
            "malformed",
            id="GeneralizedTime before 2050",
        ),
        pytest.param(Options(outer_hash="sha512"), "algorithm_mismatch", id="two digest algorithms"),
    ],
)
def test_attributes(options: Options, code: str) -> None:
    assert code_of(sign(CONTENT, pki.leaf(), options)) == code


def test_sha1_is_not_allowed() -> None:
    def weaken_digest(signer: cms.SignerInfo) -> None:
        signer["digest_algorithm"] = {"algorithm": "sha1"}

    def weaken_signature(signer: cms.SignerInfo) -> None:
        signer["signature_algorithm"] = {"algorithm": "sha1_ecdsa"}

    for weaken in (weaken_digest, weaken_signature):
        assert code_of(sign(CONTENT, pki.leaf(), Options(change_signer=weaken))) == "algorithm_not_allowed"


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ({"algorithm": "sha256_ecdsa", "parameters": core.Null()}, "malformed"),
        ({"algorithm": "sha256_rsa"}, "signature_invalid"),
        ({"algorithm": "sha512_ecdsa"}, "algorithm_mismatch"),
        ({"algorithm": "ed25519"}, "algorithm_mismatch"),
        ({"algorithm": "sha256_dsa"}, "algorithm_not_allowed"),
    ],
)
def test_signature_algorithm(method: dict[str, object], code: str) -> None:
    def change(signer: cms.SignerInfo) -> None:
        signer["signature_algorithm"] = method

    assert code_of(sign(CONTENT, pki.leaf(), Options(change_signer=change))) == code


def test_nothing_may_follow_inside_the_outermost_structure() -> None:
    outer = der.parse(sign(CONTENT, pki.leaf()), der.SEQUENCE)
    assert code_of(der.encode(der.SEQUENCE, outer.content + b"\x05\x00")) == "malformed"


def test_unknown_signed_attributes_are_tolerated_once() -> None:
    capability = attribute("1.2.840.113549.1.9.15", core.Sequence())
    assert verify(sign(CONTENT, pki.leaf(), added(capability)))
    assert code_of(sign(CONTENT, pki.leaf(), added(capability, capability))) == "malformed"


def test_pss_salt_must_be_as_long_as_the_hash() -> None:
    options = Options(scheme="pss", pss_salt=64)
    assert code_of(sign(CONTENT, pki.leaf("rsa2048"), options)) == "algorithm_not_allowed"


def test_signing_certificate_must_be_the_signers() -> None:
    other = pki.leaf("p256", "other").certificate
    options = Options(
        change_attributes=lambda attributes: [
            *(each for each in attributes if each["type"].native != "signing_certificate_v2"),
            signing_certificate_v2(other),
        ]
    )
    assert code_of(sign(CONTENT, pki.leaf(), options)) == "signer_mismatch"


def test_signing_certificate_issuer_must_match() -> None:
    def change(attributes: Attributes) -> Attributes:
        right, wrong = (
            signing_certificate_v2(each)["values"][0]["certs"][0]
            for each in (pki.leaf().certificate, pki.leaf("p256", "other").certificate)
        )
        mixed = tsp.ESSCertIDv2({"cert_hash": right["cert_hash"].native, "issuer_serial": wrong["issuer_serial"]})
        value = attribute("signing_certificate_v2", tsp.SigningCertificateV2({"certs": [mixed]}))
        return [*(each for each in attributes if each["type"].native != "signing_certificate_v2"), value]

    assert code_of(sign(CONTENT, pki.leaf(), Options(change_attributes=change))) == "signer_mismatch"


def test_algorithm_protection_is_compared() -> None:
    def protection(hash_name: str) -> Options:
        value = cms.CMSAlgorithmProtection(
            {"digest_algorithm": {"algorithm": hash_name}, "signature_algorithm": {"algorithm": "sha256_ecdsa"}}
        )
        return added(attribute("cms_algorithm_protection", value))

    assert verify(sign(CONTENT, pki.leaf(), protection("sha256")))
    assert code_of(sign(CONTENT, pki.leaf(), protection("sha512"))) == "malformed"


def test_content_inside_is_refused() -> None:
    def embed(data: cms.SignedData) -> None:
        data["encap_content_info"]["content"] = CONTENT

    assert code_of(sign(CONTENT, pki.leaf(), Options(change_data=embed))) == "malformed"


def test_two_signers_are_refused() -> None:
    other = cms.ContentInfo.load(sign(CONTENT, pki.leaf("rsa2048")))["content"]["signer_infos"][0]

    def twice(data: cms.SignedData) -> None:
        data["signer_infos"].append(other)

    assert code_of(sign(CONTENT, pki.leaf(), Options(change_data=twice))) == "malformed"


def test_no_signer_and_no_certificate_are_refused() -> None:
    def nobody(data: cms.SignedData) -> None:
        data["signer_infos"] = []

    def bare(data: cms.SignedData) -> None:
        del data["certificates"]

    assert code_of(sign(CONTENT, pki.leaf(), Options(change_data=nobody))) == "malformed"
    assert code_of(sign(CONTENT, pki.leaf(), Options(change_data=bare))) == "malformed"


def test_missing_signed_attributes_are_refused() -> None:
    def strip(signer: cms.SignerInfo) -> None:
        del signer["signed_attrs"]

    assert code_of(sign(CONTENT, pki.leaf(), Options(change_signer=strip))) == "malformed"


@pytest.mark.parametrize("kind", ["signature_time_stamp_token", "counter_signature"])
def test_unsigned_attributes_are_not_covered(kind: str) -> None:
    """Anyone can add one, so nothing is read from it, and the facts say so."""

    def stamp(signer: cms.SignerInfo) -> None:
        value = cms.ContentInfo({"content_type": "data"}) if "stamp" in kind else signer.copy()
        signer["unsigned_attrs"] = [attribute(kind, value)]

    facts = verify(sign(CONTENT, pki.leaf(), Options(change_signer=stamp)))
    assert artifacts.NOT_UNSIGNED in facts.not_covered
    assert facts.claimed_signing_time == pki.NOW
    assert artifacts.NOT_UNSIGNED not in verify(sign(CONTENT, pki.leaf())).not_covered


def test_unsigned_attributes_must_be_a_set_of_attributes() -> None:
    """What is let through unread is still framed, and cannot carry the signed attributes again in another form."""

    def empty(signer: cms.SignerInfo) -> None:
        signer["unsigned_attrs"] = []

    def twice(signer: cms.SignerInfo) -> None:
        signer["unsigned_attrs"] = [attribute("content_type", "data")] * 2

    for change in (empty, twice):
        assert code_of(sign(CONTENT, pki.leaf(), Options(change_signer=change))) == "malformed"


def test_signer_must_be_among_the_certificates() -> None:
    options = Options(certificates=(pki.leaf("rsa2048").certificate,))
    assert code_of(sign(CONTENT, pki.leaf(), options)) == "signer_mismatch"


def test_wrong_version_is_refused() -> None:
    def third(data: cms.SignedData) -> None:
        data["version"] = "v3"

    assert code_of(sign(CONTENT, pki.leaf(), Options(change_data=third))) == "malformed"


def test_another_keys_signature_is_rejected() -> None:
    impostor = pki.Identity(pki.leaf().certificate, pki.key("p256", "impostor"))
    assert code_of(sign(CONTENT, impostor)) == "signature_invalid"


def test_authority_in_the_message_is_never_trusted() -> None:
    attacker = pki.issue("Attacker Root", pki.key("p256", "attacker root"), None, pki.AUTHORITY)
    signer = pki.issue("release p256", pki.key("p256", "attacker"), attacker)
    options = Options(certificates=(signer.certificate, attacker.certificate))
    assert code_of(sign(CONTENT, signer, options)) == "untrusted_signer"


def test_public_key_trust_accepts_that_key_alone() -> None:
    trust = parse_trust(pki.public_pem(pki.leaf().private_key))
    facts = verify(sign(CONTENT, pki.leaf()), trust)
    assert (facts.key.trusted_by, facts.certificates) == ("key", ())
    assert "the certificate in the signature was not judged: you trust its key" in facts.not_covered
    assert code_of(sign(CONTENT, pki.leaf("p256", "other")), trust) == "untrusted_signer"


def test_bundle_entry_is_obeyed_even_with_a_chain() -> None:
    signer = pki.leaf()
    signature = sign(CONTENT, signer)

    def trust(**changes: object) -> Trust:
        entry = key_entry(signer.private_key, "ECDSA_SHA_256", **changes)
        return parse_trust(bundle([entry], [authority_entry(pki.root().certificate)]))

    facts = verify(signature, trust())
    assert (facts.key.name, facts.key.key_version, facts.key.trusted_by) == ("release", 1, "authority")
    assert code_of(signature, trust(purpose="general")) == "key_not_for_this_purpose"
    assert code_of(signature, trust(algorithms=["ECDSA_SHA_384"])) == "algorithm_mismatch"
    assert code_of(signature, trust(not_after="2021-01-01T00:00:00Z")) == "key_expired"
    assert code_of(signature, trust(not_before="2999-01-01T00:00:00Z")) == "key_not_yet_valid"


def test_listed_key_does_not_replace_the_chain() -> None:
    """Where authorities are named, a certificate that does not chain is refused although its key is listed."""
    stray = pki.issue("stray", pki.key("p256", "release"))
    entry = key_entry(stray.private_key, "ECDSA_SHA_256")
    trust = parse_trust(bundle([entry], [authority_entry(pki.root().certificate)]))
    assert code_of(sign(CONTENT, stray), trust) == "untrusted_signer"


def test_authority_for_another_purpose_does_not_count() -> None:
    trust = parse_trust(bundle([], [authority_entry(pki.root().certificate, "saml")]))
    assert code_of(sign(CONTENT, pki.leaf()), trust) == "no_trust"


def test_demanded_algorithm() -> None:
    signature = sign(CONTENT, pki.leaf())
    assert verify(signature, algorithm="ECDSA_SHA_256")
    with pytest.raises(Rejected, match="algorithm_mismatch"):
        verify(signature, algorithm="ECDSA_SHA_384")
    with pytest.raises(ValueError, match="algorithm must be"):
        verify(signature, algorithm="MD5")


def test_naive_time_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="time zone"):
        verify(sign(CONTENT, pki.leaf()), at=datetime(2026, 1, 1))  # noqa: DTZ001


def test_other_json_and_pem_are_not_decided() -> None:
    for data in (b'{"base64Signature": "AAAA"}', b"-----BEGIN CMS-----\n"):
        with pytest.raises(Indeterminate, match="unsupported_format"):
            verify(data)


def test_large_certificates_bag_is_refused() -> None:
    many = tuple(pki.issue(f"c{number}", pki.key("p256", "many")).certificate for number in range(11))
    options = Options(certificates=(pki.leaf().certificate, *many))
    assert code_of(sign(CONTENT, pki.leaf(), options)) == "malformed"


def test_two_signers_certificates_of_one_name_are_refused() -> None:
    """The same issuer and serial number twice: which one was meant cannot be told."""
    signer = pki.leaf()
    signature = sign(CONTENT, signer)
    encoded = signer.certificate.public_bytes(Encoding.DER)
    doubled = Options(certificates=(signer.certificate, signer.certificate))
    assert encoded in signature
    assert code_of(sign(CONTENT, signer, doubled)) == "malformed"


def test_content_type_inside_and_outside() -> None:
    """Data only, in both places: a time-stamp token or a receipt, signed for something else, is no file signature."""
    stamp = "1.2.840.113549.1.9.16.1.4"

    def outer(data: cms.SignedData) -> None:
        data["encap_content_info"] = {"content_type": stamp}

    assert code_of(sign(CONTENT, pki.leaf(), Options(change_data=outer))) == "malformed"
    inner = replaced("content_type", stamp)
    assert code_of(sign(CONTENT, pki.leaf(), inner)) == "malformed"
    inner.change_data = outer
    assert code_of(sign(CONTENT, pki.leaf(), inner)) == "malformed"


def test_content_type_with_two_values() -> None:
    assert code_of(sign(CONTENT, pki.leaf(), replaced("content_type", "data", "signed_data"))) == "malformed"
    assert code_of(sign(CONTENT, pki.leaf(), added(attribute("content_type", "data")))) == "malformed"


@pytest.mark.parametrize("kind", ["content_type", "message_digest", "signing_time", "signing_certificate_v2"])
def test_attributes_without_a_value(kind: str) -> None:
    empty = Options(
        change_attributes=lambda attributes: [
            *(each for each in attributes if each["type"].native != kind),
            cms.CMSAttribute({"type": kind, "values": []}),
        ]
    )
    assert code_of(sign(CONTENT, pki.leaf(), empty)) == "malformed"


def test_a_swapped_attribute_breaks_the_signature() -> None:
    """The attributes of another signature of the same signer, or one value changed after signing."""
    other = cms.ContentInfo.load(sign(b"other", pki.leaf()))["content"]["signer_infos"][0]["signed_attrs"]

    def swap(signer: cms.SignerInfo) -> None:
        signer["signed_attrs"] = other

    def redigest(signer: cms.SignerInfo) -> None:
        kept = [each for each in signer["signed_attrs"] if each["type"].native != "message_digest"]
        digest = attribute("message_digest", hashlib.sha256(b"other").digest())
        signer["signed_attrs"] = cms.CMSAttributes([*kept, digest])

    for change in (swap, redigest):
        signature = sign(CONTENT, pki.leaf(), Options(change_signer=change))
        assert code_of(signature) == code_of(signature, content=b"other") == "signature_invalid"


def attributes_as(change: Callable[[list[bytes]], bytes]) -> bytes:
    """A signature whose signed attributes are encoded anew; their signature is right for what then stands there."""
    signer = pki.leaf()
    assert isinstance(signer.private_key, ec.EllipticCurvePrivateKey)
    info = cms.ContentInfo.load(sign(CONTENT, signer))["content"]["signer_infos"][0]
    content = change([each.dump() for each in info["signed_attrs"]])
    signature = signer.private_key.sign(der.encode(der.SET, content), ec.ECDSA(hashes.SHA256()))
    fields = [info[name].dump() for name in ("version", "sid", "digest_algorithm")]
    fields += [der.encode(der.context(0), content), info["signature_algorithm"].dump()]
    encoded = der.encode(der.SEQUENCE, b"".join(fields) + der.encode(der.OCTET_STRING, signature))
    data = cms.ContentInfo.load(sign(CONTENT, signer))["content"]
    parts = [data[name].dump() for name in ("version", "digest_algorithms", "encap_content_info", "certificates")]
    signed = der.encode(der.SEQUENCE, b"".join(parts) + der.encode(der.SET, encoded))
    outer = cms.ContentType("signed_data").dump() + der.encode(der.context(0), signed)
    return der.encode(der.SEQUENCE, outer)


def test_signed_attributes_are_der_or_nothing() -> None:
    """RFC 5652 section 5.4 signs the DER encoding: another order or form under a signature of its own is refused."""
    assert verify(attributes_as(lambda parts: b"".join(sorted(parts))))
    assert code_of(attributes_as(lambda parts: b"".join(sorted(parts, reverse=True)))) == "malformed"
    assert code_of(attributes_as(lambda parts: b"".join(sorted(parts)) + b"\x00\x00")) == "malformed"
    # The first attribute's length written longer than needed, and left open.
    assert code_of(attributes_as(lambda parts: b"\x30\x81" + b"".join(sorted(parts))[1:])) == "malformed"
    assert code_of(attributes_as(lambda parts: b"\x30\x80" + b"".join(sorted(parts))[2:])) == "malformed"


def test_revocation_lists_inside_are_refused() -> None:
    """Nobody signed them: a list counts only if the one who asks brought it."""
    crl = asn1_crl.CertificateList.load(pki.crl_der(pki.crl(pki.root())))

    def carry(data: cms.SignedData) -> None:
        data["crls"] = [crl]

    assert code_of(sign(CONTENT, pki.leaf(), Options(change_data=carry))) == "malformed"


@pytest.mark.parametrize(
    "content_type",
    ["data", "enveloped_data", "digested_data", "encrypted_data", "authenticated_data", "1.2.840.113549.1.9.16.1.9"],
)
def test_other_types_of_cms_are_no_signatures(content_type: str) -> None:
    """MACs, envelopes and bare digests prove no signer; they are told from bare signatures by their first bytes."""
    body = cms.ContentType(content_type).dump() + der.encode(der.context(0), der.encode(der.SEQUENCE, b"\x02\x01\x00"))
    data = der.encode(der.SEQUENCE, body)
    for trust in (root_trust(), parse_trust(pki.public_pem(pki.key("p256")))):
        with pytest.raises(Rejected, match="malformed: The CMS signature is malformed: not SignedData"):
            verify(data, trust)


def test_a_second_signer_of_the_same_name_is_no_way_in() -> None:
    """The signer is who the signature names by issuer and serial number; a namesake beside it is only a candidate."""
    namesake = pki.issue("release p256", pki.key("p256", "namesake"), pki.root())
    certificates = (pki.leaf().certificate, namesake.certificate)
    facts = verify(sign(CONTENT, pki.leaf(), Options(certificates=certificates)))
    assert int(facts.certificates[0].serial, 16) == pki.leaf().certificate.serial_number
    forged = pki.Identity(pki.leaf().certificate, namesake.private_key)
    assert code_of(sign(CONTENT, forged, Options(certificates=certificates))) == "signature_invalid"


def test_facts_name_the_key_version_and_both_entries() -> None:
    entry = key_entry(pki.leaf().private_key, "ECDSA_SHA_256", key_version=3)
    facts = verify(sign(CONTENT, pki.leaf()), parse_trust(bundle([entry], [authority_entry(pki.root().certificate)])))
    assert (facts.key.key_version, [each.kind for each in facts.key.entries]) == (3, ["authority", "key"])
    answer = facts.as_json()
    assert isinstance(answer["key"], dict)
    assert isinstance(answer["key"]["trust_entries"], list)
    assert [isinstance(each, dict) and each["name"] for each in answer["key"]["trust_entries"]] == [
        "CN=Test Root",
        "release",
    ]
