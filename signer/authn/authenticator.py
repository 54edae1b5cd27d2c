"""The one door: whatever credential a call carries, one principal comes out, or one refusal.

A call carries exactly one kind of credential. Two of them might speak for two principals, and whichever was taken, the
other one's holder would be surprised; so that is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from signer.authn.bearer import authenticate

if TYPE_CHECKING:
    from keystore.keystore import Keystore
    from signer.authn.principal import Principal
    from signer.call import Call


class Authenticator:
    """One per worker."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore

    def authenticate(self, call: Call) -> Principal:
        """The caller. Raises `Unauthenticated`, with the same message for everything that is wrong."""
        return authenticate(call.authorization, self._keystore, self._keystore.clock())
