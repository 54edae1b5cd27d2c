"""Clients of AWS KMS, unmodified, pointed at the service: each does its work, with keys that somebody else made.

What they make is checked outside, by `cryptography`, openssl, gpg or PyJWT; and what is tampered with is refused. The
rows of docs/aws-clients.md are these tests.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from typing import TYPE_CHECKING, Any, Final

import jwt
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key, load_pem_public_key

from tests.interop.aws import table
from tests.interop.aws.deployment import ADMINISTRATOR, PROGRAMS, USER, Deployment

if TYPE_CHECKING:
    from pathlib import Path

DENIED: Final = "AccessDeniedException"
BAD_SIGNATURE: Final = "KMSInvalidSignatureException"
BAD_CIPHERTEXT: Final = "InvalidCiphertextException"
FILE: Final = b"password: hunter2\n"


def octets(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def holds(public_key: bytes, algorithm: str, signature: bytes, message: bytes) -> bool:
    """Whether `cryptography` accepts a signature over the message; `public_key` is DER or PEM."""
    key = (load_pem_public_key if public_key.startswith(b"-----") else load_der_public_key)(public_key)
    hashed = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[algorithm[-3:]]
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(hashed))
        else:
            assert isinstance(key, rsa.RSAPublicKey)
            form = padding.PSS(padding.MGF1(hashed), hashed.digest_size)
            key.verify(signature, message, padding.PKCS1v15() if "PKCS1" in algorithm.upper() else form, hashed)
    except InvalidSignature:
        return False
    return True


def assert_only(public_key: bytes, algorithm: str, signature: bytes, message: bytes) -> None:
    """Accepted for the message and for no other."""
    assert holds(public_key, algorithm, signature, message), algorithm
    assert not holds(public_key, algorithm, signature, message + b"."), algorithm


def test_boto3_makes_keys(kms: Deployment) -> None:
    assert sorted(kms.made["ids"]) == kms.made["listed"]
    assert kms.made["rotation"] == 180
    assert kms.made["refused"] == dict.fromkeys(("sign", "encrypt", "decrypt", "mac"), DENIED)


@pytest.fixture(scope="module")
def used(kms: Deployment) -> Any:
    """What boto3 tells as the key user; one ciphertext was made outside, with the public key alone."""
    public = load_der_public_key(octets(kms.made["published"]))
    assert isinstance(public, rsa.RSAPublicKey)
    sealed = public.encrypt(b"from outside", padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))
    return kms.python("boto3_user", policy=kms.policy, sealed=sealed.hex())


def test_boto3_uses_keys(kms: Deployment, used: Any) -> None:
    message = b"released by boto3"
    for name, made in used["signatures"].items():
        public_key = octets(used["public_keys"][made["key"]])
        assert_only(public_key, name.partition(" ")[0], octets(made["signature"]), message)
        assert made["refused"] == [BAD_SIGNATURE] * 2
    encrypted = used["encryption"]
    assert (octets(encrypted["opened"]), encrypted["by"]) == (b"secret", kms.keys["data"])
    assert octets(encrypted["re-encrypted"]) == b"secret"
    assert encrypted["refused"] == [BAD_CIPHERTEXT] * 5
    assert octets(used["decrypted"]) == b"from outside"
    assert (used["macs_refused"], used["random"]) == (["KMSInvalidMacException"], 64)
    assert used["refused"] == {
        **dict.fromkeys(("create", "delete", "policy", "absent"), DENIED),
        "usage": "InvalidKeyUsageException",
    }


def test_data_keys_are_what_they_say(used: Any) -> None:
    plain, opened = map(octets, used["data_keys"]["key"])
    assert plain == opened
    assert len(plain) == 32
    public, private, decrypted = map(octets, used["data_keys"]["pair"])
    key = load_der_private_key(private, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert (key.public_key() == load_der_public_key(public), private == decrypted) == (True, True)


def test_a_public_key_carries_both_names_of_its_spec(used: Any) -> None:
    assert used["specs"] == ["ECC_NIST_P256", "ECC_NIST_P256"]


def test_the_aws_cli(kms: Deployment, tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text(kms.policy)
    usage = ("--key-spec", "ECC_NIST_P256", "--key-usage", "SIGN_VERIFY")
    made = kms.aws("create-key", *usage, "--policy", "file://policy.json", who=ADMINISTRATOR, place=tmp_path)
    key = made["KeyMetadata"]["KeyId"]
    (tmp_path / "app.bin").write_bytes(b"app")
    asked = ("sign", "--key-id", key, "--signing-algorithm", "ECDSA_SHA_256", "--message", "fileb://app.bin")
    signed = kms.aws(*asked, place=tmp_path)
    assert signed["KeyId"] == made["KeyMetadata"]["Arn"]
    (tmp_path / "app.sig").write_bytes(octets(signed["Signature"]))
    public = kms.aws("get-public-key", "--key-id", key)["PublicKey"]
    (tmp_path / "key.der").write_bytes(octets(public))
    verify = ("openssl", "dgst", "-sha256", "-verify", "key.der", "-keyform", "DER", "-signature", "app.sig")
    assert "Verified OK" in kms.run(*verify, "app.bin", place=tmp_path).stdout
    assert "Verification failure" in kms.run(*verify, "key.der", place=tmp_path, exits=None).stdout
    sealed = kms.aws("encrypt", "--key-id", "alias/data", "--plaintext", "fileb://app.bin", place=tmp_path)
    (tmp_path / "app.sealed").write_bytes(octets(sealed["CiphertextBlob"]))
    opened = kms.aws("decrypt", "--ciphertext-blob", "fileb://app.sealed", place=tmp_path)
    assert octets(opened["Plaintext"]) == b"app"
    for who, words in ((ADMINISTRATOR, asked), (USER, ("create-key",))):
        done = kms.run(PROGRAMS / "aws", "kms", *words, who=who, place=tmp_path, exits=None)
        assert DENIED in done.stderr


def test_sops(kms: Deployment, tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_bytes(FILE)
    sops = PROGRAMS / "sops"
    sealed = kms.run(sops, "encrypt", "--kms", kms.keys["data"], "plain.yaml", place=tmp_path).stdout
    assert "hunter2" not in sealed
    (tmp_path / "sealed.yaml").write_text(sealed)
    assert kms.run(sops, "decrypt", "sealed.yaml", place=tmp_path).stdout.encode() == FILE
    for name, place in (("wrapped", r"(enc: .{40})(.)"), ("value", r"(data:..)(.)")):
        changed = re.sub(place, lambda found: found[1] + ("A" if found[2] != "A" else "B"), sealed, count=1)
        assert changed != sealed
        (tmp_path / f"{name}.yaml").write_text(changed)
        said = kms.run(sops, "decrypt", f"{name}.yaml", place=tmp_path, exits=None).stderr
        assert (BAD_CIPHERTEXT in said) == (name == "wrapped")


def test_the_encryption_sdk(kms: Deployment) -> None:
    told = kms.python("encryption_sdk")
    assert set(told) == {"provider", "keyring", "rsa_keyring"}
    for carried in told.values():
        assert (carried["whole"], carried["context"]) == (True, True)
        assert all(carried["refused"])


def test_tink(kms: Deployment) -> None:
    told = kms.python("tink_envelope")
    assert octets(told["opened"]) == b"row 17"
    assert told["refused"] == dict.fromkeys(("data key", "content", "associated data", "context"), True)
    assert told["keyset"] is True


def test_securesystemslib(kms: Deployment) -> None:
    told = kms.python("aws_signer")
    assert len(told["schemes"]) == 8
    for scheme, made in told["schemes"].items():
        assert made["verdicts"] == ["verified", "refused"], scheme
        form = f"{'PKCS1 ' if 'pkcs1' in scheme else ''}{scheme[-3:]}"
        assert_only(made["public"].encode(), form, bytes.fromhex(made["signature"]), octets(told["payload"]))
    assert told["default"] == "ecdsa-sha2-nistp256"


def test_jwt_kms(kms: Deployment) -> None:
    tokens = kms.python("jwt_kms_signer")["tokens"]
    assert set(tokens) == {"ES256", "ES384", "RS256", "PS512"}
    for algorithm, made in tokens.items():
        assert jwt.decode(made["token"], made["public"], [algorithm]) == {"sub": "alice"}
        head, body, signature = made["token"].split(".")
        mallory = base64.urlsafe_b64encode(b'{"sub": "mallory"}').decode().rstrip("=")
        assert mallory != body
        with pytest.raises(jwt.InvalidSignatureError):
            jwt.decode(f"{head}.{mallory}.{signature}", made["public"], [algorithm])


def test_pgpkms(kms: Deployment, tmp_path: Path) -> None:
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    (tmp_path / "file").write_bytes(FILE)
    (tmp_path / "other").write_bytes(FILE + b"#")
    pgpkms = (PROGRAMS / "python", "-W", "ignore", "-m", "pgpkms")
    kms.run(*pgpkms, "export", "--output", "key.asc", place=tmp_path)
    kms.run(*pgpkms, "sign", "--input", "file", "--output", "file.asc", place=tmp_path)
    gpg = ("gpg", "--homedir", home, "--batch", "--no-autostart", "--status-fd", "1")
    assert "IMPORT_OK" in kms.run(*gpg, "--import", "key.asc", place=tmp_path).stdout
    good = kms.run(*gpg, "--verify", "file.asc", "file", place=tmp_path).stdout
    assert "Releases <releases@shop.example>" in good
    assert re.search(r"^\[GNUPG:\] VALIDSIG ", good, re.MULTILINE)
    assert "BADSIG" in kms.run(*gpg, "--verify", "file.asc", "other", place=tmp_path, exits=None).stdout


def test_mongocrypt(kms: Deployment) -> None:
    told = kms.python("mongo_field")
    assert (told["opened"], told["hidden"]) == ("457-55-5462", True)
    assert [line.rpartition(".")[2] for line in told["asked"]] == ["Encrypt", "Decrypt", "Decrypt", "Decrypt"]
    assert BAD_CIPHERTEXT in told["refused"]


def curl(kms: Deployment, operation: str, secret: str | None = None, **members: object) -> dict[str, Any]:
    """What curl's own signature gets; its secret goes by standard input."""
    found = kms.environments[USER]
    user = f'user = "{found["AWS_ACCESS_KEY_ID"]}:{secret or found["AWS_SECRET_ACCESS_KEY"]}"'
    words = ("curl", "-sS", "-K", "-", "--cacert", found["AWS_CA_BUNDLE"], "--aws-sigv4", "aws:amz:us-east-1:kms")
    told = ("-H", f"X-Amz-Target: TrentService.{operation}", "-H", "Content-Type: application/x-amz-json-1.1")
    done = kms.run(*words, *told, "--data-binary", json.dumps(members), f"{kms.service.url}/", given=user)
    return dict(json.loads(done.stdout))


