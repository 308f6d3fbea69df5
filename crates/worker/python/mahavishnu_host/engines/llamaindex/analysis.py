"""`document_analysis`: what stands in each document, and answers to questions with where they stand.

Output: `{"summary", "requirements", "documents": [...], "answers"?, "generated"?, "model", "tokens"?}`. Summaries, key
passages and requirements are sentences of the documents, chosen by rules; nothing is invented.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from ...api import Link, StageError, Task
from . import text
from .answer import answer
from .documents import Document, DocumentError, read
from .inputs import documents, questions, top_k
from .model import generate
from .retrieval import indexed, passages, search

#: Bounds of the output.
MAX_KEY_PASSAGES = 8
MAX_REQUIREMENTS = 200


async def analyse(task: Task, link: Link) -> dict[str, Any]:
    named = documents(task)
    asked = questions(task)
    width = top_k(task)
    entries = []
    for name, path in named:
        entry = await asyncio.to_thread(_entry, name, path)
        entries.append(entry)
        await link.progress("document", name, _small(entry))
        for passage in entry.get("key_passages", ())[:3]:
            await link.progress("retrieval", name, _cut(passage))
    good = [entry for entry in entries if "error" not in entry]
    if not good:
        told = "; ".join(entry["error"]["message"] for entry in entries)
        raise StageError("DOCUMENTS_UNREADABLE", f"no document can be used: {told}", field="docs")
    output: dict[str, Any] = {
        "summary": _whole_summary(good),
        "requirements": _all_requirements(good),
        "documents": entries,
    }
    if asked:
        readable = {entry["name"] for entry in good}
        output["answers"] = await _answers(task, link, [pair for pair in named if pair[0] in readable], asked, width)
    return output | await generate(task, link, "summary", "Summarise the text.", output["summary"])


def _entry(name: str, path: Path) -> dict[str, Any]:
    """One document, or why it cannot be used."""
    try:
        document = read(name, path)
    except DocumentError as error:
        return {"name": name, "error": {"reason": error.reason, "message": error.message}}
    entry = {
        "name": name,
        "pages": len(document.pages),
        "words": document.words,
        "outline": document.outline,
        "summary": text.summary("\n\n".join(document.pages)),
        "key_passages": _key_passages(document),
        "requirements": _requirements(document),
    }
    if document.tables:
        entry["tables"] = document.tables
    return entry


def _key_passages(document: Document) -> list[dict[str, Any]]:
    """The passages nearest to what the whole document is about, best first."""
    nodes = passages(document)
    contents = [" ".join(node.get_content().split()) for node in nodes]
    scores = text.central(contents)
    best = sorted(range(len(nodes)), key=lambda index: (-scores[index], index))[:MAX_KEY_PASSAGES]
    return [
        {
            "text": text.shorten(contents[index], text.MAX_PASSAGE),
            "page": nodes[index].metadata["page"],
            "score": round(scores[index], 4),
        }
        for index in best
    ]


def _requirements(document: Document) -> list[dict[str, Any]]:
    found = [
        {**requirement, "page": number}
        for number, page in enumerate(document.pages, 1)
        for requirement in text.requirements(page)
    ]
    return found[:MAX_REQUIREMENTS]


def _whole_summary(entries: list[dict[str, Any]]) -> str:
    if len(entries) == 1:
        return entries[0]["summary"]
    share = 2 * text.MAX_SUMMARY // len(entries)
    return "\n".join(f"{entry['name']}: {text.shorten(entry['summary'], max(share, 200))}" for entry in entries[:20])


def _all_requirements(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"document": entry["name"], **requirement} for entry in entries for requirement in entry["requirements"]][
        :MAX_REQUIREMENTS
    ]


async def _answers(
    task: Task, link: Link, named: list[tuple[str, Path]], asked: list[str], width: int
) -> list[dict[str, Any]]:
    store = Path(task.data) / "vectors"
    nodes = []
    for name, path in named:
        found, _ = await indexed(link, name, path, store)
        nodes += found
    answers = []
    for question in asked:
        hits = await asyncio.to_thread(search, nodes, question, width)
        for hit in hits:
            await link.progress("retrieval", hit.file, {"question": question[:200], **hit.as_json(200)})
        told = await asyncio.to_thread(answer, question, hits)
        answers.append({"question": question, **told})
    return answers


def _small(entry: dict[str, Any]) -> dict[str, Any]:
    if "error" in entry:
        return {"error": entry["error"]}
    return {"pages": entry["pages"], "words": entry["words"], "requirements": len(entry["requirements"])}


def _cut(passage: dict[str, Any]) -> dict[str, Any]:
    return {**passage, "text": text.shorten(passage["text"], 200)}
