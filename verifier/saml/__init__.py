"""SAML 2.0 assertions: a message, trusted certificates, and what the caller expects, in; verified facts out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from cryptography import x509

from verifier.certificates import certified_key, check_validity, describe_certificate, extension, name_of
from verifier.errors import Indeterminate, Rejected
from verifier.keys import WeakKeyError, describe_key, fingerprint
from verifier.log_proofs import judged_time, open_proof, position_in
from verifier.results import KeyFacts, VerifiedAssertion
from verifier.saml import claims
from verifier.saml.signatures import ASSERTION, SignedPlace, find_signed_places, verify_places
from verifier.saml.trusted import describe_trusted_key, trusted_carriers
from verifier.saml.xml import Node, parse_xml

if TYPE_CHECKING:
    from collections.abc import Sequence

    from verifier.results import LogPosition, TimeFacts
    from verifier.trust import Trust
    from verifier.trusted_logs import TrustedLog

MAXIMUM_LEEWAY: Final = 60  # seconds
MAXIMUM_CERTIFICATES: Final = 10

NOT_RESPONSE: Final = "the response around the assertion is not signed: its status, destination and times are claims"
NOT_REPLAY: Final = "whether the assertion was used before"
NOT_ISSUER: Final = "the issuer was not compared with an expected one"
NOT_REQUEST: Final = "InResponseTo was not compared with a request"
NOT_REVOCATION: Final = "revocation of the certificate was not looked at"


class ReplayCache(Protocol):
    """Remembers assertions that were accepted. Its life must span all processes that accept them."""

    def remember(self, issuer: str, assertion_id: str, until: datetime) -> bool:
        """Stores the assertion atomically until that time. False if it was there already."""
        ...


def verify_saml(
    data: bytes,
    *,
    certificates: Sequence[x509.Certificate] = (),
    trust: Trust | None = None,
    audience: str,
    recipient: str,
    issuer: str | None = None,
    in_response_to: str | None = None,
    now: datetime | None = None,
    leeway: float = 0,
    replay_cache: ReplayCache | None = None,
    proof: bytes | str | None = None,
    logs: Sequence[TrustedLog] = (),
) -> VerifiedAssertion:
    """Verifies a SAML response or assertion (XML bytes, not base64) and returns what the signed part says.

    `certificates` are the identity provider's, trusted as they are (from `load_certificates`); the message's own are
    never believed. Instead of them `trust` (from `parse_trust`) may be given: its keys for assertions of `issuer`
    count then, and what is revoked by now is refused at an earlier `now` too. The assertion must be for `audience` and
    `recipient` (the assertion consumer URL), from `issuer`, and answer the request `in_response_to`, where these are
    given. `leeway` is 0 to 60 seconds. `proof` (C2SP tlog-proof) must show that one of `logs`, by default those in
    trust, has every signature of the message; where its log needs cosignatures, certificate and key are judged at the
    moment at which its witnesses had seen them, unless `now` is given. The assertion ends now, whenever it was logged.
    Raises `Rejected`, `Indeterminate`, and `ValueError` for arguments that make no sense.
    """
    if (
        not audience
        or not recipient
        or len(certificates) > MAXIMUM_CERTIFICATES
        or bool(certificates) == (trust is not None)
    ):
        raise ValueError(f"audience, recipient and either 1 to {MAXIMUM_CERTIFICATES} certificates or trust are needed")
    if trust is not None and not issuer:
        raise ValueError("with trust, an issuer is needed: it decides which keys count")
    if not 0 <= leeway <= MAXIMUM_LEEWAY:
        raise ValueError(f"leeway must be 0 to {MAXIMUM_LEEWAY} seconds")
    clock = datetime.now(UTC)
    entry = open_proof(proof, logs, () if trust is None else trust.logs, clock)
    time = judged_time(now, clock, entry, name="now")
    expected = claims.Expectations(audience, recipient, issuer, in_response_to, time.as_of, timedelta(seconds=leeway))

    message = parse_xml(data)
    places = find_signed_places(message)
    if trust is not None and issuer is not None:
        certificates = trusted_carriers(trust, issuer, at=time.judged_at, latest=max(time.as_of, clock))
    certificate, signed = verify_places(data, places, _usable(certificates, time.judged_at), time.judged_at)

    position = position_in(entry, [made for element in signed.values() for made in element.made])

    # Claims come from the signed elements alone: an assertion's own signature, else the signed response around it.
    elements = {part: element.node for part, element in signed.items()}
    response = elements.get("response")
    assertion = elements.get("assertion") or claims.only(response or message, ASSERTION, "Assertion")
    envelope = response or (message if message.name == "Response" else None)
    limits = {
        NOT_RESPONSE: envelope is not None and response is None,
        NOT_REPLAY: replay_cache is None,
        NOT_ISSUER: issuer is None,
        NOT_REQUEST: in_response_to is None,
        NOT_REVOCATION if trust is None else trust.revocation_limit: True,
    }
    not_covered = tuple(limit for limit, holds in limits.items() if holds)
    not_covered += () if entry is None else entry.limits
    facts = _read(assertion, envelope, expected, _Origin(certificate, places, time, not_covered, position))
    if trust is not None:
        key = describe_trusted_key(trust, facts.issuer, certificate, facts.key.algorithm)
        facts = replace(facts, key=key, certificates=())
    if replay_cache is not None:
        until = facts.not_on_or_after + expected.leeway
        if not replay_cache.remember(facts.issuer, facts.assertion_id, until):
            raise Rejected("replayed", "The assertion was used before.")
    return facts


@dataclass(frozen=True, slots=True)
class _Origin:
    """Who signed which parts of the message, judged when, and what that leaves open."""

    certificate: x509.Certificate
    places: tuple[SignedPlace, ...]
    time: TimeFacts
    not_covered: tuple[str, ...]
    log_position: LogPosition | None

    def signs(self, part: str) -> bool:
        """Whether this part of the message carries a signature of its own."""
        return any(place.part == part for place in self.places)


def _read(assertion: Node, envelope: Node | None, expected: claims.Expectations, origin: _Origin) -> VerifiedAssertion:
    """Every check on what the signed assertion says, and on the response around it."""
    issued_at = claims.check_envelope(assertion, expected)
    issuer = claims.check_issuer(assertion, expected.issuer)
    if envelope is not None:
        claims.check_response(envelope, issuer, expected, signed=origin.signs("response"))
    claims.check_children(assertion)
    validity, audiences, one_time_use = claims.check_conditions(assertion, expected)
    name_id, confirmation = claims.check_subject(assertion, expected)
    authentication = claims.read_authentication(assertion, expected)
    public_key = certified_key(origin.certificate)
    ends = (confirmation.not_on_or_after, validity.not_on_or_after or confirmation.not_on_or_after)
    return VerifiedAssertion(
        issuer=issuer,
        subject=claims.leaf_text(name_id),
        name_id_format=name_id.attributes.get("Format"),
        audiences=audiences,
        recipient=expected.recipient,
        in_response_to=confirmation.in_response_to,
        assertion_id=claims.attribute(assertion, "ID"),
        response_id=claims.attribute(envelope, "ID") if envelope is not None and origin.signs("response") else None,
        signed=tuple(place.part for place in origin.places),
        issued_at=issued_at,
        not_before=validity.not_before,
        not_on_or_after=min(ends),
        authenticated_at=authentication.authenticated_at,
        session_index=authentication.session_index,
        attributes=MappingProxyType(claims.read_attributes(assertion)),
        one_time_use=one_time_use,
        key=KeyFacts(
            # Both signatures are one key's, and a response's and an assertion's algorithm may differ: name the
            # assertion's, which the facts come from, where it has its own.
            algorithm=origin.places[-1].form.algorithm.name,
            kind=describe_key(public_key),
            sha256=fingerprint(public_key),
            trusted_by="certificate",
        ),
        time=origin.time,
        certificates=(describe_certificate(origin.certificate),),
        not_covered=origin.not_covered,
        log_position=origin.log_position,
    )


def _usable(certificates: Sequence[x509.Certificate], at: datetime) -> tuple[x509.Certificate, ...]:
    """The trusted certificates that may sign now. An authority's that came along in a chain file may not."""
    usable: list[x509.Certificate] = []
    failure: Rejected | Indeterminate | None = None
    for certificate in certificates:
        usage = extension(certificate, x509.KeyUsage)
        if usage is not None and not usage.digital_signature:
            continue
        try:
            certified_key(certificate)
            check_validity(certificate, at)
            usable.append(certificate)
        except WeakKeyError as error:
            failure = failure or Rejected("weak_key", f"The key of {name_of(certificate)} is refused: {error}.")
        except Rejected as error:
            failure = failure or error
    if not usable:
        raise failure or Indeterminate("no_trust", "None of the certificates given is one for signatures.")
    return tuple(usable)
