"""`initialise` and the ceremonies on domain keys: what is left on success, and that nothing is left on failure."""

from __future__ import annotations

import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from keystore import ceremony, domains, open_keystore
from keystore.algorithms import SIGNING_ALGORITHMS, Origin, Purpose
from keystore.ceremony import InitOptions, create_domain, initialise, renew_log, rotate_domain
from keystore.configuration import StateDirectory, load_keystore_configuration
from keystore.errors import (
    CeremonyError,
    ConfigurationError,
    HsmFault,
    HsmUnavailable,
    IntegrityFailure,
    KeystoreError,
)
from keystore.hierarchy import found_hierarchy
from keystore.hsm import open_token
from keystore.hsm.audit import exactly_one, trusted_labels
from keystore.hsm.labels import LOG, LOG_HEADS, REGION
from keystore.hsm.return_values import CryptokiError
from keystore.hsm.templates import DOMAIN, data_object_named, labelled
from keystore.keystore import Keystore
from keystore.log_anchor import EMPTY_ROOT, KeptHead
from keystore.materials import MaterialRequest
from tests.databases import init_options
from tests.hsm_support import SOFTHSM, make_empty_token
from tests.keystore.imported import wrapped
from tests.keystore.support import allow_software_keys, intent_for, new_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from keystore.api import Key
    from keystore.hierarchy import FoundedHierarchy
    from keystore.hsm.officer import Ceremony

SPECS = ("ECC_NIST_P256", "ECC_SECG_P256K1", "RSA_2048", "ECC_NIST_EDWARDS25519")


class Interrupted(Exception):
    """The machine stops here."""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    initialise(tmp_path / "state", init_options(tmp_path / "state"))
    return tmp_path / "state"


def officer_pin(state: Path) -> bytes:
    return StateDirectory(state).officer_pin.read_bytes().strip()


def signs(keystore: Keystore, key: Key) -> None:
    """Raises unless the signature verifies with the published public key."""
    keystore.signing_key(intent_for(keystore.get_key(key.id))).sign(b"message")


def make_keys(state: Path) -> list[Key]:
    keystore = open_keystore(state)
    keys = [keystore.create_key(new_key(spec, spec)) for spec in SPECS]
    keystore.close()
    return keys


def check_keys(state: Path, keys: list[Key], label: str) -> None:
    """Every key signs, under its old public key; the wrapped ones by the domain key of that label."""
    keystore = open_keystore(state)
    keystore.store.verify_everything()
    for key in keys:
        now = keystore.get_key(key.id)
        assert now.versions[0].public_key == key.versions[0].public_key
        assert now.versions[0].backing.domain_label in (None, label)
        signs(keystore, now)
    keystore.close()


def test_what_initialise_leaves(tmp_path: Path) -> None:
    result = initialise(
        tmp_path / "a" / "state", init_options(tmp_path / "a" / "state", account="123456789012", region="eu-central-1")
    )
    directory = result.state.path
    assert directory == tmp_path / "a" / "state"
    assert result.domains == ("default",)
    assert [file.name for file in result.carry_away] == ["so.pin", *(f"custodian-{n}.share" for n in range(1, 6))]
    for path in directory.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert not mode & 0o077, path
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    toml = result.state.configuration.read_text(encoding="utf-8")
    assert result.state.hsm_pin.read_text(encoding="utf-8").strip() not in toml
    keystore = open_keystore(directory)
    keystore.ready()
    key = keystore.create_key(new_key("release"))
    assert key.arn == f"arn:aws:kms:eu-central-1:123456789012:key/{key.id}"
    signs(keystore, key)
    assert keystore.log.origin.startswith("sealmark/123456789012/eu-central-1/")
    assert keystore.log.kept_head() == KeptHead(keystore.log.origin, 0, EMPTY_ROOT)
    assert len(keystore.log.sign(b"head")) == 64
    roots = keystore.store.select("wrapped_roots")
    assert [row.id for row in roots] == ["domain/default/1", "integrity"]
    keystore.close()


