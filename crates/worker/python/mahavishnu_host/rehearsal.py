"""A rehearsal: a stage that nobody hears of, in a process that has nothing to do yet.

It goes the way of a stage around an object of the user's own, from its file on. What a first run costs in memory that is
copied, threads that are started and modules that are looked for, the task that comes finds done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from . import references
from .api import Link, Task


class Unheard(Link):
    """Tells nobody, and keeps checkpoints as long as it lasts."""

    def __init__(self) -> None:
        self._bodies: list[str] = []

    async def progress(self, kind: str, name: str, data: Mapping[str, Any] | None = None) -> None: ...

    async def delta(self, source: str, text: str) -> None: ...

    async def call(self, method: str, params: Mapping[str, Any]) -> Any:
        if method == "checkpoints_save":
            self._bodies.append(params["body"])
            return {"position": len(self._bodies)}
        if method == "checkpoints_read":
            return {"body": self._bodies[params["position"] - 1]}
        return {"entries": []} if method == "checkpoints_open" else None


async def perform(run: Callable[[Task, Link], Awaitable[Any]], task: Mapping[str, Any], project: Path) -> None:
    """Has an engine run `task`, whose references lead to files of `project`; nothing of them is found by a user's own."""
    try:
        await run(Task("rehearsal", "rehearsal", 1, task, project=str(project)), Unheard())
    finally:
        references.forget(str(project))
