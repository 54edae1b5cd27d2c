"""Why a credential was not taken: for the log alone. Callers get one answer for everything; those who speak AWS's
protocol get AWS's name and words for it, which tell them no more than AWS tells its own callers."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(StrEnum):
    """The errors of AWS's JSON protocol for a caller that is not known (all of them HTTP 400)."""

    MISSING = "MissingAuthenticationTokenException"  # no credential at all
    INCOMPLETE = "IncompleteSignatureException"  # not of the form of a signed request
    UNKNOWN = "UnrecognizedClientException"  # no such access key, or one that is not in use, or a wrong session token
    WRONG = "InvalidSignatureException"  # another signature, scope or time
    EXPIRED = "ExpiredTokenException"  # temporary credentials that are over, told to their holder alone


WORDS: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        Kind.MISSING: "Missing Authentication Token",
        Kind.INCOMPLETE: "The request signature does not conform to AWS standards.",
        Kind.UNKNOWN: "The security token included in the request is invalid.",
        Kind.WRONG: (
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method. Consult the service documentation for details."
        ),
        Kind.EXPIRED: "The security token included in the request is expired",
    }
)


class Refused(Exception):
    """The reason, without a secret. `signer.authn.authenticator` logs it and answers `unauthenticated`.

    `kind` is what AWS calls it, `words` what it says; both are for callers of AWS's protocol.
    """

    def __init__(self, reason: str, kind: Kind = Kind.UNKNOWN, words: str | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.words = words or WORDS[kind]
