"""The one door: whatever credential a call carries, one principal comes out, or one refusal.

A call carries exactly one kind of credential. Two of them might speak for two principals, and whichever was taken, the
other one's holder would be surprised; so that is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from signer.access.duties import Duty
from signer.authn.bearer import authenticate
from signer.errors import Unauthenticated

if TYPE_CHECKING:
    from keystore.keystore import Keystore
    from signer.authn.principal import Principal
    from signer.authn.throttle import Throttle
    from signer.call import Call

_log = structlog.get_logger("sealmark.authn")


class Authenticator:
    """One per worker."""

    def __init__(self, keystore: Keystore, throttle: Throttle) -> None:
        self._keystore = keystore
        self._throttle = throttle

    def authenticate(self, call: Call) -> Principal:
        """The caller.

        Raises: `Unauthenticated`, with the same message for everything that is wrong; `TooManyRequests` before
        anything is looked up.
        """
        self._throttle.admit(call.source, call.authorization)
        try:
            principal = self._proved(call)
        except Unauthenticated:
            self._throttle.failed(call.source, call.authorization)
            raise
        self._throttle.succeeded(call.authorization)
        if principal.duty is Duty.ROOT:
            _report_root(principal, call)
        return principal

    def _proved(self, call: Call) -> Principal:
        return authenticate(call.authorization, self._keystore, self._keystore.clock())


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