def lose_the_log(state: Path, keeping: int) -> None:
    """With the service's PIN: the log key and the two kept heads, all but as many of the three."""
    configuration = load_keystore_configuration(state).hsm
    token = open_token(configuration)
    owner = token._connection.owner
    for template in (labelled(LOG), *map(data_object_named, LOG_HEADS))[keeping:]:
        (found,) = owner.find(template)
        owner.destroy(found)
    token.close()


@pytest.mark.parametrize("keeping", [0, 1, 3])
def test_another_log_is_begun_where_one_is_over(state: Path, keeping: int) -> None:
    keystore = open_keystore(state)
    former = keystore.log
    key = keystore.create_key(new_key())
    former.keep_head(former.origin, 1_000, bytes(32))
    keystore.close()
    lose_the_log(state, keeping)
    with pytest.raises(CeremonyError, match="refuses the security officer's PIN"):
        renew_log(state, b"another PIN")
    origin = renew_log(state, officer_pin(state))
    keystore = open_keystore(state)
    keystore.ready()
    assert keystore.log.origin == origin != former.origin
    assert keystore.log.kept_head() == KeptHead(origin, 0, EMPTY_ROOT)
    assert len(keystore.log.sign(b"head")) == 64
    signs(keystore, key)
    keystore.store.verify_everything()
    keystore.close()


def test_a_service_that_runs_meanwhile_signs_no_heads(state: Path) -> None:
    keystore = open_keystore(state)
    renew_log(state, officer_pin(state))
    with pytest.raises(HsmFault, match="does not verify with the published one"):
        keystore.log.sign(b"head")
    with pytest.raises(IntegrityFailure, match="is a head of the log"):
        keystore.log.kept_head()
    keystore.close()


