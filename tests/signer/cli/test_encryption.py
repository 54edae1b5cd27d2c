"""`sealmark encrypt`, `decrypt`, `data-key`, `data-key-pair`, `mac` and `random`: what is asked of the service, what is
written, and that no secret is shown or left behind. The same against a real service: tests/test_encryption_page.py."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Final

import pytest
from click.testing import Result
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.signer.cli.conftest import Run
from tests.signer.cli.scripted import Answer, Asked, ScriptedService, problem
from tests.verifier import pki
from verifier import looks_like_envelope, read_header, seal_bytes

KEY_ID: Final = "0b7e5b4e-6b0e-4f0e-9a55-3f7d9a2f6c11"
DATA_KEY: Final = bytes(range(32))
WRAPPED: Final = b"the service's ciphertext of it"
CONTENT: Final = b"a secret of some length, " * 100
USED: Final = {"key_id": KEY_ID, "key_version": 2, "algorithm": "SYMMETRIC_DEFAULT", "request_id": "r"}


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def done(**members: bytes) -> Answer:
    return Answer(body={"results": [USED | {name: text(value) for name, value in members.items()}]})


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def assert_hidden(result: Result, *secrets: bytes) -> None:
    """No secret in what was printed, in any form."""
    for secret in secrets:
        for shown in (text(secret), secret.hex(), secret.decode("latin-1")):
            assert shown not in result.output


@pytest.fixture
def vault(service: ScriptedService, tmp_path: Path) -> ScriptedService:
    """A symmetric key, and a file."""
    described = {"id": KEY_ID, "purpose": "encrypt", "spec": "SYMMETRIC_DEFAULT"}
    service.on("GET", "/v1/keys/vault", Answer(body=described))
    service.on("POST", f"/v1/keys/{KEY_ID}/data-keys", done(plaintext=DATA_KEY, ciphertext=WRAPPED))
    service.on("POST", f"/v1/keys/{KEY_ID}/decrypt", done(plaintext=DATA_KEY))
    (tmp_path / "backup.tar").write_bytes(CONTENT)
    return service


@pytest.fixture
def inbox(service: ScriptedService, tmp_path: Path) -> rsa.RSAPrivateKey:
    """An RSA key at its second version, and a file."""
    key = pki.key("rsa2048")
    assert isinstance(key, rsa.RSAPrivateKey)
    versions = [{"version": 1, "state": "retired"}, {"version": 2, "state": "active"}]
    described = {"id": KEY_ID, "purpose": "encrypt", "spec": "RSA_2048", "versions": versions}
    service.on("GET", "/v1/keys/inbox", Answer(body=described))
    service.on("GET", f"/v1/keys/{KEY_ID}/public-key", Answer(body=pki.public_pem(key)))

    def decrypted(asked: Asked) -> Answer:
        ciphertext = base64.b64decode(str(asked.body["ciphertext"]))
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        return done(plaintext=key.decrypt(ciphertext, oaep))

    service.on("POST", f"/v1/keys/{KEY_ID}/decrypt", decrypted)
    (tmp_path / "report").write_bytes(CONTENT)
    return key


# Envelopes


def test_a_file_is_encrypted_here_and_comes_back(run: Run, vault: ScriptedService, tmp_path: Path) -> None:
    result = run("encrypt", "backup.tar", "--key", "vault", "--context", "host=db1")
    assert result.exit_code == 0, result.output
    assert vault.asked[-1].body == {"spec": "AES_256", "context": {"host": "db1"}}
    assert "Idempotency-Key" not in vault.asked[-1].headers  # nothing secret is kept to be given again
    assert_hidden(result, DATA_KEY)
    header = read_header(tmp_path / "backup.tar.enc")
    assert (header.key_id, header.wrapped_data_key, dict(header.context)) == (KEY_ID, WRAPPED, {"host": "db1"})

    (tmp_path / "backup.tar").unlink()
    result = run("decrypt", "backup.tar.enc", "--context", "host=db1", "--json")
    assert result.exit_code == 0, result.output
    sent = {"ciphertext": text(WRAPPED), "algorithm": "SYMMETRIC_DEFAULT", "context": {"host": "db1"}}
    assert vault.asked[-1].body == sent
    assert json.loads(result.stdout)["file"] == "backup.tar"
    assert (tmp_path / "backup.tar").read_bytes() == CONTENT
    assert (tmp_path / "backup.tar").stat().st_mode & 0o777 == 0o600
    assert all(CONTENT[:20] not in asked.content for asked in vault.asked)


def test_standard_input_and_output(run: Run, vault: ScriptedService, tmp_path: Path) -> None:
    sealed = run("encrypt", "-", "--key", "vault", "--output", "-", typed="from a pipe").stdout_bytes
    assert looks_like_envelope(sealed)
    (tmp_path / "e").write_bytes(sealed)
    assert run("decrypt", "e", "--output", "-").stdout_bytes == b"from a pipe"
    asked = len(vault.asked)
    for words in (("encrypt", "-", "--key", "vault", "--output", "-"), ("decrypt", "e", "--output", "-")):
        assert run(*words, "--json", typed="x").exit_code == 2
    assert run("encrypt", "-", "--key", "vault", typed="x").exit_code == 2  # where to?
    assert run("decrypt", "e").exit_code == 2
    assert len(vault.asked) == asked


def test_a_changed_envelope_leaves_nothing_behind(run: Run, vault: ScriptedService, tmp_path: Path) -> None:
    assert vault.url
    sealed = seal_bytes(CONTENT, data_key=DATA_KEY, wrapped_data_key=WRAPPED, key_id=KEY_ID, context={"a": "b"})
    before = files(tmp_path) | {"e.enc"}
    for changed in (sealed[:-1], sealed[:-1] + bytes((sealed[-1] ^ 1,)), sealed + b"\x00", sealed[:200]):
        (tmp_path / "e.enc").write_bytes(changed)
        for output in ("e", "-"):
            result = run("decrypt", "e.enc", "--output", output)
            assert result.exit_code == 1
            assert result.stdout_bytes == b""
            assert "Error: malformed" in result.stderr or "Error: decryption_failed" in result.stderr
        assert files(tmp_path) == before
    (tmp_path / "e.enc").write_bytes(sealed)
    result = run("decrypt", "e.enc", "--context", "a=c")
    assert (result.exit_code, "context_mismatch" in result.stderr) == (1, True)


def test_an_envelope_cannot_send_the_client_elsewhere(run: Run, vault: ScriptedService, tmp_path: Path) -> None:
    for key_id in ("../../v1/random", "arn:aws:kms:us-east-1:000000000000:key/x", "x"):
        (tmp_path / "e.enc").write_bytes(
            seal_bytes(CONTENT, data_key=DATA_KEY, wrapped_data_key=WRAPPED, key_id=key_id)
        )
        result = run("decrypt", "e.enc")
        assert (result.exit_code, "unknown_key" in result.stderr) == (1, True)
    assert vault.asked == []


def test_nothing_is_asked_where_nothing_can_be_written(run: Run, vault: ScriptedService, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"mine")
    (tmp_path / "e.enc").write_bytes(seal_bytes(CONTENT, data_key=DATA_KEY, wrapped_data_key=WRAPPED, key_id=KEY_ID))
    for words in (
        ("encrypt", "backup.tar", "--key", "vault", "--output", "there"),
        ("encrypt", "backup.tar", "--key", "vault", "--output", "missing/x"),
        ("encrypt", "backup.tar", "--key", "vault", "--direct", "--output", "there"),
        ("decrypt", "e.enc", "--output", "there"),
        ("data-key", "--key", "vault", "--output", "there", "--wrapped", "w"),
        ("data-key", "--key", "vault", "--wrapped", "there"),
        ("data-key-pair", "--key", "vault", "--spec", "ECC_NIST_P256", "--public-key", "there", "--wrapped", "w"),
        ("mac", "make", "backup.tar", "--key", "codes", "--output", "there"),
        ("random", "--bytes", "32", "--output", "there"),
    ):
        result = run(*words)
        assert result.exit_code == 1, words
    assert vault.asked == []
    assert (tmp_path / "there").read_bytes() == b"mine"
    assert files(tmp_path) == {"there", "e.enc", "backup.tar"}


def test_another_ciphertext_in_an_envelope_shows_nothing(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    """A sender who wraps a secret that it cannot read, to have it shown by whoever can."""
    service.on("POST", f"/v1/keys/{KEY_ID}/decrypt", done(plaintext=b"a password of someone"))
    (tmp_path / "e.enc").write_bytes(seal_bytes(CONTENT, data_key=DATA_KEY, wrapped_data_key=WRAPPED, key_id=KEY_ID))
    result = run("decrypt", "e.enc")
    assert (result.exit_code, "decryption_failed" in result.stderr) == (1, True)
    assert_hidden(result, b"a password of someone")


# RSA keys


def test_a_file_for_an_rsa_key_is_encrypted_without_the_service(
    run: Run, service: ScriptedService, inbox: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    assert inbox.key_size == 2048
    result = run("encrypt", "report", "--key", "inbox", "--context", "case=1")
    assert result.exit_code == 0, result.output
    assert [(asked.method, dict(asked.query)) for asked in service.asked] == [("GET", {}), ("GET", {"version": "2"})]
    header = read_header(tmp_path / "report.enc")
    assert (header.key_id, header.key_version, header.algorithm) == (KEY_ID, 2, "RSAES_OAEP_SHA_256")
    assert run("decrypt", "report.enc", "--output", "copy").exit_code == 0
    assert service.asked[-1].body == {
        "ciphertext": text(header.wrapped_data_key),
        "algorithm": "RSAES_OAEP_SHA_256",
        "key_version": 2,
    }
    assert (tmp_path / "copy").read_bytes() == CONTENT


def test_a_key_that_does_not_encrypt_is_refused(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    service.on("GET", "/v1/keys/release", Answer(body={"id": KEY_ID, "purpose": "artifact", "spec": "RSA_2048"}))
    result = run("encrypt", "f", "--key", "release")
    assert (result.exit_code, "wrong_purpose" in result.stderr) == (1, True)
    versions = [{"version": 1, "state": "revoked"}]
    described = {"id": KEY_ID, "purpose": "encrypt", "spec": "RSA_2048", "versions": versions}
    service.on("GET", "/v1/keys/closed", Answer(body=described))
    result = run("encrypt", "f", "--key", "closed")
    assert (result.exit_code, "wrong_state" in result.stderr) == (1, True)
    assert files(tmp_path) == {"f"}


# Bare ciphertexts


def test_a_small_secret_goes_to_the_service_where_that_is_asked_for(
    run: Run, vault: ScriptedService, tmp_path: Path
) -> None:
    vault.on("POST", "/v1/keys/vault/encrypt", done(ciphertext=b"c" * 60))
    vault.on("POST", "/v1/decrypt", done(plaintext=b"correct horse"))
    (tmp_path / "password").write_bytes(b"correct horse")
    assert run("encrypt", "password", "--key", "vault", "--direct", "--context", "use=db").exit_code == 0
    assert vault.asked[-1].body == {"plaintext": text(b"correct horse"), "context": {"use": "db"}}
    assert (tmp_path / "password.enc").read_bytes() == b"c" * 60
    result = run("decrypt", "password.enc", "--context", "use=db", "--output", "copy")
    assert result.exit_code == 0, result.output
    assert_hidden(result, b"correct horse")
    assert vault.asked[-1].body == {"ciphertext": text(b"c" * 60), "context": {"use": "db"}}
    assert ((tmp_path / "copy").read_bytes(), (tmp_path / "copy").stat().st_mode & 0o777) == (b"correct horse", 0o600)
    assert run("decrypt", "password.enc", "--output", "-").stdout_bytes == b"correct horse"


@pytest.mark.usefixtures("vault")
def test_what_is_too_large_says_what_to_do(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(4097))
    result = run("encrypt", "big", "--key", "vault", "--direct")
    assert (result.exit_code, "too_large" in result.stderr) == (1, True)
    (tmp_path / "big.enc").write_bytes(bytes(6145))
    assert "too_large" in run("decrypt", "big.enc", "--output", "x").stderr
    assert [asked.method for asked in service.asked] == ["GET"]


def test_a_refusal_of_the_service_is_shown_and_nothing_written(
    run: Run, vault: ScriptedService, tmp_path: Path
) -> None:
    vault.on("POST", "/v1/decrypt", problem(422, "undecipherable", "This is not it."))
    (tmp_path / "c.enc").write_bytes(b"c" * 256)
    result = run("decrypt", "c.enc")
    assert "give --key" in result.stderr
    assert (result.exit_code, "undecipherable: This is not it." in result.stderr) == (1, True)
    assert files(tmp_path) == {"c.enc", "backup.tar"}


# Data keys, codes, random octets


def test_a_data_key_goes_to_a_file_of_its_owner_alone(run: Run, vault: ScriptedService, tmp_path: Path) -> None:
    vault.on("POST", "/v1/keys/vault/data-keys", done(plaintext=DATA_KEY, ciphertext=WRAPPED))
    vault.on("POST", "/v1/keys/vault/data-keys/without-plaintext", done(ciphertext=WRAPPED))
    result = run("data-key", "--key", "vault", "--output", "k", "--wrapped", "w", "--context", "a=b")
    assert result.exit_code == 0, result.output
    assert_hidden(result, DATA_KEY)
    assert vault.asked[-1].body == {"spec": "AES_256", "context": {"a": "b"}}
    assert ((tmp_path / "k").read_bytes(), (tmp_path / "w").read_bytes()) == (DATA_KEY, WRAPPED)
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o600
    assert run("data-key", "--key", "vault", "--bytes", "64", "--wrapped", "w2").exit_code == 0
    assert vault.asked[-1].path.endswith("/without-plaintext")
    assert vault.asked[-1].body == {"number_of_bytes": 64}
    assert run("data-key", "--key", "vault", "--output", "-", "--wrapped", "w3").stdout_bytes == DATA_KEY
    for words in (("--spec", "AES_128", "--bytes", "9"), ("--output", "w4"), ("--bytes", "1025")):
        assert run("data-key", "--key", "vault", "--wrapped", "w4", *words).exit_code == 2
    assert not (tmp_path / "w4").exists()


def test_a_pair_of_which_a_part_is_missing_leaves_no_part(run: Run, vault: ScriptedService, tmp_path: Path) -> None:
    pair = {"private_key": b"private", "public_key": b"public", "private_key_ciphertext": WRAPPED}
    path = "/v1/keys/vault/data-key-pairs"
    vault.on("POST", path, done(private_key=b"private", public_key=b"public"), done(**pair))
    words = (
        *("data-key-pair", "--key", "vault", "--spec", "ECC_NIST_P256"),
        *("--private-key", "k", "--public-key", "p", "--wrapped", "w"),
    )
    assert run(*words).exit_code == 1
    assert files(tmp_path) == {"backup.tar"}
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert_hidden(result, b"private\n")
    assert [(tmp_path / name).read_bytes() for name in "kpw"] == [b"private", b"public", WRAPPED]


def test_a_code_is_made_and_checked(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    code = os.urandom(32)
    service.on("POST", "/v1/keys/codes/macs", done(mac=code))
    service.on(
        "POST",
        "/v1/keys/codes/macs/verify",
        Answer(body={"results": [USED | {"valid": True}]}),
        problem(422, "invalid_mac"),
    )
    (tmp_path / "m").write_bytes(b"message")
    made = run("mac", "make", "m", "--key", "codes")
    assert (made.exit_code, made.stdout) == (0, text(code) + "\n")
    assert service.asked[-1].body == {"message": text(b"message")}
    assert run("mac", "make", "-", "--key", "codes", "--output", "c", typed="message").exit_code == 0
    (tmp_path / "c64").write_text(made.stdout)
    assert run("mac", "verify", "m", "--key", "codes", "--mac", "c64").exit_code == 0
    assert service.asked[-1].body == {"message": text(b"message"), "mac": text(code)}
    result = run("mac", "verify", "m", "--key", "codes", "--mac", "c")
    assert (result.exit_code, "invalid_mac" in result.stderr) == (1, True)
    (tmp_path / "no").write_bytes(b"\xff no code")
    assert run("mac", "verify", "m", "--key", "codes", "--mac", "no").exit_code == 2


def test_random_octets(run: Run, service: ScriptedService, tmp_path: Path) -> None:
    octets = os.urandom(16)
    service.on("POST", "/v1/random", Answer(body={"random": text(octets)}))
    assert run("random", "--bytes", "16").stdout == text(octets) + "\n"
    assert service.only().body == {"number_of_bytes": 16}
    assert run("random", "--bytes", "16", "--output", "seed").stdout == ""
    assert (tmp_path / "seed").read_bytes() == octets
    assert run("random", "--bytes", "0").exit_code == 2
