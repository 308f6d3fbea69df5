"""Results of tool calls are kept. A call is known by its agent, its tool, its arguments and how many the same came before it
since the last approval; where a model asks for other calls, they are made."""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import Any

from . import kept
from .kept import Kept

#: Under which checkpoint they are.
_KIND = "tool calls"


def watch(runnable: Any) -> None:
    """Keeps the calls of an agent, or of all members of a team."""
    members = getattr(runnable, "members", None)
    for member in members if isinstance(members, list) else ():
        watch(member)
    # The tools of a team's leader are the members. An agent may be another attempt's too, so the hook is everybody's.
    if not members and hasattr(runnable, "tool_hooks") and _hook not in (runnable.tool_hooks or ()):
        runnable.tool_hooks = [_hook, *(runnable.tool_hooks or ())]


def _hook(function_name: str, function_call: Any, arguments: dict[str, Any], agent: Any = None) -> Any:
    """Agno's form of a wrapper: in a thread for a plain function, on the event loop for an async one."""
    attempt = kept.of_attempt()
    if attempt is None:
        return function_call(**arguments)
    name = json.dumps([getattr(agent, "id", None), function_name, arguments], sort_keys=True, default=str)
    key = attempt.key(name)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _in_thread(attempt, key, function_call, arguments)
    return _on_loop(attempt, key, function_call, arguments)


def _in_thread(attempt: Kept, key: str, function_call: Any, arguments: dict[str, Any]) -> Any:
    def wait(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, attempt.loop).result()

    body = wait(attempt.find(_KIND, key))
    if body is not None:
        return json.loads(body)
    result = function_call(**arguments)
    wait(_keep(attempt, key, result))
    return result


async def _on_loop(attempt: Kept, key: str, function_call: Any, arguments: dict[str, Any]) -> Any:
    body = await attempt.find(_KIND, key)
    if body is not None:
        return json.loads(body)
    result = function_call(**arguments)
    if inspect.isawaitable(result):
        result = await result
    await _keep(attempt, key, result)
    return result


async def _keep(attempt: Kept, key: str, result: Any) -> None:
    """Not what JSON does not hold, such as events of a generator."""
    try:
        body = json.dumps(result)
    except (TypeError, ValueError):
        return
    if json.loads(body) == result:
        await attempt.keep(_KIND, key, body)
