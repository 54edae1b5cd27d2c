"""The break-glass principal `user/root`: how it comes alive, and how the service says so while it is.

It is made disabled. Only a ceremony enables it, where the HSM is, with the security officer's PIN, for some hours,
after which it is disabled again by itself; no call over HTTP can. It administers identities and keys, and never signs.

What this does not do: keep out somebody who has the service's own PIN and can write to its database. Such a one can
seal any row (docs/threat-model.md).
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from keystore.ceremony import prove_officer
from keystore.errors import CeremonyError
from signer.access import Action
from signer.access.decision import permit_ceremony
from signer.audit import Outcome
from signer.audit.records import canonical
from signer.authn.principal import ROOT
from signer.ceremonies import ceremony_call, officer, opened
from signer.people import ceremony_token, write_token

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from signer.services import Services

DEFAULT_HOURS: Final = 4
MOST_HOURS: Final = 24


def enable_root(state: Path, officer_pin: bytes, hours: int = DEFAULT_HOURS) -> datetime:
    """Enables `user/root` from now on for so many hours, also if it is enabled already; returns when that ends.

    Raises: `CeremonyError` for a PIN that the token refuses or too many hours; `AuditUnavailable` and others: then
    nothing was changed.
    """
    if not 1 <= hours <= MOST_HOURS:
        raise CeremonyError(f"hours: 1 to {MOST_HOURS}; run the ceremony again for more")
    prove_officer(state, officer_pin)
    with opened(state) as services:
        until = services.keystore.clock() + timedelta(hours=hours)
        with _recorded(services, {"state": "enabled", "until": until}):
            services.keystore.set_principal_state(ROOT, "enabled", until=until)
    return until


def disable_root(state: Path, officer_pin: bytes) -> None:
    """Disables `user/root` at once. Raises as `enable_root` does."""
    prove_officer(state, officer_pin)
    with opened(state) as services, _recorded(services, {"state": "disabled"}):
        services.keystore.set_principal_state(ROOT, "disabled")


def replace_root_token(state: Path, officer_pin: bytes, path: Path) -> None:
    """Ends the token of `user/root`, lost or used, and writes a new one to `path`, a file that is not there yet.

    Raises as `enable_root` does, and `OSError` for the file: then the old token still works.
    """
    prove_officer(state, officer_pin)
    with opened(state) as services:
        token, credential = ceremony_token(ROOT, None)
        write_token(path, token)
        try:
            with _recorded(services, {"credential": "replaced"}):
                services.keystore.replace_credentials(credential)
        except BaseException:
            path.unlink()
            raise


@contextmanager
def _recorded(services: Services, change: dict[str, object]) -> Iterator[None]:
    """The block between an intent and its outcome, as every change to a principal."""
    permit = permit_ceremony(officer(), Action.UPDATE_PRINCIPAL, None)
    intent = services.audit.open(permit, ceremony_call(), None, 1, subject=ROOT)
    try:
        yield
    except BaseException:
        services.audit.close([(intent, [Outcome(0, "failed", "internal_error")])])
        raise
    services.audit.close([(intent, [Outcome(0, "succeeded", detail=canonical(change))])])
