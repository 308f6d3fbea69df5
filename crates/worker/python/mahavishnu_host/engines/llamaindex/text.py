"""Rules over plain text: paragraphs, sentences, requirements, weights of words. No model is asked.

Invariant: every sentence that is returned stands in the text, white space aside.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

#: Bounds of what goes into an output, in characters.
MAX_PASSAGE = 600
MAX_SUMMARY = 900

_NEW_BLOCK = re.compile(r"^(?:[-*•–·]\s|\d+(?:\.\d+)*[.)]\s|\(?[a-z]\)\s|#|>|\|)")
_REQUIREMENT = re.compile(r"\b(?:shall|must|required|mandatory)\b", re.IGNORECASE)
_ID = re.compile(r"^\W*([A-Z][A-Z0-9]*(?:-[A-Z0-9]+)*-\d+(?:\.\d+)*)\b[\])]?\s*[:.)–—-]?\s*")
_ENDED = (".", "!", "?", ":", ";")
_BULLET = re.compile(r"^(?:[-*•–·]\s+|#+\s+|>\s+)+")
_WORD = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*")
# A full stop ends a sentence unless it belongs to a short form, an initial or a number.
_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9#*-])")
_SHORT_FORMS = re.compile(
    r"\b(?:e\.g|i\.e|etc|cf|vs|no|nr|fig|sec|approx|dr|mr|mrs|ms|st|inc|ltd|[a-z])\.$", re.IGNORECASE
)
_COMMON = frozenset(
    "a an and any are as at be been but by can do does for from had has have how i if in into is it its may more no not"
    " of on or our so such than that the their them then there these they this to up was we were what when where which"
    " who why will with you your".split()
)


def join_lines(text: str, headings: set[str] | frozenset[str] = frozenset()) -> str:
    """Undoes the wrapping of lines: one paragraph per block, blank lines between blocks."""
    blocks: list[str] = []
    open_block = False
    for line in text.splitlines():
        stripped = line.strip()
        alone = stripped in headings or stripped.startswith("#")
        # An identifier begins a requirement, but inside a sentence it is only mentioned.
        numbered = _ID.match(stripped) and blocks and blocks[-1].endswith(_ENDED)
        if not stripped or alone or numbered or _NEW_BLOCK.match(stripped):
            open_block = False
        if not stripped:
            continue
        if open_block:
            # A hyphen at the end of a line stays: whether it belongs to the word cannot be told.
            blocks[-1] += stripped if blocks[-1].endswith("-") else f" {stripped}"
        else:
            blocks.append(stripped)
        open_block = not alone
    return "\n\n".join(blocks)


def sentences(text: str) -> list[str]:
    """The sentences of a text whose paragraphs are separated by blank lines."""
    found = []
    for paragraph in text.split("\n\n"):
        held = ""
        for part in _END.split(" ".join(_BULLET.sub("", paragraph.strip()).split())):
            held = f"{held} {part}" if held else part
            if not _SHORT_FORMS.search(held):
                found.append(held)
                held = ""
        if held:
            found.append(held)
    return [sentence for sentence in found if sentence]


def statements(text: str) -> list[str]:
    """The sentences that say something: headings and cells of tables left out."""
    found = ((sentence, len(words(sentence))) for sentence in sentences(text))
    return [sentence for sentence, length in found if length >= (3 if sentence.endswith(_ENDED) else 8)]


def requirements(text: str) -> list[dict[str, str]]:
    """The sentences that demand something, with the identifier that the author gave them."""
    found = []
    for sentence in sentences(text):
        if not _REQUIREMENT.search(sentence) or sentence.endswith("?"):
            continue
        identifier = _ID.match(sentence)
        entry = {"text": shorten(sentence[identifier.end() :] if identifier else sentence, MAX_PASSAGE)}
        found.append({"id": identifier.group(1), **entry} if identifier else entry)
    return found


def words(text: str) -> list[str]:
    """The words that carry meaning, folded; plurals count as their singular."""
    folded = (word.lower() for word in _WORD.findall(text))
    return [
        word[:-1] if len(word) > 4 and word.endswith("s") and not word.endswith("ss") else word
        for word in folded
        if word not in _COMMON
    ]


class Weights:
    """How telling a word is among `texts`: rare words count more."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._count = len(texts)
        self._in = Counter(word for text in texts for word in set(words(text)))

    def vector(self, text: str) -> dict[str, float]:
        """Word weights of unit length."""
        counts = Counter(words(text))
        raw = {word: (1 + math.log(count)) * self.of(word) for word, count in counts.items()}
        norm = math.sqrt(sum(weight * weight for weight in raw.values())) or 1.0
        return {word: weight / norm for word, weight in raw.items()}

    def of(self, word: str) -> float:
        return math.log(1 + (self._count + 1) / (1 + self._in[word]))

    def overlap(self, asked: str, text: str) -> float:
        """The part of the question's weight that the text has, from 0 to 1."""
        wanted = set(words(asked))
        whole = sum(self.of(word) for word in wanted)
        return sum(self.of(word) for word in wanted & set(words(text))) / whole if whole else 0.0


def central(texts: Sequence[str]) -> list[float]:
    """How much each text says of what all of them are about, from 0 to 1: its nearness to their common centre."""
    weights = Weights(texts)
    vectors = [weights.vector(text) for text in texts]
    centre: dict[str, float] = {}
    for vector in vectors:
        for word, weight in vector.items():
            centre[word] = centre.get(word, 0.0) + weight
    norm = math.sqrt(sum(weight * weight for weight in centre.values())) or 1.0
    return [sum(weight * centre[word] for word, weight in vector.items()) / norm for vector in vectors]


def summary(text: str, count: int = 3) -> str:
    """The sentences that say most, in the order of the text."""
    told = statements(text) or sentences(text)
    scores = central(told)
    best = sorted(range(len(told)), key=lambda index: (-scores[index], index))[:count]
    return joined((told[index] for index in sorted(best)), MAX_SUMMARY)


def joined(parts: Iterable[str], limit: int) -> str:
    """As many whole parts as fit; the first is shortened rather than left out."""
    text = ""
    for part in parts:
        if text and len(text) + 1 + len(part) > limit:
            continue
        text = f"{text} {part}".strip()
    return shorten(text, limit)


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, cut between words, the cut shown."""
    if len(text) <= limit:
        return text
    return text[: limit - 2].rsplit(" ", 1)[0] + " …"
