"""What the calls that encrypt, make MACs, agree and verify share: algorithms, versions, encryption contexts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystore.algorithms import key_algorithms
from keystore.api import VersionState
from keystore.ciphertexts import UNDECIPHERABLE, describe
from keystore.errors import Undecipherable
from keystore.lifecycle import current_version, version_state
from signer.access.circumstances import encryption_context
from signer.cryptographic_requests import MAXIMUM_CONTEXT
from signer.errors import Unprocessable, WrongState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from keystore.api import Key, KeyVersion

SYMMETRIC = "SYMMETRIC_DEFAULT"  # the name of the spec and of its algorithm


def chosen_algorithm(key: Key, asked: str | None, field: str = "algorithm") -> str:
    """The algorithm asked for, or the key's default. Raises `Unprocessable` for one that the key does not have."""
    allowed = key_algorithms(key.purpose, key.spec, key.algorithm, key.protection)
    name = asked or key.algorithm
    if name not in allowed:
        msg = f"this key has {', '.join(allowed)}"
        raise Unprocessable(msg, field=field)
    return name


def require_context(key: Key, context: Mapping[str, str] | None, field: str = "context") -> dict[str, str] | None:
    """The context to encrypt or decrypt with; None for an empty one.

    Raises: `Unprocessable` for a key that has none (RSA has no associated data), and for one that is too long.
    """
    if not context:
        return None
    if key.spec != SYMMETRIC:
        msg = f"a {key.spec} key has no encryption context: only symmetric ciphertexts are bound to one"
        raise Unprocessable(msg, field=field)
    if sum(len(text.encode()) for pair in context.items() for text in pair) > MAXIMUM_CONTEXT:
        msg = f"names and values of a context have {MAXIMUM_CONTEXT} bytes together at most"
        raise Unprocessable(msg, field=field)
    return dict(context)


def encryption_details(key: Key, algorithm: str | None, context: Mapping[str, str] | None) -> dict[str, Sequence[str]]:
    """What policies may ask of an encryption or decryption."""
    return {**encryption_context(context), "kms:encryptionalgorithm": (algorithm or key.algorithm,)}


def version_of_ciphertext(key: Key, ciphertext: bytes, number: int | None, now: datetime) -> KeyVersion:
    """The version that made a ciphertext: the one that it names, or, of RSA's bare ones, the one asked for.

    Raises: `Undecipherable` for a ciphertext of another key; `Unprocessable`, `WrongState`.
    """
    if key.spec != SYMMETRIC:
        return numbered_version(key, number, now)
    if number is not None:
        msg = "the ciphertexts of this key say which version made them"
        raise Unprocessable(msg, field="key_version")
    origin = describe(ciphertext)
    made = [version for version in key.versions if version.id == origin.version_id]
    if origin.key_id != key.id or not made:
        raise Undecipherable(UNDECIPHERABLE)
    return _unrevoked(key, made[0], now)


def numbered_version(key: Key, number: int | None, now: datetime) -> KeyVersion:
    """The version of that number, or the active one. Raises: `Unprocessable`; `WrongState` if it is revoked."""
    if number is None:
        return current_version(key.versions, now)
    if not 1 <= number <= len(key.versions):
        msg = f"this key has the versions 1 to {len(key.versions)}"
        raise Unprocessable(msg, field="key_version")
    return _unrevoked(key, key.versions[number - 1], now)


def _unrevoked(key: Key, version: KeyVersion, now: datetime) -> KeyVersion:
    if version_state(key.versions, version.number, now) is VersionState.REVOKED:
        msg = f"version {version.number} of the key is revoked"
        raise WrongState(msg)
    return version


def unrevoked_versions(key: Key, now: datetime) -> list[KeyVersion]:
    """Every version whose signatures count, newest first. Raises `WrongState` if none does."""
    counted = [
        version
        for version in reversed(key.versions)
        if version_state(key.versions, version.number, now) is not VersionState.REVOKED
    ]
    if not counted:
        msg = "every version of the key is revoked"
        raise WrongState(msg)
    return counted
