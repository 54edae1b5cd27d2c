"""The bare signature over a file: RSA (PKCS #1 v1.5 or PSS), ECDSA (DER), Ed25519 (pure or prehashed) or ML-DSA, and
nothing around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from cryptography.exceptions import InvalidSignature

from verifier.artifacts.files import MAXIMUM_MESSAGE_BYTES
from verifier.errors import Indeterminate, Rejected
from verifier.keys import check_digest, check_message, may_be_signature_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from verifier.algorithms import SignatureAlgorithm
    from verifier.artifacts.files import FileFacts
    from verifier.trust import TrustedKey

    Candidate: TypeAlias = tuple[TrustedKey, SignatureAlgorithm]


def select_candidates(
    keys: Sequence[TrustedKey], signature: bytes, demanded: SignatureAlgorithm | None
) -> tuple[Candidate, ...]:
    """The trusted keys, with the algorithms that trust allows them, that could have made a signature of this length."""
    fitting = [(key, algorithm) for key in keys for algorithm in key.algorithms if demanded in (None, algorithm)]
    if not fitting and demanded is None:
        raise Rejected("algorithm_not_allowed", "The trusted keys are listed for no algorithm that is allowed.")
    if not fitting:
        raise Rejected("algorithm_mismatch", "No trusted key makes signatures with the algorithm demanded.")
    candidates = tuple(pair for pair in fitting if may_be_signature_of(pair[0].public_key, signature))
    if not candidates:
        raise Rejected("signature_invalid", "The signature does not have the form of any trusted key's signatures.")
    return candidates


def check_raw(candidates: Sequence[Candidate], signature: bytes, facts: FileFacts) -> Candidate:
    """The one trusted key and algorithm whose signature over the file this is. Rejected if there is none.

    `Indeterminate` (unsupported_size) if the only one that is left signs messages, over a file too large to hold.
    """
    undecided = False
    for key, algorithm in candidates:
        try:
            if algorithm.hash_name is not None:
                check_digest(algorithm, key.public_key, signature, facts.digests[algorithm.hash_name])
            elif facts.message is not None:
                check_message(algorithm, key.public_key, signature, facts.message)
            else:
                undecided = True
                continue
        except InvalidSignature:
            continue
        return key, algorithm
    if undecided:
        limit = MAXIMUM_MESSAGE_BYTES // 1024 // 1024
        raise Indeterminate(
            "unsupported_size", f"Ed25519 and ML-DSA need the whole file in memory: at most {limit} MiB."
        )
    raise Rejected("signature_invalid", "The signature is not that of a trusted key over this file.")
