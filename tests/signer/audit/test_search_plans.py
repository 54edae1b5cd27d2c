"""How SQLite finds what auditors ask for: by an index each time, however long the log is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import select

from keystore.db import create_database
from signer.audit.searching import Place, Search, _window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Subquery

    from keystore.db import Database

# What is asked, and what must be read: the index, and what is looked up in it.
PLANS: Final = {
    "all": (Search(), "log_entries_by_time"),
    "key": (Search(keys=("a",)), "log_entries_by_key (key_id=?"),
    "keys": (Search(keys=("a", "b")), "log_entries_by_key (key_id=?"),
    "principal": (Search(principal="a"), "log_entries_by_principal (principal=?"),
    "subject": (Search(subject="a"), "log_entries_by_subject (subject=?"),
    "either": (Search(either="a"), "log_entries_by_subject (subject=?"),
    "action": (Search(actions=("a",)), "log_entries_by_action (action=?"),
    "actions": (Search(actions=("a", "b")), "log_entries_by_action (action=?"),
    "request": (Search(request_id="a"), "log_entries_by_request (request_id=?"),
    "caller's request": (Search(caller_request_id="a"), "log_entries_by_callers_request (caller_request_id=?"),
    "digest": (Search(digests=(b"a", b"b")), "log_digests USING PRIMARY KEY (bucket=? AND digest=?)"),
    "log": (Search(order="log"), "log_entries USING INTEGER PRIMARY KEY"),
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    made = create_database(f"sqlite:///{tmp_path_factory.mktemp('plans') / 'sealmark.db'}")
    yield made
    made.close()


@pytest.mark.parametrize("place", [None, Place(2, 1)], ids=["first page", "further page"])
@pytest.mark.parametrize("name", PLANS)
def test_a_search_reads_an_index_and_not_the_log(database: Database, name: str, place: Place | None) -> None:
    search, index = PLANS[name]
    window = _window(search, place, 1000)
    plan = plan_of(database, window)
    if not (name == "log" and place is None):  # from the first entry on, in their order: that is the table itself
        assert any(index in line for line in plan), plan
    scans = [line for line in plan if line.startswith("SCAN log_") and "INDEX" not in line]
    assert scans == (["SCAN log_entries"] if name == "log" and place is None else []), plan


def plan_of(database: Database, window: Subquery) -> list[str]:
    """The steps of SQLite's plan, in words."""
    statement = select(window)
    with database.read() as connection:
        compiled = statement.compile(connection, compile_kwargs={"literal_binds": True})
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")]
