"""Certified software keys and the stock tools, for the tests of formats and certificates."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from keystore.algorithms import Purpose
from signer.certificates import authority, chain
from tests.software_key import SoftwareKey, software_key

NOW = datetime.now(UTC)  # stock tools look at the clock, so certificates are made now


@dataclass(frozen=True)
class Certified:
    """A key and its chain, leaf first."""

    key: SoftwareKey
    chain: tuple[bytes, bytes]

    @property
    def leaf(self) -> bytes:
        return self.chain[0]


@lru_cache(maxsize=1)
def issuing_authority() -> tuple[SoftwareKey, bytes]:
    """A CA's key and certificate."""
    key = software_key("ECC_NIST_P256", Purpose.CA)
    return key, authority.self_signed(key, common_name="Test CA", now=NOW)


def certify(key: SoftwareKey) -> Certified:
    """A leaf for the key from the CA above."""
    authority_key, root = issuing_authority()
    leaf = authority.issue_leaf(
        authority_key,
        root,
        public_key=key.public_key_der,
        purpose=key.info.purpose,
        common_name="release",
        key_id=key.info.key_id,
        now=NOW,
    )
    return Certified(key, (leaf, root))


def certified(spec: str, purpose: Purpose, algorithm: str | None = None) -> Certified:
    """A cached key of this kind with a fresh leaf."""
    return certify(software_key(spec, purpose, algorithm))


def write(folder: Path, name: str, content: bytes | str) -> Path:
    """A file in `folder`."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_pem(folder: Path, name: str, *certificates: bytes) -> Path:
    """A PEM file of certificates."""
    return write(folder, name, chain.pem(certificates))


def accepts(*command: str | Path) -> bool:
    """Whether a stock tool says yes by its exit status."""
    finished = subprocess.run([str(part) for part in command], capture_output=True, timeout=60, check=False)
    return finished.returncode == 0


def flipped(content: bytes, position: int) -> bytes:
    """The same bytes with one bit changed."""
    return content[:position] + bytes((content[position] ^ 1,)) + content[position + 1 :]
