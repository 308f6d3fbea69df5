"""The source catalogue of a project: `sources.yaml`, a name and where its rows are.

    sources:
      orders:   {kind: sqlite, path: shop.sqlite, table: orders}        # or query: SELECT ...
      prices:   {kind: http, url: "${PRICES_URL}/all", format: json, records: data.items, headers: {...}}
      customers: {kind: file, path: "data/customers-*.csv"}             # csv, tsv, json, ndjson, parquet

Invariants: files lie inside the project; `${NAME}` is read from the worker's environment when the source is read
and never appears in a message, an output or the history.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ...api import StageError, Task
from ...summary import nearest

FILE = "sources.yaml"
MAX_SOURCES = 100
#: A name is also the name of a table.
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
FORMATS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".ndjson": "json", ".jsonl": "json", ".parquet": "parquet"}

_KEYS = {
    "sqlite": ({"path"}, {"table", "query"}),
    "http": ({"url"}, {"format", "records", "headers"}),
    "file": ({"path"}, {"format"}),
}
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class Source:
    """One entry, checked. `options` are as written: variables are not filled in."""

    name: str
    kind: str
    options: dict[str, Any]
    root: Path

    def filled(self, value: str) -> str:
        """`value` with the variables of the worker's environment."""

        def variable(match: re.Match[str]) -> str:
            found = os.environ.get(match.group(1))
            if found is None:
                raise self.error("SOURCE_MISCONFIGURED", f"the worker's environment has no {match.group(1)}")
            return found

        return _VARIABLE.sub(variable, value)

    def files(self) -> list[Path]:
        """The files of `path`, which may be a pattern; at least one."""
        pattern = str(self.options["path"])
        found = sorted(self.root.glob(pattern)) if any(mark in pattern for mark in "*?[") else [self.root / pattern]
        inside = [path for path in found if path.resolve().is_relative_to(self.root) and path.is_file()]
        if not inside:
            raise self.error("SOURCE_UNAVAILABLE", f"no file {pattern} in the project")
        return inside

    def error(self, reason: str, message: str, retryable: bool = False) -> StageError:
        return StageError(reason, f"source {self.name}: {message}", retryable=retryable, field="sources")


def chosen(task: Task, required: bool = True) -> list[Source]:
    """The sources that the task names, or all when it names none."""
    root = Path(task.project).resolve()
    known = _load(root)
    names = task.task.get("sources")
    if names is None:
        names = list(known) if required else []
    if not isinstance(names, (list, tuple)):
        raise StageError("TASK_INVALID", "sources must be a list of names", field="sources")
    if not names and required:
        raise StageError(
            "NO_SOURCES",
            f"there is nothing to extract: name sources in the task, or list them in {FILE} of the project directory",
            field="sources",
        )
    found = []
    for index, name in enumerate(names):
        if name not in known:
            listed = ", ".join(known) or "none"
            message = f"unknown source {name!r}{nearest(name, known)}; the catalogue {FILE} has: {listed}"
            raise StageError("SOURCE_UNKNOWN", message, field=f"sources[{index}]")
        if known[name] not in found:
            found.append(known[name])
    return found


def _load(root: Path) -> dict[str, Source]:
    path = root / FILE
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StageError("SOURCES_INVALID", f"{FILE} is not YAML: {error}") from error
    entries = (content or {}).get("sources") if isinstance(content or {}, dict) else content
    if not isinstance(entries or {}, dict) or len(entries or {}) > MAX_SOURCES:
        message = f"{FILE} must have `sources`, an object of at most {MAX_SOURCES} names"
        raise StageError("SOURCES_INVALID", message)
    return {name: _source(name, entry, root) for name, entry in (entries or {}).items()}


def _source(name: Any, entry: Any, root: Path) -> Source:
    def invalid(message: str) -> StageError:
        return StageError("SOURCES_INVALID", f"{FILE}: {name}: {message}")

    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise invalid("a name is a letter followed by letters, digits and underscores")
    if not isinstance(entry, dict):
        raise invalid("a source is an object with `kind`")
    kind = entry.get("kind")
    if kind not in _KEYS:
        raise invalid(f"unknown kind {kind!r}{nearest(kind, _KEYS)}; known are {', '.join(_KEYS)}")
    required, optional = _KEYS[kind]
    options = {key: value for key, value in entry.items() if key != "kind"}
    for key in options:
        if key not in required | optional:
            raise invalid(f"unknown key {key!r}{nearest(key, required | optional)}")
    for key in required:
        if not isinstance(options.get(key), str) or not options[key]:
            raise invalid(f"{key} must be a text")
    if kind == "sqlite" and ("table" in options) == ("query" in options):
        raise invalid("a sqlite source has either table or query")
    if kind == "http" and options.get("format", "json") not in ("json", "csv"):
        raise invalid("format must be json or csv")
    if "path" in options:
        path = Path(options["path"])
        if path.is_absolute() or ".." in path.parts:
            raise invalid("path must lie inside the project directory")
        if kind == "file" and options.get("format", FORMATS.get(path.suffix.lower())) not in FORMATS.values():
            raise invalid(f"format must be one of {', '.join(sorted(set(FORMATS.values())))}")
    return Source(name, kind, options, root)
