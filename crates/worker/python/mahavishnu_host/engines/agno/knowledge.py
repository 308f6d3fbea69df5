"""What an agent knows: the paragraphs of some texts of the project, found by their words.

Invariant: nothing outside the project directory is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agno.tools import Toolkit

from ...api import StageError
from ..llamaindex.text import Weights
from . import files

SUFFIXES = {".md", ".markdown", ".txt", ".rst"}
MAX_PARAGRAPHS = 5_000
MAX_FOUND = 5
MAX_PARAGRAPH = 1_200


class Knowledge(Toolkit):
    """Searches the paragraphs."""

    def __init__(self, places: Sequence[str], project: str, agent: str) -> None:
        root = Path(project).resolve()
        self._paragraphs = [
            (path.relative_to(root).as_posix(), paragraph.strip())
            for path in _texts(places, root, agent)
            for paragraph in "\n".join(files.text_lines(path)).split("\n\n")
            if paragraph.strip()
        ][:MAX_PARAGRAPHS]
        self._weights = Weights([paragraph for _, paragraph in self._paragraphs])
        super().__init__(name="knowledge", tools=[self.search_knowledge])

    def search_knowledge(self, question: str) -> str:
        """Finds what is known about something: paragraphs with the file in which they stand.

        Args:
            question (str): what you want to know
        """
        scored = [(self._weights.overlap(question, text), n) for n, (_, text) in enumerate(self._paragraphs)]
        best = [n for score, n in sorted(scored, key=lambda item: (-item[0], item[1]))[:MAX_FOUND] if score > 0]
        told = [f"{self._paragraphs[n][0]}: {self._paragraphs[n][1][:MAX_PARAGRAPH]}" for n in best]
        return "\n\n".join(told) or "nothing is known about it"


def _texts(places: Sequence[str], root: Path, agent: str) -> list[Path]:
    found = []
    for place in places:
        path = (root / place).resolve()
        if not path.is_relative_to(root) or not path.exists():
            raise StageError("CATALOGUE_INVALID", f"{agent}: knowledge {place} is not in the project directory")
        within = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [f for f in within if f.suffix.lower() in SUFFIXES and f.is_file() and f.resolve().is_relative_to(root)]
    return found
