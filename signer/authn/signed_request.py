"""A signed request (HTTP Message Signatures, RFC 9421) → `Principal`, with the signature kept as proof.

The signature must cover what decides about the call: method, authority, target, body and the headers that change what
is done; `created` must be of the last minutes and `nonce` new. The library (`http-message-signatures`) parses the
fields, builds the signature base and verifies; which key, which algorithm, what must be covered and whether it is fresh
is decided here, by the service's own clock.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

import http_sf
from cryptography.hazmat.primitives.asymmetric import ec
from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageVerifier,
    MappingKeyResolver,
    VerifyResult,
)

from keystore.api import CredentialMatch
from keystore.errors import Conflict
from keystore.values import stored_json
from signer.authn.certificate import is_usable
from signer.authn.owners import principal_of
from signer.authn.principal import CredentialKind
from signer.authn.refused import Refused
from signer.authn.request_keys import ALGORITHMS, UnusableKey, algorithm_of, fingerprint, load_public_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystore.api import PrincipalRecord, PublicCredentialRecord
    from signer.authn.principal import Principal
    from signer.authn.request_keys import RequestKey
    from signer.call import Call

TAG: Final = "sealmark"
MAXIMUM_AGE: Final = timedelta(minutes=5)
LEEWAY: Final = timedelta(seconds=30)  # for clocks that differ
NONCE_LIFE: Final = timedelta(minutes=15)  # longer than any node would take the signature
SHORTEST_NONCE: Final = 16
LONGEST_NONCE: Final = 128
LONGEST_KEYID: Final = 64
# Headers that change what is done or what is recorded: covered wherever they are sent.
DECIDING_HEADERS: Final = ("idempotency-key", "sealmark-approval", "x-request-id")
# The signature base is recorded for good, so nothing that might hold a secret may be covered.
COVERABLE: Final = frozenset(
    {
        *("@method", "@authority", "@scheme", "@target-uri", "@request-target", "@path", "@query"),
        *("accept", "content-digest", "content-length", "content-type", "date", "host", "user-agent"),
        *DECIDING_HEADERS,
    }
)
# Stands in for a key that is not there, so that the same work is done.
_NO_KEY: Final = ec.generate_private_key(ec.SECP256R1()).public_key()
_NO_ALGORITHM: Final = "ecdsa-p256-sha256"


class RequestKeys(Protocol):
    """The look-ups that this kind of credential needs."""

    def find_public_credential(self, credential_id: str) -> PublicCredentialRecord | None: ...
    def find_principal(self, name: str) -> PrincipalRecord | None: ...
    def use_nonce(self, nonce_id: str, kept_until: datetime) -> None: ...


@dataclass(frozen=True, slots=True)
class Claim:
    """What a signature says of itself, before anything is verified."""

    label: str
    tagged: bool
    keyid: str
    nonce: str
    created: datetime


class _Verifier(HTTPMessageVerifier):
    """The library's, but for its clock: times are checked by `_require_fresh`."""

    def validate_created_and_expires(self, sig_input: object, max_age: object = None) -> None:
        """Nothing: done already."""


@dataclass(frozen=True, slots=True)
class _Message:
    """A request in the shape that the library reads."""

    method: str
    url: str
    headers: Mapping[str, str]


def is_signed(call: Call) -> bool:
    """Whether the call claims to be signed: one of the two fields is enough."""
    return "signature" in call.headers or "signature-input" in call.headers


def authenticate(call: Call, keys: RequestKeys, now: datetime) -> Principal:
    """The principal whose key signed the call. Raises `Refused`."""
    claim = _only_claim(call, now)
    record = keys.find_public_credential(claim.keyid)
    if record is not None and record.match is not CredentialMatch.REQUEST_KEY:
        record = None
    owner = keys.find_principal(record.principal if record else "user/nobody")
    key, algorithm = _key_of(record)
    verified = _verify(call, claim, key, algorithm)  # also for a key that is not there
    if record is None:
        raise Refused(f"there is no request key {claim.keyid}")
    if not is_usable(record, now):
        raise Refused(f"the request key {record.id} is revoked or over")
    if verified is None:
        raise Refused(f"the signature is not that of the request key {record.id} over this call")
    proof = _proof(call, verified, record)
    principal = principal_of(owner, now, f"signed-request:{record.id}", CredentialKind.SIGNED_REQUEST, proof)
    try:
        keys.use_nonce(_nonce_id(record.id, claim.nonce), claim.created + NONCE_LIFE)
    except Conflict as used:
        raise Refused(f"the nonce was used before with the request key {record.id}") from used
    return principal


def signature_base(verified: VerifyResult) -> str:
    """The octets that were signed, as text (RFC 9421 section 2.5)."""
    return "\n".join(f"{name}: {value}" for name, value in verified.covered_components.items())


