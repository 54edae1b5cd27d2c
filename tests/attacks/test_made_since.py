"""Attacks 68 to 75: on what the service makes in the HSM besides customers' keys and the hierarchy: data key pairs,
agreed secrets, imported material and the keys that it comes in under, the keys of software keys' seeds, domain keys in
rotation. Numbers: `docs/attacks.md`.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from pkcs11 import Attribute, KeyType, Mechanism

from keystore import hierarchy
from keystore.algorithms import KEY_SPECS, KeyUse
from keystore.api import BackingKey
from keystore.errors import HsmFault
from keystore.hsm import open_token
from keystore.hsm.labels import domain_label
from keystore.hsm.mechanisms import generation
from keystore.hsm.officer import open_ceremony
from keystore.hsm.return_values import ReturnValue
from keystore.hsm.templates import of_known_value, readable_key_pair, secret_key, shared_secret, unwrapped
from keystore.importable import parse_material
from keystore.software import SoftwareKeys, associated, decode_envelope
from tests.attacks.attacker import AES_CUSTOMER, CONFINED, EC_PRIVATE, RSA_PRIVATE, Attacker
from tests.attacks.raw import CMechanism
from tests.attacks.test_secret_keys import _GcmParameters
from tests.hsm_support import DOMAIN, OTHER_DOMAIN, TestToken, make_token

if TYPE_CHECKING:
    from keystore.hsm.attributes import Template

SEED: Final = bytes(range(32))
MATERIAL: Final = b"i" * 32
CARRIED: Final = b"material on its way in"
CLEAR: Final = {Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
RSA_DECRYPTS: Final = {**RSA_PRIVATE, Attribute.SIGN: False, Attribute.DECRYPT: True}
EC_AGREES: Final = {**EC_PRIVATE, Attribute.SIGN: False, Attribute.DERIVE: True}
PRIVATE_VALUES: Final = {"RSA": Attribute.PRIVATE_EXPONENT}
POINT: Final = ec.derive_private_key(7, ec.SECP256R1()).public_key()


@dataclass(frozen=True)
class Made:
    """A token of its own, and the database's side of everything that was made on it, by what it is."""

    token: TestToken
    blobs: dict[str, tuple[bytes, Template]] = field(repr=False)
    seed: bytes = field(repr=False)  # of a software key, as the database holds it
    import_key: bytes  # DER SubjectPublicKeyInfo, of the wrapping key that an import was given


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    own = make_token(tmp_path_factory.mktemp("made"))
    service = open_token(own.configuration)
    wrapping = service.generate("RSA_2048", DOMAIN, "import/x", KeyUse.DECRYPT)
    agreeing = service.generate("ECC_NIST_P256", DOMAIN, "key/x", KeyUse.AGREE)
    imported = service.bring_in(parse_material(KEY_SPECS["SYMMETRIC_DEFAULT"], MATERIAL), DOMAIN, KeyUse.DECRYPT)
    software = SoftwareKeys(service, 1).keep("version", "ML_DSA_65", DOMAIN, SEED)
    envelope = decode_envelope(software.wrapped or b"")
    service.close()
    blobs: dict[str, tuple[bytes, Template]] = {
        "import's RSA key": (wrapping.wrapped or b"", RSA_DECRYPTS),
        "key that agrees": (agreeing.wrapped or b"", EC_AGREES),
        "imported AES key": (imported.wrapped or b"", AES_CUSTOMER),
        "seed's AES key": (envelope.key, AES_CUSTOMER),
    }
    return Made(own, blobs, envelope.seed, wrapping.public_key)


@pytest.fixture
def attacker(made: Made) -> Attacker:
    return Attacker.logged_in(made.token)


KINDS: Final = ("import's RSA key", "key that agrees", "imported AES key", "seed's AES key")
WATCHER: Final = """
import sys
from pathlib import Path
from keystore.configuration import StateDirectory, hsm_configuration
from keystore.hsm.connection import log_in
from keystore.hsm.module import load_module
from pkcs11 import Attribute
configuration = hsm_configuration(StateDirectory(Path(sys.argv[1])), sys.argv[2])
module = load_module(configuration.module)
session = log_in(module, configuration, Path(sys.argv[1], "hsm.pin").read_bytes()).session
print(len(session.find({Attribute.TOKEN: False})), len(session.find({Attribute.SENSITIVE: False})))
"""


def test_attack_68_watch_from_another_process_for_what_is_readable_for_a_moment(made: Made) -> None:
    """A data key pair, an agreed secret and material that comes in are session objects of the service's process."""
    service = open_token(made.token.configuration)
    session = service._connection.owner
    mechanism, parameters = generation(KEY_SPECS["ECC_NIST_P256"])
    session.generate_key_pair(mechanism, *readable_key_pair(KeyType.EC, parameters))
    session.create(of_known_value({**secret_key(KeyType.AES), Attribute.LABEL: "imported/x"}, bytearray(MATERIAL)))
    session.create(of_known_value({**_without_length(shared_secret(32)), Attribute.LABEL: "agreed"}, bytearray(32)))
    assert len(session.find({Attribute.TOKEN: False})) == 4
    configuration = made.token.configuration
    uri = f"pkcs11:token=sealmark?module-path={configuration.module}&pin-source=file:hsm.pin"
    seen = subprocess.run(
        [sys.executable, "-c", WATCHER, str(configuration.pin_file.parent), uri],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ).stdout
    service.close()
    assert seen == "0 0\n"


