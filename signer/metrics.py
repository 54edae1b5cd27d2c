"""The figures of the service as Prometheus reads them, and the only module that knows its library.

Figures are kept by `keystore.measures`, shared between workers by `signer.figures`; what the database says is asked of
it here, and no more often than every few seconds. A label is an action, a code, a function of PKCS#11, a part, or a
key's id: nothing of a caller.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import timedelta
from importlib import metadata
from time import monotonic
from typing import TYPE_CHECKING, Final

import structlog
from cryptography import x509
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from keystore import survey
from keystore.errors import KeystoreError
from keystore.measures import BOUNDS
from signer.measuring import know_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from prometheus_client.core import Metric

    from keystore.keystore import Keystore
    from keystore.survey import Rows
    from signer.config import ServerConfiguration
    from signer.figures import Gathered, SharedFigures

_SURVEY_SECONDS: Final = 5.0  # how old what the database said may be
_SLOW_SECONDS: Final = 60.0  # the same of what grows with the number of keys
_ENDING: Final = timedelta(days=60)  # certificates that end later have no series of their own
_MOST_CERTIFICATES: Final = 50
_log = structlog.get_logger("sealmark.metrics")


@dataclass(frozen=True, slots=True)
class Family:
    """One family of figures: its name without the prefix, and what its labels are called."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


PREFIX: Final = "sealmark_"
# By the name under which `keystore.measures` counts them.
COUNTERS: Final[Mapping[str, Family]] = {
    "refusals": Family("refusals", "Calls refused or failed, by the code of the problem.", ("operation", "code")),
    "key_calls": Family(
        "key_calls", "Calls that named a key, by its id; `other`: all keys beyond the first.", ("key_id", "outcome")
    ),
    "items": Family(
        "items", "Items of calls that sign, that were made or could not be made as asked.", ("operation", "outcome")
    ),
    "hsm_errors": Family("hsm_errors", "PKCS#11 calls that failed for good.", ("function", "code")),
    "hsm_reconnects": Family("hsm_reconnects", "Times that a worker initialised the module and logged in anew."),
    "opened_key_uses": Family("opened_key_uses", "Uses of unwrapped keys: hit, or miss: unwrapped anew.", ("result",)),
    "database_errors": Family("database_errors", "Errors of the database's driver, by their class.", ("kind",)),
    "line_groups": Family("commits", "Transactions that calls shared, by the line that they stood in.", ("line",)),
}
HISTOGRAMS: Final[Mapping[str, Family]] = {
    "call_seconds": Family(
        "call_seconds", "From the moment a call was read until its answer was made.", ("operation", "outcome")
    ),
    "hsm_seconds": Family("hsm_seconds", "Time in the PKCS#11 module.", ("function",)),
    "line_seconds": Family(
        "commit_wait_seconds", "From standing in line until what was written is durable.", ("line",)
    ),
    "database_seconds": Family("database_seconds", "Transactions that write, with the wait for their turn.", ("kind",)),
}
# Of each living worker. How several make one: added up, or the least of them.
GAUGES: Final[Mapping[str, tuple[Family, str]]] = {
    "calls_in_flight": (Family("calls_in_flight", "Calls that are being worked on."), "sum"),
    "calls_in_lane": (Family("calls_in_lane", "The same, of calls that one thread takes on together."), "sum"),
    "calls_waiting": (Family("calls_waiting", "Calls that wait for a place in a worker."), "sum"),
    "line_waiting": (Family("commit_waiting", "Calls that stand in line to be written.", ("line",)), "sum"),
    "audit_overdue": (Family("audit_overdue", "Outcomes that could not be written in time, and still wait."), "sum"),
    "hsm_sessions": (Family("hsm_sessions", "Signing sessions with the HSM."), "sum"),
    "hsm_sessions_free": (Family("hsm_sessions_free", "Signing sessions that nobody uses."), "sum"),
    "opened_keys": (Family("opened_keys", "Unwrapped keys that are kept."), "sum"),
    "part_ready": (Family("part_ready", "1: every worker can use this part; 0: one cannot.", ("part",)), "least"),
    "resident_bytes": (Family("resident_bytes", "Memory of all workers (RSS)."), "sum"),
}
SURVEYED: Final[Mapping[str, Family]] = {
    family.name: family
    for family in (
        Family("workers", "Workers that are alive."),
        Family("survey_success", "1: the figures that come from the database are of the last seconds."),
        Family("log_entries", "Leaves of the transparency log."),
        Family("log_entries_covered", "Leaves that a checkpoint covers."),
        Family("log_entries_cosigned", "Leaves that a cosigned checkpoint covers."),
        Family("log_cosignatures", "Cosignatures that the last cosigned checkpoint carries."),
        Family("log_rows_waiting", "Changes of sealed rows that are no leaves yet."),
        Family("log_newest_covered_seconds", "Age of the newest leaf that a checkpoint covers."),
        Family("log_uncovered_seconds", "Age of the oldest leaf that no checkpoint covers; 0: there is none."),
        Family("log_uncosigned_seconds", "Age of the oldest leaf that no witness has cosigned yet."),
        Family("keys", "Keys, by state.", ("state",)),
        Family("software_keys", "Keys whose private half is used in the service's process."),
        Family("software_keys_allowed", "1: the configuration allows such keys."),
        Family("token_keys", "Key versions that are kept on the HSM's token itself."),
        Family("token_keys_most", "How many of them the configuration allows."),
        Family("next_deletion_seconds", "Until the next key is deleted; no series: none waits for it."),
        Family("certificate_seconds_left", "Of keys' certificates that end within 60 days.", ("key_id",)),
        Family("authority_seconds_left", "Of the built-in authority's certificate."),
        Family("crl_seconds_left", "Of the revocation list."),
        Family("tls_certificate_seconds_left", "Of the certificate that the service shows its callers."),
    )
}
INFO: Final = Family("build", "What runs.", ("version", "schema", "hsm_manufacturer", "hsm_model"))


