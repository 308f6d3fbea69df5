"""`rag_workflow`: an answer to `query` from `docs`, or from the project's default index, with its sources.

Output: `{"answer", "answered", "sources": [{file, page, score, text}], "documents": [{name, passages, kept} or {name,
error}], "generated"?, "model", "tokens"?}`. `kept` says that the passages and vectors were there already.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from ...api import Link, StageError, Task
from . import inputs
from .answer import answer
from .documents import DocumentError
from .model import generate
from .retrieval import indexed, search


async def answer_query(task: Task, link: Link) -> dict[str, Any]:
    query = inputs.query(task)
    width = inputs.top_k(task)
    wanted = inputs.filters(task)
    named = inputs.documents(task) if task.task.get("docs") else inputs.default_index(task)
    named = [(name, path) for name, path in named if wanted.takes_file(name)]
    if not named:
        raise StageError("FILTERED_OUT", "no document has a name that filters.file takes", field="filters.file")
    store = Path(task.data) / "vectors"
    nodes: list[Any] = []
    searched: list[dict[str, Any]] = []
    for name, path in named:
        entry: dict[str, Any]
        try:
            found, kept = await indexed(link, name, path, store)
            found = [node for node in found if wanted.takes_page(node.metadata["page"])]
            entry = {"name": name, "passages": len(found), "kept": kept}
            nodes += found
        except DocumentError as error:
            entry = {"name": name, "error": {"reason": error.reason, "message": error.message}}
        searched.append(entry)
        await link.progress("document", name, {key: value for key, value in entry.items() if key != "name"})
    if not nodes and all("error" in entry for entry in searched):
        told = "; ".join(entry["error"]["message"] for entry in searched)
        raise StageError("DOCUMENTS_UNREADABLE", f"no document can be used: {told[:2000]}", field="docs")
    hits = await asyncio.to_thread(search, nodes, query, width)
    for hit in hits:
        await link.progress("retrieval", hit.file, hit.as_json(200))
    output = await asyncio.to_thread(answer, query, hits)
    context = "\n".join(hit.text for hit in hits[:3])
    return output | {"documents": searched[:100]} | await generate(task, link, "answer", f"Question: {query}", context)