def _without_length(template: Template) -> Template:
    return {name: value for name, value in template.items() if name is not Attribute.VALUE_LEN}


def test_attack_69_look_for_what_was_left_behind(made: Made) -> None:
    """After a data key pair, an agreement and an import the HSM holds what it held before, in whatever session."""
    service = open_token(made.token.configuration)
    blob, _ = made.blobs["key that agrees"]
    agreeing = BackingKey("agreeing", "ECC_NIST_P256", DOMAIN, blob, None, KeyUse.AGREE)
    point = POINT.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    service.agree(agreeing, point)
    owner = service._connection.owner
    before = len(owner.find({}))
    for spec in ("ECC_NIST_P256", "ECC_NIST_EDWARDS25519"):
        service.make_data_key_pair(spec)
    service.agree(agreeing, point)
    service.bring_in(parse_material(KEY_SPECS["SYMMETRIC_DEFAULT"], MATERIAL), DOMAIN, KeyUse.DECRYPT)
    assert len(owner.find({})) == before
    assert owner.find({Attribute.SENSITIVE: False}) == []
    service.close()


@pytest.mark.parametrize("kind", KINDS)
def test_attack_70_take_it_out_of_its_wrapping(made: Made, attacker: Attacker, kind: str) -> None:
    """Attacks 1, 2, 4, 5, 6, 8 and 12 on each."""
    blob, template = made.blobs[kind]
    domain = attacker.key(DOMAIN)
    assert attacker.unwrap(domain, blob, {**template, **CLEAR}).name == "TEMPLATE_INCONSISTENT"
    for attribute, wanted in CONFINED.items():
        changed = {**template, **CONFINED, attribute: not wanted}
        assert attacker.unwrap(domain, blob, changed).name == "TEMPLATE_INCONSISTENT"
    assert attacker.unwrap(attacker.key(OTHER_DOMAIN), blob, {**template, **CONFINED}).name == "GENERAL_ERROR"
    key = attacker.unwrap(domain, blob, {**template, **CONFINED})
    assert key.name == "OK"
    assert attacker.get(key.handle, PRIVATE_VALUES.get(kind[9:12], Attribute.VALUE)).name == "ATTRIBUTE_SENSITIVE"
    assert attacker.wrap(attacker.known_key(), key.handle).name == "KEY_NOT_WRAPPABLE"
    for attribute in (Attribute.SENSITIVE, Attribute.WRAP_WITH_TRUSTED):
        assert attacker.set(key.handle, {attribute: False}) == ReturnValue.ATTRIBUTE_READ_ONLY
        assert attacker.copy(key.handle, {attribute: False}).name == "ATTRIBUTE_READ_ONLY"


def test_attack_71_take_material_out_again_before_it_is_wrapped(attacker: Attacker) -> None:
    """It comes in confined as every other key: whoever has another session of the process does not get it either."""
    value = {**unwrapped(KeyType.AES, KeyUse.DECRYPT), Attribute.VALUE: MATERIAL}
    created = attacker.create(value)
    assert created.name == "OK"
    assert {name: attacker.flag(created.handle, name) for name in CONFINED} == CONFINED
    assert attacker.get(created.handle, Attribute.VALUE).name == "ATTRIBUTE_SENSITIVE"
    assert attacker.wrap(attacker.known_key(), created.handle).name == "KEY_NOT_WRAPPABLE"
    assert attacker.set(created.handle, {Attribute.WRAP_WITH_TRUSTED: False}) == ReturnValue.ATTRIBUTE_READ_ONLY
    assert attacker.wrap(attacker.key("region"), created.handle).name == "KEY_NOT_WRAPPABLE"


def test_attack_72_wrap_or_unwrap_by_the_key_that_material_comes_in_under(made: Made, attacker: Attacker) -> None:
    """It decrypts. Given UNWRAP, it takes keys in, of the attacker's own; it takes none out."""
    blob, template = made.blobs["import's RSA key"]
    key = attacker.unwrap(attacker.key(DOMAIN), blob, {**template, **CONFINED, Attribute.UNWRAP: True})
    assert key.name == "OK"
    other = attacker.unwrap(attacker.key(DOMAIN), made.blobs["imported AES key"][0], {**AES_CUSTOMER, **CONFINED})
    assert attacker.wrap(key.handle, other.handle, CMechanism.of(Mechanism.RSA_PKCS)).name in (
        "KEY_FUNCTION_NOT_PERMITTED",
        "WRAPPING_KEY_HANDLE_INVALID",
        "WRAPPING_KEY_TYPE_INCONSISTENT",
    )
    assert attacker.set(key.handle, {Attribute.TRUSTED: True}) != ReturnValue.OK
    forged = attacker.unwrap(
        key.handle,
        _encrypted(made.import_key, MATERIAL),
        {**AES_CUSTOMER, Attribute.TRUSTED: True, Attribute.WRAP: True},
        CMechanism.of(Mechanism.RSA_PKCS),
    )
    assert forged.name == "ATTRIBUTE_READ_ONLY"


