"""Where a call comes from: plain HTTP of another machine is refused; only a named proxy is believed about callers."""

from __future__ import annotations

import base64
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import Mock

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from signer.app import application
from signer.config import ServerConfiguration
from tests.signer.authn.by_hand import Signed, public_pem
from tests.signer.authn.certificates import FOR_CLIENTS, certificate, der
from tests.signer.service import ServiceInProcess
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

PROXY = "10.0.0.5"
PROXIES = (ip_network(PROXY), ip_network("10.9.0.0/16"), ip_network("2001:db8:1::/48"))


@pytest.fixture(scope="module")
def behind_proxy(service: ServiceInProcess) -> ServiceInProcess:
    """The same service with proxies named in its configuration."""
    services = replace(service.services, configuration=ServerConfiguration(trusted_proxies=PROXIES))
    return ServiceInProcess(services, application(services).test_client(), service.tokens)


def look(
    service: ServiceInProcess,
    peer: str,
    forwarded: str | None = None,
    path: str = "/v1/domains",
    who: str = "user/auditor",
    **environ: Any,
) -> TestResponse:
    """A call that the auditor may not make, so that its source is recorded."""
    headers = {"Authorization": f"Bearer {service.tokens[who]}"}
    if forwarded is not None:
        headers["X-Forwarded-For"] = forwarded
    return service.client.get(path, headers=headers, environ_overrides={"REMOTE_ADDR": peer, **environ})


def source(service: ServiceInProcess, answer: TestResponse) -> str:
    assert answer.status_code == 403, answer.get_data(as_text=True)
    (row,) = service.outcomes(answer.headers["X-Request-Id"])
    return str(row["source"])


@pytest.mark.parametrize("peer", ["192.0.2.1", "10.0.0.5", "2001:db8::1", "::ffff:192.0.2.1", "169.254.1.1"])
@pytest.mark.parametrize("path", ["/v1/whoami", "/healthz", "/v1/trust", "/no-such-path"])
def test_plain_http_from_another_machine_is_refused(service: ServiceInProcess, peer: str, path: str) -> None:
    answer = look(service, peer, path=path)
    assert_refused(answer, 403, "insecure_transport")


@pytest.mark.parametrize("peer", ["192.0.2.1", "10.0.0.6", "10.10.0.1", "2001:db8:2::1", "::ffff:10.0.0.6"])
def test_who_is_no_named_proxy_is_refused_whatever_it_says(behind_proxy: ServiceInProcess, peer: str) -> None:
    for forwarded in (None, "127.0.0.1", PROXY):
        assert_refused(look(behind_proxy, peer, forwarded), 403, "insecure_transport")


def test_headers_do_not_turn_plain_http_into_tls(service: ServiceInProcess) -> None:
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "on", "Forwarded": "proto=https;for=127.0.0.1"}
    answer = service.client.get("/v1/whoami", headers=headers, environ_overrides={"REMOTE_ADDR": "192.0.2.1"})
    assert_refused(answer, 403, "insecure_transport")


def test_tls_is_let_in_from_anywhere(service: ServiceInProcess) -> None:
    answer = look(service, "192.0.2.1", **{"wsgi.url_scheme": "https"})
    assert source(service, answer) == "192.0.2.1"


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_let_in_and_not_believed_about_others(service: ServiceInProcess, peer: str) -> None:
    assert source(service, look(service, peer)) == peer
    assert source(service, look(service, peer, "203.0.113.9")) == peer


def test_a_unix_socket_is_let_in(service: ServiceInProcess) -> None:
    assert source(service, look(service, "", "203.0.113.9")) == "unknown"


@pytest.mark.parametrize("peer", [PROXY, "10.9.255.1", "2001:db8:1::7", "::ffff:10.0.0.5"])
@pytest.mark.parametrize(
    ("forwarded", "caller"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),  # the first was written by the caller, the last by the proxy
        ("127.0.0.1,2001:db8::9", "2001:db8::9"),
        (" 203.0.113.9 ", "203.0.113.9"),
    ],
)
def test_a_named_proxy_is_believed_about_the_nearest_caller(
    behind_proxy: ServiceInProcess, peer: str, forwarded: str, caller: str
) -> None:
    assert source(behind_proxy, look(behind_proxy, peer, forwarded)) == caller