def names() -> set[str]:
    """Every series that there may be, as queries name them."""
    found = {f"{PREFIX}{family.name}_total" for family in COUNTERS.values()}
    for family in HISTOGRAMS.values():
        found |= {f"{PREFIX}{family.name}_{part}" for part in ("bucket", "sum", "count")}
    found |= {f"{PREFIX}{family.name}" for family, _ in GAUGES.values()}
    return found | {f"{PREFIX}{family.name}" for family in SURVEYED.values()} | {f"{PREFIX}{INFO.name}_info"}


class Exposition(Collector):
    """All metrics of the service, by any worker."""

    def __init__(self, keystore: Keystore, configuration: ServerConfiguration, shared: SharedFigures) -> None:
        self._shared = shared
        self._survey = _Survey(keystore, configuration)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self, accept: str) -> tuple[bytes, str]:
        """The metrics in the form that the caller's `Accept` asks for, and its media type."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type

    def describe(self) -> Iterable[Metric]:
        """Nothing is collected when it is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        gathered = self._shared.gather()
        know_keys(name[1] for name in gathered.figures.counts if name[0] == "key_calls")
        yield from _counters(gathered)
        yield from _histograms(gathered)
        yield from _gauges(gathered)
        yield from self._survey.families(len(gathered.gauges))


def _counters(gathered: Gathered) -> Iterator[Metric]:
    for key, family in COUNTERS.items():
        metric = CounterMetricFamily(PREFIX + family.name, family.help, labels=family.labels)
        for name, number in gathered.figures.counts.items():
            if name[0] == key:
                metric.add_metric(name[1:], number)
        if not family.labels and not metric.samples:
            metric.add_metric((), 0)
        yield metric


def _histograms(gathered: Gathered) -> Iterator[Metric]:
    for key, family in HISTOGRAMS.items():
        metric = HistogramMetricFamily(PREFIX + family.name, family.help, labels=family.labels)
        for name, classes in gathered.figures.times.items():
            if name[0] == key:
                metric.add_metric(name[1:], buckets=_buckets(classes), sum_value=classes[-1])
        yield metric


def _buckets(classes: Sequence[float]) -> list[tuple[str, float]]:
    """Cumulative, as Prometheus has them."""
    found, so_far = [], 0.0
    for bound, number in zip([*map(str, BOUNDS), "+Inf"], classes[:-1], strict=True):
        so_far += number
        found.append((bound, so_far))
    return found


def _gauges(gathered: Gathered) -> Iterator[Metric]:
    for key, (family, how) in GAUGES.items():
        metric = GaugeMetricFamily(PREFIX + family.name, family.help, labels=family.labels)
        values: dict[tuple[str, ...], list[float]] = {}
        for worker in gathered.gauges:
            for name, value in worker.items():
                if name[0] == key:
                    values.setdefault(name[1:], []).append(value)
        for labels, of_workers in values.items():
            metric.add_metric(labels, min(of_workers) if how == "least" else sum(of_workers))
        yield metric


_Samples = list[tuple[str, tuple[str, ...], float]]


