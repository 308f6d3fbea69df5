"""The smallest real Agno workflow."""

from agno.workflow import Step, StepInput, StepOutput, Workflow


def add(given: StepInput) -> StepOutput:
    """The only step, a function: no model is asked."""
    return StepOutput(content="done")


workflow = Workflow(name="smallest", steps=[Step(name="add", executor=add)])
