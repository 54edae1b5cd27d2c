"""`sealmark.toml`: what is unknown, of the wrong kind, missing or open to others refuses to start, by name."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from signer.audit.cosignatures import parse_witness_key
from signer.config import (
    CertificateConfiguration,
    LogConfiguration,
    OutsideWitness,
    ServerConfiguration,
    load_server_configuration,
)
from signer.errors import ConfigurationError
from tests.signer.authn.certificates import certificate, pem
from tests.verifier.log_builder import NoteSigner, log_signer, witness_signer


def load(state: Path, text: str) -> ServerConfiguration:
    (state / "sealmark.toml").write_text(text, encoding="utf-8")
    return load_server_configuration(state)


def refused(state: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as refusal:
        load(state, text)
    return refusal.value.message


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A state directory with both TLS files, as they should be."""
    (tmp_path / "tls.crt").write_text("certificate")
    (tmp_path / "tls.key").touch(mode=0o600)
    return tmp_path


def test_nothing_said_means_safe_defaults(tmp_path: Path) -> None:
    for text in ("", "[server]\n", "[hsm]\n[database]\n"):
        assert load(tmp_path, text) == ServerConfiguration()
    assert (ServerConfiguration().trusted_proxies, ServerConfiguration().tls_key) == ((), None)


def test_every_setting_is_read(pair: Path) -> None:
    text = """
        [server]
        workers = 4
        threads = 16
        max_requests = 0
        graceful_timeout = 5
        log_level = "warning"
        trusted_proxies = ["10.0.0.5", "10.1.0.0/24", "2001:db8::/32"]
        tls_certificate = "tls.crt"
        tls_key = "tls.key"
    """
    configuration = load(pair, text)
    assert configuration == ServerConfiguration(
        workers=4,
        threads=16,
        max_requests=0,
        graceful_timeout=5,
        log_level="warning",
        trusted_proxies=(ip_network("10.0.0.5/32"), ip_network("10.1.0.0/24"), ip_network("2001:db8::/32")),
        tls_certificate=pair / "tls.crt",
        tls_key=pair / "tls.key",
    )


@pytest.mark.parametrize("table", ["servers", "Server", "auth", "verify", "tool"])
def test_an_unknown_table_is_refused(tmp_path: Path, table: str) -> None:
    assert f"unknown table [{table}]" in refused(tmp_path, f"[{table}]\n")


@pytest.mark.parametrize("setting", ["worker", "Workers", "bind", "auth", "insecure", "allow_http"])
def test_an_unknown_setting_is_refused(tmp_path: Path, setting: str) -> None:
    assert f"server.{setting} is not a setting" in refused(tmp_path, f"[server]\n{setting} = true\n")


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("workers", ["0", "65", "-1", "true", '"2"', "2.0", "[2]"]),
        ("threads", ["0", "257", "true", '"8"']),
        ("max_requests", ["-1", "10000001", "false"]),
        ("graceful_timeout", ["0", "601"]),
        ("log_level", ['"trace"', '"INFO"', "1", "true", '""']),
        ("trusted_proxies", ['"10.0.0.5"', "[5]", '["proxy.example"]', '["10.0.0.5/24"]', '[""]', '["10.0.0.256"]']),
        ("tls_certificate", ["1", '"missing.crt"', '"."', "true"]),
        ("tls_key", ["1", '"missing.key"', '"."']),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(tmp_path: Path, setting: str, values: list[str]) -> None:
    for value in values:
        assert f"server.{setting}" in refused(tmp_path, f"[server]\n{setting} = {value}\n")


@pytest.mark.parametrize("text", ["server = 1\n", "server = []\n", 'server = "x"\n'])
def test_the_server_is_a_table(tmp_path: Path, text: str) -> None:
    assert "[server] must be a table" in refused(tmp_path, text)


@pytest.mark.parametrize("alone", ['tls_certificate = "tls.crt"', 'tls_key = "tls.key"'])
def test_half_a_pair_for_tls_is_refused(pair: Path, alone: str) -> None:
    assert "go together" in refused(pair, f"[server]\n{alone}\n")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o610, 0o601, 0o777])
