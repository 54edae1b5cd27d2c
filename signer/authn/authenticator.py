"""The one door: whatever credential a call carries, one principal comes out, or one refusal.

A call carries exactly one kind of credential. Two of them might speak for two principals, and whichever was taken, the
other one's holder would be surprised; so that is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from signer.authn import bearer, certificate, signed_request
from signer.authn.refused import Refused
from signer.errors import Unauthenticated

if TYPE_CHECKING:
    from keystore.keystore import Keystore
    from signer.authn.principal import Principal
    from signer.call import Call

REFUSAL: Final = "the call does not carry exactly one credential that is valid: a token, a certificate or a signature"
_log = structlog.get_logger("sealmark.authn")


class Authenticator:
    """One per worker."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore

    def authenticate(self, call: Call) -> Principal:
        """The caller. Raises `Unauthenticated`, with the same message for everything that is wrong."""
        signed, certified = signed_request.is_signed(call), call.client_certificate is not None
        if not signed and not certified:
            return bearer.authenticate(call.authorization, self._keystore, self._keystore.clock())
        try:
            if signed + certified + (call.authorization is not None) > 1:
                raise Refused("two kinds of credentials in one call")
            if call.client_certificate is not None:
                return certificate.authenticate(call.client_certificate, self._keystore, self._keystore.clock())
            return signed_request.authenticate(call, self._keystore, self._keystore.clock())
        except Refused as reason:
            _log.warning("credential_refused", reason=str(reason), source=call.source, request_id=call.request_id)
            raise Unauthenticated(REFUSAL) from reason
