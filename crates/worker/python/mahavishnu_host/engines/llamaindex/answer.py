"""An answer made of the sentences that stand in the retrieved passages, and where they stand.

Invariant: every sentence of an answer is in one of its sources; when none fits, that is the answer.
"""

from __future__ import annotations

from typing import Any

from .embedding import embed
from .retrieval import Hit
from .text import MAX_PASSAGE, Weights, joined, statements

#: Bounds of an answer.
MAX_SENTENCES = 5
MAX_ANSWER = 1_200
#: Sentences that are weighed, best passages first: bounds the time.
_MAX_WEIGHED = 60
#: Below this score a sentence says nothing of the question. Measured on the sample documents: the best sentence
#: for a question about something else has at most 0.15, for a paraphrase at least 0.23.
_NEAR = 0.2
_NOTHING = "No passage of the documents answers this."


def answer(question: str, hits: list[Hit]) -> dict[str, Any]:
    """`{"answer", "answered", "sources": [{file, page, score, text}]}`."""
    sources = [hit.as_json(MAX_PASSAGE) for hit in hits]
    told = _best(question, hits)
    if not told:
        return {"answer": _NOTHING, "answered": False, "sources": sources}
    return {"answer": joined(told, MAX_ANSWER), "answered": True, "sources": sources}


def _best(question: str, hits: list[Hit]) -> list[str]:
    """The sentences that answer, the nearest passage first and in the order of their text."""
    told = list(dict.fromkeys(sentence for hit in hits for sentence in statements(hit.text)))[:_MAX_WEIGHED]
    if not told:
        return []
    vectors = embed([question, *told])
    near = vectors[1:] @ vectors[0]
    weights = Weights(told)
    scores = [0.7 * float(near[index]) + 0.3 * weights.overlap(question, told[index]) for index in range(len(told))]
    limit = max(_NEAR, 0.6 * max(scores))
    best = sorted(range(len(told)), key=lambda index: -scores[index])[:MAX_SENTENCES]
    return [told[index] for index in sorted(best) if scores[index] >= limit]
