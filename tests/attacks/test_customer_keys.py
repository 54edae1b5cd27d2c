"""Attacks 1 to 15: getting a customer's private key out of its wrapping. Numbers are those of `docs/attacks.md`."""

from __future__ import annotations

import ctypes
from ctypes import Structure, c_ulong, c_void_p
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from keystore.hsm.return_values import ReturnValue
from tests.attacks.attacker import AES_SECRET, CONFINED, GENERIC_SECRET, KNOWN_KEY, Attacker
from tests.attacks.raw import CMechanism
from tests.hsm_support import DOMAIN, OTHER_DOMAIN

if TYPE_CHECKING:
    from tests.attacks.conftest import Loot

KINDS = ("EC", "RSA", "AES", "HMAC")
PRIVATE_NUMBERS = {
    "EC": (Attribute.VALUE,),
    "AES": (Attribute.VALUE,),
    "HMAC": (Attribute.VALUE,),
    "RSA": (
        Attribute.PRIVATE_EXPONENT,
        Attribute.PRIME_1,
        Attribute.PRIME_2,
        Attribute.EXPONENT_1,
        Attribute.EXPONENT_2,
        Attribute.COEFFICIENT,
    ),
}
FLAGS = (Attribute.SENSITIVE, Attribute.WRAP_WITH_TRUSTED, Attribute.PRIVATE)


def unwrapped(attacker: Attacker, loot: Loot, kind: str) -> int:
    """The customer's key as the service itself unwraps it."""
    wrapped, template = loot.keys[kind]
    answer = attacker.unwrap(attacker.key(DOMAIN), wrapped, {**template, **CONFINED})
    assert answer.name == "OK"
    return answer.handle


