"""Imported key material on a real token: wrapped outside, brought in, deleted, expired, brought in again."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, PublicFormat

from keystore.algorithms import MAC_ALGORITHMS, Origin, Protection, Purpose
from keystore.api import KeyState, VersionCause, VersionState
from keystore.db import open_database
from keystore.errors import (
    ImportTokenExpired,
    IncorrectKeyMaterial,
    InvalidImportToken,
    NotFound,
    Undecipherable,
    Unsupported,
    WrongState,
)
from keystore.importable import WRAPPING_ALGORITHMS, WRAPPING_SPECS, check_wrapping
from keystore.keystore import Keystore
from keystore.lifecycle import UNTIL_ROTATED, state_at, version_state
from keystore.materials import ImportType, MaterialRequest
from tests import databases
from tests.databases import url_of
from tests.keystore.imported import OneWrappingKey, material_of, pkcs8, private_key, wrapped
from tests.keystore.support import Place, intent_for, make_place, new_key
from tests.signer.service import MovedClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.api import Key, KeyVersion
    from keystore.hsm import Token
    from keystore.imports import Imported
    from keystore.wrapping_keys import ImportParameters

ACTOR = "user/key-admin"
NOTHING_ELSE = MaterialRequest(b"", b"", None)
NEW = replace(NOTHING_ELSE, import_type=ImportType.NEW)
AES, WRAP = "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_256"


class Importer:
    """A keystore of origin EXTERNAL keys, with a clock that tests move."""

    def __init__(self, place: Place, keystore: Keystore, clock: MovedClock) -> None:
        self.place = place
        self.keystore = keystore
        self.clock = clock

    def key(self, spec: str = "SYMMETRIC_DEFAULT", purpose: Purpose = Purpose.ENCRYPT) -> Key:
        return self.keystore.create_key(replace(new_key(spec=spec, purpose=purpose), origin=Origin.EXTERNAL))

    def parameters(self, key: Key, algorithm: str = AES) -> ImportParameters:
        return self.keystore.imports.parameters(key.id, algorithm, "RSA_2048")

    def bring(self, key: Key, material: bytes, algorithm: str = AES, asked: MaterialRequest = NOTHING_ELSE) -> Imported:
        made = self.parameters(key, algorithm)
        return self.send(key, made, wrapped(made.public_key, algorithm, material), asked)

    def send(
        self, key: Key, made: ImportParameters, ciphertext: bytes, asked: MaterialRequest = NOTHING_ELSE
    ) -> Imported:
        request = replace(asked, token=made.token, ciphertext=ciphertext)
        return self.keystore.imports.bring_in(key.id, request, ACTOR)

    def until(self, days: float) -> MaterialRequest:
        return replace(NOTHING_ELSE, expires_at=self.clock() + timedelta(days=days))


@pytest.fixture(scope="module")
def importer(tmp_path_factory: pytest.TempPathFactory, token: Token) -> Iterator[Importer]:
    with make_place(tmp_path_factory.mktemp("imports"), token) as place:
        database = open_database(url_of(place.path))
        clock = MovedClock(place.warm.clock())
        specs = ["ECC_NIST_EDWARDS25519"]
        yield Importer(place, Keystore(OneWrappingKey(place.token), database, software_specs=specs, clock=clock), clock)
        database.close()


def opens(importer: Importer, version: KeyVersion, material: bytes) -> bool:
    """Whether the HSM encrypts with this very AES key."""
    sealed = importer.place.token.encrypt(version.backing, b"plaintext", b"context")
    return AESGCM(material).decrypt(sealed[:12], sealed[12:], b"context") == b"plaintext"


@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"])
def test_a_symmetric_key_is_the_material_that_came_in(importer: Importer, algorithm: str) -> None:
    key = importer.key()
    assert (key.state, key.versions, key.origin) == (KeyState.PENDING_IMPORT, (), Origin.EXTERNAL)
    material = os.urandom(32)
    imported = importer.bring(key, material, algorithm, replace(NOTHING_ELSE, description="from the vault"))
    (version,) = imported.key.versions
    assert (imported.key.state, version.cause) == (KeyState.ENABLED, VersionCause.IMPORTED)
    assert (version.material_id, version.material_description) == (imported.material_id, "from the vault")
    assert opens(importer, version, material)
    assert material not in databases.octets(importer.place.path)


@pytest.mark.parametrize(
    ("spec", "algorithm"),
    [
        ("RSA_2048", "RSA_AES_KEY_WRAP_SHA_1"),
        ("ECC_NIST_P256", "RSAES_OAEP_SHA_1"),
        ("ECC_NIST_P384", WRAP),
        ("ECC_NIST_P521", WRAP),
        ("ECC_SECG_P256K1", AES),
        ("ECC_NIST_EDWARDS25519", AES),
    ],
)
def test_a_private_key_signs_for_its_own_public_key(importer: Importer, spec: str, algorithm: str) -> None:
    key, theirs = importer.key(spec, Purpose.GENERAL), private_key(spec)
    imported = importer.bring(key, pkcs8(theirs), algorithm)
    assert imported.material_id is None
    assert imported.key.state is KeyState.ENABLED
    (version,) = imported.key.versions
    assert version.public_key == theirs.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signature = importer.keystore.signing_key(intent_for(imported.key)).sign(b"message")
    if isinstance(theirs, rsa.RSAPrivateKey):
        theirs.public_key().verify(signature, b"message", padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(theirs, ec.EllipticCurvePrivateKey):
        bits = {"ECC_NIST_P384": hashes.SHA384(), "ECC_NIST_P521": hashes.SHA512()}.get(spec, hashes.SHA256())
        theirs.public_key().verify(signature, b"message", ec.ECDSA(bits))
    else:
        assert imported.key.protection is Protection.SOFTWARE
        theirs.public_key().verify(signature, b"message")


@pytest.mark.parametrize("spec", ["HMAC_224", "HMAC_512"])
def test_an_hmac_key_is_the_material_that_came_in(importer: Importer, spec: str) -> None:
    key, material = importer.key(spec, Purpose.MAC), material_of(spec)
    imported = importer.bring(key, material)
    assert imported.material_id is None
    name = f"HMAC_SHA_{spec.removeprefix('HMAC_')}"
    made = importer.place.token.mac(imported.key.versions[0].backing, MAC_ALGORITHMS[name], b"message")
    assert made == hmac.digest(material, b"message", f"sha{spec.removeprefix('HMAC_')}")
    with pytest.raises(IncorrectKeyMaterial):
        importer.bring(key, material_of(spec))
    assert importer.bring(key, material).key.versions[0].backing.wrapped


ALLOWED = {
    "SYMMETRIC_DEFAULT": "oaep",
    "HMAC_384": "oaep",
    "RSA_2048": "aes",
    "RSA_4096": "aes",
    "ECC_NIST_P256": "both",
    "ECC_NIST_P521": "but RSA_2048",
    "ECC_NIST_EDWARDS25519": "both",
}


@pytest.mark.parametrize(("spec", "which"), ALLOWED.items())
def test_which_algorithm_carries_which_material_is_as_aws_has_it(spec: str, which: str) -> None:
    for algorithm in (*WRAPPING_ALGORITHMS, "RSAES_PKCS1_V1_5", "SM2PKE"):
        for wrapping_spec in (*WRAPPING_SPECS, "SM2"):
            with_aes = algorithm.startswith("RSA_AES")
            fits = {"oaep": not with_aes, "aes": with_aes, "both": True}.get(
                which, with_aes or wrapping_spec != "RSA_2048"
            )
            if fits and algorithm in WRAPPING_ALGORITHMS and wrapping_spec in WRAPPING_SPECS:
                assert check_wrapping(spec, algorithm, wrapping_spec).name == algorithm
                continue
            with pytest.raises(Unsupported) as refused:
                check_wrapping(spec, algorithm, wrapping_spec)
            assert refused.value.field in ("wrapping_algorithm", "wrapping_key_spec")


def test_what_is_made_here_takes_no_material_and_what_the_hsm_cannot_wrap_neither(importer: Importer) -> None:
    own = importer.keystore.create_key(new_key())
    for refused in (
        lambda: importer.parameters(own),
        lambda: importer.keystore.imports.bring_in(own.id, MaterialRequest(b"t", b"c", None), ACTOR),
        lambda: importer.keystore.imports.delete(own.id),
        lambda: importer.keystore.rotate_to_imported(own.id, ACTOR),
    ):
        with pytest.raises(Unsupported, match="origin is AWS_KMS"):
            refused()
    external = replace(new_key(spec="ECC_NIST_EDWARDS25519"), origin=Origin.EXTERNAL)
    with pytest.raises(Unsupported, match="software_specs"):
        importer.place.warm.create_key(external)
    with pytest.raises(Unsupported, match="made here"):
        importer.keystore.create_key(replace(new_key(purpose=Purpose.ARTIFACT), origin=Origin.EXTERNAL))
    with importer.place.fresh(software_specs=["ML_DSA_44"]) as keystore, pytest.raises(Unsupported, match="imported"):
        keystore.create_key(replace(new_key(spec="ML_DSA_44"), origin=Origin.EXTERNAL))


def test_material_of_another_kind_is_not_taken(importer: Importer) -> None:
    for spec, purpose, algorithm, wrong in (
        ("SYMMETRIC_DEFAULT", Purpose.ENCRYPT, AES, (bytes(16), bytes(31), bytes(33), b"")),
        ("HMAC_256", Purpose.MAC, AES, (bytes(28), bytes(64))),
        (
            "ECC_NIST_P256",
            Purpose.GENERAL,
            WRAP,
            (
                pkcs8(private_key("ECC_SECG_P256K1")),
                pkcs8(private_key("ECC_NIST_EDWARDS25519")),
                pkcs8(private_key("RSA_2048")),
                pkcs8(private_key("ECC_NIST_P256")) + b"\x00",
                pkcs8(private_key("ECC_NIST_P256"))[:-1],
                private_key("ECC_NIST_P256").private_bytes(
                    Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
                ),
                mismatched(),
                SHORT_ED25519,
                b"no DER at all",
            ),
        ),
        ("RSA_3072", Purpose.GENERAL, WRAP, (pkcs8(private_key("RSA_2048")),)),
    ):
        key = importer.key(spec, purpose)
        for material in wrong:
            with pytest.raises(IncorrectKeyMaterial) as refused:
                importer.bring(key, material, algorithm)
            assert "secret" not in str(refused.value)
        assert importer.keystore.get_key(key.id).state is KeyState.PENDING_IMPORT


# PKCS #8 with 31 octets where Ed25519 has 32: the library calls that an error of its own.
SHORT_ED25519 = bytes.fromhex("302d020100300506032b65700421041f") + bytes(31)


def mismatched() -> bytes:
    """A P-256 key whose public half is another key's."""
    one, other = private_key("ECC_NIST_P256"), ec.generate_private_key(ec.SECP256R1())
    assert isinstance(one, ec.EllipticCurvePrivateKey)
    points = [key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) for key in (one, other)]
    assert points[0] in pkcs8(one)
    return pkcs8(one).replace(points[0], points[1])


