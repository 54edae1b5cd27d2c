"""A token that is not as a ceremony leaves it is refused at every login, before anything is signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pkcs11 import Attribute

from keystore import hierarchy
from keystore.errors import CeremonyError, HsmFault, HsmUnavailable
from keystore.hsm import audit, labels, open_token
from keystore.hsm.mechanisms import AES_GENERATION
from keystore.hsm.officer import open_ceremony
from keystore.hsm.templates import AES_256, CONFINED, DOMAIN, REGION, data_object, token_key_pair
from tests.hsm_support import TestToken, log_key_missing, make_empty_token, make_token

if TYPE_CHECKING:
    from pathlib import Path

    from pkcs11 import KeyType

    from keystore.hsm.attributes import Template


def weakened(template: Template, *without: Attribute, **changes: bool) -> Template:
    return {
        **{name: value for name, value in template.items() if name not in without},
        **{Attribute[name]: value for name, value in changes.items()},
    }


def found_unchecked(directory: Path, monkeypatch: pytest.MonkeyPatch) -> TestToken:
    """The ceremony without its own check at the end, so that a weak token comes out."""
    with monkeypatch.context() as patch:
        patch.setattr(hierarchy, "_check", lambda session, roots: None)
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


@pytest.mark.parametrize(
    ("key", "attribute"),
    [("REGION", "UNWRAP"), ("REGION", "DECRYPT"), ("DOMAIN", "DECRYPT"), ("DOMAIN", "SIGN"), ("INTEGRITY", "DERIVE")],
)
def test_a_key_with_another_power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, attribute: str) -> None:
    template = weakened(getattr(hierarchy, key), Attribute.ALLOWED_MECHANISMS, **{attribute: True})
    monkeypatch.setattr(hierarchy, key, template)
    own = found_unchecked(tmp_path, monkeypatch)
    with pytest.raises(HsmFault, match=f"not as a ceremony makes it: {attribute}"):
        open_token(own.configuration)


@pytest.mark.parametrize(
    "attribute", [Attribute.EXTRACTABLE, Attribute.MODIFIABLE, Attribute.UNWRAP, Attribute.PRIVATE]
)
def test_a_log_key_of_another_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attribute: Attribute) -> None:
    def weak(kind: KeyType, parameters: Template, label: str) -> tuple[Template, Template]:
        public, private = token_key_pair(kind, parameters, label)
        return public, {**private, attribute: not private[attribute]}

    monkeypatch.setattr(hierarchy, "token_key_pair", weak)
    own = found_unchecked(tmp_path, monkeypatch)
    with pytest.raises(HsmFault, match=f"'log' is not as a ceremony makes it: {attribute.name}"):
        open_token(own.configuration)


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
    from keystore.hsm.templates import locked

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
