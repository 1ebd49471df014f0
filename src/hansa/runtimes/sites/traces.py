"""Traces: what a server waits for, as spans of OpenTelemetry, sent to where its operator says.

    session                  from the first question of a session to its end
      └─ answer              of one party in one turn, from the question to what came of it

A party that fetches what it is asked hears of its span, as `traceparent` (W3C Trace Context), by
which a proxy on the way may join. Spans have names of parties, numbers, and kinds of reasons: no
vector, no loss, nothing of data. Of a secret sample there are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ... import __version__
from ...errors import AppError
from ...messages import SessionId
from .events import Asked

try:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ModuleNotFoundError as missing:
    raise AppError(
        "OpenTelemetry is not installed.",
        "Traces are made and sent by it.",
        "Install it: pip install 'hansa[otel]', or leave --traces out.",
    ) from missing


SECONDS = 5  # in which a collector takes what is sent; a run waits so long at its end, at most


@dataclass
class Traces:
    """Spans of one server that have begun; a context manager, which sends what is left.

    provider: what makes spans, and sends them.
    """

    provider: TracerProvider
    _sessions: dict[SessionId, Any] = field(default_factory=dict)
    _asked: dict[Asked, Any] = field(default_factory=dict)

    @classmethod
    def to(cls, endpoint: str) -> Traces:
        """Traces that are sent by OTLP over HTTP, with the headers that the exporter's environment
        names.
        """
        provider = TracerProvider(
            resource=Resource({"service.name": "hansa"}), shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=SECONDS)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider)

    def __enter__(self) -> Traces:
        return self

    def __exit__(self, *exc: object) -> None:
        self.provider.shutdown()

    def begun(self, session: SessionId, round: int) -> None:
        """A session begins, or goes on."""
        if session not in self._sessions:
            about = {"hansa.run": session.run, "hansa.round": round + 1}
            about["hansa.session"] = f"{session.epoch}.{session.number}"
            self._sessions[session] = self._tracer.start_span("session", attributes=about)

    def asked(self, asked: Asked) -> None:
        """A party is asked."""
        about = {"hansa.party": asked.who, "hansa.turn": asked.turn}
        within = trace.set_span_in_context(self._sessions[asked.session])
        self._asked[asked] = self._tracer.start_span("answer", within, attributes=about)

    def answered(self, asked: Asked, **about: str | int) -> None:
        """It has answered, or not: `bytes`, or a `kind` of reason."""
        span = self._asked.pop(asked, None)
        if span is not None:
            span.set_attributes({f"hansa.{name}": value for name, value in about.items()})
            span.end()

    def settled(self, session: SessionId) -> None:
        """A session is over, and what was asked in it."""
        for asked in [asked for asked in self._asked if asked.session == session]:
            self.answered(asked)
        span = self._sessions.pop(session, None)
        if span is not None:
            span.end()

    def headers(self, who: str) -> Mapping[str, str]:
        """What a party hears of the last question that it has not answered."""
        carrier = dict[str, str]()
        for span in [span for asked, span in self._asked.copy().items() if asked.who == who][-1:]:
            within = trace.set_span_in_context(span)
            TraceContextTextMapPropagator().inject(carrier, within)
        return carrier

    @property
    def _tracer(self) -> Any:
        return self.provider.get_tracer("hansa", __version__)
