"""Keys from making to deletion, on a real token: what they are, what they sign, and what is refused."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from keystore import open_keystore
from keystore.algorithms import (
    AGREEMENT_ALGORITHMS,
    ENCAPSULATION_ALGORITHMS,
    ENCRYPTION_ALGORITHMS,
    KEY_SPECS,
    MAC_ALGORITHMS,
    PURPOSES,
    SIGNING_ALGORITHMS,
    SIGNING_PURPOSES,
    SOFTWARE_ONLY,
    KeyKind,
    KeyUse,
    Purpose,
    Scheme,
    algorithms_for,
)
from keystore.api import (
    AssertionSettings,
    BackingKey,
    CertificateRecord,
    GeneratedKey,
    Issuer,
    KeyState,
    Storage,
    TokenSettings,
    VersionState,
)
from keystore.ceremony import initialise
from keystore.errors import (
    Conflict,
    HsmFault,
    HsmUnavailable,
    IntegrityFailure,
    KeystoreError,
    LimitExceeded,
    NotFound,
    StoreUnavailable,
    Unsupported,
    WrongState,
)
from keystore.keystore import Keystore
from keystore.lifecycle import version_state
from keystore.signing import is_signature
from tests import databases
from tests.databases import init_options
from tests.hsm_support import OTHER_DOMAIN
from tests.keystore.support import CHANGE, Attacker, Place, TokenProxy, intent_for, make_database, new_key, policy_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

    from keystore.algorithms import SigningAlgorithm
    from keystore.api import Key, NewKey, SigningKey, UncertifiedVersion
    from keystore.hsm import Token

NOW = datetime.now(UTC)
HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
SIGNING_SPECS = [  # RSA 3072 and 4096 only differ in time
    spec for spec in PURPOSES[Purpose.GENERAL] if spec not in ("RSA_3072", "RSA_4096", *SOFTWARE_ONLY)
]


def verify(public_key: PublicKeyTypes, algorithm: SigningAlgorithm, signature: bytes, message: bytes) -> None:
    """Verify as somebody outside would, from the message. Raises `InvalidSignature`."""
    if isinstance(public_key, Ed25519PublicKey):
        public_key.verify(signature, message)
        return
    hash_algorithm = HASHES[algorithm.hash_name or ""]
    if isinstance(public_key, EllipticCurvePublicKey):
        public_key.verify(signature, message, ECDSA(hash_algorithm))
        return
    assert isinstance(public_key, RSAPublicKey)
    pss = padding.PSS(padding.MGF1(hash_algorithm), hash_algorithm.digest_size)
    scheme = pss if algorithm.scheme is Scheme.PSS else padding.PKCS1v15()
    public_key.verify(signature, message, scheme, hash_algorithm)


@pytest.mark.parametrize("spec", SIGNING_SPECS)
def test_a_general_key_signs_with_every_algorithm_of_its_spec(place: Place, spec: str) -> None:
    key = place.warm.create_key(new_key(spec=spec))
    assert key.storage is (Storage.TOKEN if KEY_SPECS[spec].kind is KeyKind.EDWARDS else Storage.WRAPPED)
    for name in algorithms_for(Purpose.GENERAL, spec):
        opened = place.warm.signing_key(intent_for(key, name))
        assert (opened.info.key_id, opened.info.version, opened.info.algorithm.name) == (key.id, 1, name)
        message = name.encode() * 30
        verify(opened.public_key, opened.info.algorithm, opened.sign(message), message)
        with pytest.raises(InvalidSignature):
            verify(opened.public_key, opened.info.algorithm, opened.sign(message), message + b"x")
        if opened.info.algorithm.hash_name is None:
            with pytest.raises(Unsupported, match="whole messages"):
                opened.sign_digest(bytes(32))
            continue
        digest = hashes.Hash(HASHES[opened.info.algorithm.hash_name])
        digest.update(message)
        made = digest.finalize()
        verify(opened.public_key, opened.info.algorithm, opened.sign_digest(made), message)
        with pytest.raises(Unsupported, match="digest of"):
            opened.sign_digest(made[:-1])


def test_a_key_says_what_it_is(place: Place) -> None:
    wanted = replace(new_key("release"), description="née", published=True)
    key = place.warm.create_key(wanted)
    assert key.arn == f"arn:aws:kms:us-east-1:000000000000:key/{key.id}"
    assert (key.alias, key.spec, key.purpose, key.algorithm) == (
        "release",
        "ECC_NIST_P256",
        Purpose.GENERAL,
        "ECDSA_SHA_256",
    )
    assert (key.state, key.published, key.description, key.domain) == (KeyState.ENABLED, True, "née", "default")
    assert (key.policy.document, key.policy.revision) == (policy_for("role/ci"), 1)
    assert place.warm.get_key("release") == place.warm.get_key(key.id) == key
    with place.fresh() as fresh:
        assert fresh.get_key("release") == key
        assert fresh.signing_key(intent_for(key)).sign(b"message")


def test_settings_and_formats_come_back_as_they_were(place: Place) -> None:
    place.warm.create_issuer(Issuer(str(uuid.uuid4()), "default", "https://issuer.example", "urn:issuer", NOW))
    tokens = TokenSettings("default", ("a", "b"), 600, ("JWT", "at+jwt"))
    assertions = AssertionSettings("default", ("sp",), ("https://sp.example/acs",))
    artifact = replace(new_key(purpose=Purpose.ARTIFACT), formats=("cms", "raw"))
    assert place.warm.create_key(replace(new_key(purpose=Purpose.JWT), settings=tokens)).settings == tokens
    assert place.warm.create_key(replace(new_key(purpose=Purpose.SAML), settings=assertions)).settings == assertions
    assert place.warm.create_key(artifact).formats == ("cms", "raw")


REFUSED: dict[str, tuple[NewKey, str]] = {
    "no such spec": (new_key(spec="ECC_NIST_P224"), "spec"),
    "spec not for the purpose": (new_key(spec="ECC_SECG_P256K1", purpose=Purpose.ARTIFACT), "spec"),
    "secp256k1 artifact": (new_key(spec="ECC_SECG_P256K1", purpose=Purpose.ARTIFACT), "spec"),
    "algorithm of another spec": (replace(new_key(), algorithm="RSASSA_PSS_SHA_256"), "algorithm"),
    "algorithm not for the purpose": (
        replace(new_key(spec="RSA_2048", purpose=Purpose.ARTIFACT), algorithm="RSASSA_PSS_SHA_512"),
        "algorithm",
    ),
    "formats of a general key": (replace(new_key(), formats=("cms",)), "formats"),
    "settings of a general key": (replace(new_key(), settings=TokenSettings("i", ("a",), 60)), "settings"),
    "a jwt key without settings": (new_key(purpose=Purpose.JWT), "settings"),
    "a saml key with a jwt key's": (
        replace(new_key(purpose=Purpose.SAML), settings=TokenSettings("i", ("a",), 60)),
        "settings",
    ),
    "no such issuer": (replace(new_key(purpose=Purpose.JWT), settings=TokenSettings("i", ("a",), 60)), "issuer"),
    "no such domain": (replace(new_key(), domain="nowhere"), "domain"),
    "alias with a space": (new_key("a b"), "alias"),
    "alias like a UUID": (new_key(str(uuid.uuid4())), "alias"),
    "empty alias": (new_key(""), "alias"),
    "long alias": (new_key("a" * 251), "alias"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_in_the_table_never_reaches_the_hsm(place: Place, case: str) -> None:
    class Silent(TokenProxy):
        def generate(self, spec: str, domain_label: str, token_label: str, use: KeyUse = KeyUse.SIGN) -> GeneratedKey:
            raise AssertionError(spec)

    wanted, field = REFUSED[case]
    with pytest.raises(Unsupported) as refusal:
        Keystore(Silent(place.token), place.warm.database).create_key(wanted)
    assert refusal.value.field == field


def test_every_purpose_has_a_spec_and_a_default() -> None:
    others = {*ENCRYPTION_ALGORITHMS, *MAC_ALGORITHMS, *AGREEMENT_ALGORITHMS, *ENCAPSULATION_ALGORITHMS}
    assert all(
        algorithms and set(algorithms) <= (set(SIGNING_ALGORITHMS) if purpose in SIGNING_PURPOSES else others)
        for purpose, row in PURPOSES.items()
        for algorithms in row.values()
    )


def test_a_name_is_taken_once(place: Place) -> None:
    key = place.warm.create_key(new_key("release"))
    with pytest.raises(Conflict, match="alias"):
        place.warm.create_key(new_key("release"))
    with pytest.raises(Conflict, match="id"):
        place.warm.create_key(new_key(), key_id=key.id)
    with pytest.raises(Unsupported):
        place.warm.create_key(new_key(), key_id="not-a-uuid")
    assert place.warm.list_keys(None, 10) == [key]


@pytest.mark.parametrize(
    "reference", ["none", "3d3e6615-57e8-4024-8031-6c14a910baf4", "", "a/b", "x" * 300, "\ud800"[:0]]
)
def test_no_such_key(place: Place, reference: str) -> None:
    with pytest.raises(NotFound):
        place.warm.get_key(reference)


def test_keys_are_listed_in_pages(place: Place) -> None:
    made = sorted(place.warm.create_key(new_key()).id for _ in range(5))
    first = place.warm.list_keys(None, 3)
    assert [key.id for key in first] == made[:3]
    assert [key.id for key in place.warm.list_keys(first[-1].id, 3)] == made[3:]
    authority = place.warm.create_key(new_key(purpose=Purpose.CA))
    assert place.warm.find_keys_by_purpose(Purpose.CA) == [authority]


def test_rotation_publishes_at_once_and_signs_when_it_is_time(place: Place) -> None:
    keystore = place.warm
    key = keystore.create_key(new_key("release"))
    soon = datetime.now(UTC) + timedelta(hours=1)
    rotated = keystore.rotate(key.id, activate_at=soon, actor="user/key-admin")
    now = datetime.now(UTC)
    assert [version_state(rotated.versions, number, now) for number in (1, 2)] == [
        VersionState.ACTIVE,
        VersionState.PENDING,
    ]
    assert rotated.versions[1].activate_at == soon
    assert keystore.signing_key(intent_for(key)).sign(b"message")
    with pytest.raises(WrongState, match="version 2 of the key is pending"):
        keystore.signing_key(intent_for(rotated))
    again = keystore.rotate(key.id, activate_at=datetime.now(UTC), actor="user/key-admin")
    assert len({version.public_key for version in again.versions}) == 3
    assert keystore.signing_key(intent_for(again)).info.version == 3
    with pytest.raises(WrongState, match="version 1 of the key is retired"):
        keystore.signing_key(intent_for(key))
    with place.fresh() as fresh:
        assert fresh.get_key("release") == again


def test_a_key_that_is_rotated_twice_at_once_keeps_its_versions_in_order(place: Place) -> None:
    key = place.warm.create_key(new_key())
    stale = Keystore(place.token, place.warm.database)
    taken = stale.get_key(key.id)
    place.warm.rotate(key.id, activate_at=NOW, actor="user/key-admin")
    with pytest.raises(Conflict, match="rotated by somebody else"):
        stale._maker.rotate(taken, NOW, "user/key-admin", None)
    assert len(place.warm.get_key(key.id).versions) == 2


def test_states_follow_one_another(place: Place) -> None:
    keystore, key = place.warm, place.warm.create_key(new_key())

    def refused(*calls: Callable[[], object]) -> None:
        for call in calls:
            with pytest.raises(WrongState):
                call()

    def sign() -> bytes:
        return keystore.signing_key(intent_for(key)).sign(b"message")

    def rotate() -> Key:
        return keystore.rotate(key.id, activate_at=NOW, actor="user/key-admin")

    refused(lambda: keystore.enable(key.id), lambda: keystore.cancel_deletion(key.id))
    assert keystore.disable(key.id).state is KeyState.DISABLED
    refused(sign, rotate, lambda: keystore.disable(key.id))
    assert keystore.enable(key.id).state is KeyState.ENABLED
    assert sign()
    scheduled = keystore.schedule_deletion(key.id, days=7)
    assert scheduled.state is KeyState.PENDING_DELETION
    assert scheduled.deletion_at is not None
    assert timedelta(days=6, hours=23) < scheduled.deletion_at - datetime.now(UTC) <= timedelta(days=7)
    refused(sign, rotate, lambda: keystore.enable(key.id), lambda: keystore.disable(key.id))
    refused(lambda: keystore.schedule_deletion(key.id))
    cancelled = keystore.cancel_deletion(key.id)
    assert (cancelled.state, cancelled.deletion_at) == (KeyState.DISABLED, None)
    keystore.enable(key.id)
    assert sign()
    for unknown in (keystore.disable, keystore.enable, keystore.schedule_deletion, keystore.cancel_deletion):
        with pytest.raises(NotFound):
            unknown(str(uuid.uuid4()))


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_NIST_EDWARDS25519"])
def test_deletion_destroys_the_material_and_keeps_the_rows(place: Place, spec: str) -> None:
    keystore = place.warm
    key = keystore.create_key(new_key("old", spec=spec))
    kept = keystore.create_key(new_key("kept", spec=spec))
    opened = keystore.signing_key(intent_for(key))
    keystore.schedule_deletion(key.id, days=7)
    keystore.schedule_deletion(kept.id, days=30)
    assert keystore.delete_due(datetime.now(UTC)) == []
    assert keystore.delete_due(datetime.now(UTC) + timedelta(days=8)) == [key.id]
    assert keystore.delete_due(datetime.now(UTC) + timedelta(days=8)) == []
    deleted = keystore.get_key(key.id)
    assert (deleted.state, deleted.alias) == (KeyState.DELETED, None)
    assert deleted.versions[0].public_key == key.versions[0].public_key
    assert deleted.versions[0].backing == BackingKey(key.versions[0].id, spec, None, None, None)
    with pytest.raises(WrongState):
        keystore.signing_key(intent_for(key))
    with pytest.raises(NotFound):
        keystore.get_key("old")
    if spec == "ECC_NIST_EDWARDS25519":  # a wrapped key may be known still to who has its old blob
        with pytest.raises(KeystoreError):
            opened.sign(b"message")
    with pytest.raises(Conflict):
        keystore.create_key(new_key(), key_id=key.id)
    assert keystore.create_key(new_key("old")).alias == "old"
    keystore.cancel_deletion(kept.id)
    assert keystore.enable(kept.id).state is KeyState.ENABLED
    assert keystore.store.verify_everything()


def test_a_policy_is_replaced_at_the_revision_that_was_seen(place: Place) -> None:
    key = place.warm.create_key(new_key())
    changed = place.warm.set_policy(key.id, policy_for("role/b", "role/a"), CHANGE, revision=1)
    assert (changed.policy.document, changed.policy.revision) == (policy_for("role/b", "role/a"), 2)
    with pytest.raises(Conflict, match="revision 2"):
        place.warm.set_policy(key.id, policy_for(), CHANGE, revision=1)
    with pytest.raises(NotFound):
        place.warm.set_policy(str(uuid.uuid4()), policy_for(), CHANGE)
    assert place.warm.get_key(key.id) == changed


def test_an_intent_opens_what_it_names_and_nothing_else(place: Place) -> None:
    key, other = place.warm.create_key(new_key()), place.warm.create_key(new_key())
    intent = intent_for(key)
    with pytest.raises(NotFound):
        place.warm.signing_key(replace(intent, key_id=str(uuid.uuid4())))
    with pytest.raises(NotFound, match="version"):
        place.warm.signing_key(replace(intent, version_id=other.versions[0].id))
    for algorithm in ("ECDSA_SHA_384", "RSASSA_PSS_SHA_256", "none"):
        with pytest.raises(Unsupported):
            place.warm.signing_key(replace(intent, algorithm=algorithm))
    rsa = place.warm.create_key(replace(new_key(spec="RSA_2048", purpose=Purpose.ARTIFACT)))
    with pytest.raises(Unsupported):
        place.warm.signing_key(intent_for(rsa, "RSASSA_PSS_SHA_256"))


LIES: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda answer: bytes(len(answer)),
    "truncated": lambda answer: answer[:-1],
    "half": lambda answer: answer[: len(answer) // 2],
    "longer": lambda answer: answer + b"\0\0",
    "nothing": lambda answer: b"",
    "one bit": lambda answer: answer[:-1] + bytes([answer[-1] ^ 1]),
}


@pytest.mark.parametrize("lie", [*LIES, "another key's"])
@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_NIST_P521", "ECC_NIST_EDWARDS25519", "RSA_2048"])
def test_a_signature_that_does_not_verify_never_gets_out(place: Place, spec: str, lie: str) -> None:
    other = place.warm.create_key(new_key(spec=spec))

    class Lying(TokenProxy):
        def sign(self, backing: BackingKey, algorithm: SigningAlgorithm, data: bytes) -> bytes:
            if lie in LIES:
                return LIES[lie](super().sign(backing, algorithm, data))
            return super().sign(other.versions[0].backing, algorithm, data)

    key = place.warm.create_key(new_key(spec=spec))
    lying = Keystore(Lying(place.token), place.warm.database)
    for algorithm in algorithms_for(Purpose.GENERAL, spec):
        opened: SigningKey = lying.signing_key(intent_for(key, algorithm))
        with pytest.raises(HsmFault, match=key.id):
            opened.sign(b"message")
        assert place.warm.signing_key(intent_for(key, algorithm)).sign(b"message")


@pytest.mark.parametrize("lies", [True, False])
def test_a_batch_gives_what_was_made_before_it_fails(place: Place, lies: bool) -> None:
    class Failing(TokenProxy):
        asked = 0

        def sign(self, backing: BackingKey, algorithm: SigningAlgorithm, data: bytes) -> bytes:
            self.asked += 1
            if self.asked == 20 and not lies:
                raise HsmUnavailable
            return super().sign(backing, algorithm, bytes(32) if self.asked == 20 else data)

    key = place.warm.create_key(new_key())
    opened = Keystore(Failing(place.token), place.warm.database).signing_key(intent_for(key))
    digests = [bytes([number]) * 32 for number in range(1, 25)]
    made: list[bytes] = []
    with pytest.raises(HsmFault if lies else HsmUnavailable):
        made.extend(opened.sign_digests(digests))
    assert len(made) == 19
    whole = list(place.warm.signing_key(intent_for(key)).sign_digests(digests))
    for signature, digest in zip(made + whole, digests[:19] + digests, strict=True):
        assert is_signature(key.versions[0].public_key, opened.info.algorithm, signature, digest)
    with pytest.raises(Unsupported, match="32 octets"):
        list(opened.sign_digests([bytes(32), bytes(31)]))


def test_a_key_made_while_its_domain_is_rotated_is_wrapped_again(place: Place) -> None:
    class Rotated(TokenProxy):
        """The domain's key is rotated while the key pair is made; its new version is played by another domain's key."""

        def generate(self, spec: str, domain_label: str, token_label: str, use: KeyUse = KeyUse.SIGN) -> GeneratedKey:
            generated = super().generate(spec, domain_label, token_label, use)
            with place.warm.store.transaction() as transaction:
                row = transaction.get("domains", "default")
                assert row is not None
                transaction.update(row, {"current_version": 2})
            return generated

        def rewrap(self, backing: BackingKey, to_domain_label: str) -> bytes:
            assert (backing.domain_label, to_domain_label) == ("domain/default/1", "domain/default/2")
            return super().rewrap(backing, OTHER_DOMAIN)

        def sign(self, backing: BackingKey, algorithm: SigningAlgorithm, data: bytes) -> bytes:
            assert backing.domain_label == "domain/default/2"
            return super().sign(replace(backing, domain_label=OTHER_DOMAIN), algorithm, data)

    keystore = Keystore(Rotated(place.token), place.warm.database)
    key = keystore.create_key(new_key())
    assert keystore.signing_key(intent_for(key)).sign(b"message")


def test_a_certificate_is_stored_with_its_key_or_neither(place: Place) -> None:
    seen: list[UncertifiedVersion] = []

    def certify(version: UncertifiedVersion) -> CertificateRecord:
        seen.append(version)
        later = NOW + timedelta(days=1)
        return CertificateRecord(
            str(uuid.uuid4()), version.key_id, version.version_id, "0a", (b"leaf", b"root"), NOW, later
        )

    def fail(version: UncertifiedVersion) -> CertificateRecord:
        raise ZeroDivisionError(version.key_id)

    key = place.warm.create_key(new_key("release"), certify=certify)
    assert (seen[0].alias, seen[0].public_key) == ("release", key.versions[0].public_key)
    found = place.warm.find_certificate(key.versions[0].id)
    assert found is not None
    assert found.chain == (b"leaf", b"root")
    with pytest.raises(ZeroDivisionError):
        place.warm.rotate(key.id, activate_at=NOW, actor="user/key-admin", certify=fail)
    with pytest.raises(ZeroDivisionError):
        place.warm.create_key(new_key("other"), certify=fail)
    assert place.warm.list_keys(None, 10) == [key]


def test_signing_goes_on_while_an_rsa_key_is_made(place: Place) -> None:
    key = place.warm.create_key(new_key())
    opened = place.warm.signing_key(intent_for(key))
    maker = threading.Thread(target=place.warm.create_key, args=(new_key("slow", spec="RSA_3072"),))
    maker.start()
    signed = 0
    while maker.is_alive():
        assert opened.sign(b"message")
        signed += 1
    maker.join(60)
    assert signed > 10
    assert place.warm.get_key("slow").spec == "RSA_3072"


def test_it_is_ready_while_hsm_and_database_answer(place: Place) -> None:
    place.warm.ready()
    place.warm.require_deployment()
    assert place.warm.token_info.manufacturer == "SoftHSM project"
    place.warm.database.close()
    with databases.away(place.path):
        with pytest.raises(StoreUnavailable):
            place.warm.require_deployment()
        place.warm.ready()  # the HSM is
        place.warm.database.close()
    place.warm.require_deployment()


def test_a_state_directory_is_opened_and_closed(tmp_path: Path) -> None:
    initialise(tmp_path / "state", init_options(tmp_path / "state", account="123456789012", region="eu-central-1"))
    keystore = open_keystore(tmp_path / "state")
    key = keystore.create_key(new_key("release"))
    assert key.arn == f"arn:aws:kms:eu-central-1:123456789012:key/{key.id}"
    keystore.close()
    again = open_keystore(tmp_path / "state")
    assert again.signing_key(intent_for(again.get_key("release"))).sign(b"message")
    again.close()


def test_a_keystore_that_cannot_be_opened_leaves_nothing_open(tmp_path: Path) -> None:
    initialise(tmp_path / "state", init_options(tmp_path / "state"))
    Attacker(tmp_path / "state" / "sealmark.db").run("UPDATE deployment SET account = '000000000001'")
    for _ in range(2):
        with pytest.raises(IntegrityFailure, match="deployment"):
            open_keystore(tmp_path / "state")


def test_keys_kept_on_the_token_have_a_limit_of_their_own(token: Token, tmp_path: Path) -> None:
    database = make_database(tmp_path / "sealmark.db", token)
    try:
        keystore = Keystore(token, database, token_keys=2)
        first = keystore.create_key(new_key(spec="ECC_NIST_EDWARDS25519"))
        keystore.rotate(first.id, activate_at=first.created_at, actor="user/key-admin")
        with pytest.raises(LimitExceeded, match="token_keys"):
            keystore.create_key(new_key("beyond", spec="ECC_NIST_EDWARDS25519"))
        with pytest.raises(LimitExceeded):
            keystore.rotate(first.id, activate_at=first.created_at, actor="user/key-admin")
        assert len(keystore.get_key(first.id).versions) == 2
        keystore.create_key(new_key("beyond"))  # the alias is free, and wrapped keys have no such limit
    finally:
        database.close()
