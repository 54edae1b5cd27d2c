"""Attacks 61 to 67: on a domain that is carried to another region's HSM, on its way and there. Numbers:
`docs/attacks.md`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from pkcs11 import Attribute, Mechanism

from keystore import shares as custody
from keystore.errors import CeremonyError
from keystore.hierarchy import WrappedRoot, add_domain_key, add_link_key, adopt_domain_key
from keystore.hsm import open_token
from keystore.hsm.labels import domain_label
from keystore.hsm.officer import open_ceremony
from keystore.hsm.return_values import ReturnValue
from keystore.shared_domains import CarriedDomain
from tests.attacks.attacker import AES_SECRET, CONFINED, EC_PRIVATE, GENERIC_SECRET, Attacker
from tests.attacks.raw import CMechanism
from tests.hsm_support import DOMAIN, OTHER_DOMAIN, TestToken, make_token

NAME = "global"
SHARED = domain_label(NAME, 1)
LINK = f"link/{NAME}"
CLEAR = {Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
POWERS = (Attribute.DECRYPT, Attribute.ENCRYPT, Attribute.DERIVE, Attribute.EXTRACTABLE, Attribute.MODIFIABLE)
KWP = CMechanism.of(Mechanism.AES_KEY_WRAP_PAD)


@dataclass(frozen=True)
class Two:
    """Two regions' tokens after the ceremony, what was carried, and blobs of the first region's database."""

    first: TestToken
    second: TestToken
    carried: CarriedDomain
    shared_key: bytes  # a customer's, wrapped by the shared domain key
    other_key: bytes  # another's, wrapped by a domain key that was not carried


def adopt(token: TestToken, region_key: bytearray, carried: CarriedDomain, name: str = NAME) -> None:
    """The ceremony in the HSM of that token. Raises: `CeremonyError`."""
    domain, link = WrappedRoot(domain_label(name, 1), carried.wrapped), WrappedRoot(f"link/{name}", carried.link)
    with open_ceremony(token.configuration, officer_pin=token.officer_pin, user_pin=token.user_pin) as ceremony:
        adopt_domain_key(ceremony, region_key, domain, link, carried.message, carried.seal)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    first, second = (make_token(tmp_path_factory.mktemp(name)) for name in ("first", "second"))
    with open_ceremony(first.configuration, officer_pin=first.officer_pin, user_pin=first.user_pin) as ceremony:
        domain, link = add_domain_key(ceremony, SHARED), add_link_key(ceremony, NAME)
    service = open_token(first.configuration)
    carried = CarriedDomain("000000000000", "us-east-1", NAME, 1, domain.wrapped, link.wrapped)
    carried = replace(carried, seal=service.link_seal(NAME, carried.message))
    blobs = [service.generate("ECC_NIST_P256", label, "key/x").wrapped or b"" for label in (SHARED, DOMAIN)]
    service.close()
    adopt(second, first.hierarchy.region_key, carried)
    return Two(first, second, carried, *blobs)


@pytest.fixture
def attacker(two: Two) -> Attacker:
    """With the second region's PIN."""
    return Attacker.logged_in(two.second)


def test_attack_61_adopt_with_too_few_shares(two: Two) -> None:
    parts = custody.split(two.first.hierarchy.region_key, custodians=5, threshold=3)
    for few in (parts[:2], (parts[0],) * 3, ()):
        with pytest.raises(CeremonyError, match="share"):
            custody.combine(few)


def test_attack_62_change_what_is_carried(two: Two) -> None:
    """Another domain's key under this name, the integrity key as a domain key, another name, version or region."""
    third = two.second  # it has both already: under another name there is room
    roots = {root.label: root.wrapped for root in two.first.hierarchy.roots}
    changes = (
        {"wrapped": roots[DOMAIN]},
        {"wrapped": roots["integrity"]},
        {"link": roots["integrity"]},
        {"link": roots[OTHER_DOMAIN]},
        {"version": 2},
        {"region": "eu-west-1"},
        {"account": "999999999999"},
        {"domain": "other"},
        {"seal": bytes(32)},
    )
    before = sorted(Attacker.logged_in(third).labels(Attacker.logged_in(third).find({Attribute.TRUSTED: True})))
    for change in changes:
        changed = replace(two.carried, **change)
        with pytest.raises(CeremonyError):
            adopt(third, two.first.hierarchy.region_key, changed, name="stolen")
    attacker = Attacker.logged_in(third)
    assert sorted(attacker.labels(attacker.find({Attribute.TRUSTED: True}))) == before


