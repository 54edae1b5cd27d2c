"""The audit trail of keys that encrypt, as `sealmark audit verify` checks it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from signer.cli.main import cli
from signer.cryptographic_requests import DataKeyPair, Decryption, Encryption, MacBody, MacVerification
from signer.operations.data_keys import DataKeyPairs
from signer.operations.encryption import Decrypted, Encrypted
from signer.operations.macs import Macs, VerifiedMacs
from signer.operations.signatures import RawSignatures
from signer.request import Signatures
from tests.databases import ON_POSTGRESQL, copy, path_of, url_of
from tests.signer.operations.calls import refused, use
from tests.signer.service import running_service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keystore.hsm import Token
    from tests.signer.service import ServiceInProcess


@pytest.fixture
def service(token: Token, tmp_path: Path) -> Iterator[ServiceInProcess]:
    """One of its own: nothing else may have been done to its log."""
    with running_service(token, tmp_path) as running:
        yield running


def test_it_is_verified_whole(service: ServiceInProcess, tmp_path: Path) -> None:
    service.make_key("trail-encrypts", "SYMMETRIC_DEFAULT", "encrypt")
    service.make_key("trail-mac", "HMAC_512", "mac")
    service.make_key("trail-signs", purpose="general")
    context = {"tenant": "one"}
    ciphertext = use(service, "trail-encrypts", Encrypted(), Encryption(plaintext=b"p", context=context))["ciphertext"]
    refused(service, "trail-encrypts", Decrypted(), Decryption(ciphertext=ciphertext))
    use(service, "trail-encrypts", DataKeyPairs(plaintext=True), DataKeyPair(spec="ECC_NIST_P384", context=context))
    mac = use(service, "trail-mac", Macs(), MacBody(message=b"m"))["mac"]
    refused(service, "trail-mac", VerifiedMacs(), MacVerification(message=b"n", mac=mac))
    use(service, "trail-signs", RawSignatures(), Signatures(message=b"m"))  # under its checkpoint are all before it
    copy(path_of(service.services.keystore.database), tmp_path / "copy.db")
    database = url_of(tmp_path / "copy.db") if ON_POSTGRESQL else tmp_path / "copy.db"
    result = CliRunner().invoke(cli, ["audit", "verify", "--database", str(database), "--head", str(tmp_path / "head")])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("VERIFIED\n")
