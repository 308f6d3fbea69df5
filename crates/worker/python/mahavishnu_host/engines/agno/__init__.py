"""Agno: agents of the catalogue by name (`agents`), or the user's own (`agent`, `team`).

Output: `{"content": ..., "agents": [names], "ran": [names], "model": name, "tokens": {"input": n, "output": n},
"session"?: name}`. `agents` are those that the stage has, `ran` those that really worked: the leader of a team may
answer alone.

A tool that wants confirmation, or values from a person, pauses the stage for an approval; the run goes on in another
process.

Agno reports a failed run as an event and goes on; here it is a failure of the stage, with the exception
that Agno caught as its cause.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("AGNO_TELEMETRY", "false")

from agno.agent import Agent, RunOutput  # noqa: E402
from agno.models.openai.like import OpenAILike  # noqa: E402
from agno.run.team import TeamRunOutput  # noqa: E402
from agno.team import Team, TeamMode  # noqa: E402

from ... import rehearsal  # noqa: E402
from ...api import Link, Model, StageError, Task  # noqa: E402
from ...references import resolve  # noqa: E402
from ...summary import nearest, render_context, summarise  # noqa: E402
from . import answers, calls, catalogue, failure, files, kept, knowledge, memory, steps  # noqa: E402

NAME = "agno"
PACKAGES = ("agno", "openai")
KEYS = ("agents", "agent", "team", "mode", "task", "input", "model", "session", "instructions", "writes")
_FORMS = ("agents", "agent", "team")
_WRITES = ("never", "ask", "allow")

#: Tokens that one answer may have.
MAX_TOKENS = 256
#: Seconds for one call of the model.
MODEL_TIMEOUT = 120.0
#: Tool calls of one run.
MAX_TOOL_CALLS = 8


def prewarm() -> None:
    """Runs an agent against a port where nobody listens: its failure has gone through all paths."""
    failure.install()
    answers.install()
    task = Task("warm", "warm", 1, {"agents": ["tester"]}, model=Model("http://127.0.0.1:9/v1", "warm"))

    async def warm() -> None:
        await rehearse()
        agent, _ = await _runnable(task, None)
        agent.model.max_retries = 0
        async for _ in agent.arun("warm", stream=True, stream_events=True):
            pass

    logging.disable(logging.CRITICAL)  # nobody should read of a failure that was meant
    try:
        asyncio.run(warm())
    finally:
        logging.disable(logging.NOTSET)


async def rehearse() -> None:
    """Runs a step that asks nobody."""
    await rehearsal.perform(run, {"agent": "smallest.py:workflow"}, Path(__file__).parent / "rehearsal")


async def run(task: Task, link: Link) -> dict[str, Any]:
    """One attempt."""
    _check(task.task)
    runnable, names = await _runnable(task, link)
    caught = failure.watch()
    report = _Report(link)
    kept.begin(task, link)
    for worker in steps.workers(runnable):
        calls.watch(worker)
    async with memory.opened(task, link) as remembered:
        remembered.give(runnable)
        final, decided = None, {}
        async for event in await _events(runnable, task, remembered, decided):
            if isinstance(event, (RunOutput, TeamRunOutput)):
                final = event
            else:
                await report.event(event)
        if getattr(getattr(final, "status", None), "value", "") == "PAUSED":
            raise memory.pause(final, remembered, decided)
        if steps.is_workflow(runnable) and report.error is None:
            return _with_session(task, steps.output(report.whole, names, report.ran, task.model.name if task.model else ""))
        return _output(task, final, report, names, caught)


async def _events(runnable: Any, task: Task, remembered: memory.Memory, decided: dict[str, Any]) -> Any:
    """The events of a new run, or of the one that goes on after a person's answer. `decided` is what people said of
    other questions of the same pause."""
    streamed = {"stream": True, "stream_events": True, "yield_run_output": True, "session_id": remembered.session}
    if task.checkpoint is None:
        return runnable.arun(_prompt(task), **streamed)
    waiting = memory.Waiting.read(task.checkpoint)
    waiting.restore(remembered)
    memory.decide(waiting, task.decision)
    final = await runnable.aget_run_output(run_id=waiting.run_id, session_id=remembered.session)
    if final is None:
        raise StageError("CHECKPOINT_UNAVAILABLE", "the run that waited is not in the agent's own database")
    memory.apply(final, waiting)
    if any(q.needs_confirmation or q.needs_user_input for q in final.requirements or ()):
        raise memory.pause(final, remembered, waiting.decided)
    return runnable.acontinue_run(run_id=waiting.run_id, requirements=final.requirements, **streamed)


class _Report:
    """Turns Agno's events into progress and deltas."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._began: dict[Any, float] = {}
        self.ran: list[str] = []
        self.error: Any = None
        self.whole: Any = None

    async def event(self, event: Any) -> None:
        kind = str(event.event).removeprefix("Team")
        source = getattr(event, "agent_name", None) or getattr(event, "team_name", None) or "agent"
        if kind == "RunContent":
            if isinstance(event.content, str) and event.content:
                await self._link.delta(source, event.content)
        elif kind == "RunStarted":
            self._began[event.run_id] = time.monotonic()
            if source not in self.ran:
                self.ran.append(source)
            await self._link.progress("agent", source, {"event": "started"})
        elif kind == "RunCompleted":
            took = time.monotonic() - self._began.get(event.run_id, time.monotonic())
            await self._link.progress("agent", source, {"event": "completed", "duration_ms": round(took * 1000)})
        elif kind == "ToolCallStarted":
            await self._tool(source, event.tool, {"event": "started", "arguments": summarise(event.tool.tool_args)})
        elif kind in ("ToolCallCompleted", "ToolCallError"):
            failed = kind == "ToolCallError" or bool(event.tool.tool_call_error)
            data = {"event": "failed" if failed else "completed", "result": summarise(event.tool.result)}
            await self._tool(source, event.tool, data)
        elif kind in ("StepStarted", "StepCompleted"):
            data = {"state": kind.removeprefix("Step").lower()}
            await self._link.progress("task_state", str(event.step_name or "step"), data)
        elif kind in ("WorkflowCompleted", "WorkflowPaused"):
            self.whole = event
        elif kind in ("RunError", "RunCancelled", "WorkflowError", "WorkflowCancelled"):
            self.error = event

    async def _tool(self, source: str, tool: Any, data: dict[str, Any]) -> None:
        await self._link.progress("tool_call", tool.tool_name or "tool", {"agent": source, **data})


