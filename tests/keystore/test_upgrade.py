"""Versions side by side: a database that was brought further, under whoever still runs the version before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keystore.db import connect, migration, open_database, upgrade
from keystore.errors import ConfigurationError
from tests.databases import hand, path_of, url_of
from tests.keystore.support import CHANGE, intent_for, new_key, policy_for
from tests.keystore.upgrading import next_history

if TYPE_CHECKING:
    from pathlib import Path

    from tests.keystore.support import Place


def bring_on(place: Place, history: Path) -> None:
    database = connect(url_of(place.path))
    upgrade(database, history)
    database.close()


def test_an_added_step_is_made_under_a_running_older_version(place: Place, tmp_path: Path) -> None:
    key = place.warm.create_key(new_key("release"))
    bring_on(place, next_history(tmp_path))
    assert place.warm.signing_key(intent_for(key)).sign(b"message")  # which was open before
    changed = place.warm.set_policy(key.id, policy_for("role/other"), CHANGE)
    with place.fresh() as fresh:  # and one that starts now
        assert fresh.get_key("release") == changed
        assert fresh.store.verify_everything()
    bring_on(place, tmp_path / "migrations")  # there is nothing to do


@pytest.mark.parametrize("revision", ["0002", "0002_0002", "0003_0002"])
def test_a_step_that_takes_away_refuses_an_older_version(place: Place, tmp_path: Path, revision: str) -> None:
    place.warm.database.close()
    bring_on(place, next_history(tmp_path, revision=revision))
    with pytest.raises(ConfigurationError, match="for versions that know 0002 or later; this one knows 0001"):
        open_database(url_of(place.path))


def test_a_newer_version_waits_for_its_step(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "NEWEST", "0002")
    with pytest.raises(
        ConfigurationError, match="at revision 0001, this version needs 0002: run `sealmark node upgrade`"
    ):
        open_database(url_of(place.path))


def test_a_revision_of_nobody_is_refused(place: Place) -> None:
    with hand(path_of(place.warm.database)) as attacker:
        attacker.run("DELETE FROM alembic_version")
    with pytest.raises(ConfigurationError, match="has 0 revisions"):
        open_database(url_of(place.path))
