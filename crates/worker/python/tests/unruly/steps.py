"""Agno: a workflow of two function steps. Its input is text: a case and a place."""

import conduct
from agno.workflow import Loop, Step, Workflow
from agno.workflow.types import StepInput, StepOutput


def _given(step_input):
    case, place = step_input.input.split()[:2]
    return place, case


def first(step_input: StepInput) -> StepOutput:
    conduct.first(*_given(step_input))
    return StepOutput(content="first")


def second(step_input: StepInput) -> StepOutput:
    return StepOutput(content=conduct.second(*_given(step_input)))


async def asleep(step_input: StepInput) -> StepOutput:
    await conduct.asleep(*_given(step_input))


def turn(step_input: StepInput) -> StepOutput:
    return StepOutput(content="turn")


unruly = Workflow(name="unruly", steps=[first, second])
sleepy = Workflow(name="sleepy", steps=[first, asleep])
# What it tells of are its steps.
flood = Workflow(name="flood", steps=[Loop(name="loop", steps=[Step(name="turn", executor=turn)], max_iterations=1_100), second])
