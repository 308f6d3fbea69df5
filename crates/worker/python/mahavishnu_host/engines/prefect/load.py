"""Loads tables into a target, so that doing it again changes nothing.

A SQLite, DuckDB or PostgreSQL target is a database: every loaded row has `_execution` and `_stage`, and rows of the same
execution and stage are replaced in one transaction, so attempts of one stage do not add up and other
executions stay. A CSV or Parquet target is a file for each table, replaced as a whole; in an object store it is an object.

Invariant: everything is written below the given directory, or to a place that the project's catalogue names.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import duckdb

from ...api import StageError, Task
from ...summary import nearest
from . import catalogue, objects, postgres
from .catalogue import Source
from .tables import Tables, quoted, text

KINDS = ("sqlite", "duckdb", "csv", "parquet", "postgres", "s3")
#: Of the catalogue.
_PLACES = ("postgres", "s3")
_KEYS = ("kind", "path", "name", "table")
_MARKS = ("_execution", "_stage")
_OURS = "_execution = ? AND _stage = ?"


@dataclass(frozen=True)
class Target:
    """Where to: a path, or a place that the catalogue names. `table` renames a single table."""

    kind: str
    path: Path
    table: str | None
    place: Source | None = None

    def shown(self) -> dict[str, Any]:
        """As the output tells it; an address may hold a password."""
        path = {} if self.kind == "postgres" else {"path": str(self.path)}
        name = {} if self.place is None else {"name": self.place.name}
        return {"kind": self.kind, **path, **name}


def target(task: Task) -> Target:
    """The task's `target`, checked; by default a SQLite file of the execution."""
    given = task.task.get("target") or {}
    if isinstance(given, str):
        given = {"kind": given}
    if not isinstance(given, dict):
        raise _invalid("target", "target must be an object with kind, path and table")
    for key in given:
        if key not in _KEYS:
            raise _invalid(f"target.{key}", f"unknown key {key!r}{nearest(key, _KEYS)}")
    kind = given.get("kind", "sqlite")
    if kind not in KINDS:
        raise _invalid("target.kind", f"unknown kind {kind!r}{nearest(kind, KINDS)}; known are {', '.join(KINDS)}")
    table = given.get("table")
    if table is not None and (not isinstance(table, str) or not table or "\0" in table or table.startswith("sqlite_")):
        raise _invalid("target.table", "table must be a name")
    if kind == "postgres" and "path" in given:
        raise _invalid("target.path", "a postgres target has no path but the name of one in the catalogue's targets")
    if kind not in _PLACES and "name" in given:
        raise _invalid("target.name", f"a {kind} target has no name; it has a path")
    place = catalogue.target(Path(task.project).resolve(), kind, given.get("name")) if kind in _PLACES else None
    if kind == "postgres":
        return Target(kind, Path(), table, place)
    root = (Path(task.data) / "targets").resolve()
    path = given.get("path") or (f"{task.execution}.{kind}" if kind in KINDS[:2] else f"{task.execution}-{task.stage}")
    if not isinstance(path, str) or "\0" in path or not (root / path).resolve().is_relative_to(root):
        raise _invalid("target.path", "path must be relative and lie inside the targets directory")
    inside = (root / path).resolve()
    return Target(kind, inside if place is None else inside.relative_to(root), table, place)


def load(tables: Tables, names: dict[str, str], into: Target, task: Task) -> dict[str, int]:
    """Loads the tables `names` (theirs: the target's) and says how many rows each has there of this stage.
    `tables` is not sealed."""
    try:
        return _LOAD[into.kind](tables, names, into, task)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError, TimeoutError) as error:
        told, passing = postgres.failure(error)
        raise StageError("LOAD_FAILED", told, retryable=passing, field="target") from error
    except (sqlite3.Error, duckdb.Error) as error:
        raise StageError("LOAD_FAILED", f"{type(error).__name__}: {error}"[:1000], field="target") from error


def _postgres(tables: Tables, names: dict[str, str], into: Target, task: Task) -> dict[str, int]:
    assert into.place is not None
    url = into.place.filled(into.place.options["url"])
    return postgres.load(url, tables, names, (task.execution, task.stage))


