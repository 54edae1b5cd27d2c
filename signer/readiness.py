"""Which part of the service can be used now: HSM, database, audit trail, certificates, configuration.

Each part is looked at for real, by a thread of its own: one that does not come back (a hung HSM) is a part that does
not answer, and says nothing of the others. However many ask at the same moment, each part is looked at once. What is
told is a code and fixed words, nothing of the reason: anybody may ask; the reason is in the service's log.

A warning keeps nobody away: the service signs on with a configuration on the disk that it could not start with, or with
a certificate that ends soon.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import structlog

from keystore import survey
from keystore.db import patience
from keystore.errors import HsmUnavailable, IntegrityFailure, KeystoreError
from signer.config import load_server_configuration
from signer.errors import ConfigurationError, SealmarkError, ServiceUnavailable
from signer.logs import place_of
from signer.problems import code_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from keystore.keystore import Keystore
    from signer.audit import AuditTrail
    from signer.config import ServerConfiguration

READY: Final = "ready"
WARNING: Final = "warning"
NOT_READY: Final = "not_ready"
PARTS: Final = ("database", "hsm", "audit", "certificates", "configuration")
ANSWER_SECONDS: Final = 1.0  # for all parts together
SOON: Final = timedelta(days=14)
_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "hsm_unavailable": "the HSM cannot be used just now",
        "hsm_fault": "the HSM is not as the ceremony left it",
        "store_unavailable": "the database cannot be used just now",
        "integrity_failure": "a stored record or the log failed its integrity check",
        "audit_unavailable": "the audit trail cannot be written just now",
        "not_found": "a record that every service has is missing",
        "no_answer": "it does not answer",
        "internal_error": "something went wrong inside",
        "authority_ended": "the authority's certificate has ended or is not valid yet; or the clock is wrong",
        "certificates_end": "a certificate has ended, or ends within 14 days",
        "revocation_list_ended": "the revocation list has ended",
        "configuration_changed": "the settings on the disk are not those that this worker began with",
        "configuration_unusable": "no worker can start with the settings on the disk",
    }
)
_log = structlog.get_logger("sealmark.health")


@dataclass(frozen=True, slots=True)
class Part:
    """One part: `status` is ready, warning or not_ready; why, as a code and in words, where it is not ready."""

    status: str
    code: str | None = None

    @property
    def words(self) -> str | None:
        return None if self.code is None else _WORDS.get(self.code, _WORDS["internal_error"])

    def described(self) -> dict[str, str]:
        """As it is told."""
        members = {"status": self.status, "code": self.code, "words": self.words}
        return {name: value for name, value in members.items() if value is not None}


class NotReady(ServiceUnavailable):
    """At least one part cannot be used; `parts` says of each what is so."""

    def __init__(self, parts: Mapping[str, Part]) -> None:
        unusable = [name for name, part in parts.items() if part.status == NOT_READY]
        super().__init__(f"not usable: {', '.join(unusable)}")
        self.parts = {name: part.described() for name, part in parts.items()}


class Readiness:
    """One per worker."""

    def __init__(self, keystore: Keystore, audit: AuditTrail, configuration: ServerConfiguration, state: Path) -> None:
        self._keystore = keystore
        self._audit = audit
        self._configuration = configuration
        self._state = state
        looks = (self._database, self._hsm, self._audit_trail, self._certificates, self._settings)
        self._parts = {name: _Watched(name, look) for name, look in zip(PARTS, looks, strict=True)}

    def look(self) -> dict[str, Part]:
        """Every part as it is now."""
        for part in self._parts.values():
            part.begin()
        deadline = monotonic() + ANSWER_SECONDS
        return {name: part.end(deadline) for name, part in self._parts.items()}

    def require(self) -> dict[str, Part]:
        """The same. Raises `NotReady` if a part cannot be used."""
        parts = self.look()
        if any(part.status == NOT_READY for part in parts.values()):
            raise NotReady(parts)
        return parts

    def _database(self) -> Part:
        with survey.reading(self._keystore.database) as rows:
            survey.schema_version(rows)
        with suppress(HsmUnavailable):  # the seal could not be checked: the HSM says so itself
            self._keystore.require_deployment()
        return Part(READY)

    def _hsm(self) -> Part:
        self._keystore.ready()
        return Part(READY)

    def _audit_trail(self) -> Part:
        self._audit.probe()
        return Part(READY)

    def _certificates(self) -> Part:
        now = self._keystore.clock()
        with survey.reading(self._keystore.database) as rows:
            authority = survey.authority_validity(rows)
            crl = survey.revocation_list_end(rows)
            ending = survey.ending_certificates(rows, now, SOON, 1)
        if authority is not None and not authority[0] <= now < authority[1]:
            return Part(NOT_READY, "authority_ended")
        if crl is not None and crl <= now:
            return Part(WARNING, "revocation_list_ended")
        return Part(WARNING, "certificates_end") if ending else Part(READY)

    def _settings(self) -> Part:
        if not (self._state / "sealmark.toml").exists():
            return Part(READY)  # put together without a file, as tests do
        try:
            found = load_server_configuration(self._state)
        except ConfigurationError as fault:
            _log.warning("configuration_unusable", alarm=True, reason=str(fault))
            return Part(WARNING, "configuration_unusable")
        return Part(READY) if found == self._configuration else Part(WARNING, "configuration_changed")


class _Watched:
    """A part, and the thread that looks at it just now."""

    def __init__(self, name: str, look: Callable[[], Part]) -> None:
        self._name = name
        self._look = look
        self._changed = threading.Condition()
        self._looking = False
        self._found = Part(NOT_READY, "no_answer")

    def begin(self) -> None:
        """Begins to look, unless somebody is at it."""
        with self._changed:
            if self._looking:
                return
            self._looking = True
        threading.Thread(target=self._run, name=f"readiness-{self._name}", daemon=True).start()

    def end(self, deadline: float) -> Part:
        """What was found; by `deadline` (of `time.monotonic`)."""
        with self._changed:
            if self._changed.wait_for(lambda: not self._looking, max(0.0, deadline - monotonic())):
                return self._found
        return Part(NOT_READY, "no_answer")

    def _run(self) -> None:
        found = Part(NOT_READY, "internal_error")
        try:
            with patience.limited():
                found = self._look()
        except (KeystoreError, SealmarkError) as fault:
            code = _code(fault)
            found = Part(NOT_READY, code)
            with suppress(OSError):
                _log.error("not_ready", alarm=True, part=self._name, code=code, reason=str(fault))
        except Exception as fault:  # noqa: BLE001 - whatever it is, the part cannot be used
            with suppress(OSError):  # words of an unforeseen exception may hold anything
                _log.error("not_ready", alarm=True, part=self._name, kind=type(fault).__name__, place=place_of(fault))
        finally:
            with self._changed:
                self._found, self._looking = found, False
                self._changed.notify_all()


def _code(fault: KeystoreError | SealmarkError) -> str:
    """The trail says that it cannot be written; that the log does not continue is worth a code of its own."""
    cause = fault.__cause__
    return code_of(cause) if isinstance(cause, IntegrityFailure) else code_of(fault)