def test_wrapped_material_that_does_not_open_has_one_answer(importer: Importer) -> None:
    key = importer.key("ECC_NIST_P256", Purpose.GENERAL)
    material = pkcs8(private_key("ECC_NIST_P256"))
    answers = set()
    for algorithm in (AES, "RSAES_OAEP_SHA_1", WRAP):
        made = importer.parameters(key, algorithm)
        good = wrapped(made.public_key, algorithm, material)
        other = "RSAES_OAEP_SHA_1" if algorithm == AES else AES
        for wrong in (
            b"",
            good[:-1],
            good + b"\x00",
            good[:10] + bytes([good[10] ^ 1]) + good[11:],
            good[:-1] + bytes([good[-1] ^ 1]),
            b"\xff" * len(good),
            bytes(len(good)),
            wrapped(made.public_key, other, material),
        ):
            with pytest.raises(Undecipherable) as refused:
                importer.send(key, made, wrong)
            answers.add(str(refused.value))
    assert len(answers) == 1
    assert importer.send(key, made, good).key.state is KeyState.ENABLED


def test_a_token_is_for_its_key_and_its_day_alone(importer: Importer) -> None:
    key, other = importer.key(), importer.key()
    material = os.urandom(32)
    made = importer.parameters(key)
    ciphertext = wrapped(made.public_key, AES, material)
    with pytest.raises(InvalidImportToken, match="another key"):
        importer.send(other, made, ciphertext)
    for position in range(0, len(made.token), 7):
        changed = bytearray(made.token)
        changed[position] ^= 1
        with pytest.raises(InvalidImportToken):
            importer.send(key, replace(made, token=bytes(changed)), ciphertext)
    for wrong in (b"", made.token[:-1], made.token + b"x", made.token[:32], os.urandom(100)):
        with pytest.raises(InvalidImportToken):
            importer.send(key, replace(made, token=wrong), ciphertext)
    for _ in range(2):  # within its day it is good for more than once
        assert importer.send(key, made, ciphertext).key.state is KeyState.ENABLED
    importer.clock.move(timedelta(hours=24) - timedelta(microseconds=1))
    importer.send(key, made, ciphertext)
    importer.clock.move(timedelta(microseconds=1))
    with pytest.raises(ImportTokenExpired):
        importer.send(key, made, ciphertext)
    kept = "SELECT id FROM import_parameters WHERE key_id = ?"
    assert importer.place.attacker.rows(kept, key.id)
    importer.keystore.imports.forget_parameters(importer.clock())
    assert not importer.place.attacker.rows(kept, key.id)
    with pytest.raises(ImportTokenExpired):
        importer.send(key, made, ciphertext)


