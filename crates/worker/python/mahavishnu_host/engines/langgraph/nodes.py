"""The kinds of node of the declarative form. Each is a coroutine from the state to a state update.

Nothing that decides a route is up to a model: `approved` comes from a person, `set` and `python` are
the user's own.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.types import interrupt

from ...api import Link, Model, StageError, Task
from ...references import resolve
from ...summary import render_context, summarise
from .workflow import Node

State = dict[str, Any]
Run = Callable[[State], Awaitable[State]]

#: Tokens that one agent node may write, unless it says otherwise.
DEFAULT_MAX_TOKENS = 96
#: Seconds for one call of the model.
MODEL_TIMEOUT = 120.0


def build(node: Node, task: Task, link: Link) -> Run:
    """The coroutine function of a node."""
    if node.kind == "agent":
        return _agent(node, task, link)
    if node.kind == "approval":
        return _approval(node)
    if node.kind == "set":
        return _set(node, link)
    return _call(node, task, link)


def chat_model(model: Model, max_tokens: int) -> BaseChatModel:
    """A streaming client of the configured model."""
    from langchain_openai import ChatOpenAI  # a Python of the user's own may do without, until a node needs it

    return ChatOpenAI(
        model=model.name,
        base_url=model.base_url,
        api_key=model.api_key or "none",  # type: ignore[arg-type]
        max_tokens=max_tokens,  # type: ignore[call-arg]
        temperature=0,
        timeout=MODEL_TIMEOUT,
        max_retries=1,
        streaming=True,
        stream_usage=True,
    )


def _agent(node: Node, task: Task, link: Link) -> Run:
    role = str(node.options.get("role") or node.name.replace("_", " ").replace("-", " "))
    instructions = node.options.get("instructions")
    max_tokens = int(node.options.get("max_tokens") or DEFAULT_MAX_TOKENS)

    async def run(state: State) -> State:
        system = "You are a helpful assistant who writes short, clear sentences."
        if instructions:
            system += f" {instructions}"
        own = node.options.get("model")
        model = await link.model(str(own)) if own else task.require_model()
        given = {
            "Input": {key: value for key, value in state.items() if key not in ("stages", "results")},
            "Results of earlier stages": state.get("stages"),
            "Results of earlier steps": state.get("results"),
        }
        context = render_context(given, model) or "Nothing was given."
        # What is asked comes last: a small model has forgotten the beginning.
        asked = f"Write a short summary of this for the step '{role}', in two sentences."
        messages = [SystemMessage(system), HumanMessage(f"Here is what we know.\n\n{context}\n\n{asked}")]
        answer = await chat_model(model, max_tokens).ainvoke(messages)
        return {"results": {node.name: text_of(answer.content).strip()}}

    return run


def _approval(node: Node) -> Run:
    title = str(node.options.get("title") or node.name)
    question = str(node.options.get("question") or f"Approve {node.name}?")

    async def run(state: State) -> State:
        shown = {key: value for key, value in state.items() if key != "stages"}
        decision = interrupt({"title": title, "question": question, "state": summarise(shown)})
        return {"approved": decision["approved"] is True, "decision": dict(decision)}

    return run


def _set(node: Node, link: Link) -> Run:
    values = node.options["values"]
    if not isinstance(values, Mapping):
        raise StageError("WORKFLOW_INVALID", "values maps keys to CEL expressions", field=f"{node.field}.values")

    async def run(state: State) -> State:
        return {key: await link.evaluate(str(cel), {"state": state}) for key, cel in values.items()}

    return run


def _call(node: Node, task: Task, link: Link) -> Run:
    """`python`: a function of the state. `tool`: a LangChain tool, or any function, with its arguments."""
    function = resolve(node.options["ref"], task.project, f"{node.field}.ref")
    arguments = node.options.get("args") or {}

    async def run(state: State) -> State:
        if node.kind == "python":
            update = await _invoke(function, state)
            if update is None:
                return {}
            if not isinstance(update, Mapping):
                message = f"{node.options['ref']} returned a {type(update).__name__}, not a state update"
                raise StageError("NODE_FAILED", message, field=node.field)
            return dict(update)
        given = {name: await link.evaluate(str(cel), {"state": state}) for name, cel in arguments.items()}
        result = await function.ainvoke(given) if hasattr(function, "ainvoke") else await _invoke(function, **given)
        await link.progress("tool_call", node.name, {"arguments": summarise(given), "result": summarise(result)})
        return {"results": {node.name: result}}

    return run


async def _invoke(function: Any, *arguments: Any, **named: Any) -> Any:
    """Calls a coroutine function here and any other in a thread, so that the link stays served."""
    if inspect.iscoroutinefunction(function):
        return await function(*arguments, **named)
    result = await asyncio.to_thread(function, *arguments, **named)
    return await result if inspect.isawaitable(result) else result


def text_of(content: Any) -> str:
    """The text of a message's content, which may be a list of blocks."""
    if isinstance(content, str):
        return content
    return "".join(part if isinstance(part, str) else part.get("text", "") for part in content)
