"""Two regions of one account: a deployment each, with an HSM, a database, a region key and a clock of its own, that
share a domain of multi-region keys by ceremony and call each other over HTTP: the second one over TLS."""

from __future__ import annotations

import ipaddress
import json
import multiprocessing
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from multiprocessing.reduction import ForkingPickler
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from werkzeug.serving import make_server

from keystore.ceremony import adopt_domain, create_domain, export_domain, initialise
from keystore.configuration import StateDirectory, load_keystore_configuration
from keystore.db import open_database
from keystore.hsm import open_token
from keystore.keystore import Keystore
from signer.config import ServerConfiguration
from signer.regions.settings import RegionSettings
from tests.databases import init_options
from tests.signer.service import MovedClock, ServiceInProcess, running_over

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

    from werkzeug.serving import BaseWSGIServer

    from keystore.api import Key

FIRST: Final = "us-east-1"
SECOND: Final = "eu-west-1"
DOMAIN: Final = "global"
ADMINISTRATOR: Final = "user/key-admin"
LINK: Final = "role/other-region"  # the principal as which the other region calls
_NOT_YET: Final = "the service is not there yet"


def _received(members: dict[str, Any]) -> MappingProxyType[str, Any]:
    return MappingProxyType(members)


def _sent(proxy: MappingProxyType[str, Any]) -> tuple[Callable[..., Any], tuple[dict[str, Any]]]:
    """How a key's tags get from process to process."""
    return _received, (dict(proxy),)


ForkingPickler.register(MappingProxyType, _sent)


class Reply(NamedTuple):
    """An answer, as far as it can be sent from one process to another."""

    status_code: int
    mimetype: str
    headers: dict[str, str]
    body: str

    def get_json(self) -> Any:
        return json.loads(self.body)

    def get_data(self, *, as_text: bool = True) -> str:
        assert as_text
        return self.body


@dataclass(frozen=True)
class Region:
    """One deployment, in the process in which it runs."""

    name: str
    state: StateDirectory
    service: ServiceInProcess
    clock: MovedClock
    url: str

    @property
    def keystore(self) -> Keystore:
        return self.service.services.keystore

    def run(self, function: Callable[..., Any], *arguments: object) -> Any:
        """What the function returns that is called with this region."""
        return function(self, *arguments)

    def call(self, method: str, path: str, body: object = None, who: str | None = ADMINISTRATOR) -> Reply:
        answer = self.service.call(who, method, path, body)
        return Reply(answer.status_code, answer.mimetype or "", dict(answer.headers), answer.get_data(as_text=True))

    def made(self, method: str, path: str, body: object = None, who: str | None = ADMINISTRATOR) -> Any:
        answer = self.call(method, path, body, who)
        assert answer.status_code in (200, 201), answer.body
        return answer.get_json()

    def key(self, key_id: str) -> Key:
        return self.keystore.get_key(key_id)

    def upkeep(self) -> None:
        """What the service does by itself every minute."""
        self.service.services.upkeep.once(self.clock())

    def move(self, by: timedelta) -> None:
        """Lets time pass here."""
        self.clock.move(by)


@dataclass(frozen=True)
class Elsewhere:
    """The other deployment, in a process of its own: one process holds one token. All of `Region`, by messages."""

    name: str
    state: StateDirectory
    connection: Connection

    def run(self, function: Callable[..., Any], *arguments: object) -> Any:
        self.connection.send((function, arguments))
        done, result = self.connection.recv()
        if not done:
            raise result
        return result

    def call(self, method: str, path: str, body: object = None, who: str | None = ADMINISTRATOR) -> Reply:
        reply: Reply = self.run(Region.call, method, path, body, who)
        return reply

    def made(self, method: str, path: str, body: object = None, who: str | None = ADMINISTRATOR) -> Any:
        return self.run(Region.made, method, path, body, who)

    def key(self, key_id: str) -> Key:
        key: Key = self.run(Region.key, key_id)
        return key

    def upkeep(self) -> None:
        self.run(Region.upkeep)

    def move(self, by: timedelta) -> None:
        self.run(Region.move, by)


