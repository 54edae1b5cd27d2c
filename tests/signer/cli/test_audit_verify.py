"""`sealmark audit verify` over a database: what it says, what it keeps, and how it ends."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from signer.audit.checkpoints import NoteSigner
from tests.bench.made_log import Maker
from tests.signer.cli.conftest import Run

pytestmark = pytest.mark.sqlite_only("SQLite files that were handed over; test_postgresql_service.py has the like")


LEAVES = 300
OLDER = 200


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    maker = Maker(tmp_path_factory.mktemp("made") / "sealmark.db", seed=3)
    maker.fill(OLDER)
    copied(maker.path, maker.path.with_name("older.db"))
    maker.fill(LEAVES)
    maker.close()
    return maker


@pytest.fixture
def database(maker: Maker, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(maker.path, tmp_path / "sealmark.db"))


def copied(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def write(database: Path, *statements: str) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, statement


def test_a_trail_that_holds_is_verified_and_its_head_is_kept(run: Run, database: Path) -> None:
    first = run("audit", "verify", "--database", database, "--head", "trail.head")
    assert first.exit_code == 0, first.output
    assert first.output.startswith("VERIFIED\n")
    assert f"{LEAVES} entries" in first.output
    assert "no head was kept" in first.output
    assert "whether the log's key is the right one" in first.output
    assert Path("trail.head").stat().st_mode & 0o777 == 0o600
    second = run("audit", "verify", "--database", database, "--head", "trail.head")
    assert second.exit_code == 0, second.output
    assert f"the kept head of {LEAVES} entries" in second.output
    assert "whether the log's key" not in second.output


def test_the_facts_as_json(run: Run, database: Path) -> None:
    told = json.loads(run("audit", "verify", "--database", database, "--json").output)
    assert (told["verified"], told["outcome"], told["kind"]) == (True, "verified", "trail")
    (log,) = told["logs"]
    assert log["size"] == LEAVES
    assert log["entries"]["decisions"] + log["entries"]["counts"] + log["entries"]["rows"] == LEAVES
    assert (told["findings"], told["undecided"], told["open_intents"], told["pending_rows"]) == ([], [], [], 0)


def test_the_state_folder_names_its_database(run: Run, database: Path) -> None:
    state = database.parent / "state"
    (state / "data").mkdir(parents=True)
    database.rename(state / "data" / "trail.db")
    (state / "sealmark.toml").write_text(
        '[hsm]\nuri = "pkcs11:token=x?module-path=/no/such.so"\n[database]\nurl = "sqlite:///data/trail.db"\n'
    )
    result = run("audit", "verify", "--state", state)
    assert result.exit_code == 0, result.output
    assert run("audit", "verify", environment={"SEALMARK_STATE": str(state)}).exit_code == 0


def test_a_growing_log_continues_its_head_and_an_older_copy_does_not(run: Run, maker: Maker, database: Path) -> None:
    older = maker.path.with_name("older.db")
    assert run("audit", "verify", "--database", older, "--head", "trail.head").exit_code == 0
    grown = run("audit", "verify", "--database", database, "--head", "trail.head")
    assert grown.exit_code == 0, grown.output
    assert f"the kept head of {OLDER} entries" in grown.output
    kept = Path("trail.head").read_bytes()
    cut = run("audit", "verify", "--database", older, "--head", "trail.head", "--json")
    assert cut.exit_code == 1
    told = json.loads(cut.output)
    assert told["verified"] is False
    assert told["findings"][0]["size"] == OLDER
    assert Path("trail.head").read_bytes() == kept


def test_every_fault_is_named_and_no_head_is_kept(run: Run, database: Path) -> None:
    write(
        database,
        "UPDATE log_entries SET principal = 'role/nobody' || char(27) WHERE seq = 250",
        "UPDATE row_journal SET row_id = 'role/other' WHERE seq = 2",
        "DELETE FROM log_tiles",
        "CREATE TRIGGER planted AFTER INSERT ON log_entries BEGIN DELETE FROM audit_intents; END",
    )
    result = run("audit", "verify", "--database", database, "--head", "trail.head", "--json")
    assert result.exit_code == 1
    told = json.loads(result.output)
    places = {(each["table"], str(each.get("row"))) for each in told["findings"]}
    assert {("log_entries", "250"), ("row_journal", "2"), ("log_tiles", "1/0/0"), ("planted", "None")} <= places
    assert told["finding_count"] == len(told["findings"])
    assert not Path("trail.head").exists()
    people = run("audit", "verify", "--database", database)
    assert people.output.count("REJECTED: ") == told["finding_count"]
    assert "VERIFIED" not in people.output
    assert "\x1b" not in people.output


def test_an_entry_behind_the_last_is_named(run: Run, database: Path) -> None:
    """The head is as it was: a copy of an entry that nobody has signed."""
    with closing(sqlite3.connect(database)) as connection:
        names = ", ".join(row[1] for row in connection.execute("PRAGMA table_info(log_entries)") if row[1] != "seq")
    copied_row = f"SELECT {LEAVES + 5}, {names} FROM log_entries WHERE seq = 100"  # noqa: S608
    write(database, f"INSERT INTO log_entries (seq, {names}) {copied_row}")
    told = json.loads(run("audit", "verify", "--database", database, "--json").output)
    assert (told["outcome"], told["findings"][0]["index"]) == ("rejected", LEAVES + 5)
    assert "is beyond the head" in told["findings"][0]["message"]


def test_the_key_is_pinned_by_option_and_by_the_kept_head(run: Run, maker: Maker, database: Path) -> None:
    right = NoteSigner(maker.anchor.origin, maker.anchor.public_key).verifier_key
    result = run("audit", "verify", "--database", database, "--log-key", right, "--head", "trail.head")
    assert result.exit_code == 0, result.output
    assert "whether the log's key" not in result.output
    other = Maker(database.with_name("other.db"), seed=4)
    other.fill(20)
    other.close()
    forged = run("audit", "verify", "--database", database.with_name("other.db"), "--head", "trail.head")
    assert forged.exit_code == 1
    assert "is not here" in forged.output
    assert run("audit", "verify", "--database", database, "--log-key", "nonsense").exit_code == 2


def test_what_has_no_checkpoint_cannot_be_decided_for_long(
    run: Run, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that was killed leaves this, and so does somebody who has changed what was not signed yet."""
    write(database, "UPDATE log_heads SET checkpoint = NULL, checkpoint_size = -1")
    fresh = run("audit", "verify", "--database", database)
    assert fresh.exit_code == 0, fresh.output
    assert f"the last {LEAVES} entries have no checkpoint yet" in fresh.output
    monkeypatch.setattr("signer.cli.audit_state.UNSIGNED_MICROSECONDS", -1)
    result = run("audit", "verify", "--database", database, "--json")
    assert result.exit_code == 2, result.output
    told = json.loads(result.output)
    assert told["outcome"] == "indeterminate"
    assert f"entries 0 to {LEAVES - 1} are signed by no checkpoint" in told["undecided"][0]
    assert told["unsigned_entries"] == LEAVES


