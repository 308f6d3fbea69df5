"""File tools for agents: they read, and change files only when the task allows it.

Invariant: nothing outside the given directories is read or written, also through links, and nothing hidden. Answers
are short, since a model has to read them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agno.tools import Toolkit

from ...api import StageError

MAX_LINES = 120
MAX_LINE = 200
MAX_ENTRIES = 60
MAX_FILE = 1024 * 1024
_SKIPPED = {"node_modules", "target", "__pycache__"}


class RepoFiles(Toolkit):
    """List, read and search in the stage's repositories. `writes` is `never`, `ask` (a person confirms each) or
    `allow`."""

    def __init__(self, roots: Sequence[Path], writes: str = "never") -> None:
        self._roots = [root.resolve() for root in roots]
        tools: list[Any] = [self.list_files, self.read_file, self.search_files]
        changing = [] if writes == "never" else [self.write_file, self.replace_text]
        asked = [tool.__name__ for tool in changing] if writes == "ask" else None
        super().__init__(name="files", tools=tools + changing, requires_confirmation_tools=asked)

    def list_files(self, directory: str = ".") -> str:
        """Lists the files and directories in a directory of the repository.

        Args:
            directory (str): path relative to the repository
        """
        place = self._inside(directory)
        if place is None or not place.is_dir():
            return f"there is no directory {directory}"
        names = sorted(f"{p.name}/" if p.is_dir() else p.name for p in place.iterdir() if not _is_skipped(p.name))
        return "\n".join(_first(names, MAX_ENTRIES)) or "empty"

    def read_file(self, path: str, first_line: int = 1) -> str:
        """Reads lines of a text file of the repository.

        Args:
            path (str): path relative to the repository
            first_line (int): the line to begin with
        """
        place = self._inside(path)
        if place is None or not place.is_file() or _is_skipped(place.name):
            return f"there is no file {path}"
        lines = text_lines(place)[max(first_line - 1, 0) :]
        return "\n".join(_first([line[:MAX_LINE] for line in lines], MAX_LINES))

    def search_files(self, text: str) -> str:
        """Finds the lines that contain a text, in all files of the repository.

        Args:
            text (str): the text to look for, whatever its case
        """
        wanted = text.casefold()
        found = [
            f"{file.relative_to(root)}:{number}: {line.strip()[:MAX_LINE]}"
            for root, file in self._files()
            for number, line in enumerate(text_lines(file), 1)
            if wanted in line.casefold()
        ]
        return "\n".join(_first(found, MAX_ENTRIES)) or "not found"

    def write_file(self, path: str, content: str) -> str:
        """Creates a text file of the repository, or replaces all of it.

        Args:
            path (str): path relative to the repository
            content (str): the whole new content
        """
        place = self._place(path)
        if place is None:
            return f"{path} cannot be written: it is hidden or not in the repository"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content, "utf-8")
        return f"{path} is written: {len(content.splitlines())} lines"

    def replace_text(self, path: str, old: str, new: str) -> str:
        """Replaces a piece of a text file that stands in it exactly once.

        Args:
            path (str): path relative to the repository
            old (str): the piece as it is now
            new (str): what takes its place
        """
        place = self._place(path)
        if place is None or not place.is_file():
            return f"there is no file {path}"
        content = place.read_text("utf-8")
        if not old or content.count(old) != 1:
            return f"nothing is changed: the piece stands {content.count(old) if old else 0} times in {path}"
        place.write_text(content.replace(old, new), "utf-8")
        return f"{path} is changed"

    def _place(self, path: str) -> Path | None:
        """Where a file may be written: in a repository that has it, otherwise in the first."""
        if any(_is_skipped(part) for part in Path(path).parts):
            return None
        for root in sorted(self._roots, key=lambda root: not (root / path).exists()):
            place = Path(os.path.realpath(root / path))
            parts = place.relative_to(root).parts if place.is_relative_to(root) else (".",)
            if not any(_is_skipped(part) for part in parts) and not place.is_dir():
                return place
        return None

    def _inside(self, path: str) -> Path | None:
        for root in self._roots:
            place = Path(os.path.realpath(root / path))
            if place.is_relative_to(root) and place.exists():
                return place
        return None

    def _files(self) -> Iterator[tuple[Path, Path]]:
        for root in self._roots:
            for directory, names, files in os.walk(root):  # does not follow links to directories
                names[:] = sorted(name for name in names if not _is_skipped(name))
                for name in sorted(files):
                    file = Path(directory, name)
                    if not _is_skipped(name) and not file.is_symlink():
                        yield root, file


def roots_of(repos: Sequence[str], project: str) -> list[Path]:
    """The directories that `repos` name, all of them in the project."""
    base = Path(project).resolve()
    roots = []
    for index, repo in enumerate(repos):
        root = (base / repo).resolve()
        if not root.is_relative_to(base):
            raise StageError("REPO_OUTSIDE", f"{repo} is outside the project directory", field=f"repos[{index}]")
        if not root.is_dir():
            raise StageError("REPO_NOT_FOUND", f"{repo} is not a directory of the project", field=f"repos[{index}]")
        roots.append(root)
    return roots


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name in _SKIPPED


def text_lines(file: Path) -> list[str]:
    """The lines of a text file; none of a binary or a very large one."""
    try:
        if file.stat().st_size > MAX_FILE:
            return []
        return file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _first(items: list[str], limit: int) -> list[str]:
    return items if len(items) <= limit else [*items[:limit], f"... {len(items) - limit} more"]
