"""`POST /v1/keys/{key}/signatures/verify`: what AWS KMS calls Verify, worked out from the public halves."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from keystore.algorithms import SIGNING_ALGORITHMS, Purpose
from keystore.signing import is_signature as is_signature_over
from keystore.signing import is_signature_over_mu
from signer.access import Action
from signer.cryptographic_requests import SignatureVerification
from signer.errors import InvalidSignature, Unprocessable
from signer.operations.base import Output, Plan, Prepared, Subject
from signer.operations.signatures import DIGEST_SIZES, message_type, require_mu
from signer.operations.uses import chosen_algorithm, unrevoked_versions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from keystore.api import Key, KeyVersion
    from signer.access.model import ConditionValues


class VerifiedSignatures:
    """Whether a signature was made by a version of this key that is not revoked; one that was not is an error."""

    action: Final = Action.VERIFY
    purpose: Final = Purpose.GENERAL
    body_type: Final = SignatureVerification

    def details(self, key: Key, body: SignatureVerification) -> Sequence[ConditionValues]:
        """Algorithm and message type."""
        return [{"kms:signingalgorithm": (body.algorithm or key.algorithm,), "kms:messagetype": (message_type(body),)}]

    def version(self, key: Key, _body: SignatureVerification | None, now: datetime) -> KeyVersion:
        """The newest that counts; every other that does is tried too. Raises `WrongState`."""
        return unrevoked_versions(key, now)[0]

    def plan(self, subject: Subject, body: SignatureVerification) -> Plan:
        """Raises `Unprocessable`; what it makes raises `InvalidSignature`."""
        name = chosen_algorithm(subject.key, body.algorithm)
        algorithm, data = SIGNING_ALGORITHMS[name], _signed_data(body, name)
        is_signature = is_signature_over_mu if body.mu is not None else is_signature_over
        versions = unrevoked_versions(subject.key, subject.now)

        def make(_key: None) -> Output:
            for version in versions:
                if is_signature(version.public_key, algorithm, body.signature, data):
                    return {"valid": True, "signed_by_version": version.number}
            msg = "no version of this key made this signature over this message"
            raise InvalidSignature(msg)

        return Plan([Prepared(name, make, needs_no_key=True)], True)


def _signed_data(body: SignatureVerification, name: str) -> bytes:
    """The digest, the message where that itself is signed, or the message representative."""
    hash_name = SIGNING_ALGORITHMS[name].hash_name
    if body.message is not None and body.digest is None and body.mu is None:
        return body.message if hash_name is None else hashlib.new(hash_name, body.message).digest()
    if body.mu is not None and body.message is None and body.digest is None:
        require_mu(name, body.mu, "mu")
        return body.mu
    if body.digest is None or body.message is not None or body.mu is not None:
        msg = "give exactly one of `message`, `digest` and `mu`, base64"
        raise Unprocessable(msg, field="message")
    if hash_name is None:
        msg = f"{name} signs the message itself, not a digest: send `message`"
        raise Unprocessable(msg, field="digest")
    if len(body.digest) != DIGEST_SIZES[hash_name]:
        msg = f"{name} needs a {hash_name} digest of {DIGEST_SIZES[hash_name]} bytes, this one has {len(body.digest)}"
        raise Unprocessable(msg, field="digest")
    return body.digest