def test_a_wrapping_key_is_in_the_database_wrapped_and_sealed(importer: Importer) -> None:
    key = importer.key()
    made, other = importer.parameters(key), importer.parameters(importer.key())
    ciphertext = wrapped(made.public_key, AES, os.urandom(32))
    (mine,) = importer.place.attacker.rows("SELECT id FROM import_parameters WHERE key_id = ?", key.id)
    before = importer.place.attacker.row("import_parameters", mine[0])
    importer.place.attacker.set("import_parameters", mine[0], {"expires_at": 2**60})
    with pytest.raises(Exception, match="seal"):
        importer.send(key, made, ciphertext)
    importer.place.attacker.put("import_parameters", before)
    importer.send(key, made, ciphertext)
    assert made.token != other.token


def test_without_its_material_a_key_is_of_no_use_until_the_same_is_back(importer: Importer) -> None:
    key = importer.key("ECC_NIST_P256", Purpose.GENERAL)
    material = pkcs8(private_key("ECC_NIST_P256"))
    imported = importer.bring(key, material).key
    importer.keystore.signing_key(intent_for(imported))
    assert importer.keystore.imports.delete(key.id).material_id is None
    empty = importer.keystore.get_key(key.id)
    assert (empty.state, empty.versions[0].has_material) == (KeyState.PENDING_IMPORT, False)
    assert empty.versions[0].public_key == imported.versions[0].public_key
    importer.keystore.imports.delete(key.id)  # nothing to delete is no error
    with pytest.raises(WrongState, match="pending import"):
        importer.keystore.signing_key(intent_for(imported))
    with pytest.raises(IncorrectKeyMaterial, match="before"):
        importer.bring(key, pkcs8(ec.generate_private_key(ec.SECP256R1())))
    again = importer.bring(key, material).key
    assert (again.state, len(again.versions)) == (KeyState.ENABLED, 1)
    importer.keystore.signing_key(intent_for(again)).sign(b"message")
    for name, asked in {
        "import_type": replace(NOTHING_ELSE, import_type=ImportType.EXISTING),
        "material_id": replace(NOTHING_ELSE, material_id="0" * 64),
        "description": replace(NOTHING_ELSE, description="words"),
    }.items():
        with pytest.raises(Unsupported) as refused:
            importer.bring(key, material, asked=asked)
        assert refused.value.field == name
    with pytest.raises(Unsupported, match="one material"):
        importer.keystore.imports.delete(key.id, "0" * 64)


