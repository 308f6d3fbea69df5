"""How often the passage that answers a question is among the first five: hybrid retrieval, BM25 alone, vectors alone.

    PYTHONPATH=crates/worker/python <Python of the llamaindex environment> crates/worker-llamaindex/recall/measure.py

The questions are labelled with the file and with words that stand in one passage of it only. One table, or one line of
JSON with `--json`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mahavishnu_host.engines import llamaindex  # noqa: F401 - sets up numpy's threads before it is imported
from mahavishnu_host.engines.llamaindex.documents import read
from mahavishnu_host.engines.llamaindex.embedding import embed
from mahavishnu_host.engines.llamaindex.retrieval import HybridRetriever, passages

HERE = Path(__file__).parent
TOP = 5


def main() -> None:
    parser = argparse.ArgumentParser(description="recall of the retrieval on the labelled questions")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    as_json = parser.parse_args().json
    nodes = [node for path in sorted((HERE / "docs").iterdir()) for node in passages(read(path.name, path))]
    for node, vector in zip(nodes, embed([node.get_content() for node in nodes])):
        node.embedding = vector.tolist()
    questions = json.loads((HERE / "questions.json").read_text("utf-8"))
    retriever = HybridRetriever(nodes, TOP)
    ways = {"hybrid": retriever.retrieve, "bm25": retriever.by_words, "vectors": retriever.by_meaning}
    found: dict[str, dict[str, float]] = {}
    for name, ask in ways.items():
        ranks = [_rank(entry, ask(entry["question"])) for entry in questions]
        found[name] = {f"recall@{n}": round(sum(r <= n for r in ranks) / len(ranks), 3) for n in (1, TOP)}
    if as_json:
        print(json.dumps({"questions": len(questions), "passages": len(nodes), **found}))
        return
    print(f"{len(questions)} questions, {len(nodes)} passages")
    print(f"{'':8} recall@1  recall@{TOP}")
    for name, values in found.items():
        print(f"{name:8} " + "  ".join(f"{value:8.3f}" for value in values.values()))


def _rank(entry: dict, hits: list) -> float:
    """Where the labelled passage stands, from 1."""
    for rank, hit in enumerate(hits, 1):
        text = " ".join(hit.node.get_content().split())
        if hit.node.metadata["file"] == entry["file"] and entry["says"] in text:
            return rank
    return float("inf")


if __name__ == "__main__":
    main()
