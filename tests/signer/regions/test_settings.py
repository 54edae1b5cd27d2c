"""`[[regions]]` of sealmark.toml: what is read, and what refuses to start."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from signer.errors import ConfigurationError
from signer.regions import client, statements
from signer.regions.settings import RegionSettings, read_regions

RIGHT: Final = {"name": "eu-west-1", "url": "https://sealmark.eu.example/", "token_file": "link.token"}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    for name, mode in (("link.token", 0o600), ("open.token", 0o644), ("no.pem", 0o600)):
        (tmp_path / name).write_text("smk_x\n", encoding="ascii")
        (tmp_path / name).chmod(mode)
    return tmp_path


def test_a_region_is_read(state: Path) -> None:
    (region,) = read_regions("regions", [RIGHT], state)
    assert region == RegionSettings("eu-west-1", "https://sealmark.eu.example", state / "link.token")
    assert read_regions("regions", [{**RIGHT, "url": "http://127.0.0.1:8201"}], state)[0].url == "http://127.0.0.1:8201"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Europe"}, r"regions\[0\].name is a region"),
        ({"url": "http://sealmark.eu.example"}, r"regions\[0\].url must be https"),
        ({"url": "https://user@sealmark.eu.example"}, r"regions\[0\].url is"),
        ({"url": "https://sealmark.eu.example/?a=b"}, r"regions\[0\].url is"),
        ({"url": 7}, r"regions\[0\].url is"),
        ({"token_file": "open.token"}, "can be read by others"),
        ({"token_file": "missing"}, "there is no file"),
        ({"token_file": None}, "one of the two says who calls"),
        ({"client_certificate": "link.token"}, "go together"),
        ({"client_certificate": "link.token", "client_key": "link.token"}, "one of the two says who calls"),
        ({"ca": "no.pem"}, "certificates in PEM"),
        ({"token": "smk_secret"}, "is not a setting"),
    ],
)
def test_a_setting_that_is_not_right_refuses_to_start(state: Path, changes: dict[str, Any], words: str) -> None:
    table = {name: value for name, value in {**RIGHT, **changes}.items() if value is not None}
    with pytest.raises(ConfigurationError, match=words) as refusal:
        read_regions("regions", [table], state)
    assert "smk_" not in str(refusal.value)


def test_two_of_a_name_and_what_is_no_table(state: Path) -> None:
    with pytest.raises(ConfigurationError, match="named twice"):
        read_regions("regions", [RIGHT, RIGHT], state)
    with pytest.raises(ConfigurationError, match="list of tables"):
        read_regions("regions", RIGHT, state)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "https://127.0.0.1:9"])
def test_nobody_there_is_told_so_without_a_secret(state: Path, url: str) -> None:
    region = RegionSettings("eu-west-1", url, state / "link.token")
    gone = statements.ReplicaStatement(
        about="gone",
        account="000000000000",
        sender="us-east-1",
        receiver="eu-west-1",
        serial=1,
        key_id=f"mrk-{'0' * 32}",
        domain="global",
    )
    with pytest.raises(client.Unreachable, match="cannot be reached") as refusal:
        client.send(region, gone)
    assert "smk_" not in str(refusal.value)
