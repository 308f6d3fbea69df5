"""`etl` and `scheduled_etl`: a flow that extracts the sources side by side, transforms and loads.

Output: `{"rows": {source: n}, "tables": {table: n}, "loaded": n, "target": {kind, path, tables}, "schema":
{table: [{name, type}]}, "sample": {table: [rows]}, "flow_run": {id, name, url}}`.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
from prefect import flow
from prefect import task as prefect_task
from prefect.cache_policies import NO_CACHE

from ...api import Link, StageError, Task
from . import flows
from .catalogue import NAME, Source, chosen
from .extract import extract
from .load import Target, load, target
from .tables import Tables

#: Rows of each table that the output shows.
SAMPLE = 5
#: Tries of a source that was unreachable or busy, the first included, and the seconds between them.
TRIES = 3
PAUSE = 1.0


async def run_etl(task: Task, link: Link) -> dict[str, Any]:
    sources = chosen(task)
    into = target(task)
    statements = _statements(task)
    work = _workplace(task)
    try:
        with Tables(work) as tables:
            whole = _Flow(task, link, tables, work)
            names = [source.name for source in sources]
            outcome = await flows.execute(whole.flow(sources, statements, into), {"sources": names}, task)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return {**outcome.value, "flow_run": outcome.flow_run}


class _Flow:
    """The steps of one attempt. They share tables, which are no parameters: Prefect would record those."""

    def __init__(self, task: Task, link: Link, tables: Tables, work: Path) -> None:
        self._task = task
        self._tables = tables
        self._work = work
        self._hooks = flows.report(link)

    def flow(self, chosen: list[Source], statements: dict[str, str], into: Target) -> Any:
        @flow(name=str(self._task.task["type"]), validate_parameters=False, persist_result=False)
        async def etl(sources: list) -> dict[str, Any]:
            counts = await _all([self._step(f"extract {s.name}", self._extract, s, retries=TRIES - 1) for s in chosen])
            rows = dict(zip(sources, counts))
            loading = list(rows)
            if statements:
                await self._step("transform", self._transform, statements)
                loading = list(statements)
            named = {name: name for name in loading}
            if into.table is not None:
                if len(loading) != 1:
                    message = f"{len(loading)} tables cannot all be named {into.table}; leave target.table out"
                    raise StageError("TASK_INVALID", message, field="target.table")
                named = {loading[0]: into.table}
            loaded = await self._step("load", self._load, named, into)
            return {
                "rows": rows,
                "tables": loaded,
                "loaded": sum(loaded.values()),
                "target": {"kind": into.kind, "path": str(into.path), "tables": sorted(loaded)},
                "schema": {table: self._tables.schema(name) for name, table in named.items()},
                "sample": {table: self._tables.sample(name, SAMPLE) for name, table in named.items()},
            }

        return etl

    async def _step(self, name: str, work: Callable[..., Any], *given: Any, retries: int = 0) -> Any:
        """One task of the flow; its work is done beside the event loop."""

        @prefect_task(
            name=name.split(" ")[0],
            task_run_name=name,
            retries=retries,
            retry_delay_seconds=PAUSE,
            retry_condition_fn=_may_pass,
            cache_policy=NO_CACHE,
            persist_result=False,
            **self._hooks,
        )
        async def step() -> Any:
            try:
                return await asyncio.to_thread(work, *given)
            except asyncio.CancelledError:
                self._tables.interrupt()
                raise

        return await step()

    def _extract(self, source: Source) -> int:
        return extract(source, self._tables, self._work)

    def _transform(self, statements: dict[str, str]) -> dict[str, int]:
        self._tables.seal()
        counts = {}
        for name, sql in statements.items():
            try:
                counts[name] = self._tables.transform(name, sql)
            except (duckdb.Error, ValueError) as error:
                message = f"transform {name}: {type(error).__name__}: {error}"[:1500]
                raise StageError("TRANSFORM_FAILED", message, field="transform") from error
        return counts

    def _load(self, named: dict[str, str], into: Target) -> dict[str, int]:
        self._tables.unseal()
        return load(self._tables, named, into, self._task)


def _statements(task: Task) -> dict[str, str]:
    """Tables and their SQL. A single text makes the table `result`."""
    given = task.task.get("transform")
    if given is None:
        return {}
    if isinstance(given, str):
        given = {"result": given}
    if not isinstance(given, dict) or not given or not all(isinstance(sql, str) for sql in given.values()):
        message = "transform must be SQL, or an object of tables and their SQL"
        raise StageError("TASK_INVALID", message, field="transform")
    for name in given:
        if not NAME.fullmatch(name):
            raise StageError("TASK_INVALID", f"{name!r} is no name of a table", field=f"transform.{name}")
    return dict(given)


async def _all(steps: list[Any]) -> list[Any]:
    """The results in order. The first failure cancels the others and is the one that is told."""
    running = [asyncio.ensure_future(step) for step in steps]
    try:
        return list(await asyncio.gather(*running))
    except BaseException:
        for step in running:
            step.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        raise


async def _may_pass(_task: Any, _task_run: Any, state: Any) -> bool:
    error = await state.aresult(raise_on_failure=False)
    return isinstance(error, StageError) and error.retryable


def _workplace(task: Task) -> Path:
    parent = Path(task.data) / "work"
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{task.execution}-{task.stage}-", dir=parent))
