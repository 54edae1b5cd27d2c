"""Raw signatures: `openssl dgst` and `openssl pkeyutl` accept them, and refuse them over other bytes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from keystore.algorithms import PURPOSES, SIGNING_ALGORITHMS, Purpose, Scheme, algorithms_for
from signer.errors import Unprocessable
from signer.formats import publickey, raw
from tests.signer.formats.support import accepts, flipped, write
from tests.software_key import software_key

if TYPE_CHECKING:
    from pathlib import Path

GENERAL = [
    (spec, algorithm)
    for spec in PURPOSES[Purpose.GENERAL]
    for algorithm in algorithms_for(Purpose.GENERAL, spec)
    if spec not in {"RSA_3072", "RSA_4096"}
]
MESSAGE = b"a release binary" * 1000


def openssl_accepts(folder: Path, public_key: bytes, algorithm: str, message: bytes, signature: bytes) -> bool:
    key_file = write(folder, "key.pem", publickey.pem(public_key))
    message_file = write(folder, "message", message)
    signature_file = write(folder, "signature", signature)
    row = SIGNING_ALGORITHMS[algorithm]
    if row.hash_name is None:
        edwards = ("-inkey", key_file, "-rawin", "-in", message_file, "-sigfile", signature_file)
        return accepts("openssl", "pkeyutl", "-verify", "-pubin", *edwards)
    options = ("-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest")
    named = ("-verify", key_file, "-signature", signature_file, message_file)
    return accepts("openssl", "dgst", f"-{row.hash_name}", *(options if row.scheme is Scheme.PSS else ()), *named)


@pytest.mark.parametrize(("spec", "algorithm"), GENERAL)
def test_openssl_accepts_a_message_and_refuses_another(tmp_path: Path, spec: str, algorithm: str) -> None:
    key = software_key(spec, Purpose.GENERAL, algorithm)
    signature = raw.sign_message(key, MESSAGE)
    assert openssl_accepts(tmp_path, key.public_key_der, algorithm, MESSAGE, signature)
    assert not openssl_accepts(tmp_path, key.public_key_der, algorithm, flipped(MESSAGE, 7), signature)


@pytest.mark.parametrize(("spec", "algorithm"), [row for row in GENERAL if "EDWARDS" not in row[0]])
def test_openssl_accepts_a_digest_made_elsewhere(tmp_path: Path, spec: str, algorithm: str) -> None:
    key = software_key(spec, Purpose.GENERAL, algorithm)
    digest = hashlib.new(str(SIGNING_ALGORITHMS[algorithm].hash_name), MESSAGE).digest()
    assert openssl_accepts(tmp_path, key.public_key_der, algorithm, MESSAGE, raw.sign_digest(key, digest))


@pytest.mark.parametrize("size", [0, 20, 31, 33, 48, 64])
def test_a_digest_of_another_length_is_refused_before_the_key_is_asked(size: int) -> None:
    key = software_key("ECC_NIST_P256", Purpose.GENERAL)
    before = len(key.messages)
    with pytest.raises(Unprocessable, match="sha256 digests of 32 bytes") as refusal:
        raw.sign_digest(key, bytes(size))
    assert refusal.value.field == "digest"
    assert len(key.messages) == before


def test_pure_eddsa_signs_no_digest() -> None:
    with pytest.raises(Unprocessable, match="send the message") as refusal:
        raw.sign_digest(software_key("ECC_NIST_EDWARDS25519", Purpose.GENERAL), bytes(64))
    assert refusal.value.field == "digest"
