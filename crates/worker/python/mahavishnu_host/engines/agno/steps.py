"""Agno's own workflows: steps of agents, teams and functions, as one run.

Their events tell of steps, and the last one holds what the run came to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agno.workflow import Workflow

from ...api import StageError


def is_workflow(runnable: Any) -> bool:
    return isinstance(runnable, Workflow)


def workers(step: Any) -> Iterator[Any]:
    """The agents and teams in a workflow, or in a part of one."""
    if hasattr(step, "tool_hooks"):
        yield step
        return
    for name in ("agent", "team", "workflow"):
        if getattr(step, name, None) is not None:
            yield from workers(getattr(step, name))
    for name in ("steps", "choices", "else_steps"):
        inner = getattr(step, name, None)
        for part in inner if isinstance(inner, (list, tuple)) else [inner]:
            if part is not None:
                yield from workers(part)


def looks_back(workflow: Workflow) -> bool:
    """Whether it asks for runs before this one, which Agno has it do with a database only."""
    steps = workflow.steps if isinstance(workflow.steps, list) else []
    asked = any(getattr(step, "add_workflow_history", None) for step in steps)
    return asked or workflow.add_workflow_history_to_steps or workflow.agent is not None


def output(event: Any, names: list[str], ran: list[str], model: str) -> dict[str, Any]:
    """What the last event of a run says. `model` is the stage's, for steps that asked none of their own."""
    if event is None:
        raise StageError("AGENT_FAILED", "the workflow ended without a result")
    if event.event == "WorkflowPaused":
        raise StageError("PAUSE_UNSUPPORTED", "a step of the workflow waits for a person, which only agents and teams can here")
    last = event.step_results[-1] if event.step_results else None
    for result in last if isinstance(last, list) else [last]:
        if result is not None and not result.success:
            # Agno goes on behind a step that failed; behind the last one there is nothing.
            raise StageError("AGENT_FAILED", f"the last step failed: {result.error or result.content}")
    runs = list(_runs(event.step_executor_runs))
    counted = [run.metrics for run in runs if getattr(run, "metrics", None) is not None]
    return {
        "content": event.content,
        "agents": names,
        "ran": [name for name in ran if name in names],
        "model": next((run.model for run in runs if getattr(run, "model", None)), model),
        "tokens": {
            "input": sum(metrics.input_tokens or 0 for metrics in counted),
            "output": sum(metrics.output_tokens or 0 for metrics in counted),
        },
    }


def _runs(runs: Any) -> Iterator[Any]:
    for run in runs or ():
        yield run
        yield from _runs(getattr(run, "step_executor_runs", None))
