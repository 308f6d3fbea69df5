"""The smallest real LlamaIndex workflow."""

from llama_index.core.workflow import StartEvent, StopEvent, Workflow, step


class Add(Workflow):
    """One step."""

    @step
    async def add(self, event: StartEvent) -> StopEvent:
        """The only step."""
        return StopEvent(result={"n": event.n + 1})


workflow = Add()
