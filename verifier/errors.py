"""The two words for "no": `Rejected` (this is wrong) and `Indeterminate` (this could not be decided).

A verifying function returns the verified thing or raises one of these; there is no boolean to forget. Neither is an
acceptance. Arguments that make no sense (a negative leeway, an empty audience) are the caller's mistake and raise
`ValueError`.
"""

from __future__ import annotations

from typing import Literal

RejectionCode = Literal[
    "algorithm_mismatch",  # not the algorithm that the key, the digest or the caller pins
    "algorithm_not_allowed",  # outside this package's closed list
    "audience_mismatch",
    "authority_expired",  # the window within which the trust file lets the authority count
    "authority_not_yet_valid",
    "certificate_expired",
    "certificate_not_suitable",  # usages, constraints or extensions forbid this signature
    "certificate_not_yet_valid",
    "certificate_revoked",
    "context_mismatch",  # the envelope's context is not the one that the caller expects
    "decryption_failed",  # changed, or another data key's
    "digest_mismatch",  # the file is not the one that was signed
    "expired",
    "identity_mismatch",  # the certificate is for another identity than trust lets its authority vouch for
    "in_response_to_mismatch",
    "issuer_mismatch",
    "key_expired",
    "key_mismatch",  # not the key whose fingerprint the caller gives
    "key_not_for_this_purpose",
    "key_not_yet_valid",
    "key_revoked",
    "log_entry_mismatch",  # the log's entry is about another signature, file or key
    "log_proof_invalid",  # not in the log: the proof, or the history of the log, does not add up
    "malformed",  # not the one strict encoding that this package reads
    "missing_claim",
    "not_yet_valid",
    "policy_mismatch",  # verified, and not what the caller's policy asks for
    "recipient_mismatch",
    "replayed",
    "signature_invalid",
    "signer_mismatch",  # the message names its signer in two ways that disagree, or not exactly once
    "status_not_success",
    "too_few_cosignatures",  # fewer witnesses saw the log's head than the caller asks for
    "too_large",
    "type_mismatch",
    "untrusted_signer",
    "weak_key",
]

IndecisionCode = Literal[
    "digest_unknown",  # the digests given for the file are not the ones that the signature needs
    "internal_error",
    "invalid_crl",
    "invalid_jwks",
    "invalid_trust",
    "no_trust",  # the trust given holds nothing that could speak for this kind of message
    "revocation_unknown",  # a revocation list is demanded, and none that is current was given
    "unknown_condition",
    "unknown_key",  # a stale key set cannot be told from a forgery
    "unreadable_file",
    "unsupported_format",
    "unsupported_key",
    "unsupported_size",
    "unwritable_file",  # the output is there already, or cannot be written
    "wrong_usage",
]


class VerificationError(Exception):
    """Not verified. `code` is stable and meant for programs, `message` is one line meant for a person."""

    outcome: Literal["rejected", "indeterminate"]

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def as_json(self) -> dict[str, object]:
        """The reason as JSON-compatible values: `verified` (false), `outcome`, `code`, `message`."""
        return {"verified": False, "outcome": self.outcome, "code": self.code, "message": self.message}


class Rejected(VerificationError):
    """This is wrong: forged, altered, misused, expired, or not what the caller asked for."""

    outcome = "rejected"

    def __init__(self, code: RejectionCode, message: str) -> None:
        super().__init__(code, message)


class Indeterminate(VerificationError):
    """This could not be decided: unusable trust, an unknown key, a format that this version does not read."""

    outcome = "indeterminate"

    def __init__(self, code: IndecisionCode, message: str) -> None:
        super().__init__(code, message)
