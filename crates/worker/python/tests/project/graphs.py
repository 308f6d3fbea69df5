"""A user's own graphs."""

from typing import Annotated, TypedDict
import operator

from langchain_core.messages import AIMessage
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt


class State(TypedDict, total=False):
    topic: str
    log: Annotated[list, operator.add]
    answer: str
    stages: dict
    message: AIMessage


def first(state):
    get_stream_writer()({"looking_at": state["topic"]})
    return {"log": ["first"], "message": AIMessage("kept across processes")}


def ask(state):
    return {"answer": interrupt("which one?"), "log": ["ask"]}


def last(state):
    return {"log": [f"last:{state['answer']}"]}


builder = StateGraph(State)
for node in (first, ask, last):
    builder.add_node(node)
builder.add_edge(START, "first").add_edge("first", "ask").add_edge("ask", "last").add_edge("last", END)

compiled = builder.compile()


def make():
    return builder


not_a_graph = {"a": 1}
