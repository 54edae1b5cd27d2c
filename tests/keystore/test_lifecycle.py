"""States and versions at one moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from keystore import lifecycle
from keystore.api import BackingKey, KeyState, KeyVersion, VersionState
from keystore.errors import Unsupported, WrongState

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def versions(*hours: float) -> list[KeyVersion]:
    """Versions 1, 2, ... that begin so many hours from now."""
    return [
        KeyVersion(str(number), "key", number, NOW, NOW + hour * HOUR, b"", BackingKey("", "", None, None, None))
        for number, hour in enumerate(hours, start=1)
    ]


@pytest.mark.parametrize(
    ("hours", "current", "states"),
    [
        ((0,), 1, "active"),
        ((-2, -1), 2, "retired active"),
        ((-2, 1), 1, "active pending"),
        ((-2, 0), 2, "retired active"),
        ((-3, 1, -1), 3, "retired retired active"),  # 2 was overtaken before it began
        ((-3, 1, 2), 1, "active pending pending"),
    ],
)
def test_the_highest_version_that_has_begun_signs(hours: tuple[float, ...], current: int, states: str) -> None:
    made = versions(*hours)
    assert lifecycle.current_version(made, NOW).number == current
    found = [lifecycle.version_state(made, version.number, NOW) for version in made]
    assert found == [VersionState(state) for state in states.split()]


def test_no_version_signs_before_the_first_begins() -> None:
    with pytest.raises(WrongState):
        lifecycle.current_version(versions(1), NOW)
    assert lifecycle.version_state(versions(1), 1, NOW) is VersionState.PENDING


def test_a_version_ends_when_the_first_later_one_begins() -> None:
    made = versions(-3, 5, 2)
    assert lifecycle.retired_at(made, 1) == NOW + 2 * HOUR
    assert lifecycle.retired_at(made, 2) == NOW + 2 * HOUR
    assert lifecycle.retired_at(made, 3) is None


ALLOWED = {
    ("enabled", "disabled"),
    ("disabled", "enabled"),
    ("enabled", "pending_deletion"),
    ("disabled", "pending_deletion"),
    ("pending_deletion", "disabled"),
    ("pending_deletion", "pending_import"),
    ("pending_deletion", "deleted"),
    *((present, wanted) for present in ("enabled", "disabled") for wanted in ("pending_replica_deletion", "updating")),
    *((present, "pending_import") for present in ("enabled", "disabled")),
    *(("pending_import", wanted) for wanted in ("enabled", "pending_deletion", "pending_replica_deletion")),
    *(("pending_replica_deletion", wanted) for wanted in ("disabled", "pending_import", "pending_deletion")),
    *(
        (present, wanted)
        for present in ("creating", "updating")
        for wanted in ("enabled", "disabled", "pending_import")
    ),
}


@pytest.mark.parametrize("wanted", KeyState)
@pytest.mark.parametrize("present", KeyState)
def test_only_the_changes_of_the_table_are_allowed(present: KeyState, wanted: KeyState) -> None:
    if (present, wanted) in ALLOWED:
        lifecycle.check_transition(present, wanted)
    else:
        with pytest.raises(WrongState, match="cannot become"):
            lifecycle.check_transition(present, wanted)


@pytest.mark.parametrize("days", [7, 30])
def test_the_waiting_period(days: int) -> None:
    assert lifecycle.deletion_time(NOW, days) == NOW + timedelta(days=days)


@pytest.mark.parametrize("days", [-1, 0, 6, 31])
def test_other_waiting_periods_are_refused(days: int) -> None:
    with pytest.raises(Unsupported) as refusal:
        lifecycle.deletion_time(NOW, days)
    assert refusal.value.field == "days"


def revoked(made: list[KeyVersion], number: int, at: float) -> list[KeyVersion]:
    return [replace(one, revoked_at=NOW + at * HOUR) if one.number == number else one for one in made]


def test_no_older_version_signs_in_place_of_a_revoked_one() -> None:
    made = revoked(versions(-3, -2), 2, -1)
    with pytest.raises(WrongState, match="version 2 of the key, which would sign, is revoked: rotate the key"):
        lifecycle.current_version(made, NOW)
    assert [lifecycle.version_state(made, number, NOW) for number in (1, 2)] == [
        VersionState.RETIRED,
        VersionState.REVOKED,
    ]
    assert lifecycle.current_version([*made, versions(0, 0, 0)[2]], NOW).number == 3


def test_a_version_revoked_before_it_began_never_begins() -> None:
    made = revoked(versions(-3, 1), 2, 0)
    for moment in (NOW, NOW + 2 * HOUR):
        assert lifecycle.current_version(made, moment).number == 1
        assert lifecycle.version_state(made, 2, moment) is VersionState.REVOKED
    assert lifecycle.retired_at(made, 1) is None


def test_a_retired_version_is_revoked_beside_the_one_that_signs() -> None:
    made = revoked(versions(-3, -2), 1, -1)
    assert lifecycle.current_version(made, NOW).number == 2
    assert lifecycle.version_state(made, 1, NOW) is VersionState.REVOKED
