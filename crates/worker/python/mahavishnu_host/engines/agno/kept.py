"""What the tools and models of a stage gave, kept as its checkpoints: the attempt that repeats a killed or failed one is given
them instead of asking again, on any worker.

Invariant: what is given is what the same call gave to the same stage, in the part of the run (since the last approval) that is
being repeated.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections import Counter
from contextvars import ContextVar

from ...api import Link, StageError, Task

#: Bytes of one result that is kept.
MAX_RESULT = 1 << 20
#: Results that one attempt keeps; what comes after them is asked again.
MAX_RESULTS = 500

_attempt: ContextVar[Kept | None] = ContextVar("what the attempt keeps", default=None)


def begin(task: Task, link: Link) -> None:
    """For this attempt, whichever task or thread of it asks."""
    _attempt.set(Kept(task, link))


def of_attempt() -> Kept | None:
    """None outside of an attempt, as while a host warms up."""
    return _attempt.get()


class Kept:
    """The results of one attempt. `kind` is under which checkpoint they are, `name` what is the same for the same call."""

    def __init__(self, task: Task, link: Link) -> None:
        self._task, self._link = task, link
        self.loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[dict[tuple[str, str], int]] | None = None
        self._made: Counter[str] = Counter()
        self._written = 0

    def key(self, name: str) -> str:
        """The key of the next call of this name: the same call may be made twice."""
        self._made[name] += 1
        return hashlib.sha256(f"{self._made[name]}/{name}".encode()).hexdigest()

    async def find(self, kind: str, key: str) -> str | None:
        """What was kept."""
        if self._opened is None:
            self._opened = asyncio.ensure_future(self._open())
        position = (await self._opened).get((kind, key))
        if position is None:
            return None
        body = (await self._link.call("checkpoints_read", {"position": position}))["body"]
        return base64.b64decode(body).decode()

    async def keep(self, kind: str, key: str, body: str) -> None:
        """As far as there is room; the run does not fail for it."""
        encoded = body.encode()
        if len(encoded) > MAX_RESULT or self._written >= MAX_RESULTS:
            return
        self._written += 1
        record = {"checkpoint": kind, "task": key, "view": {}, "body": base64.b64encode(encoded).decode()}
        try:
            await self._link.call("checkpoints_save", record)
        except StageError as error:
            print(f"a result of the {kind} is not kept: {error.message}", flush=True)

    async def _open(self) -> dict[tuple[str, str], int]:
        entries = (await self._link.call("checkpoints_open", {}))["entries"]
        ours = [entry for entry in entries if entry["resume"] == self._task.resume]
        return {(entry["checkpoint"], entry["task"]): entry["position"] for entry in ours}
