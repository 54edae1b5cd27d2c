"""Attacks 31 to 41: becoming trusted, bringing a key in as something else. Numbers: `docs/attacks.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from keystore.hsm.return_values import ReturnValue
from keystore.hsm.session import SECURITY_OFFICER
from tests.attacks.attacker import (
    AES_SECRET,
    CONFINED,
    EC_PRIVATE,
    GENERIC_SECRET,
    KNOWN_KEY,
    RSA_PRIVATE,
    Attacker,
)
from tests.attacks.raw import CMechanism
from tests.hsm_support import DOMAIN

if TYPE_CHECKING:
    from tests.attacks.conftest import Loot, Position

KINDS = ("EC", "RSA")
TRUSTED = {Attribute.TOKEN: False, Attribute.WRAP: True, Attribute.TRUSTED: True}
ALL_USES = {
    Attribute.ENCRYPT: True,
    Attribute.DECRYPT: True,
    Attribute.SIGN: True,
    Attribute.DERIVE: True,
    Attribute.WRAP: True,
    Attribute.UNWRAP: True,
}


def test_attack_31_create_a_trusted_key(attacker: Attacker) -> None:
    assert attacker.create({**AES_SECRET, Attribute.VALUE: KNOWN_KEY, **TRUSTED}).name == "ATTRIBUTE_READ_ONLY"


def test_attack_32_generate_a_trusted_key(attacker: Attacker) -> None:
    template = {**AES_SECRET, Attribute.VALUE_LEN: 32, **TRUSTED}
    assert attacker.generate(Mechanism.AES_KEY_GEN, template).name == "ATTRIBUTE_READ_ONLY"


def test_attack_33_unwrap_a_trusted_key(attacker: Attacker, loot: Loot) -> None:
    """One that the attacker wrapped, under a known key; and a customer's."""
    wrapped = aes_key_wrap_with_padding(KNOWN_KEY, b"z" * 32)
    known = attacker.known_key(UNWRAP=True)
    assert attacker.unwrap(known, wrapped, {**AES_SECRET, **TRUSTED}).name == "ATTRIBUTE_READ_ONLY"
    template = {**EC_PRIVATE, **CONFINED, Attribute.TRUSTED: True}
    assert attacker.unwrap(attacker.key(DOMAIN), loot.keys["EC"][0], template).name == "ATTRIBUTE_TYPE_INVALID"


def test_attack_34_copy_a_key_into_a_trusted_one(attacker: Attacker) -> None:
    assert attacker.copy(attacker.known_key(), {Attribute.TRUSTED: True}).name == "ATTRIBUTE_READ_ONLY"


def test_attack_35_set_a_key_trusted(attacker: Attacker) -> None:
    assert attacker.set(attacker.known_key(), {Attribute.TRUSTED: True}) == ReturnValue.ATTRIBUTE_READ_ONLY


def test_attack_36_become_the_security_officer(attacker: Attacker, position: Position) -> None:
    pin = position.token.user_pin
    login = (attacker.session, SECURITY_OFFICER, pin, len(pin))
    assert attacker.call("C_Login", *login) == ReturnValue.USER_ANOTHER_ALREADY_LOGGED_IN
    assert attacker.call("C_InitPIN", attacker.session, b"12345678", 8) == ReturnValue.USER_NOT_LOGGED_IN
    init_token = (attacker.slot, pin, len(pin), b"taken over".ljust(32))
    assert attacker.call("C_InitToken", *init_token) == ReturnValue.SESSION_EXISTS
    assert attacker.call("C_Logout", attacker.session) == ReturnValue.OK
    assert attacker.call("C_Login", *login) == ReturnValue.PIN_INCORRECT
    assert attacker.call("C_CloseSession", attacker.session) == ReturnValue.OK
    assert attacker.call("C_CloseAllSessions", attacker.slot) == ReturnValue.OK
    assert attacker.call("C_InitToken", *init_token) == ReturnValue.PIN_INCORRECT


