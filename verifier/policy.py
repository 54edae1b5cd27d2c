"""What a caller asks of facts that are verified already: small policies that compose.

A policy is anything with one method `verify(facts)` that returns nothing or raises `Rejected` (`Indeterminate` where it
cannot tell). It comes after a verifying function, never in its place: what is handed to it must be that function's
result. Names are compared as they are, without case folding or patterns.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, Final, Protocol, TypeAlias, runtime_checkable

from verifier.algorithms import ALGORITHMS
from verifier.errors import Indeterminate, Rejected, RejectionCode
from verifier.results import VerifiedArtifact, VerifiedAssertion, VerifiedToken
from verifier.times import format_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

VerifiedFacts: TypeAlias = VerifiedArtifact | VerifiedToken | VerifiedAssertion
MAXIMUM_LEEWAY: Final = 60  # seconds


@runtime_checkable
class Policy(Protocol):
    """One demand on verified facts."""

    def verify(self, facts: VerifiedFacts) -> None:
        """Returns nothing where the demand is met, raises `Rejected` where it is not."""
        ...


@dataclass(frozen=True, slots=True, init=False)
class _Composed:
    """Some policies, at least one."""

    policies: tuple[Policy, ...]

    def __init__(self, *policies: Policy) -> None:
        object.__setattr__(self, "policies", _checked(policies))


class AllOf(_Composed):
    """Every one of the policies must hold; the first that does not says why."""

    __slots__ = ()

    def verify(self, facts: VerifiedFacts) -> None:
        """`Rejected` or `Indeterminate` as the first policy that does not hold."""
        for policy in self.policies:
            _ask(policy, facts)


class AnyOf(_Composed):
    """One of the policies must hold."""

    __slots__ = ()

    def verify(self, facts: VerifiedFacts) -> None:
        """`Rejected` (policy_mismatch) with every reason if none holds, `Indeterminate` if one could not tell."""
        reasons: list[str] = []
        undecided: Indeterminate | None = None
        for policy in self.policies:
            try:
                _ask(policy, facts)
            except Rejected as reason:
                reasons.append(reason.message)
            except Indeterminate as reason:
                undecided = undecided or reason
            else:
                return
        if undecided is not None:
            raise undecided
        raise Rejected("policy_mismatch", f"None of {len(reasons)} policies holds: {' '.join(reasons)}")


def _checked(policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    """ValueError for no policy at all, which would let everything pass, and for what is none."""
    if not policies:
        raise ValueError("a policy must be made of at least one policy")
    if wrong := [each for each in policies if isinstance(each, type) or not isinstance(each, Policy)]:
        raise ValueError(f"{wrong[0]!r} must be a policy: an object with the method verify(facts)")
    return policies


def _ask(policy: Policy, facts: VerifiedFacts) -> None:
    """ValueError for a policy that answers True or False: its author believes that False refuses."""
    verify: Callable[[VerifiedFacts], object] = policy.verify
    answer = verify(facts)
    if answer is not None:
        raise ValueError(f"{policy!r} must raise Rejected or return nothing, and it returned {answer!r}")


def _names(values: tuple[object, ...], what: str) -> frozenset[str]:
    names = frozenset(each for each in values if isinstance(each, str) and each)
    if not names or len(names) != len(values):
        raise ValueError(f"{what} must be one or more distinct texts that are not empty")
    return names


def _require(found: str | None, wanted: frozenset[str], code: RejectionCode, what: str) -> None:
    if found is None:
        raise Rejected(code, f"There is no {what}, and {_or(wanted)} is asked for.")
    if found not in wanted:
        raise Rejected(code, f"The {what} is {found!r}, not {_or(wanted)}.")


def _or(wanted: Iterable[str]) -> str:
    return " or ".join(repr(each) for each in sorted(wanted))


@dataclass(frozen=True, slots=True, init=False)
class _Named:
    """Some names, at least one: any of them will do."""

    names: frozenset[str]
    _what: ClassVar[str]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", _names(names, self._what))


class Issuer(_Named):
    """Who vouches: a token's or assertion's issuer; for a file, the name of the authority that certified the signer.

    A file whose key is trusted without a certificate has no issuer and is rejected.
    """

    __slots__ = ()
    _what = "an issuer"

    def verify(self, facts: VerifiedFacts) -> None:
        """`Rejected` (issuer_mismatch)."""
        if isinstance(facts, VerifiedArtifact):
            found = facts.certificates[0].issuer if facts.certificates else None
        else:
            found = facts.issuer
        _require(found, self.names, "issuer_mismatch", "issuer")


@dataclass(frozen=True, slots=True)
class Audience:
    """Whom a token or assertion is for. With `alone`, it must be for nobody else. A file is for nobody: rejected."""

    name: str
    alone: bool = False

    def __post_init__(self) -> None:
        _names((self.name,), "an audience")

    def verify(self, facts: VerifiedFacts) -> None:
        """`Rejected` (audience_mismatch)."""
        if isinstance(facts, VerifiedArtifact):
            raise Rejected("audience_mismatch", "A signature over a file is for no audience.")
        if self.name not in facts.audiences:
            raise Rejected("audience_mismatch", f"It is for {_or(facts.audiences)}, not for {self.name!r}.")
        if self.alone and len(facts.audiences) > 1:
            raise Rejected("audience_mismatch", f"It is for {len(facts.audiences)} audiences, not for one alone.")


class Identity(_Named):
    """Who it is about: a token's or assertion's subject; for a file, its signer as the results name it."""

    __slots__ = ()
    _what = "an identity"

    def verify(self, facts: VerifiedFacts) -> None:
        """`Rejected` (policy_mismatch)."""
        if isinstance(facts, VerifiedArtifact):
            _require(facts.signer, self.names, "policy_mismatch", "signer")
        else:
            _require(facts.subject, self.names, "policy_mismatch", "subject")


class CertificateIdentity(_Named):
    """The subject (RFC 4514 text) of the certificate that was used. Rejects what was verified without one."""

    __slots__ = ()
    _what = "a certificate's subject"

    def verify(self, facts: VerifiedFacts) -> None:
        """`Rejected` (policy_mismatch)."""
        certificates = () if isinstance(facts, VerifiedToken) else facts.certificates
        _require(certificates[0].subject if certificates else None, self.names, "policy_mismatch", "certificate")


@dataclass(frozen=True, slots=True)
class MaximumAge:
    """How long ago it was made, in seconds before now, or before the time given: a log's time does not make it younger.

    Tokens and assertions say when they were issued. For a file it is the signer's own word (`claimed_signing_time`): it
    keeps out old signatures of an honest signer, and nothing more. What does not say when it was made is rejected, and
    so is what says that it was made later than now; `leeway` (0 to 60 seconds) is given to both.
    """

    seconds: float
    leeway: float = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seconds < float("inf") or not 0 <= self.leeway <= MAXIMUM_LEEWAY:
            raise ValueError(f"an age must not be negative, and its leeway must be 0 to {MAXIMUM_LEEWAY} seconds")

    def verify(self, facts: VerifiedFacts) -> None:
        """`Rejected` (missing_claim, not_yet_valid, expired)."""
        made = _made_at(facts)
        if made is None:
            raise Rejected("missing_claim", "It does not say when it was made, and its age is limited.")
        age = facts.time.as_of - made
        if age < -timedelta(seconds=self.leeway):
            raise Rejected("not_yet_valid", f"It says that it was made at {format_time(made)}.")
        if age.total_seconds() > self.seconds + self.leeway:
            raise Rejected("expired", f"It was made at {format_time(made)}, more than {self.seconds:g} seconds before.")


def _made_at(facts: VerifiedFacts) -> datetime | None:
    return facts.claimed_signing_time if isinstance(facts, VerifiedArtifact) else facts.issued_at


@dataclass(frozen=True, slots=True)
class Logged:
    """That a transparency log has it, by a proof that was given and holds.

    `cosignatures` of `witnesses` (by name; any that the trust names, if there are none here) must have seen the log's
    head, `origins` are the logs that will do (any trusted one, if there are none here).
    """

    cosignatures: int = 0
    witnesses: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for each in (self.witnesses, self.origins):
            if each:
                _names(each, "witnesses and origins")
        if self.cosignatures < 0 or (self.witnesses and self.cosignatures > len(self.witnesses)):
            raise ValueError("cosignatures must not be negative, nor more than the witnesses that are named")
        if self.witnesses and not self.cosignatures:
            raise ValueError("witnesses are named, and none of their cosignatures is asked for")

    def verify(self, facts: VerifiedFacts) -> None:
        """`Rejected` (policy_mismatch, too_few_cosignatures)."""
        position = facts.log_position
        if position is None:
            raise Rejected("policy_mismatch", "There is no proof that it was logged.")
        if self.origins:
            _require(position.origin, frozenset(self.origins), "policy_mismatch", "log")
        seen_by = {each.witness for each in position.cosigned if not self.witnesses or each.witness in self.witnesses}
        if len(seen_by) < self.cosignatures:
            message = (
                f"{len(seen_by)} of the witnesses asked for saw the log's head, and {self.cosignatures} must have."
            )
            raise Rejected("too_few_cosignatures", message)


class Format(_Named):
    """Its form: a file's `signature_format` (`cms`, `raw` ...), or `jwt`, or `saml`."""

    __slots__ = ()
    _what = "a format"

    def verify(self, facts: VerifiedFacts) -> None:
        """`Rejected` (policy_mismatch)."""
        if isinstance(facts, VerifiedArtifact):
            found: str = facts.signature_format
        else:
            found = "jwt" if isinstance(facts, VerifiedToken) else "saml"
        _require(found, self.names, "policy_mismatch", "format")


class Algorithm(_Named):
    """The algorithm of the signature, by its AWS name."""

    __slots__ = ()
    _what = "an algorithm"

    def __init__(self, *names: str) -> None:
        super().__init__(*names)
        if unknown := sorted(self.names - ALGORITHMS.keys()):
            raise ValueError(f"{unknown[0]!r} must be one of {', '.join(ALGORITHMS)}")

    def verify(self, facts: VerifiedFacts) -> None:
        """`Rejected` (algorithm_mismatch)."""
        _require(facts.key.algorithm, self.names, "algorithm_mismatch", "algorithm")


class KeyId(_Named):
    """The key: its id in the trust file or key set (`key_id`), or the SHA-256 of its SubjectPublicKeyInfo in hex."""

    __slots__ = ()
    _what = "a key id"

    def verify(self, facts: VerifiedFacts) -> None:
        """`Rejected` (policy_mismatch)."""
        if facts.key.sha256 not in self.names:
            _require(facts.key.key_id, self.names, "policy_mismatch", "key id")