def test_curl(kms: Deployment) -> None:
    made = curl(kms, "GenerateDataKeyWithoutPlaintext", KeyId="alias/data", KeySpec="AES_256")
    assert made["KeyId"] == kms.keys["data"]
    opened = curl(kms, "Decrypt", CiphertextBlob=made["CiphertextBlob"])
    assert len(octets(opened["Plaintext"])) == 32
    assert curl(kms, "ListKeys", secret="x" * 40)["__type"].endswith("InvalidSignatureException")


def test_node_client(kms: Deployment) -> None:
    told = kms.node("kms_client.mjs")
    assert_only(octets(told["public_key"]), "256", octets(told["signature"]), b"released by node")
    assert (told["valid"], told["opened"]) == (True, "secret")
    assert told["refused"] == {
        "signature": BAD_SIGNATURE,
        "ciphertext": BAD_CIPHERTEXT,
        "context": BAD_CIPHERTEXT,
        "create": DENIED,
    }


def test_node_encryption_sdk(kms: Deployment) -> None:
    assert kms.node("kms_encryption.mjs") == {"whole": True, "tenant": "blue", "refused": [True, True]}


def test_the_way_of_cosign(kms: Deployment) -> None:
    told = kms.python("cosign_way")
    assert {name: made["algorithm"] for name, made in told["signed"].items()} == {
        "sign": "ECDSA_SHA_256",
        "sign-384": "ECDSA_SHA_384",
        "rsa": "RSASSA_PKCS1_V1_5_SHA_256",
        "by ARN": "ECDSA_SHA_256",
    }
    for made in told["signed"].values():
        assert_only(octets(made["public"]), made["algorithm"], octets(made["signature"]), octets(told["payload"]))


def test_the_page_shows_each_client() -> None:
    assert table.shown() == table.table(), "run python -m tests.interop.aws.table"
    here = vars(sys.modules[__name__])
    assert [name for name in table.ROWS if f"test_{name}" not in here] == []