def test_attack_73_keep_a_copy_of_a_domain_key_over_its_rotation(tmp_path: Path) -> None:
    """Under another name, or in a session, it is refused; under its own no service starts beside it, and the rotation
    destroys it too."""
    token = make_token(tmp_path)
    attacker = Attacker.logged_in(token)
    for name in ("kept", domain_label("kept", 1), ""):
        assert attacker.copy(attacker.key(DOMAIN), {Attribute.LABEL: name}).name == "ATTRIBUTE_READ_ONLY"
        assert attacker.set(attacker.key(DOMAIN), {Attribute.LABEL: name}) == ReturnValue.ACTION_PROHIBITED
    kept = attacker.copy(attacker.key(DOMAIN), {Attribute.TOKEN: False})  # in a process that stays logged in
    assert kept.name == "ATTRIBUTE_READ_ONLY"
    assert attacker.copy(attacker.key(DOMAIN), {}).name == "OK"
    with pytest.raises(HsmFault, match="2 objects labelled"):
        open_token(token.configuration)
    with open_ceremony(token.configuration, officer_pin=token.officer_pin, user_pin=token.user_pin) as ceremony:
        hierarchy.add_domain_key(ceremony, domain_label("default", 2))
        hierarchy.destroy_domain_key(ceremony, DOMAIN)
    assert Attacker.logged_in(token).find({Attribute.LABEL: DOMAIN}) == []
    open_token(token.configuration).close()


def test_attack_74_open_old_blobs_after_a_rotation(tmp_path: Path) -> None:
    """What the database held before is worth nothing to whoever has only what the HSM holds after."""
    token = make_token(tmp_path)
    service = open_token(token.configuration)
    old = service.generate("ECC_NIST_P256", DOMAIN, "key/x").wrapped or b""
    service.close()
    with open_ceremony(token.configuration, officer_pin=token.officer_pin, user_pin=token.user_pin) as ceremony:
        hierarchy.add_domain_key(ceremony, domain_label("default", 2))
        hierarchy.destroy_domain_key(ceremony, DOMAIN)
    attacker = Attacker.logged_in(token)
    assert attacker.find({Attribute.LABEL: DOMAIN}) == []
    for label in (domain_label("default", 2), OTHER_DOMAIN):
        assert attacker.unwrap(attacker.key(label), old, {**EC_PRIVATE, **CONFINED}).name == "GENERAL_ERROR"
    old_root = next(root.wrapped for root in token.hierarchy.roots if root.label == DOMAIN)
    answer = attacker.unwrap(attacker.key("region"), old_root, {**AES_CUSTOMER, **CONFINED})
    assert answer.name == "KEY_FUNCTION_NOT_PERMITTED"


def test_not_refused_75_decrypting_an_import_or_a_seed(made: Made, attacker: Attacker) -> None:
    """Whoever has the PIN and the database uses these keys too, and what is under them is the material itself."""
    blob, template = made.blobs["import's RSA key"]
    key = attacker.unwrap(attacker.key(DOMAIN), blob, {**template, **CONFINED})
    assert attacker.begin("C_DecryptInit", CMechanism.of(Mechanism.RSA_PKCS), key.handle) == ReturnValue.OK
    assert attacker.finish("C_Decrypt", _encrypted(made.import_key, CARRIED)).octets == CARRIED
    blob, template = made.blobs["seed's AES key"]
    key = attacker.unwrap(attacker.key(DOMAIN), blob, {**template, **CONFINED})
    nonce = ctypes.create_string_buffer(made.seed[:12], 12)
    more = associated("version", "ML_DSA_65")
    told = ctypes.create_string_buffer(more, len(more))
    parameters = _GcmParameters(ctypes.addressof(nonce), 12, 96, ctypes.addressof(told), len(more), 128)
    mechanism = CMechanism.of(Mechanism.AES_GCM, parameters)
    assert attacker.begin("C_DecryptInit", mechanism, key.handle) == ReturnValue.OK
    assert attacker.finish("C_Decrypt", made.seed[12:]).octets == SEED


def _encrypted(public_key: bytes, octets: bytes) -> bytes:
    key = load_der_public_key(public_key)
    return key.encrypt(octets, padding.PKCS1v15())  # type: ignore[union-attr]
