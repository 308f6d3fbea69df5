"""LlamaIndex: a workflow of two steps."""

import conduct
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent


class Second(Event):
    place: str
    case: str


class Told(Event):
    n: int
    text: str


class Unruly(Workflow):
    @step
    async def first(self, ev: StartEvent) -> Second:
        conduct.first(ev.place, ev.case)
        return Second(place=ev.place, case=ev.case)

    @step
    async def second(self, ctx: Context, ev: Second) -> StopEvent:
        return StopEvent(result=conduct.second(ev.place, ev.case, lambda event: ctx.write_event_to_stream(Told(**event))))


class Sleepy(Unruly):
    @step
    async def second(self, ev: Second) -> StopEvent:
        return StopEvent(result=await conduct.asleep(ev.place, ev.case))


unruly, sleepy = Unruly(timeout=None), Sleepy(timeout=None)
