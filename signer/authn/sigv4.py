"""A request signed by AWS Signature Version 4 → `Principal`, with the signature kept as proof.

The signature covers method, path, query, body, the host that the client named, and whatever headers decide about the
call. Its day, region and service are this service's, its time is of the last minutes, and a request that changes
something is taken once. Decided in docs/adr/0032.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from keystore.errors import Conflict
from keystore.values import stored_json
from signer.access.duties import Duty
from signer.authn.bearer import NOBODY
from signer.authn.makers import Makers, maker_stands
from signer.authn.owners import principal_of
from signer.authn.principal import CredentialKind
from signer.authn.refused import Kind, Refused
from signer.authn.sigv4_canonical import UNSIGNED_PAYLOAD, canonical_request, signature, string_to_sign
from signer.authn.sigv4_keys import Opening, SigningKeys
from signer.authn.sigv4_request import SignedRequest, in_header, read, require_scope
from signer.authn.tokens import blanked, stored_form
from signer.errors import Replayed
from signer.kms.state_changing import changes_state

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.api import AccessKeyRecord, PrincipalRecord
    from signer.authn.principal import Principal
    from signer.call import Call

SERVICE: Final = "kms"
SKEW: Final = timedelta(minutes=5)
NONCE_LIFE: Final = timedelta(minutes=15)  # longer than any node would take the signature
# Headers that change what is done: signed wherever they are sent. Proxies add X-Request-Id, so that is left out.
DECIDING_HEADERS: Final = ("content-type", "idempotency-key", "sealmark-approval")
_READING: Final = frozenset({"GET", "HEAD"})
# Whose values may stand in a record for good. Of a request that signs others the hash alone is kept.
_RECORDED: Final = frozenset(
    {
        *("accept", "accept-encoding", "amz-sdk-invocation-id", "amz-sdk-request", "content-length", "content-type"),
        *("date", "host", "idempotency-key", "sealmark-approval", "user-agent", "x-amz-api-version"),
        *("x-amz-content-sha256", "x-amz-date", "x-amz-target", "x-amz-user-agent", "x-request-id"),
    }
)
_LONGEST_RECORDED: Final = 4096  # octets of a canonical request
_REPLAYED: Final = "this very request came before: sign it again, in another second"
_log = structlog.get_logger("sealmark.authn")


class AccessKeys(Opening, Makers, Protocol):
    """The look-ups that this kind of credential needs."""

    @property
    def region(self) -> str: ...
    def find_principal(self, name: str) -> PrincipalRecord | None: ...
    def use_nonce(self, nonce_id: str, kept_until: datetime) -> None: ...


@dataclass(frozen=True, slots=True)
class Form:
    """A canonical form of a request, and what is signed of it. There are two where the payload may be signed or not."""

    payload: str
    canonical: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call that claims to be signed, with all checked that needs no look-up. `claimed` is what only a holder of the
    secret can send."""

    call: Call
    claimed: str
    request: SignedRequest | None = None
    forms: tuple[Form, ...] = ()
    refusal: Refused | None = None


