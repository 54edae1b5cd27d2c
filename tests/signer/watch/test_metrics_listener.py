"""Where the figures are served, and where not; and what every panel and alert of the shipped files asks for."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import threading
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from shutil import which
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from signer import metrics, metrics_listener
from signer.access import Action
from signer.config import MetricsConfiguration, ServerConfiguration, load_server_configuration
from signer.errors import ConfigurationError
from signer.metrics_listener import MetricsService
from signer.problems import PROBLEMS
from signer.readiness import PARTS
from tests.live import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.signer.service import ServiceInProcess

TOKEN = "0123456789abcdef0123456789abcdef"
OPERATIONS = ROOT / "docs" / "operations"
VALUES = {
    "code": set(PROBLEMS),
    "operation": {action.value for action in Action},
    "outcome": {"succeeded", "denied", "failed"},
    "part": set(PARTS),
}
NAME = re.compile(r"sealmark_[a-z0-9_]+")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('bind = "9464"', "metrics.bind: '9464' is not HOST:PORT"),
        ("bind = 9464", "metrics.bind is HOST:PORT"),
        ('bind = "127.0.0.1:99999"', "is not HOST:PORT"),
        ("keys = -1", "metrics.keys is a whole number"),
        ('token_file = "none"', "metrics.token_file: there is no file"),
        ("port = 1", "metrics.port is not a setting"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "sealmark.toml").write_text(f"[metrics]\n{text}\n")
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        load_server_configuration(tmp_path)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "sealmark.example:0"])
@pytest.mark.parametrize("given", [(), ("token",), ("tls",)])
def test_an_address_that_others_reach_needs_tls_and_a_token(tmp_path: Path, address: str, given: tuple[str]) -> None:
    file = tmp_path / "file"
    configuration = ServerConfiguration(
        tls_certificate=file if "tls" in given else None,
        metrics=MetricsConfiguration(bind=address, token_file=file if "token" in given else None),
    )
    with pytest.raises(ConfigurationError, match="other machines reach this address"):
        metrics_listener.bind(configuration)


def test_both_are_enough_and_a_token_must_be_long(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("short\n")
    file.chmod(0o600)
    asked = MetricsConfiguration(bind="0.0.0.0:0", token_file=file)
    metrics_listener.require_safe(asked, ServerConfiguration(tls_certificate=file))
    with pytest.raises(ConfigurationError, match="32 characters at least"):
        metrics_listener.token_digest(asked)
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="can be read by others"):
        metrics_listener.token_digest(asked)


def test_an_address_that_is_taken_is_said_at_the_start() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        configuration = ServerConfiguration(metrics=MetricsConfiguration(bind=f"127.0.0.1:{port}"))
        with pytest.raises(ConfigurationError, match="cannot be listened on"):
            metrics_listener.bind(configuration)
    assert metrics_listener.bind(ServerConfiguration()) is None


def on_loopback(token_file: Path | None = None) -> ServerConfiguration:
    return ServerConfiguration(metrics=MetricsConfiguration(bind="127.0.0.1:0", token_file=token_file))


@contextmanager
def listening(service: ServiceInProcess, folder: Path, asked: ServerConfiguration) -> Iterator[int]:
    """The listener over the service of this process; its port."""
    folder.mkdir()
    socket_ = metrics_listener.bind(asked)
    assert socket_ is not None
    before = service.services.configuration
    service.services.configuration = asked
    served = MetricsService(service.services, folder, socket_)
    try:
        yield socket_.getsockname()[1]
    finally:
        served.stop()
        socket_.close()
        service.services.configuration = before


def fetch(port: int, path: str = "/metrics", method: str = "GET", **headers: str) -> tuple[int, str]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_metrics_are_one_path_of_the_listener_and_none_of_the_api(service: ServiceInProcess, tmp_path: Path) -> None:
    assert service.client.get("/metrics").status_code == 404
    token_file = tmp_path / "metrics.token"
    token_file.touch(mode=0o600)
    token_file.write_text(TOKEN)
    with listening(service, tmp_path / "with", on_loopback(token_file)) as port:
        for wrong in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": TOKEN}):
            status, text = fetch(port, **wrong)
            assert (status, "sealmark_" in text) == (401, False)
        for right in (f"Bearer {TOKEN}", f"bearer  {TOKEN}"):
            assert fetch(port, Authorization=right)[0] == 200
    with listening(service, tmp_path / "without", on_loopback()) as port:
        assert fetch(port)[0] == 200
        assert fetch(port, "/")[0] == 404
        assert fetch(port, "/v1/keys")[0] == 404
        assert fetch(port, method="POST")[0] == 501


def test_an_address_for_others_speaks_tls_and_nothing_else(service: ServiceInProcess, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    began = datetime.now(UTC) - timedelta(days=1)
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, began, began + timedelta(days=9))
    certificate, private, token_file = (tmp_path / name for name in ("tls.crt", "tls.key", "token"))
    certificate.write_bytes(built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    token_file.touch(mode=0o600)
    token_file.write_text(TOKEN)
    asked = ServerConfiguration(
        tls_certificate=certificate,
        tls_key=private,
        metrics=MetricsConfiguration(bind="0.0.0.0:0", token_file=token_file),
    )
    with listening(service, tmp_path / "tls", asked) as port:
        trusted = ssl.create_default_context(cafile=certificate)
        trusted.check_hostname = False
        with closing(HTTPSConnection("127.0.0.1", port, timeout=20, context=trusted)) as connection:
            connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
            text = connection.getresponse().read().decode()
        assert "sealmark_tls_certificate_seconds_left 6" in text  # some eight days
        with pytest.raises((OSError, HTTPException)):
            fetch(port, Authorization=f"Bearer {TOKEN}")


def test_slow_callers_keep_nobody_away(
    service: ServiceInProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_listener, "_CALLER_SECONDS", 0.3)
    stopping = threading.Event()

    def drip(slow: socket.socket) -> None:
        """A letter of a header every now and then: always in time, and never done."""
        with suppress(OSError):
            slow.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
            while not stopping.wait(0.05):
                slow.sendall(b"x")

    with listening(service, tmp_path / "slow", on_loopback()) as port:
        address = ("127.0.0.1", port)
        slow = [socket.create_connection(address) for _ in range(3 * metrics_listener._THREADS)]
        drips = [threading.Thread(target=drip, args=(each,)) for each in slow[: 2 * metrics_listener._THREADS]]
        for thread in drips:
            thread.start()
        try:
            assert fetch(port)[0] == 200
        finally:
            stopping.set()
            for thread in drips:
                thread.join()
            for each in slow:
                each.close()


def queries() -> Iterator[tuple[str, str]]:
    """Where, and what is asked."""
    dashboard: dict[str, Any] = json.loads((OPERATIONS / "grafana-dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for group in rules()["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def rules() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((OPERATIONS / "alerts.yml").read_text())
    return found


def test_every_panel_and_alert_names_a_metric_that_there_is() -> None:
    asked = {(place, name) for place, query in queries() for name in NAME.findall(query)}
    assert len(asked) > 50
    assert [found for found in asked if found[1] not in metrics.names()] == []
    # And nothing is measured that nobody can look at.
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for _, name in asked}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in metrics.names()} - shown == {
        *("sealmark_log_cosignatures", "sealmark_log_entries_covered", "sealmark_log_entries_cosigned")
    }


def test_labels_that_are_asked_for_exist() -> None:
    families = [*metrics.COUNTERS.values(), *metrics.HISTOGRAMS.values(), *metrics.SURVEYED.values(), metrics.INFO]
    families += [family for family, _ in metrics.GAUGES.values()]
    known = {label for family in families for label in family.labels} | {"le", "job"}
    for place, query in queries():
        grouped = {label for labels in re.findall(r"by \(([^)]*)\)", query) for label in re.split(r",\s*", labels)}
        matched = set(re.findall(r"[{,]\s*([a-z_]+)\s*=", query))
        assert grouped | matched <= known, place
        for label, values in re.findall(r'(code|operation|outcome|part)=~?"([^"]*)"', query):
            assert set(values.split("|")) <= VALUES[label], place


def test_every_alert_has_its_place_in_the_runbook() -> None:
    headings = re.findall(r"^## (.*)$", (OPERATIONS / "runbook.md").read_text(), re.MULTILINE)
    for group in rules()["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert rule["annotations"]["runbook"] in headings, rule["alert"]


def test_prometheus_itself_reads_rules_and_queries(tmp_path: Path) -> None:
    """Where Debian's `prometheus` is installed; its text form is read in any case by the library's own parser."""
    as_rules = [
        {"record": f"q:{at}", "expr": query.replace("$__rate_interval", "5m")}
        for at, (_, query) in enumerate(queries())
    ]
    made = tmp_path / "queries.yml"
    made.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": as_rules}]}))
    promtool = which("promtool")
    for file in (OPERATIONS / "alerts.yml", made) if promtool else ():
        done = subprocess.run([str(promtool), "check", "rules", str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
