"""Attacks 55 to 60: a customer's secret keys. Numbers are those of `docs/attacks.md`."""

from __future__ import annotations

import ctypes
from ctypes import Structure, c_ulong, c_void_p
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, Mechanism

from keystore.hsm.return_values import ReturnValue
from tests.attacks.attacker import AES_SECRET, CONFINED, EC_PRIVATE, GENERIC_SECRET, Attacker
from tests.attacks.raw import CMechanism
from tests.hsm_support import DOMAIN

if TYPE_CHECKING:
    from tests.attacks.conftest import Loot


class _GcmParameters(Structure):
    _fields_ = (
        ("nonce", c_void_p),
        ("nonce_length", c_ulong),
        ("nonce_bits", c_ulong),
        ("associated", c_void_p),
        ("associated_length", c_ulong),
        ("tag_bits", c_ulong),
    )


class _EcdhParameters(Structure):
    _fields_ = (
        ("kdf", c_ulong),
        ("shared_length", c_ulong),
        ("shared", c_void_p),
        ("length", c_ulong),
        ("point", c_void_p),
    )


NONCE = ctypes.create_string_buffer(b"n" * 16, 16)
ADDRESS = ctypes.addressof(NONCE)
DATA_MECHANISMS = {
    "GCM": CMechanism.of(Mechanism.AES_GCM, _GcmParameters(ADDRESS, 12, 96, None, 0, 128)),
    "ECB": CMechanism.of(Mechanism.AES_ECB),
    "CBC": CMechanism(int(Mechanism.AES_CBC), ADDRESS, 16),
}


def unwrapped(attacker: Attacker, loot: Loot, kind: str, **uses: bool) -> int:
    wrapped, template = loot.keys[kind]
    more = {Attribute[name]: value for name, value in uses.items()}
    answer = attacker.unwrap(attacker.key(DOMAIN), wrapped, {**template, **CONFINED, **more})
    assert answer.name == "OK"
    return answer.handle


@pytest.mark.parametrize("mechanism", DATA_MECHANISMS)
def test_attack_55_encrypt_under_a_key_of_the_hierarchy(attacker: Attacker, mechanism: str) -> None:
    for label in (DOMAIN, "region"):
        for operation in ("C_EncryptInit", "C_DecryptInit"):
            code = attacker.begin(operation, DATA_MECHANISMS[mechanism], attacker.key(label))
            assert code == ReturnValue.KEY_FUNCTION_NOT_PERMITTED


@pytest.mark.parametrize("kind", ["AES", "HMAC", "EC"])
def test_attack_56_wrap_a_key_by_a_customers_aes_key_that_decrypts(attacker: Attacker, loot: Loot, kind: str) -> None:
    carrier = unwrapped(attacker, loot, "AES", WRAP=True, ENCRYPT=True, DECRYPT=True)
    assert attacker.wrap(carrier, unwrapped(attacker, loot, kind)).name == "KEY_NOT_WRAPPABLE"
    assert attacker.set(carrier, {Attribute.TRUSTED: True}) == ReturnValue.ATTRIBUTE_READ_ONLY


@pytest.mark.parametrize("kind", ["AES", "HMAC"])
def test_attack_57_derive_a_readable_key_of_the_same_octets(attacker: Attacker, loot: Loot, kind: str) -> None:
    """Concatenation with nothing, or the first octets, would be the key itself in a new object."""
    key = unwrapped(attacker, loot, kind, DERIVE=True)
    readable = {Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
    for mechanism in (Mechanism.CONCATENATE_BASE_AND_DATA, Mechanism.EXTRACT_KEY_FROM_KEY, Mechanism.XOR_BASE_AND_DATA):
        made = attacker.derive(key, CMechanism.of(mechanism), {**GENERIC_SECRET, Attribute.VALUE_LEN: 1, **readable})
        assert made.name == "MECHANISM_INVALID"


def test_not_refused_58_a_secret_key_for_another_use(attacker: Attacker, loot: Loot) -> None:
    """One use of each is for the service's own calls. Its octets stay inside whatever it is used for."""
    mac = attacker.unwrap(
        attacker.key(DOMAIN), loot.keys["AES"][0], {**GENERIC_SECRET, **CONFINED, Attribute.SIGN: True}
    )
    assert attacker.begin("C_SignInit", CMechanism.of(Mechanism.SHA256_HMAC), mac.handle) == ReturnValue.OK
    assert len(attacker.finish("C_Sign", b"m").octets) == 32
    cipher = attacker.unwrap(
        attacker.key(DOMAIN), loot.keys["HMAC"][0], {**AES_SECRET, **CONFINED, Attribute.DECRYPT: True}
    )
    assert attacker.begin("C_DecryptInit", DATA_MECHANISMS["ECB"], cipher.handle) == ReturnValue.OK
    assert len(attacker.finish("C_Decrypt", b"c" * 16).octets) == 16
    copied = attacker.copy(unwrapped(attacker, loot, "AES"), {Attribute.WRAP: True, Attribute.SIGN: True})
    for handle in (mac.handle, cipher.handle, *([copied.handle] if copied.name == "OK" else [])):
        assert attacker.get(handle, Attribute.VALUE).name == "ATTRIBUTE_SENSITIVE"
        assert attacker.wrap(attacker.known_key(), handle).name == "KEY_NOT_WRAPPABLE"


def test_not_refused_59_a_signing_key_that_agrees(attacker: Attacker, loot: Loot) -> None:
    """With points on the curve alone (14): these curves have no small subgroup, so nothing is learned of the key."""
    key = unwrapped(attacker, loot, "EC", DERIVE=True)
    peer = ec.generate_private_key(ec.SECP256R1()).public_key()
    octets = peer.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    point = ctypes.create_string_buffer(octets, 65)
    mechanism = CMechanism.of(Mechanism.ECDH1_DERIVE, _EcdhParameters(1, 0, None, 65, ctypes.addressof(point)))
    secret = {Attribute.VALUE_LEN: 32, Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
    made = attacker.derive(key, mechanism, {**GENERIC_SECRET, **secret})
    assert made.name == "OK"
    assert len(attacker.get(made.handle, Attribute.VALUE).octets) == 32
    assert EC_PRIVATE[Attribute.SIGN] is True


def test_not_refused_60_a_nonce_of_ones_own(attacker: Attacker, loot: Loot) -> None:
    """The HSM encrypts twice with one nonce. The service takes each from the HSM's random."""
    made, plaintexts = [], (b"a" * 16, b"b" * 16)
    for plaintext in plaintexts:
        key = unwrapped(attacker, loot, "AES")
        assert attacker.begin("C_EncryptInit", DATA_MECHANISMS["GCM"], key) == ReturnValue.OK
        made.append(attacker.finish("C_Encrypt", plaintext).octets[:16])
    streams = {
        bytes(one ^ other for one, other in zip(octets, plaintext, strict=True))
        for octets, plaintext in zip(made, plaintexts, strict=True)
    }
    assert len(streams) == 1
