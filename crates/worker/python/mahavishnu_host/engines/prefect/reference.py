"""`flow`: the user's own flow by entry point, with parameters; states of its tasks are shown as they come.

Output: `{"result", "flow_run": {id, name, url}}`; a result that is an object is the output itself, with
`flow_run` beside it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from prefect import Flow
from prefect.filesystems import LocalFileSystem, WritableFileSystem

from ... import references
from ...api import Link, StageError, Task
from ...framing import plain
from . import client, flows
from .kept import Results, own_results
from .states import States


async def run_flow(task: Task, link: Link) -> dict[str, Any]:
    parameters = task.task.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise StageError("TASK_INVALID", "parameters must be an object", field="parameters")
    client.api_url()
    flow = await asyncio.to_thread(references.resolve, task.task["flow"], task.project, "flow")
    if not isinstance(flow, Flow):
        raise StageError("REFERENCE_FAILED", f"a {type(flow).__name__} is no Prefect flow", field="flow")
    try:
        checked = flow.validate_parameters(parameters)
    except Exception as error:
        raise StageError("TASK_INVALID", f"parameters: {error}"[:1000], field="parameters") from error
    if flow.should_validate_parameters:
        parameters = checked

    shared: list[Results] = []

    async def keep(storage: WritableFileSystem) -> WritableFileSystem:
        # Prefect's own place for results; one on this machine is shared with the machines that may go on.
        if type(storage) is not LocalFileSystem:
            return storage
        shared.append(await own_results(task, link, storage, flow.isasync))
        return shared[-1]

    async with States(link) as states:
        outcome = await flows.execute(flow, parameters, task, keep, states.watch)
        for results in shared:
            await results.settled()
    result = plain(outcome.value)
    shown = result if isinstance(result, dict) else {"result": result}
    return {**shown, "flow_run": outcome.flow_run}
