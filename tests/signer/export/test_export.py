"""The live export: every record once and in order, over restarts, cut-off lines and places that cannot be reached."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from signer.audit.records import decision
from signer.audit.sequencer import Sequencer
from signer.errors import ConfigurationError
from signer.export import exporter as module
from signer.export.exporter import Exporter
from signer.export.settings import FileTarget, SyslogTarget, read_exports
from tests.databases import new_database, url_of
from tests.signer.audit.anchor import software_anchor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.db import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = new_database(tmp_path / "log.db")
    yield made
    made.close()


@pytest.fixture
def sequencer(database: Database) -> Sequencer:
    return Sequencer(database, software_anchor())


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL_SECONDS", 600.0)


def record(sequencer: Sequencer, count: int, **values: object) -> None:
    asked = {"action": "Sign", "outcome": "succeeded", "principal": "role/ci", "request_id": "r", **values}
    sequencer.append([decision(asked, time=at, epoch="e") for at in range(count)], proved=False)


def exporter(database: Database, state: Path, to: str = "file:audit.jsonl", form: str = "json") -> Exporter:
    (settings,) = read_exports("audit.exports", [{"to": to, "format": form}], state)
    return Exporter(database, settings, state, "111122223333", "eu-west-1")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_record_is_exported_once_over_restarts(database: Database, sequencer: Sequencer, tmp_path: Path) -> None:
    record(sequencer, 3)
    first = exporter(database, tmp_path)
    first.once()
    record(sequencer, 2)
    first.stop()
    record(sequencer, 1200)
    second = exporter(database, tmp_path)
    second.stop()
    found = lines(tmp_path / "audit.jsonl")
    assert [line["index"] for line in found] == list(range(1205))
    assert found[0]["record"]["action"] == "Sign"
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", [1, 40, 5000])
def test_a_line_that_was_cut_off_is_written_again(
    database: Database, sequencer: Sequencer, tmp_path: Path, cut: int
) -> None:
    record(sequencer, 30)
    exporter(database, tmp_path).stop()
    path = tmp_path / "audit.jsonl"
    os.truncate(path, path.stat().st_size - cut)
    for place in (tmp_path / "locks").glob("*.place"):
        place.write_text("0")  # what was remembered is older than the file
    exporter(database, tmp_path).stop()
    assert [line["index"] for line in lines(path)] == list(range(30))


def test_a_file_that_was_moved_away_is_begun_anew(database: Database, sequencer: Sequencer, tmp_path: Path) -> None:
    record(sequencer, 2)
    running = exporter(database, tmp_path)
    running.once()
    (tmp_path / "audit.jsonl").rename(tmp_path / "audit.jsonl.1")
    record(sequencer, 2)
    running.stop()
    assert [line["index"] for line in lines(tmp_path / "audit.jsonl")] == [2, 3]


def test_a_file_of_somebody_else_is_left_alone(database: Database, sequencer: Sequencer, tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").write_text("somebody's line\n")
    record(sequencer, 2)
    with capture_logs() as said:
        exporter(database, tmp_path).stop()
    assert (tmp_path / "audit.jsonl").read_text() == "somebody's line\n"
    assert "give the export a file of its own" in said[0]["reason"]


def test_of_several_workers_one_exports(database: Database, sequencer: Sequencer, tmp_path: Path) -> None:
    workers = [exporter(database, tmp_path) for _ in range(3)]
    record(sequencer, 5)
    for worker in workers:
        worker.once()
    assert len(lines(tmp_path / "audit.jsonl")) == 5
    workers[0].stop()
    record(sequencer, 5)
    for worker in workers[1:]:
        worker.once()
    for worker in workers[1:]:
        worker.stop()
    assert [line["index"] for line in lines(tmp_path / "audit.jsonl")] == list(range(10))


_KILLED = """
import os, sys
from pathlib import Path
from keystore.db import open_database
from signer.export import delivery
from signer.export.exporter import Exporter
from signer.export.settings import read_exports
state, octets = Path(sys.argv[1]), int(sys.argv[2])
written, real = 0, os.write
def write(descriptor, data):
    global written
    done = real(descriptor, bytes(data)[: max(1, octets - written)])
    written += done
    if written >= octets:
        os.kill(os.getpid(), 9)
    return done
