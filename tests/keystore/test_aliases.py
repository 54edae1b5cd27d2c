"""Names and labels of keys: several aliases, moved and taken away, tags, descriptions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from keystore.algorithms import Purpose
from keystore.aliases import MOST_ALIASES, AliasRecord, free_alias_of
from keystore.api import RotationSchedule, VersionCause
from keystore.errors import Conflict, LimitExceeded, NotFound, Unsupported, WrongState
from keystore.rotation import next_rotation
from keystore.tags import MOST_TAGS
from tests.keystore.support import new_key

if TYPE_CHECKING:
    from tests.keystore.support import Place

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ABSENT = "00000000-0000-4000-8000-00000000ffff"


def test_a_key_has_several_names_and_each_finds_it(place: Place) -> None:
    keystore = place.warm
    key = keystore.create_key(new_key("release"))
    keystore.create_alias("app/prod", key.id, NOW)
    keystore.create_alias("a-second", key.id, LATER + timedelta(days=36500))
    for name in ("release", "app/prod", "a-second", key.id):
        found = keystore.get_key(name)
        assert found.id == key.id
        assert found.aliases == ("a-second", "app/prod", "release")
    assert found.alias == "release"  # the oldest that fits into a path, not the first by name
    with place.fresh() as fresh:
        assert [alias.name for alias in fresh.list_aliases_of(key.id)] == ["a-second", "app/prod", "release"]


def test_an_alias_is_moved_with_its_dates_and_taken_away(place: Place) -> None:
    keystore = place.warm
    one, other = keystore.create_key(new_key("one")), keystore.create_key(new_key("other"))
    assert keystore.create_alias("moving", one.id, NOW) == AliasRecord("moving", one.id, NOW, NOW)
    assert keystore.get_key("moving").id == one.id
    assert keystore.move_alias("moving", one.id, other.id, LATER) == AliasRecord("moving", other.id, NOW, LATER)
    assert keystore.get_key("moving").id == other.id
    with pytest.raises(NotFound):
        keystore.move_alias("moving", one.id, other.id, LATER)
    with pytest.raises(NotFound):
        keystore.delete_alias("moving", one.id, LATER)
    keystore.delete_alias("moving", other.id, LATER)
    assert keystore.find_alias("moving") is None
    with pytest.raises(NotFound):
        keystore.get_key("moving")
    assert keystore.create_alias("moving", one.id, LATER) == AliasRecord("moving", one.id, LATER, LATER)


def test_a_name_is_one_keys_and_of_a_form_of_its_own(place: Place) -> None:
    keystore = place.warm
    one, other = keystore.create_key(new_key("one")), keystore.create_key(new_key())
    with pytest.raises(Conflict):
        keystore.create_alias("one", other.id, NOW)
    for name in ("", "a:b", "ü", "a" * 251, ABSENT, "aws/s3", "x\n"):
        with pytest.raises(Unsupported, match="alias"):
            keystore.create_alias(name, other.id, NOW)
    with pytest.raises(NotFound):
        keystore.create_alias("two", ABSENT, NOW)
    with pytest.raises(NotFound):
        keystore.move_alias("one", one.id, ABSENT, NOW)


def test_a_key_has_only_so_many_names(place: Place) -> None:
    keystore = place.warm
    key, other = keystore.create_key(new_key()), keystore.create_key(new_key("other"))
    for number in range(MOST_ALIASES):
        keystore.create_alias(f"n-{number:02}", key.id, NOW)
    with pytest.raises(LimitExceeded):
        keystore.create_alias("one-more", key.id, NOW)
    with pytest.raises(LimitExceeded):
        keystore.move_alias("other", other.id, key.id, NOW)
    page = keystore.list_aliases("n-09", 3)
    assert [alias.name for alias in page] == ["n-10", "n-11", "n-12"]
    keystore.delete_alias("n-11", key.id, NOW)
    assert [alias.name for alias in keystore.list_aliases("n-09", 3)] == ["n-10", "n-12", "n-13"]
    assert len(keystore.list_aliases(None, 1000)) == MOST_ALIASES


def test_a_key_that_is_to_be_deleted_keeps_its_labels_until_it_is(place: Place) -> None:
    keystore = place.warm
    key, other = keystore.create_key(new_key("going")), keystore.create_key(new_key("staying"))
    keystore.create_alias("moved-away", key.id, NOW)
    keystore.schedule_deletion(key.id)
    for change in (
        lambda: keystore.create_alias("late", key.id, NOW),
        lambda: keystore.move_alias("staying", other.id, key.id, NOW),
        lambda: keystore.tag_key(key.id, {"a": "b"}),
        lambda: keystore.untag_key(key.id, ["a"]),
        lambda: keystore.set_description(key.id, "late"),
    ):
        with pytest.raises(WrongState, match="pending deletion"):
            change()
    keystore.move_alias("moved-away", key.id, other.id, NOW)  # what it names is rescued
    keystore.delete_due(datetime.now(UTC) + timedelta(days=31))
    assert keystore.find_alias("going") is None
    assert keystore.get_key("moved-away").id == other.id
    assert keystore.create_alias("going", other.id, NOW).key_id == other.id


def test_tags_are_added_replaced_and_taken_away(place: Place) -> None:
    keystore = place.warm
    key = keystore.create_key(replace(new_key("tagged"), tags={"stage": "test", "Ä": ""}))
    assert dict(keystore.get_key(key.id).tags) == {"stage": "test", "Ä": ""}
    keystore.tag_key(key.id, {"stage": "prod", "team": "a"})
    keystore.untag_key(key.id, ["Ä", "not-there"])
    keystore.set_description(key.id, "signs releases")
    for found in (keystore.get_key("tagged"), keystore.get_key(key.id)):
        assert dict(found.tags) == {"stage": "prod", "team": "a"}
        assert found.description == "signs releases"
    with pytest.raises(LimitExceeded):
        keystore.tag_key(key.id, {f"n{number}": "" for number in range(MOST_TAGS - 1)})
    assert len(keystore.get_key(key.id).tags) == 2
    keystore.tag_key(key.id, {f"n{number}": "" for number in range(MOST_TAGS - 2)})
    with pytest.raises(LimitExceeded):
        keystore.create_key(replace(new_key(), tags={f"n{number}": "" for number in range(MOST_TAGS + 1)}))
    with pytest.raises(NotFound):
        keystore.tag_key(ABSENT, {"a": "b"})


def test_only_keys_that_tell_their_versions_apart_are_rotated_by_themselves(place: Place) -> None:
    keystore = place.warm
    key = keystore.create_key(new_key())
    for days in (365, 89, 2561):
        with pytest.raises(Unsupported):
            keystore.schedule_rotation(key.id, days, NOW)
    with pytest.raises(Unsupported):
        keystore.unschedule_rotation(key.id)
    assert keystore.keys_to_rotate(NOW + timedelta(days=3650)) == []


def test_a_schedule_makes_one_version_when_it_is_due(place: Place) -> None:
    keystore = place.warm
    key = keystore.create_key(new_key(spec="SYMMETRIC_DEFAULT", purpose=Purpose.ENCRYPT))
    start = keystore.clock()
    keystore.schedule_rotation(key.id, 90, start - timedelta(days=91))
    assert keystore.keys_to_rotate(start) == [key.id]
    made = keystore.rotate(key.id, activate_at=start, actor="service", cause=VersionCause.AUTOMATIC)
    assert [version.cause for version in made.versions] == [VersionCause.CREATED, VersionCause.AUTOMATIC]
    with pytest.raises(Conflict, match="not due"):
        keystore.rotate(key.id, activate_at=start, actor="service", cause=VersionCause.AUTOMATIC)
    rotated = keystore.get_key(key.id)
    assert len(rotated.versions) == 2
    assert rotated.rotation == RotationSchedule(90, start + timedelta(days=89))
    materials = [version.material_id for version in rotated.versions]
    assert all(material and len(material) == 64 for material in materials)
    assert len(set(materials)) == 2
    assert keystore.keys_to_rotate(start) == []
    keystore.disable(key.id)
    assert keystore.keys_to_rotate(start + timedelta(days=90)) == []  # not before it is enabled again
    with pytest.raises(WrongState):
        keystore.unschedule_rotation(key.id)
    keystore.enable(key.id)
    keystore.unschedule_rotation(key.id)
    assert keystore.get_key(key.id).rotation is None


def test_a_key_long_overdue_is_rotated_once_and_then_a_period_later() -> None:
    overdue = RotationSchedule(90, NOW - timedelta(days=300))
    assert next_rotation(overdue, NOW) == NOW + timedelta(days=90)
    late = RotationSchedule(90, NOW - timedelta(hours=1))
    assert next_rotation(late, NOW) == NOW + timedelta(days=90, hours=-1)


def test_what_a_key_leaves_behind_is_no_name_that_went_elsewhere_meanwhile(place: Place) -> None:
    keystore = place.warm
    ending, other = keystore.create_key(new_key("ending")), keystore.create_key(new_key("taken-over"))
    with keystore.store.transaction() as transaction:
        for name in ("ending", "taken-over"):
            free_alias_of(transaction, name, ending.id, LATER)
    assert keystore.find_alias("ending") is None
    assert keystore.get_key("taken-over").id == other.id