def test_material_is_gone_at_its_last_moment_and_deleted_once(importer: Importer) -> None:
    key = importer.key("ECC_NIST_P256", Purpose.GENERAL)
    material = pkcs8(private_key("ECC_NIST_P256"))
    imported = importer.bring(key, material, asked=importer.until(1)).key
    importer.clock.move(timedelta(days=1) - timedelta(microseconds=1))
    importer.keystore.signing_key(intent_for(imported)).sign(b"message")
    assert not [lost for lost in importer.keystore.imports.expire_due(importer.clock()) if lost.key_id == key.id]
    importer.clock.move(timedelta(microseconds=1))
    # Before upkeep comes by the row still says enabled; nobody gets a signature for it.
    late = importer.keystore.get_key(key.id)
    assert (late.state, state_at(late, importer.clock())) == (KeyState.ENABLED, KeyState.PENDING_IMPORT)
    with pytest.raises(WrongState, match="pending import"):
        importer.keystore.signing_key(intent_for(imported))
    with importer.place.fresh() as other:
        lost = [each.expire_due(importer.clock()) for each in (importer.keystore.imports, other.imports)]
    assert [one.key_id for found in lost for one in found if one.key_id == key.id] == [key.id]
    gone = importer.keystore.get_key(key.id)
    assert (gone.state, gone.versions[0].has_material) == (KeyState.PENDING_IMPORT, False)
    assert gone.versions[0].expires_at is None
    assert importer.bring(key, material).key.versions[0].expires_at is None


