"""Keys opened for an intent: which versions make something new, which only undo, and which nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from keystore.algorithms import Purpose
from keystore.api import RevocationReason
from keystore.errors import InvalidMac, NotFound, Unsupported, WrongState
from keystore.opened.agreement import HsmAgreementKey
from keystore.opened.rsa import RsaEncryptionKey
from keystore.opened.symmetric import SymmetricKey
from tests.keystore.support import Intent, intent_for, new_key

if TYPE_CHECKING:
    from keystore.api import DataKeySource, EncryptionKey, Key, MacKey
    from tests.keystore.support import Place


def of_version(key: Key, number: int) -> Intent:
    return Intent(key.id, key.versions[number - 1].id, key.algorithm)


def turned(place: Place, key: Key, revoke: RevocationReason | None = None) -> Key:
    return place.warm.rotate(key.id, activate_at=place.warm.clock(), actor="user/key-admin", revoke=revoke)


def made(place: Place, spec: str, purpose: Purpose) -> Key:
    return place.warm.create_key(new_key(spec=spec, purpose=purpose))


def test_a_retired_version_opens_and_encrypts_no_more(place: Place) -> None:
    key = made(place, "SYMMETRIC_DEFAULT", Purpose.ENCRYPT)
    old = cast("DataKeySource", place.warm.open_key(of_version(key, 1)))
    ciphertext = old.encrypt(b"plain", b"context")
    key = turned(place, key)
    retired = cast("DataKeySource", place.warm.open_key(of_version(key, 1)))
    assert retired.decrypt(ciphertext, b"context") == b"plain"
    for refused in (
        lambda: retired.encrypt(b"plain", b""),
        lambda: retired.data_key(32, b""),
        lambda: retired.data_key_pair("ECC_NIST_P256", b""),
    ):
        with pytest.raises(WrongState, match="no new ciphertexts"):
            refused()
    key = turned(place, key, RevocationReason.KEY_COMPROMISE)
    with pytest.raises(WrongState, match="revoked"):
        place.warm.open_key(of_version(key, 1))


def test_a_retired_rsa_version_decrypts_and_encrypts_no_more(place: Place) -> None:
    key = made(place, "RSA_2048", Purpose.ENCRYPT)
    opened = cast("EncryptionKey", place.warm.open_key(of_version(key, 1)))
    ciphertext = opened.encrypt(b"plain")
    info, version = opened.info, key.versions[0]
    retired = RsaEncryptionKey(place.token, version.backing, info, version.public_key, active=False)
    assert retired.decrypt(ciphertext) == b"plain"
    with pytest.raises(WrongState):
        retired.encrypt(b"plain")
    with pytest.raises(Unsupported, match="no encryption context"):
        opened.encrypt(b"plain", b"context")
    with pytest.raises(Unsupported, match="no encryption context"):
        opened.decrypt(ciphertext, b"context")


def test_a_retired_version_verifies_and_makes_no_macs(place: Place) -> None:
    key = made(place, "HMAC_384", Purpose.MAC)
    mac = cast("MacKey", place.warm.open_key(of_version(key, 1))).mac(b"message")
    key = turned(place, key)
    retired = cast("MacKey", place.warm.open_key(of_version(key, 1)))
    retired.verify(b"message", mac)
    for wrong in (b"", mac[:16], mac[:-1] + bytes([mac[-1] ^ 1])):
        with pytest.raises(InvalidMac):
            retired.verify(b"message", wrong)
    with pytest.raises(WrongState, match="no new MACs"):
        retired.mac(b"message")


def test_a_retired_version_does_not_sign(place: Place) -> None:
    key = turned(place, made(place, "ECC_NIST_P256", Purpose.GENERAL))
    with pytest.raises(WrongState, match="retired"):
        place.warm.open_key(of_version(key, 1))


def test_what_is_opened_follows_from_the_key(place: Place) -> None:
    symmetric = made(place, "SYMMETRIC_DEFAULT", Purpose.ENCRYPT)
    agrees = made(place, "ECC_NIST_P256", Purpose.AGREE)
    assert isinstance(place.warm.open_key(intent_for(symmetric)), SymmetricKey)
    assert isinstance(place.warm.open_key(intent_for(agrees)), HsmAgreementKey)
    for key, algorithm in ((symmetric, "RSAES_OAEP_SHA_256"), (agrees, "ECDSA_SHA_256")):
        with pytest.raises(Unsupported):
            place.warm.open_key(intent_for(key, algorithm))
        with pytest.raises(Unsupported):
            place.warm.signing_key(intent_for(key))
    with pytest.raises(NotFound):
        place.warm.open_key(replace(intent_for(symmetric), version_id=agrees.versions[0].id))
    place.warm.disable(symmetric.id)
    with pytest.raises(WrongState):
        place.warm.open_key(intent_for(symmetric))