class SignatureVersion4:
    """One per worker."""

    def __init__(self, keystore: AccessKeys) -> None:
        self._keystore = keystore
        self._keys = SigningKeys(keystore)
        self._no_key = secrets.token_bytes(32)  # stands in for that of an access key that is not there

    def attempt(self, call: Call, now: datetime) -> Attempt:
        """Reads a call and checks all that needs no look-up. Never raises: `authenticate` says what is wrong."""
        presented = (call.authorization if in_header(call) else None) or call.target
        try:
            request = read(call)
            require_scope(request, self._keystore.region, SERVICE)
            _require_fresh(call, request, now)
            _require_coverage(call, request)
            forms = _forms(call, request)
        except Refused as refusal:
            return Attempt(call, presented, refusal=refusal)
        key = self._keys.remembered(request.scope)
        if key is not None and _matching(forms, request, key) is not None:
            # An id is public. With a signature that is right and of now it is its holder's: whoever saw a request can
            # only send that very request again, which is no failure.
            presented = pass_of(request.scope.access_key_id)
        return Attempt(call, presented, request, forms)

    def authenticate(self, attempt: Attempt, now: datetime) -> Principal:
        """The principal whose access key signed the call. Raises `Refused`, `Replayed`."""
        call, request = attempt.call, attempt.request
        if request is None:
            raise attempt.refusal or Refused("the call is not signed")
        record = self._keystore.find_access_key(request.scope.access_key_id)
        owner = self._keystore.find_principal(record.principal if record else NOBODY)
        key = self._keys.of(record, request.scope) if record else self._no_key
        form = _matching(attempt.forms, request, key)  # also with the key of an access key that is not there
        if record is None:
            raise Refused(f"there is no access key {request.scope.access_key_id}")
        if form is None:
            raise Refused(f"the signature is not that of the access key {record.id} over this call", Kind.WRONG)
        self._require_in_use(record, request, now)
        if owner is not None and Duty(owner.duty) is Duty.ROOT:
            raise Refused("break glass has no access keys")
        name, proof = f"access-key:{record.id}", _proof(request, form, record)
        principal = principal_of(owner, now, name, CredentialKind.ACCESS_KEY, proof, record.expires_at)
        if _changes_something(call):
            self._take_once(call, request)
        return principal

    def _require_in_use(self, record: AccessKeyRecord, request: SignedRequest, now: datetime) -> None:
        """Asked only of who has the secret. Raises `Refused`."""
        given, stored = request.session_token, record.session_token_hash
        if (given is None) != (stored is None):
            raise Refused(f"the access key {record.id} goes {'without' if stored is None else 'with'} a session token")
        if given is not None and not hmac.compare_digest(stored_form(given).digest, stored or b""):
            raise Refused(f"the session token is not that of the access key {record.id}")
        if record.state != "enabled":
            raise Refused(f"the access key {record.id} is {record.state}")
        if record.expires_at <= now:
            kind = Kind.EXPIRED if record.is_temporary else Kind.UNKNOWN
            raise Refused(f"the access key {record.id} is over", kind)
        if not maker_stands(record, self._keystore, now):
            raise Refused(f"what made the access key {record.id} has ended: {record.made_with}", Kind.EXPIRED)

    def _take_once(self, call: Call, request: SignedRequest) -> None:
        nonce = hashlib.sha256(f"{request.scope.access_key_id}\0{request.signature}".encode()).hexdigest()
        if call.trace.nonce == nonce:
            return  # the same call, authenticated for a second step of it
        try:
            self._keystore.use_nonce(nonce, request.moment + NONCE_LIFE)
        except Conflict as used:
            _log.warning("request_replayed", access_key=request.scope.access_key_id, source=call.source)
            raise Replayed(_REPLAYED, retry_after=1) from used
        call.trace.nonce = nonce


def pass_of(access_key_id: str) -> str:
    """What the throttle remembers of an access key that was right."""
    return f"access-key/{access_key_id}"


def _forms(call: Call, request: SignedRequest) -> tuple[Form, ...]:
    """What may have been signed of this call. Raises `Refused`."""
    if not call.target.startswith("/"):
        raise Refused("the request target is not a path", Kind.INCOMPLETE)
    if absent := [name for name in request.signed_headers if name not in call.headers]:
        words = f"Header '{absent[0]}' is signed, and not in the request."
        raise Refused(f"the signature covers headers that did not come: {absent[:5]}", Kind.WRONG, words)
    found = []
    for payload in _payloads(call, request):
        try:
            target = call.target.encode("latin-1")
            canonical = canonical_request(call.method, target, call.headers, request.signed_headers, payload)
        except UnicodeEncodeError as error:
            raise Refused("the request holds what no request can", Kind.INCOMPLETE) from error
        found.append(Form(payload, canonical, string_to_sign(request.moment_text, request.scope.signed, canonical)))
    return tuple(found)


