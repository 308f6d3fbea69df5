"""LangGraph's context below Python 3.11, where it cannot hand it to the tasks of an asynchronous run.

Without it `interrupt`, `get_stream_writer` and token streams fail in every node of `astream`, also in
nodes that are plain functions and work at home with `invoke`.
"""

from __future__ import annotations

import sys
from typing import Any


def install() -> None:
    """Has every node find its configuration. Nothing to do from Python 3.11 on."""
    if sys.version_info >= (3, 11):
        return
    from langchain_core.runnables.config import var_child_runnable_config
    from langgraph._internal._runnable import RunnableCallable

    original = RunnableCallable.ainvoke

    async def ainvoke(self: Any, input: Any, config: Any = None, **kwargs: Any) -> Any:
        if config is not None:
            var_child_runnable_config.set(config)  # ends with the node's own task
        return await original(self, input, config, **kwargs)

    RunnableCallable.ainvoke = ainvoke  # type: ignore[method-assign]