def test_what_is_no_fault_is_listed(run: Run, database: Path) -> None:
    names = "epoch, time, request_id, principal, action, items"
    write(
        database,
        f"INSERT INTO audit_intents (id, {names}) SELECT 'open', {names} FROM audit_intents LIMIT 1",  # noqa: S608
        "UPDATE audit_intents SET time = 1000000 WHERE id = 'open'",
    )
    result = run("audit", "verify", "--database", database)
    assert result.exit_code == 0, result.output
    assert "the intent open has no outcome" in result.output
    assert "1970-01-01T00:00:01Z" in result.output
    write(database, "UPDATE audit_epochs SET closed_at = 5")
    ended = run("audit", "verify", "--database", database)
    assert ended.exit_code == 1
    assert "its worker has ended" in ended.output


def damaged(path: Path) -> None:
    with path.open("r+b") as file:
        pages = path.stat().st_size // 4096
        for page in range(pages // 2, pages):
            file.seek(page * 4096)
            file.write(bytes(4096))


def not_a_database(path: Path) -> None:
    path.write_bytes(b"something else entirely, and longer than a header of a database would ever be" * 50)


def another_kind(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE other (a)")


@pytest.mark.parametrize(
    ("harm", "code"),
    [(damaged, 1), (not_a_database, 2), (another_kind, 2), (Path.unlink, 2)],
    ids=["damaged", "something-else", "another-database", "missing"],
)
def test_a_file_that_is_no_whole_database_is_never_verified(
    run: Run, database: Path, harm: Callable[[Path], None], code: int
) -> None:
    harm(database)
    result = run("audit", "verify", "--database", database, "--head", "trail.head")
    assert result.exit_code == code, result.output
    assert "VERIFIED" not in result.output
    assert not Path("trail.head").exists()


@pytest.mark.parametrize(
    "options",
    [
        ("--state", ".", "--database", "x.db"),
        ("--database", "x.db", "--full"),
        ("--database", "x.db", "--log", "1"),
        ("--database", "x.db", "--log-key", "k", "--trust", "t.json"),
        ("--head", "a", "--head", "b"),
        ("--state", "."),
    ],
)
def test_wrong_usage(run: Run, options: tuple[str, ...]) -> None:
    result = run("audit", "verify", *options)
    assert result.exit_code == 2, result.output


def test_a_head_that_is_none_is_not_overwritten(run: Run, database: Path) -> None:
    Path("trail.head").write_text("{}")
    result = run("audit", "verify", "--database", database, "--head", "trail.head", "--json")
    assert result.exit_code == 2
    assert json.loads(result.output)["code"] == "unreadable_file"
    assert Path("trail.head").read_text() == "{}"


def test_a_service_that_does_not_answer_is_no_proof(run: Run) -> None:
    result = run("audit", "verify", environment={"SEALMARK_URL": "http://127.0.0.1:1"})
    assert result.exit_code == 2, result.output
    assert "unreachable" in result.output