def test_a_private_key_that_others_can_reach_is_refused(pair: Path, mode: int) -> None:
    (pair / "tls.key").chmod(mode)
    message = refused(pair, '[server]\ntls_certificate = "tls.crt"\ntls_key = "tls.key"\n')
    assert "server.tls_key" in message
    assert "chmod 600" in message


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_key_of_its_owner_alone_is_taken(pair: Path, mode: int) -> None:
    (pair / "tls.key").chmod(mode)
    assert load(pair, '[server]\ntls_certificate = "tls.crt"\ntls_key = "tls.key"\n').tls_key == pair / "tls.key"


def test_absolute_paths_are_taken_as_they_are(pair: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    state = tmp_path_factory.mktemp("state")
    text = f'[server]\ntls_certificate = "{pair / "tls.crt"}"\ntls_key = "{pair / "tls.key"}"\n'
    assert load(state, text).tls_certificate == pair / "tls.crt"


def test_a_state_directory_that_was_never_founded_says_what_to_do(tmp_path: Path) -> None:
    for state in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigurationError, match="sealmark init --state"):
            load_server_configuration(state)


@pytest.mark.parametrize("content", [b"[server", b"\xff\xfe", b"[server]\nworkers = 2\nworkers = 3\n", b"\0"])
def test_what_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sealmark.toml").write_bytes(content)
    with pytest.raises(ConfigurationError, match="cannot be read as TOML"):
        load_server_configuration(tmp_path)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sealmark.toml").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_server_configuration(tmp_path)


def test_what_certificates_say_is_configured(tmp_path: Path) -> None:
    text = """
[certificates]
authority_url = "http://ca.example/v1/ca"
crl_url = "https://ca.example:8443/v1/ca/crl"
leaf_days = 90
crl_days = 2
"""
    (tmp_path / "sealmark.toml").write_text(text, encoding="utf-8")
    assert load_server_configuration(tmp_path).certificates == CertificateConfiguration(
        "http://ca.example/v1/ca", "https://ca.example:8443/v1/ca/crl", 90, 2
    )


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("leaf_dayz = 1", "certificates.leaf_dayz is not a setting"),
        ("leaf_days = 0", "certificates.leaf_days"),
        ("leaf_days = 1826", "certificates.leaf_days"),
        ("leaf_days = true", "certificates.leaf_days"),
        ("crl_days = 31", "certificates.crl_days"),
        ('crl_url = "ftp://ca.example/crl"', "certificates.crl_url"),
        ('crl_url = "/v1/ca/crl"', "certificates.crl_url"),
        ('crl_url = "http://ca.example/a b"', "certificates.crl_url"),
        ('crl_url = "http://user:secret@ca.example/crl"', "certificates.crl_url"),
        ('crl_url = "http://ca.example:99999/crl"', "certificates.crl_url"),
        ('authority_url = "http://ca.example/#x"', "certificates.authority_url"),
        ("authority_url = 1", "certificates.authority_url"),
    ],
)
def test_a_wrong_setting_of_certificates_is_refused_by_name(tmp_path: Path, line: str, named: str) -> None:
    (tmp_path / "sealmark.toml").write_text(f"[certificates]\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=named):
        load_server_configuration(tmp_path)


PEM = pem(certificate())


@pytest.fixture
def authority(pair: Path) -> Path:
    """The same, with an authority of clients."""
    (pair / "ca.crt").write_text(PEM)
    return pair


TLS = '[server]\ntls_certificate = "tls.crt"\ntls_key = "tls.key"\n'
PROXY = '[server]\ntrusted_proxies = ["10.0.0.5"]\n'


def test_client_certificates_are_taken_where_both_are_said(authority: Path) -> None:
    assert load(authority, TLS + 'client_ca = "ca.crt"\n').client_ca == authority / "ca.crt"
    header = load(authority, PROXY + 'client_certificate_header = "X-SSL-Client-Cert"\n').client_certificate_header
    assert header == "X-SSL-Client-Cert"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[server]\nclient_ca = "ca.crt"\n', "server.client_ca needs server.tls_certificate"),
        (PROXY + 'client_ca = "ca.crt"\n', "server.client_ca needs server.tls_certificate"),
        (TLS + 'client_ca = "tls.crt"\n', "server.client_ca"),
        (TLS + 'client_ca = "missing.crt"\n', "server.client_ca: there is no file"),
        (TLS + 'client_ca = "ca.crt"\nclient_crl = "ca.crt"\n', "server.client_crl"),
        (TLS + "client_ca = true\n", "server.client_ca"),
        (TLS + 'client_certificate_header = "Client-Cert"\n', "client_certificate_header needs server.trusted_proxies"),
        *(
            (PROXY + f"client_certificate_header = {value}\n", "server.client_certificate_header")
            for value in (
                *(
                    '"Client_Cert"',
                    '"client cert"',
                    '""',
                    "1",
                    '"Client-Cert\\n"',
                    '"-Client"',
                    '"Client-"',
                    '"Client:"',
                ),
                *('"Authorization"', '"signature"', '"Host"', '"X-Forwarded-For"', '"Content-Digest"', '"Cookie"'),
            )
        ),
    ],
)
def test_a_setting_for_client_certificates_that_would_be_useless_or_harmful_is_refused(
    authority: Path, text: str, said: str
) -> None:
    assert said in refused(authority, text)


