"""Keys of `protection: software`: only where they are allowed, encrypted in the HSM, verified by others."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from Crypto.Hash import SHA512
from Crypto.Signature import eddsa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey, MLDSAMuHasher
from cryptography.hazmat.primitives.serialization import load_der_public_key
from dilithium_py.ml_dsa import ML_DSA_44, ML_DSA_65, ML_DSA_87
from kyber_py.ml_kem import ML_KEM_768, ML_KEM_1024

from keystore import software, software_keys
from keystore.algorithms import (
    ED25519_PH,
    KEY_SPECS,
    NOT_OFFERED,
    SIGNING_ALGORITHMS,
    SOFTWARE_ONLY,
    SOFTWARE_SPECS,
    Protection,
    Purpose,
    key_algorithms,
)
from keystore.api import Storage
from keystore.errors import HsmFault, KeystoreError, Undecipherable, Unsupported
from keystore.keystore import Keystore
from keystore.signing import verify_signature
from tests.hsm_support import DOMAIN, OTHER_DOMAIN
from tests.keystore.support import Place, intent_for, make_place, new_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.api import BackingKey, Key
    from keystore.hsm import Token

MESSAGE = b"a message that is signed whole"
ML_DSA = {"ML_DSA_44": ML_DSA_44, "ML_DSA_65": ML_DSA_65, "ML_DSA_87": ML_DSA_87}
ML_KEM = {"ML_KEM_768": ML_KEM_768, "ML_KEM_1024": ML_KEM_1024}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, token: Token) -> Iterator[Place]:
    with make_place(tmp_path_factory.mktemp("software"), token) as made:
        yield made


@contextmanager
def allowing(place: Place, *specs: str) -> Iterator[Keystore]:
    """A keystore whose operator lists these."""
    with place.fresh(software_specs=specs or SOFTWARE_SPECS) as keystore:
        yield keystore


@pytest.fixture(scope="module")
def keystore(shared: Place) -> Iterator[Keystore]:
    with allowing(shared) as made:
        yield made


def purpose_of(spec: str) -> Purpose:
    return Purpose.ENCAPSULATE if spec in ML_KEM else Purpose.GENERAL


def made(keystore: Keystore, spec: str) -> Key:
    return keystore.create_key(new_key(spec=spec, purpose=purpose_of(spec)))


def raw_public(key: Key) -> bytes:
    loaded = load_der_public_key(key.versions[0].public_key)
    assert isinstance(loaded, (Ed25519PublicKey, *software_keys.MLDSA_PUBLIC, *software_keys.MLKEM_PUBLIC))
    return loaded.public_bytes_raw()


@pytest.mark.parametrize("spec", ML_DSA)
def test_another_implementation_verifies_what_an_ml_dsa_key_signs(keystore: Keystore, spec: str) -> None:
    key = made(keystore, spec)
    assert (key.protection, key.storage) == (Protection.SOFTWARE, Storage.WRAPPED)
    opened = keystore.signing_key(intent_for(key))
    signature = opened.sign(MESSAGE)
    public = raw_public(key)
    assert ML_DSA[spec].verify(public, MESSAGE, signature)
    assert not ML_DSA[spec].verify(public, MESSAGE + b"x", signature)
    if spec == "ML_DSA_44":  # one is enough of what is the same for all
        mu = ML_DSA[spec]._h(ML_DSA[spec]._h(public, 64) + b"\x00\x00" + MESSAGE, 64)
        assert ML_DSA[spec].verify(public, MESSAGE, opened.sign_mu(mu))
        for wrong in (b"", mu[:-1], mu + b"x"):
            with pytest.raises(Unsupported, match="64 octets"):
                opened.sign_mu(wrong)
        with pytest.raises(Unsupported, match="whole messages"):
            opened.sign_digest(bytes(64))


def test_a_message_representative_is_the_librarys_own(keystore: Keystore) -> None:
    key = made(keystore, "ML_DSA_65")
    public = load_der_public_key(key.versions[0].public_key)
    assert isinstance(public, MLDSA65PublicKey)
    hasher = MLDSAMuHasher(public)
    hasher.update(MESSAGE)
    public.verify(keystore.signing_key(intent_for(key)).sign_mu(hasher.finalize()), MESSAGE)


def test_another_implementation_verifies_what_an_ed25519_key_signs_prehashed(keystore: Keystore) -> None:
    key = made(keystore, "ECC_NIST_EDWARDS25519")
    assert key_algorithms(key.purpose, key.spec, key.algorithm, key.protection) == ("ED25519_SHA_512", ED25519_PH)
    signature = keystore.signing_key(intent_for(key, ED25519_PH)).sign(MESSAGE)
    theirs = eddsa.new(eddsa.import_public_key(raw_public(key)), "rfc8032")
    theirs.verify(SHA512.new(MESSAGE), signature)
    with pytest.raises(ValueError, match="not authentic"):
        theirs.verify(SHA512.new(MESSAGE + b"x"), signature)
    with pytest.raises(ValueError, match="not authentic"):
        theirs.verify(MESSAGE, signature)  # the pure algorithm keeps the two apart
    pure = keystore.signing_key(intent_for(key)).sign(MESSAGE)
    theirs.verify(MESSAGE, pure)
    public = load_der_public_key(key.versions[0].public_key)
    for algorithm, wrong in ((ED25519_PH, pure), ("ED25519_SHA_512", signature), (ED25519_PH, signature[:-1])):
        with pytest.raises(InvalidSignature):
            verify_signature(public, SIGNING_ALGORITHMS[algorithm], wrong, MESSAGE)


def test_the_prehashed_variant_is_that_of_the_rfc() -> None:
    """RFC 8032 section 7.3."""
    seed = bytes.fromhex("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42")
    key = software_keys.load(KEY_SPECS["ECC_NIST_EDWARDS25519"], seed)
    assert software_keys.sign(key, SIGNING_ALGORITHMS[ED25519_PH], b"abc").hex() == (
        "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41"
        "31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406"
    )


@pytest.mark.parametrize("spec", ML_KEM)
def test_another_implementation_shares_a_secret_with_an_ml_kem_key(keystore: Keystore, spec: str) -> None:
    key = made(keystore, spec)
    private = keystore._software.open(key.versions[0].backing, key.versions[0].public_key)
    secret, ciphertext = ML_KEM[spec].encaps(raw_public(key))
    assert software_keys.decapsulate(private, ciphertext) == secret
    changed = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]
    assert software_keys.decapsulate(private, changed) not in (secret, b"")  # FIPS 203: implicit rejection
    for wrong in (b"", ciphertext[:-1], ciphertext + b"x"):
        with pytest.raises(Undecipherable):
            software_keys.decapsulate(private, wrong)
    _, theirs = ML_KEM[spec]._keygen_internal(bytes(32), bytes([1] * 32))
    seeded = software_keys.load(KEY_SPECS[spec], bytes(32) + bytes([1] * 32))
    shared, made_here = software_keys.encapsulate(seeded.public_key())
    assert ML_KEM[spec].decaps(theirs, made_here) == shared


def test_what_the_operator_did_not_list_is_refused_by_name(shared: Place) -> None:
    for spec in SOFTWARE_ONLY:
        with pytest.raises(Unsupported, match=r"\[keys\] software_specs") as refused:
            made(shared.warm, spec)
        assert refused.value.field == "spec"
    insisting = replace(new_key(spec="ECC_NIST_EDWARDS25519"), protection=Protection.SOFTWARE)
    with pytest.raises(Unsupported, match="does not list") as refused:
        shared.warm.create_key(insisting)
    assert refused.value.field == "protection"
    for spec, why in NOT_OFFERED.items():
        with pytest.raises(Unsupported, match=why):
            shared.warm.create_key(new_key(spec=spec))
    with allowing(shared, "ML_DSA_44") as keystore, pytest.raises(Unsupported, match="software_specs"):
        made(keystore, "ML_DSA_65")


def test_a_request_may_insist_on_the_hsm(keystore: Keystore) -> None:
    kept = keystore.create_key(replace(new_key(spec="ECC_NIST_EDWARDS25519"), protection=Protection.HSM))
    assert (kept.protection, kept.storage) == (Protection.HSM, Storage.TOKEN)
    assert key_algorithms(kept.purpose, kept.spec, kept.algorithm, kept.protection) == ("ED25519_SHA_512",)
    with pytest.raises(Unsupported, match="does not sign"):
        keystore.signing_key(intent_for(kept, ED25519_PH))
    with pytest.raises(Unsupported, match="has no ML_DSA_65 keys"):
        keystore.create_key(replace(new_key(spec="ML_DSA_65"), protection=Protection.HSM))
    # A spec that the HSM holds is never made in software.
    with pytest.raises(Unsupported, match="does not list"):
        keystore.create_key(replace(new_key(), protection=Protection.SOFTWARE))


def test_taking_a_spec_off_the_list_stops_new_versions_and_no_signature(shared: Place) -> None:
    with allowing(shared) as keystore:
        key = made(keystore, "ML_DSA_44")
        rotated = keystore.rotate(key.id, activate_at=keystore.clock(), actor="user/key-admin")
        assert [version.backing.protection for version in rotated.versions] == [Protection.SOFTWARE] * 2
        assert rotated.versions[0].public_key != rotated.versions[1].public_key
    assert shared.warm.signing_key(intent_for(rotated)).sign(MESSAGE)
    with pytest.raises(Unsupported, match="any more"):
        shared.warm.rotate(key.id, activate_at=shared.warm.clock(), actor="user/key-admin")


def test_the_database_holds_no_seed_and_each_seed_opens_as_its_own_version_alone(
    keystore: Keystore, token: Token
) -> None:
    one, other = made(keystore, "ML_DSA_44"), made(keystore, "ML_DSA_44")
    backing, foreign = one.versions[0].backing, other.versions[0].backing
    assert backing.wrapped is not None
    assert foreign.wrapped is not None
    private = keystore._software.open(backing, one.versions[0].public_key)
    assert private.private_bytes_raw() not in backing.wrapped
    keys = software.SoftwareKeys(token, 4)
    envelope, theirs = software.decode_envelope(backing.wrapped), software.decode_envelope(foreign.wrapped)
    swapped = {
        "another version's": foreign.wrapped,
        "another's seed": replace(envelope, seed=theirs.seed).encoded(),
        "another's key": replace(envelope, key=theirs.key).encoded(),
        "a bit": replace(envelope, seed=envelope.seed[:-1] + bytes([envelope.seed[-1] ^ 1])).encoded(),
    }
    for wrapped in swapped.values():
        with pytest.raises(HsmFault, match="does not open"):
            keys.open(replace(backing, wrapped=wrapped), one.versions[0].public_key)
    with pytest.raises(HsmFault, match="does not open"):
        keys.open(replace(backing, spec="ML_DSA_65"), one.versions[0].public_key)
    with pytest.raises(HsmFault, match="not of its public key"):
        keys.open(backing, other.versions[0].public_key)
    for wrong in (b"", b"\x01", b"\x02" + backing.wrapped[1:], backing.wrapped + b"\x00", backing.wrapped[:-1]):
        with pytest.raises(HsmFault, match="encoding"):
            keys.open(replace(backing, wrapped=wrong), one.versions[0].public_key)


def test_a_software_key_moves_to_another_domain_key_without_being_opened(keystore: Keystore, token: Token) -> None:
    key = made(keystore, "ML_DSA_44")
    version = key.versions[0]
    moved = replace(
        version.backing, wrapped=software.rewrapped(token, version.backing, OTHER_DOMAIN), domain_label=OTHER_DOMAIN
    )
    assert moved.wrapped != version.backing.wrapped
    keys = software.SoftwareKeys(token, 4)
    assert software_keys.public_half(keys.open(moved, version.public_key)) == version.public_key
    with pytest.raises(KeystoreError):  # AES-KWP under the domain key that it left
        software.SoftwareKeys(token, 4).open(replace(moved, domain_label=DOMAIN), version.public_key)


def test_opened_keys_are_few_and_forgotten(keystore: Keystore, token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = [made(keystore, "ML_DSA_44").versions[0] for _ in range(3)]
    keys = software.SoftwareKeys(token, 2)
    opened: list[str] = []
    really = keys._decrypted

    def counted(backing: BackingKey, envelope: software.Envelope) -> software_keys.PrivateKey:
        opened.append(backing.version_id)
        return really(backing, envelope)

    monkeypatch.setattr(keys, "_decrypted", counted)
    for version in (versions[0], versions[0], versions[1], versions[2], versions[0]):
        keys.open(version.backing, version.public_key)
    assert opened == [versions[number].id for number in (0, 1, 2, 0)]
    keys.forget(versions[0].backing)
    keys.open(versions[0].backing, versions[0].public_key)
    assert opened[-1] == versions[0].id
    assert len(opened) == 5


def test_a_signature_that_does_not_verify_is_given_to_nobody(
    keystore: Keystore, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = made(keystore, "ML_DSA_44")
    opened = keystore.signing_key(intent_for(key))
    honest = software_keys.sign
    monkeypatch.setattr(software_keys, "sign", lambda *asked: honest(*asked)[:-1] + b"\x00\x00")
    with pytest.raises(HsmFault, match="does not verify"):
        opened.sign(MESSAGE)
    monkeypatch.setattr(software_keys, "sign_mu", lambda *_asked: bytes(2420))
    with pytest.raises(HsmFault, match="does not verify"):
        opened.sign_mu(bytes(64))


def test_a_deleted_software_key_is_gone(keystore: Keystore) -> None:
    key = made(keystore, "ML_DSA_44")
    keystore.signing_key(intent_for(key)).sign(MESSAGE)
    keystore.schedule_deletion(key.id, days=7)
    assert keystore.delete_due(keystore.clock() + timedelta(days=8)) == [key.id]
    gone = keystore.get_key(key.id).versions[0]
    assert gone.backing.wrapped is None
    name = (key.versions[0].id, key.versions[0].backing.wrapped)
    assert keystore._software._opened.acquire(name) is None
