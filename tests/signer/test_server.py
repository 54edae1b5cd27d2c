"""`sealmark serve` before it serves: which addresses it binds, and the settings that gunicorn gets."""

from __future__ import annotations

import ssl
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Final

import pytest

from signer.config import ServerConfiguration
from signer.errors import ConfigurationError
from signer.server import _Server, gunicorn_options, require_safe_bind, serve, tls_context

PLAIN: Final = ServerConfiguration()
BEHIND_PROXY: Final = ServerConfiguration(trusted_proxies=(ip_network("10.0.0.5/32"),))
WITH_TLS: Final = ServerConfiguration(tls_certificate=Path("/tls.crt"), tls_key=Path("/tls.key"))
LOCAL: Final = ("127.0.0.1:8200", "127.8.9.10:1", "localhost:8200", "[::1]:8200", "unix:/run/sealmark.sock")
EVERYWHERE: Final = tuple(
    f"{host}:8200"
    for host in (".".join("0000"), "[::]", "", "192.0.2.1", "[2001:db8::1]", "host.example", "[::ffff:192.0.2.1]", "*")
)


@pytest.mark.parametrize("bind", LOCAL)
@pytest.mark.parametrize("configuration", [PLAIN, BEHIND_PROXY, WITH_TLS])
def test_this_machines_own_addresses_are_bound(bind: str, configuration: ServerConfiguration) -> None:
    require_safe_bind(bind, configuration)


@pytest.mark.parametrize("bind", EVERYWHERE)
def test_an_address_that_others_reach_needs_tls_or_a_named_proxy(bind: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        require_safe_bind(bind, PLAIN)
    for way_out in ("server.tls_certificate", "server.trusted_proxies", "127.0.0.1"):
        assert way_out in refusal.value.message
    for configuration in (BEHIND_PROXY, WITH_TLS):
        require_safe_bind(bind, configuration)


@pytest.mark.parametrize(
    "bind", ["", "8200", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:8²"]
)
@pytest.mark.parametrize("configuration", [PLAIN, BEHIND_PROXY, WITH_TLS])
def test_what_is_no_address_is_refused(bind: str, configuration: ServerConfiguration) -> None:
    with pytest.raises(ConfigurationError, match="HOST:PORT"):
        require_safe_bind(bind, configuration)


def test_serve_refuses_before_anything_is_opened(tmp_path: Path) -> None:
    (tmp_path / "sealmark.toml").write_text("[server]\n")
    with pytest.raises(ConfigurationError, match="other machines reach this address"):
        serve(tmp_path, EVERYWHERE[0])
    with pytest.raises(ConfigurationError, match="sealmark init"):
        serve(tmp_path / "missing", LOCAL[0])


def test_gunicorn_takes_the_settings(tmp_path: Path) -> None:
    server = _Server(tmp_path, gunicorn_options(PLAIN, LOCAL[0]))
    assert server.cfg.address == [("127.0.0.1", 8200)]
    assert (server.cfg.workers, server.cfg.threads) == (2, 8)
    assert (server.cfg.max_requests, server.cfg.max_requests_jitter) == (20_000, 2_000)
    assert not server.cfg.preload_app  # the HSM is opened after the fork
    assert not server.cfg.is_ssl


def test_words_of_the_command_line_win(tmp_path: Path) -> None:
    server = _Server(tmp_path, gunicorn_options(PLAIN, LOCAL[0], workers=3, threads=5))
    assert (server.cfg.workers, server.cfg.threads) == (3, 5)


def test_tls_files_reach_gunicorn(tmp_path: Path) -> None:
    server = _Server(tmp_path, gunicorn_options(WITH_TLS, EVERYWHERE[0]))
    assert server.cfg.is_ssl
    assert (server.cfg.certfile, server.cfg.keyfile) == ("/tls.crt", "/tls.key")


def test_nobody_can_pass_plain_http_for_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """gunicorn would believe X-Forwarded-Proto of whomever this variable names."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    server = _Server(tmp_path, gunicorn_options(BEHIND_PROXY, EVERYWHERE[0]))
    assert server.cfg.forwarded_allow_ips == []
    assert server.cfg.secure_scheme_headers == {}


def test_client_certificates_are_asked_for_and_not_required(tmp_path: Path) -> None:
    configuration = replace(WITH_TLS, client_ca=Path("/ca.crt"))
    server = _Server(tmp_path, gunicorn_options(configuration, EVERYWHERE[0]))
    assert (server.cfg.ca_certs, server.cfg.cert_reqs) == ("/ca.crt", ssl.CERT_OPTIONAL)
    plain = _Server(tmp_path, gunicorn_options(WITH_TLS, EVERYWHERE[0]))
    assert (plain.cfg.ca_certs, plain.cfg.cert_reqs) == (None, ssl.CERT_NONE)


def test_tls_is_1_2_at_least_and_each_connections_certificate_is_looked_up_in_the_list() -> None:
    def context() -> ssl.SSLContext:
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        made.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        made.verify_mode = ssl.CERT_OPTIONAL
        return made

    plain = tls_context(WITH_TLS)(None, context)
    assert plain.minimum_version is ssl.TLSVersion.TLSv1_2
    assert plain.verify_mode is ssl.CERT_OPTIONAL
    listed = replace(WITH_TLS, client_crl=Path("/missing.crl"))
    unusable = tls_context(listed)(None, context)
    assert unusable.verify_mode is ssl.CERT_NONE  # no certificate is asked for, so none is believed
    assert unusable.minimum_version is ssl.TLSVersion.TLSv1_2