async def _runnable(task: Task, link: Link | None) -> tuple[Any, list[str]]:
    """What runs, and the names of the agents in it. Without a `link` no agent may name a model of its own."""
    given = task.task
    for form in ("agent", "team"):
        if form in given:
            runnable = resolve(given[form], task.project, form)
            if not hasattr(runnable, "arun"):
                message = f"{given[form]} is a {type(runnable).__name__}, which is no agent, team or workflow"
                raise StageError("REFERENCE_INVALID", message, field=form)
            runnable = copy.copy(runnable)  # in a shared host another attempt may have it too
            if hasattr(runnable, "model") and runnable.model is None:
                runnable.model = _client(task.require_model())
            members = getattr(runnable, "members", None) or [runnable]
            if steps.is_workflow(runnable):
                members = list(steps.workers(runnable))
                for member in members:
                    if member.model is None:
                        member.model = _client(task.require_model())
            return runnable, [str(getattr(member, "name", None) or given[form]) for member in members]
    names = given["agents"]
    if not isinstance(names, list) or not names:
        raise StageError("TASK_INVALID", "agents is a list of names", field="agents")
    known = catalogue.load(task.project)
    entries = [catalogue.find(name, known, f"agents[{index}]") for index, name in enumerate(names)]
    writes = given.get("writes", "never")
    if writes not in _WRITES:
        message = f"unknown writes {writes!r} ({', '.join(_WRITES)}){nearest(writes, _WRITES)}"
        raise StageError("TASK_INVALID", message, field="writes")
    agents = []
    for entry in entries:
        model = await link.model(entry.model) if link and entry.model else task.require_model()
        agents.append(_agent(entry, task, model, writes))
    mode = given.get("mode", TeamMode.coordinate.value)
    modes = [m.value for m in TeamMode]
    if mode not in modes:
        raise StageError("TASK_INVALID", f"unknown mode {mode!r} ({', '.join(modes)}){nearest(mode, modes)}", field="mode")
    if len(agents) == 1:
        return agents[0], names
    team = Team(
        id="team",
        name="team",
        members=agents,
        mode=TeamMode(mode),
        model=_client(task.require_model()),
        instructions=_instructions(task),
        stream_member_events=True,
        tool_call_limit=MAX_TOOL_CALLS,
        telemetry=False,
    )
    return team, names


