"""Agno's JSON files as values: each a list of rows.

Invariant: merging drops no row; of two that are the same one, the later wins.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

#: Rows by name of their file.
Files = dict[str, list[dict[str, Any]]]

#: Rows of one file that are kept: some fifty runs with their members' ones.
MAX_ROWS = 200
#: What tells one row of a file from another.
_NAMES = ("run_id", "memory_id", "id", "session_id", "agent_id", "team_id", "workflow_id")


def read(directory: Path) -> Files:
    """All files of a directory."""
    return {path.name: json.loads(path.read_text("utf-8")) for path in sorted(directory.glob("*.json"))}


def write(directory: Path, files: Files) -> None:
    """Puts the files there, in place of what they are named like."""
    for name, rows in files.items():
        (directory / name).write_text(json.dumps(rows), "utf-8")


def merge(before: Files, after: Files) -> Files:
    """The rows of both, those of `before` first."""
    merged = {}
    for name in sorted({*before, *after}):
        rows = {_identity(row): row for row in [*before.get(name, ()), *after.get(name, ())]}
        merged[name] = list(rows.values())
    return merged


def newest(files: Files) -> Files:
    """What is kept of files that have grown long."""
    return {name: rows[-MAX_ROWS:] for name, rows in files.items()}


def _identity(row: dict[str, Any]) -> str:
    known = {name: row[name] for name in _NAMES if row.get(name) is not None}
    return json.dumps(known or row, sort_keys=True)
