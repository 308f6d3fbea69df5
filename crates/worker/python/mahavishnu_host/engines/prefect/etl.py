"""`etl` and `scheduled_etl`: a flow that extracts the sources side by side, transforms and loads.

Output: `{"rows": {source: n}, "tables": {table: n}, "loaded": n, "checks": n, "target": {kind, path or name, tables},
"schema": {table: [{name, type}]}, "sample": {table: [rows]}, "flow_run": {id, name, url}}`.

An attempt after one that was killed takes the finished extracts and transforms from the cache (`kept`); the load is
done again, which changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import duckdb
from prefect import flow
from prefect import task as prefect_task
from prefect.cache_policies import NO_CACHE

from ...api import Link, StageError, Task
from . import flows
from .catalogue import NAME, Source, chosen
from .expect import check, expectations
from .extract import extract
from .kept import Kept, workplace
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
    wanted = expectations(task)
    async with workplace(task, link) as kept:
        with Tables(kept.directory) as tables:
            await asyncio.to_thread(kept.restore, tables)
            whole = _Flow(task, link, tables, kept)
            flow_of_stage = whole.flow(sources, statements, wanted, into)
            names = [source.name for source in sources]
            outcome = await flows.execute(flow_of_stage, {"sources": names}, task, kept.results)
    return {**outcome.value, "flow_run": outcome.flow_run}


class _Flow:
    """The steps of one attempt. They share tables, which are no parameters: Prefect would record those."""

    def __init__(self, task: Task, link: Link, tables: Tables, kept: Kept) -> None:
        self._task = task
        self._tables = tables
        self._kept = kept
        self._hooks = flows.report(link)

    def flow(
        self, chosen: list[Source], statements: dict[str, str], wanted: dict[str, Any], into: Target
    ) -> Any:
        @flow(name=str(self._task.task["type"]), validate_parameters=False, persist_result=False)
        async def etl(sources: list) -> dict[str, Any]:
            counts = await _all([self._step(f"extract {s.name}", self._extract, s, kept=s.options, table=s.name) for s in chosen])
            rows = dict(zip(sources, counts))
            loading = list(rows)
            if statements:
                await self._step("transform", self._transform, statements, kept=[sources, statements])
                loading = list(statements)
            checks = await self._step("expect", self._check, wanted, loading) if wanted else 0
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
                "checks": checks,
                "target": {**into.shown(), "tables": sorted(loaded)},
                "schema": {table: self._tables.schema(name) for name, table in named.items()},
                "sample": {table: self._tables.sample(name, SAMPLE) for name, table in named.items()},
            }

        return etl

    async def _step(self, name: str, work: Callable[..., Any], *given: Any, kept: Any = None, table: str | None = None) -> Any:
        """One task of the flow; its work is done beside the event loop. With `kept`, which says what it depends on,
        its result is not made twice: on this machine, and on others if all that it makes is `table`."""
        caching_or_not = {"cache_policy": NO_CACHE, "persist_result": False}
        if kept is not None:
            caching_or_not = self._kept.caching(name, kept, here_only=table is None)

        @prefect_task(
            name=name.split(" ")[0],
            task_run_name=name,
            retries=TRIES - 1,
            retry_delay_seconds=PAUSE,
            retry_condition_fn=_may_pass,
            **caching_or_not,
            **self._hooks,
        )
        async def step() -> Any:
            try:
                result = await asyncio.to_thread(work, *given)
                if table is not None:
                    await self._kept.table(self._tables, table, kept)
                return result
            except asyncio.CancelledError:
                self._tables.interrupt()
                raise

        return await step()

    def _extract(self, source: Source) -> int:
        return extract(source, self._tables, self._kept.directory)

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

    def _check(self, wanted: dict[str, Any], loading: list[str]) -> int:
        return check(self._tables, wanted, loading)

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