@dataclass(frozen=True)
class Regions:
    """Both of them."""

    first: Region
    second: Elsewhere

    def multi_region_key(self, spec: str = "ECC_NIST_P256", purpose: str = "general", **members: Any) -> Any:
        body = {"spec": spec, "purpose": purpose, "users": ["role/ci"], "multi_region": True, **members}
        return self.first.made("POST", "/v1/keys", body)

    def move(self, by: timedelta) -> None:
        """Lets time pass, in both."""
        self.first.move(by)
        self.second.move(by)

    def replicated(self, spec: str = "ECC_NIST_P256", purpose: str = "general", **members: Any) -> str:
        """The id of a key that is in both regions, and used by role/ci in both."""
        key_id: str = self.multi_region_key(spec, purpose, **members)["id"]
        self.first.made("POST", f"/v1/keys/{key_id}/replicas", {"region": SECOND, "users": ["role/ci"]})
        return key_id


def found_two(directory: Path) -> tuple[StateDirectory, StateDirectory]:
    """The ceremonies: two deployments, a domain of multi-region keys made in the first and carried to the second."""
    first, second = (
        initialise(directory / name, init_options(directory / name, region=name)).state for name in (FIRST, SECOND)
    )
    pin = first.officer_pin.read_bytes().strip()
    create_domain(first.path, DOMAIN, pin, multi_region=True)
    export_domain(first.path, DOMAIN, pin, directory / "global.domain")
    shares = [first.share(number).read_text(encoding="utf-8") for number in (1, 3, 5)]
    adopt_domain(second.path, directory / "global.domain", shares, second.officer_pin.read_bytes().strip())
    return first, second


@contextmanager
def two_regions(directory: Path) -> Iterator[Regions]:
    """Both, running and known to each other."""
    states = found_two(directory)
    certificate, key = _tls(directory)
    moment = datetime.now(UTC)
    tokens = {name: directory / f"{name}.token" for name in (FIRST, SECOND)}
    server = make_server("127.0.0.1", 0, _nothing_yet, threaded=True)
    to_first = RegionSettings(FIRST, f"http://127.0.0.1:{server.server_port}", tokens[FIRST])
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_elsewhere,
        args=(theirs, states[1].path, to_first, tokens[SECOND], certificate, key, moment),
        daemon=True,
    )
    process.start()
    theirs.close()
    try:
        to_second = RegionSettings(SECOND, f"https://127.0.0.1:{ours.recv()}", tokens[SECOND], ca=certificate)
        with _running(FIRST, states[0], server, to_second, tokens[FIRST], moment) as first:
            yield Regions(first, Elsewhere(SECOND, states[1], ours))
    finally:
        ours.close()
        process.join(30)
        process.kill()


def _elsewhere(
    connection: Connection,
    state: Path,
    to_first: RegionSettings,
    token_file: Path,
    certificate: Path,
    key: Path,
    moment: datetime,
) -> None:
    """The second region, for as long as the first one's process has the other end of the connection."""
    server = make_server("127.0.0.1", 0, _nothing_yet, threaded=True, ssl_context=(str(certificate), str(key)))
    with _running(SECOND, StateDirectory(state), server, to_first, token_file, moment) as region:
        connection.send(server.server_port)
        while True:
            try:
                function, arguments = connection.recv()
            except EOFError:
                return
            try:
                connection.send((True, function(region, *arguments)))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is for the test to see
                connection.send((False, error))


@contextmanager
def _running(
    name: str, state: StateDirectory, server: BaseWSGIServer, other: RegionSettings, token_file: Path, moment: datetime
) -> Iterator[Region]:
    configuration = load_keystore_configuration(state.path)
    token = open_token(configuration.hsm)
    clock = MovedClock(moment)
    keystore = Keystore(
        token, open_database(configuration.database.url, configuration.database.password_file), clock=clock
    )
    with running_over(keystore, state.path, replace(ServerConfiguration(), regions=(other,))) as service:
        token_file.touch(mode=0o600)
        token_file.write_text(_link_token(service), encoding="ascii")
        server.app = service.client.application
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Region(name, state, service, clock, f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
    token.close()


def _link_token(service: ServiceInProcess) -> str:
    made = service.made("user/admin", "POST", "/v1/principals", {"name": LINK, "duty": "key-administrator"})
    enrolled = service.made(None, "POST", "/v1/enrolments", {"code": made["enrolment_code"]})
    return str(enrolled["token"])


def _nothing_yet(_environ: object, _start_response: object) -> list[bytes]:
    raise RuntimeError(_NOT_YET)


def _tls(directory: Path) -> tuple[Path, Path]:
    """A certificate of this machine that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sealmark.eu.example")])
    moment = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "tls.pem", directory / "tls.key"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths
