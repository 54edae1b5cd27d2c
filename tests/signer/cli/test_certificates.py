"""`keys csr`, `keys certificate …`, `keys rotate --now --revoke` and `crl`: what they send and what they show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.signer.cli.conftest import Run
from tests.signer.cli.scripted import Answer, ScriptedService
from tests.signer.cli.test_keys import KEY

MADE = {"key_id": "1", "key_version": 1, "serial": "ab", "origin": "built-in", "not_after": "2030-01-01T00:00:00Z"}
PATH = "/v1/keys/release/certificate"


def test_a_request_is_printed_or_written(run: Run, service: ScriptedService) -> None:
    service.on("POST", "/v1/keys/release/csr", Answer(body={"csr": "PEM\n"}))
    names = ("--subject", "CN=r,O=E", "--dns", "a.example", "--uri", "urn:x:y")
    assert run("keys", "csr", "release", *names).stdout == "PEM\n"
    assert service.only().body == {"subject": "CN=r,O=E", "dns_names": ["a.example"], "uris": ["urn:x:y"]}
    assert json.loads(run("keys", "csr", "release", "--json").stdout) == {"csr": "PEM\n"}
    assert run("keys", "csr", "release", "--output", "r.csr").exit_code == 0
    assert Path("r.csr").read_text(encoding="ascii") == "PEM\n"
    asked = len(service.asked)
    assert run("keys", "csr", "release", "--output", "r.csr").exit_code == 1
    assert len(service.asked) == asked  # nothing is signed that could not be written


def test_a_chain_is_installed_from_files(run: Run, service: ScriptedService) -> None:
    service.on("PUT", PATH, Answer(body=MADE))
    Path("chain.pem").write_text("CHAIN", encoding="ascii")
    Path("root.pem").write_text("ROOT", encoding="ascii")
    result = run("keys", "certificate", "install", "release", "chain.pem", "--anchor", "root.pem", "--version", "2")
    assert result.exit_code == 0
    assert service.only().body == {"chain": "CHAIN", "anchor": "ROOT", "version": 2}
    assert "built-in" in result.stdout


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 65_537])
def test_a_file_that_is_no_chain_is_not_sent(run: Run, service: ScriptedService, content: bytes) -> None:
    Path("chain.pem").write_bytes(content)
    assert run("keys", "certificate", "install", "release", "chain.pem").exit_code == 1
    assert not service.asked


def test_renewal(run: Run, service: ScriptedService) -> None:
    service.on("POST", f"{PATH}/renew", Answer(body=MADE))
    result = run("keys", "certificate", "renew", "release", "--days", "30", "--replace-installed", "--json")
    assert json.loads(result.stdout) == MADE
    assert service.only().body == {"days": 30, "replace_installed": True}


def test_revocation_asks_first(run: Run, service: ScriptedService) -> None:
    service.on("POST", f"{PATH}/revoke", Answer(body={"reason": "key_compromise"}))
    command = ("keys", "certificate", "revoke", "release", "--reason", "key_compromise", "--version", "1")
    assert run(*command, typed="n\n").exit_code == 1
    assert not service.asked
    assert run(*command, typed="y\n").exit_code == 0
    assert service.only().body == {"reason": "key_compromise", "version": 1}


def test_an_emergency_rotation_asks_first(run: Run, service: ScriptedService) -> None:
    service.on("POST", "/v1/keys/release/rotate", Answer(body=KEY))
    command = ("keys", "rotate", "release", "--now", "--revoke", "key_compromise")
    assert run(*command, typed="n\n").exit_code == 1
    assert not service.asked
    assert run(*command, "--yes").exit_code == 0
    assert service.only().body == {"now": True, "revoke": "key_compromise"}


def test_show_says_when_certificates_end_and_what_is_revoked(run: Run, service: ScriptedService) -> None:
    ended = {"serial": "ab", "origin": "built-in", "not_after": "2031-01-01", "revoked_at": "2030-01-01"}
    good = {"serial": "cd", "origin": "installed", "not_after": "2032-01-01", "revoked_at": None}
    first = {"version": 1, "state": "revoked", "revocation_reason": "superseded", "certificate": ended}
    second = {"version": 2, "state": "active", "certificate": good}
    service.on("GET", "/v1/keys/release", Answer(body={**KEY, "versions": [first, second]}))
    shown = "".join(run("keys", "show", "release").stdout.split())
    for wanted in ("superseded", "revoked", "installed", "2032-01-01"):
        assert wanted in shown
    assert "2031-01-01" not in shown


def test_the_revocation_list(run: Run, service: ScriptedService) -> None:
    service.on("GET", "/v1/ca/crl", Answer(body=b"LIST\n"))
    assert run("crl").stdout == "LIST\n"
    assert run("crl", "--format", "der", "--output", "x.crl").exit_code == 0
    assert Path("x.crl").read_bytes() == b"LIST\n"
    assert [asked.query["format"] for asked in service.asked] == ["pem", "der"]
