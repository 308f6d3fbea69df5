"""Agno's JSON files as values: each a list of rows. In a directory, or in memory for a run of which nobody else knows.

Invariant: merging drops no row; of two that are the same one, the later wins.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from agno.db.json import JsonDb

#: Rows by name of their file.
Files = dict[str, list[dict[str, Any]]]

#: Rows of one file that are kept: some fifty runs with their members' ones.
MAX_ROWS = 200
#: What tells one row of a file from another.
_NAMES = ("run_id", "memory_id", "id", "session_id", "agent_id", "team_id", "workflow_id")


class Directory:
    """The files of a directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def database(self) -> JsonDb:
        """They, as Agno takes them."""
        return JsonDb(db_path=str(self._path))

    def read(self) -> Files:
        """All of them."""
        return {path.name: json.loads(path.read_text("utf-8")) for path in sorted(self._path.glob("*.json"))}

    def write(self, files: Files) -> None:
        """Puts these there, in place of what they are named like."""
        for name, rows in files.items():
            (self._path / name).write_text(json.dumps(rows), "utf-8")


class Rows:
    """The same in memory. Each table is its text, as a file would be: what was read from it is nobody else's."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def database(self) -> JsonDb:
        """They, as Agno takes them."""
        return _InMemory(self._texts)

    def read(self) -> Files:
        """All of them."""
        return {name: json.loads(text) for name, text in sorted(self._texts.items())}

    def write(self, files: Files) -> None:
        """Puts these there, in place of what they are named like."""
        self._texts.update({name: json.dumps(rows) for name, rows in files.items()})


class _InMemory(JsonDb):
    """Agno's database of JSON files without the files: a run makes and writes a handful, which took longer than the run."""

    def __init__(self, texts: dict[str, str]) -> None:
        super().__init__(db_path=os.devnull)  # where a version of Agno that went by other ways would fail, not write
        self._texts = texts

    def _read_json_file(self, filename: str, create_table_if_not_found: bool | None = True) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self._texts.get(f"{filename}.json", "[]"))
        return rows

    def _write_json_file(self, filename: str, data: list[dict[str, Any]]) -> None:
        self._texts[f"{filename}.json"] = json.dumps(data, default=str)


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