@pytest.mark.parametrize("step", ["open_deployment", "begin_log"])
def test_a_renewal_of_the_log_cut_short_is_run_again(state: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def stop(*_: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(ceremony, step, stop)
        with pytest.raises(Interrupted):
            renew_log(state, officer_pin(state))
    keystore = open_keystore(state)
    with pytest.raises(HsmUnavailable, match="keeps no head of the log"):
        keystore.ready()
    keystore.close()
    origin = renew_log(state, officer_pin(state))
    keystore = open_keystore(state)
    keystore.ready()
    assert keystore.log.origin == origin
    keystore.close()


def test_an_empty_directory_will_do_and_gets_the_right_mode(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    initialise(state, init_options(state, custodians=3, threshold=2))
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert len(list((state / "ceremony").glob("*.share"))) == 3


def test_pins_and_shares_are_of_this_deployment_alone(tmp_path: Path) -> None:
    secrets = [
        file.read_bytes()
        for name in ("one", "two")
        for file in (
            *initialise(tmp_path / name, init_options(tmp_path / name)).carry_away,
            tmp_path / name / "hsm.pin",
        )
    ]
    assert len(set(secrets)) == len(secrets) == 14


@pytest.mark.parametrize("make", ["file", "directory with a file", "finished"])
def test_initialise_refuses_what_is_there(tmp_path: Path, make: str) -> None:
    state = tmp_path / "state"
    if make == "file":
        state.write_text("x", encoding="utf-8")
    elif make == "finished":
        initialise(state, init_options(state))
    else:
        state.mkdir()
        (state / "precious").write_text("x", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CeremonyError, match="is there already"):
        initialise(state, init_options(state))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "options",
    [
        InitOptions(account="1"),
        InitOptions(account="12345678901x"),
        InitOptions(region="Frankfurt!"),
        InitOptions(threshold=1),
        InitOptions(threshold=6),
        InitOptions(custodians=17),
        InitOptions(hsm_uri="pkcs11:token=x?module-path=/m&pin-source=/p"),
        InitOptions(hsm_uri="nonsense"),
    ],
)
def test_bad_options_leave_nothing(tmp_path: Path, options: InitOptions) -> None:
    with pytest.raises(KeystoreError):
        initialise(tmp_path / "state", options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize(
    "step",
    [
        "prepare_token",
        "new_database",
        "found_hierarchy",
        "_hand_out_shares",
        "_write_first_rows",
        "write_configuration",
    ],
)
def test_a_failure_at_any_step_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, empty: bool
) -> None:
    state = tmp_path / "state"
    if empty:
        state.mkdir()
    real: Callable[..., object] = getattr(ceremony, step)

    def fail(*arguments: object, **named: object) -> object:
        real(*arguments, **named)
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(ceremony, step, fail)
        with pytest.raises(Interrupted):
            initialise(state, init_options(state))
    assert list(tmp_path.rglob("*")) == ([state] if empty else [])
    initialise(state, init_options(state))


def test_the_region_key_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytearray] = []
    real = found_hierarchy

    def watch(held: Ceremony, names: Sequence[str]) -> FoundedHierarchy:
        founded = real(held, names)
        seen.append(founded.region_key)
        assert any(founded.region_key)
        return founded

    monkeypatch.setattr(ceremony, "found_hierarchy", watch)
    initialise(tmp_path / "state", init_options(tmp_path / "state"))
    assert [bytes(key) for key in seen] == [bytes(32)]


def test_a_token_of_another_hsm_by_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here a SoftHSM outside the state directory stands for it."""
    elsewhere = tmp_path / "hsm of another"
    elsewhere.mkdir()
    configuration, so_pin, _ = make_empty_token(elsewhere, "partition 7")
    monkeypatch.setenv("SOFTHSM2_CONF", configuration.environment["SOFTHSM2_CONF"])
    source = tmp_path / "officer.pin"
    source.touch(mode=0o600)
    source.write_bytes(so_pin)
    pin = str(configuration.pin_file).replace(" ", "%20")
    options = InitOptions(
        hsm_uri=f"pkcs11:token=partition%207?module-path={SOFTHSM}&pin-source=file:{pin}", officer_pin_source=source
    )
    result = initialise(tmp_path / "state", options)
    assert result.token.label == "partition 7"
    assert not result.state.softhsm_tokens.exists()
    assert not result.state.officer_pin.exists()
    keystore = open_keystore(tmp_path / "state")
    signs(keystore, keystore.create_key(new_key("release")))
    keystore.close()
    create_domain(tmp_path / "state", "team-a", so_pin)
    with pytest.raises(CeremonyError, match="'region' already"):
        initialise(tmp_path / "second", options)
    source.chmod(0o640)
    with pytest.raises(ConfigurationError, match="can be read by others"):
        initialise(tmp_path / "third", options)


def test_a_failure_on_another_hsm_says_what_is_left_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    configuration, so_pin, _ = make_empty_token(elsewhere)
    monkeypatch.setenv("SOFTHSM2_CONF", configuration.environment["SOFTHSM2_CONF"])
    source = tmp_path / "officer.pin"
    source.touch(mode=0o600)
    source.write_bytes(so_pin)

    def fail(*arguments: object) -> None:
        raise CeremonyError("no room")

    monkeypatch.setattr(ceremony, "_hand_out_shares", fail)
    uri = f"pkcs11:token=sealmark?module-path={SOFTHSM}&pin-source=file:{configuration.pin_file}"
    with pytest.raises(CeremonyError, match=r"no room\. The token holds the keys of this unfinished ceremony"):
        initialise(tmp_path / "state", init_options(tmp_path / "state", hsm_uri=uri, officer_pin_source=source))
    assert not (tmp_path / "state").exists()


def test_a_moved_state_directory_still_works(state: Path, tmp_path: Path) -> None:
    keys = make_keys(state)
    moved = state.rename(tmp_path / "moved")
    check_keys(moved, keys, "domain/default/1")


def test_a_pin_that_others_can_read_is_refused(state: Path) -> None:
    (state / "hsm.pin").chmod(0o640)
    with pytest.raises(ConfigurationError, match=r"hsm\.pin can be read by others"):
        open_keystore(state)


def test_create_domain(state: Path) -> None:
    keystore = open_keystore(state)
    create_domain(state, "team-a", officer_pin(state))
    key = keystore.create_key(replace(new_key("theirs"), domain="team-a"))
    assert key.versions[0].backing.domain_label == "domain/team-a/1"
    signs(keystore, key)
    keystore.close()


@pytest.mark.parametrize("name", ["default", "", "A", "a/b", "a" * 64, "1a", "a\n"])
def test_create_domain_refuses_names(state: Path, name: str) -> None:
    with pytest.raises(CeremonyError):
        create_domain(state, name, officer_pin(state))


def test_create_domain_with_a_wrong_pin_makes_nothing(state: Path) -> None:
    with pytest.raises(CeremonyError, match="officer's PIN; it is not tried again"):
        create_domain(state, "team-a", b"wrong wrong")
    create_domain(state, "team-a", officer_pin(state))


def test_create_domain_after_an_interruption(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is on the token, the row is not in the database."""
    _interrupted(monkeypatch, "root_values", lambda: create_domain(state, "team-a", officer_pin(state)))
    create_domain(state, "team-a", officer_pin(state))
    keystore = open_keystore(state)
    assert keystore.get_domain("team-a").version == 1
    keystore.close()


def _interrupted(monkeypatch: pytest.MonkeyPatch, step: str, work: Callable[[], object], *, calls: int = 0) -> None:
    real: Callable[..., object] = getattr(domains, step)
    left = calls

    def fail(*arguments: object, **named: object) -> object:
        nonlocal left
        if not left:
            raise Interrupted
        left -= 1
        return real(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(domains, step, fail)
        with pytest.raises(Interrupted):
            work()


def labels_on_token(state: Path) -> list[str]:
    token = open_token(load_keystore_configuration(state).hsm)
    found = sorted(trusted_labels(token._connection.owner))
    token.close()
    return found


def test_rotation(state: Path) -> None:
    keys = make_keys(state)
    told: list[tuple[int, int]] = []
    assert rotate_domain(state, "default", officer_pin(state), lambda done, total: told.append((done, total))) == 2
    assert told == [(0, 3), (3, 3)]
    check_keys(state, keys, "domain/default/2")
    assert labels_on_token(state) == ["domain/default/2", "integrity", "region"]
    keystore = open_keystore(state)
    old = keystore.store.get("wrapped_roots", "domain/default/1")
    assert old is not None
    assert (old.text("state"), old.optional_octets("wrapped")) == ("destroyed", None)
    assert keystore.get_domain("default").version == 2
    keystore.close()
    assert rotate_domain(state, "default", officer_pin(state)) == 3
    check_keys(state, keys, "domain/default/3")


def test_rotation_takes_software_keys_and_what_is_coming_in_along(state: Path) -> None:
    allow_software_keys(state, "ML_DSA_44", "ECC_NIST_EDWARDS25519")
    keystore = open_keystore(state)
    assert keystore.software_specs == ("ML_DSA_44", "ECC_NIST_EDWARDS25519")
    keys = [keystore.create_key(new_key(spec, spec)) for spec in ("ML_DSA_44", "ECC_NIST_EDWARDS25519")]
    external = replace(new_key(spec="SYMMETRIC_DEFAULT", purpose=Purpose.ENCRYPT), origin=Origin.EXTERNAL)
    empty = keystore.create_key(external)
    made = keystore.imports.parameters(empty.id, "RSAES_OAEP_SHA_256", "RSA_2048")
    keystore.close()
    told: list[tuple[int, int]] = []
    assert rotate_domain(state, "default", officer_pin(state), lambda done, total: told.append((done, total))) == 2
    assert told[-1] == (3, 3)
    check_keys(state, keys, "domain/default/2")
    keystore = open_keystore(state)
    ciphertext = wrapped(made.public_key, "RSAES_OAEP_SHA_256", bytes(32))
    imported = keystore.imports.bring_in(empty.id, MaterialRequest(made.token, ciphertext, None), "user/key-admin")
    assert imported.key.versions[0].backing.domain_label == "domain/default/2"
    keystore.close()


def test_rotation_of_an_unknown_domain(state: Path) -> None:
    with pytest.raises(CeremonyError, match="no domain 'nobody'"):
        rotate_domain(state, "nobody", officer_pin(state))


@pytest.mark.parametrize(
    ("step", "calls", "version"),
    [
        ("add_domain_key", 0, 2),  # nothing was done
        ("root_values", 0, 2),  # the key is on the token alone
        ("_wrap_again", 0, 2),  # the domain has its new key, no backing key is wrapped by it
        ("_wrap_some_again", 1, 2),  # two of three are
        ("_retire", 0, 2),  # all are, the old key still stands
        ("destroy_domain_key", 1, 2),  # nothing is wrapped by it any more
    ],
)
def test_a_rotation_cut_short_is_gone_on_with(
    state: Path, monkeypatch: pytest.MonkeyPatch, step: str, calls: int, version: int
) -> None:
    monkeypatch.setattr(domains, "BATCH", 2)
    keys = make_keys(state)
    _interrupted(monkeypatch, step, lambda: rotate_domain(state, "default", officer_pin(state)), calls=calls)
    check_half_way(state, keys)
    assert rotate_domain(state, "default", officer_pin(state)) == version
    check_keys(state, keys, f"domain/default/{version}")
    assert labels_on_token(state) == [f"domain/default/{version}", "integrity", "region"]


def check_half_way(state: Path, keys: list[Key]) -> None:
    """The service goes on in between, with old keys and new ones."""
    keystore = open_keystore(state)
    for key in keys:
        signs(keystore, key)
    signs(keystore, keystore.create_key(new_key()))
    keystore.close()


def test_a_worker_that_runs_meanwhile_goes_on(state: Path) -> None:
    """It has the old blob's key cached and finds the new domain key when it needs it."""
    keystore = open_keystore(state)
    key = keystore.create_key(new_key("release"))
    signs(keystore, key)
    rotate_domain(state, "default", officer_pin(state))
    signs(keystore, key)
    keystore.ready()
    assert keystore.create_key(new_key("later")).versions[0].backing.domain_label == "domain/default/2"
    keystore.close()


def test_a_call_that_read_its_key_before_the_rotation_goes_on(state: Path) -> None:
    """Its blob is not open yet, and the domain key that wraps it is gone: it uses the key as it is wrapped now."""
    allow_software_keys(state, "ML_DSA_44")
    keystore = open_keystore(state)
    keys = [keystore.create_key(new_key(spec, spec)) for spec in ("ECC_NIST_P256", "ML_DSA_44")]
    keystore.close()
    keystore = open_keystore(state)
    read = [keystore.signing_key(intent_for(key)) for key in keys]
    rotate_domain(state, "default", officer_pin(state))
    for key in read:
        key.sign(b"message")
    keystore.close()


def test_the_old_domain_key_is_of_no_use_to_whoever_has_the_pin(state: Path) -> None:
    """Its object is gone from the token, and what it wrapped opens under no key that is there."""
    keystore = open_keystore(state)
    old = keystore.create_key(new_key("release")).versions[0].backing
    root = keystore.store.get("wrapped_roots", "domain/default/1")
    keystore.close()
    rotate_domain(state, "default", officer_pin(state))
    assert old.wrapped is not None
    assert root is not None
    token = open_token(load_keystore_configuration(state).hsm)
    with pytest.raises(HsmFault, match=r"wrapped by 'domain/default/1', which is gone"):
        token.sign(old, SIGNING_ALGORITHMS["ECDSA_SHA_256"], bytes(32))
    assert not token.opens(replace(old, domain_label="domain/default/2"))
    session = token._connection.owner
    assert session.find(labelled("domain/default/1")) == []
    region = exactly_one(session, REGION)
    with pytest.raises(CryptokiError):  # the region key wraps and does not unwrap: only a ceremony brings it back
        session.unwrap(region, root.octets("wrapped"), DOMAIN)
    token.close()
