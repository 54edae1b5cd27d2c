"""A token that is not as a ceremony leaves it is refused at every login, before anything is signed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from pkcs11 import Attribute, KeyType, ObjectClass

from keystore import hierarchy
from keystore.algorithms import KEY_SPECS, SIGNING_ALGORITHMS
from keystore.api import BackingKey
from keystore.errors import CeremonyError, HsmFault, HsmUnavailable
from keystore.hsm import audit, backing, labels, open_token
from keystore.hsm.mechanisms import AES_GENERATION, generation
from keystore.hsm.officer import open_ceremony
from keystore.hsm.return_values import CryptokiError, ReturnValue
from keystore.hsm.session import Session
from keystore.hsm.templates import AES_256, CONFINED, DOMAIN, REGION, data_object, key_pair, locked, token_key_pair
from tests.hsm_support import TestToken, log_key_missing, make_empty_token, make_token

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keystore.algorithms import KeyUse
    from keystore.hsm import Token
    from keystore.hsm.attributes import Template


def weakened(template: Template, *without: Attribute, **changes: bool) -> Template:
    return {
        **{name: value for name, value in template.items() if name not in without},
        **{Attribute[name]: value for name, value in changes.items()},
    }


def found_unchecked(directory: Path, monkeypatch: pytest.MonkeyPatch) -> TestToken:
    """The ceremony without its own checks at the end, so that a weak token comes out."""
    with monkeypatch.context() as patch:
        patch.setattr(hierarchy, "_check", lambda session, roots: None)
        patch.setattr(hierarchy, "_check_log_key", lambda session: None)
        return make_token(directory)


@pytest.mark.parametrize("attribute", CONFINED)
def test_a_domain_key_whose_unwrap_template_lacks_an_attribute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attribute: Attribute
) -> None:
    weak = {name: value for name, value in CONFINED.items() if name is not attribute}
    monkeypatch.setattr(hierarchy, "DOMAIN", {**DOMAIN, Attribute.UNWRAP_TEMPLATE: weak})
    own = found_unchecked(tmp_path, monkeypatch)
    with pytest.raises(HsmFault, match=f"unwraps with another {attribute.name}"):
        open_token(own.configuration)


def test_a_region_key_that_wraps_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hierarchy, "REGION", weakened(REGION, Attribute.WRAP_TEMPLATE))
    own = found_unchecked(tmp_path, monkeypatch)
    with pytest.raises(HsmFault, match="wraps keys that no officer made"):
        open_token(own.configuration)


def test_the_ceremony_itself_refuses_a_weak_domain_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hierarchy, "DOMAIN", weakened(DOMAIN, Attribute.UNWRAP_TEMPLATE))
    with pytest.raises(HsmFault, match="does not protect its keys"):
        make_token(tmp_path)


# Every power that a key of the hierarchy must not have, or must have, the other way round.
_MORE: Final = ("ENCRYPT", "DECRYPT", "DERIVE")
DEVIATIONS: Final = [
    *(("REGION", {name: True}, name) for name in (*_MORE, "SIGN", "VERIFY", "UNWRAP")),
    *(("DOMAIN", {name: True}, name) for name in (*_MORE, "SIGN", "VERIFY")),
    *(("INTEGRITY", {name: True}, name) for name in (*_MORE, "WRAP", "UNWRAP")),
    ("INTEGRITY", {"VERIFY": False}, "VERIFY"),
    ("DOMAIN", {"WRAP_WITH_TRUSTED": False}, "WRAP_WITH_TRUSTED"),
    ("INTEGRITY", {"WRAP_WITH_TRUSTED": False}, "WRAP_WITH_TRUSTED"),
    ("REGION", {}, "ALLOWED_MECHANISMS"),
    ("DOMAIN", {}, "ALLOWED_MECHANISMS"),
    ("INTEGRITY", {}, "ALLOWED_MECHANISMS"),
    ("DOMAIN", {"SENSITIVE": False}, "SENSITIVE"),
    ("REGION", {"SENSITIVE": False}, "SENSITIVE"),
    ("INTEGRITY", {"SENSITIVE": False}, "SENSITIVE"),
]


@pytest.mark.parametrize(
    ("key", "changes", "attribute"), DEVIATIONS, ids=[f"{key}-{named}" for key, _, named in DEVIATIONS]
)
def test_a_key_of_the_hierarchy_with_one_attribute_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, changes: dict[str, bool], attribute: str
) -> None:
    without = () if changes else (Attribute[attribute],)
    monkeypatch.setattr(hierarchy, key, weakened(getattr(hierarchy, key), *without, **changes))
    own = found_unchecked(tmp_path, monkeypatch)
    with pytest.raises(HsmFault, match=rf"not as a ceremony makes it: {attribute}$"):
        open_token(own.configuration)


def test_a_shorter_integrity_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hierarchy, "HMAC_256", {Attribute.VALUE_LEN: 16})
    own = found_unchecked(tmp_path, monkeypatch)
    with pytest.raises(HsmFault, match=r"'integrity' is not as a ceremony makes it: VALUE_LEN"):
        open_token(own.configuration)


@pytest.mark.parametrize("label", [labels.REGION, labels.INTEGRITY])
def test_a_root_that_can_be_destroyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label: str) -> None:
    def destroyable(named: str, **given: bool) -> Template:
        return locked(named, destroyable=named == label or given["destroyable"])

    monkeypatch.setattr(hierarchy, "locked", destroyable)
    own = found_unchecked(tmp_path, monkeypatch)
    with pytest.raises(HsmFault, match=f"'{label}' is not as a ceremony makes it: DESTROYABLE"):
        open_token(own.configuration)


TOKEN_KEY_ATTRIBUTES: Final = (
    "SENSITIVE",
    "EXTRACTABLE",
    "MODIFIABLE",
    "COPYABLE",
    "PRIVATE",
    "UNWRAP",
    "DERIVE",
    "SIGN",
)


@pytest.mark.parametrize("attribute", [Attribute[name] for name in TOKEN_KEY_ATTRIBUTES])
def test_a_log_key_of_another_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attribute: Attribute) -> None:
    monkeypatch.setattr(hierarchy, "token_key_pair", flipped(attribute))
    own = found_unchecked(tmp_path, monkeypatch)
    with pytest.raises(HsmFault, match=rf"'log' is not as a ceremony makes it: {attribute.name}$"):
        open_token(own.configuration)


@pytest.mark.parametrize("attribute", [Attribute[name] for name in TOKEN_KEY_ATTRIBUTES])
def test_a_customers_token_key_of_another_kind(
    token: Token, monkeypatch: pytest.MonkeyPatch, attribute: Attribute
) -> None:
    """It is looked at when it is opened: it signs nothing."""
    monkeypatch.setattr(backing, "token_key_pair", flipped(attribute))
    made = token.generate("ECC_NIST_EDWARDS25519", labels.domain_label("default", 1), f"key/{attribute.name}")
    weak = BackingKey(attribute.name, "ECC_NIST_EDWARDS25519", None, made.wrapped, made.token_label)
    with pytest.raises(HsmFault, match=rf"is not as a ceremony makes it: {attribute.name}$"):
        token.sign(weak, SIGNING_ALGORITHMS["ED25519_SHA_512"], b"m")
    token.destroy(weak)


def flipped(attribute: Attribute) -> Callable[..., tuple[Template, Template]]:
    """As a ceremony makes it, but for one flag."""

    def by_flag(kind: KeyType, parameters: Template, label: str, *use: KeyUse) -> tuple[Template, Template]:
        public, private = token_key_pair(kind, parameters, label, *use)
        return public, {name: not value if name is attribute else value for name, value in private.items()}

    return by_flag


def test_the_ceremony_itself_refuses_a_weak_log_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def weak(kind: KeyType, parameters: Template, label: str) -> tuple[Template, Template]:
        public, private = token_key_pair(kind, parameters, label)
        return public, {**private, Attribute.EXTRACTABLE: True}

    monkeypatch.setattr(hierarchy, "token_key_pair", weak)
    with pytest.raises(HsmFault, match="'log' is not as a ceremony makes it: EXTRACTABLE"):
        make_token(tmp_path)


def test_a_missing_log_key_is_no_fault_of_the_login_and_a_second_one_is(tmp_path: Path) -> None:
    own = make_token(tmp_path)
    with log_key_missing(tmp_path):
        opened = open_token(own.configuration)
        with pytest.raises(HsmUnavailable, match="no object labelled 'log'"):
            opened.probe()
        opened.close()
    with (
        open_ceremony(own.configuration, officer_pin=own.officer_pin, user_pin=own.user_pin) as ceremony,
        ceremony.as_user() as session,
    ):
        hierarchy._make_log_key(session)
    with pytest.raises(HsmFault, match="2 objects labelled 'log'"):
        open_token(own.configuration)


@pytest.mark.parametrize("attribute", [Attribute.EXTRACTABLE, Attribute.MODIFIABLE, Attribute.PRIVATE])
def test_a_key_that_was_not_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attribute: Attribute) -> None:
    def unlocked(label: str, *, destroyable: bool) -> Template:
        template = dict(locked(label, destroyable=destroyable))
        template[attribute] = not template[attribute]
        return template

    monkeypatch.setattr(hierarchy, "locked", unlocked)
    own = found_unchecked(tmp_path, monkeypatch)
    with pytest.raises(HsmFault, match=f"not as a ceremony makes it: {attribute.name}"):
        open_token(own.configuration)


def test_a_trusted_key_that_no_ceremony_made(tmp_path: Path) -> None:
    """Only the officer can make one; it could carry every backing key out."""
    own = make_token(tmp_path)
    with (
        open_ceremony(own.configuration, officer_pin=own.officer_pin, user_pin=own.user_pin) as ceremony,
        ceremony.as_officer() as session,
    ):
        session.generate_key(AES_GENERATION, {**REGION, **AES_256, Attribute.TOKEN: True, Attribute.LABEL: "spare"})
    with pytest.raises(HsmFault, match="TRUSTED key that no ceremony made, labelled 'spare'"):
        open_token(own.configuration)


SECRET: Final[Template] = {
    Attribute.CLASS: ObjectClass.SECRET_KEY,
    Attribute.KEY_TYPE: KeyType.AES,
    Attribute.VALUE: b"k" * 32,
}
STRANGERS: Final[dict[str, Template]] = {
    "SECRET_KEY that no ceremony made": {**SECRET, Attribute.PRIVATE: True},
    "PRIVATE_KEY that no ceremony made": {Attribute.PRIVATE: True},
    "PUBLIC_KEY that no ceremony made": {Attribute.PRIVATE: True},
    r"there without a PIN \(PRIVATE\)": {Attribute.CLASS: ObjectClass.DATA, Attribute.PRIVATE: False},
}


@pytest.mark.parametrize("told", STRANGERS)
def test_a_stranger_on_the_token(tmp_path: Path, told: str) -> None:
    own = make_token(tmp_path)
    named: Template = {**STRANGERS[told], Attribute.TOKEN: True, Attribute.LABEL: "stranger"}
    with (
        open_ceremony(own.configuration, officer_pin=own.officer_pin, user_pin=own.user_pin) as ceremony,
        ceremony.as_user() as session,
    ):
        if Attribute.CLASS in named:
            session.create_data(named)
        else:
            mechanism, parameters = generation(KEY_SPECS["ECC_NIST_P256"])
            halves = [dict(half) for half in key_pair(KeyType.EC, parameters)]
            halves["PRIVATE_KEY" in told].update(named)
            session.generate_key_pair(mechanism, *halves)
    with pytest.raises(HsmFault, match=f"{told}.*'stranger': destroy it, or give the service a token of its own"):
        open_token(own.configuration)


def test_a_key_in_the_place_of_a_domain_key_that_is_not_trusted(tmp_path: Path) -> None:
    """With every attribute that whoever has the service's PIN can give it."""
    own = make_token(tmp_path)
    label = labels.domain_label("planted", 1)
    beyond = (Attribute.TRUSTED, Attribute.WRAP_WITH_TRUSTED, Attribute.UNWRAP_TEMPLATE)
    whole = {**DOMAIN, **locked(label, destroyable=True)}
    as_made = {name: value for name, value in whole.items() if name not in beyond}
    with (
        open_ceremony(own.configuration, officer_pin=own.officer_pin, user_pin=own.user_pin) as ceremony,
        ceremony.as_user() as session,
    ):
        session.generate_key(AES_GENERATION, {**as_made, **AES_256, Attribute.MODIFIABLE: False})
    with pytest.raises(HsmFault, match=rf"'{label}' is not as a ceremony makes it: TRUSTED"):
        open_token(own.configuration)


