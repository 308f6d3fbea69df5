"""`dag`: tasks with needs, run as one flow, side by side where nothing is in between.

    tasks:
      - {name: totals, sql: "SELECT account, count(*) AS n FROM database1 GROUP BY account"}
      - {name: rates, http: "https://rates.example/latest"}
      - {name: report, python: "dag.py:report", needs: [totals, rates], parameters: {top: 3}}
      - {name: upload, shell: "scp report.csv $HOST:", needs: [report], parameters: {HOST: depot}}

SQL sees the named `sources` and the tables of the tasks it needs. A function gets the outputs of what it needs
as `inputs`, by name, and its `parameters`. A shell command, which the worker must allow, gets the same inputs as JSON on
standard input and its parameters as environment variables. Output: `{"tasks": {name: value}, "order": [...],
"flow_run"}`.

Invariant: a task starts when all that it needs has succeeded; the first failure cancels what still runs. What has
succeeded is not done again by the attempt after one that was killed (`kept`).
"""

from __future__ import annotations

import asyncio
import inspect
import json
import tempfile
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import duckdb
import httpx
from prefect import flow
from prefect import task as prefect_task

from ... import references
from ...api import Link, StageError, Task
from ...framing import plain
from ...summary import nearest
from . import flows
from .catalogue import NAME, chosen
from .extract import TIMEOUT, extract
from .kept import Kept, workplace
from .shell import run as run_shell
from .tables import Tables

KINDS = ("sql", "http", "python", "shell")
MAX_TASKS = 100
#: Rows of a source, and rows that a task's SQL may yield: they are values of the flow.
MAX_ROWS = 10_000
MAX_ANSWER = 8 * 1024 * 1024
_KEYS = ("name", "kind", "needs", "parameters", *KINDS)


@dataclass(frozen=True)
class Step:
    """One task of the graph, checked. `place` is its path in the stage's task."""

    name: str
    kind: str
    what: str
    place: str
    needs: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)


async def run_dag(task: Task, link: Link) -> dict[str, Any]:
    steps = parse(task.task.get("tasks"))
    sources = chosen(task, required=False)
    async with workplace(task, link) as kept:
        graph = _Graph(task, link, steps, kept)
        with Tables(kept.directory) as tables:
            for source in sources:
                await asyncio.to_thread(extract, source, tables, kept.directory)
            graph.base = {source.name: _rows(tables, source.name, f"the source {source.name}", "sources") for source in sources}
        outcome = await flows.execute(graph.flow(), {"tasks": [step.name for step in steps]}, task, kept.results)
    return {"tasks": outcome.value, "order": graph.order, "flow_run": outcome.flow_run}


def parse(tasks: Any) -> list[Step]:
    """The tasks of a graph without cycles; an object of names is as good as a list."""
    if isinstance(tasks, dict):
        tasks = [{"name": name, **entry} if isinstance(entry, dict) else entry for name, entry in tasks.items()]
    if not isinstance(tasks, (list, tuple)) or not 1 <= len(tasks) <= MAX_TASKS:
        raise _invalid("tasks", f"tasks must list 1 to {MAX_TASKS} tasks")
    steps = [_step(entry, f"tasks[{index}]") for index, entry in enumerate(tasks)]
    names = [step.name for step in steps]
    for step in steps:
        if names.count(step.name) > 1:
            raise _invalid(f"{step.place}.name", f"two tasks are named {step.name}")
        for index, need in enumerate(step.needs):
            if need not in names:
                raise _invalid(f"{step.place}.needs[{index}]", f"unknown task {need!r}{nearest(need, names)}")
    try:
        TopologicalSorter({step.name: step.needs for step in steps}).prepare()
    except CycleError as error:
        raise _invalid("tasks", f"tasks need each other: {' -> '.join(error.args[1])}") from error
    return steps


def _step(entry: Any, place: str) -> Step:
    if not isinstance(entry, dict):
        raise _invalid(place, "a task is an object with a name and one of sql, http, python, shell")
    for key in entry:
        if key not in _KEYS:
            raise _invalid(f"{place}.{key}", f"unknown key {key!r}{nearest(key, _KEYS)}")
    name = entry.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise _invalid(f"{place}.name", "a name is a letter followed by letters, digits and underscores")
    kinds = [kind for kind in KINDS if kind in entry]
    if len(kinds) != 1 or entry.get("kind", kinds[0]) != kinds[0]:
        raise _invalid(place, "a task has exactly one of sql, http, python, shell")
    what = entry[kinds[0]]
    if not isinstance(what, str) or not what:
        raise _invalid(f"{place}.{kinds[0]}", "must be a text")
    if kinds[0] == "http" and not what.startswith(("http://", "https://")):
        raise _invalid(f"{place}.http", "must be an http address")
    needs = entry.get("needs") or ()
    if not isinstance(needs, (list, tuple)) or not all(isinstance(need, str) for need in needs):
        raise _invalid(f"{place}.needs", "needs must list names of tasks")
    parameters = entry.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise _invalid(f"{place}.parameters", "parameters must be an object")
    return Step(name, kinds[0], what, place, tuple(needs), parameters)


