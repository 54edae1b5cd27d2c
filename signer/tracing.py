"""OpenTelemetry traces, where `[tracing] endpoint` asks for them: one span a call, with a child for each of its stages.

A stage is noted as it ends (`Trace.lap`), and the spans are made when the call has been answered: so nothing of a trace
is bound to a thread, and without traces nothing is noted. A span has the operation, its outcome, the problem's code and
the key's id; never a body, a digest, a name of a caller or a credential. A caller's `traceparent` (W3C Trace Context)
is its parent, and decides whether the call is traced.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final

from keystore.clock import system_clock
from signer.call import Trace
from signer.errors import ConfigurationError
from signer.measuring import WATCH

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

    from signer.config import TracingConfiguration

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED: Final = 1
_NEEDED: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
_SECONDS: Final = 1_000_000_000  # nanoseconds


def require_tracing(configuration: TracingConfiguration) -> None:
    """Raises `ConfigurationError` where traces are asked for and the libraries are not there."""
    if configuration.endpoint is None:
        return
    try:
        missing = [name for name in _NEEDED if find_spec(name) is None]
    except ModuleNotFoundError:
        missing = list(_NEEDED)
    if missing:
        msg = "tracing.endpoint needs libraries that are not installed: pip install 'sealmark[tracing]'"
        raise ConfigurationError(msg)


def start_tracing(configuration: TracingConfiguration) -> None:
    """Begins to send traces, if the configuration asks for them; in the worker, after the fork."""
    if configuration.endpoint is None:
        WATCH.emit = None
        return
    require_tracing(configuration)
    emitter = Emitter(configuration)
    WATCH.emit = emitter.emit


def stop_tracing() -> None:
    """Sends what is still to be sent."""
    emitter = getattr(WATCH.emit, "__self__", None)
    WATCH.emit = None
    if isinstance(emitter, Emitter):
        emitter.stop()


def begun(parent: str | None) -> Trace:
    """The trace of a call that has come in with this `traceparent`, if any."""
    if WATCH.emit is None:
        return Trace()
    return Trace(parent=parent, laps=[])


class Emitter:
    """Makes spans of calls that have ended. Its exporter has a thread and a bounded queue: who cannot be reached costs
    no call anything, and spans beyond the queue are lost."""

    def __init__(self, configuration: TracingConfiguration) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

        # Not of the environment: OTEL_* variables would add what this module leaves out, such as the command line.
        self._provider: TracerProvider = TracerProvider(
            resource=Resource({"service.name": "sealmark"}),
            sampler=ParentBased(TraceIdRatioBased(configuration.sample_percent / 100)),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=configuration.endpoint, timeout=5)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
        self._tracer: Tracer = self._provider.get_tracer("sealmark")

    def emit(self, trace: Trace, operation: str, code: str | None, seconds: float) -> None:
        """One call and its stages."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        # The clock's time and the counter's of one moment: all other times are told by their distance from it.
        now, counted = int(system_clock().timestamp() * _SECONDS), perf_counter_ns()

        def at(counter: float) -> int:
            return now - (counted - int(counter * _SECONDS))

        attributes: dict[str, str] = {"sealmark.operation": operation}
        if code is not None:
            attributes["sealmark.code"] = code
        if trace.key is not None:
            attributes["sealmark.key_id"] = trace.key
        span = self._tracer.start_span(
            operation,
            context=_context(trace.parent),
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=at(trace.began),
        )
        if span.is_recording():
            if code is not None:
                span.set_status(Status(StatusCode.ERROR))
            within, since = set_span_in_context(span), trace.began
            for stage, until in trace.laps or ():
                self._tracer.start_span(stage, context=within, start_time=at(since)).end(at(until))
                since = until
        span.end(at(trace.began + seconds))

    def stop(self) -> None:
        """Sends what is in the queue, or gives up after a few seconds."""
        self._provider.force_flush(3000)
        self._provider.shutdown()


def _context(parent: str | None) -> Context:
    """The caller's span as the parent; none where there is no such header, or it is not one."""
    from opentelemetry import context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    found = _TRACEPARENT.fullmatch(parent or "")
    if found is None:
        return context.Context()
    flags = TraceFlags(int(found[3], 16) & _SAMPLED)
    return set_span_in_context(
        NonRecordingSpan(SpanContext(int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=flags)),
        context.Context(),
    )
