"""The optional text of a language model beside what the rules and the retrieval say.

Invariant: nothing that must be right comes from here, so a model that is not there or fails is told in the
output and does not fail the stage.
"""

from __future__ import annotations

from typing import Any

from ...api import Link, Task
from . import needs

#: The model of the machine is small: a short prompt is answered in a second or two.
MAX_PROMPT = 2_400
MAX_TOKENS = 160
_SYSTEM = "You answer from the given text only, in two or three plain sentences."


async def generate(task: Task, link: Link, source: str, question: str, text: str) -> dict[str, Any]:
    """`{"model": name or null, "generated": text, "tokens"}`; `model_error` when the model could not be had."""
    if task.model is None:
        return {"model": None}
    from llama_index.core.llms import ChatMessage

    prompt = f"Text:\n{text[:MAX_PROMPT]}\n\n{question}"
    said = ""
    tokens = {"input": 0, "output": 0}
    try:
        stream = await llm(task).astream_chat(
            [ChatMessage(role="system", content=_SYSTEM), ChatMessage(role="user", content=prompt)]
        )
        async for part in stream:
            usage = getattr(part.raw, "usage", None)
            if usage is not None:
                tokens = {"input": usage.prompt_tokens or 0, "output": usage.completion_tokens or 0}
            if part.delta:
                said += part.delta
                await link.delta(source, part.delta)
    except Exception as error:  # noqa: BLE001 - the client's library has many; the answer stands without it
        failed = {"model": None, "model_error": f"{name(task)}: {type(error).__name__}: {error}"[:500]}
        await link.progress("message", "model", failed)
        return failed
    return {"model": name(task), "generated": said.strip(), "tokens": tokens}


def name(task: Task) -> str | None:
    """The model that the task names, or the configured one."""
    return task.model.name if task.model else None


def llm(task: Task) -> Any:
    """The configured model as LlamaIndex wants it."""
    needs.require("the configured model", needs.MODEL)
    from llama_index.llms.openai_like import OpenAILike

    model = task.require_model()
    return OpenAILike(
        model=name(task),
        api_base=model.base_url,
        api_key=model.api_key,
        is_chat_model=True,
        context_window=8192,
        max_tokens=MAX_TOKENS,
        temperature=0.0,
        timeout=60.0,
        max_retries=1,
        additional_kwargs={"stream_options": {"include_usage": True}},  # left out of calls that do not stream
    )
