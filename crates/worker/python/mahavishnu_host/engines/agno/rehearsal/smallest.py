"""What an idle process rehearses: a workflow whose only step is a function, which asks no model."""

from agno.workflow import Step, StepInput, StepOutput, Workflow


def only(_given: StepInput) -> StepOutput:
    """The only step."""
    return StepOutput(content="")


workflow = Workflow(name="rehearsal", steps=[Step(name="only", executor=only)], telemetry=False)
