"""49 to 54: what the HSM does not refuse to the service's PIN, and how far it goes. Numbers: `docs/attacks.md`."""

from __future__ import annotations

import ctypes
import hashlib
from ctypes import byref, c_ulong
from typing import TYPE_CHECKING

import pytest
from pkcs11 import Attribute, Mechanism

from keystore.errors import HsmFault, HsmUnavailable
from keystore.hsm import open_token
from keystore.hsm.labels import LOG_HEADS
from keystore.hsm.return_values import ReturnValue
from keystore.hsm.templates import data_object, data_object_named
from keystore.log_anchor import KeptHead, LogAnchor, begin_log
from tests.attacks.attacker import AES_SECRET, CONFINED, EC_PRIVATE, GENERIC_SECRET, KNOWN_KEY, Attacker
from tests.attacks.raw import CMechanism
from tests.hsm_support import DOMAIN, OTHER_DOMAIN, make_token

if TYPE_CHECKING:
    from pathlib import Path

    from tests.attacks.conftest import Loot


@pytest.mark.parametrize("length", [16, 24, 32])
def test_not_refused_49_a_secret_key_under_another_type(attacker: Attacker, length: int) -> None:
    """An HMAC key of an AES key's length is taken for an AES key and decrypts. Its octets stay inside all the same."""
    template = {**GENERIC_SECRET, **CONFINED, Attribute.VALUE_LEN: length, Attribute.SIGN: True}
    made = attacker.generate(Mechanism.GENERIC_SECRET_KEY_GEN, template)
    domain = attacker.key(DOMAIN)
    wrapped = attacker.wrap(domain, made.handle).octets
    uses = {Attribute.ENCRYPT: True, Attribute.DECRYPT: True, Attribute.WRAP: True}
    odd = attacker.unwrap(domain, wrapped, {**AES_SECRET, **CONFINED, **uses})
    assert odd.name == "OK"
    assert attacker.begin("C_DecryptInit", CMechanism.of(Mechanism.AES_ECB), odd.handle) == ReturnValue.OK
    assert len(attacker.finish("C_Decrypt", b"c" * 16).octets) == 16
    assert attacker.get(odd.handle, Attribute.VALUE).name == "ATTRIBUTE_SENSITIVE"
    assert attacker.wrap(attacker.known_key(), odd.handle).name == "KEY_NOT_WRAPPABLE"
    assert attacker.set(odd.handle, {Attribute.SENSITIVE: False}) == ReturnValue.ATTRIBUTE_READ_ONLY
    clear = {**AES_SECRET, **CONFINED, **uses, Attribute.SENSITIVE: False}
    assert attacker.unwrap(domain, wrapped, clear).name == "TEMPLATE_INCONSISTENT"
    customer = attacker.generate(Mechanism.GENERIC_SECRET_KEY_GEN, template)
    assert attacker.wrap(odd.handle, customer.handle).name == "KEY_NOT_WRAPPABLE"  # it is not TRUSTED


def test_not_refused_50_the_hash_of_a_secret_key(attacker: Attacker) -> None:
    """C_DigestKey hashes a sensitive key. 256 random bits are not found from that, and no shorter part can be had."""
    known = attacker.known_key()
    assert _digest(attacker, known) == hashlib.sha256(KNOWN_KEY).digest()
    assert len(_digest(attacker, attacker.key(DOMAIN))) == 32


def _digest(attacker: Attacker, key: int) -> bytes:
    mechanism = CMechanism.of(Mechanism.SHA256)
    assert attacker.call("C_DigestInit", attacker.session, byref(mechanism)) == ReturnValue.OK
    assert attacker.call("C_DigestKey", attacker.session, key) == ReturnValue.OK
    buffer, length = ctypes.create_string_buffer(64), c_ulong(64)
    assert attacker.call("C_DigestFinal", attacker.session, buffer, byref(length)) == ReturnValue.OK
    return buffer.raw[: length.value]


def test_not_refused_51_signing_and_sealing(attacker: Attacker, loot: Loot) -> None:
    """Whoever has the PIN and the database uses keys as the service does, for as long as they have them."""
    key = attacker.unwrap(attacker.key(DOMAIN), loot.keys["EC"][0], {**EC_PRIVATE, **CONFINED})
    assert attacker.begin("C_SignInit", CMechanism.of(Mechanism.ECDSA), key.handle) == ReturnValue.OK
    assert len(attacker.finish("C_Sign", b"d" * 32).octets) == 64
    integrity = attacker.key("integrity")
    assert attacker.begin("C_SignInit", CMechanism.of(Mechanism.SHA256_HMAC), integrity) == ReturnValue.OK
    assert len(attacker.finish("C_Sign", b"row").octets) == 32


def test_not_refused_52_moving_a_key_to_another_domain(attacker: Attacker, loot: Loot) -> None:
    """Rotation needs it: a backing key can be wrapped by any TRUSTED key of the token, and by no other."""
    key = attacker.unwrap(attacker.key(DOMAIN), loot.keys["EC"][0], {**EC_PRIVATE, **CONFINED})
    moved = attacker.wrap(attacker.key(OTHER_DOMAIN), key.handle)
    assert moved.name == "OK"
    clear = {**EC_PRIVATE, **CONFINED, Attribute.SENSITIVE: False}
    assert attacker.unwrap(attacker.key(OTHER_DOMAIN), moved.octets, clear).name == "TEMPLATE_INCONSISTENT"
    assert attacker.unwrap(attacker.key("region"), moved.octets, clear).name == "KEY_FUNCTION_NOT_PERMITTED"


def test_not_refused_53_wrapping_a_key_of_ones_own(attacker: Attacker) -> None:
    """A key that the attacker made outside can be put under a domain key. It is theirs, and no customer's."""
    own = attacker.create(
        {**GENERIC_SECRET, Attribute.VALUE: b"o" * 32, Attribute.TOKEN: False, Attribute.EXTRACTABLE: True}
    )
    assert len(attacker.wrap(attacker.key(DOMAIN), own.handle).octets) == 40


def test_not_refused_54_moving_the_kept_head_of_the_log(tmp_path: Path) -> None:
    """Back to an old one, which is believed; destroying both is noticed, and so is a second one of a name."""
    own = make_token(tmp_path)
    service = open_token(own.configuration)
    log = LogAnchor(service, "000000000000", "us-east-1", own.hierarchy.log_public_key)
    begin_log(service, log.origin)
    for size in range(1, 9):
        log.keep_head(log.origin, size, bytes(32))
    attacker = Attacker.logged_in(own)
    old = f"sealmark log head v1\n{log.origin}\n3\n{'A' * 43}=\n"
    for name in LOG_HEADS:
        (handle,) = attacker.find(data_object_named(name))
        assert attacker.set(handle, {Attribute.LABEL: old}) == ReturnValue.OK
    assert log.kept_head() == KeptHead(log.origin, 3, bytes(32))
    attacker = Attacker.logged_in(own)
    planted = attacker.create(data_object(LOG_HEADS[0], old))
    with pytest.raises(HsmFault, match="2 data objects named 'log-head/0'"):
        log.kept_head()
    attacker = Attacker.logged_in(own)
    assert planted.name == "OK"
    for name in LOG_HEADS:
        for handle in attacker.find(data_object_named(name)):
            assert attacker.destroy(handle) == ReturnValue.OK
    with pytest.raises(HsmUnavailable, match="keeps no head of the log"):
        log.kept_head()
    service.close()
