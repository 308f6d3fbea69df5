"""The catalogue: agents by name. The project's `agents.yaml` adds to the one that is shipped.

    poet:
      role: one line, who it is
      instructions: what it does and how, a text or one rule per line
      model: openai:gpt-4o-mini                # another model than the stage's, in any form of MAHAVISHNU_MODEL
      tools: [files, "tools.py:rhymes"]        # files: in the stage's `repos`; others are functions of the project
      knowledge: [docs/poems, notes.md]        # texts of the project that it can search
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ...api import StageError
from ...summary import nearest

SHIPPED = Path(__file__).with_name("catalogue.yaml")
OWN = "agents.yaml"
TOOLS = ("files",)
_KEYS = ("role", "instructions", "model", "tools", "knowledge")


@dataclass(frozen=True)
class Entry:
    name: str
    role: str
    instructions: tuple[str, ...]
    tools: tuple[str, ...]
    model: str | None = None
    knowledge: tuple[str, ...] = ()


def load(project: str) -> dict[str, Entry]:
    """All agents that a stage of this project can name."""
    own = Path(project, OWN)
    entries = _read(SHIPPED)
    if own.is_file():
        entries |= _read(own)
    return entries


def find(name: Any, entries: Mapping[str, Entry], field: str) -> Entry:
    """The agent of that name, or a failure that lists the known ones."""
    entry = entries.get(name) if isinstance(name, str) else None
    if entry is None:
        known = ", ".join(sorted(entries))
        raise StageError("UNKNOWN_AGENT", f"unknown agent {name!r}{nearest(name, entries)} (known: {known})", field=field)
    return entry


def _read(file: Path) -> dict[str, Entry]:
    try:
        content = yaml.safe_load(file.read_text("utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StageError("CATALOGUE_INVALID", f"{file.name}: {error}") from error
    if not isinstance(content, Mapping):
        raise StageError("CATALOGUE_INVALID", f"{file.name} maps names to agents")
    return {str(name): _entry(str(name), item, file.name) for name, item in content.items()}


def _entry(name: str, item: Any, file: str) -> Entry:
    if not isinstance(item, Mapping):
        raise StageError("CATALOGUE_INVALID", f"{file}: {name} is not an object")
    for key in item:
        if key not in _KEYS:
            raise StageError("CATALOGUE_INVALID", f"{file}: {name} has the unknown key {key}{nearest(key, _KEYS)}")
    tools = _lines(item.get("tools"))
    for tool in tools:
        if tool not in TOOLS and ":" not in tool:
            message = f"{file}: {name} has the unknown tool {tool!r} (known: {', '.join(TOOLS)}, and path.py:function)"
            raise StageError("CATALOGUE_INVALID", message)
    model = str(item["model"]) if item.get("model") else None
    instructions, knowledge = _lines(item.get("instructions")), _lines(item.get("knowledge"))
    return Entry(name, str(item.get("role") or name), instructions, tools, model, knowledge)


def _lines(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(str(line) for line in value) if isinstance(value, list) else (str(value),)