def _payloads(call: Call, request: SignedRequest) -> tuple[str, ...]:
    """What may stand for the body in what is signed: its hash; where there is no body and the request is presigned,
    UNSIGNED-PAYLOAD too. Raises `Refused` where X-Amz-Content-Sha256 says anything else."""
    own = hashlib.sha256(call.body).hexdigest()
    usable = (own,) if request.life is None or call.body else (own, UNSIGNED_PAYLOAD)
    said = call.headers.get("x-amz-content-sha256")
    if said is None:
        return usable
    if said not in usable:
        words = "The provided 'x-amz-content-sha256' header does not match what was computed."
        raise Refused("X-Amz-Content-Sha256 is not the SHA-256 of the body", Kind.WRONG, words)
    return (said,)


def _matching(forms: tuple[Form, ...], request: SignedRequest, key: bytes) -> Form | None:
    """The form that was signed with this key."""
    found = [form for form in forms if hmac.compare_digest(signature(key, form.text), request.signature)]
    return found[0] if found else None


def _require_fresh(call: Call, request: SignedRequest, now: datetime) -> None:
    """A signature lives for the skew, either way. A presigned one lives as long as it says, but only for reading: one
    with a body, or that changes something, lives no longer than any other. Raises `Refused`."""
    life = SKEW
    if request.life is not None:
        reading = call.method in _READING and not call.body
        life = request.life if reading else min(request.life, SKEW)
    moment = request.moment
    if moment > now + SKEW:
        words = f"Signature not yet current: {request.moment_text} is still later than {_shown(now + SKEW)}"
        raise Refused("the signature is of a time to come", Kind.WRONG, words)
    if moment + life < now:
        words = f"Signature expired: {request.moment_text} is now earlier than {_shown(now - life)}"
        raise Refused("the signature is too old", Kind.WRONG, words)


def _shown(moment: datetime) -> str:
    return moment.strftime("%Y%m%dT%H%M%SZ")


def _require_coverage(call: Call, request: SignedRequest) -> None:
    """Raises `Refused` unless everything is signed that decides about the call."""
    required = {"host", *(name for name in DECIDING_HEADERS if name in call.headers)}
    # X-Amz-Content-Sha256 says nothing that is not signed: it is the hash of the body, or refused.
    required |= {name for name in call.headers if name.startswith("x-amz-")} - {"x-amz-content-sha256"}
    if "x-amz-date" not in call.headers and request.life is None:
        required.add("date")
    if missing := sorted(required - set(request.signed_headers)):
        words = f"'{missing[0]}' must be a 'SignedHeader' in the AWS Authorization."
        raise Refused(f"the signature does not cover {', '.join(missing)[:200]}", Kind.WRONG, words)


def _changes_something(call: Call) -> bool:
    """Of this service's own calls, all but looking; of AWS's, those that change what is stored."""
    if call.method in _READING:
        return False
    if call.target.partition("?")[0] == "/":
        return changes_state(call.headers.get("x-amz-target", ""))
    return True


def _proof(request: SignedRequest, form: Form, record: AccessKeyRecord) -> str:
    """What whoever has the secret needs to compute the signature again (docs/access-keys.md). Nothing in it is
    secret."""
    found: dict[str, object] = {
        "access_key": record.id,
        "payload": form.payload,
        "scope": request.scope.signed,
        "signature": request.signature,
        "signed_headers": ";".join(request.signed_headers),
        "string_to_sign": form.text,
    }
    canonical = form.canonical.decode("latin-1")
    in_query = request.life is not None and request.session_token is not None
    plain = _RECORDED.issuperset(request.signed_headers) and not in_query and blanked(canonical) == canonical
    if plain and len(canonical) <= _LONGEST_RECORDED:
        found["canonical_request"] = canonical
    if record.facts is not None:
        found["session"] = json.loads(record.facts)
    return stored_json(found)
