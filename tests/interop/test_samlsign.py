"""OpenSAML's samlsign and xmlsec1 on the service's own responses, assertions and metadata; python3-saml reads the last.

Each accepts them with the published certificate, and refuses them with one byte changed or with another certificate.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from lxml import etree

from tests.interop.conftest import ROOT, Market
from tools.demo import scenario
from tools.demo.exhibits import flipped

if TYPE_CHECKING:
    from pathlib import Path

ELEMENTS = {
    "assertion": "{urn:oasis:names:tc:SAML:2.0:assertion}Assertion",
    "response": "{urn:oasis:names:tc:SAML:2.0:protocol}Response",
}
SIGNED = [(sign, part) for sign, parts in scenario.SIGNED_PARTS.items() for part in parts]


def samlsign(document: Path, certificate: Path, *more: str) -> tuple[bool, str]:
    """Whether samlsign accepts the document, and what it said."""
    command: list[str | Path] = ["samlsign", "-f", document, "-c", certificate, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode == 0, done.stderr


def part_options(document: Path, part: str) -> tuple[str, ...]:
    """samlsign looks at the root, or at the element of this id."""
    element = next(etree.parse(document).iter(ELEMENTS[part]))
    return () if part == "response" else ("-id", str(element.get("ID")))


@pytest.mark.parametrize(("sign", "part"), SIGNED)
def test_samlsign_accepts_what_is_signed_and_refuses_it_tampered(market: Market, sign: str, part: str) -> None:
    (exhibit,) = market.find("saml", "sso", scenario.SIGNED_PARTS[sign])
    certificate = market.published.folder / "idp.crt"
    options = part_options(exhibit.subject, part)
    assert samlsign(exhibit.subject, certificate, *options) == (True, "")
    accepted, reason = samlsign(exhibit.tampered, certificate, *options)
    assert (accepted, "verification" in reason) == (False, True)
    assert not samlsign(exhibit.subject, market.published.folder / "ca.pem", *options)[0]


def test_samlsign_finds_no_signature_where_there_is_none(market: Market) -> None:
    """That it accepts is worth something: a response whose assertion alone is signed is not a signed response."""
    (exhibit,) = market.find("saml", "sso", scenario.SIGNED_PARTS["assertion"])
    assert not samlsign(exhibit.subject, market.published.folder / "idp.crt")[0]


def tampered_metadata(market: Market, folder: Path) -> Path:
    """The metadata with one character of the certificates that they list changed: an attacker's would stand there."""
    document = (market.published.folder / "metadata.xml").read_bytes()
    position = document.rindex(b"</ds:X509Certificate>") - 100
    changed = b"B" if document[position : position + 1] == b"A" else b"A"
    twin = folder / "metadata.xml"
    twin.write_bytes(document[:position] + changed + document[position + 1 :])
    return twin


def test_samlsign_accepts_the_metadata_and_refuses_them_tampered(market: Market, tmp_path: Path) -> None:
    folder = market.published.folder
    assert samlsign(folder / "metadata.xml", folder / "idp.crt") == (True, "")
    assert not samlsign(tampered_metadata(market, tmp_path), folder / "idp.crt")[0]
    assert not samlsign(folder / "metadata.xml", folder / "ca.pem")[0]


def test_xmlsec1_accepts_the_metadata_and_refuses_them_tampered(market: Market, tmp_path: Path) -> None:
    folder = market.published.folder

    def status(document: Path, certificate: Path) -> int:
        ids = ("--id-attr:ID", "urn:oasis:names:tc:SAML:2.0:metadata:EntityDescriptor")
        keys = ("--enabled-key-data", "raw-x509-cert", "--pubkey-cert-pem", certificate)
        command: list[str | Path] = ["xmlsec1", "--verify", *ids, *keys, document]
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode

    assert status(folder / "metadata.xml", folder / "idp.crt") == 0
    assert status(tampered_metadata(market, tmp_path), folder / "idp.crt") == 1
    assert status(folder / "metadata.xml", folder / "ca.pem") == 1


def read_by_python3_saml(metadata: Path, certificate: Path) -> dict[str, Any]:
    reader = ROOT / "tests" / "interop" / "metadata_reader.py"
    program: list[str | Path] = [ROOT / ".venv-saml" / "bin" / "python", "-I", reader]
    done = subprocess.run([*program, metadata, certificate], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    verdict: dict[str, Any] = json.loads(done.stdout)
    return verdict


def test_python3_saml_reads_the_metadata_and_knows_them_tampered(market: Market, tmp_path: Path) -> None:
    folder = market.published.folder
    read = read_by_python3_saml(folder / "metadata.xml", folder / "idp.crt")
    assert read["signature_valid"] is True
    provider = read["settings"]["idp"]
    assert provider["entityId"] == market.published.issuer
    assert provider["singleSignOnService"]["url"] == market.published.issuer
    body = "".join((folder / "idp.crt").read_text(encoding="ascii").splitlines()[1:-1])
    assert provider["x509cert"] == body
    twin = tmp_path / "changed.xml"
    document = (folder / "metadata.xml").read_bytes()
    twin.write_bytes(flipped(document, document.rindex(b"issuers/default") + 3))
    assert read_by_python3_saml(twin, folder / "idp.crt")["signature_valid"] is False
