"""Whose signature a bundle or an envelope holds: the keys that could have made it, each with its algorithms, tried.

Neither format says its algorithm, so a key is tried with every one that trust allows it.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, TypeAlias

from cryptography.exceptions import InvalidSignature

from verifier.algorithms import BARE_ONLY
from verifier.artifacts.bundle import MessageSignature
from verifier.certificates import certified_key, name_of
from verifier.errors import Rejected
from verifier.keys import (
    WeakKeyError,
    algorithms_of,
    check_digest,
    check_message,
    fingerprint,
    may_be_signature_of,
    subject_public_key_info,
)
from verifier.thumbprint import thumbprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from verifier.algorithms import SignatureAlgorithm
    from verifier.artifacts.dsse import Envelope
    from verifier.keys import PublicKey
    from verifier.trust import TrustedKey

Candidate: TypeAlias = "tuple[PublicKey, SignatureAlgorithm]"


def listed_candidates(keys: Sequence[TrustedKey], demanded: SignatureAlgorithm | None) -> list[Candidate]:
    """Every trusted key with every algorithm that trust allows it. Rejected if none is as demanded."""
    return _demanded([(key.public_key, algorithm) for key in keys for algorithm in key.algorithms], demanded)


def certified_candidates(certificate: x509.Certificate, demanded: SignatureAlgorithm | None) -> list[Candidate]:
    """The certificate's key with every algorithm of its kind. Rejected for a weak key, or if none is as demanded."""
    try:
        key = certified_key(certificate)
    except WeakKeyError as error:
        raise Rejected("weak_key", f"The key of {name_of(certificate)} is refused: {error}.") from error
    return _demanded([(key, algorithm) for algorithm in algorithms_of(key)], demanded)


def _demanded(candidates: list[Candidate], demanded: SignatureAlgorithm | None) -> list[Candidate]:
    fitting = [
        candidate for candidate in candidates if demanded in (None, candidate[1]) and candidate[1].name not in BARE_ONLY
    ]
    if not fitting:
        raise Rejected("algorithm_mismatch", "No key in question makes signatures with the algorithm demanded.")
    return fitting


def check_candidates(content: MessageSignature | Envelope, candidates: Sequence[Candidate]) -> Candidate:
    """The key and algorithm whose signature it is. Rejected if it is none's."""
    if isinstance(content, MessageSignature):
        # What a bundle says of its digest is not signed: it must be that of the key's own algorithm.
        fitting = [candidate for candidate in candidates if candidate[1].hash_name == content.hash_name]
        if not fitting:
            message = f"No key in question signs {content.hash_name} digests."
            raise Rejected("algorithm_mismatch", message)
        candidates = fitting
    for key, algorithm in candidates:
        if not may_be_signature_of(key, content.signature):
            continue
        try:
            if isinstance(content, MessageSignature):
                check_digest(algorithm, key, content.signature, content.digest)
            else:
                check_message(algorithm, key, content.signature, content.signed)
        except InvalidSignature:
            continue
        return key, algorithm
    raise Rejected("signature_invalid", "The signature is not that of a key that you trust or that it names.")


def hints_of(key: TrustedKey) -> frozenset[str]:
    """The names by which a bundle or an envelope may call a key: our ids, and the fingerprints that others use."""
    digest = hashlib.sha256(subject_public_key_info(key.public_key)).digest()
    names = {fingerprint(key.public_key), base64.b64encode(digest).decode("ascii"), thumbprint(key.public_key)}
    return frozenset(names if key.key_id is None else {*names, key.key_id})
