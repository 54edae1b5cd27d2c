"""Where a call comes from: plain HTTP of another machine is refused; only a named proxy is believed about callers."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest

from signer.app import application
from signer.config import ServerConfiguration
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
    path: str = "/v1/keys",
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
