"""The user's own objects: a query engine (or index, or retriever) and a LlamaIndex workflow.

A workflow's events are progress; its `InputRequiredEvent` is an approval, and its context the checkpoint, so
another process goes on where it stood. The workflow gets a `HumanResponseEvent` (or the subclass that it takes)
with `response`, `approved`, `reason`, `decided_by` and the decision's `values`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import Any

from ... import references
from ...api import Approval, Link, Model, Paused, StageError, Task
from . import needs, usage
from .inputs import query, top_k
from .model import llm, name
from .text import MAX_PASSAGE, shorten

#: Bounds of what an event shows, in characters of JSON.
MAX_EVENT = 4_000
#: The member of a checkpoint beside those of the context.
_USAGE = "mahavishnu_usage"


async def run_query_engine(task: Task, link: Link) -> dict[str, Any]:
    asked = query(task)
    asked_of = usage.watch()
    engine = await _object(task, "query_engine")
    if hasattr(engine, "as_query_engine") and not hasattr(engine, "query"):
        engine = engine.as_query_engine(similarity_top_k=top_k(task))
    if hasattr(engine, "query"):
        response = await engine.aquery(asked)
        answer = await _told(response, link)
        hits = getattr(response, "source_nodes", None) or []
        output = {"answer": answer, "metadata": _plain(getattr(response, "metadata", None))}
    elif hasattr(engine, "retrieve"):
        hits = await engine.aretrieve(asked)
        output = {"answer": "\n\n".join(hit.node.get_content() for hit in hits)}
    else:
        message = f"a {type(engine).__name__} is no query engine, index or retriever"
        raise StageError("REFERENCE_FAILED", message, field="query_engine")
    sources = [_source(hit) for hit in hits]
    for source in sources:
        await link.progress("retrieval", str(source["file"] or "a passage"), {**source, "text": shorten(source["text"], 200)})
    return {**output, "sources": sources, "model": asked_of.model or name(task), "tokens": asked_of.tokens}


async def run_workflow(task: Task, link: Link) -> dict[str, Any]:
    from workflows import Context, Workflow
    from workflows.events import HumanResponseEvent, InputRequiredEvent, StopEvent

    workflow = await _object(task, "workflow")
    if inspect.isclass(workflow) and issubclass(workflow, Workflow):
        workflow = workflow()
    if not isinstance(workflow, Workflow):
        message = f"a {type(workflow).__name__} is no LlamaIndex workflow"
        raise StageError("REFERENCE_FAILED", message, field="workflow")
    saved = json.loads(task.checkpoint) if task.checkpoint is not None else {}
    asked_of = usage.watch(saved.pop(_USAGE, None))
    if task.checkpoint is None:
        given = task.task.get("input")
        given = {} if given is None else given
        if not isinstance(given, dict):
            raise StageError("TASK_INVALID", "input must be an object", field="input")
        handler = workflow.run(**given)
    else:
        handler = workflow.run(ctx=Context.from_dict(workflow, saved))
        if task.decision is not None and handler.ctx is not None:
            handler.ctx.send_event(_response_type(workflow, HumanResponseEvent)(**_response(task)))
    try:
        async for event in handler.stream_events():
            if isinstance(event, InputRequiredEvent):
                saved = {**handler.ctx.to_dict(), _USAGE: asked_of.members()}
                raise Paused([_approval(task, event)], json.dumps(saved).encode())
            if not isinstance(event, StopEvent):
                await link.progress("node_update", type(event).__name__, _shown(event))
        result = await handler
    finally:
        if not handler.is_done():
            await handler.cancel_run()
    plain = _plain(result)
    return {**asked_of.members(), **(plain if isinstance(plain, dict) else {"result": plain})}


async def _object(task: Task, field: str) -> Any:
    """What the reference names; a factory without parameters is called."""
    _give_model(task)
    reference = task.task[field]
    if references.is_loaded(reference, task.project):
        value = references.resolve(reference, task.project, field)
    else:
        value = await asyncio.to_thread(references.resolve, reference, task.project, field)
    if inspect.isfunction(value):
        value = await value() if inspect.iscoroutinefunction(value) else await asyncio.to_thread(value)
    return value


#: The model that `Settings` has by us, and what it was made from.
_given: tuple[Model | None, Any] = (None, None)


def prepare() -> None:
    """Gives a user's module something to find in `Settings`; it may set its own."""
    from llama_index.core import Settings

    from .embedding import MiniLM

    Settings.embed_model = MiniLM()


def _give_model(task: Task) -> None:
    """The stage's model, where no module has set its own. Only when it is another one: to set it takes half a millisecond."""
    global _given
    from llama_index.core import Settings

    model, own = _given
    there = needs.lacking("Settings.llm", needs.MODEL) is None
    if there and task.model is not None and task.model != model and Settings._llm is own:
        Settings.llm = own = llm(task)
        _given = task.model, own


async def _told(response: Any, link: Link) -> str:
    """The text of a response, shown while it comes when the engine streams."""
    for form in ("async_response_gen", "response_gen"):
        generator = getattr(response, form, None)
        if generator is None:
            continue
        generator = generator() if callable(generator) else generator
        said = ""
        if hasattr(generator, "__aiter__"):
            async for part in generator:
                said += part
                await link.delta("answer", part)
        else:
            for part in generator:
                said += part
                await link.delta("answer", part)
        return said
    # An engine that only retrieves has none.
    return "" if getattr(response, "response", response) is None else str(response)


def _source(hit: Any) -> dict[str, Any]:
    metadata = hit.node.metadata
    page = metadata.get("page", metadata.get("page_label"))
    return {
        "file": metadata.get("file", metadata.get("file_name")),
        "page": int(page) if str(page).isdigit() else page,
        "score": None if hit.score is None else round(float(hit.score), 4),
        "text": shorten(" ".join(hit.node.get_content().split()), MAX_PASSAGE),
    }


def _approval(task: Task, event: Any) -> Approval:
    payload = _shown(event)
    title = payload.get("prefix") or payload.get("title") or type(event).__name__
    return Approval(key=f"input{task.resume + 1}", title=str(title)[:200], payload=payload)


def _response_type(workflow: Any, default: type) -> type:
    """The event that the workflow waits for: it may have its own kind."""
    for step in workflow._get_steps().values():
        for accepted in getattr(getattr(step, "_step_config", None), "accepted_events", ()):
            if inspect.isclass(accepted) and issubclass(accepted, default):
                return accepted
    return default


def _response(task: Task) -> dict[str, Any]:
    decision = task.decision
    if decision is None:
        return {}
    return {
        "response": "yes" if decision.approved else "no",
        "approved": decision.approved,
        "reason": decision.reason,
        "decided_by": decision.decided_by,
        **decision.values,
    }


def _shown(event: Any) -> dict[str, Any]:
    members = event.model_dump()
    # Members that the event's class does not declare are kept apart.
    members.update(members.pop("_data", None) or {})
    plain = _plain(members)
    if len(json.dumps(plain)) > MAX_EVENT:
        return {"omitted": "the event is too large to show"}
    return plain


def _plain(value: Any) -> Any:
    """JSON, with the text of what is none."""
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    return json.loads(json.dumps(value, default=str))