@pytest.mark.parametrize(
    "forwarded", ["", "unknown", "203.0.113.9,", '203.0.113.9, evil"]', "203.0.113.9:80", "a" * 4000]
)
def test_what_is_no_address_is_not_recorded_as_one(behind_proxy: ServiceInProcess, forwarded: str) -> None:
    assert source(behind_proxy, look(behind_proxy, PROXY, forwarded)) == PROXY


def test_without_a_forwarded_address_the_proxy_is_the_source(behind_proxy: ServiceInProcess) -> None:
    assert source(behind_proxy, look(behind_proxy, PROXY)) == PROXY


NAME: Final = {"match": "uri", "name": "spiffe://shop.example/transport"}


@pytest.fixture(scope="module")
def with_header(service: ServiceInProcess) -> ServiceInProcess:
    """Named proxies state certificates, and one is bound to an auditor, who may look at nothing but themselves."""
    service.made("user/admin", "POST", "/v1/principals/user/auditor/public-credentials", NAME)
    service.made(
        "user/admin", "POST", "/v1/principals/role/ci/public-credentials", {"match": "dns", "name": "t.example"}
    )
    configuration = ServerConfiguration(trusted_proxies=PROXIES, client_certificate_header="Client-Cert")
    services = replace(service.services, configuration=configuration)
    return ServiceInProcess(services, application(services).test_client(), service.tokens)


def stated(*names: x509.GeneralName) -> str:
    now = datetime.now(UTC)
    made = certificate(FOR_CLIENTS, names=names, begins=now - timedelta(days=1), ends=now + timedelta(days=1))
    return f":{base64.b64encode(der(made)).decode()}:"


AUDITORS: Final = stated(x509.UniformResourceIdentifier(NAME["name"]))


def state(
    service: ServiceInProcess, peer: str, value: str | None, path: str = "/v1/whoami", **headers: str
) -> TestResponse:
    given = headers if value is None else {**headers, "Client-Cert": value}
    return service.client.get(path, headers=given, environ_overrides={"REMOTE_ADDR": peer})


@pytest.mark.parametrize("peer", [PROXY, "10.9.255.1", "2001:db8:1::7", "::ffff:10.0.0.5"])
def test_a_named_proxy_states_the_callers_certificate(with_header: ServiceInProcess, peer: str) -> None:
    assert state(with_header, peer, AUDITORS).get_json()["name"] == "user/auditor"
    for none in (None, ""):
        assert_refused(state(with_header, peer, none), 401, "unauthenticated")


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "", "10.0.0.6", "192.0.2.1"])
@pytest.mark.parametrize("value", [AUDITORS, "", "x"])
@pytest.mark.parametrize("path", ["/v1/whoami", "/healthz", "/no-such-path"])
def test_from_anybody_else_the_header_is_refused(
    with_header: ServiceInProcess, peer: str, value: str, path: str
) -> None:
    token = f"Bearer {with_header.tokens['user/auditor']}"
    assert_refused(state(with_header, peer, value, path, Authorization=token), 403, "insecure_transport")


def test_the_short_way_does_not_pass_it_by(with_header: ServiceInProcess) -> None:
    token = f"Bearer {with_header.tokens['role/ci']}"
    answer = with_header.client.post(
        "/v1/keys/no-such-key/signatures",
        json={"message": "AAAA"},
        headers={"Authorization": token, "Client-Cert": AUDITORS},
        environ_overrides={"REMOTE_ADDR": "127.0.0.1"},
    )
    assert_refused(answer, 403, "insecure_transport")


