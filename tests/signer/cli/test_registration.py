"""`sealmark credentials …`, and every command with a certificate or with signed requests in place of a token."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from signer.authn.possession import is_proved
from tests.signer.authn.by_hand import digest_of, is_signature, public_pem
from tests.signer.cli.conftest import TOKEN, Run
from tests.signer.cli.scripted import Answer, Asked, ScriptedService, problem

KEY: Final = ed25519.Ed25519PrivateKey.generate()
ID: Final = "7c1d2a5e-93b4-4d0f-8a6b-2f1e0c9d8b7a"
PATH: Final = "/v1/principals/role/ci/public-credentials"
MADE: Final = {"id": ID, "principal": "role/ci", "match": "request-key", "public_key": public_pem(KEY)}
ME: Final = {"name": "role/ci", "duty": "key-user"}
NO_TOKEN: Final[dict[str, str | None]] = {"SEALMARK_TOKEN": None}


def write_key(path: Path, key: Any = KEY, password: bytes | None = None) -> Path:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    path.chmod(0o600)
    return path


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return write_key(tmp_path / "request.pem")


def base_of(asked: Asked, url: str) -> tuple[str, bytes]:
    """The signature base of what arrived, written anew by RFC 9421, and the signature."""
    found = re.fullmatch(r"sealmark=(\((.*)\);.*)", asked.headers["Signature-Input"])
    assert found is not None
    derived = {"@method": asked.method, "@authority": url.removeprefix("http://"), "@target-uri": url + asked.path}
    lower = {name.lower(): value for name, value in asked.headers.items()}
    names = re.findall(r'"([^"]+)"', found[2])
    lines = [f'"{name}": {derived.get(name) or lower[name]}' for name in names]
    signature = re.fullmatch(r"sealmark=:(.*):", asked.headers["Signature"])
    assert signature is not None
    return "\n".join([*lines, f'"@signature-params": {found[1]}']), base64.b64decode(signature[1])


@pytest.mark.parametrize("key", [KEY, ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())])
def test_a_request_is_signed_in_place_of_a_token(run: Run, service: ScriptedService, tmp_path: Path, key: Any) -> None:
    service.on("GET", "/v1/whoami", Answer(body=ME))
    result = run("whoami", "--signing-key", write_key(tmp_path / "k", key), "--signing-key-id", ID)
    assert result.exit_code == 0, result.output
    asked = service.only()
    assert "Authorization" not in asked.headers  # though SEALMARK_TOKEN is set
    base, signature = base_of(asked, service.url)
    assert is_signature(key, signature, base.encode())
    assert re.search(r';created=\d+;keyid="' + ID + r'";alg="[a-z0-9-]+";nonce="[\w-]{24}";tag="sealmark"$', base)
    assert "content-digest" not in base


def test_each_attempt_is_signed_anew_and_covers_what_decides(
    run: Run, service: ScriptedService, key_file: Path
) -> None:
    busy = problem(429, "too_many_requests", headers={"Retry-After": "0"})
    service.on("POST", "/v1/principals", busy, Answer(201, {**ME, "enrolment_code": "smc_x", "expires_at": "x"}))
    environment = {**NO_TOKEN, "SEALMARK_SIGNING_KEY": str(key_file), "SEALMARK_SIGNING_KEY_ID": ID}
    result = run("principals", "create", "role/ci", "--duty", "key-user", environment=environment)
    assert result.exit_code == 0, result.output
    nonces = set()
    for asked in service.asked:
        base, signature = base_of(asked, service.url)
        assert is_signature(KEY, signature, base.encode())
        assert f'"content-digest": {digest_of(asked.content)}\n' in base
        assert '"content-type": application/json\n' in base
        nonces |= set(re.findall(r'nonce="([^"]+)"', base))
    assert (len(service.asked), len(nonces)) == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (("--token-file", "t", "--signing-key", "k"), {}, "--token-file and --signing-key exclude each other"),
        (("--client-cert", "c", "--signing-key", "k"), {}, "--client-cert and --signing-key exclude each other"),
        ((), {"SEALMARK_CLIENT_CERT": "c"}, "SEALMARK_TOKEN and SEALMARK_CLIENT_CERT exclude each other"),
        ((), {"SEALMARK_SIGNING_KEY": "k"}, "SEALMARK_TOKEN and SEALMARK_SIGNING_KEY exclude each other"),
        (("--signing-key", "k"), {}, "--signing-key needs --signing-key-id ID"),
        (("--signing-key", "k", "--signing-key-id", 'a"b'), {}, "--signing-key needs --signing-key-id ID"),
        (("--client-cert", "c"), {}, "must be https"),
        ((), NO_TOKEN, "or another credential"),
    ],
)
def test_one_credential_is_named_or_none_is_shown(
    run: Run, service: ScriptedService, arguments: tuple[str, ...], environment: dict[str, str | None], said: str
) -> None:
    result = run("whoami", *arguments, environment=environment)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert not service.asked


# 31 octets where Ed25519 has 32: the library calls that an error of its own.
_OCTETS = bytes.fromhex("302d020100300506032b65700421041f") + bytes(31)
SHORT_ED25519 = f"-----BEGIN PRIVATE KEY-----\n{base64.b64encode(_OCTETS).decode()}\n-----END PRIVATE KEY-----\n"


def test_a_key_file_that_cannot_be_used_is_refused(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    files = {
        "missing": ("unreadable_file", tmp_path / "missing.pem"),
        "weak": ("weak_file_mode", write_key(tmp_path / "weak.pem")),
        "encrypted": ("bad_key", write_key(tmp_path / "encrypted.pem", password=b"secret")),
        "other": ("bad_key", write_key(tmp_path / "other.pem", x25519.X25519PrivateKey.generate())),
        "curve": ("bad_key", write_key(tmp_path / "curve.pem", ec.generate_private_key(ec.SECP521R1()))),
        "public": ("bad_key", tmp_path / "public.pem"),
        "short": ("bad_key", tmp_path / "short.pem"),
    }
    (tmp_path / "short.pem").write_text(SHORT_ED25519)
    (tmp_path / "short.pem").chmod(0o600)
    (tmp_path / "weak.pem").chmod(0o640)
    (tmp_path / "public.pem").write_text(public_pem(KEY))
    (tmp_path / "public.pem").chmod(0o600)
    for code, path in files.values():
        result = run("whoami", "--signing-key", path, "--signing-key-id", ID)
        assert (result.exit_code, result.stderr.startswith(f"Error: {code}: ")) == (1, True), result.stderr
    certificate = tmp_path / "c.pem"
    certificate.write_text("no certificate")
    certificate.chmod(0o600)
    result = run("whoami", "--client-cert", certificate, "--url", "https://127.0.0.1:1")
    assert (result.exit_code, result.stderr.startswith("Error: bad_certificate: ")) == (1, True), result.stderr
    assert not service.asked


def test_ones_own_key_is_added_with_proof_and_never_sent(run: Run, service: ScriptedService, key_file: Path) -> None:
    service.on("POST", PATH, Answer(201, MADE))
    result = run("credentials", "add-key", "role/ci", "--key", key_file, "--label", "mine", "--days", "3")
    assert result.exit_code == 0, result.output
    assert ID in result.stdout
    assert f"--signing-key-id {ID}" in result.stderr
    asked = service.only()
    assert set(asked.body) == {"match", "label", "expires_at", "public_key", "proof"}
    assert (asked.body["match"], asked.body["label"]) == ("request-key", "mine")
    assert asked.body["public_key"] == public_pem(KEY)
    assert is_proved("role/ci", KEY.public_key(), base64.b64decode(str(asked.body["proof"])))
    assert b"PRIVATE" not in asked.content
    assert asked.headers["Authorization"] == f"Bearer {TOKEN}"


def test_a_public_key_is_added_for_somebody_else(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    (tmp_path / "request.pub").write_text(public_pem(KEY))
    service.on("POST", PATH, Answer(201, MADE))
    result = run("credentials", "add-key", "role/ci", "--key", "request.pub", "--json")
    assert json.loads(result.stdout) == MADE
    assert service.only().body == {"match": "request-key", "label": "", "public_key": public_pem(KEY)}


def test_certificates_and_names_are_added(run: Run, service: ScriptedService, tmp_path: Path, key_file: Path) -> None:
    (tmp_path / "ci.crt").write_text("PEM")
    service.on("POST", PATH, Answer(201, {**MADE, "match": "uri"}))
    for arguments, expected in (
        (("--certificate", "ci.crt"), {"match": "public-key", "certificate": "PEM"}),
        (("--certificate", "ci.crt", "--exactly"), {"match": "certificate", "certificate": "PEM"}),
        (("--uri", "spiffe://shop.example/ci"), {"match": "uri", "name": "spiffe://shop.example/ci"}),
        (("--dns", "ci.example"), {"match": "dns", "name": "ci.example"}),
    ):
        assert run("credentials", "add-certificate", "role/ci", *arguments).exit_code == 0
        assert service.asked[-1].body == {"label": "", **expected}
    assert run("credentials", "add-certificate", "role/ci", "--certificate", "ci.crt", "--key", key_file).exit_code == 0
    proof = base64.b64decode(str(service.asked[-1].body["proof"]))
    assert is_proved("role/ci", KEY.public_key(), proof)


@pytest.mark.parametrize(
    "arguments",
    [
        ("add-certificate", "role/ci"),
        ("add-certificate", "role/ci", "--uri", "a:b", "--dns", "a.example"),
        ("add-certificate", "role/ci", "--uri", "a:b", "--exactly"),
        ("add-certificate", "role/ci", "--dns", "a.example", "--key", "k"),
        ("add-key", "role/ci"),
        ("add-key", "ci", "--key", "k"),
        ("add-key", "role/ci", "--key", "k", "--days", "0"),
        ("revoke", "role/ci", "../../x", "--yes"),
        ("revoke", "role/ci"),
        ("list", "role/../x"),
    ],
)
def test_wrong_usage_reaches_no_service(run: Run, service: ScriptedService, arguments: tuple[str, ...]) -> None:
    assert run("credentials", *arguments).exit_code == 2
    assert not service.asked


def test_list_and_revoke(run: Run, service: ScriptedService) -> None:
    service.on("GET", PATH, Answer(body={"public_credentials": [MADE], "next_cursor": None}))
    assert ID in run("credentials", "list", "role/ci").stdout
    service.on("DELETE", f"{PATH}/{ID}", Answer(body={**MADE, "state": "revoked"}))
    assert run("credentials", "revoke", "role/ci", ID, typed="n\n").exit_code == 1
    assert [asked.method for asked in service.asked] == ["GET"]
    assert json.loads(run("credentials", "revoke", "role/ci", ID, "--yes", "--json").stdout)["state"] == "revoked"
