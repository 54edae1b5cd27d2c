"""An older copy of the database, put back in any way: nothing is signed over it, and the right one works at once."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

import pytest

from keystore.db import open_database
from keystore.errors import IntegrityFailure
from keystore.keystore import Keystore
from signer.app import assemble
from signer.config import ServerConfiguration
from tests import databases
from tests.databases import hand, path_of, url_of
from tests.faults.faulty_token import FaultyToken
from tests.signer.service import ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from werkzeug.test import TestResponse

    from keystore.api import HardwareToken
    from keystore.hsm import Token

MESSAGE: Final = {"message": "AAAA"}
SIGNATURES: Final = "/v1/keys/subject/signatures"
UNAVAILABLE: Final = ("audit_unavailable", "integrity_failure", "store_unavailable")


@pytest.fixture(scope="module")
def token_of_this(token: Token) -> Iterator[FaultyToken]:
    faulty = FaultyToken(token)
    yield faulty
    faulty.destroy_others()


@pytest.fixture(scope="module")
def service(token_of_this: FaultyToken, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceInProcess]:
    with running_service(token_of_this, tmp_path_factory.mktemp("older")) as running:
        running.make_key("subject", "ECC_NIST_P256", "general")
        yield running


def copy_of(database: Path, copy: Path) -> Path:
    """The database as it is now, as a backup has it."""
    databases.copy(database, copy)
    return copy


def put_back(older: Path, database: Path, *tables: str) -> None:
    """The rows of some tables as they were."""
    with hand(older) as copied, hand(database) as attacker, attacker.transaction():
        for table in tables:
            attacker.run(f"DELETE FROM {table}")  # noqa: S608 - names of our own
            for row in copied.records(f"SELECT * FROM {table}"):  # noqa: S608
                marks = ", ".join("?" * len(row))
                attacker.run(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", *row.values())  # noqa: S608


def written_over(copy: Path, database: Path) -> None:
    """The copy's pages in the place of the database's, in the file that the service has open."""
    databases.copy(copy, database)


def renamed_over(copy: Path, database: Path) -> None:
    """The copy in the place of the database's file, which the service has open: it goes on in no directory."""
    new = database.with_name("new.db")
    shutil.copyfile(copy, new)
    for beside in ("-wal", "-shm"):
        database.with_name(database.name + beside).unlink(missing_ok=True)
    new.replace(database)


def sign(service: ServiceInProcess) -> TestResponse:
    return service.call("role/ci", "POST", SIGNATURES, MESSAGE)


def assert_signs(service: ServiceInProcess) -> None:
    answer = sign(service)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert answer.get_json()["results"][0]["proof"].startswith("c2sp.org/tlog-proof@v1\n")


def assert_refuses(service: ServiceInProcess) -> None:
    answer = sign(service)
    assert answer.status_code == 503, answer.get_data(as_text=True)
    assert answer.get_json()["code"] in UNAVAILABLE
    assert "results" not in answer.get_json()


WAYS: Final = (written_over,) if databases.ON_POSTGRESQL else (written_over, renamed_over)


@pytest.mark.parametrize("put", WAYS, ids=lambda put: put.__name__)
def test_an_older_copy_under_a_running_service(
    service: ServiceInProcess, token_of_this: FaultyToken, tmp_path: Path, put: Callable[[Path, Path], None]
) -> None:
    database = path_of(service.services.keystore.database)
    assert_signs(service)
    older = copy_of(database, tmp_path / "older.db")
    for _ in range(3):
        assert_signs(service)
    service.services.audit.log.keep()
    right = copy_of(database, tmp_path / "right.db")
    put(older, database)
    assert_refuses(service)  # the HSM may have signed for this one, and nobody got it
    token_of_this.honest()
    for _ in range(5):
        assert_refuses(service)
    assert token_of_this.asked == 0
    assert service.call(None, "GET", "/readyz").status_code == 503
    put(right, database)
    assert_signs(service)  # without a restart
    assert service.call(None, "GET", "/readyz").status_code == 200


def test_rows_and_their_journal_put_back_without_the_log(service: ServiceInProcess, tmp_path: Path) -> None:
    """The log is as it was: its last row is not in the journal any more."""
    database = path_of(service.services.keystore.database)
    older = copy_of(database, tmp_path / "older.db")
    service.made("user/key-admin", "POST", "/v1/keys/subject/disable")
    service.made("user/key-admin", "POST", "/v1/keys/subject/enable")
    assert_signs(service)
    service.services.audit.log.keep()
    right = copy_of(database, tmp_path / "right.db")
    put_back(older, database, "keys", "row_journal", "row_journal_head")
    assert_refuses(service)
    with pytest.raises(IntegrityFailure, match="an older copy of the rows was put back"):
        started(service.services.keystore._token, database)
    written_over(right, database)
    assert_signs(service)


def started(token: HardwareToken, database: Path) -> None:
    """What a worker does that starts now. Raises what keeps it from starting."""
    keystore = Keystore(token, open_database(url_of(database)))
    try:
        services = assemble(keystore, database.parent, ServerConfiguration())
        services.upkeep.stop()
        services.audit.stop()
    finally:
        keystore.database.close()


def test_an_older_copy_under_a_stopped_service(token_of_this: FaultyToken, tmp_path: Path) -> None:
    """The HSM keeps the head of what the service wrote last."""
    with running_service(token_of_this, tmp_path) as service:
        service.make_key("subject", "ECC_NIST_P256", "general")
        token, database = service.services.keystore._token, path_of(service.services.keystore.database)
        older = copy_of(database, tmp_path / "older.db")
        assert_signs(service)
    right = copy_of(database, tmp_path / "right.db")
    token_of_this.honest()
    written_over(older, database)
    with pytest.raises(IntegrityFailure, match=r"the HSM keeps the head of [0-9]+ leaves"):
        started(token, database)
    assert token_of_this.asked == 0
    written_over(right, database)
    started(token, database)
