"""Raw RSA, key agreement and readable pairs in the HSM, against what others compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)
from pkcs11 import Attribute

from keystore.algorithms import KEY_SPECS, KeyUse
from keystore.api import BackingKey
from keystore.errors import HsmFault, HsmUnavailable, Undecipherable, Unsupported
from keystore.hsm.session import Session
from keystore.opened.agreement import peer_point
from tests.hsm_support import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystore.hsm import Token
    from keystore.hsm.session import Key

CURVES: Final = {"ECC_NIST_P256": ec.SECP256R1(), "ECC_NIST_P384": ec.SECP384R1(), "ECC_NIST_P521": ec.SECP521R1()}


def backing_of(token: Token, spec: str, use: KeyUse) -> tuple[BackingKey, PublicKeyTypes]:
    made = token.generate(spec, DOMAIN, "key/none", use)
    return BackingKey(f"{use} {spec}", spec, DOMAIN, made.wrapped, None, use), load_der_public_key(made.public_key)


def der(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("spec", CURVES)
def test_both_sides_agree_also_where_the_secret_begins_with_zeros(token: Token, spec: str) -> None:
    backing, public = backing_of(token, spec, KeyUse.AGREE)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    for leading in (False, True):  # of the secrets one in 256 begins with a zero octet, of P-521's one in two
        peer, secret = next(
            (peer, secret)
            for peer in iter(lambda: ec.generate_private_key(CURVES[spec]), None)
            if ((secret := peer.exchange(ec.ECDH(), public))[0] == 0) is leading
        )
        assert token.agree(backing, peer_point(spec, der(peer.public_key()))) == secret
        assert len(secret) == (KEY_SPECS[spec].bits + 7) // 8


def test_points_that_are_none_never_reach_the_hsm(token: Token) -> None:
    backing, public = backing_of(token, "ECC_NIST_P256", KeyUse.AGREE)
    honest = der(public)
    off_the_curve = honest[:-1] + bytes([honest[-1] ^ 1])
    at_infinity = honest[:26] + b"\0"
    others = [der(ec.generate_private_key(curve).public_key()) for curve in (ec.SECP384R1(), ec.SECP256K1())]
    others.append(der(ed25519.Ed25519PrivateKey.generate().public_key()))
    for peer in (off_the_curve, at_infinity, honest[:-1], honest + b"\0", b"", b"\x04" + bytes(64), *others):
        with pytest.raises(Unsupported) as refusal:
            peer_point("ECC_NIST_P256", peer)
        assert refusal.value.field == "public_key"
    with pytest.raises(HsmUnavailable):  # and SoftHSM says no by itself
        token.agree(backing, b"\x04" + b"\x01" * 64)


def test_each_use_is_refused_to_keys_of_another(token: Token) -> None:
    signs, _ = backing_of(token, "ECC_NIST_P256", KeyUse.SIGN)
    point = peer_point("ECC_NIST_P256", der(ec.generate_private_key(ec.SECP256R1()).public_key()))
    with pytest.raises(HsmUnavailable, match="KEY_FUNCTION_NOT_PERMITTED"):
        token.agree(signs, point)
    with pytest.raises(Unsupported):
        token.decrypt_raw(signs, b"")
    with pytest.raises(Unsupported):
        token.make_data_key_pair("SYMMETRIC_DEFAULT")


def test_raw_rsa_is_the_private_operation_and_a_signing_key_has_none(token: Token) -> None:
    backing, public = backing_of(token, "RSA_2048", KeyUse.DECRYPT)
    assert isinstance(public, rsa.RSAPublicKey)
    numbers = public.public_numbers()
    for message in (0, 1, 2**2040, numbers.n - 1):
        ciphertext = pow(message, numbers.e, numbers.n).to_bytes(256, "big")
        assert int.from_bytes(token.decrypt_raw(backing, ciphertext), "big") == message
    with pytest.raises(Undecipherable):
        token.decrypt_raw(backing, numbers.n.to_bytes(256, "big"))
    signs = BackingKey("signs", "RSA_2048", DOMAIN, backing.wrapped, None, KeyUse.SIGN)
    with pytest.raises(HsmUnavailable):
        token.decrypt_raw(signs, bytes(256))


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521", "ECC_SECG_P256K1", "RSA_2048"])
def test_a_data_key_pair_belongs_together_and_leaves_nothing_behind(token: Token, spec: str) -> None:
    before = token._connection.owner.find({})
    pair = token.make_data_key_pair(spec)
    private: PrivateKeyTypes = load_der_private_key(pair.private_key, None)
    assert der(private.public_key()) == pair.public_key
    assert len(token._connection.owner.find({})) == len(before)
    if isinstance(private, rsa.RSAPrivateKey):
        assert private.key_size == 2048
    assert "private_key" not in repr(pair)


def test_an_edwards_pair_signs(token: Token) -> None:
    pair = token.make_data_key_pair("ECC_NIST_EDWARDS25519")
    private, public = load_der_private_key(pair.private_key, None), load_der_public_key(pair.public_key)
    assert isinstance(private, ed25519.Ed25519PrivateKey)
    assert isinstance(public, ed25519.Ed25519PublicKey)
    public.verify(private.sign(b"message"), b"message")


def test_a_secret_that_a_module_gives_without_its_zeros_is_as_long_as_the_field(
    token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    backing, public = backing_of(token, "ECC_NIST_P256", KeyUse.AGREE)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    peer = ec.generate_private_key(ec.SECP256R1())
    secret = peer.exchange(ec.ECDH(), public)
    point, honest = peer_point("ECC_NIST_P256", der(peer.public_key())), Session.read

    def read_as(change: Callable[[bytes], bytes]) -> None:
        def read(session: Session, key: Key, attribute: Attribute) -> bytes:
            octets = honest(session, key, attribute)
            return change(octets) if attribute is Attribute.VALUE else octets

        monkeypatch.setattr(Session, "read", read)

    read_as(lambda octets: octets[1:])
    assert token.agree(backing, point) == b"\0" + secret[1:]
    read_as(lambda octets: octets + b"\0")
    with pytest.raises(HsmFault):
        token.agree(backing, point)
