"""The source catalogue of a project: `sources.yaml`, a name and where its rows are.

    sources:
      orders:   {kind: sqlite, path: shop.sqlite, table: orders}        # or query: SELECT ...
      ledger:   {kind: postgres, url: "${LEDGER_URL}", table: entries}  # or query: SELECT ...
      prices:   {kind: http, url: "${PRICES_URL}/all", format: json, records: data.items, headers: {...}}
      customers: {kind: file, path: "data/customers-*.csv"}             # csv, tsv, json, ndjson, parquet
      visits:   {kind: file, path: data/visits}                         # a directory, with all that is below it
      clicks:   {kind: s3, url: "s3://logs/2026/*.parquet", endpoint: "https://...", region: eu-west-1,
                 access_key: "${S3_KEY}", secret_key: "${S3_SECRET}"}
    targets:
      warehouse: {kind: postgres, url: "${WAREHOUSE_URL}"}
      lake:      {kind: s3, url: "s3://lake/daily", format: parquet, ...}  # the rest as of a source

Invariants: files lie inside the project; `${NAME}` is read from the worker's environment when the source is read
and never appears in a message, an output or the history.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
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
#: What the catalogue has.
PARTS = ("sources", "targets")
#: Forms of files that are written.
STORED = ("parquet", "csv")
FORMATS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".ndjson": "json", ".jsonl": "json", ".parquet": "parquet"}

#: By kind, the keys that it needs and those that it may have.
_Kinds = Mapping[str, tuple[set[str], set[str]]]
_KEYS: _Kinds = {
    "sqlite": ({"path"}, {"table", "query"}),
    "http": ({"url"}, {"format", "records", "headers"}),
    "file": ({"path"}, {"format"}),
    "postgres": ({"url"}, {"table", "query"}),
    "s3": ({"url"}, {"format", "endpoint", "region", "access_key", "secret_key"}),
}
#: Of `targets`.
_TARGET_KEYS: _Kinds = {
    "postgres": ({"url"}, set()),
    "s3": ({"url"}, {"format", "endpoint", "region", "access_key", "secret_key"}),
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
        if len(found) == 1 and found[0].is_dir():
            found = sorted(path for path in found[0].rglob("*") if path.suffix.lower() in FORMATS)
        inside = [path for path in found if path.resolve().is_relative_to(self.root) and path.is_file()]
        if not inside:
            raise self.error("SOURCE_UNAVAILABLE", f"no file {pattern} in the project")
        return inside

    def form(self, names: list[str]) -> str:
        """The format of files with these names; they have one."""
        given = self.options.get("format")
        forms = {given or FORMATS.get(Path(name).suffix.lower()) for name in names}
        if len(forms) != 1 or None in forms:
            raise self.error("SOURCE_MISCONFIGURED", "its files are of several or unknown formats; set format")
        return str(forms.pop())

    def error(self, reason: str, message: str, retryable: bool = False) -> StageError:
        return StageError(reason, f"source {self.name}: {message}", retryable=retryable, field="sources")


def chosen(task: Task, required: bool = True) -> list[Source]:
    """The sources that the task names, or all when it names none."""
    root = Path(task.project).resolve()
    known = _load(root, "sources", _KEYS)
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


def target(root: Path, kind: str, name: Any) -> Source:
    """An entry of `targets`, as a place with an address."""
    known = _load(root, "targets", _TARGET_KEYS)
    if not isinstance(name, str) or name not in known:
        listed = ", ".join(known) or "none"
        message = f"unknown target {name!r}{nearest(name, known)}; `targets` of {FILE} has: {listed}"
        raise StageError("TARGET_UNKNOWN", message, field="target.name")
    if known[name].kind != kind:
        message = f"the target {name} of {FILE} is of kind {known[name].kind}"
        raise StageError("TASK_INVALID", message, field="target.kind")
    return known[name]


def _load(root: Path, of: str, kinds: _Kinds) -> dict[str, Source]:
    entries = _content(root).get(of) or {}
    if not isinstance(entries, dict) or len(entries) > MAX_SOURCES:
        message = f"{FILE}: `{of}` must be an object of at most {MAX_SOURCES} names"
        raise StageError("SOURCES_INVALID", message)
    return {name: _source(name, entry, root, kinds) for name, entry in entries.items()}


def _content(root: Path) -> dict[str, Any]:
    path = root / FILE
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StageError("SOURCES_INVALID", f"{FILE} is not YAML: {error}") from error
    content = content or {}
    if not isinstance(content, dict):
        raise StageError("SOURCES_INVALID", f"{FILE} must be an object with `sources` and `targets`")
    for key in content:
        if key not in PARTS:
            raise StageError("SOURCES_INVALID", f"{FILE}: unknown key {key!r}{nearest(key, PARTS)}")
    return content


def _source(name: Any, entry: Any, root: Path, kinds: _Kinds) -> Source:
    def invalid(message: str) -> StageError:
        return StageError("SOURCES_INVALID", f"{FILE}: {name}: {message}")

    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise invalid("a name is a letter followed by letters, digits and underscores")
    if not isinstance(entry, dict):
        raise invalid("it must be an object with `kind`")
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise invalid(f"unknown kind {kind!r}{nearest(kind, kinds)}; known are {', '.join(kinds)}")
    required, optional = kinds[kind]
    options = {key: value for key, value in entry.items() if key != "kind"}
    for key in options:
        if key not in required | optional:
            raise invalid(f"unknown key {key!r}{nearest(key, required | optional)}")
    for key in required:
        if not isinstance(options.get(key), str) or not options[key]:
            raise invalid(f"{key} must be a text")
    if "table" in optional and ("table" in options) == ("query" in options):
        raise invalid(f"a {kind} source has either table or query")
    if kind == "s3" and kinds is _KEYS and not re.fullmatch(r"s3://[^/]+/.+", options["url"]):
        raise invalid("url must be s3://bucket/key, where the key may be a pattern")
    if kind == "s3" and kinds is _TARGET_KEYS and not re.fullmatch(r"s3://[^/*?\[]+(/[^*?\[]*)?", options["url"]):
        raise invalid("url must be s3://bucket or s3://bucket/prefix")
    if kind == "s3" and options.get("format", "parquet") not in (STORED if kinds is _TARGET_KEYS else FORMATS.values()):
        raise invalid(f"format must be one of {', '.join(STORED if kinds is _TARGET_KEYS else sorted(set(FORMATS.values())))}")
    if kind == "s3" and ("access_key" in options) != ("secret_key" in options):
        raise invalid("access_key and secret_key go together")
    if kind == "http" and options.get("format", "json") not in ("json", "csv"):
        raise invalid("format must be json or csv")
    if "path" in options:
        path = Path(options["path"])
        if path.is_absolute() or ".." in path.parts:
            raise invalid("path must lie inside the project directory")
        known = path.suffix == "" or FORMATS.get(path.suffix.lower()) is not None
        if kind == "file" and not (options["format"] in FORMATS.values() if "format" in options else known):
            raise invalid(f"format must be one of {', '.join(sorted(set(FORMATS.values())))}")
    return Source(name, kind, options, root)
