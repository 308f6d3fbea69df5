"""What an idle process rehearses: a graph of one node."""

from typing import TypedDict

from langgraph.graph import END, START, StateGraph


class State(TypedDict):
    """One member."""

    x: int


def only(_state: State) -> State:
    """The only node."""
    return {"x": 1}


builder = StateGraph(State)
builder.add_node("only", only)
builder.add_edge(START, "only")
builder.add_edge("only", END)
graph = builder.compile()
