"""A graph whose one node runs LangGraph's own conformance suite on the saver of the run that it is in."""

from typing import TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    report: dict


async def conform(state: State, config: RunnableConfig) -> State:
    saver = config["configurable"]["__pregel_checkpointer"]

    @checkpointer_test(name="the stage's checkpoints")
    async def ours():
        yield saver

    report = await validate(ours)
    return {
        "report": {
            name: {"detected": result.detected, "passed": result.tests_passed, "failures": result.failures}
            for name, result in report.results.items()
        }
    }


graph = StateGraph(State).add_node(conform).add_edge(START, "conform").add_edge("conform", END)