class _Graph:
    """The flow of one attempt."""

    def __init__(self, task: Task, link: Link, steps: list[Step], kept: Kept) -> None:
        self._task = task
        self._kept = kept
        self._steps = steps
        self._hooks = flows.report(link)
        self.base: dict[str, Any] = {}
        self.order: list[str] = []

    def flow(self) -> Any:
        @flow(name="dag", validate_parameters=False, persist_result=False)
        async def dag(tasks: list) -> dict[str, Any]:
            running: dict[str, asyncio.Future[Any]] = {}

            async def when_ready(step: Step) -> Any:
                inputs = {need: await asyncio.shield(running[need]) for need in step.needs}
                value = await self._run(step, inputs)
                self.order.append(step.name)
                return value

            for name in TopologicalSorter({step.name: step.needs for step in self._steps}).static_order():
                (step,) = [step for step in self._steps if step.name == name]
                running[name] = asyncio.ensure_future(when_ready(step))
            try:
                await asyncio.gather(*running.values())
            except BaseException:
                for future in running.values():
                    future.cancel()
                await asyncio.gather(*running.values(), return_exceptions=True)
                raise
            return {step.name: running[step.name].result() for step in self._steps}

        return dag

    async def _run(self, step: Step, inputs: dict[str, Any]) -> Any:
        what = [step.kind, step.what, step.parameters, inputs]
        caches = self._kept.caching(step.name, what)

        @prefect_task(name=step.name, task_run_name=step.name, **caches, **self._hooks)
        async def work() -> Any:
            return plain(await getattr(self, f"_{step.kind}")(step, inputs))

        return await work()

    async def _sql(self, step: Step, inputs: dict[str, Any]) -> Any:
        return await asyncio.to_thread(_query, step, {**self.base, **inputs})

    async def _shell(self, step: Step, inputs: dict[str, Any]) -> Any:
        return await run_shell(step.what, step.parameters, inputs, self._task.project, f"{step.place}.shell")

    async def _http(self, step: Step, inputs: dict[str, Any]) -> Any:
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=True) as client:
                answer = await client.get(step.what)
        except httpx.HTTPError as error:
            message = f"{step.what} cannot be reached: {type(error).__name__}"
            raise StageError("HTTP_UNAVAILABLE", message, retryable=True, field=f"{step.place}.http") from error
        if answer.status_code >= 400:
            busy = answer.status_code >= 500 or answer.status_code in (408, 425, 429)
            message = f"{step.what} answered {answer.status_code}"
            raise StageError("HTTP_FAILED", message, retryable=busy, field=f"{step.place}.http")
        if len(answer.content) > MAX_ANSWER:
            message = f"{step.what} sends more than {MAX_ANSWER // 2**20} MiB"
            raise StageError("HTTP_FAILED", message, field=f"{step.place}.http")
        try:
            return answer.json()
        except ValueError:
            return answer.text

    async def _python(self, step: Step, inputs: dict[str, Any]) -> Any:
        field_name = f"{step.place}.python"
        function = await asyncio.to_thread(references.resolve, step.what, self._task.project, field_name)
        if not callable(function):
            raise StageError("REFERENCE_FAILED", f"{step.what} is not a function", field=field_name)
        if inspect.iscoroutinefunction(function):
            return await function(inputs, **step.parameters)
        return await asyncio.to_thread(function, inputs, **step.parameters)


def _query(step: Step, inputs: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a query over the inputs, in a database of its own that reaches nothing else."""
    with tempfile.TemporaryDirectory() as directory, Tables() as tables:
        for name, value in inputs.items():
            records = value if isinstance(value, list) else [value]
            rows = [record if isinstance(record, dict) else {"value": record} for record in records]
            path = Path(directory, f"{name}.ndjson")
            path.write_text("".join(json.dumps(plain(row)) + "\n" for row in rows), "utf-8")
            tables.load(name, "json", [path]) if rows else tables.create(name, [])
        tables.seal()
        try:
            tables.transform("result", step.what)
        except (duckdb.Error, ValueError) as error:
            message = f"{step.name}: {type(error).__name__}: {error}"[:1500]
            raise StageError("TRANSFORM_FAILED", message, field=f"{step.place}.sql") from error
        return _rows(tables, "result", step.name, f"{step.place}.sql")


def _rows(tables: Tables, table: str, whose: str, field_name: str) -> list[dict[str, Any]]:
    """All rows of a table; a part of them would be taken for all."""
    count = tables.count(table)
    if count > MAX_ROWS:
        message = f"{whose} has {count} rows, more than the {MAX_ROWS} that a graph takes; an etl stage takes any number"
        raise StageError("TABLE_TOO_LARGE", message, field=field_name)
    return tables.sample(table, MAX_ROWS)


def _invalid(field_name: str, message: str) -> StageError:
    return StageError("TASK_INVALID", message, field=field_name)
