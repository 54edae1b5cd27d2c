"""An outside CA's chain is taken only if all of it holds; each fault is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from keystore.algorithms import Purpose
from signer.certificates import installation
from signer.errors import Unprocessable
from signer.formats import publickey
from tests.signer.certificates.outside import LEAF, MIDDLE, OTHER_KEY, ROOT, Made, certificates, outside_chain, pem
from tests.signer.formats.support import accepts, write
from tests.software_key import software_key

if TYPE_CHECKING:
    from pathlib import Path

KEY = software_key("ECC_NIST_P256", Purpose.ARTIFACT)


def checked(text: str, anchor: str | None = None, purpose: Purpose = Purpose.ARTIFACT) -> tuple[bytes, ...]:
    return installation.checked_chain(
        text, anchor, public_key=KEY.public_key_der, purpose=purpose, now=datetime.now(UTC)
    )


def test_a_good_chain_is_taken_and_openssl_agrees(tmp_path: Path) -> None:
    leaf, middle, root = certificates(KEY.public_key_der)
    assert len(checked(pem([leaf, middle, root]))) == 3
    files = ("-CAfile", write(tmp_path, "root", pem([root])), "-untrusted", write(tmp_path, "middle", pem([middle])))
    assert accepts("openssl", "verify", *files, write(tmp_path, "leaf", pem([leaf])))


def test_a_chain_may_end_in_an_anchor_that_is_stated() -> None:
    leaf, middle, root = certificates(KEY.public_key_der)
    assert len(checked(pem([leaf, middle]), pem([root]))) == 3
    assert len(checked(pem([leaf]), pem([middle]))) == 2  # the issuing CA itself is the anchor
    assert len(checked(pem([leaf, middle]), pem([middle]))) == 2
    with pytest.raises(Unprocessable, match="ends before a root"):
        checked(pem([leaf, middle]))
    with pytest.raises(Unprocessable, match="was not issued by"):
        checked(pem([leaf, middle]), pem([ROOT.certificate(OTHER_KEY.public_key(), OTHER_KEY)]))
    with pytest.raises(Unprocessable, match="one certificate"):
        checked(pem([leaf, middle]), pem([root, root]))


@pytest.mark.parametrize(
    ("leaf", "middle", "root", "reason"),
    [
        (replace(LEAF, extended=()), MIDDLE, ROOT, "extended key usage code signing"),
        (replace(LEAF, extended=(ExtendedKeyUsageOID.SERVER_AUTH,)), MIDDLE, ROOT, "extended key usage code signing"),
        (replace(LEAF, usage="key_encipherment"), MIDDLE, ROOT, "digitalSignature"),
        (replace(LEAF, usage=None), MIDDLE, ROOT, "digitalSignature"),
        (replace(LEAF, ca=True), MIDDLE, ROOT, "is a CA's"),
        (replace(LEAF, begins=1), MIDDLE, ROOT, "release is out of its time"),
        (replace(LEAF, begins=-5, ends=-1), MIDDLE, ROOT, "release is out of its time"),
        (replace(LEAF, issuer="Another"), MIDDLE, ROOT, "was not issued by"),
        (replace(LEAF, strange=True), MIDDLE, ROOT, "critical extension 1.2.3.4.5"),
        (LEAF, replace(MIDDLE, ca=False, path_length=None), ROOT, "Outside issuing is no CA's"),
        (LEAF, replace(MIDDLE, usage="digital_signature"), ROOT, "keyCertSign"),
        (LEAF, replace(MIDDLE, usage=None), ROOT, "keyCertSign"),
        (LEAF, replace(MIDDLE, begins=-5, ends=-1), ROOT, "Outside issuing is out of its time"),
        (LEAF, replace(MIDDLE, strange=True), ROOT, "critical extension"),
        (LEAF, replace(MIDDLE, extended=(ExtendedKeyUsageOID.SERVER_AUTH,)), ROOT, "is not for code signing"),
        (LEAF, MIDDLE, replace(ROOT, path_length=0), "allows 0 CAs below it; there are 1"),
        (LEAF, MIDDLE, replace(ROOT, begins=-5, ends=-1), "Outside root is out of its time"),
    ],
)
def test_a_chain_with_a_fault_is_refused_by_name(leaf: Made, middle: Made, root: Made, reason: str) -> None:
    with pytest.raises(Unprocessable, match=reason) as refusal:
        checked(outside_chain(KEY.public_key_der, leaf=leaf, middle=middle, root=root))
    assert refusal.value.field == "chain"


def test_an_old_root_without_key_usage_is_taken() -> None:
    assert checked(outside_chain(KEY.public_key_der, root=replace(ROOT, usage=None)))


@pytest.mark.parametrize("purpose", [Purpose.JWT, Purpose.SAML, Purpose.GENERAL])
def test_only_artifact_keys_need_code_signing(purpose: Purpose) -> None:
    assert checked(outside_chain(KEY.public_key_der, leaf=replace(LEAF, extended=())), purpose=purpose)


def test_signatures_are_checked_not_only_names() -> None:
    leaf, middle, root = certificates(KEY.public_key_der)
    forged_middle = MIDDLE.certificate(middle.public_key(), OTHER_KEY)
    forged_leaf = LEAF.certificate(leaf.public_key(), OTHER_KEY)
    forged_root = ROOT.certificate(root.public_key(), OTHER_KEY)
    for chain in ([leaf, forged_middle, root], [forged_leaf, middle, root], [leaf, middle, forged_root]):
        with pytest.raises(Unprocessable, match="was not issued by"):
            checked(pem(chain))


def test_the_order_and_the_key_are_checked() -> None:
    leaf, middle, root = certificates(KEY.public_key_der)
    other = certificates(software_key("ECC_NIST_P384", Purpose.ARTIFACT).public_key_der)
    for chain in ([middle, root], [root, middle, leaf], other):
        with pytest.raises(Unprocessable, match="another public key"):
            checked(pem(chain))
    for chain in ([leaf, root, middle], [leaf, root], [leaf, leaf, middle, root]):
        with pytest.raises(Unprocessable):
            checked(pem(chain))
    with pytest.raises(Unprocessable, match="holds no issuer"):
        checked(pem([leaf]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no certificate",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ],
)
def test_what_is_no_chain_is_refused(text: str) -> None:
    with pytest.raises(Unprocessable) as refusal:
        checked(text)
    assert refusal.value.field == "chain"


def test_a_certificate_of_a_version_that_there_is_not_is_refused() -> None:
    """`cryptography` tells of it by an exception that is no ValueError."""
    leaf, middle, root = certificates(KEY.public_key_der)
    odd = leaf.public_bytes(Encoding.DER).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01", 1)
    text = publickey.pem(odd, "CERTIFICATE") + pem([middle, root])
    with pytest.raises(Unprocessable, match="well-formed"):
        checked(text)


def test_a_key_or_words_beside_the_chain_and_too_many_certificates_are_refused() -> None:
    leaf, middle, root = certificates(KEY.public_key_der)
    text = pem([leaf, middle, root])
    for spoilt in (f"Subject: me\n{text}", text + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        with pytest.raises(Unprocessable, match="nothing else"):
            checked(spoilt)
    with pytest.raises(Unprocessable, match="the most is 8"):
        checked(pem([leaf, *[middle] * 7, root]))
