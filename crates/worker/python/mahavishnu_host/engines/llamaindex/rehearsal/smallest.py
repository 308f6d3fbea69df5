"""What an idle process rehearses: a workflow of one step."""

from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent


class Smallest(Workflow):
    """One step."""

    @step
    async def only(self, event: StartEvent) -> StopEvent:
        """The only step."""
        return StopEvent(result={})


workflow = Smallest()
