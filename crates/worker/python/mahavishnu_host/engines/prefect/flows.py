"""Runs a flow through Prefect's own engine, so that Prefect's server knows it as any other.

One stage of an execution is one flow run: a later attempt, and a delivery after a kill, goes on in it, so that Prefect's
own cache serves what had finished.

Invariants: no flow runs without a server (Prefect would start a slow one of its own for every attempt); what
Prefect could not tell its server when the flow ended is flushed before the attempt ends.
"""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from prefect import Flow
from prefect.cache_policies import RunId
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events.worker import EventsWorker
from prefect.exceptions import PrefectHTTPStatusError
from prefect.filesystems import WritableFileSystem
from prefect.flow_engine import run_flow_async, run_flow_sync
from prefect.logging.handlers import APILogHandler
from prefect.results import get_default_persist_setting, get_default_result_storage
from prefect.states import Pending
from prefect.utilities.urls import url_for

from ...api import Link, StageError, Task
from ...failures import is_retryable
from . import client as server

#: Seconds to wait for events and logs that are still on their way to the server.
FLUSH_WAIT = 5.0


#: The stages of the flow runs that are under way. Cache keys with the run in them, as is Prefect's default, name the stage
#: instead, so that they hold on a machine whose server knows nothing of the run.
_RUNS: dict[str, str] = {}
_run_of = RunId.compute_key


def _stage_of(policy: RunId, *given: Any, **named: Any) -> str | None:
    run = _run_of(policy, *given, **named)
    return _RUNS.get(run, run) if run else run


RunId.compute_key = _stage_of  # type: ignore[method-assign]


@dataclass(frozen=True)
class Outcome:
    """What the flow returned and where Prefect keeps it."""

    value: Any
    flow_run: dict[str, Any]


#: Turns Prefect's own place for results into the one of an attempt.
Keep = Callable[[WritableFileSystem], Awaitable[WritableFileSystem]]


async def execute(
    flow: Flow[..., Any],
    parameters: dict[str, Any],
    task: Task,
    results: WritableFileSystem | Keep,
    began: Callable[[str], None] = lambda _flow_run: None,
) -> Outcome:
    """The flow's result, of parameters that were checked. `results` is where it keeps those of its tasks, unless it says otherwise. `began` is called with the
    id of the flow run before the flow starts, in a thread."""
    with server.unavailable(), server.settings():
        run = _Run(flow, parameters, task, results, began)
        try:
            if flow.isasync:
                await asyncio.to_thread(server.connected, run.begin, lambda: None)
                value = await run_flow_async(run.flow, flow_run=run.flow_run, parameters=parameters)
            else:
                value = await asyncio.to_thread(server.connected, run.begin, run.go_on)
        except StageError as error:
            # The one that a task raised, without the frames of Prefect around it.
            raise StageError(error.reason, error.message, error.retryable, error.field) from error
        except Exception as error:
            if run.flow_run is None:
                raise
            raise _failure(error) from error
        finally:
            run.given_up.set()
            _RUNS.pop(run.id, None)
            await _flush()
    return Outcome(value, {"id": run.id, "name": run.flow_run.name, "url": url_for(run.flow_run)})


class _Run:
    """One run of a flow, in the flow run of the stage."""

    def __init__(
        self, flow: Flow[..., Any], parameters: dict[str, Any], task: Task, results: Any, began: Callable[[str], None]
    ) -> None:
        self.flow, self.flow_run, self.given_up = flow, None, threading.Event()
        self._parameters, self._task, self._results, self._began = parameters, task, results, began
        self._loop = asyncio.get_running_loop()

    @property
    def id(self) -> str:
        return str(getattr(self.flow_run, "id", ""))

    def begin(self, client: Any) -> None:
        """Has a flow run, and a flow that keeps its results where they belong."""
        self._check()
        task = self._task
        tags = ["mahavishnu", f"execution:{task.execution}", f"stage:{task.stage}"]
        flow_run = _earlier(client, tags) if task.attempt > 1 or task.delivery > 1 else None
        if flow_run is None:
            name = f"{task.stage}-{task.attempt}"
            flow_run = client.create_flow_run(self.flow, parameters=self._parameters, name=name, tags=tags, state=Pending())
        self.flow = copy.copy(self.flow)  # the user's own is not ours to change
        self.flow.should_validate_parameters = False
        if self.flow.result_storage is None:
            self._keep_results()
        self.flow_run = flow_run
        _RUNS[self.id] = f"{task.execution}:{task.stage}"
        self._began(self.id)

    def go_on(self) -> Any:
        """Runs a flow that is not async."""
        self._check()
        return run_flow_sync(self.flow, self.flow_run, self._parameters)

    def _check(self) -> None:
        """A thread ends here when nobody waits for it any more."""
        if self.given_up.is_set():
            raise asyncio.CancelledError

    def _keep_results(self) -> None:
        """Gives the flow a place for its results. Whether to use it is what Prefect would do, which would ask the server once more."""
        storage = self._results
        if callable(storage):
            own = get_default_result_storage(_sync=True)
            if self.flow.persist_result is None:
                self.flow.persist_result = get_default_persist_setting() or own._block_document_id is not None
            storage = asyncio.run_coroutine_threadsafe(storage(own), self._loop).result()
        self.flow.result_storage = storage


def _earlier(client: Any, tags: list[str]) -> Any:
    """The flow run in which an attempt before this one stood, ready to go on; `None` when there is none."""
    wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=tags))
    found = client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1)
    if not found:
        return None
    client.set_flow_run_state(found[0].id, Pending(), force=True)
    return client.read_flow_run(found[0].id)


def report(link: Link) -> dict[str, list[Any]]:
    """Hooks for a task of ours that report its states."""

    async def tell(_task: Any, task_run: Any, state: Any) -> None:
        data: dict[str, Any] = {"state": state.name, "task_run": str(task_run.id)}
        if state.is_failed() and state.message:
            data["message"] = state.message[:500]
        await link.progress("task_state", task_run.name, data)

    return {"on_running": [tell], "on_completion": [tell], "on_failure": [tell]}


def _failure(error: Exception) -> Exception:
    """What the flow raised, as a failure of the stage."""
    if isinstance(error, PrefectHTTPStatusError):
        return error
    if isinstance(error, RuntimeError) and "Failed to reach API" in str(error):
        return StageError("PREFECT_UNAVAILABLE", str(error), retryable=True)
    return StageError("FLOW_FAILED", f"{type(error).__name__}: {error}"[:2000], retryable=is_retryable(error))


async def _flush() -> None:
    """Task states travel as events in a thread of Prefect's, which dies with this process."""

    async def both() -> None:
        await APILogHandler.aflush()
        await EventsWorker.drain_all(timeout=FLUSH_WAIT, at_exit=False)  # type: ignore[misc]

    try:
        await asyncio.wait_for(both(), FLUSH_WAIT)
    except asyncio.TimeoutError:
        print("Prefect's last events could not be delivered in time", flush=True)
