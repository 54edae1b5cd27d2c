"""The one door: whatever credential a call carries, one principal comes out, or one refusal.

A call carries exactly one kind of credential. Two of them might speak for two principals, and whichever was taken, the
other one's holder would be surprised; so that is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from signer.access.duties import Duty
from signer.authn import bearer, certificate, signed_request, sigv4_request
from signer.authn.refused import Refused
from signer.authn.sigv4 import SignatureVersion4, pass_of
from signer.errors import Unauthenticated

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.keystore import Keystore
    from signer.authn.principal import Principal
    from signer.authn.sigv4 import Attempt
    from signer.authn.throttle import Throttle
    from signer.call import Call
    from signer.callers import KnownCallers

REFUSAL: Final = "the call does not carry exactly one credential that is valid: a token, a certificate or a signature"
_log = structlog.get_logger("sealmark.authn")


class Authenticator:
    """One per worker."""

    def __init__(self, keystore: Keystore, throttle: Throttle, callers: KnownCallers) -> None:
        self._keystore = keystore
        self._throttle = throttle
        self._callers = callers
        self._sigv4 = SignatureVersion4(keystore)

    def authenticate(self, call: Call) -> Principal:
        """The caller.

        Raises: `Unauthenticated`, with the same message for everything that is wrong; `TooManyRequests` before
        anything is looked up.
        """
        now = self._keystore.clock()
        attempt = self._sigv4.attempt(call, now) if sigv4_request.is_signed(call) else None
        claimed = _claimed(call) if attempt is None else attempt.claimed
        self._throttle.admit(call.source, claimed)
        try:
            principal = self._proved(call, attempt, now)
        except Unauthenticated:
            self._throttle.failed(call.source, claimed)
            self._callers.forgotten(call)
            raise
        self._throttle.succeeded(_pass(claimed, attempt))
        self._callers.learnt(call, principal.name)
        if principal.duty is Duty.ROOT:
            _report_root(principal, call)
        return principal

    def _proved(self, call: Call, attempt: Attempt | None, now: datetime) -> Principal:
        signed, certified = signed_request.is_signed(call), call.client_certificate is not None
        bearing = call.authorization is not None and not sigv4_request.in_header(call)
        if not signed and not certified and attempt is None:
            return bearer.authenticate(call.authorization, self._keystore, now)
        try:
            if signed + certified + bearing + (attempt is not None) > 1:
                raise Refused("two kinds of credentials in one call")
            if attempt is not None:
                return self._sigv4.authenticate(attempt, now)
            if call.client_certificate is not None:
                return certificate.authenticate(call.client_certificate, self._keystore, now)
            return signed_request.authenticate(call, self._keystore, now)
        except Refused as reason:
            _log.warning("credential_refused", reason=str(reason), source=call.source, request_id=call.request_id)
            raise Unauthenticated(REFUSAL, kind=reason.kind, words=reason.words) from reason


def _claimed(call: Call) -> str | None:
    """What came that only a credential's holder can send; None where nothing came."""
    if call.authorization is not None:
        return call.authorization
    if call.client_certificate is not None:
        return call.client_certificate.hex()
    return call.headers.get("signature")


def _pass(claimed: str | None, attempt: Attempt | None) -> str | None:
    """What is let through from now on: a credential as it was presented; of an access key, whose every request has
    another signature, the key itself, which `SignatureVersion4.attempt` claims for nobody but its holder."""
    if attempt is None or attempt.request is None:
        return claimed
    return pass_of(attempt.request.scope.access_key_id)


def _report_root(principal: Principal, call: Call) -> None:
    """Nobody uses break glass unseen: not even for a look at something, or for what is then refused."""
    _log.warning(
        "break_glass_used",
        alarm=True,
        principal=principal.name,
        credential=principal.credential,
        source=call.source,
        method=call.method,
        path=call.target.partition("?")[0],
        request_id=call.request_id,
    )
