"""The smallest real LangGraph graph."""

from typing import TypedDict

from langgraph.graph import END, START, StateGraph


class State(TypedDict):
    """One number."""

    n: int


def add(state: State) -> State:
    """The only node."""
    return {"n": state["n"] + 1}


builder = StateGraph(State)
builder.add_node("add", add)
builder.add_edge(START, "add")
builder.add_edge("add", END)
graph = builder.compile()
