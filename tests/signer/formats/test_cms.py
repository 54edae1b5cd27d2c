"""CMS detached signatures: canonical DER that `openssl cms -verify` accepts, and refuses once a byte is changed."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from asn1crypto import cms as asn1_cms
from hypothesis import given, settings
from hypothesis import strategies as st

from keystore.algorithms import PURPOSES, Purpose
from signer.certificates import authority
from signer.errors import ServiceUnavailable, Unprocessable
from signer.formats import cms
from tests.signer.formats.support import (
    NOW,
    Certified,
    accepts,
    certified,
    certify,
    flipped,
    issuing_authority,
    write,
    write_pem,
)
from tests.software_key import new_key, software_key

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"\x7fELF" + bytes(range(256)) * 40
ARTIFACT = [
    (spec, algorithm)
    for spec, algorithms in PURPOSES[Purpose.ARTIFACT].items()
    for algorithm in algorithms
    if spec not in {"RSA_3072", "RSA_4096", "ECC_NIST_EDWARDS25519"}
]


def signed(signer: Certified, content: bytes = CONTENT, moment: datetime = NOW) -> bytes:
    digest = hashlib.new(str(signer.key.info.algorithm.hash_name), content).digest()
    return cms.detached(signer.key, digest, signer.chain, moment)


def openssl_accepts(folder: Path, content: bytes, message: bytes, *options: str) -> bool:
    root = write_pem(folder, "root.pem", issuing_authority()[1])
    message_file = write(folder, "message.p7s", message)
    content_file = write(folder, "content", content)
    files = ("-in", message_file, "-content", content_file, "-CAfile", root, "-out", folder / "out")
    return accepts("openssl", "cms", "-verify", "-binary", "-purpose", "any", "-inform", "DER", *options, *files)


@pytest.mark.parametrize(("spec", "algorithm"), ARTIFACT)
def test_openssl_accepts_it_and_refuses_other_content(tmp_path: Path, spec: str, algorithm: str) -> None:
    message = signed(certified(spec, Purpose.ARTIFACT, algorithm))
    assert openssl_accepts(tmp_path, CONTENT, message)
    assert openssl_accepts(tmp_path, CONTENT, message, "-cades"), "signingCertificateV2 is wrong"
    assert not openssl_accepts(tmp_path, flipped(CONTENT, 3), message)


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P256", "ECC_NIST_P384"])
def test_openssl_refuses_each_signed_attribute_changed(tmp_path: Path, spec: str) -> None:
    message = signed(certified(spec, Purpose.ARTIFACT))
    signer_info = parsed(message)["signer_infos"][0]
    for attribute in signer_info["signed_attrs"]:
        encoded = attribute.dump()
        position = message.index(encoded) + len(encoded) - 1
        assert not openssl_accepts(tmp_path, CONTENT, flipped(message, position)), attribute["type"].native
    signature = signer_info["signature"].native
    assert not openssl_accepts(tmp_path, CONTENT, flipped(message, message.index(signature) + len(signature) - 1))


def parsed(message: bytes) -> asn1_cms.SignedData:
    return asn1_cms.ContentInfo.load(message, strict=True)["content"]


@pytest.mark.parametrize(("spec", "algorithm"), ARTIFACT)
def test_says_what_the_profile_says(spec: str, algorithm: str) -> None:
    signer = certified(spec, Purpose.ARTIFACT, algorithm)
    data = parsed(signed(signer))
    assert data["version"].native == "v1"
    assert data["encap_content_info"]["content_type"].native == "data"
    assert data["encap_content_info"]["content"].native is None
    assert {certificate.chosen.dump() for certificate in data["certificates"]} == set(signer.chain)
    (signer_info,) = data["signer_infos"]
    attributes = {attribute["type"].native: attribute["values"] for attribute in signer_info["signed_attrs"]}
    assert set(attributes) == {"content_type", "message_digest", "signing_time", "signing_certificate_v2"}
    hash_name = str(signer.key.info.algorithm.hash_name)
    assert attributes["message_digest"].native == [hashlib.new(hash_name, CONTENT).digest()]
    assert attributes["signing_time"].native == [NOW.replace(microsecond=0)]
    identifier = attributes["signing_certificate_v2"][0]["certs"][0]
    assert identifier["cert_hash"].native == hashlib.sha256(signer.leaf).digest()
    assert signer_info["sid"].chosen["serial_number"].native == identifier["issuer_serial"]["serial_number"].native
    assert signer_info["digest_algorithm"]["algorithm"].native == hash_name
    if "PSS" in algorithm:
        parameters = signer_info["signature_algorithm"]["parameters"]
        assert parameters["hash_algorithm"]["algorithm"].native == hash_name
        assert parameters["mask_gen_algorithm"]["parameters"]["algorithm"].native == hash_name
        assert parameters["salt_length"].native == 32


@settings(deadline=None, max_examples=10)  # asn1crypto takes long to write a whole message anew
@given(
    digest=st.binary(min_size=32, max_size=32),
    seconds=st.integers(min_value=0, max_value=364 * 86400),
)
def test_is_canonical(digest: bytes, seconds: int) -> None:
    """X.690 section 11: reading and writing gives the same bytes, and sets are sorted."""
    signer = certified("ECC_NIST_P256", Purpose.ARTIFACT)
    message = cms.detached(signer.key, digest, signer.chain, NOW + timedelta(seconds=seconds))
    content_info = asn1_cms.ContentInfo.load(message, strict=True)
    assert content_info.dump(force=True) == message
    data = content_info["content"]
    for members in (data["certificates"], data["signer_infos"][0]["signed_attrs"], data["digest_algorithms"]):
        encodings = [member.dump() for member in members]
        assert encodings == sorted(encodings)


def test_from_2050_on_the_time_is_generalized() -> None:
    """RFC 5652 section 11.3."""
    key = software_key("ECC_NIST_P256", Purpose.ARTIFACT)
    authority_key, _ = issuing_authority()
    late = datetime(2050, 1, 1, tzinfo=UTC)
    root = authority.self_signed(authority_key, common_name="Late CA", now=late - timedelta(days=30))
    leaf = authority.issue_leaf(
        authority_key,
        root,
        public_key=key.public_key_der,
        purpose=Purpose.ARTIFACT,
        common_name="late",
        key_id=key.info.key_id,
        now=late - timedelta(days=2),
    )
    for moment, name in ((late - timedelta(seconds=1), "utc_time"), (late, "generalized_time")):
        data = parsed(signed(Certified(key, (leaf, root)), moment=moment))
        (time,) = [
            a["values"][0] for a in data["signer_infos"][0]["signed_attrs"] if a["type"].native == "signing_time"
        ]
        assert time.name == name
        assert time.native == moment


@pytest.mark.parametrize("size", [0, 31, 48])
def test_a_digest_of_another_length_is_refused(size: int) -> None:
    signer = certified("ECC_NIST_P256", Purpose.ARTIFACT)
    with pytest.raises(Unprocessable, match="sha256 digests of 32 bytes") as refusal:
        cms.detached(signer.key, bytes(size), signer.chain, NOW)
    assert refusal.value.field == "digests"


def test_ed25519_is_refused() -> None:
    with pytest.raises(Unprocessable, match="no CMS"):
        cms.detached(software_key("ECC_NIST_EDWARDS25519", Purpose.JWT), bytes(64), issuing_authority()[1:], NOW)


@pytest.mark.parametrize("chosen", ["another's", "none"])
def test_a_certificate_that_is_not_the_keys_is_refused_before_signing(chosen: str) -> None:
    signer = certified("ECC_NIST_P256", Purpose.ARTIFACT)
    other = certify(new_key("ECC_NIST_P256", Purpose.ARTIFACT))
    before = len(signer.key.messages)
    with pytest.raises(ServiceUnavailable, match="nothing was signed"):
        cms.detached(signer.key, bytes(32), other.chain if chosen == "another's" else (), NOW)
    assert len(signer.key.messages) == before


@pytest.mark.parametrize("days", [-1, 366])
def test_out_of_the_certificates_time_nothing_is_signed(days: int) -> None:
    signer = certified("ECC_NIST_P256", Purpose.ARTIFACT)
    with pytest.raises(Unprocessable, match="certificate is valid from"):
        signed(signer, moment=NOW + timedelta(days=days))
