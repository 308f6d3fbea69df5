"""Tracing with OpenTelemetry: spans of the engine, kept in memory until the attempt ends.

A finished span belongs to the attempt whose span tree it is in, so attempts of a `shared` host do not
mix. Prompts and answers are never recorded: instrumentation hides them, and what looks like one is
removed again here.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .api import Paused, Task
from .tracing import Tracer

#: Bounds of one attempt and of one frame, in spans.
MAX_SPANS = 2_000
SPANS_PER_FRAME = 200

_INSTRUMENTORS = {
    "agno": ("openinference.instrumentation.agno", "AgnoInstrumentor"),
    "langgraph": ("openinference.instrumentation.langchain", "LangChainInstrumentor"),
    "llamaindex": ("openinference.instrumentation.llama_index", "LlamaIndexInstrumentor"),
}
_CONTENT = ("input.", "output.", "llm.input_messages", "llm.output_messages", "llm.prompt", "llm.tools",
            "llm.invocation_parameters", "retrieval.documents", "tool.parameters", "embedding.embeddings",
            "llm.function_call", "tool_call.function.arguments", "user.", "gen_ai.input", "gen_ai.output")
_HIDDEN = ("hide_inputs", "hide_outputs", "hide_input_messages", "hide_output_messages", "hide_prompts",
           "hide_choices", "hide_llm_invocation_parameters", "hide_llm_tools", "hide_retrieval_documents",
           "hide_embeddings_text", "hide_embeddings_vectors")


class OtelTracer(Tracer):
    """Imports what it needs at once; provider and instrumentation come with the first attempt that is traced.

    A provider's fork hook looks at the machine in threads and an instrumentation may start one, so there are none in a
    process that forks. An instrumented engine also works more slowly, recorded or not (LangGraph three times).
    """

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._spans: _Collector | None = None
        self._instrument = _instrumentation(engine)

    @contextmanager
    def attempt(self, task: Task) -> Iterator[Any]:
        if not task.trace:
            with super().attempt(task) as spans:
                yield spans
            return
        if self._spans is None:
            self._spans = _install_provider(self._engine)
            self._instrument()
        spans = _AttemptSpans(self._engine, self._spans, task)
        try:
            yield spans
        finally:
            spans.frames()


def _install_provider(engine: str) -> _Collector:
    collector = _Collector()
    # Resource.create would run detectors in threads.
    resource = Resource({"service.name": f"mahavishnu-host-{engine}"})
    # A span without a traced attempt above it is of no use to anyone.
    provider = TracerProvider(sampler=ParentBased(root=ALWAYS_OFF), resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(collector)
    trace.set_tracer_provider(provider)
    return collector


class _AttemptSpans:
    def __init__(self, engine: str, collector: _Collector, task: Task) -> None:
        self._name = f"run {engine}"
        self._collector = collector
        self._parent = TraceContextTextMapPropagator().extract(dict(task.trace))
        self._attributes = {
            "mahavishnu.execution.id": task.execution,
            "mahavishnu.stage.id": task.stage,
            "mahavishnu.stage.attempt": task.attempt,
            "mahavishnu.stage.resume": task.resume,
            "mahavishnu.engine": engine,
        }
        self._root: trace.Span | None = None

    @contextmanager
    def run(self) -> Iterator[None]:
        span = trace.get_tracer("mahavishnu.host").start_span(self._name, self._parent, SpanKind.INTERNAL, self._attributes)
        self._root = span
        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                yield
            outcome = "done"
        except Paused:
            outcome = "paused"
            raise
        except BaseException as error:
            outcome = "failed"
            # The message may quote a prompt; the error frame carries it to where it belongs.
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            span.set_attribute("mahavishnu.outcome", outcome)
            span.end()

    def frames(self) -> list[dict[str, Any]]:
        if self._root is None:
            return []
        finished = self._collector.take(self._root.get_span_context().span_id)
        chunks = [finished[i : i + SPANS_PER_FRAME] for i in range(0, len(finished), SPANS_PER_FRAME)]
        return [{"t": "spans", "otlp": _encode(chunk)} for chunk in chunks]


class _Collector(SpanProcessor):
    """Finished spans by the root span of their attempt."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root_of: dict[int, int] = {}
        self._finished: dict[int, list[ReadableSpan]] = {}

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        own = span.get_span_context().span_id
        parent = span.parent
        with self._lock:
            if parent is None or parent.is_remote:
                self._root_of[own] = own
                self._finished[own] = []
            elif (root := self._root_of.get(parent.span_id)) is not None:
                self._root_of[own] = root

    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        with self._lock:
            finished = self._finished.get(self._root_of.get(context.span_id if context else 0, 0))
            if finished is not None and (len(finished) < MAX_SPANS or _is_root(span)):
                finished.append(span)

    def take(self, root: int) -> list[ReadableSpan]:
        """All finished spans of an attempt; forgets the attempt."""
        with self._lock:
            for span_id in [span_id for span_id, its_root in self._root_of.items() if its_root == root]:
                del self._root_of[span_id]
            return self._finished.pop(root, [])


def _is_root(span: ReadableSpan) -> bool:
    return span.parent is None or span.parent.is_remote


def _encode(spans: list[ReadableSpan]) -> str:
    return base64.b64encode(encode_spans([_without_content(span) for span in spans]).SerializeToString()).decode("ascii")


def _without_content(span: ReadableSpan) -> ReadableSpan:
    attributes = {key: value for key, value in (span.attributes or {}).items() if not key.startswith(_CONTENT)}
    return ReadableSpan(
        name=span.name,
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        kind=span.kind,
        instrumentation_scope=span.instrumentation_scope,
        # An engine's description may quote a prompt; that of the run span is our own.
        status=span.status if _is_root(span) else Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
    )


def _instrumentation(engine: str) -> Callable[[], None]:
    """What instruments the engine, once the provider is there."""
    if engine not in _INSTRUMENTORS:
        return lambda: None
    module, name = _INSTRUMENTORS[engine]
    try:
        instrumentor = getattr(import_module(module), name)
        from openinference.instrumentation import TraceConfig
    except ImportError:
        return lambda: None  # the run span stands without it
    known = TraceConfig.__dataclass_fields__
    config = TraceConfig(**{hidden: True for hidden in _HIDDEN if hidden in known})
    return lambda: instrumentor().instrument(config=config)