def test_of_two_that_find_it_expired_one_is_told(importer: Importer, monkeypatch: pytest.MonkeyPatch) -> None:
    key, material = importer.key("ECC_NIST_P256", Purpose.GENERAL), pkcs8(private_key("ECC_NIST_P256"))
    importer.bring(key, material, asked=importer.until(1))
    importer.clock.move(timedelta(days=1))
    told: list[str] = []
    really = importer.keystore.imports._get_key
    with importer.place.fresh() as other:

        def overtaken(key_id: str) -> Key:
            """Another worker comes between the look for what is due and its deletion."""
            told.extend(lost.key_id for lost in other.imports.expire_due(importer.clock()))
            return really(key_id)

        monkeypatch.setattr(importer.keystore.imports, "_get_key", overtaken)
        told.extend(lost.key_id for lost in importer.keystore.imports.expire_due(importer.clock()))
    assert told.count(key.id) == 1


def test_the_same_material_again_may_have_another_end(importer: Importer) -> None:
    key, material = importer.key(), os.urandom(32)
    first = importer.bring(key, material, asked=replace(importer.until(1), description="first")).key
    second = importer.bring(key, material, asked=importer.until(9)).key
    assert second.versions[0].expires_at == importer.until(9).expires_at
    assert second.versions[0].material_description == first.versions[0].material_description == "first"
    other = importer.bring(key, material, asked=replace(NOTHING_ELSE, description="other")).key
    assert other.versions[0].material_description == "other"
    assert importer.keystore.get_key(key.id).versions[0].expires_at is None


def states(importer: Importer, key: Key) -> list[tuple[VersionState, bool]]:
    found = importer.keystore.get_key(key.id)
    return [(version_state(found.versions, one.number, importer.clock()), one.has_material) for one in found.versions]


