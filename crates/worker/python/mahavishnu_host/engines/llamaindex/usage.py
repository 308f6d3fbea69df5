"""Counts the tokens of a user's own engine, from LlamaIndex's own events.

Invariant: in a host that several attempts share each counts its own.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers.base import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMCompletionEndEvent

_counted: ContextVar[dict[str, int] | None] = ContextVar("tokens of the attempt", default=None)


class _Count(BaseEventHandler):
    def handle(self, event: BaseEvent, **_: Any) -> None:
        tokens = _counted.get()
        if tokens is None or not isinstance(event, (LLMChatEndEvent, LLMCompletionEndEvent)):
            return
        raw = getattr(event.response, "raw", None)
        usage = raw.get("usage") if isinstance(raw, dict) else getattr(raw, "usage", None)
        for ours, theirs in (("input", "prompt_tokens"), ("output", "completion_tokens")):
            tokens[ours] += (usage.get(theirs) if isinstance(usage, dict) else getattr(usage, theirs, 0)) or 0


def watch() -> dict[str, int]:
    """The tokens of this attempt from here on, filled as models answer."""
    root = get_dispatcher()
    if not any(isinstance(handler, _Count) for handler in root.event_handlers):
        root.add_event_handler(_Count())
    tokens = {"input": 0, "output": 0}
    _counted.set(tokens)
    return tokens
