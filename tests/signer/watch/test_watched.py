"""One service of two workers, watched in every way: metrics, traces, `sealmark monitor`, `sealmark doctor`."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from keystore import checkup
from keystore.configuration import StateDirectory, write_softhsm_configuration
from keystore.hsm.checkup import TokenState
from signer import metrics
from signer.cli.doctor import database, files, network
from signer.cli.doctor.command import examine
from signer.cli.doctor.findings import Status, run
from signer.cli.main import cli
from tests import databases
from tests.hsm_support import log_key_missing
from tests.keystore.support import Attacker
from tests.signer.test_config import W1
from tools.service import Service, free_port, running_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DIGEST = "6df1" * 16
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
WITNESS = W1.text
OPENMETRICS: Callable[[str], Iterator[Any]] = openmetrics.text_string_to_metric_families


class Collector(ThreadingHTTPServer):
    """A collector of traces: OTLP over HTTP, protobuf."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Collecting)
        self.received: list[bytes] = []

    def spans(self) -> list[Any]:
        found = []
        for octets in self.received:
            request = ExportTraceServiceRequest.FromString(octets)
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    found += scope.spans
        return found


class _Collecting(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.received.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@dataclass
class Watched:
    """The service, where its metrics are, the collector of its traces, and its key-user's token."""

    service: Service
    metrics_url: str
    collector: Collector
    token: str
    token_file: Path
    folder: Path
    keys: dict[str, str] = field(default_factory=dict)

    def sign(self, key: str = "release", **headers: str) -> httpx.Response:
        body = {"artifacts": [{"name": "a", "size": 1, "digests": {"sha256": DIGEST}}], "formats": ["cms"]}
        sent = {"Authorization": f"Bearer {self.token}", **headers}
        with httpx.Client(base_url=self.service.url, trust_env=False) as client:
            return client.post(f"/v1/keys/{key}/artifacts", json=body, headers=sent)

    def scraped(self, accept: str = "") -> str:
        return httpx.get(self.metrics_url, headers={"Accept": accept}, trust_env=False, timeout=20).text

    def value(self, name: str, **labels: str) -> float:
        """The sum of what there is of that name with these labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.scraped())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def command(self, *words: str, token: bool = True) -> tuple[int, str]:
        options = ["--url", self.service.url, *(["--token-file", str(self.token_file)] if token else [])]
        done = CliRunner().invoke(cli, [*options, *words])
        assert self.token not in done.output
        return done.exit_code, done.output


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    port, collector = free_port(), Collector()
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    settings = [
        *("workers = 2", "", "[metrics]", f'bind = "127.0.0.1:{port}"'),
        *("", "[tracing]", f'endpoint = "http://127.0.0.1:{collector.server_address[1]}/v1/traces"'),
    ]
    with running_service(folder, settings) as service:
        token = service.enrolled("role/monitor", "key-user")
        token_file = folder / "monitor.token"
        token_file.touch(mode=0o600)
        token_file.write_text(token)
        found = Watched(service, f"http://127.0.0.1:{port}/metrics", collector, token, token_file, folder)
        with service.caller(service.token_of("key-admin")) as administrator:
            for alias, purpose in (("release", "artifact"), ("tokens", "general")):
                body = {"alias": alias, "spec": "ECC_NIST_P256", "purpose": purpose, "users": ["role/monitor"]}
                found.keys[alias] = administrator.json("POST", "/v1/keys", body)["id"]
        yield found
        spans_before = len(collector.received)
    assert len(collector.received) >= spans_before
    collector.shutdown()
    collector.server_close()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_every_family_is_there_and_both_forms_are_read(watched: Watched) -> None:
    assert watched.sign().status_code == 200
    assert watched.sign("not-there").status_code == 404
    eventually(lambda: watched.value("sealmark_workers") == 2)
    text = watched.scraped()
    found = {family.name for family in text_string_to_metric_families(text)}
    families = [*metrics.COUNTERS.values(), *metrics.HISTOGRAMS.values(), *metrics.SURVEYED.values()]
    families += [family for family, _ in metrics.GAUGES.values()]
    assert found == {f"sealmark_{family.name}" for family in families} | {"sealmark_build_info"}
    assert len(list(OPENMETRICS(watched.scraped("application/openmetrics-text; version=1.0.0")))) == len(found)
    for name in ("part_ready", "hsm_seconds_bucket", "authority_seconds_left", "log_entries", "resident_bytes"):
        assert watched.value(f"sealmark_{name}") > 0, name
    ours = {"key_id": watched.keys["release"], "outcome": "succeeded"}
    eventually(lambda: watched.value("sealmark_key_calls_total", **ours) >= 1)  # of the other worker too
    assert watched.value("sealmark_refusals_total", code="not_found", operation="SignArtifact") == 1
    for secret in (*watched.service.secrets(), watched.token, "role/monitor", "not-there"):
        assert secret not in text


def test_counts_are_the_callers_own_over_all_workers_and_over_a_killed_one(watched: Watched) -> None:
    def signed() -> float:
        return watched.value("sealmark_call_seconds_count", operation="SignArtifact", outcome="succeeded")

    before = signed()
    for _ in range(20):  # a connection each: both workers have some
        assert watched.sign().status_code == 200
    eventually(lambda: signed() == before + 20)
    time.sleep(1.1)  # each has written its figures since
    workers = children(watched)
    assert len(workers) == 2
    killed = min(workers)
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: killed not in children(watched) and watched.value("sealmark_workers") == 2)
    assert signed() == before + 20
    assert watched.sign().status_code == 200
    eventually(lambda: signed() == before + 21)


def children(watched: Watched) -> set[int]:
    command = ["ps", "-o", "pid=", "--ppid", str(watched.service.process.pid)]
    return {int(pid) for pid in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()}


def test_a_call_is_a_span_of_its_callers_trace_with_its_stages_and_nothing_more(watched: Watched) -> None:
    assert watched.sign(traceparent=f"00-{TRACE}-{PARENT}-01").status_code == 200
    assert watched.sign(traceparent=f"00-{TRACE[::-1]}-{PARENT}-00").status_code == 200  # its caller traces nothing
    assert watched.sign(traceparent="nonsense").status_code == 200
    assert watched.sign("tokens", traceparent=f"00-{TRACE}-{PARENT}-01").status_code == 409

    def of_trace(trace: str) -> list[Any]:
        return [span for span in watched.collector.spans() if span.trace_id.hex() == trace]

    eventually(lambda: len(of_trace(TRACE)) >= 8)
    spans = of_trace(TRACE)
    calls = [span for span in spans if span.parent_span_id.hex() == PARENT]
    told = [{one.key: one.value.string_value for one in call.attributes} for call in calls]
    assert sorted(call.name for call in calls) == ["SignArtifact", "SignArtifact"]
    assert {"sealmark.operation": "SignArtifact", "sealmark.key_id": watched.keys["release"]} in told
    assert [one["sealmark.code"] for one in told if "sealmark.code" in one] == ["wrong_purpose"]
    signing = next(call for call, one in zip(calls, told, strict=True) if "sealmark.code" not in one)
    stages = [span for span in spans if span.parent_span_id == signing.span_id]
    assert [stage.name for stage in stages] == ["authentication", "decision", "intent", "hsm", "commit"]
    times = [signing.start_time_unix_nano]
    for stage in stages:
        assert stage.start_time_unix_nano == times[-1]
        times.append(stage.end_time_unix_nano)
    assert times == sorted(times)
    assert abs(times[0] / 1e9 - time.time()) < 60
    assert times[-1] <= signing.end_time_unix_nano
    assert of_trace(TRACE[::-1]) == []
    everything = b"".join(watched.collector.received)
    for secret in (watched.token, DIGEST, "role/monitor", str(watched.folder)):
        assert secret.encode() not in everything


def monitored(watched: Watched, *words: str) -> tuple[int, dict[str, Any]]:
    code, output = watched.command("monitor", "--key", "release", "--json", *words)
    return code, json.loads(output.splitlines()[-1])


def test_the_monitor_is_content_and_writes_what_prometheus_reads(watched: Watched) -> None:
    textfile = watched.folder / "sealmark.prom"
    code, look = monitored(watched, "--every", "1", "--count", "2", "--textfile", str(textfile))
    assert (code, look["ok"], look["wrong"]) == (0, True, [])
    assert look["log_entries"] > 0
    samples = {
        sample.name: (sample.value, sample.labels)
        for family in text_string_to_metric_families(textfile.read_text())
        for sample in family.samples
    }
    assert samples["sealmark_monitor_success"] == (1.0, {"key": "release"})
    assert "sealmark_monitor_wrong" not in samples
    code, output = watched.command("monitor", "--key", "release")
    assert (code, " ok " in output) == (0, True)


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("--longest", "0.0001"), "slow"),
        (("--certificate-days", "400"), "certificate_ends"),
        (("--key", "not-there"), "not_found"),
        (("--key", "tokens"), "wrong_purpose"),
        (("--trust", "{other}"), "signature_not_verified"),
        (("--url", "http://127.0.0.1:9"), "unreachable"),
    ],
)
def test_the_monitor_names_what_is_wrong(watched: Watched, tmp_path: Path, words: tuple[str, ...], wrong: str) -> None:
    other = tmp_path / "other.pem"
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    other.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    textfile = tmp_path / "wrong.prom"
    code, look = monitored(watched, "--textfile", str(textfile), *(word.format(other=other) for word in words))
    assert (code, look["ok"]) == (1, False)
    assert wrong in [one["code"] for one in look["wrong"]], look
    samples = [sample for family in text_string_to_metric_families(textfile.read_text()) for sample in family.samples]
    assert wrong in [sample.labels["code"] for sample in samples if sample.name == "sealmark_monitor_wrong"]


def test_the_monitor_sees_a_log_that_goes_back_and_a_clock_that_is_wrong(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    from signer.cli import monitor

    sizes = iter((0.0, 1e9))
    looked = monitor.look_once
    monkeypatch.setattr(monitor, "look_once", lambda key, trust, bounds, _: looked(key, trust, bounds, next(sizes)))
    code, look = monitored(watched, "--every", "1", "--count", "2")
    assert (code, [one["code"] for one in look["wrong"]]) == (1, ["log_went_back"])

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Later:
            return cls.fromtimestamp(time.time() + 100, tz)

    monkeypatch.undo()
    monkeypatch.setattr(monitor, "datetime", Later)
    code, look = monitored(watched)
    assert (code, [one["code"] for one in look["wrong"]]) == (1, ["clock"])


def test_a_monitor_without_a_token_is_wrong_usage(watched: Watched) -> None:
    assert watched.command("monitor", "--key", "release", token=False)[0] == 2
    assert watched.command("monitor", "--key", "release", "--count", "2")[0] == 2


# --- the doctor ----------------------------------------------------------------------------------------------------


def bind_of(service: Service) -> str:
    return service.url.removeprefix("http://")


def worst(state: Path, bind: str = "127.0.0.1:9", *, full: bool = False) -> dict[str, Status]:
    """The worst finding of each check."""
    found: dict[str, Status] = {}
    for finding in examine(state, bind, full=full):
        order = list(Status)
        found[finding.check] = max(found.get(finding.check, Status.OK), finding.status, key=order.index)
        assert finding.status is Status.OK or finding.advice
    return found


def failing(state: Path, *, full: bool = False, bind: str = "127.0.0.1:9") -> set[str]:
    return {check for check, status in worst(state, bind, full=full).items() if status is Status.FAIL}


def fingerprint(state: Path) -> dict[str, bytes]:
    """All that lies there, but for empty files, SQLite's shared memory, and where SoftHSM counts logins."""
    passing = re.compile(r".*-shm|token\.object")
    found = [path for path in state.rglob("*") if path.is_file() and not passing.fullmatch(path.name)]
    return {str(path): octets for path in found if (octets := path.read_bytes())}


def test_a_doctor_finds_nothing_while_the_service_runs(watched: Watched) -> None:
    found = worst(watched.service.state, bind_of(watched.service), full=True)
    assert found.pop("ceremony") is Status.FAIL
    assert set(found.values()) == {Status.OK}, found
    assert {"modes", "disk", "configuration", "database", "log", "clock", "certificates", "hsm", "hsm_pin"} <= set(
        found
    )
    assert {"hsm_keys", "log_anchor", "seals", "audit", "service", "ready", "metrics"} <= set(found)
    code, output = watched.command("doctor", "--state", str(watched.service.state), "--json", token=False)
    told = json.loads(output)
    assert (code, told["status"]) == (1, "FAIL")
    for secret in watched.service.secrets():
        assert secret not in output


@pytest.fixture(scope="module")
def still(watched: Watched, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state as it would be after the service has ended."""
    place = tmp_path_factory.mktemp("still") / "state"
    skipped = shutil.ignore_patterns("ceremony", "metrics", "locks")
    copy_state(watched.service.state, place, skipped)
    (place / "locks").mkdir(mode=0o700)
    return place


def copy_state(old: Path, new: Path, skipped: Callable[[str, list[str]], set[str]] = lambda *_: set()) -> None:
    """The folder but for what is skipped, and the database."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if name.startswith("sealmark.db")} | set(skipped(folder, names))

    shutil.copytree(old, new, ignore=left_out)
    if not databases.is_postgresql():
        (new / "sealmark.db").touch(mode=0o600)
    databases.copy(old / "sealmark.db", new / "sealmark.db")
    if databases.is_postgresql():
        edit(new, databases.url_of(old / "sealmark.db"), databases.url_of(new / "sealmark.db"))


@pytest.fixture
def state(still: Path, tmp_path: Path) -> Path:
    """A copy of one's own."""
    place = tmp_path / "state"
    copy_state(still, place)
    write_softhsm_configuration(StateDirectory(place))
    return place


def test_a_doctor_finds_nothing_while_it_is_down_and_writes_nothing(state: Path) -> None:
    before = fingerprint(state)
    found = worst(state, full=True)
    assert set(found.values()) == {Status.OK}, found
    assert found["service"] is Status.OK
    assert fingerprint(state) == before
    code = CliRunner().invoke(cli, ["doctor", "--state", str(state), "--bind", "127.0.0.1:9"]).exit_code
    assert code == 0


def edit(state: Path, old: str, new: str) -> None:
    file = state / "sealmark.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def sql(state: Path, *statements: str) -> None:
    for statement in statements:
        Attacker(state / "sealmark.db").run(statement)


def damage(state: Path) -> None:
    with closing(sqlite3.connect(state / "sealmark.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with (state / "sealmark.db").open("r+b") as file:
        file.seek(4096 * 5)
        file.write(b"\xff" * 4096 * 30)


def fill_token(state: Path) -> None:
    sql(state, "UPDATE key_versions SET token_label = 'x' WHERE id = (SELECT min(id) FROM key_versions)")
    edit(state, "[hsm]", "[hsm]\ntoken_keys = 1")


TRIGGER = (
    "CREATE TRIGGER t BEFORE UPDATE ON keys FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    if databases.is_postgresql()
    else "CREATE TRIGGER t AFTER INSERT ON keys BEGIN SELECT 1; END"
)
AGED = "UPDATE log_entries SET time = time - 3600000000"
FAULTS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "mode of the PIN": ("modes", lambda state: (state / "hsm.pin").chmod(0o640)),
    "mode of the folder": ("modes", lambda state: state.chmod(0o755)),
    "another's file": ("owner", lambda state: os.chown(state / "admin.token", 65534, -1)),
    "ceremony": ("ceremony", lambda state: (state / "ceremony").mkdir()),
    "no such setting": ("configuration", lambda state: edit(state, "[server]", "[server]\nspeed = 9")),
    "not TOML": ("configuration", lambda state: (state / "sealmark.toml").write_text("[[[")),
    "no settings": ("configuration", lambda state: (state / "sealmark.toml").unlink()),
    "no module": ("configuration", lambda state: edit(state, "libsofthsm2.so", "none.so")),
    "metrics for all": ("configuration", lambda state: edit(state, 'bind = "127.0.0.1', 'bind = "0.0.0.0')),
    "moved": (
        "configuration",
        lambda state: (state / "hsm" / "softhsm2.conf").write_text("directories.tokendir = /\n"),
    ),
    "no database": ("database", lambda state: databases.remove(state / "sealmark.db")),
    "damaged pages": ("database", damage),
    "a trigger": (
        "database",
        lambda state: sql(state, TRIGGER),
    ),
    "another schema": ("schema", lambda state: sql(state, "UPDATE alembic_version SET version_num = '0000'")),
    "log behind": ("log", lambda state: sql(state, "UPDATE log_heads SET checkpoint_size = 1", AGED)),
    "clock": ("clock", lambda state: sql(state, "UPDATE log_entries SET time = time + 3600000000")),
    "authority": (
        "certificates",
        lambda state: sql(state, "UPDATE certificates SET not_after = 1, not_before = 0"),
    ),
    "no authority": ("certificates", lambda state: sql(state, "UPDATE keys SET purpose = 'general'")),
    "token is full": ("token_keys", fill_token),
    "another module": (
        "hsm",
        lambda state: edit(state, "module-path=/usr/lib/softhsm/libsofthsm2.so", "module-path=sealmark.toml"),
    ),
    "another token": ("hsm", lambda state: edit(state, "pkcs11:token=sealmark", "pkcs11:token=other")),
    "wrong PIN": ("hsm_pin", lambda state: (state / "hsm.pin").write_text("wrong-wrong")),
    "no PIN": ("hsm_pin", lambda state: (state / "hsm.pin").unlink()),
    "older database": (
        "log_anchor",
        lambda state: sql(state, "UPDATE log_heads SET size = size - 1, checkpoint_size = size - 1"),
    ),
    "another deployment": ("log_anchor", lambda state: sql(state, "UPDATE deployment SET account = '999999999999'")),
}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=pytest.mark.sqlite_only("pages of a file") if fault == "damaged pages" else ())
        for fault in FAULTS
    ],
)
def test_a_doctor_names_each_fault(state: Path, fault: str) -> None:
    check, make = FAULTS[fault]
    make(state)
    assert check in failing(state)


