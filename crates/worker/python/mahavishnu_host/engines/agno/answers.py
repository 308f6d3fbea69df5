"""Answers of models are kept. A call is known by its model, all that it was told, its tools, and how many the same came
before it since the last approval: a repeated run that tells a model the same is given the same answer, chunk by chunk.

Only whole answers are kept, in Agno's own form of them. The place is Agno's one for all providers, above its own retries; where
another version has it not, models are asked again.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

from agno.models.base import Model
from agno.models.response import ModelResponse
from pydantic import BaseModel

from . import kept

#: Under which checkpoint they are.
_KIND = "model calls"
#: Of a message, what is new in every run.
_VOLATILE = ("id", "created_at", "metrics")
#: The member that names the class of what is no plain JSON.
_CLASS = "__class__"


def install() -> None:
    """For all models of this process, once."""
    for name, keeping in (("_ainvoke_with_retry", _answer), ("_ainvoke_stream_with_retry", _stream)):
        ask = getattr(Model, name, None)
        if ask is None:
            print(f"this version of Agno has no Model.{name}: a repeated run asks its models again", flush=True)
        else:
            setattr(Model, name, keeping(ask))


def _answer(ask: Any) -> Any:
    @functools.wraps(ask)
    async def answer(self: Model, **given: Any) -> ModelResponse:
        attempt = kept.of_attempt()
        if attempt is None:
            return await ask(self, **given)
        key = attempt.key(_name(self, given))
        body = await attempt.find(_KIND, key)
        if body is not None:
            return _read(json.loads(body)[0])
        response = await ask(self, **given)
        await _keep(attempt, key, [_written(response)])
        return response

    return answer


def _stream(ask: Any) -> Any:
    @functools.wraps(ask)
    async def stream(self: Model, **given: Any) -> AsyncIterator[ModelResponse]:
        attempt = kept.of_attempt()
        if attempt is None:
            async for chunk in ask(self, **given):
                yield chunk
            return
        key = attempt.key(_name(self, given))
        body = await attempt.find(_KIND, key)
        if body is not None:
            for chunk in json.loads(body):
                yield _read(chunk)
            return
        chunks = []
        async for chunk in ask(self, **given):
            chunks.append(_written(chunk))  # at once: who gets it may change it
            yield chunk
        await _keep(attempt, key, chunks)

    return stream


def _name(model: Model, given: dict[str, Any]) -> str:
    told = [message.to_dict() for message in given.get("messages") or ()]
    for message in told:
        for member in _VOLATILE:
            message.pop(member, None)
    asked = [model.get_provider(), model.id, told, given.get("tools"), given.get("tool_choice"), str(given.get("response_format"))]
    return json.dumps(asked, sort_keys=True, default=str)


async def _keep(attempt: kept.Kept, key: str, chunks: list[str | None]) -> None:
    """Unless there is something in an answer that cannot be written down."""
    if chunks and None not in chunks:
        await attempt.keep(_KIND, key, json.dumps(chunks))


def _written(response: ModelResponse) -> str | None:
    try:
        text = json.dumps(response.to_dict(), default=_named)
        return text if json.dumps(_read(text).to_dict(), default=_named) == text else None
    except Exception:  # noqa: BLE001 - what providers put into answers may do anything
        return None


def _read(text: str) -> ModelResponse:
    return ModelResponse.from_dict(json.loads(text, object_hook=_object))


def _named(value: Any) -> dict[str, Any]:
    """What providers leave in answers, such as the pieces of a tool call: pydantic models of their libraries."""
    if not isinstance(value, BaseModel):
        raise TypeError(f"a {type(value).__name__}")
    place = f"{type(value).__module__}:{type(value).__qualname__}"
    return {_CLASS: place, "value": value.model_dump(mode="json", exclude_unset=True)}


def _object(members: dict[str, Any]) -> Any:
    place = members.get(_CLASS)
    if place is None:
        return members
    module, _, name = place.partition(":")
    cls = getattr(sys.modules[module], name)
    if not issubclass(cls, BaseModel):
        raise TypeError(f"{place} is no model")
    return cls.model_validate(members["value"])
