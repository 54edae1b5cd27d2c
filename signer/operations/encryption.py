"""`POST /v1/keys/{key}/encrypt` and `…/decrypt`: what AWS KMS calls Encrypt and Decrypt."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from keystore.algorithms import ENCRYPTION_ALGORITHMS, KEY_SPECS, Purpose
from keystore.ciphertexts import encode_context
from keystore.lifecycle import current_version
from signer.access import Action
from signer.cryptographic_requests import Decryption, Encryption
from signer.errors import Unprocessable
from signer.operations.base import OfActiveVersion, Output, Plan, Prepared, Subject
from signer.operations.uses import (
    SYMMETRIC,
    chosen_algorithm,
    encryption_details,
    require_context,
    version_of_ciphertext,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from keystore.api import EncryptionKey, Key, KeyVersion
    from signer.access.model import ConditionValues


class Encrypted(OfActiveVersion):
    """A plaintext of up to 4096 octets, encrypted by the key itself."""

    action: Final = Action.ENCRYPT
    purpose: Final = Purpose.ENCRYPT
    body_type: Final = Encryption

    def details(self, key: Key, body: Encryption) -> Sequence[ConditionValues]:
        """Algorithm and context."""
        return [encryption_details(key, body.algorithm, body.context)]

    def plan(self, subject: Subject, body: Encryption) -> Plan:
        """Raises `Unprocessable`, for a plaintext that is too long for an RSA key too."""
        algorithm = chosen_algorithm(subject.key, body.algorithm)
        context = require_context(subject.key, body.context)
        require_room(subject.key, algorithm, body.plaintext)
        associated = encode_context(context or {})

        def make(key: EncryptionKey) -> Output:
            return {"ciphertext": key.encrypt(body.plaintext, associated), **material_of(subject.version)}

        return Plan([Prepared(algorithm, make)], True, context, secret=True)


class Decrypted:
    """A ciphertext opened, by whichever version made it."""

    action: Final = Action.DECRYPT
    purpose: Final = Purpose.ENCRYPT
    body_type: Final = Decryption

    def details(self, key: Key, body: Decryption) -> Sequence[ConditionValues]:
        """Algorithm and context."""
        return [encryption_details(key, body.algorithm, body.context)]

    def version(self, key: Key, body: Decryption | None, now: datetime) -> KeyVersion:
        """Raises `Undecipherable` for a ciphertext of another key or version; `WrongState` for a revoked one."""
        if body is None:
            return current_version(key.versions, now)
        return version_of_ciphertext(key, body.ciphertext, body.key_version, now)

    def plan(self, subject: Subject, body: Decryption) -> Plan:
        """Raises `Unprocessable`."""
        algorithm = chosen_algorithm(subject.key, body.algorithm)
        context = require_context(subject.key, body.context)
        associated = encode_context(context or {})

        def make(key: EncryptionKey) -> Output:
            return {"plaintext": key.decrypt(body.ciphertext, associated), **material_of(subject.version)}

        return Plan([Prepared(algorithm, make)], True, context, secret=True)


def material_of(version: KeyVersion) -> Output:
    """What AWS calls the KeyMaterialId, where a version has one."""
    return {} if version.material_id is None else {"material_id": version.material_id}


def require_room(key: Key, algorithm: str, plaintext: bytes, field: str = "plaintext") -> None:
    """Raises `Unprocessable` for what is longer than RSAES-OAEP takes (RFC 8017 section 7.1.1)."""
    room = longest_plaintext(key.spec, algorithm)
    if room is not None and len(plaintext) > room:
        msg = f"{algorithm} with a {key.spec} key takes {room} bytes at most; encrypt what is longer with a data key"
        raise Unprocessable(msg, field=field)


def longest_plaintext(spec: str, algorithm: str) -> int | None:
    """Octets that an RSA key encrypts; None where the bound of the request is the only one."""
    hash_name = ENCRYPTION_ALGORITHMS[algorithm].hash_name
    if spec == SYMMETRIC or hash_name is None:
        return None
    return KEY_SPECS[spec].bits // 8 - 2 * hashlib.new(hash_name, usedforsecurity=False).digest_size - 2