W1, W2 = witness_signer("witness.example/w1"), witness_signer("witness.example/w2")


def witness(key: object, url: str = "https://witness.example") -> str:
    return f'{{ url = "{url}", key = "{getattr(key, "text", key)}" }}'


def test_witnesses_are_configured(tmp_path: Path) -> None:
    text = f"""
        [log]
        cosignatures = 1
        witnesses = [{witness(W1)}, {witness(W2, "http://127.0.0.1:8300/")}]
    """
    assert load(tmp_path, text).log == LogConfiguration(
        (
            OutsideWitness("https://witness.example", parse_witness_key(W1.text)),
            OutsideWitness("http://127.0.0.1:8300", parse_witness_key(W2.text)),
        ),
        1,
    )
    assert load(tmp_path, f"[log]\nwitnesses = [{witness(W1)}]").log.cosignatures == 0
    assert load(tmp_path, "[log]").log == LogConfiguration()


NAMESAKE = NoteSigner(W1.name, W2.private_key, kind=4)
SECOND_NAME = NoteSigner("witness.example/w3", W1.private_key, kind=4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cosignature = 1", "log.cosignature is not a setting"),
        ("cosignatures = 1", "log.cosignatures is 1, with 0 in log.witnesses"),
        ("cosignatures = -1", "log.cosignatures is a whole number"),
        ("cosignatures = true", "log.cosignatures is a whole number"),
        (f"cosignatures = 2\nwitnesses = [{witness(W1)}]", "log.cosignatures is 2, with 1"),
        ('witnesses = "https://witness.example"', "log.witnesses is a list"),
        ("witnesses = [1]", "log.witnesses is a list"),
        ("witnesses = [{}]", "log.witnesses[0].url is missing"),
        ('witnesses = [{ url = "https://w.example" }]', "log.witnesses[0].key is missing"),
        (f'witnesses = [{witness(W1)}, {{ name = "x" }}]', "log.witnesses[1].name is not a setting"),
        (f"witnesses = [{witness(W1, 'http://w.example')}]", "log.witnesses[0].url must be https"),
        (f"witnesses = [{witness(W1, 'ftp://w.example')}]", "log.witnesses[0].url is an address"),
        (f"witnesses = [{witness(W1, 'https://u:p@w.example')}]", "log.witnesses[0].url is an address"),
        (f"witnesses = [{witness(W1, 'https://w.example/?x')}]", "log.witnesses[0].url is an address"),
        (f"witnesses = [{witness('x')}]", "log.witnesses[0].key: it is not NAME+ID+KEY"),
        (
            f"witnesses = [{witness(log_signer())}]",
            "log.witnesses[0].key: it is not NAME+ID+KEY with a key of the kind 4",
        ),
        (f"witnesses = [{witness(W1.text.replace('w1', 'w9'))}]", "log.witnesses[0].key: its id is not the key's"),
        (f"witnesses = [{witness(W1)}, {witness(W1)}]", "log.witnesses[1].key: witness.example/w1 is named twice"),
        (f"witnesses = [{witness(W1)}, {witness(NAMESAKE)}]", "named twice"),
        (f"witnesses = [{witness(W1)}, {witness(SECOND_NAME)}]", "named twice"),
        (f"witnesses = [{', '.join([witness(W1)] * 9)}]", "log.witnesses names 9 witnesses; at most 8"),
    ],
)
def test_what_is_wrong_about_witnesses_is_named(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(tmp_path, f"[log]\n{text}\n")
