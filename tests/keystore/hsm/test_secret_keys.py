"""Secret keys in the HSM: AES-GCM and HMAC as others compute them, one use each, and nothing that is not theirs."""

from __future__ import annotations

import hashlib
import hmac
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from pkcs11 import Attribute

from keystore.algorithms import ENCRYPTION_ALGORITHMS, KEY_SPECS, MAC_ALGORITHMS, KeyUse, Purpose, algorithms_for
from keystore.api import BackingKey
from keystore.errors import HsmFault, HsmUnavailable, Undecipherable, Unsupported
from keystore.hsm.mechanisms import KEY_TYPES
from keystore.hsm.module import load_module
from keystore.hsm.return_values import ReturnValue
from keystore.hsm.session import Session
from keystore.hsm.templates import CONFINED, of_known_value, secret_key
from tests.attacks.raw import Injected
from tests.faults.forwarding import until
from tests.hsm_support import DOMAIN, OTHER_DOMAIN, TestToken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keystore.hsm import Token
    from keystore.hsm.module import Module
    from keystore.hsm.session import Key

AES = "SYMMETRIC_DEFAULT"
HMACS = [spec for spec in KEY_SPECS if spec.startswith("HMAC")]
KNOWN = bytes(range(64))
SIZES = [*range(35), 4_096, 65_536]


def module_of(founded: TestToken) -> Module:
    return load_module(founded.configuration.module)


def secret(token: Token, name: str, spec: str = AES) -> BackingKey:
    made = token.generate(spec, DOMAIN, "key/none", KeyUse.DECRYPT if spec == AES else KeyUse.SIGN)
    assert (made.public_key, made.token_label) == (b"", None)
    return BackingKey(name, spec, DOMAIN, made.wrapped, None, KeyUse.DECRYPT if spec == AES else KeyUse.SIGN)


