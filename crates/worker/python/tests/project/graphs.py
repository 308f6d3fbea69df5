"""A user's own graphs."""

from typing import Annotated, TypedDict
import operator
import os
import threading

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


def ask_twice(state):
    return {"answers": [interrupt("first?"), interrupt("second?")]}


class Answers(TypedDict, total=False):
    answers: list


two_questions = StateGraph(Answers).add_node(ask_twice).add_edge(START, "ask_twice").add_edge("ask_twice", END)


class Held(TypedDict, total=False):
    held: str
    log: Annotated[list, operator.add]


def inner_one(state):
    return {"log": ["inner one"]}


def inner_two(state):
    if not os.path.exists(state["held"]):
        open(state["held"], "w").close()
        threading.Event().wait()
    return {"log": ["inner two"]}


inner = StateGraph(Held, output_schema=TypedDict("New", {"log": list}))
inner.add_node(inner_one).add_node(inner_two)
inner.add_edge(START, "inner_one").add_edge("inner_one", "inner_two").add_edge("inner_two", END)


def before(state):
    return {"log": ["before"]}


def look_back(state, config):
    """A plain function in its thread that reads the checkpoints of its own run."""
    saver = config["configurable"]["__pregel_checkpointer"]
    own = {"configurable": {"thread_id": config["configurable"]["thread_id"], "checkpoint_ns": ""}}
    assert saver.get_tuple(own) is not None
    return {"log": [f"seen {len(list(saver.list(own)))}"]}


outer = StateGraph(Held)
outer.add_node(before).add_node("inner", inner.compile()).add_node(look_back)
outer.add_edge(START, "before").add_edge("before", "inner").add_edge("inner", "look_back").add_edge("look_back", END)


class Numbers(TypedDict, total=False):
    numbers: list
    found: Annotated[list, operator.add]
    rounds: int


def split(state):
    return {"found": ["split"], "rounds": 0}


def smallest(state):
    return {"found": [min(state["numbers"])]}


def largest(state):
    return {"found": [max(state["numbers"])]}


def again(state):
    return {"rounds": state["rounds"] + 1}


plain = StateGraph(Numbers)
plain.add_node(split).add_node(smallest).add_node(largest).add_node(again)
plain.add_edge(START, "split").add_edge("split", "smallest").add_edge("split", "largest")
plain.add_edge("smallest", "again").add_edge("largest", "again")
plain.add_conditional_edges("again", lambda state: "again" if state["rounds"] < 3 else END, ["again", END])
plain = plain.compile()
