"""A graph as its author has it at home: nothing here knows of Mahavishnu."""

import operator
from typing import Annotated, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt


class State(TypedDict, total=False):
    tickets: list[str]
    urgent: Annotated[list[str], operator.add]
    plan: str


def sort(state: State) -> State:
    return {"urgent": [ticket for ticket in state["tickets"] if "down" in ticket]}


def ask(state: State) -> State:
    answer = interrupt({"question": "Page somebody?", "urgent": state["urgent"]})
    return {"plan": "page" if answer["approved"] else "wait"}


def count_words(text: str) -> int:
    """A function that the declared graph calls as a tool."""
    return len(text.split())


graph = StateGraph(State).add_node(sort).add_node(ask)
graph.add_edge(START, "sort").add_edge("sort", "ask").add_edge("ask", END)


def add(state: dict) -> dict:
    """A node of the declared graph: what it returns is merged into the state."""
    return {"sum": state["left"] + state["right"]}
