"""Whose a credential turned out to be, known again before it is looked up: for sharing a busy worker out, nothing else.

Nobody is let in by it. What is remembered is Python's keyed hash of a mark, whose key dies with the process: of a token
as it was presented, which only its holder can send; of a signature's key id together with the address it came from,
since the id alone is public, and whoever named another's would be taken for it. A mark is learnt when a credential was
found right and forgotten when it is found wrong. So who makes credentials up is a stranger, whatever it varies, and
strangers from one network share one place.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from signer.admission import Caller
from signer.authn.throttle import network_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from signer.call import Call

_PLACES: Final = 4_096
_ACCESS_KEY: Final = re.compile(r"Credential=([A-Za-z0-9]{1,128})/")
_KEY_ID: Final = re.compile(r'keyid="([^"]{1,256})"')
_READS: Final = frozenset({"GET", "HEAD"})
_HEALTH: Final = frozenset({"/healthz", "/readyz"})


class KnownCallers:
    """One per worker. Safe to use from many threads."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}

    def learnt(self, call: Call, principal: str) -> None:
        """The call's credential is this principal's."""
        mark = _mark_of(call)
        if mark is None or self._names.get(mark) == principal:
            return
        names = self._names
        if len(names) >= _PLACES:
            self._names = names = {}  # whoever comes again is known again
        names[mark] = principal

    def forgotten(self, call: Call) -> None:
        """The call's credential was wrong."""
        mark = _mark_of(call)
        if mark is not None:
            self._names.pop(mark, None)

    def caller_of(
        self, method: str, target: str, source: str, headers: Mapping[str, str], certificate: bytes | None = None
    ) -> Caller:
        """Whose request this looks like. `headers` by their lower-case names."""
        reads = method in _READS
        mark = _mark(headers.get("authorization"), headers, source, certificate)
        if mark is None and reads and target in _HEALTH:
            return Caller("health", reads=True, health=True)
        name = None if mark is None else self._names.get(mark)
        if name is None:
            return Caller(network_of(source), reads=reads)
        return Caller(name, known=True, reads=reads)


def _mark_of(call: Call) -> int | None:
    return _mark(call.authorization, call.headers, call.source, call.client_certificate)


def _mark(authorization: str | None, headers: Mapping[str, str], source: str, certificate: bytes | None) -> int | None:
    """Keyed hash of what tells a credential from others; None where there is none."""
    if authorization is not None:
        key = _ACCESS_KEY.search(authorization) if authorization.startswith("AWS4") else None
        return hash(authorization) if key is None else hash((key[1], source))
    if certificate is not None:
        return hash(certificate)  # TLS has proved that its key is there
    signed = headers.get("signature-input")
    key = None if signed is None else _KEY_ID.search(signed)
    return None if key is None else hash((key[1], source))
