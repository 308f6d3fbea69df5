"""What an environment must have for an engine, looked at before the engine is imported.

The pinned environments have the versions that are tested; one of the user's own may have others of the same line.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata

#: Packages of each engine: from this version on, below that one; None where any will do.
PACKAGES: dict[str, dict[str, tuple[str, str] | None]] = {
    "agno": {"agno": ("3.1", "4"), "openai": None, "pyyaml": None},
    "langgraph": {
        "langgraph": ("1.2", "2"), "langgraph-checkpoint": ("4.3", "5"), "langchain-core": ("1.7", "2"), "langchain-openai": None,
    },
    "llamaindex": {
        # What parts of it need besides: engines/llamaindex/needs.py.
        "llama-index-core": ("0.14", "0.15"), "llama-index-workflows": ("2.26", "3"),
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
    found = {name: version(name) for name in wanted}
    missing = [name for name in found if found[name] is None]
    if missing:
        raise Unsupported("ENGINE_MISSING", f"{', '.join(missing)} not installed in {sys.executable}; {install(missing, wanted)}")
    wrong = [name for name, version in found.items() if not _fits(version or "", wanted[name])]
    if wrong:
        named = ", ".join(f"{name} {found[name]}" for name in wrong)
        raise Unsupported("ENGINE_UNSUPPORTED", f"{named} in {sys.executable} cannot be used; {install(wrong, wanted)}")


@lru_cache(maxsize=None)
def version(name: str) -> str | None:
    """Of a package, as the process found it."""
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


def install(names: list[str], wanted: Mapping[str, tuple[str, str] | None] | None = None) -> str:
    """What to do for packages to be there."""
    lines = [(wanted or {}).get(name) for name in names]
    asked = " ".join(name if line is None else f"'{name}>={line[0]},<{line[1]}'" for name, line in zip(names, lines))
    return f"install there: {sys.executable} -m pip install {asked}"