delivery.os.write = write
(settings,) = read_exports("audit.exports", [{"to": "file:audit.jsonl"}], state)
Exporter(open_database(sys.argv[3]), settings, state, "1" * 12, "eu-west-1").once()
"""


@pytest.mark.parametrize("octets", [1, 700, 4000, 12_000])
def test_a_kill_at_any_octet_loses_and_doubles_nothing(
    database: Database, sequencer: Sequencer, tmp_path: Path, octets: int
) -> None:
    record(sequencer, 40)
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path), str(octets), url_of(tmp_path / "log.db")], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    exporter(database, tmp_path).stop()
    assert [line["index"] for line in lines(tmp_path / "audit.jsonl")] == list(range(40))


def test_what_cannot_be_delivered_waits(database: Database, sequencer: Sequencer, tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").mkdir()
    record(sequencer, 3)
    running = exporter(database, tmp_path)
    with capture_logs() as said:
        running.once()
        running.once()
    assert [line["event"] for line in said] == ["export_waits"]  # said once, not twice a second
    (tmp_path / "audit.jsonl").rmdir()
    running.stop()
    assert len(lines(tmp_path / "audit.jsonl")) == 3


_SYSLOG = re.compile(rb"<109>1 (\S+Z) \S+ sealmark \d+ (\d+) - \xef\xbb\xbf(\{.*\})")


def test_syslog_over_tcp_is_octet_counted(database: Database, sequencer: Sequencer, tmp_path: Path) -> None:
    record(sequencer, 3, detail='{"words":"\u2713"}')
    with socket.create_server(("127.0.0.1", 0)) as server:
        running = exporter(database, tmp_path, f"syslog+tcp://127.0.0.1:{server.getsockname()[1]}")
        got = bytearray()

        def receive() -> None:
            connection, _ = server.accept()
            with connection:
                while part := connection.recv(65536):
                    got.extend(part)

        thread = threading.Thread(target=receive)
        thread.start()
        running.stop()
        thread.join(timeout=10)
    rest, indexes = bytes(got), []
    while rest:
        size, _, rest = rest.partition(b" ")
        message, rest = rest[: int(size)], rest[int(size) :]
        matched = _SYSLOG.fullmatch(message)
        assert matched is not None
        indexes.append(json.loads(matched[3])["index"])
    assert indexes == [0, 1, 2]


def test_syslog_that_is_down_is_waited_for(database: Database, sequencer: Sequencer, tmp_path: Path) -> None:
    path = tmp_path / "log.sock"
    running = exporter(database, tmp_path, f"syslog+unix:{path}")
    record(sequencer, 2)
    with capture_logs() as said:
        running.once()
    assert said[0]["event"] == "export_waits"
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as server:
        server.bind(str(path))
        running.stop()
        got = [_SYSLOG.fullmatch(server.recv(65536)) for _ in range(2)]
    assert [json.loads(one[3])["index"] for one in got if one] == [0, 1]


def test_the_shape_of_cloudtrail(database: Database, sequencer: Sequencer, tmp_path: Path) -> None:
    made = {"key_id": "1234", "source": "192.0.2.1", "credential": "bearer:1f3a", "context": '{"a":"b"}'}
    record(sequencer, 1, **made, algorithm="ECDSA_SHA_256")
    record(sequencer, 1, action="DescribeKey", outcome="denied", code="not_found", principal="user/ann")
    exporter(database, tmp_path, form="cloudtrail").stop()
    signed, refused = lines(tmp_path / "audit.jsonl")
    assert signed["userIdentity"]["arn"] == "arn:aws:iam::111122223333:role/ci"
    assert (signed["eventName"], signed["readOnly"], signed["eventCategory"]) == ("Sign", False, "Data")
    assert signed["resources"][0]["ARN"] == "arn:aws:kms:eu-west-1:111122223333:key/1234"
    assert signed["requestParameters"] == {
        "keyId": "1234",
        "signingAlgorithm": "ECDSA_SHA_256",
        "encryptionContext": {"a": "b"},
    }
    assert signed["additionalEventData"]["logIndex"] == 0
    assert "errorCode" not in signed
    assert (refused["errorCode"], refused["readOnly"], refused["eventTime"]) == (
        "not_found",
        True,
        "1970-01-01T00:00:00Z",
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, "is a list of tables"),
        ([1], "is a table with `to`"),
        ([{"to": "file:a", "more": 1}], "audit.exports[0].more is not a setting"),
        ([{"to": "file:a", "format": "xml"}], "audit.exports[0].format is one of json, cloudtrail"),
        ([{"to": "file:"}], "audit.exports[0].to is file:PATH"),
        ([{"to": "file:none/a"}], "there is no folder"),
        ([{"to": "syslog+tcp://host"}], "audit.exports[0].to is file:PATH"),
        ([{"to": "syslog+udp://host:99999"}], "audit.exports[0].to is file:PATH"),
        ([{"to": "syslog+unix:relative"}], "audit.exports[0].to is file:PATH"),
        ([{"to": "https://host"}], "audit.exports[0].to is file:PATH"),
        ([{"to": "file:a"}, {"to": "file:a", "format": "json"}], "two exports go to one place"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, value: object, words: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        read_exports("audit.exports", value, tmp_path)


def test_right_settings(tmp_path: Path) -> None:
    wanted = [
        {"to": "file:a"},
        {"to": "syslog+udp://[::1]:514"},
        {"to": "syslog+unix:/dev/log", "format": "cloudtrail"},
    ]
    targets = [export.target for export in read_exports("audit.exports", wanted, tmp_path)]
    assert targets == [
        FileTarget(tmp_path / "a"),
        SyslogTarget("udp", host="::1", port=514),
        SyslogTarget("unix", path="/dev/log"),
    ]
