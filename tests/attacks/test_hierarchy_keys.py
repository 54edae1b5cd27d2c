"""Attacks 16 to 30: on the region, domain, integrity and log keys. Numbers are those of `docs/attacks.md`."""

from __future__ import annotations

import ctypes
from ctypes import Structure, byref, c_ulong, c_void_p
from typing import TYPE_CHECKING

import pytest
from pkcs11 import Attribute, Mechanism

from keystore.hsm.return_values import ReturnValue
from tests.attacks.attacker import AES_SECRET, CONFINED, GENERIC_SECRET, Attacker
from tests.attacks.conftest import TOKEN_KEY
from tests.attacks.raw import CMechanism
from tests.attacks.test_customer_keys import RSA_WRAPPING, rsa_public_key
from tests.hsm_support import DOMAIN, OTHER_DOMAIN, make_token

if TYPE_CHECKING:
    from pathlib import Path

    from keystore.hsm.attributes import Template
    from tests.attacks.conftest import Loot

WRAPPING_KEYS = ("region", DOMAIN)
SECRET_KEYS = ("region", DOMAIN, "integrity")
SIGNING_KEYS = ("log", TOKEN_KEY)
MORE_POWERS = (
    Attribute.DECRYPT,
    Attribute.ENCRYPT,
    Attribute.DERIVE,
    Attribute.EXTRACTABLE,
    Attribute.MODIFIABLE,
    Attribute.TRUSTED,
)
CLEAR = {Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
OPEN_TEMPLATE = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}


@pytest.mark.parametrize("label", [DOMAIN, OTHER_DOMAIN, "integrity"])
@pytest.mark.parametrize("template", [CLEAR, CONFINED], ids=["clear", "confined"])
def test_attack_16_unwrap_a_root_by_the_region_key(
    attacker: Attacker, loot: Loot, label: str, template: Template
) -> None:
    kind = GENERIC_SECRET if label == "integrity" else AES_SECRET
    answer = attacker.unwrap(attacker.key("region"), loot.roots[label], {**kind, **template})
    assert answer.name == "KEY_FUNCTION_NOT_PERMITTED"


def test_attack_17_unwrap_a_root_by_a_domain_key(attacker: Attacker, loot: Loot) -> None:
    domain, blob = attacker.key(OTHER_DOMAIN), loot.roots[DOMAIN]
    assert attacker.unwrap(domain, blob, {**AES_SECRET, **CLEAR}).name == "TEMPLATE_INCONSISTENT"
    assert attacker.unwrap(domain, blob, {**AES_SECRET, **CONFINED}).name == "GENERAL_ERROR"


@pytest.mark.parametrize("label", SECRET_KEYS)
@pytest.mark.parametrize("attribute", [*MORE_POWERS, Attribute.UNWRAP, Attribute.SIGN])
def test_attack_18_give_a_key_another_power(attacker: Attacker, label: str, attribute: Attribute) -> None:
    assert attacker.set(attacker.key(label), {attribute: True}) == ReturnValue.ACTION_PROHIBITED


@pytest.mark.parametrize("label", WRAPPING_KEYS)
@pytest.mark.parametrize("operation", ["C_DecryptInit", "C_EncryptInit"])
@pytest.mark.parametrize("mechanism", [Mechanism.AES_ECB, Mechanism.AES_CBC])
def test_attack_19_run_the_wrapping_backwards(
    attacker: Attacker, label: str, operation: str, mechanism: Mechanism
) -> None:
    vector = ctypes.create_string_buffer(16)
    made = CMechanism(int(mechanism), ctypes.addressof(vector), 16)
    if mechanism is Mechanism.AES_ECB:
        made = CMechanism.of(mechanism)
    assert attacker.begin(operation, made, attacker.key(label)) == ReturnValue.KEY_FUNCTION_NOT_PERMITTED


@pytest.mark.parametrize("label", SECRET_KEYS)
@pytest.mark.parametrize("attribute", [*MORE_POWERS, Attribute.UNWRAP, Attribute.SIGN])
def test_attack_20_copy_a_key_with_another_power(attacker: Attacker, label: str, attribute: Attribute) -> None:
    key = attacker.key(label)
    assert attacker.copy(key, {attribute: True}).name == "ATTRIBUTE_READ_ONLY"
    assert attacker.copy(key, {Attribute.TOKEN: False, attribute: True}).name == "ATTRIBUTE_READ_ONLY"


@pytest.mark.parametrize("label", SECRET_KEYS)
def test_attack_21_copy_a_key_without_its_secrecy(attacker: Attacker, label: str) -> None:
    key = attacker.key(label)
    for attribute in (Attribute.SENSITIVE, Attribute.PRIVATE):
        assert attacker.copy(key, {attribute: False}).code in (
            ReturnValue.ATTRIBUTE_READ_ONLY,
            ReturnValue.TEMPLATE_INCONSISTENT,
        )
        assert attacker.set(key, {attribute: False}) == ReturnValue.ACTION_PROHIBITED


def test_attack_22_an_exact_copy_is_as_locked(tmp_path: Path, loot: Loot) -> None:
    """SoftHSM lets a key be copied without any change. On a token of its own: such a copy of the region key stays."""
    attacker = Attacker.logged_in(make_token(tmp_path))
    for label in SECRET_KEYS:
        copied = attacker.copy(attacker.key(label), {})
        assert copied.name == "OK"
        assert attacker.set(copied.handle, {Attribute.DECRYPT: True}) == ReturnValue.ACTION_PROHIBITED
        assert attacker.get(copied.handle, Attribute.VALUE).name == "ATTRIBUTE_SENSITIVE"
        assert attacker.wrap(attacker.known_key(), copied.handle).name == "KEY_UNEXTRACTABLE"
        if label == DOMAIN:
            wrapped = loot.keys["EC"]
            assert attacker.unwrap(copied.handle, wrapped[0], {**wrapped[1], **CLEAR}).name == "TEMPLATE_INCONSISTENT"