@pytest.mark.parametrize(
    ("check", "statement"),
    [
        ("seals", "UPDATE keys SET description = 'another'"),
        ("audit", "UPDATE log_entries SET principal = 'user/another'"),
    ],
)
def test_what_somebody_changed_is_found_by_a_full_look(state: Path, check: str, statement: str) -> None:
    sql(state, statement)
    assert check not in failing(state)
    assert check in failing(state, full=True)


def test_a_key_that_is_missing_from_the_token(state: Path) -> None:
    with log_key_missing(state):
        assert "hsm_keys" in failing(state)
    assert "hsm_keys" not in failing(state)


def test_a_pin_is_not_tried_where_it_would_lock_the_token(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = checkup.token_state

    def on_its_last(configuration: Any) -> TokenState:
        told = found(configuration)
        return TokenState(told.info, last_try=True, tried=True, write_protected=False)

    tried: list[object] = []
    monkeypatch.setattr(checkup, "token_state", on_its_last)
    monkeypatch.setattr(checkup, "open_token", lambda *given, **_: tried.append(given))
    assert "hsm_pin" in failing(state)
    assert tried == []


def test_disks(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(state)

    def disk(**changed: int) -> Status:
        names = ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail", "f_flag")
        values = {name: getattr(real, name) for name in names} | changed
        told = os.statvfs_result(tuple(values.get(name, 0) for name in (*names, "f_namemax")))
        monkeypatch.setattr(os, "statvfs", lambda _: told)
        (finding,) = files.check_disk(state)
        return finding.status

    frame = real.f_frsize
    assert disk(f_bavail=0) is Status.FAIL
    assert disk(f_flag=os.ST_RDONLY) is Status.FAIL
    assert disk(f_bavail=100 * 1024 * 1024 // frame, f_favail=10_000) is Status.WARN
    assert disk(f_bavail=100 * 1024**3 // frame, f_favail=10_000) is Status.OK
    assert disk(f_bavail=100 * 1024**3 // frame, f_favail=10) is Status.FAIL


def test_certificates_that_end(state: Path) -> None:
    settings = next(found for found in files.check_settings(state) if isinstance(found, files.Settings))
    with database.opened(settings.keystore) as found:
        for days, expected in ((0, Status.OK), (350, Status.WARN), (370, Status.WARN), (3700, Status.FAIL)):
            moment = datetime.now(UTC) + timedelta(days=days)
            told = list(run("certificates", partial(database.check_certificates, found.rows, moment)))
            assert max((one.status for one in told), key=list(Status).index) is expected, days


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """Something that answers HTTP."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            readiness = self.path == "/readyz"
            told = body if readiness or not body.startswith(b"{") else b'{"status": "alive"}'
            self.send_response(status if readiness or not body.startswith(b"{") else 200)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_what_answers_at_its_address(state: Path) -> None:
    parts = {"hsm": {"status": "not_ready", "code": "no_answer"}, "certificates": {"status": "warning", "code": "x"}}
    with answering(503, json.dumps({"parts": parts}).encode()) as bind:
        assert failing(state, bind=bind) == {"ready"}
    with answering(503, b'{"parts": 1}') as bind:
        assert failing(state, bind=bind) == {"ready"}
    with answering(200, b"hello") as bind:
        assert failing(state, bind=bind) == {"service"}


def test_addresses_and_witnesses_that_are_not_to_be_had(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_TIMEOUT", httpx.Timeout(0.3))
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert failing(state, bind=address) == {"service"}  # it hangs
    with closing(socket.socket()) as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert failing(state, bind=address) == {"service"}
        file = state / "sealmark.toml"
        file.write_text(re.sub(r'bind = "[^"]*"', f'bind = "{address}"', file.read_text()))
        assert failing(state) == {"metrics"}
    file.write_text(re.sub(r'bind = "[^"]*"', 'bind = "127.0.0.1:9"', file.read_text()))
    named = f'[log]\nwitnesses = [{{ url = "http://{address}", key = "{WITNESS}" }}]\n'
    with file.open("a") as text:
        text.write(named)
    found = worst(state)
    assert (found["witness"], found.get("cosignatures")) == (Status.WARN, None)
    with file.open("a") as text:
        text.write("cosignatures = 1\n")
    assert failing(state) == {"witness"}
    sql(state, AGED)
    assert worst(state)["cosignatures"] is Status.WARN


def test_a_tls_certificate_that_has_ended(state: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sealmark.example")])
    began = datetime.now(UTC) - timedelta(days=90)

    def certificate(days: int) -> bytes:
        built = x509.CertificateBuilder(name, name, key.public_key(), 1, began, began + timedelta(days=days))
        return built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)

    (state / "tls.key").touch(mode=0o600)
    (state / "tls.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    edit(state, "[server]", '[server]\ntls_certificate = "tls.crt"\ntls_key = "tls.key"')
    for days, expected in ((80, Status.FAIL), (100, Status.WARN), (200, Status.OK)):
        (state / "tls.crt").write_bytes(certificate(days))
        assert worst(state)["tls"] is expected


def test_no_state_at_all(tmp_path: Path) -> None:
    assert failing(tmp_path / "none") == {"state"}