def test_attack_63_unwrap_what_was_carried_by_the_other_region_key(two: Two, attacker: Attacker) -> None:
    for blob in (two.carried.wrapped, two.carried.link):
        for kind in (AES_SECRET, GENERIC_SECRET):
            answer = attacker.unwrap(attacker.key("region"), blob, {**kind, **CLEAR})
            assert answer.name == "KEY_FUNCTION_NOT_PERMITTED"
            answer = attacker.unwrap(attacker.key(SHARED), blob, {**kind, **CONFINED})
            assert answer.name == "GENERAL_ERROR"


def test_attack_64_open_a_key_by_the_adopted_domain_key(two: Two, attacker: Attacker) -> None:
    shared = attacker.key(SHARED)
    assert attacker.unwrap(shared, two.shared_key, {**EC_PRIVATE, **CLEAR}).name == "TEMPLATE_INCONSISTENT"
    for attribute, wanted in CONFINED.items():
        template = {**EC_PRIVATE, **CONFINED, attribute: not wanted}
        assert attacker.unwrap(shared, two.shared_key, template).name == "TEMPLATE_INCONSISTENT"
    # What was not carried does not open: domains are carried one by one.
    for label in (SHARED, DOMAIN):
        assert attacker.unwrap(attacker.key(label), two.other_key, {**EC_PRIVATE, **CONFINED}).name == "GENERAL_ERROR"


@pytest.mark.parametrize("label", [SHARED, LINK])
def test_attack_65_change_use_or_take_out_an_adopted_key(attacker: Attacker, label: str) -> None:
    key = attacker.key(label)
    for attribute in POWERS:
        assert attacker.set(key, {attribute: True}) == ReturnValue.ACTION_PROHIBITED
        assert attacker.copy(key, {attribute: True}).name in ("ATTRIBUTE_READ_ONLY", "TEMPLATE_INCONSISTENT")
    for wrapping in ("region", DOMAIN, SHARED):
        assert attacker.wrap(attacker.key(wrapping), key).name == "KEY_UNEXTRACTABLE"
    assert attacker.get(key, Attribute.VALUE).name == "ATTRIBUTE_SENSITIVE"
    assert ReturnValue(attacker.begin("C_DecryptInit", KWP, key)).name in (
        "KEY_FUNCTION_NOT_PERMITTED",
        "MECHANISM_INVALID",
    )


def test_attack_66_carry_a_customers_key_out_by_the_link_key(two: Two, attacker: Attacker) -> None:
    """It is TRUSTED, so that the region key wraps it; it wraps nothing itself."""
    link = attacker.key(LINK)
    key = attacker.unwrap(attacker.key(SHARED), two.shared_key, {**EC_PRIVATE, **CONFINED})
    assert key.name == "OK"
    assert attacker.wrap(link, key.handle).name in ("KEY_FUNCTION_NOT_PERMITTED", "WRAPPING_KEY_TYPE_INCONSISTENT")
    assert attacker.unwrap(link, two.shared_key, {**EC_PRIVATE, **CONFINED}).name in (
        "KEY_FUNCTION_NOT_PERMITTED",
        "UNWRAPPING_KEY_TYPE_INCONSISTENT",
    )


def test_not_refused_67_use_the_other_regions_keys_of_the_shared_domain(two: Two, attacker: Attacker) -> None:
    key = attacker.unwrap(attacker.key(SHARED), two.shared_key, {**EC_PRIVATE, **CONFINED})
    assert attacker.begin("C_SignInit", CMechanism.of(Mechanism.ECDSA), key.handle) == ReturnValue.OK
    assert len(attacker.finish("C_Sign", bytes(32)).octets) == 64