@pytest.mark.parametrize("label", WRAPPING_KEYS)
def test_attack_23_replace_the_unwrap_template(attacker: Attacker, label: str) -> None:
    key = attacker.key(label)
    assert attacker.set(key, {Attribute.UNWRAP_TEMPLATE: OPEN_TEMPLATE}) == ReturnValue.ACTION_PROHIBITED
    assert attacker.copy(key, {Attribute.UNWRAP_TEMPLATE: OPEN_TEMPLATE}).name == "ATTRIBUTE_READ_ONLY"


@pytest.mark.parametrize("label", [*SECRET_KEYS, *SIGNING_KEYS])
def test_attack_24_wrap_a_key_out(attacker: Attacker, label: str) -> None:
    key = attacker.key(label)
    for wrapping_key in (attacker.key("region"), attacker.key(OTHER_DOMAIN), attacker.known_key()):
        assert attacker.wrap(wrapping_key, key).name == "KEY_UNEXTRACTABLE"
    for mechanism in RSA_WRAPPING.values():
        assert attacker.wrap(rsa_public_key(attacker), key, mechanism).name == "KEY_UNEXTRACTABLE"


@pytest.mark.parametrize("label", [*SECRET_KEYS, *SIGNING_KEYS])
def test_attack_25_read_a_key(attacker: Attacker, label: str) -> None:
    answer = attacker.get(attacker.key(label), Attribute.VALUE)
    assert (answer.name, answer.octets) == ("ATTRIBUTE_SENSITIVE", b"")


@pytest.mark.parametrize("label", WRAPPING_KEYS)
@pytest.mark.parametrize("operation", ["C_SignInit", "C_VerifyInit"])
def test_attack_26_sign_with_a_wrapping_key(attacker: Attacker, label: str, operation: str) -> None:
    code = attacker.begin(operation, CMechanism.of(Mechanism.AES_CMAC), attacker.key(label))
    assert code == ReturnValue.KEY_FUNCTION_NOT_PERMITTED


class _StringData(Structure):
    _fields_ = (("data", c_void_p), ("length", c_ulong))


@pytest.mark.parametrize("label", SECRET_KEYS)
def test_attack_27_derive_from_a_key(attacker: Attacker, label: str) -> None:
    data = ctypes.create_string_buffer(32)
    mechanism = CMechanism.of(Mechanism.AES_ECB_ENCRYPT_DATA, _StringData(ctypes.addressof(data), 32))
    answer = attacker.derive(attacker.key(label), mechanism, {**GENERIC_SECRET, **CLEAR, Attribute.VALUE_LEN: 32})
    assert answer.name == "KEY_FUNCTION_NOT_PERMITTED"


@pytest.mark.parametrize("mechanism", [Mechanism.SHA512_HMAC, Mechanism.SHA_1_HMAC])
def test_attack_28_use_the_integrity_key_another_way(attacker: Attacker, mechanism: Mechanism) -> None:
    key = attacker.key("integrity")
    assert attacker.begin("C_SignInit", CMechanism.of(mechanism), key) == ReturnValue.MECHANISM_INVALID
    for operation in ("C_EncryptInit", "C_DecryptInit"):
        code = attacker.begin(operation, CMechanism.of(Mechanism.AES_ECB), key)
        assert code == ReturnValue.KEY_FUNCTION_NOT_PERMITTED
    spare = attacker.known_key(EXTRACTABLE=True)
    assert attacker.wrap(key, spare).name == "WRAPPING_KEY_TYPE_INCONSISTENT"  # it is TRUSTED, and wraps nothing
    assert attacker.set(key, {Attribute.WRAP: True}) == ReturnValue.ACTION_PROHIBITED
    assert attacker.unwrap(key, b"\x00" * 40, {**AES_SECRET, **CONFINED}).name == "UNWRAPPING_KEY_TYPE_INCONSISTENT"


@pytest.mark.parametrize("label", SIGNING_KEYS)
@pytest.mark.parametrize("attribute", [*MORE_POWERS, Attribute.UNWRAP])
def test_attack_29_change_or_copy_a_signing_key_of_the_token(
    attacker: Attacker, label: str, attribute: Attribute
) -> None:
    key = attacker.key(label)
    assert attacker.set(key, {attribute: True}) == ReturnValue.ACTION_PROHIBITED
    assert attacker.copy(key, {attribute: True}).name == "ACTION_PROHIBITED"
    assert attacker.copy(key, {}).name == "ACTION_PROHIBITED"


def test_attack_30_save_the_state_of_an_operation(attacker: Attacker) -> None:
    assert (
        attacker.begin("C_SignInit", CMechanism.of(Mechanism.SHA256_HMAC), attacker.key("integrity")) == ReturnValue.OK
    )
    assert attacker.call("C_SignUpdate", attacker.session, b"x", 1) == ReturnValue.OK
    state, length = ctypes.create_string_buffer(4096), c_ulong(4096)
    code = attacker.call("C_GetOperationState", attacker.session, state, byref(length))
    assert code == ReturnValue.FUNCTION_NOT_SUPPORTED