@pytest.mark.parametrize("kind", KINDS)
def test_attack_01_unwrap_in_the_clear(attacker: Attacker, loot: Loot, kind: str) -> None:
    wrapped, template = loot.keys[kind]
    clear = {Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
    assert attacker.unwrap(attacker.key(DOMAIN), wrapped, {**template, **clear}).name == "TEMPLATE_INCONSISTENT"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attribute", CONFINED)
def test_attack_02_unwrap_with_one_attribute_changed(
    attacker: Attacker, loot: Loot, kind: str, attribute: Attribute
) -> None:
    wrapped, template = loot.keys[kind]
    changed = {**template, **CONFINED, attribute: not CONFINED[attribute]}
    assert attacker.unwrap(attacker.key(DOMAIN), wrapped, changed).name == "TEMPLATE_INCONSISTENT"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attribute", CONFINED)
def test_attack_03_unwrap_with_one_attribute_left_out(
    attacker: Attacker, loot: Loot, kind: str, attribute: Attribute
) -> None:
    wrapped, template = loot.keys[kind]
    rest = {name: value for name, value in CONFINED.items() if name is not attribute}
    answer = attacker.unwrap(attacker.key(DOMAIN), wrapped, {**template, **rest})
    if attribute in (Attribute.TOKEN, Attribute.PRIVATE):
        assert answer.name == "OK"  # and it gets the value of the domain key's template
        assert {name: attacker.flag(answer.handle, name) for name in CONFINED} == CONFINED
    else:
        assert answer.name == "TEMPLATE_INCONSISTENT"


@pytest.mark.parametrize("kind", KINDS)
def test_attack_04_read_the_private_numbers(attacker: Attacker, loot: Loot, kind: str) -> None:
    key = unwrapped(attacker, loot, kind)
    answers = {attribute: attacker.get(key, attribute) for attribute in PRIVATE_NUMBERS[kind]}
    assert {answer.name for answer in answers.values()} == {"ATTRIBUTE_SENSITIVE"}
    assert all(answer.octets == b"" for answer in answers.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attribute", FLAGS)
def test_attack_05_take_an_attribute_away(attacker: Attacker, loot: Loot, kind: str, attribute: Attribute) -> None:
    key = unwrapped(attacker, loot, kind)
    assert attacker.set(key, {attribute: False}) == ReturnValue.ATTRIBUTE_READ_ONLY


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attribute", FLAGS)
def test_attack_06_copy_it_without_an_attribute(
    attacker: Attacker, loot: Loot, kind: str, attribute: Attribute
) -> None:
    key = unwrapped(attacker, loot, kind)
    expected = "TEMPLATE_INCONSISTENT" if attribute is Attribute.PRIVATE else "ATTRIBUTE_READ_ONLY"
    assert attacker.copy(key, {attribute: False}).name == expected


@pytest.mark.parametrize("kind", KINDS)
def test_attack_07_wrap_a_copy_of_it(attacker: Attacker, loot: Loot, kind: str) -> None:
    copied = attacker.copy(unwrapped(attacker, loot, kind), {Attribute.LABEL: "copy"})
    assert copied.name == "OK"
    assert attacker.wrap(attacker.known_key(), copied.handle).name == "KEY_NOT_WRAPPABLE"


@pytest.mark.parametrize("kind", KINDS)
def test_attack_08_wrap_it_under_a_known_key(attacker: Attacker, loot: Loot, kind: str) -> None:
    assert attacker.wrap(attacker.known_key(), unwrapped(attacker, loot, kind)).name == "KEY_NOT_WRAPPABLE"


@pytest.mark.parametrize("kind", KINDS)
def test_attack_09_wrap_it_under_a_key_that_also_decrypts(attacker: Attacker, loot: Loot, kind: str) -> None:
    uses = {Attribute.WRAP: True, Attribute.DECRYPT: True, Attribute.TOKEN: False}
    made = attacker.generate(Mechanism.AES_KEY_GEN, {**AES_SECRET, Attribute.VALUE_LEN: 32, **uses})
    assert made.name == "OK"
    assert attacker.wrap(made.handle, unwrapped(attacker, loot, kind)).name == "KEY_NOT_WRAPPABLE"


class _OaepParameters(Structure):
    _fields_ = (("hash", c_ulong), ("mgf", c_ulong), ("source", c_ulong), ("data", c_void_p), ("length", c_ulong))


RSA_WRAPPING = {
    "PKCS1": CMechanism.of(Mechanism.RSA_PKCS),
    "OAEP": CMechanism.of(Mechanism.RSA_PKCS_OAEP, _OaepParameters(int(Mechanism.SHA_1), 1, 1, None, 0)),
}


def rsa_public_key(attacker: Attacker) -> int:
    """A public key whose private half the attacker has."""
    numbers = rsa.generate_private_key(65537, 2048).public_key().public_numbers()
    answer = attacker.create(
        {
            Attribute.CLASS: ObjectClass.PUBLIC_KEY,
            Attribute.KEY_TYPE: KeyType.RSA,
            Attribute.TOKEN: False,
            Attribute.PRIVATE: False,
            Attribute.MODULUS: numbers.n.to_bytes(256, "big"),
            Attribute.PUBLIC_EXPONENT: b"\x01\x00\x01",
            Attribute.WRAP: True,
        }
    )
    assert answer.name == "OK"
    return answer.handle


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mechanism", RSA_WRAPPING)
def test_attack_10_wrap_it_under_an_rsa_public_key(attacker: Attacker, loot: Loot, kind: str, mechanism: str) -> None:
    key = unwrapped(attacker, loot, kind)
    assert attacker.wrap(rsa_public_key(attacker), key, RSA_WRAPPING[mechanism]).name == "KEY_NOT_WRAPPABLE"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mechanism", [Mechanism.AES_KEY_WRAP, Mechanism.AES_CBC_PAD, Mechanism.AES_CBC])
def test_attack_11_wrap_it_by_its_domain_key_another_way(
    attacker: Attacker, loot: Loot, kind: str, mechanism: Mechanism
) -> None:
    vector = ctypes.create_string_buffer(16)
    made = CMechanism(int(mechanism), ctypes.addressof(vector), 16)
    if mechanism is Mechanism.AES_KEY_WRAP:
        made = CMechanism.of(mechanism)
    key = unwrapped(attacker, loot, kind)
    assert attacker.wrap(attacker.key(DOMAIN), key, made).name == "MECHANISM_INVALID"


@pytest.mark.parametrize("kind", KINDS)
def test_attack_12_unwrap_by_another_domains_key(attacker: Attacker, loot: Loot, kind: str) -> None:
    wrapped, template = loot.keys[kind]
    assert attacker.unwrap(attacker.key(OTHER_DOMAIN), wrapped, {**template, **CONFINED}).name == "GENERAL_ERROR"


@pytest.mark.parametrize("kind", KINDS)
def test_attack_13_unwrap_a_blob_changed_or_cut(attacker: Attacker, loot: Loot, kind: str) -> None:
    wrapped, template = loot.keys[kind]
    domain = attacker.key(DOMAIN)
    for forged in (wrapped[:-1] + bytes([wrapped[-1] ^ 1]), bytes([wrapped[0] ^ 1]) + wrapped[1:], wrapped[:-8]):
        assert attacker.unwrap(domain, forged, {**template, **CONFINED}).name == "GENERAL_ERROR"


class _EcdhParameters(Structure):
    _fields_ = (
        ("kdf", c_ulong),
        ("shared_length", c_ulong),
        ("shared", c_void_p),
        ("length", c_ulong),
        ("point", c_void_p),
    )


def test_attack_14_agree_on_a_point_off_the_curve(attacker: Attacker, loot: Loot) -> None:
    wrapped, template = loot.keys["EC"]
    key = attacker.unwrap(attacker.key(DOMAIN), wrapped, {**template, **CONFINED, Attribute.DERIVE: True})
    assert key.name == "OK"
    point = ctypes.create_string_buffer(b"\x04" + b"\x01" * 64, 65)
    mechanism = CMechanism.of(Mechanism.ECDH1_DERIVE, _EcdhParameters(1, 0, None, 65, ctypes.addressof(point)))
    secret = {Attribute.VALUE_LEN: 32, Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
    assert attacker.derive(key.handle, mechanism, {**GENERIC_SECRET, **secret}).name == "GENERAL_ERROR"


def test_attack_15_unwrap_onto_another_curve(attacker: Attacker, loot: Loot) -> None:
    secp256k1 = bytes.fromhex("06052b8104000a")
    wrapped, template = loot.keys["EC"]
    answer = attacker.unwrap(attacker.key(DOMAIN), wrapped, {**template, **CONFINED, Attribute.EC_PARAMS: secp256k1})
    assert answer.name == "ATTRIBUTE_READ_ONLY"


def test_the_known_key_does_wrap_what_is_not_protected(attacker: Attacker) -> None:
    """The attacks' own tool works, so that its refusals mean something."""
    spare = attacker.create(
        {**GENERIC_SECRET, Attribute.VALUE: b"s" * 32, Attribute.TOKEN: False, Attribute.EXTRACTABLE: True}
    )
    assert spare.name == "OK"
    assert len(attacker.wrap(attacker.known_key(), spare.handle).octets) == 40
    assert len(KNOWN_KEY) == 32
