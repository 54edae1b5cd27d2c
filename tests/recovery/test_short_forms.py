"""The short form of `python -m tests.recovery.rotation`: few keys, one of the kills.

That of the restore is the drill of docs/recovery.md (tests/test_recovery_page.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.recovery.deployment import make
from tests.recovery.rotation import STEPS, kills, rotate_under_load

if TYPE_CHECKING:
    from tests.recovery.deployment import Made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """One deployment for all: each test leaves it serving again."""
    return make(tmp_path_factory.mktemp("recovery"), 5, 0)


def test_no_call_fails_while_a_domain_is_rotated_and_its_old_key_is_of_no_use(made: Made) -> None:
    seen = rotate_under_load(made, clients=2, cache=2)
    assert seen.failures == ()
    assert seen.signed_meanwhile > 0
    assert (seen.old_tried, seen.old_worked) == (2 * (seen.keys + 1), 0)  # and the authority's


def test_a_rotation_that_was_killed_is_ended_by_the_next_run(made: Made) -> None:
    assert kills(made, [STEPS[8]]) == []