def test_an_attribute_that_the_module_does_not_tell(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(session: Session, key: object, attribute: Attribute) -> object:
        raise CryptokiError("C_GetAttributeValue", ReturnValue.ATTRIBUTE_TYPE_INVALID)

    token.seal(b"connected")
    monkeypatch.setattr(Session, "read_value", silent)
    with pytest.raises(HsmFault, match="does not tell CLASS of its key 'region'"):
        audit.audited_region_key(token._connection.owner)


def test_a_token_is_founded_once(tmp_path: Path) -> None:
    own = make_token(tmp_path)
    with (
        pytest.raises(CeremonyError, match="'region' already"),
        open_ceremony(own.configuration, officer_pin=own.officer_pin, user_pin=own.user_pin) as ceremony,
    ):
        hierarchy.found_hierarchy(ceremony)


def test_a_token_that_keeps_a_head_of_a_log_is_not_founded(tmp_path: Path) -> None:
    configuration, officer_pin, user_pin = make_empty_token(tmp_path)
    with open_ceremony(configuration, officer_pin=officer_pin, user_pin=user_pin) as ceremony:
        with ceremony.as_user() as session:
            session.create_data(data_object(labels.LOG_HEADS[1], "a head"))
        with pytest.raises(CeremonyError, match="'log-head/1' already"):
            hierarchy.found_hierarchy(ceremony)


@pytest.mark.parametrize("wrong", ["officer", "user"])
def test_a_ceremony_with_a_wrong_pin_makes_nothing(tmp_path: Path, wrong: str) -> None:
    configuration, officer_pin, user_pin = make_empty_token(tmp_path)
    pins = {"officer_pin": officer_pin, "user_pin": user_pin, f"{wrong}_pin": b"wrong wrong"}
    with (
        pytest.raises(CeremonyError, match="it is not tried again"),
        open_ceremony(configuration, **pins) as ceremony,
    ):
        hierarchy.found_hierarchy(ceremony)
    with (
        open_ceremony(configuration, officer_pin=officer_pin, user_pin=user_pin) as ceremony,
        ceremony.as_user() as session,
    ):
        assert session.find({}) == []


def test_labels() -> None:
    assert labels.parse_domain_label(labels.domain_label("team-a", 12)) == ("team-a", 12)
    for text in ("domain/A/1", "domain/a/0", "domain/a/01", "domain/a/1/x", "region", "domain//1", "domain/a/1\n"):
        assert labels.parse_domain_label(text) is None
    for name, version in (("", 1), ("a/b", 1), ("a", 0), ("a", -1)):
        with pytest.raises(ValueError, match="not a domain's"):
            labels.domain_label(name, version)


def test_the_audit_looks_at_every_part_of_the_confinement() -> None:
    assert set(CONFINED) == {
        Attribute.TOKEN,
        Attribute.PRIVATE,
        Attribute.SENSITIVE,
        Attribute.EXTRACTABLE,
        Attribute.WRAP_WITH_TRUSTED,
    }
    assert audit._DOMAIN[Attribute.TRUSTED] is True