def test_a_symmetric_key_has_several_materials_and_is_rotated_to_the_next(importer: Importer) -> None:
    key = importer.key()
    first, second, third = (os.urandom(32) for _ in range(3))
    with pytest.raises(IncorrectKeyMaterial):
        importer.bring(key, first, asked=replace(NOTHING_ELSE, import_type=ImportType.EXISTING))
    one = importer.bring(key, first)
    with pytest.raises(IncorrectKeyMaterial, match="before"):
        importer.bring(key, second)  # without a word it is taken for the material that is there
    with pytest.raises(IncorrectKeyMaterial, match="not new"):
        importer.bring(key, first, asked=NEW)
    with pytest.raises(WrongState, match="waits"):
        importer.keystore.rotate_to_imported(key.id, ACTOR)
    two = importer.bring(key, second, asked=NEW)
    assert states(importer, key) == [(VersionState.ACTIVE, True), (VersionState.PENDING, True)]
    assert two.key.versions[1].activate_at == UNTIL_ROTATED
    with pytest.raises(WrongState, match="waits for its rotation"):
        importer.bring(key, third, asked=NEW)
    # What waits is not the key's for good: another may take its place.
    assert importer.keystore.imports.delete(key.id, two.material_id).material_id == two.material_id
    assert importer.keystore.get_key(key.id).state is KeyState.ENABLED
    with pytest.raises(WrongState):
        importer.keystore.rotate_to_imported(key.id, ACTOR)
    instead = importer.bring(key, third, asked=NEW)
    assert (len(instead.key.versions), instead.key.versions[1].material_id) == (2, instead.material_id)
    rotated = importer.keystore.rotate_to_imported(key.id, ACTOR)
    assert states(importer, key) == [(VersionState.RETIRED, True), (VersionState.ACTIVE, True)]
    assert rotated.versions[1].cause is VersionCause.ON_DEMAND
    assert opens(importer, rotated.versions[1], third)
    assert opens(importer, rotated.versions[0], first)
    with pytest.raises(Unsupported, match="import the next"):
        importer.keystore.rotate(key.id, activate_at=importer.clock(), actor=ACTOR)
    # Every material that was ever the key's must be there.
    importer.keystore.imports.delete(key.id)  # the current one
    importer.keystore.imports.delete(key.id, one.material_id)
    assert states(importer, key) == [(VersionState.RETIRED, False), (VersionState.ACTIVE, False)]
    for material, wanted in ((first, KeyState.PENDING_IMPORT), (third, KeyState.ENABLED)):
        assert importer.bring(key, material).key.state is wanted
    with pytest.raises(IncorrectKeyMaterial):
        importer.bring(key, first, asked=replace(NOTHING_ELSE, material_id=instead.material_id))
    with pytest.raises(Unsupported, match="no id yet"):
        importer.bring(key, second, asked=replace(NEW, material_id="0" * 64))
    with pytest.raises(NotFound, match="no such material"):
        importer.keystore.imports.delete(key.id, "0" * 64)


def test_states_of_a_key_and_its_material(importer: Importer) -> None:
    key, material = importer.key(), os.urandom(32)
    importer.bring(key, material)
    importer.keystore.disable(key.id)
    assert importer.bring(key, material).key.state is KeyState.DISABLED  # nobody enabled it
    importer.keystore.imports.delete(key.id)
    assert importer.keystore.get_key(key.id).state is KeyState.PENDING_IMPORT
    for refused in (importer.keystore.enable, importer.keystore.disable):
        with pytest.raises(WrongState):
            refused(key.id)
    importer.keystore.schedule_deletion(key.id, days=7)
    with pytest.raises(WrongState, match="pending deletion"):
        importer.parameters(key)
    with pytest.raises(WrongState, match="pending deletion"):
        importer.keystore.imports.bring_in(key.id, NOTHING_ELSE, ACTOR)
    importer.keystore.imports.delete(key.id)  # changes nothing of that
    assert importer.keystore.get_key(key.id).state is KeyState.PENDING_DELETION
    assert importer.keystore.cancel_deletion(key.id).state is KeyState.PENDING_IMPORT
    assert importer.bring(key, material).key.state is KeyState.ENABLED
    importer.keystore.schedule_deletion(key.id, days=7)
    assert importer.keystore.cancel_deletion(key.id).state is KeyState.DISABLED


def test_the_ids_of_materials_say_nothing_of_them(importer: Importer) -> None:
    material = os.urandom(32)
    one, two = importer.bring(importer.key(), material), importer.bring(importer.key(), os.urandom(32))
    assert one.material_id is not None
    assert len(one.material_id) == 64
    assert one.material_id not in (two.material_id, hashlib.sha256(material).hexdigest())