def _agent(entry: catalogue.Entry, task: Task, model: Model, writes: str) -> Agent:
    return Agent(
        id=entry.name,
        name=entry.name,
        role=entry.role,
        model=_client(model),
        instructions=[*entry.instructions, *_instructions(task)],
        tools=_tools(entry, task, writes) or None,
        tool_call_limit=MAX_TOOL_CALLS,
        telemetry=False,
    )


def _tools(entry: catalogue.Entry, task: Task, writes: str) -> list[Any]:
    tools: list[Any] = []
    for tool in entry.tools:
        if tool != "files":
            tools.append(resolve(tool, task.project, "agents"))
        elif roots := files.roots_of(task.repos, task.project):
            tools.append(files.RepoFiles(roots, writes))
    if entry.knowledge:
        tools.append(knowledge.Knowledge(entry.knowledge, task.project, entry.name))
    return tools


def _client(model: Model) -> OpenAILike:
    return OpenAILike(
        id=model.name,
        base_url=model.base_url,
        api_key=model.api_key or "none",
        temperature=0,
        max_tokens=MAX_TOKENS,
        timeout=MODEL_TIMEOUT,
        max_retries=1,
    )


def _instructions(task: Task) -> list[str]:
    given = task.task.get("instructions")
    if given is None:
        return []
    return [str(line) for line in given] if isinstance(given, list) else [str(given)]


def _prompt(task: Task) -> str:
    wanted = str(task.task.get("task") or "Do your part of this work with what is given.")
    given = {
        "Input": task.task.get("input"),
        "Input of the whole workflow": task.input,
        "Results of earlier stages": dict(task.dependencies),
    }
    context = render_context(given, task.model)
    return f"{wanted}\n\n{context}" if context else wanted


def _output(task: Task, final: Any, report: _Report, names: list[str], caught: list[BaseException]) -> dict[str, Any]:
    status = getattr(getattr(final, "status", None), "value", "ERROR")
    if report.error is not None or status in ("ERROR", "CANCELLED"):
        raise _failed(report.error, final, caught)
    content = final.content
    if content is None or isinstance(content, str) and not content.strip():
        raise StageError("EMPTY_ANSWER", "the model answered with nothing")
    metrics = final.metrics
    output = {
        "content": content,
        "agents": names,
        "ran": [name for name in report.ran if name in names],
        "model": final.model or task.require_model().name,
        "tokens": {
            "input": getattr(metrics, "input_tokens", 0) or 0,
            "output": getattr(metrics, "output_tokens", 0) or 0,
        },
    }
    return _with_session(task, output)


def _with_session(task: Task, output: dict[str, Any]) -> dict[str, Any]:
    return {**output, **({"session": task.task["session"]} if task.task.get("session") else {})}


def _failed(event: Any, final: Any, caught: list[BaseException]) -> BaseException:
    """The exception that Agno caught, or what it said of it."""
    if caught:
        return caught[-1]
    said = getattr(event, "error", None) or getattr(event, "content", None) or getattr(event, "reason", None) or getattr(final, "content", None)
    return StageError("AGENT_FAILED", str(said or "the run failed without a reason"))


def _check(task: Mapping[str, Any]) -> None:
    for key in task:
        if key not in KEYS:
            raise StageError("TASK_INVALID", f"unknown key {key}{nearest(key, KEYS)}", field=key)
    if sum(form in task for form in _FORMS) != 1:
        raise StageError("TASK_INVALID", "an agno task has one of agents, agent or team", field="agents")