@pytest.mark.parametrize("value", ["x", ":", ":AAAA:", AUDITORS[1:], f"{AUDITORS}, {AUDITORS}", f"{AUDITORS};a=1"])
def test_what_a_proxy_states_and_nobody_can_read_is_no_credential(with_header: ServiceInProcess, value: str) -> None:
    assert_refused(state(with_header, PROXY, value), 401, "unauthenticated")


def test_two_kinds_of_credentials_are_refused_also_through_a_proxy(with_header: ServiceInProcess) -> None:
    token = f"Bearer {with_header.tokens['user/auditor']}"
    assert_refused(state(with_header, PROXY, AUDITORS, Authorization=token), 401, "unauthenticated")
    assert_refused(state(with_header, PROXY, AUDITORS, Signature="x"), 401, "unauthenticated")


def test_a_certificate_of_two_principals_is_refused(with_header: ServiceInProcess) -> None:
    both = stated(x509.UniformResourceIdentifier(NAME["name"]), x509.DNSName("t.example"))
    with capture_logs() as logged:
        assert_refused(state(with_header, PROXY, both), 401, "unauthenticated")
    assert [one["reason"] for one in logged] == ["2 usable bindings match the certificate; exactly one must"]


def test_without_the_setting_no_header_states_a_certificate(behind_proxy: ServiceInProcess) -> None:
    for peer in (PROXY, "127.0.0.1"):
        assert_refused(state(behind_proxy, peer, AUDITORS), 401, "unauthenticated")


def socket_of_tls(shown: bytes, mode: ssl.VerifyMode) -> Mock:
    """A connection as gunicorn hands it over, after its handshake; tests/interop has real ones."""
    connection = Mock(spec=ssl.SSLSocket)
    connection.getpeercert.return_value = shown
    connection.context.verify_mode = mode
    return connection


@pytest.mark.parametrize(
    ("peer", "authority", "mode", "status"),
    [
        ("192.0.2.1", Path("ca.crt"), ssl.CERT_OPTIONAL, 200),
        ("192.0.2.1", Path("ca.crt"), ssl.CERT_REQUIRED, 200),
        ("192.0.2.1", Path("ca.crt"), ssl.CERT_NONE, 401),  # nobody verified it
        ("192.0.2.1", None, ssl.CERT_OPTIONAL, 401),  # verified by an authority that the configuration does not name
        (PROXY, Path("ca.crt"), ssl.CERT_REQUIRED, 401),  # a proxy's own certificate is no caller's
    ],
)
def test_the_certificate_of_a_connection_counts_where_the_configured_authority_vouches_for_it(
    with_header: ServiceInProcess, peer: str, authority: Path | None, mode: ssl.VerifyMode, status: int
) -> None:
    configuration = ServerConfiguration(trusted_proxies=PROXIES, client_ca=authority)
    services = replace(with_header.services, configuration=configuration)
    connection = socket_of_tls(base64.b64decode(AUDITORS[1:-1]), mode)
    answer = (
        application(services)
        .test_client()
        .get(
            "/v1/whoami",
            environ_overrides={"REMOTE_ADDR": peer, "wsgi.url_scheme": "https", "gunicorn.socket": connection},
        )
    )
    assert answer.status_code == status


@pytest.mark.parametrize(("peer", "scheme"), [(PROXY, "https"), ("127.0.0.1", "http")])
def test_only_a_named_proxy_is_believed_about_tls(with_header: ServiceInProcess, peer: str, scheme: str) -> None:
    """A signed request covers the scheme, so which one was seen shows in what verifies."""
    key = ec.generate_private_key(ec.SECP256R1())
    body = {"match": "request-key", "public_key": public_pem(key)}
    keyid = with_header.made("user/admin", "POST", "/v1/principals/role/ci/public-credentials", body)["id"]
    for stated_scheme in ("http", "https"):
        headers = Signed(key, keyid, scheme=stated_scheme).all_headers() | {"X-Forwarded-Proto": "http, https"}
        answer = with_header.client.get("/v1/whoami", headers=headers, environ_overrides={"REMOTE_ADDR": peer})
        assert answer.status_code == (200 if stated_scheme == scheme else 401)
