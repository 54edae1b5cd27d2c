"""Attacks 42 to 48: what a ceremony leaves, what is seen without a PIN, what is planted. Numbers: `docs/attacks.md`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pkcs11 import Attribute, Mechanism

from keystore.errors import HsmFault, HsmUnavailable
from keystore.hsm import open_token
from keystore.hsm.labels import LOG_HEADS
from keystore.hsm.mechanisms import AES_GENERATION
from keystore.hsm.officer import open_ceremony
from keystore.hsm.return_values import ReturnValue
from keystore.hsm.templates import AES_256, data_object_named
from keystore.hsm.templates import DOMAIN as DOMAIN_TEMPLATE
from tests.attacks.attacker import AES_SECRET, CONFINED, KNOWN_KEY, Attacker
from tests.attacks.conftest import TOKEN_KEY
from tests.attacks.raw import CMechanism
from tests.hsm_support import DOMAIN, OTHER_DOMAIN, make_token

if TYPE_CHECKING:
    from tests.attacks.conftest import Loot, Position


def test_attack_42_use_what_the_ceremony_left(attacker: Attacker) -> None:
    handles = attacker.find({Attribute.TOKEN: True})
    heads = [handle for name in LOG_HEADS for handle in attacker.find(data_object_named(name))]
    assert len(heads) == 2
    keys = [handle for handle in handles if handle not in heads]
    assert attacker.labels(keys) == sorted([DOMAIN, OTHER_DOMAIN, "integrity", TOKEN_KEY, "log", "region"])
    assert all(attacker.flag(handle, Attribute.PRIVATE) for handle in handles)
    assert attacker.labels(attacker.find({Attribute.TRUSTED: True})) == sorted(
        [DOMAIN, OTHER_DOMAIN, "integrity", "region"]
    )
    assert attacker.find({Attribute.PRIVATE: False}) == []


def test_attack_43_use_the_token_without_a_pin(position: Position) -> None:
    attacker = Attacker.without_pin(position.token)
    assert attacker.find({}) == []
    for handle in range(1, 50):
        assert attacker.get(handle, Attribute.LABEL).name == "OBJECT_HANDLE_INVALID"
        code = attacker.begin("C_SignInit", CMechanism.of(Mechanism.SHA256_HMAC), handle)
        assert code == ReturnValue.OBJECT_HANDLE_INVALID


@pytest.mark.parametrize("label", ["region", "integrity"])
def test_attack_44_destroy_a_key(attacker: Attacker, label: str) -> None:
    assert attacker.destroy(attacker.key(label)) == ReturnValue.ACTION_PROHIBITED
    assert attacker.key(label)


WATCHER = """
import sys
from pathlib import Path
from keystore.configuration import StateDirectory, hsm_configuration
from keystore.hsm.connection import log_in
from keystore.hsm.module import load_module
from pkcs11 import Attribute
configuration = hsm_configuration(StateDirectory(Path(sys.argv[1])), sys.argv[2])
module = load_module(configuration.module)
session = log_in(module, configuration, Path(sys.argv[1], "hsm.pin").read_bytes()).session
print(len(session.find({Attribute.TRUSTED: True})), len(session.find({Attribute.PRIVATE: False})))
"""


def test_attack_45_watch_a_ceremony_from_another_process(position: Position) -> None:
    """The officer's TRUSTED, PRIVATE=false key is a session object: another process with the PIN does not see it."""
    token = position.token
    uri = f"pkcs11:token=sealmark?module-path={token.configuration.module}&pin-source=file:hsm.pin"
    command = [sys.executable, "-c", WATCHER, str(token.configuration.pin_file.parent), uri]
    root = Path(__file__).parents[2]

    def watch() -> str:
        environment = {**os.environ, "PYTHONPATH": str(root)}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=60).stdout

    with (
        open_ceremony(token.configuration, officer_pin=token.officer_pin, user_pin=token.user_pin) as ceremony,
        ceremony.as_officer() as session,
    ):
        nascent = session.generate_key(AES_GENERATION, {**DOMAIN_TEMPLATE, **AES_256})
        assert session.find({Attribute.TRUSTED: True}) == [nascent]
        assert watch() == "4 0\n"  # region, integrity and two domain keys
        session.destroy(nascent)


def test_attack_46_plant_a_known_key_as_a_domain_key(tmp_path: Path) -> None:
    """A domain key can be destroyed with the service's PIN, for its rotation; what stands in for it is refused."""
    token = make_token(tmp_path)
    attacker = Attacker.logged_in(token)
    assert attacker.destroy(attacker.key(DOMAIN)) == ReturnValue.OK
    uses = {Attribute.TOKEN: True, Attribute.PRIVATE: True, Attribute.WRAP: True, Attribute.UNWRAP: True}
    planted = attacker.create({**AES_SECRET, Attribute.VALUE: KNOWN_KEY, Attribute.LABEL: DOMAIN, **uses})
    assert planted.name == "OK"
    with pytest.raises(HsmFault, match="is not as a ceremony makes it"):
        open_token(token.configuration)


def test_attack_47_plant_a_second_integrity_key(tmp_path: Path) -> None:
    token = make_token(tmp_path)
    attacker = Attacker.logged_in(token)
    assert attacker.copy(attacker.key("integrity"), {}).name == "OK"
    with pytest.raises(HsmFault, match="2 objects labelled 'integrity'"):
        open_token(token.configuration)


def test_attack_48_plant_a_known_key_among_the_roots(attacker: Attacker, loot: Loot) -> None:
    region = attacker.key("region")
    known = attacker.create(
        {**AES_SECRET, Attribute.VALUE: KNOWN_KEY, Attribute.TOKEN: False, Attribute.EXTRACTABLE: True}
    )
    assert known.name == "OK"
    assert attacker.wrap(region, known.handle).name == "KEY_NOT_WRAPPABLE"
    for wrapped, template in loot.keys.values():
        key = attacker.unwrap(attacker.key(DOMAIN), wrapped, {**template, **CONFINED})
        assert attacker.wrap(region, key.handle).name == "KEY_NOT_WRAPPABLE"


def test_a_domain_key_that_is_gone_is_missed(tmp_path: Path) -> None:
    token = make_token(tmp_path)
    attacker = Attacker.logged_in(token)
    assert attacker.destroy(attacker.key(OTHER_DOMAIN)) == ReturnValue.OK
    service = open_token(token.configuration)
    with pytest.raises(HsmUnavailable, match="no object labelled"):
        service.generate("ECC_NIST_P256", OTHER_DOMAIN, "key/x")
    service.close()
