"""`flow`: the user's own flow by entry point, with parameters; states of its tasks are shown as they come.

Output: `{"result", "flow_run": {id, name, url}}`; a result that is an object is the output itself, with
`flow_run` beside it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from prefect import Flow
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter, EventRelatedFilter
from prefect.filesystems import LocalFileSystem, WritableFileSystem
from prefect.results import aget_default_result_storage

from ... import references
from ...api import Link, StageError, Task
from ...framing import plain
from . import flows
from .kept import Results, own_results

#: Seconds to wait for the last states: events take some 0.1 s through the server.
LAST_EVENTS = 1.5
_TASK_STATE = "prefect.task-run."


async def run_flow(task: Task, link: Link) -> dict[str, Any]:
    parameters = task.task.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise StageError("TASK_INVALID", "parameters must be an object", field="parameters")
    flows.api_url()
    flow = await asyncio.to_thread(references.resolve, task.task["flow"], task.project, "flow")
    if not isinstance(flow, Flow):
        raise StageError("REFERENCE_FAILED", f"a {type(flow).__name__} is no Prefect flow", field="flow")
    try:
        flow.validate_parameters(parameters)
    except Exception as error:
        raise StageError("TASK_INVALID", f"parameters: {error}"[:1000], field="parameters") from error
    states = _States(link)
    try:
        results = await _results(task, link, flow.isasync)
        outcome = await flows.execute(flow, parameters, task, results, after=states.watch)
        if isinstance(results, Results):
            await results.settled()
        await states.finish()
    finally:
        states.stop()
    result = plain(outcome.value)
    shown = result if isinstance(result, dict) else {"result": result}
    return {**shown, "flow_run": outcome.flow_run}


async def _results(task: Task, link: Link, held: bool) -> WritableFileSystem:
    """Prefect's own place for results; one on this machine is shared with the machines that may go on."""
    storage = await aget_default_result_storage()
    return await own_results(task, link, storage, held) if type(storage) is LocalFileSystem else storage


class _States:
    """Task states of one flow run, from the server's events. They are for show: without them the flow still counts."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._watch: asyncio.Task[None] | None = None
        self._open: set[str] = set()
        self._quiet = asyncio.Event()

    async def watch(self, flow_run: Any) -> None:
        """Returns when events are being received."""
        ready = asyncio.Event()
        self._watch = asyncio.ensure_future(self._follow(str(flow_run), ready))
        waiting = asyncio.ensure_future(ready.wait())
        await asyncio.wait({self._watch, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def finish(self) -> None:
        """Waits until every task that was seen to begin was seen to end."""
        if self._watch is None or self._watch.done():
            return
        try:
            await asyncio.wait_for(self._ended(), LAST_EVENTS)
        except asyncio.TimeoutError:
            pass

    def stop(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    async def _ended(self) -> None:
        while self._open:
            self._quiet.clear()
            await self._quiet.wait()

    async def _follow(self, flow_run: str, ready: asyncio.Event) -> None:
        wanted = EventFilter(
            event=EventNameFilter(prefix=[_TASK_STATE]),
            related=EventRelatedFilter(id=[f"prefect.flow-run.{flow_run}"]),
        )
        try:
            async with get_events_subscriber(filter=wanted) as events:
                ready.set()
                async for event in events:
                    await self._tell(event)
        except Exception as error:  # noqa: BLE001 - websockets have many
            print(f"no task states: {type(error).__name__}: {error}", flush=True)

    async def _tell(self, event: Any) -> None:
        state = event.event.removeprefix(_TASK_STATE)
        name = event.resource.name or "task"
        identifier = event.resource.id.removeprefix(_TASK_STATE)
        if state in ("Pending", "Running"):
            self._open.add(identifier)
        elif state in ("Completed", "Failed", "Cancelled", "Crashed", "Cached"):
            self._open.discard(identifier)
        await self._link.progress("task_state", name, {"state": state, "task_run": identifier})
        self._quiet.set()
