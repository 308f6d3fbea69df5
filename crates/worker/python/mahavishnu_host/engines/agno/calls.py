"""Results of tool calls, kept as checkpoints of the stage: the attempt that repeats a killed one is given them instead of
calling again.

A call is known by its agent, its tool, its arguments and how many the same came before it since the last approval. Agno has no other
checkpoints, so a repeated run asks the model anew; where the model asks for other calls, they are made.

Invariant: what is given is what the same call gave to the same stage, in the part of the run that is being repeated.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import inspect
import json
from collections import Counter
from contextvars import ContextVar
from typing import Any

from ...api import Link, StageError, Task

#: Bytes of a result that is kept.
MAX_RESULT = 1 << 20
#: Under which checkpoint they are.
_CHECKPOINT = "tool calls"
_attempt: ContextVar[Calls] = ContextVar("the calls of the attempt")


def watch(runnable: Any, task: Task, link: Link) -> None:
    """Keeps the calls of an agent, or of all members of a team, for this attempt."""
    _attempt.set(Calls(task, link))
    _hook_into(runnable)


def _hook_into(runnable: Any) -> None:
    members = getattr(runnable, "members", None)
    for member in members if isinstance(members, list) else ():
        _hook_into(member)
    # The tools of a team's leader are the members. An agent may be another attempt's too, so the hook is everybody's.
    if not members and hasattr(runnable, "tool_hooks") and _hook not in (runnable.tool_hooks or ()):
        runnable.tool_hooks = [_hook, *(runnable.tool_hooks or ())]


def _hook(function_name: str, function_call: Any, arguments: dict[str, Any], agent: Any = None) -> Any:
    """Agno's form of a wrapper: in a thread for a plain function, on the event loop for an async one."""
    name = json.dumps([getattr(agent, "id", None), function_name, arguments], sort_keys=True, default=str)
    return _attempt.get().make(name, function_call, arguments)


class Calls:
    """The tool calls of one attempt."""

    def __init__(self, task: Task, link: Link) -> None:
        self._task, self._link = task, link
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[dict[str, int]] | None = None
        self._made: Counter[str] = Counter()

    def make(self, name: str, function_call: Any, arguments: dict[str, Any]) -> Any:
        """The result of a call: the kept one, or a new one."""
        self._made[name] += 1
        key = hashlib.sha256(f"{self._made[name]}/{name}".encode()).hexdigest()
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._in_thread(key, function_call, arguments)
        return self._on_loop(key, function_call, arguments)

    def _in_thread(self, key: str, function_call: Any, arguments: dict[str, Any]) -> Any:
        def wait(work: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()

        known, result = wait(self._known(key))
        if not known:
            result = function_call(**arguments)
            wait(self._keep(key, result))
        return result

    async def _on_loop(self, key: str, function_call: Any, arguments: dict[str, Any]) -> Any:
        known, result = await self._known(key)
        if not known:
            result = function_call(**arguments)
            if inspect.isawaitable(result):
                result = await result
            await self._keep(key, result)
        return result

    async def _known(self, key: str) -> tuple[bool, Any]:
        if self._opened is None:
            self._opened = asyncio.ensure_future(self._open())
        position = (await self._opened).get(key)
        if position is None:
            return False, None
        body = (await self._link.call("checkpoints_read", {"position": position}))["body"]
        return True, json.loads(base64.b64decode(body))

    async def _open(self) -> dict[str, int]:
        entries = (await self._link.call("checkpoints_open", {}))["entries"]
        ours = [e for e in entries if e["checkpoint"] == _CHECKPOINT and e["resume"] == self._task.resume]
        return {entry["task"]: entry["position"] for entry in ours}

    async def _keep(self, key: str, result: Any) -> None:
        """Not what JSON does not hold, such as events of a generator."""
        try:
            body = json.dumps(result)
        except (TypeError, ValueError):
            return
        if len(body) > MAX_RESULT or json.loads(body) != result:
            return
        record = {"checkpoint": _CHECKPOINT, "task": key, "view": {}, "body": base64.b64encode(body.encode()).decode()}
        try:
            await self._link.call("checkpoints_save", record)
        except StageError as error:
            print(f"the result of a tool is not kept: {error.message}", flush=True)
