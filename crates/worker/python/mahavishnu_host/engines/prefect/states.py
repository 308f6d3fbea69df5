"""Task states of a flow run as progress.

What this process tells Prefect's server is told here as well, before it is sent. What other processes tell it, those of a
distributed task runner, comes back as the server's events; a flow that is over sooner has none. States are for show: without
them the flow still counts.
"""

from __future__ import annotations

import asyncio
from typing import Any

from prefect.events.clients import EventsClient, get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter, EventRelatedFilter

from ...api import Link

#: Seconds after which other processes may have something to tell.
OTHERS = 0.3
#: Seconds to wait for the last states from other processes: events take some 0.1 s through the server.
LAST_EVENTS = 1.5
_TASK_STATE = "prefect.task-run."
_FLOW_RUN = "prefect.flow-run."
_ENDS = ("Completed", "Failed", "Cancelled", "Crashed", "Cached")

#: Who watches, by flow run.
_watched: dict[str, States] = {}
_emit = EventsClient.emit


async def _tell_and_emit(self: Any, event: Any) -> None:
    if event.event.startswith(_TASK_STATE):
        for related in event.related:
            if (states := _watched.get(related.id.removeprefix(_FLOW_RUN))) is not None:
                states.told(event)
    await _emit(self, event)


EventsClient.emit = _tell_and_emit  # type: ignore[method-assign]


class States:
    """Watches one flow run, as a context around it."""

    def __init__(self, link: Link) -> None:
        self._link, self._loop = link, asyncio.get_running_loop()
        self._flow_run = ""
        self._events: asyncio.Queue[Any] = asyncio.Queue()
        self._known: set[Any] = set()
        self._open: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> States:
        self._tasks.append(asyncio.ensure_future(self._report()))
        return self

    async def __aexit__(self, kind: Any, *_: Any) -> None:
        try:
            if kind is None:
                await self._finish()
        finally:
            _watched.pop(self._flow_run, None)
            for task in self._tasks:
                task.cancel()

    def watch(self, flow_run: str) -> None:
        """From now on; to be called in any thread."""
        self._flow_run = flow_run
        _watched[flow_run] = self
        self._loop.call_soon_threadsafe(lambda: self._tasks.append(asyncio.ensure_future(self._follow())))

    def told(self, event: Any) -> None:
        """What happened, by this process or another one; to be called in any thread."""
        self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def _finish(self) -> None:
        """Waits until every task that was seen to begin was seen to end."""
        await self._events.join()
        end = self._loop.time() + LAST_EVENTS
        while self._open and self._loop.time() < end:
            await asyncio.sleep(0.01)

    async def _follow(self) -> None:
        await asyncio.sleep(OTHERS)
        wanted = EventFilter(
            event=EventNameFilter(prefix=[_TASK_STATE]),
            related=EventRelatedFilter(id=[f"{_FLOW_RUN}{self._flow_run}"]),
        )
        try:
            # It begins with what happened before.
            async with get_events_subscriber(filter=wanted) as events:
                async for event in events:
                    self.told(event)
        except Exception as error:  # noqa: BLE001 - websockets have many
            print(f"no task states of other processes: {type(error).__name__}: {error}", flush=True)

    async def _report(self) -> None:
        while True:
            event = await self._events.get()
            try:
                if event.id not in self._known:
                    self._known.add(event.id)
                    await self._tell(event)
            finally:
                self._events.task_done()

    async def _tell(self, event: Any) -> None:
        state = event.event.removeprefix(_TASK_STATE)
        name = event.resource.name or "task"
        identifier = event.resource.id.removeprefix(_TASK_STATE)
        if state in ("Pending", "Running"):
            self._open.add(identifier)
        elif state in _ENDS:
            self._open.discard(identifier)
        await self._link.progress("task_state", name, {"state": state, "task_run": identifier})
