"""Read-only file tools for agents.

Invariant: nothing outside the given directories is read, also through links. Answers are short, since
a model has to read them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from agno.tools import Toolkit

from ...api import StageError

MAX_LINES = 120
MAX_LINE = 200
MAX_ENTRIES = 60
MAX_FILE = 1024 * 1024
_SKIPPED = {"node_modules", "target", "__pycache__"}


class RepoFiles(Toolkit):
    """List, read and search in the stage's repositories."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = [root.resolve() for root in roots]
        super().__init__(name="files", tools=[self.list_files, self.read_file, self.search_files])

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
        lines = _lines(place)[max(first_line - 1, 0) :]
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
            for number, line in enumerate(_lines(file), 1)
            if wanted in line.casefold()
        ]
        return "\n".join(_first(found, MAX_ENTRIES)) or "not found"

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


def _lines(file: Path) -> list[str]:
    """The lines of a text file; none of a binary or a very large one."""
    try:
        if file.stat().st_size > MAX_FILE:
            return []
        return file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _first(items: list[str], limit: int) -> list[str]:
    return items if len(items) <= limit else [*items[:limit], f"... {len(items) - limit} more"]
