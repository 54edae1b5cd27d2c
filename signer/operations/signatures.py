"""`POST /v1/keys/{key}/signatures`: raw signatures over a message or a digest, by `general` keys alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keystore.algorithms import SIGNING_ALGORITHMS, Purpose, Scheme, key_algorithms
from keystore.software_keys import MU_OCTETS
from signer.access import Action
from signer.access.circumstances import signing_context
from signer.errors import Unprocessable
from signer.formats import raw
from signer.operations.base import OfActiveVersion, Output, Plan, Prepared, Subject, either_items_or_one, prepare_each
from signer.request import SignatureItem, Signatures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystore.api import Key, SigningKey
    from signer.access.model import ConditionValues
    from signer.cryptographic_requests import SignatureVerification

DIGEST_SIZES: Final = {"sha256": 32, "sha384": 48, "sha512": 64}


class RawSignatures(OfActiveVersion):
    """What AWS KMS calls Sign, for keys whose purpose is to sign what the caller says."""

    action: Final = Action.SIGN
    purpose: Final = Purpose.GENERAL
    body_type: Final = Signatures

    def details(self, key: Key, body: Signatures) -> Sequence[ConditionValues]:
        """Algorithm, message type and context."""
        items = body.items if body.items is not None else [body]
        context = signing_context(body.context)
        asked = {(item.algorithm or key.algorithm, message_type(item)) for item in items}
        return [
            context | {"kms:signingalgorithm": (algorithm,), "kms:messagetype": (message_type,)}
            for algorithm, message_type in sorted(asked)
        ]

    def plan(self, subject: Subject, body: Signatures) -> Plan:
        """One item, or every item of `items`. Raises `Unprocessable` for a fault of the call as a whole."""
        one = {"message": body.message, "digest": body.digest, "mu": body.mu, "algorithm": body.algorithm}
        either_items_or_one(body.items, one)
        key = subject.key
        allowed = key_algorithms(key.purpose, key.spec, key.algorithm, key.protection)
        items = body.items if body.items is not None else [body]
        single = body.items is None

        def prepare(item: SignatureItem, position: int) -> Prepared:
            return _prepare(item, "" if single else f"items[{position}].", allowed, key.algorithm)

        return Plan(prepare_each(items, prepare), single, body.context)


def message_type(item: SignatureItem | SignatureVerification) -> str:
    """AWS's name of what is given."""
    if item.mu is not None:
        return "EXTERNAL_MU"
    return "RAW" if item.digest is None else "DIGEST"


def require_mu(name: str, mu: bytes, field: str) -> None:
    """Raises `Unprocessable` unless the algorithm takes a message representative, and this is one."""
    if SIGNING_ALGORITHMS[name].scheme is not Scheme.ML_DSA:
        msg = f"only ML-DSA signs a message representative; {name} takes `message` or `digest`"
        raise Unprocessable(msg, field=field)
    if len(mu) != MU_OCTETS:
        msg = f"a message representative has {MU_OCTETS} bytes, this one has {len(mu)}"
        raise Unprocessable(msg, field=field)


def _prepare_mu(name: str, mu: bytes, at: str) -> Prepared:
    require_mu(name, mu, f"{at}mu")

    def make(key: SigningKey) -> Output:
        return {"signature": key.sign_mu(mu)}

    return Prepared(name, make)


def _prepare(item: SignatureItem, at: str, allowed: tuple[str, ...], default: str) -> Prepared:
    name = item.algorithm or default
    if name not in allowed:
        msg = f"this key signs with {', '.join(allowed)}"
        raise Unprocessable(msg, field=f"{at}algorithm")
    if [item.message, item.digest, item.mu].count(None) != 2:
        msg = "give exactly one of `message`, `digest` and `mu`, base64"
        raise Unprocessable(msg, field=f"{at}message")
    if item.mu is not None:
        return _prepare_mu(name, item.mu, at)
    hash_name = SIGNING_ALGORITHMS[name].hash_name
    message, digest = item.message, item.digest
    if digest is not None and hash_name is None:
        msg = f"{name} signs the message itself, not a digest: send `message`"
        raise Unprocessable(msg, field=f"{at}digest")
    if digest is not None and hash_name is not None and len(digest) != DIGEST_SIZES[hash_name]:
        msg = f"{name} needs a {hash_name} digest of {DIGEST_SIZES[hash_name]} bytes, this one has {len(digest)}"
        raise Unprocessable(msg, field=f"{at}digest")

    def make(key: SigningKey) -> Output:
        if digest is not None:
            return {"signature": raw.sign_digest(key, digest)}
        return {"signature": raw.sign_message(key, message or b"")}

    return Prepared(name, make, digest=digest)
