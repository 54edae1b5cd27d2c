"""Every file under samples/ is used as a person would use it."""

from __future__ import annotations

import shutil
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path

from keystore.configuration import load_keystore_configuration
from signer.config import CertificateConfiguration, ServerConfiguration, load_server_configuration

SAMPLES = Path(__file__).resolve().parents[1] / "samples"


def test_the_sample_configuration_is_read_and_states_the_defaults(tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "sealmark.toml", tmp_path / "sealmark.toml")
    server = load_server_configuration(tmp_path)
    assert server.trusted_proxies == (ip_network("10.0.0.5/32"), ip_network("10.1.0.0/24"))
    default = ServerConfiguration(trusted_proxies=server.trusted_proxies)
    assert server == default
    keystore = load_keystore_configuration(tmp_path)
    assert (keystore.hsm.cache_size, keystore.hsm.sessions) == (1000, 8)
    assert keystore.database_url.endswith(str(tmp_path / "sealmark.db"))


def test_the_sample_configuration_names_every_setting_of_the_server() -> None:
    text = (SAMPLES / "sealmark.toml").read_text(encoding="utf-8")
    names = [field.name for table in (ServerConfiguration, CertificateConfiguration) for field in fields(table)]
    assert [name for name in names if f"{name} = " not in text and f"[{name}]" not in text] == []


def test_every_sample_is_tested_here() -> None:
    assert {path.name for path in SAMPLES.iterdir()} == {"sealmark.toml"}