def _sqlite(tables: Tables, names: dict[str, str], into: Target, task: Task) -> dict[str, int]:
    loaded = {}
    ours = (task.execution, task.stage)
    into.path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(into.path, timeout=30, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        for name, table in names.items():
            columns = tables.schema(name)
            typed = [f"{quoted(column['name'])} {_affinity(column['type'])}" for column in columns]
            listed = ", ".join([*(quoted(column["name"]) for column in columns), *_MARKS])
            places = ", ".join("?" * (len(columns) + len(_MARKS)))
            typed += [f"{mark} TEXT" for mark in _MARKS]
            connection.execute(f"CREATE TABLE IF NOT EXISTS {quoted(table)} ({', '.join(typed)})")
            connection.execute(f"DELETE FROM {quoted(table)} WHERE {_OURS}", ours)
            insert = f"INSERT INTO {quoted(table)} ({listed}) VALUES ({places})"
            for batch in tables.rows(name):
                connection.executemany(insert, [(*map(_cell, row), *ours) for row in batch])
            count = connection.execute(f"SELECT count(*) FROM {quoted(table)} WHERE {_OURS}", ours)
            loaded[table] = int(count.fetchone()[0])
        connection.execute("COMMIT")
    finally:
        connection.close()  # what was not committed is undone
    return loaded


def _duckdb(tables: Tables, names: dict[str, str], into: Target, task: Task) -> dict[str, int]:
    loaded = {}
    ours = (task.execution, task.stage)
    into.path.parent.mkdir(parents=True, exist_ok=True)
    tables.execute(f"ATTACH {text(str(into.path))} AS target")
    try:
        tables.execute("BEGIN")
        for name, table in names.items():
            place = f"target.{quoted(table)}"
            marked = f"SELECT *, ?::VARCHAR AS _execution, ?::VARCHAR AS _stage FROM {quoted(name)}"
            tables.execute(f"CREATE TABLE IF NOT EXISTS {place} AS {marked} LIMIT 0", ours)
            tables.execute(f"DELETE FROM {place} WHERE {_OURS}", ours)
            tables.execute(f"INSERT INTO {place} BY NAME {marked}", ours)
            loaded[table] = int(tables.execute(f"SELECT count(*) FROM {place} WHERE {_OURS}", ours)[0])
        tables.execute("COMMIT")
    except duckdb.Error:
        tables.execute("ROLLBACK")
        raise
    finally:
        tables.execute("DETACH target")
    return loaded


def _files(tables: Tables, names: dict[str, str], into: Target, task: Task) -> dict[str, int]:
    loaded = {}
    for name, table in names.items():
        path = _file(into, table, len(names))
        # Written beside and renamed, so that nobody reads a half.
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        _written(tables, name, into.kind, part)
        os.replace(part, path)
        loaded[table] = tables.count(name)
    return loaded


def _objects(tables: Tables, names: dict[str, str], into: Target, task: Task) -> dict[str, int]:
    assert into.place is not None
    form = into.place.options.get("format", catalogue.STORED[0])
    loaded = {}
    for name, table in names.items():
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "object")
            _written(tables, name, form, path)
            objects.put(into.place, "/".join([*into.path.parts, f"{table.replace('/', '_')}.{form}"]), path)
        loaded[table] = tables.count(name)
    return loaded


def _written(tables: Tables, name: str, form: str, path: Path) -> None:
    shape = "FORMAT parquet" if form == "parquet" else "FORMAT csv, HEADER"
    tables.execute(f"COPY {quoted(name)} TO {text(str(path))} ({shape})")


def _file(into: Target, table: str, count: int) -> Path:
    """The file of one table: the path itself when it is a file's, else one in the directory of that name."""
    if into.path.suffix == f".{into.kind}":
        if count > 1:
            message = f"{into.path.name} is one file but there are {count} tables; name a directory"
            raise _invalid("target.path", message)
        into.path.parent.mkdir(parents=True, exist_ok=True)
        return into.path
    into.path.mkdir(parents=True, exist_ok=True)
    return into.path / f"{table.replace('/', '_')}.{into.kind}"


def _affinity(of: str) -> str:
    """SQLite's type for a column. Nested values are loaded as JSON text."""
    if "INT" in of or of == "BOOLEAN":
        return "INTEGER"
    if of.startswith(("DOUBLE", "FLOAT", "DECIMAL")):
        return "REAL"
    return "BLOB" if of == "BLOB" else "TEXT"


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def _invalid(field: str, message: str) -> StageError:
    return StageError("TASK_INVALID", message, field=field)


_LOAD = {"sqlite": _sqlite, "duckdb": _duckdb, "csv": _files, "parquet": _files, "postgres": _postgres, "s3": _objects}
