"""What a declarative task of this engine asks for, checked.

Invariant: a wrong value is a `StageError` that names the field, before any work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...api import StageError, Task
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
    # Templates and JSON make floats of whole numbers.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or not 1 <= value <= 50:
        raise _invalid("top_k", "top_k must be a whole number from 1 to 50")
    return int(value)


def _invalid(field: str, message: str) -> StageError:
    return StageError("TASK_INVALID", message, field=field)