def known(token: Token, spec: str) -> tuple[BackingKey, bytes]:
    """A backing key whose octets the test knows, wrapped by the domain key as one that the HSM made."""
    octets = bytearray(KNOWN[: KEY_SPECS[spec].bits // 8])
    use = KeyUse.DECRYPT if spec == AES else KeyUse.SIGN
    connection = token._connection
    key = connection.owner.create(of_known_value(secret_key(KEY_TYPES[KEY_SPECS[spec].kind]), octets))
    wrapped = connection.owner.wrap(connection.domains[DOMAIN], key)
    connection.owner.destroy(key)
    return BackingKey(f"known {spec}", spec, DOMAIN, wrapped, None, use), bytes(octets)


@pytest.fixture(scope="module")
def aes(token: Token) -> BackingKey:
    return secret(token, "aes")


def test_what_is_encrypted_is_aes_gcm_as_others_have_it(token: Token) -> None:
    backing, octets = known(token, AES)
    for size in SIZES:
        plaintext, associated = bytes(size), b"a" * (size % 100)
        sealed = token.encrypt(backing, plaintext, associated)
        assert AESGCM(octets).decrypt(sealed[:12], sealed[12:], associated) == plaintext
        theirs = b"n" * 12 + AESGCM(octets).encrypt(b"n" * 12, plaintext, associated)
        assert token.decrypt(backing, theirs, associated) == plaintext


def test_no_nonce_comes_twice(token: Token, aes: BackingKey) -> None:
    assert len({token.encrypt(aes, b"", b"")[:12] for _ in range(500)}) == 500


def test_a_changed_bit_anywhere_is_one_error_and_costs_no_login(
    token: Token, founded: TestToken, aes: BackingKey
) -> None:
    epoch = module_of(founded).epoch
    sealed = token.encrypt(aes, b"plain", b"associated")
    forged = [
        (bytes(octet ^ (1 << bit) if at == place else octet for at, octet in enumerate(sealed)), b"associated")
        for place in range(len(sealed))
        for bit in (0, 7)
    ]
    forged += [(sealed[:size], b"associated") for size in range(len(sealed))]
    forged += [(sealed + b"\0", b"associated"), (sealed, b"associatee"), (sealed, b"")]
    said = set()
    for ciphertext, associated in forged:
        with pytest.raises(Undecipherable) as refusal:
            token.decrypt(aes, ciphertext, associated)
        said.add(str(refusal.value))
    assert len(said) == 1
    assert module_of(founded).epoch == epoch
    assert token.decrypt(aes, sealed, b"associated") == b"plain"


def test_a_lost_hsm_is_not_taken_for_a_wrong_ciphertext(
    token: Token, founded: TestToken, aes: BackingKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = token.encrypt(aes, b"plain", b"")
    path = module_of(founded).path
    decrypt, sign = Injected(path, monkeypatch, "C_Decrypt"), Injected(path, monkeypatch, "C_SignInit")
    decrypt.answer(ReturnValue.DEVICE_ERROR, times=2)  # before and after a new login
    with pytest.raises(HsmUnavailable):
        token.decrypt(aes, sealed, b"")
    decrypt.answer(ReturnValue.GENERAL_ERROR, times=2)  # as of a wrong tag
    sign.answer(ReturnValue.GENERAL_ERROR, times=100)
    with pytest.raises(HsmUnavailable):
        token.decrypt(aes, sealed, b"")
    sign.times = decrypt.times = 0
    until(lambda: token._mender._thread is None and token._mender.is_worth_it(), "a new connection")
    assert token.decrypt(aes, sealed, b"") == b"plain"


def test_what_the_key_does_not_open_again_is_not_given_out(
    token: Token, aes: BackingKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Session.encrypt
    lies: list[Callable[[bytes], bytes]] = [lambda made: bytes([made[0] ^ 1]) + made[1:], lambda made: made[:-1]]
    for lie in lies:
        monkeypatch.setattr(Session, "encrypt", lambda *call, lie=lie: lie(honest(*call)))
        with pytest.raises(HsmFault):
            token.encrypt(aes, b"plain", b"")
    monkeypatch.setattr(Session, "encrypt", honest)
    monkeypatch.setattr(Session, "decrypt", lambda *_: b"other")
    with pytest.raises(HsmFault, match="does not open"):
        token.encrypt(aes, b"plain", b"")


@pytest.mark.parametrize("spec", HMACS)
def test_a_mac_is_hmac_as_others_have_it(token: Token, spec: str) -> None:
    backing, octets = known(token, spec)
    (name,) = algorithms_for(Purpose.MAC, spec)
    row = MAC_ALGORITHMS[name]
    for message in (b"", b"message", bytes(5_000)):
        assert token.mac(backing, row, message) == hmac.digest(octets, message, row.hash_name or "")
    made = secret(token, f"mac {spec}", spec)
    assert len(token.mac(made, row, b"message")) == hashlib.new(row.hash_name or "").digest_size


def test_two_keys_have_two_materials_and_one_has_one(token: Token, aes: BackingKey) -> None:
    made = token.generate(AES, DOMAIN, "key/none", KeyUse.DECRYPT)
    backing = BackingKey("material", AES, DOMAIN, made.wrapped, None, KeyUse.DECRYPT)
    moved = replace(backing, domain_label=OTHER_DOMAIN, wrapped=token.rewrap(backing, OTHER_DOMAIN))
    assert made.material_id == token.material_id(backing) == token.material_id(moved) != token.material_id(aes)
    sealed = token.encrypt(backing, b"plain", b"")
    assert token.decrypt(moved, sealed, b"") == b"plain"


def test_a_key_has_its_one_use(token: Token, aes: BackingKey) -> None:
    row, oaep = MAC_ALGORITHMS["HMAC_SHA_256"], ENCRYPTION_ALGORITHMS["RSAES_OAEP_SHA_256"]
    hmac_key = secret(token, "one use", "HMAC_256")
    with pytest.raises(Unsupported):
        token.mac(aes, row, b"")
    with pytest.raises(Unsupported):
        token.mac(hmac_key, MAC_ALGORITHMS["HMAC_SHA_512"], b"")
    for refused in (
        lambda: token.encrypt(hmac_key, b"", b""),
        lambda: token.decrypt(hmac_key, bytes(28), b""),
        lambda: token.material_id(hmac_key),
        lambda: token.encrypt(replace(aes, use=KeyUse.SIGN), b"", b""),
        lambda: token.mac(replace(hmac_key, use=KeyUse.DECRYPT), row, b""),
        lambda: token.generate("HMAC_256", DOMAIN, "key/none", KeyUse.AGREE),
        lambda: token.generate("ECC_NIST_P256", DOMAIN, "key/none", KeyUse.DECRYPT),
        lambda: token.generate("RSA_2048", DOMAIN, "key/none", KeyUse.AGREE),
        lambda: token.mac(hmac_key, replace(row, name=oaep.name), b""),
    ):
        with pytest.raises(Unsupported):
            refused()


def test_an_unwrapped_key_is_confined_and_does_one_thing(token: Token, aes: BackingKey) -> None:
    uses = ("ENCRYPT", "DECRYPT", "SIGN", "VERIFY", "WRAP", "UNWRAP", "DERIVE")
    for backing, wanted in ((aes, {"ENCRYPT", "DECRYPT"}), (secret(token, "flags", "HMAC_256"), {"SIGN"})):
        connection = token._connection
        with opened(token, backing) as key:
            read = {name: connection.owner.read_flag(key, Attribute[name]) for name in uses}
            assert {name for name, value in read.items() if value} == wanted
            assert {name: connection.owner.read_flag(key, name) for name in CONFINED} == CONFINED


def test_a_blob_of_another_length_or_of_nobody_is_refused(token: Token) -> None:
    longer = secret(token, "longer", "HMAC_512")
    with pytest.raises((HsmFault, HsmUnavailable)):
        token.encrypt(BackingKey("said to be AES", AES, DOMAIN, longer.wrapped, None, KeyUse.DECRYPT), b"", b"")
    pair = token.generate("ECC_NIST_P256", DOMAIN, "key/none")
    with pytest.raises((HsmFault, HsmUnavailable)):
        token.encrypt(BackingKey("a pair", AES, DOMAIN, pair.wrapped, None, KeyUse.DECRYPT), b"", b"")
    foreign = aes_key_wrap_with_padding(b"k" * 32, b"s" * 32)
    with pytest.raises(HsmUnavailable):
        token.encrypt(BackingKey("foreign", AES, DOMAIN, foreign, None, KeyUse.DECRYPT), b"", b"")


@contextmanager
def opened(token: Token, backing: BackingKey) -> Iterator[Key]:
    """The key's object in the owner's session, while somebody uses it."""
    connection = token._connection
    key = token._acquired(connection, backing)
    try:
        yield key.handle
    finally:
        connection.cache.release(key, lambda _handle: None)