def _only_claim(call: Call, now: datetime) -> Claim:
    """The one signature that is for this service, its form and coverage checked. Raises `Refused`."""
    inputs = _dictionary(call.headers.get("signature-input"), "Signature-Input")
    ours = {label: one for label, one in inputs.items() if one[1].get("tag") == TAG}
    found = ours or {label: one for label, one in inputs.items() if "tag" not in one[1]}
    if len(found) != 1 or (not ours and len(inputs) != 1):
        raise Refused(f"{len(inputs)} signatures, {len(ours)} of them tagged {TAG!r}: exactly one must be meant")
    ((label, (components, parameters)),) = found.items()
    _require_coverage(call, components)
    keyid, nonce = parameters.get("keyid"), parameters.get("nonce")
    # By type, not isinstance: a Token is another thing than a String (RFC 8941 sections 3.3.3 and 3.3.4).
    if type(keyid) is not str or not 0 < len(keyid) <= LONGEST_KEYID:
        raise Refused("keyid is missing or is no request key's id")
    if type(nonce) is not str or not SHORTEST_NONCE <= len(nonce) <= LONGEST_NONCE:
        raise Refused(f"nonce is missing or not of {SHORTEST_NONCE} to {LONGEST_NONCE} characters")
    created = _require_fresh(parameters, now)
    return Claim(label, bool(ours), keyid, nonce, created)


def _dictionary(value: str | None, name: str) -> dict[str, tuple[Any, dict[str, Any]]]:
    """A dictionary's members with their parameters (RFC 8941 section 3.2); one that names a member twice is refused."""

    def refuse(key: str, _context: str) -> None:
        raise Refused(f"{name} has {key!r} twice")

    try:
        parsed: Any = http_sf.parse((value or "").encode("ascii"), tltype="dictionary", on_duplicate_key=refuse)
    except ValueError as error:
        raise Refused(f"{name} is no dictionary") from error
    return dict(parsed)


def _require_coverage(call: Call, components: object) -> None:
    if not isinstance(components, list):
        raise Refused("Signature-Input holds no list of components")
    covered = [name for name, parameters in components if type(name) is str and not parameters]
    if len(covered) != len(components) or len(set(covered)) != len(covered):
        raise Refused("a covered component is repeated, has parameters or is no text")
    if foreign := set(covered) - COVERABLE:
        raise Refused(f"the signature covers what is not recorded: {', '.join(sorted(foreign))[:200]!r}")
    required = {"@method", "@authority", *(name for name in DECIDING_HEADERS if name in call.headers)}
    if call.body or "content-digest" in call.headers:
        required.add("content-digest")
    missing = required - set(covered)
    if missing or not ("@target-uri" in covered or {"@path", "@query"} <= set(covered)):
        raise Refused(
            f"the signature does not cover {', '.join(sorted(missing)) or '@target-uri, or @path and @query'}"
        )


def _require_fresh(parameters: Mapping[str, object], now: datetime) -> datetime:
    """`created`, which must be of the last minutes; `expires`, where it is said, must be to come."""
    created = _moment(parameters.get("created"))
    if created is None or not now - MAXIMUM_AGE - LEEWAY <= created <= now + LEEWAY:
        raise Refused("created is missing, or not of the last minutes")
    if "expires" in parameters:
        expires = _moment(parameters["expires"])
        if expires is None or expires <= max(created, now - LEEWAY):
            raise Refused("expires is over")
    return created


def _moment(seconds: object) -> datetime | None:
    if type(seconds) is not int:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _key_of(record: PublicCredentialRecord | None) -> tuple[RequestKey, str]:
    """The registered key and its algorithm; another key where there is none."""
    if record is None or record.public_key is None or record.algorithm is None:
        return _NO_KEY, _NO_ALGORITHM
    try:
        key = load_public_key(record.public_key)
    except UnusableKey as error:  # registered when it was still in the closed table
        raise Refused(f"the request key {record.id} is no longer one that may be used") from error
    if record.algorithm != algorithm_of(key):
        raise Refused(f"the request key {record.id} has another algorithm than its kind")
    return key, record.algorithm


def _verify(call: Call, claim: Claim, key: RequestKey, algorithm: str) -> VerifyResult | None:
    """What was verified; None where the signature or the body's digest is wrong."""
    if not call.target.startswith("/"):
        raise Refused("the request target is not a path")
    scheme = "https" if call.secure else "http"
    message = _Message(call.method, f"{scheme}://{call.headers.get('host', '')}{call.target}", call.headers)
    verifier = _Verifier(
        signature_algorithm=ALGORITHMS[algorithm],
        key_resolver=MappingKeyResolver(public_keys={claim.keyid: key}, private_keys={}),
    )
    try:
        results = verifier.verify(message, max_age=None, expect_tag=TAG if claim.tagged else None, body=call.body)
    except HTTPMessageSignaturesException:
        return None
    (verified,) = results
    if verified.label != claim.label or verified.parameters.get("keyid") != claim.keyid:
        raise Refused("another signature was verified than the one that is meant")
    return verified


def _nonce_id(key_id: str, nonce: str) -> str:
    return hashlib.sha256(f"{key_id}\0{nonce}".encode()).hexdigest()


def _proof(call: Call, verified: VerifyResult, record: PublicCredentialRecord) -> str:
    """All that a third party with the public key needs to check the signature again (docs/credentials.md)."""
    signature, _ = _dictionary(call.headers.get("signature"), "Signature")[verified.label]
    return stored_json(
        {
            "algorithm": record.algorithm,
            "keyid": record.id,
            "public_key_sha256": fingerprint(record.public_key or b""),
            "signature": base64.b64encode(signature).decode(),
            "signature_base": signature_base(verified),
        }
    )
