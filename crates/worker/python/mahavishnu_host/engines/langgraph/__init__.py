"""LangGraph: a real `StateGraph` from `workflow`, or the user's own from `graph`.

Output: `{"state": {...}, "path": [nodes in the order they ended], "approved": true|false|null,
"decision": {...}|null, "model": name|null, "tokens": {"input": n, "output": n}}`.

Every step is checkpointed in the worker's store. After an `interrupt`, a lost process or a failed attempt, another
process goes on from there; nodes that had ended are not run again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import AIMessageChunk
from langgraph.errors import GraphRecursionError, InvalidUpdateError
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel
from langgraph.types import Command

from ... import rehearsal
from ...api import Approval, Decision, Link, Model, Paused, StageError, Task, Update
from ...summary import nearest, summarise
from . import context, graph as graphs, nodes, workflow as workflows
from .saver import Saver

NAME = "langgraph"
PACKAGES = ("langgraph", "langgraph-checkpoint", "langchain-core", "langchain-openai")
KEYS = ("workflow", "graph", "input", "model")

_MODES = ["tasks", "messages", "custom"]


def prewarm() -> None:
    """Imports all that a run needs, by one of them."""
    context.install()
    asyncio.run(rehearse())
    with contextlib.suppress(ModuleNotFoundError):  # in a Python of the user's own
        nodes.chat_model(Model("http://127.0.0.1:1/v1", "warm"), 1)


async def rehearse() -> None:
    """Runs a small graph of each form, the declarative one to its interrupt."""
    spec: dict[str, Any] = {"nodes": [{"name": "warm", "kind": "set", "values": {"x": "1"}}, "approve"]}
    for task in ({"workflow": spec}, {"graph": "smallest.py:graph"}):
        with contextlib.suppress(Paused):
            await rehearsal.perform(run, task, Path(__file__).parent / "rehearsal")


async def run(task: Task, link: Link) -> dict[str, Any]:
    """One attempt. Raises `Paused` at an interrupt."""
    _check(task.task)
    session = _Session(task, link)
    if "graph" in task.task:
        return await session.run(await graphs.referenced(task.task["graph"], task.project, session.config), _own_input(task))
    workflow = workflows.parse(task.task["workflow"])
    session.config["recursion_limit"] = workflow.max_steps
    try:
        graph = await graphs.declarative(workflow, task, link, session.config)
    except ValueError as error:  # LangGraph's own rules, such as for names
        raise StageError("WORKFLOW_INVALID", str(error), field="workflow") from error
    output = await session.run(graph, graphs.initial_state(task))
    output["state"].pop("stages", None)  # the later stages get these from where they come from
    return output


class _Session:
    """One run of one graph: its saver, its stream, what is counted on the way."""

    def __init__(self, task: Task, link: Link) -> None:
        self._task = task
        self._link = link
        thread = f"{task.execution}:{task.stage}"
        self._saver = Saver(link, thread, self._counted)
        self._usage = _Usage()
        self._began: dict[str, float] = {}
        self._path: list[str] = []
        #: What earlier processes had counted.
        self._before: dict[str, Any] = {"model": None, "tokens": {"input": 0, "output": 0}}
        self.config: dict[str, Any] = {
            "callbacks": [self._usage],
            "configurable": {
                "thread_id": thread,
                "execution": task.execution,
                "stage": task.stage,
                "attempt": task.attempt,
                "dependencies": dict(task.dependencies),
                "repos": list(task.repos),
                "documents": dict(task.documents),
            },
        }

    async def run(self, source: StateGraph | Pregel, state: Any) -> dict[str, Any]:
        await self._saver.open()
        graph = self._compile(source)
        given = await self._resume(graph, state)
        try:
            stream = graph.astream(given, self.config, stream_mode=_MODES, subgraphs=True, durability="sync")
            async for namespace, mode, event in stream:
                await self._report(namespace, mode, event)
        except GraphRecursionError as error:
            raise StageError("LOOP_LIMIT", str(error), field="workflow.max_steps") from error
        snapshot = await graph.aget_state(self.config)
        if snapshot.interrupts:
            raise Paused([_approval(t.name, i) for t in snapshot.tasks for i in t.interrupts])
        values = snapshot.values
        final = dict(values) if isinstance(values, Mapping) else {"value": values}
        counted = self._counted()
        return {
            "state": final,
            "path": counted["path"],
            "approved": final.get("approved"),
            "decision": final.get("decision"),
            "model": counted["model"],
            "tokens": counted["tokens"],
        }

    def _compile(self, source: StateGraph | Pregel) -> Pregel:
        if isinstance(source, StateGraph):
            return source.compile(checkpointer=self._saver)
        return source.copy(update={"checkpointer": self._saver})

    async def _resume(self, graph: Pregel, state: Any) -> Any:
        """What the graph is given: its input, a decision, or nothing where it just goes on."""
        newest, written = self._saver.newest()
        if newest is None:
            if self._task.decision is not None:
                message = "the checkpoint of this pause is not kept any more"
                raise StageError("CHECKPOINT_EXPIRED", message)
            return self._with_stages(graph, state)
        snapshot = await graph.aget_state(self.config)
        # In a step that was not finished some nodes may have been; the checkpoint does not list them yet.
        finished = [task.name for task in snapshot.tasks if task.result is not None]
        self._path = [*newest.view["path"], *finished]
        last = max([newest, *written], key=lambda record: record.position).view
        self._before = {"model": last["model"], "tokens": last["tokens"]}
        if self._task.update is not None and newest.attempt == 0:
            # Still another execution's: the change is the first that this one writes, so it is made once.
            await self._change(graph, self._task.update)
            return None
        decision = self._task.decision
        if decision is not None and decision.approval_key in {interrupt.id for interrupt in snapshot.interrupts}:
            # A process that took the decision may have been lost; one pause is not answered twice.
            turn = (self._task.attempt, self._task.resume)
            taken = any("__resume__" in r.view["channels"] and (r.attempt, r.resume) == turn for r in written)
            if not taken:
                return Command(resume={decision.approval_key: self._answer(decision)})
        else:
            data = {"step": newest.view["step"], "next": list(snapshot.next)}
            await self._link.progress("message", "resumed", data)
        return None

    async def _change(self, graph: Pregel, update: Update) -> None:
        try:
            await graph.aupdate_state(self.config, dict(update.values), as_node=update.as_node or None)
        except InvalidUpdateError as error:
            raise StageError("STATE_INVALID", str(error), field="state") from error
        snapshot = await graph.aget_state(self.config)
        await self._link.progress("message", "state_changed", {"next": list(snapshot.next)})

    def _answer(self, decision: Decision) -> Any:
        answer: Any = {
            "approved": decision.approved,
            "reason": decision.reason,
            "decided_by": decision.decided_by,
            "values": dict(decision.values),
        }
        # A graph of the user's own may wait for something else than a decision.
        return decision.values.get("resume", answer) if "graph" in self._task.task else answer

    def _with_stages(self, graph: Pregel, state: Any) -> Any:
        if isinstance(state, dict) and "stages" in graph.channels and "stages" not in state:
            return state | {"stages": {stage: {"output": out} for stage, out in self._task.dependencies.items()}}
        return state

    async def _report(self, namespace: tuple[str, ...], mode: str, event: Any) -> None:
        if mode == "messages":
            message, metadata = event
            if isinstance(message, AIMessageChunk) and (text := nodes.text_of(message.content)):
                await self._link.delta(str(metadata.get("langgraph_node", "")), text)
        elif mode == "custom":
            data = event if isinstance(event, Mapping) else {"value": event}
            await self._link.progress("message", "custom", summarise(data))
        elif "triggers" in event:
            self._began[event["id"]] = time.monotonic()
        else:
            await self._ended(namespace, event)

    async def _ended(self, namespace: tuple[str, ...], event: Mapping[str, Any]) -> None:
        if event["error"] or event["interrupts"]:
            return  # the failure or the pause says it
        name = event["name"]
        result = event["result"]
        update = result.get("__root__", result) if isinstance(result, Mapping) else result
        data = {
            "duration_ms": round((time.monotonic() - self._began.pop(event["id"], time.monotonic())) * 1000),
            "update": summarise(update),
        }
        if namespace:
            data["subgraph"] = [part.partition(":")[0] for part in namespace]
        else:
            self._path.append(name)
        await self._link.progress("node_update", name, data)

    def _counted(self) -> dict[str, Any]:
        """Path, model and tokens up to now, over all processes that worked on the stage."""
        model, tokens = self._before["model"], dict(self._before["tokens"])
        for name, usage in self._usage.usage_metadata.items():
            model = name
            tokens["input"] += usage["input_tokens"]
            tokens["output"] += usage["output_tokens"]
        return {"path": list(self._path), "model": model, "tokens": tokens}


class _Usage(UsageMetadataCallbackHandler):
    """Asked at the ends of model calls only, and on the loop: LangChain would send each event of each node to a thread."""

    run_inline = True
    ignore_agent = ignore_chain = ignore_retriever = ignore_retry = ignore_custom_event = True


def _approval(node: str, interrupt: Any) -> Approval:
    value = interrupt.value
    if not isinstance(value, Mapping):
        return Approval(interrupt.id, node, {"value": summarise(value)})
    title = value.get("title") or value.get("question") or node
    return Approval(interrupt.id, str(title), {"node": node, **summarise(value)})


def _own_input(task: Task) -> Any:
    given = task.task.get("input", task.input)
    return {} if given is None else given


def _check(task: Mapping[str, Any]) -> None:
    for key in task:
        if key not in KEYS:
            raise StageError("TASK_INVALID", f"unknown key {key}{nearest(key, KEYS)}", field=key)
    if ("workflow" in task) == ("graph" in task):
        raise StageError("TASK_INVALID", "a langgraph task has either workflow or graph", field="workflow")
