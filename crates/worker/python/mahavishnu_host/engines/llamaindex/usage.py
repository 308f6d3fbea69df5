"""Counts the tokens of a user's own engine or workflow, from LlamaIndex's own events, whichever model it asks.

Invariant: in a host that several attempts share each counts its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers.base import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent, LLMChatStartEvent, LLMCompletionEndEvent, LLMCompletionStartEvent,
)


class Usage:
    """What an attempt asked of models: the name of the last one, and tokens."""

    def __init__(self, model: str | None = None, tokens: Mapping[str, int] | None = None) -> None:
        self.model = model
        self.tokens = dict(tokens or {"input": 0, "output": 0})

    def members(self) -> dict[str, Any]:
        return {"model": self.model, "tokens": self.tokens}


_usage: ContextVar[Usage | None] = ContextVar("what the attempt asks of models", default=None)


class _Count(BaseEventHandler):
    def handle(self, event: BaseEvent, **_: Any) -> None:
        usage = _usage.get()
        if usage is None:
            return
        if isinstance(event, (LLMChatStartEvent, LLMCompletionStartEvent)):
            named = event.model_dict
            usage.model = named.get("model") or named.get("model_name") or usage.model
        elif isinstance(event, (LLMChatEndEvent, LLMCompletionEndEvent)):
            counted = _member(getattr(event.response, "raw", None), "usage")
            usage.tokens["input"] += _member(counted, "prompt_tokens") or 0
            usage.tokens["output"] += _member(counted, "completion_tokens") or 0


def watch(before: Mapping[str, Any] | None = None) -> Usage:
    """What this attempt asks of models from here on, beside what it had asked `before` a pause: `Usage.members`."""
    root = get_dispatcher()
    if not any(isinstance(handler, _Count) for handler in root.event_handlers):
        root.add_event_handler(_Count())
    usage = Usage(**before or {})
    _usage.set(usage)
    return usage


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)
