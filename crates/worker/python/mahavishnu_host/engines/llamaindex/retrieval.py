"""Passages of documents, their vectors kept by content, and hybrid retrieval over them.

A file's passages and vectors are kept under the digest of its bytes, on this machine and for all workers of the engine, so
an index over many files only embeds what is new, whoever asks, and never serves what a changed file used to say.

Invariant: every passage knows its file and page; a score lies between 0 and 1.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from llama_index.core import VectorStoreIndex
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import Document as LlamaDocument
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.retrievers.bm25 import BM25Retriever

from ...api import Link, StageError
from .documents import Document, read
from .embedding import MODEL, MiniLM, embed

#: Size and overlap of a passage, in tokens: about one paragraph.
CHUNK = 140
OVERLAP = 20
#: Bound of passages of one document; what is beyond is not searched, and the caller says so.
MAX_PASSAGES = 3_000
#: The constant of reciprocal rank fusion, from its paper.
_RANK = 60
#: Files whose vectors are kept; the oldest go first.
_MAX_KEPT = 2_000
_FORMAT = f"2/{MODEL}/{CHUNK}/{OVERLAP}"


@dataclass(frozen=True)
class Hit:
    """One retrieved passage."""

    file: str
    page: int
    score: float
    text: str

    def as_json(self, limit: int) -> dict[str, Any]:
        text = self.text if len(self.text) <= limit else self.text[: limit - 2].rsplit(" ", 1)[0] + " …"
        return {"file": self.file, "page": self.page, "score": self.score, "text": text}


class HybridRetriever(BaseRetriever):
    """Vectors and BM25, fused by reciprocal rank. A score of 1 is first in both."""

    def __init__(self, nodes: list[TextNode], top_k: int) -> None:
        super().__init__()
        self._top_k = top_k
        width = min(len(nodes), max(2 * top_k, 10))
        self._vectors = VectorStoreIndex(nodes, embed_model=MiniLM()).as_retriever(similarity_top_k=width)
        self._words = BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=width, verbose=False)

    def by_meaning(self, query: QueryBundle | str) -> list[NodeWithScore]:
        """The passages whose vectors are nearest, best first."""
        return self._vectors.retrieve(query)

    def by_words(self, query: QueryBundle | str) -> list[NodeWithScore]:
        """The passages that share words with the query, best first."""
        # BM25 fills its list up with passages that share none.
        return [hit for hit in self._words.retrieve(query) if (hit.score or 0) > 0]

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        fused: dict[str, NodeWithScore] = {}
        for hits in (self.by_meaning(query_bundle), self.by_words(query_bundle)):
            for rank, hit in enumerate(hits, 1):
                entry = fused.setdefault(hit.node.node_id, NodeWithScore(node=hit.node, score=0.0))
                entry.score = (entry.score or 0.0) + (_RANK + 1) / (_RANK + rank) / 2
        return sorted(fused.values(), key=lambda hit: -(hit.score or 0.0))[: self._top_k]


def passages(document: Document) -> list[TextNode]:
    """The document as LlamaIndex nodes, without vectors."""
    splitter = SentenceSplitter(chunk_size=CHUNK, chunk_overlap=OVERLAP, paragraph_separator="\n\n")
    pages = [
        LlamaDocument(text=text, metadata={"file": document.name, "page": number})
        for number, text in enumerate(document.pages, 1)
        if text.strip()
    ]
    for page in pages:
        # The name of the file is no part of what the passage says.
        page.excluded_embed_metadata_keys = page.excluded_llm_metadata_keys = ["file", "page"]
    return splitter.get_nodes_from_documents(pages)[:MAX_PASSAGES]  # type: ignore[return-value]


async def indexed(link: Link, name: str, path: Path, store: Path) -> tuple[list[TextNode], bool]:
    """The passages of a file with their vectors, and whether they were kept: in `store`, or by another worker. Raises
    `DocumentError`."""
    digest = await asyncio.to_thread(_digest, name, path)
    kept = store / f"{digest}.npz"
    nodes = await asyncio.to_thread(_load, kept, name)
    if nodes is not None:
        return nodes, True
    if (body := await _shared(link, digest)) is not None:
        await asyncio.to_thread(_keep, kept, body)
        nodes = await asyncio.to_thread(_load, kept, name)
    if nodes is not None:
        return nodes, True
    nodes, body = await asyncio.to_thread(_made, name, path)
    await asyncio.to_thread(_keep, kept, body)
    await _share(link, digest, body)
    return nodes, False


def _digest(name: str, path: Path) -> str:
    digest = hashlib.sha256(f"{_FORMAT}/{Path(name).suffix.lower()}/".encode())
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _made(name: str, path: Path) -> tuple[list[TextNode], bytes]:
    """The passages with their vectors, and the form in which they are kept."""
    nodes = passages(read(name, path))
    vectors = embed([node.get_content() for node in nodes])
    for node, vector in zip(nodes, vectors):
        node.embedding = vector.tolist()
    texts = json.dumps([[node.metadata["page"], node.get_content()] for node in nodes]).encode()
    body = io.BytesIO()
    np.savez(body, texts=np.frombuffer(texts, np.uint8), vectors=vectors)
    return nodes, body.getvalue()


async def _shared(link: Link, digest: str) -> bytes | None:
    """What another worker has made."""
    try:
        return (await link.read_state(f"vectors/{digest}")).body
    except StageError as error:
        print(f"vectors of other workers cannot be read: {error.message}", flush=True)
        return None


async def _share(link: Link, digest: str, body: bytes) -> None:
    """Only a saving: without it others make the same."""
    try:
        await link.write_state(f"vectors/{digest}", body)
    except StageError as error:
        print(f"vectors are not shared: {error.message}", flush=True)


def search(nodes: list[TextNode], query: str, top_k: int) -> list[Hit]:
    """The passages that answer `query` best."""
    if not nodes:
        return []
    return [
        Hit(hit.node.metadata["file"], hit.node.metadata["page"], round(hit.score or 0.0, 4), hit.node.get_content())
        for hit in HybridRetriever(nodes, top_k).retrieve(query)
    ]


def _load(kept: Path, name: str) -> list[TextNode] | None:
    try:
        with np.load(kept, allow_pickle=False) as archive:
            texts = json.loads(archive["texts"].tobytes())
            vectors = archive["vectors"]
    except (OSError, ValueError, KeyError, EOFError):
        return None  # not there, or a torn write of a full disk: made again
    os.utime(kept)
    return [
        TextNode(
            text=text,
            metadata={"file": name, "page": page},
            excluded_embed_metadata_keys=["file", "page"],
            excluded_llm_metadata_keys=["file", "page"],
            embedding=vector.tolist(),
        )
        for (page, text), vector in zip(texts, vectors)
    ]


def _keep(kept: Path, body: bytes) -> None:
    """Writes beside and renames, so that another process never reads a half."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=kept.parent, suffix=".part", delete=False) as file:
        file.write(body)
    os.replace(file.name, kept)
    others = sorted(kept.parent.glob("*.npz"), key=_age)
    for old in others[:-_MAX_KEPT]:
        old.unlink(missing_ok=True)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
