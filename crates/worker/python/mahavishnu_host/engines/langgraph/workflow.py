"""The declarative form: `nodes`, `edges` and `conditional`, read and checked, not yet a graph.

Nodes run in the listed order and the last one ends the graph. A node in `edges` leads to what is given
there, to several in parallel; one in `conditional` has only the routes given there. A target that is not
listed is an implicit node, which ends the graph.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...api import StageError
from ...summary import nearest

END_NAMES = ("end", "END", "__end__")
RESERVED = (*END_NAMES, "__start__")

#: The keys of each kind of node besides `name` and `kind`.
KINDS: dict[str, tuple[str, ...]] = {
    "agent": ("role", "instructions", "max_tokens", "model"),
    "approval": ("title", "question"),
    "set": ("values",),
    "python": ("ref",),
    "graph": ("ref",),
    "tool": ("ref", "args"),
}
_REQUIRED = {"set": "values", "python": "ref", "graph": "ref", "tool": "ref"}
_KEYS = ("nodes", "conditional", "edges", "max_steps")
_LITERAL = re.compile(r"""(["'])([A-Za-z_][\w.-]*)\1""")


@dataclass(frozen=True)
class Node:
    name: str
    kind: str
    options: Mapping[str, Any]
    field: str


@dataclass(frozen=True)
class Route:
    """`when` is CEL over `state`, or None for the default. `to` None is the end of the graph."""

    when: str | None
    to: str | None


@dataclass(frozen=True)
class Workflow:
    """`routes` has the conditions of a node in order, or one CEL expression that yields a node's name."""

    nodes: dict[str, Node]
    order: list[str]
    routes: dict[str, list[Route] | str]
    targets: dict[str, list[str | None]] = field(default_factory=dict)
    edges: dict[str, list[str | None]] = field(default_factory=dict)
    max_steps: int = 0

    def after(self, name: str) -> list[str | None]:
        """The nodes that follow without a choice; None is the end."""
        if name in self.edges:
            return self.edges[name]
        if name not in self.order:
            return [None]
        following = self.order[self.order.index(name) + 1 :]
        return [following[0] if following else None]


def parse(source: Any) -> Workflow:
    """Reads `task.workflow`; raises with the field at fault."""
    _keys(source, _KEYS, "workflow")
    listed = source.get("nodes")
    if not isinstance(listed, list) or not listed:
        raise _invalid("a workflow needs a list of nodes", "workflow.nodes")
    nodes: dict[str, Node] = {}
    for index, item in enumerate(listed):
        node = _node(item, f"workflow.nodes[{index}]")
        if node.name in nodes:
            raise _invalid(f"the node {node.name} is listed twice", node.field)
        nodes[node.name] = node
    order = list(nodes)
    routes: dict[str, list[Route] | str] = {}
    targets: dict[str, list[str | None]] = {}
    conditional = source.get("conditional") or {}
    if not isinstance(conditional, Mapping):
        raise _invalid("conditional maps nodes to their routes", "workflow.conditional")
    for name, rule in conditional.items():
        path = f"workflow.conditional.{name}"
        routes[name] = rule if isinstance(rule, str) else _routes(rule, path)
        targets[name] = _literals(rule) if isinstance(rule, str) else [route.to for route in routes[name]]
        for target in targets[name]:
            if target is not None and target not in nodes:
                nodes[target] = Node(target, _default_kind(target), {}, path)
    edges = _edges(source.get("edges") or {}, nodes)
    for key, names in (("conditional", routes), ("edges", edges)):
        for name in names:
            if name not in nodes:
                hint = nearest(name, nodes)
                raise _invalid(f"{key} names {name}, which is not a node{hint}", f"workflow.{key}.{name}")
    return Workflow(nodes, order, routes, targets, edges, _max_steps(source, nodes))


def target(name: Any) -> str | None:
    """A route's target: a node's name, or None for the end."""
    return None if name is None or name in END_NAMES else str(name)


def _node(item: Any, path: str) -> Node:
    if isinstance(item, str):
        item = {"name": item}
    if not isinstance(item, Mapping):
        raise _invalid("a node is a name or an object with a name", path)
    name = item.get("name")
    if not isinstance(name, str) or not name.strip():
        raise _invalid("a node needs a name", f"{path}.name")
    if name in RESERVED:
        raise _invalid(f"{name} is a reserved name", path)
    kind = item.get("kind") or _default_kind(name)
    if kind not in KINDS:
        raise _invalid(f"{kind!r} is not a kind of node ({', '.join(KINDS)}){nearest(kind, KINDS)}", f"{path}.kind")
    _keys(item, ("name", "kind", *KINDS[kind]), path)
    required = _REQUIRED.get(kind)
    if required and not item.get(required):
        raise _invalid(f"a node of kind {kind} needs {required}", f"{path}.{required}")
    return Node(name, kind, {key: item[key] for key in KINDS[kind] if key in item}, path)


def _default_kind(name: str) -> str:
    return "approval" if name == "approve" else "agent"


def _routes(rules: Any, path: str) -> list[Route]:
    if not isinstance(rules, list) or not rules:
        raise _invalid("routes are a list of {when, to}, or one CEL expression", path)
    routes = []
    for index, rule in enumerate(rules):
        where = f"{path}[{index}]"
        _keys(rule, ("when", "to"), where)
        if not isinstance(rule.get("to"), str):
            raise _invalid("a route needs the node it goes to", f"{where}.to")
        when = rule.get("when")
        if when is not None and not isinstance(when, str):
            raise _invalid("when is a CEL expression", f"{where}.when")
        routes.append(Route(when, target(rule["to"])))
    return routes


def _edges(source: Any, nodes: dict[str, Node]) -> dict[str, list[str | None]]:
    """Where nodes lead without a choice; a target that is not there is declared by being named."""
    if not isinstance(source, Mapping):
        raise _invalid("edges maps nodes to where they lead", "workflow.edges")
    edges: dict[str, list[str | None]] = {}
    for name, given in source.items():
        path = f"workflow.edges.{name}"
        listed = given if isinstance(given, list) else [given]
        if not listed or not all(isinstance(to, str) for to in listed):
            raise _invalid("an edge leads to a node's name, or to a list of them", path)
        edges[name] = [target(to) for to in listed]
        for to in edges[name]:
            if to is not None and to not in nodes:
                nodes[to] = Node(to, _default_kind(to), {}, path)
    return edges


def _literals(expression: str) -> list[str | None]:
    """What a name-yielding expression may yield, as far as its text tells."""
    return [target(name) for _, name in _LITERAL.findall(expression)]


def _max_steps(source: Mapping[str, Any], nodes: Mapping[str, Node]) -> int:
    steps = source.get("max_steps", 25 + 4 * len(nodes))
    if isinstance(steps, float) and steps.is_integer():
        steps = int(steps)
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise _invalid("max_steps is a positive number", "workflow.max_steps")
    return steps


def _keys(item: Any, known: tuple[str, ...], path: str) -> None:
    if not isinstance(item, Mapping):
        raise _invalid("an object is needed here", path)
    for key in item:
        if key not in known:
            raise _invalid(f"unknown key {key}{nearest(key, known)}", f"{path}.{key}")


def _invalid(message: str, path: str) -> StageError:
    return StageError("WORKFLOW_INVALID", message, field=path)
