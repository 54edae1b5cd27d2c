"""Every signature that the service makes is found in what callers hold of it, by the name that the trail has for it."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from signer.cli.found_signatures import LARGEST, found_signatures
from tests.signer.service import ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.hsm import Token

DIGESTS: Final = {name: hashlib.new(name, b"app").hexdigest() for name in ("sha256", "sha384", "sha512")}


@pytest.fixture(scope="module")
def service(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceInProcess]:
    with running_service(token, tmp_path_factory.mktemp("signatures")) as running:
        yield running


def recorded(service: ServiceInProcess, result: dict[str, Any]) -> set[str]:
    """The SHA-256 of each signature, as the trail has it for the call that gave the result."""
    path = f"/v1/audit/entries?request_id={result['request_id']}"
    (entry,) = service.made("user/auditor", "GET", path)["entries"]
    return {each["sha256"] for each in entry["record"]["signatures"]}


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_NIST_P384", "RSA_2048"])
def test_signatures_of_files(service: ServiceInProcess, spec: str) -> None:
    alias = f"files-{spec[-4:]}"
    service.make_key(alias, spec=spec, formats=["cms", "raw", "bundle", "dsse"])
    body = {
        "artifacts": [{"name": "app", "size": 3, "digests": DIGESTS}],
        "formats": ["cms", "raw", "bundle", "dsse", "attestation"],
    }
    result = service.made("role/ci", "POST", f"/v1/keys/{alias}/artifacts", body)["results"][0]
    made = result["signatures"]
    held = {
        "CMS": base64.b64decode(made["cms"]),
        "bundle": json.dumps(made["bundle"]).encode(),
        "envelope": json.dumps(made["dsse"]).encode(),
    }
    names = set()
    for kind, content in held.items():
        found = found_signatures(content)
        assert found is not None
        assert found.kind == kind
        names |= set(found.signatures)
    attestation = found_signatures(json.dumps(made["attestation"]).encode())
    assert attestation is not None
    assert set(attestation.signatures) <= names
    raw = base64.b64decode(made["raw"])
    assert found_signatures(raw) is None  # nothing but the signature: its own SHA-256 is the name
    assert names | {hashlib.sha256(raw).hexdigest()} == recorded(service, result)
    proof = found_signatures(result["proof"].encode())
    assert proof is not None
    assert set(proof.signatures) == recorded(service, result)


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_NIST_EDWARDS25519", "RSA_2048"])
def test_signatures_of_tokens(service: ServiceInProcess, spec: str) -> None:
    alias = f"tokens-{spec[-5:]}"
    service.make_key(alias, spec=spec, purpose="jwt", audiences=["https://api.example"], max_ttl=600)
    result = service.made("role/ci", "POST", f"/v1/keys/{alias}/jwts", {"claims": {"sub": "someone"}})["results"][0]
    for content in (result["token"].encode(), f"\n{result['token']}\n".encode()):
        found = found_signatures(content)
        assert found is not None
        assert (found.kind, set(found.signatures)) == ("token", recorded(service, result))


@pytest.mark.parametrize(("spec", "sign"), [("RSA_2048", "both"), ("ECC_NIST_P256", "assertion")])
def test_signatures_of_assertions(service: ServiceInProcess, spec: str, sign: str) -> None:
    alias, sp = f"sso-{sign}", "https://sp.example"
    service.make_key(alias, spec=spec, purpose="saml", audiences=[sp], recipients=[f"{sp}/acs"])
    asked = {"subject": "someone", "audience": sp, "recipient": f"{sp}/acs", "sign": sign}
    result = service.made("role/ci", "POST", f"/v1/keys/{alias}/assertions", asked)["results"][0]
    for content in (base64.b64decode(result["response"]), result["response"].encode()):
        found = found_signatures(content)
        assert found is not None
        assert (found.kind, set(found.signatures)) == ("SAML message", recorded(service, result))
        assert len(found.signatures) == (2 if sign == "both" else 1)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"{}", b"[]", b"a.b.c", b"<", b"<x/>", b"<!DOCTYPE x [<!ENTITY y 'z'>]><x>&y;</x>", b"\x30\x80"),
        *(b"\x30\x03\x02\x01\x01", b"c2sp.org/tlog-proof@v1\nextra !\n", b"c2sp.org/tlog-proof@v1\nextra W10=\n"),
        b"c2sp.org/tlog-proof@v1\nextra " + base64.b64encode(b"[" * 20_000) + b"\n",
        *(b"e30.e30.AAAA", b"eyJhbGciOjF9..AAAA", b"[" * 100_000, b"A" * 10_000, bytes(range(256)) * 40),
        *(b'{"payloadType":"x","payload":"","signatures":[]}', b'{"mediaType":"x"}', b"x" * LARGEST),
    ],
    ids=lambda content: repr(content[:24]),
)
def test_anything_else_is_a_file(content: bytes) -> None:
    assert found_signatures(content) is None
