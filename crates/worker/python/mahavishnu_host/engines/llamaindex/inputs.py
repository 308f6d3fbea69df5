"""What a declarative task of this engine asks for, checked.

Invariant: a wrong value is a `StageError` that names the field, before any work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ...api import StageError, Task
from ...summary import nearest
from .documents import READERS

#: The project's default index: what is under this directory of the project.
DEFAULT_INDEX = "docs"
MAX_INDEXED = 1_000
MAX_QUESTIONS = 20
MAX_QUESTION = 2_000


def documents(task: Task) -> list[tuple[str, Path]]:
    """Names and files of `docs`."""
    names = task.task.get("docs")
    if not isinstance(names, (list, tuple)) or not names:
        raise _invalid("docs", "docs must list at least one document")
    found = []
    for index, name in enumerate(names):
        if not isinstance(name, str) or name not in task.documents:
            raise StageError("DOCUMENT_MISSING", f"{name!r} did not come with the task", field=f"docs[{index}]")
        found.append((name, Path(task.documents[name])))
    return found


def default_index(task: Task) -> list[tuple[str, Path]]:
    """The documents of the project's default index, or of the part of it that `index` names."""
    base = (Path(task.project) / DEFAULT_INDEX).resolve()
    part = task.task.get("index") or ""
    if not isinstance(part, str) or "\0" in part or not (base / part).resolve().is_relative_to(base):
        raise _invalid("index", f"index must be the name of a directory in {DEFAULT_INDEX}/ of the project")
    root = (base / part).resolve()
    found = []
    for path in sorted(root.rglob("*")) if root.is_dir() else ():
        name = path.relative_to(root).as_posix()
        hidden = any(part.startswith(".") for part in Path(name).parts)
        if path.suffix.lower() in READERS and not hidden and path.is_file() and path.resolve().is_relative_to(root):
            found.append((name, path))
    if not found:
        raise StageError(
            "INDEX_EMPTY",
            f"the index is empty: put documents ({' '.join(sorted(READERS))}) into "
            f"{Path(DEFAULT_INDEX, part).as_posix()}/ of the project directory, or name them in docs",
            field="index" if part else "docs",
        )
    return found[:MAX_INDEXED]


def query(task: Task) -> str:
    """`query`; a reference has it in its `input`, a text or an object."""
    value = task.task.get("query", task.task.get("input"))
    if isinstance(value, dict):
        value = value.get("query")
    if not isinstance(value, str) or not value.strip():
        raise _invalid("query", "query must be a text")
    return value.strip()[:MAX_QUESTION]


def questions(task: Task) -> list[str]:
    value = task.task.get("questions") or []
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) and item.strip() for item in value):
        raise _invalid("questions", "questions must be a list of texts")
    if len(value) > MAX_QUESTIONS:
        raise _invalid("questions", f"at most {MAX_QUESTIONS} questions")
    return [item.strip()[:MAX_QUESTION] for item in value]


def top_k(task: Task) -> int:
    value: Any = task.task.get("top_k", 5)
    if not _is_whole(value) or value > 50:
        raise _invalid("top_k", "top_k must be a whole number from 1 to 50")
    return int(value)


@dataclass(frozen=True)
class Filters:
    """Which passages are searched: those of files that match a pattern, on pages in a range."""

    files: Sequence[str] = ()
    first: int = 1
    last: int | None = None

    def takes_file(self, name: str) -> bool:
        return not self.files or any(fnmatchcase(name, pattern) for pattern in self.files)

    def takes_page(self, page: int) -> bool:
        return page >= self.first and (self.last is None or page <= self.last)


def filters(task: Task) -> Filters:
    """`filters: {file: pattern or patterns, pages: [first, last]}`."""
    given = task.task.get("filters") or {}
    if not isinstance(given, dict):
        raise _invalid("filters", "filters must be an object with file and pages")
    for key in given:
        if key not in ("file", "pages"):
            raise _invalid(f"filters.{key}", f"unknown key {key!r}{nearest(key, ('file', 'pages'))}")
    files = given.get("file") or []
    files = [files] if isinstance(files, str) else files
    if not isinstance(files, (list, tuple)) or not all(isinstance(name, str) and name for name in files):
        raise _invalid("filters.file", "file must be a pattern such as *.pdf, or a list of them")
    pages = given.get("pages")
    if pages is None:
        return Filters(tuple(files))
    if not isinstance(pages, (list, tuple)) or len(pages) != 2 or not all(_is_whole(page) for page in pages):
        raise _invalid("filters.pages", "pages must be [first, last]")
    return Filters(tuple(files), int(pages[0]), int(pages[1]))


def _is_whole(value: Any) -> bool:
    # Templates and JSON make floats of whole numbers.
    return not isinstance(value, bool) and isinstance(value, (int, float)) and value == int(value) and value >= 1


def _invalid(field: str, message: str) -> StageError:
    return StageError("TASK_INVALID", message, field=field)
