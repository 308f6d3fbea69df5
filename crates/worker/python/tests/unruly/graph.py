"""LangGraph: a graph of two nodes."""

from typing import Any, TypedDict

import conduct
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    place: str
    case: str
    result: Any


def first(state):
    conduct.first(state["place"], state["case"])


def second(state):
    return {"result": conduct.second(state["place"], state["case"], get_stream_writer())}


async def on_the_loop(state):
    return second(state)


async def asleep(state):
    await conduct.asleep(state["place"], state["case"])


def _graph(node):
    graph = StateGraph(State).add_node("first", first).add_node("second", node)
    return graph.add_edge(START, "first").add_edge("first", "second").add_edge("second", END)


unruly, sleepy, stuck = _graph(second), _graph(asleep), _graph(on_the_loop)
