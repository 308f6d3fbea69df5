"""The smallest workflow, for a process that has nothing to do yet."""

from __future__ import annotations

from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent


class Rehearsal(Workflow):
    """One step."""

    @step
    async def only(self, event: StartEvent) -> StopEvent:
        return StopEvent(result={})


async def rehearse() -> None:
    """A run as `reference.run_workflow` makes it."""
    handler = Rehearsal().run()
    async for _ in handler.stream_events():
        pass
    await handler
