"""Backups, and the log after a restore: what `keystore.ceremony` does of it, and what the audit trail has to say."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from keystore import open_keystore
from keystore.backup import require_new
from keystore.ceremony import Backup, back_up, prove_officer, renew_log
from keystore.configuration import load_database_configuration
from keystore.db import open_database
from keystore.errors import CeremonyError, HsmFault, HsmUnavailable, IntegrityFailure, KeystoreError
from signer.audit.cosigned_heads import NotCosignedNow
from signer.audit.epochs import live
from signer.audit.reading import heads
from signer.audit_history import BEGIN_LOG
from signer.ceremonies import ceremony_call, officer, opened, operator
from signer.errors import SealmarkError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from signer.audit.reading import Head

BACK_UP: Final = "BackUp"


@dataclass(frozen=True, slots=True)
class BegunLog:
    """A log that took the place of another. `lost` is how many entries of that one its HSM knows and the database has
    not; None where the HSM no longer knows. `log_key` (NAME+ID+KEY) is for verifiers and witnesses."""

    origin: str
    former: str
    size: int
    root: str
    lost: int | None
    reason: str
    log_key: str = ""


def back_up_service(
    state: Path, out: Path, progress: Callable[[int, int], None] | None = None
) -> tuple[Backup, str | None]:
    """Backs the service up, and has the audit trail say so first. Returns the backup, and why the trail does not.

    A service that cannot write its trail is one that needs a backup most.
    """
    require_new(out)
    unrecorded = None
    try:
        with opened(state) as services:
            services.audit.note(operator(), BACK_UP, ceremony_call(), detail={"folder": str(out.absolute())})
            services.audit.log.publish()  # another HSM could not sign for what this one has not
    except (KeystoreError, SealmarkError) as fault:
        unrecorded = str(fault)
    return back_up(state, out, progress), unrecorded


def begin_log(state: Path, officer_pin: bytes) -> BegunLog:
    """Ends a log that cannot be gone on with, and begins another, whose entry 0 is the head at which that one ended.

    The service is stopped meanwhile. Cut short, it is run again. Raises: `CeremonyError` if it runs, or if its log can
    be gone on with.
    """
    former = _former(state)
    prove_officer(state, officer_pin)
    kept = _kept_size(state)
    reason, origin = _state_of(state, former)
    if origin is None:
        origin = renew_log(state, officer_pin)
    begun = BegunLog(
        origin=origin,
        former=former.origin,
        size=former.size,
        root=former.root.hex(),
        lost=None if kept is None else max(0, kept - former.size),
        reason=reason,
    )
    told = {"former": former.origin, "log": origin, "lost": begun.lost, "reason": reason, "size": former.size}
    with opened(state) as services:
        services.audit.note(officer(), BEGIN_LOG, ceremony_call(), detail=told)
        with suppress(NotCosignedNow):  # witnesses do not know the new log yet; the service asks them again
            services.audit.log.publish()
        services.audit.log.keep()
        return replace(begun, log_key=services.audit.log.signer.verifier_key)


def _former(state: Path) -> Head:
    if live(state / "locks"):
        raise CeremonyError(
            "the service runs: stop it first, on every machine; a log is ended when nobody writes to it"
        )
    place = load_database_configuration(state)
    database = open_database(place.url, place.password_file)
    try:
        found = heads(database)
    finally:
        database.close()
    if not found:
        raise CeremonyError("the database has no log yet: start the service, which begins it")
    return found[-1]


def _state_of(state: Path, former: Head) -> tuple[str, str | None]:
    """Why the log cannot be gone on with; and the log that an earlier attempt, cut short, has begun in its place.

    Raises: `CeremonyError` if it can be gone on with.
    """
    try:
        with opened(state) as services:
            origin = services.keystore.log.origin
            if origin != former.origin:
                return "an earlier attempt was cut short", origin
            services.audit.log.require_usable(proved=True)
            services.audit.log.publish()
            services.keystore.log.sign(b"sealmark: is the log's key here?")
    except (IntegrityFailure, HsmUnavailable, HsmFault) as fault:
        return str(fault), None
    raise CeremonyError(
        f"the log {former.origin} can be gone on with: its key is here, and nobody has seen more of it than the "
        "database has. Nothing was changed; start the service"
    )


def _kept_size(state: Path) -> int | None:
    """How many entries the HSM has seen of the log; None where it keeps no head."""
    keystore = open_keystore(state)
    try:
        return keystore.log.kept_head().size
    except (HsmUnavailable, IntegrityFailure):
        return None
    finally:
        keystore.close()
