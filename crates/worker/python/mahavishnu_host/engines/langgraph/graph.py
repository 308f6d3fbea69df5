"""Graphs: one built from the declarative form, or the user's own by reference.

The state of the declarative form is one dict. An update is merged into it: objects member by member,
anything else replaces what was there. Parallel updates of different keys therefore do not collide.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any

from langgraph.graph import END, START, StateGraph
from langgraph.pregel import Pregel

from ...api import Link, StageError, Task
from ...references import resolve
from ...summary import nearest
from . import nodes
from .workflow import Node, Workflow, target

State = dict[str, Any]


def merge(state: State | None, update: State | None) -> State:
    """The reducer of the declarative state."""
    merged = dict(state or {})
    for key, value in (update or {}).items():
        known = merged.get(key)
        merged[key] = merge(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


async def declarative(workflow: Workflow, task: Task, link: Link, config: Mapping[str, Any]) -> StateGraph:
    """The `StateGraph` that the workflow describes."""
    graph = StateGraph(Annotated[dict, merge])
    for node in workflow.nodes.values():
        if node.kind == "graph":
            graph.add_node(node.name, await _inner(node, task, config))
        else:
            graph.add_node(node.name, nodes.build(node, task, link))
    graph.add_edge(START, workflow.order[0])
    for name in workflow.nodes:
        if name not in workflow.routes:
            for following in workflow.after(name):
                graph.add_edge(name, following or END)
            continue
        ends = {to: to or END for to in (None, *workflow.targets[name], *_reachable(workflow, name))}
        graph.add_conditional_edges(name, _router(workflow, name, link), {to or END: end for to, end in ends.items()})
    return graph


def initial_state(task: Task) -> State:
    """The workflow's input and the stage's own at the top level, earlier stages under `stages`."""
    state: State = {}
    for given in (task.input, task.task.get("input")):
        if isinstance(given, Mapping):
            state |= given
        elif given is not None:
            state["input"] = given
    state["stages"] = {stage: {"output": output} for stage, output in task.dependencies.items()}
    state.setdefault("results", {})
    return state


async def referenced(reference: Any, project: str, config: Mapping[str, Any], field: str = "graph") -> StateGraph | Pregel:
    """The user's graph: a `StateGraph`, a compiled graph, or a function that makes one."""
    graph = resolve(reference, project, field)
    if not isinstance(graph, (StateGraph, Pregel)) and callable(graph):
        takes_config = bool(inspect.signature(graph).parameters)
        graph = graph(config) if takes_config else graph()
        if inspect.isawaitable(graph):
            graph = await graph
    if not isinstance(graph, (StateGraph, Pregel)):
        raise StageError("REFERENCE_INVALID", f"{reference} is a {type(graph).__name__}, not a graph", field=field)
    return graph


async def _inner(node: Node, task: Task, config: Mapping[str, Any]) -> Pregel:
    """A graph inside: it gets the state's members that its own schema names, and its values are the update."""
    graph = await referenced(node.options["ref"], task.project, config, f"{node.field}.ref")
    # Checkpoints are those of the graph around it, also if it was compiled with its own.
    return graph.compile() if isinstance(graph, StateGraph) else graph.copy(update={"checkpointer": None})


def _reachable(workflow: Workflow, name: str) -> list[str]:
    """An expression that yields a name may yield any node's."""
    return list(workflow.nodes) if isinstance(workflow.routes[name], str) else []


def _router(workflow: Workflow, name: str, link: Link) -> Any:
    rule = workflow.routes[name]

    async def by_name(state: State) -> str:
        chosen = target(await link.evaluate(str(rule), {"state": state}))
        if chosen is not None and chosen not in workflow.nodes:
            message = f"the route of {name} yields {chosen!r}, which is not a node{nearest(chosen, workflow.nodes)}"
            raise StageError("ROUTE_UNKNOWN", message, field=f"workflow.conditional.{name}")
        return chosen or END

    async def by_conditions(state: State) -> str:
        for route in rule:
            if route.when is None:  # type: ignore[union-attr]
                return route.to or END  # type: ignore[union-attr]
            # As everywhere in conditions: null, false, zero and what is empty do not hold.
            if await link.evaluate(route.when, {"state": state}):  # type: ignore[union-attr]
                return route.to or END  # type: ignore[union-attr]
        return END

    return by_name if isinstance(rule, str) else by_conditions
