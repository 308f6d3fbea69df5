"""Prefect: extract, transform and load over a catalogue of sources, graphs of tasks, and the user's own flows.

Task forms, each with an optional `schedule` and `timezone`: `{"type": "etl" | "scheduled_etl", "sources"?,
"transform"?, "target"?}`, `{"type": "dag", "tasks", "sources"?}`, `{"flow": "path.py:attr", "parameters"?}`. Every
one is a real flow run on the Prefect server of `PREFECT_API_URL`, which is read when Prefect is imported. With a
`schedule` the output has `next_fire_times`.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import os
from pathlib import Path
from typing import Any

from ... import rehearsal
from ...api import Link, StageError, Task

# Before Prefect is imported: nothing of what runs here is told to the vendor, and where no server is configured none
# is started behind our back (one for each attempt, in 10 s).
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "false")

NAME = "prefect"
PACKAGES = ("prefect", "duckdb", "fastapi")


def prewarm() -> None:
    """Imports everything that a flow run needs and builds a flow. Running one would start threads, and forking
    wants none."""
    import encodings.idna  # noqa: F401
    import stringprep  # noqa: F401

    import anyio._backends._asyncio  # noqa: F401
    import prefect
    import prefect.task_engine  # noqa: F401
    import prefect.utilities.visualization  # noqa: F401
    import rich._emoji_codes  # noqa: F401

    from . import client, dag, etl, flows, reference, rehearsed, schedule, secrecy  # noqa: F401
    from .tables import Tables

    @prefect.flow(name="warm")
    async def warm(sources: list) -> None: ...

    warm.validate_parameters({"sources": []})
    client.prepare()
    with Tables() as tables:
        tables.query("SELECT 1 AS warm")
    # The host freezes its heap after this. At its end DuckDB would report every frozen object as leaked.
    atexit.register(gc.unfreeze)


async def rehearse() -> None:
    """A whole flow, of which the server hears nothing, and a client for the flow that comes."""
    from . import client
    from .rehearsed import Server

    if not client.is_configured():
        return
    task = {"flow": "smallest.py:smallest", "parameters": {"n": 1}}
    with client.unheard(Server()):
        await rehearsal.perform(run, task, Path(__file__).parent / "rehearsal")
    await asyncio.to_thread(client.connect)


async def run(task: Task, link: Link) -> dict[str, Any]:
    from .schedule import next_fire_times
    from .secrecy import keep_out

    keep_out(task.secrets)
    times = {"next_fire_times": await next_fire_times(task)} if task.task.get("schedule") else {}
    return {**await _run(task, link), **times}


async def _run(task: Task, link: Link) -> dict[str, Any]:
    kind = task.task.get("type")
    if "flow" in task.task:
        from .reference import run_flow

        return await run_flow(task, link)
    if kind in ("etl", "scheduled_etl"):
        from .etl import run_etl

        return await run_etl(task, link)
    if kind == "dag":
        from .dag import run_dag

        return await run_dag(task, link)
    raise StageError("TASK_INVALID", f"unknown task type {kind!r}", field="type")