class _Survey:
    """What the database says, asked of it now and then; what it said last stays while it cannot be asked."""

    def __init__(self, keystore: Keystore, configuration: ServerConfiguration) -> None:
        self._keystore = keystore
        self._configuration = configuration
        self._guard = threading.Lock()
        self._asked = self._asked_slowly = float("-inf")
        self._quick: _Samples = []
        self._slow: _Samples = []
        self._works = False
        self._schema = "unknown"

    def families(self, workers: int) -> Iterator[Metric]:
        """Every family that is not counted."""
        with self._guard:
            self._ask()
            samples = [*self._quick, *self._slow]
            works, schema = self._works, self._schema
        samples += [("workers", (), workers), ("survey_success", (), float(works)), *self._settings()]
        for family in SURVEYED.values():
            metric = GaugeMetricFamily(PREFIX + family.name, family.help, labels=family.labels)
            for name, labels, value in samples:
                if name == family.name:
                    metric.add_metric(labels, value)
            yield metric
        token = self._keystore.token_info
        about = {"schema": schema, "hsm_manufacturer": token.manufacturer.strip(), "hsm_model": token.model.strip()}
        info = InfoMetricFamily(PREFIX + INFO.name, INFO.help)
        info.add_metric((), {"version": metadata.version("sealmark"), **about})
        yield info

    def _ask(self) -> None:
        now = monotonic()
        if now - self._asked < _SURVEY_SECONDS:
            return
        try:
            with survey.reading(self._keystore.database) as rows:
                moment = self._keystore.clock()
                self._quick = _log_samples(rows, moment, witnessed=bool(self._configuration.log.witnesses))
                if now - self._asked_slowly >= _SLOW_SECONDS:
                    self._slow = [*_key_samples(rows, moment), *_certificate_samples(rows, moment)]
                    self._schema = survey.schema_version(rows)
                    self._asked_slowly = now
            self._works = True
        except KeystoreError as fault:
            self._works = False
            _log.warning("survey_failed", code=fault.code, reason=str(fault))
        self._asked = now

    def _settings(self) -> _Samples:
        samples: _Samples = [
            ("software_keys_allowed", (), float(bool(self._keystore.software_specs))),
            ("token_keys_most", (), self._keystore.most_token_keys),
        ]
        certificate = self._configuration.tls_certificate
        if certificate is not None:
            try:
                ends = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
            except (OSError, ValueError):
                return [*samples, ("tls_certificate_seconds_left", (), 0.0)]  # it cannot be served as it is
            samples.append(("tls_certificate_seconds_left", (), (ends - self._keystore.clock()).total_seconds()))
        return samples


def _age(moment: datetime, written: datetime | None) -> float:
    return 0.0 if written is None else max(0.0, (moment - written).total_seconds())


def _log_samples(rows: Rows, moment: datetime, *, witnessed: bool) -> _Samples:
    log = survey.log_state(rows)
    if log is None:
        return []
    values: dict[str, float] = {
        "log_entries": log.size,
        "log_entries_covered": log.checkpoint_size,
        "log_entries_cosigned": log.cosigned_size,
        "log_cosignatures": log.cosignatures,
        "log_rows_waiting": log.rows_waiting,
        "log_newest_covered_seconds": _age(moment, log.newest_covered),
        "log_uncovered_seconds": _age(moment, log.oldest_uncovered),
    }
    if witnessed:
        values["log_uncosigned_seconds"] = _age(moment, log.oldest_uncosigned)
    return [(name, (), value) for name, value in values.items()]


def _key_samples(rows: Rows, moment: datetime) -> _Samples:
    counts = survey.key_counts(rows)
    samples: _Samples = [("keys", (state,), number) for state, number in counts.by_state.items()]
    samples += [("software_keys", (), counts.software), ("token_keys", (), counts.on_token)]
    if counts.next_deletion is not None:
        samples.append(("next_deletion_seconds", (), (counts.next_deletion - moment).total_seconds()))
    return samples


def _certificate_samples(rows: Rows, moment: datetime) -> _Samples:
    samples: _Samples = [
        ("certificate_seconds_left", (found.key_id,), (found.ends - moment).total_seconds())
        for found in survey.ending_certificates(rows, moment, _ENDING, _MOST_CERTIFICATES)
        if not found.authority
    ]
    authority, crl = survey.authority_validity(rows), survey.revocation_list_end(rows)
    if authority is not None:
        samples.append(("authority_seconds_left", (), (authority[1] - moment).total_seconds()))
    if crl is not None:
        samples.append(("crl_seconds_left", (), (crl - moment).total_seconds()))
    return samples
