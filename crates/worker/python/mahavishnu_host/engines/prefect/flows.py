"""Runs a flow through Prefect's own engine, so that Prefect's server knows it as any other.

One stage of an execution is one flow run: a later attempt, and a delivery after a kill, goes on in it, so that Prefect's
own cache serves what had finished.

Invariants: no flow runs without a server (Prefect would start a slow one of its own for every attempt); what
Prefect could not tell its server when the flow ended is flushed before the attempt ends.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from prefect import Flow
from prefect.cache_policies import RunId
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events.worker import EventsWorker
from prefect.exceptions import PrefectHTTPStatusError
from prefect.filesystems import WritableFileSystem
from prefect.flow_engine import run_flow_async, run_flow_sync
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Pending
from prefect.utilities.urls import url_for

from ...api import Link, StageError, Task
from ...failures import is_retryable

#: Seconds to wait for a server that is just starting.
SERVER_WAIT = 15.0
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


async def execute(
    flow: Flow[..., Any], parameters: dict[str, Any], task: Task, results: WritableFileSystem | None, after: Any = None
) -> Outcome:
    """The flow's result. `results` is where it keeps those of its tasks, unless they say otherwise. `after` is called with the id of the flow run before the flow starts."""
    with _unavailable():
        stop_heartbeat()
        api_url()  # before there is a client: that one would start a server
        async with get_client() as client:
            await _wait_for_server(client)
            tags = ["mahavishnu", f"execution:{task.execution}", f"stage:{task.stage}"]
            flow_run = await _earlier(client, tags) if task.attempt > 1 or task.delivery > 1 else None
            if flow_run is None:
                name = f"{task.stage}-{task.attempt}"
                flow_run = await client.create_flow_run(
                    flow, parameters=parameters, name=name, tags=tags, state=Pending()
                )
        if after is not None:
            await after(flow_run.id)
        if flow.result_storage is None:
            flow = copy.copy(flow)  # the user's own is not ours to change
            flow.result_storage = results
        _RUNS[str(flow_run.id)] = f"{task.execution}:{task.stage}"
        try:
            if flow.isasync:
                value = await run_flow_async(flow, flow_run=flow_run, parameters=parameters)
            else:
                value = await asyncio.to_thread(run_flow_sync, flow, flow_run, parameters)
        except Exception as error:
            raise _failure(error) from error
        finally:
            _RUNS.pop(str(flow_run.id), None)
            await _flush()
    return Outcome(value, {"id": str(flow_run.id), "name": flow_run.name, "url": url_for(flow_run)})


async def _earlier(client: PrefectClient, tags: list[str]) -> Any:
    """The flow run in which an attempt before this one stood, ready to go on; `None` when there is none."""
    wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=tags))
    found = await client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1)
    if not found:
        return None
    await client.set_flow_run_state(found[0].id, Pending(), force=True)
    return await client.read_flow_run(found[0].id)


def stop_heartbeat() -> None:
    """Switches Prefect's heartbeat off for this process: its thread sleeps for a second and is waited for, so a
    flow of 0.1 s would take 1.1 s. The worker watches the attempt instead."""
    if PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is not None:
        # Entered for good: building the settings takes 0.2 s.
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}).__enter__()


def report(link: Link) -> dict[str, list[Any]]:
    """Hooks for a task of ours that report its states."""

    async def tell(_task: Any, task_run: Any, state: Any) -> None:
        data: dict[str, Any] = {"state": state.name, "task_run": str(task_run.id)}
        if state.is_failed() and state.message:
            data["message"] = state.message[:500]
        await link.progress("task_state", task_run.name, data)

    return {"on_running": [tell], "on_completion": [tell], "on_failure": [tell]}


def api_url() -> str:
    url = PREFECT_API_URL.value()
    if not url:
        message = "no Prefect server is configured: PREFECT_API_URL is not set in the engine host's environment"
        raise StageError("PREFECT_UNAVAILABLE", message, retryable=True)
    return url


async def _wait_for_server(client: PrefectClient) -> None:
    url = api_url()
    end = time.monotonic() + SERVER_WAIT
    while (error := await client.api_healthcheck()) is not None:
        if time.monotonic() > end:
            message = f"the Prefect server at {url} does not answer: {type(error).__name__}: {error}"
            raise StageError("PREFECT_UNAVAILABLE", message, retryable=True) from error
        await asyncio.sleep(0.2)


@contextmanager
def _unavailable() -> Iterator[None]:
    """A server that went away between two calls."""
    try:
        yield
    except (httpx.TransportError, PrefectHTTPStatusError) as error:
        raise StageError("PREFECT_UNAVAILABLE", f"the Prefect server failed: {error}", retryable=True) from error


def _failure(error: Exception) -> Exception:
    """What the flow raised, as a failure of the stage."""
    if isinstance(error, StageError):
        # The one that the task raised, without the frames of Prefect around it.
        return StageError(error.reason, error.message, error.retryable, error.field)
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