@pytest.mark.parametrize("kind", KINDS)
def test_attack_37_take_a_private_key_for_a_secret(attacker: Attacker, loot: Loot, kind: str) -> None:
    secret = attacker.unwrap(
        attacker.key(DOMAIN), loot.keys[kind][0], {**GENERIC_SECRET, **CONFINED, Attribute.SIGN: True}
    )
    assert secret.name == "OK"
    assert attacker.get(secret.handle, Attribute.VALUE).name == "ATTRIBUTE_SENSITIVE"
    assert attacker.wrap(attacker.known_key(), secret.handle).name == "KEY_NOT_WRAPPABLE"
    assert attacker.set(secret.handle, {Attribute.SENSITIVE: False}) == ReturnValue.ATTRIBUTE_READ_ONLY
    clear = {**GENERIC_SECRET, **CONFINED, Attribute.SENSITIVE: False}
    assert attacker.unwrap(attacker.key(DOMAIN), loot.keys[kind][0], clear).name == "TEMPLATE_INCONSISTENT"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 8, 16, 32])
def test_attack_38_take_the_first_octets_of_a_private_key(
    attacker: Attacker, loot: Loot, kind: str, length: int
) -> None:
    """One octet as an HMAC key would be found by trying all 256."""
    template = {**GENERIC_SECRET, **CONFINED, Attribute.VALUE_LEN: length}
    assert attacker.unwrap(attacker.key(DOMAIN), loot.keys[kind][0], template).name == "ATTRIBUTE_READ_ONLY"


CIPHERS = {
    KeyType.AES: (Mechanism.AES_ECB, Mechanism.AES_CMAC),
    KeyType._DES: (Mechanism._DES_ECB,),
    KeyType.DES2: (Mechanism.DES3_ECB, Mechanism.DES3_CMAC),
    KeyType.DES3: (Mechanism.DES3_ECB, Mechanism.DES3_CMAC),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cipher", CIPHERS)
def test_attack_39_take_a_private_key_for_a_cipher_key(
    attacker: Attacker, loot: Loot, kind: str, cipher: KeyType
) -> None:
    """SoftHSM takes it in, of whatever length, and then uses it for nothing."""
    template = {**AES_SECRET, Attribute.KEY_TYPE: cipher, **CONFINED, **ALL_USES}
    key = attacker.unwrap(attacker.key(DOMAIN), loot.keys[kind][0], template)
    assert key.name == "OK"
    assert attacker.get(key.handle, Attribute.VALUE).name == "ATTRIBUTE_SENSITIVE"
    for mechanism in CIPHERS[cipher]:
        operations = ["C_SignInit"] if mechanism.name.endswith("CMAC") else ["C_EncryptInit", "C_DecryptInit"]
        for operation in operations:
            code = attacker.begin(operation, CMechanism.of(mechanism), key.handle)
            assert code == ReturnValue.MECHANISM_INVALID


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", [ObjectClass.PUBLIC_KEY, ObjectClass.CERTIFICATE, ObjectClass.DATA])
def test_attack_40_take_a_private_key_for_an_open_object(
    attacker: Attacker, loot: Loot, kind: str, other: ObjectClass
) -> None:
    template = {Attribute.CLASS: other, Attribute.KEY_TYPE: KeyType.EC, **CONFINED}
    answer = attacker.unwrap(attacker.key(DOMAIN), loot.keys[kind][0], template)
    expected = "TEMPLATE_INCOMPLETE" if other is ObjectClass.CERTIFICATE else "ATTRIBUTE_VALUE_INVALID"
    assert answer.name == expected


def test_attack_41_take_a_private_key_for_one_of_another_kind(attacker: Attacker, loot: Loot) -> None:
    domain = attacker.key(DOMAIN)
    for kind, template in (("EC", RSA_PRIVATE), ("RSA", EC_PRIVATE)):
        answer = attacker.unwrap(domain, loot.keys[kind][0], {**template, **CONFINED})
        assert answer.name == "FUNCTION_FAILED"
