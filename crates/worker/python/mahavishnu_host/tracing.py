"""Spans of an attempt, sent to the worker, which exports them. The host itself has no network for this.

OpenTelemetry is optional: without it, or without a traceparent in the task, nothing is recorded.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from .api import Task


class Spans(Protocol):
    """The spans of one attempt."""

    def run(self) -> AbstractContextManager[None]:
        """The span around the engine."""

    def frames(self) -> list[dict[str, Any]]:
        """The `spans` frames of what has finished; to be asked once."""


class Tracer:
    """Records nothing. `otel.OtelTracer` does."""

    @contextmanager
    def attempt(self, task: Task) -> Iterator[Spans]:
        yield _NoSpans()


def prepare(engine: str) -> Tracer:
    """The tracer of this host. Starts no thread, so that forking stays safe."""
    try:
        from .otel import OtelTracer

        return OtelTracer(engine)
    except ImportError as error:
        print(f"no engine spans: {error}", file=sys.stderr)
    except Exception:  # noqa: BLE001 - a broken tracing package must not stop the engine
        traceback.print_exc()
    return Tracer()


class _NoSpans:
    def run(self) -> AbstractContextManager[None]:
        return nullcontext()

    def frames(self) -> list[dict[str, Any]]:
        return []
