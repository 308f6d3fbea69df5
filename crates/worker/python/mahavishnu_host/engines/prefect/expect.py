"""`expect`: what must hold of the tables before anything is loaded.

    expect:
      orders: {columns: {id: BIGINT, total: DOUBLE}, not_null: [id], unique: [id], min_rows: 1, max_rows: 100000}

Types are DuckDB's, by any of their names. All that does not hold is told at once.
"""

from __future__ import annotations

from typing import Any

from ...api import StageError, Task
from ...summary import nearest
from .tables import Tables, quoted

KEYS = ("columns", "not_null", "unique", "min_rows", "max_rows")


def expectations(task: Task) -> dict[str, dict[str, Any]]:
    """The task's `expect`, its form checked."""
    given = task.task.get("expect") or {}
    if not isinstance(given, dict):
        raise _invalid("expect", "expect must be an object of tables")
    for table, wanted in given.items():
        place = f"expect.{table}"
        if not isinstance(wanted, dict):
            raise _invalid(place, f"must be an object with some of {', '.join(KEYS)}")
        for key, value in wanted.items():
            if key not in KEYS:
                raise _invalid(f"{place}.{key}", f"unknown key {key!r}{nearest(key, KEYS)}")
            form = {"columns": dict, "not_null": list, "unique": list}.get(key, (int, float))
            if not isinstance(value, form) or isinstance(value, bool):
                raise _invalid(f"{place}.{key}", "must be an object, a list or a number, as its name says")
    return dict(given)


def check(tables: Tables, wanted: dict[str, dict[str, Any]], loading: list[str]) -> int:
    """How many expectations hold; `StageError` when one does not."""
    broken: list[str] = []
    count = 0
    for table, rules in wanted.items():
        if table not in loading:
            raise _invalid(f"expect.{table}", f"no such table is loaded{nearest(table, loading)}")
        for said in _broken(tables, table, rules):
            count += 1
            if said:
                broken.append(f"{table}: {said}")
    if broken:
        raise StageError("EXPECTATION_FAILED", "; ".join(broken)[:3_000], field="expect")
    return count


def _broken(tables: Tables, table: str, rules: dict[str, Any]) -> list[str | None]:
    """For each rule what is wrong, or nothing."""
    types = {column["name"]: column["type"] for column in tables.schema(table)}
    rows = tables.count(table)
    found: list[str | None] = []
    for name, wanted in (rules.get("columns") or {}).items():
        if name not in types:
            found.append(f"there is no column {name}{nearest(name, types)}")
        else:
            right = _same_type(tables, types[name], str(wanted))
            found.append(None if right else f"{name} is {types[name]}, not {wanted}")
    for name in rules.get("not_null") or []:
        nulls = _number(tables, types, name, f"count(*) - count({quoted(name)})", table)
        found.append(nulls if isinstance(nulls, str) else f"{name} is null in {nulls} rows" if nulls else None)
    for name in rules.get("unique") or []:
        twice = _number(tables, types, name, f"count({quoted(name)}) - count(DISTINCT {quoted(name)})", table)
        found.append(twice if isinstance(twice, str) else f"{name} repeats itself in {twice} rows" if twice else None)
    if "min_rows" in rules:
        found.append(f"{rows} rows, fewer than {rules['min_rows']}" if rows < rules["min_rows"] else None)
    if "max_rows" in rules:
        found.append(f"{rows} rows, more than {rules['max_rows']}" if rows > rules["max_rows"] else None)
    return found


def _number(tables: Tables, types: dict[str, str], name: str, of: str, table: str) -> int | str:
    if name not in types:
        return f"there is no column {name}{nearest(name, types)}"
    return int(tables.execute(f"SELECT {of} FROM {quoted(table)}")[0])


def _same_type(tables: Tables, actual: str, wanted: str) -> bool:
    if not all(part.isalnum() or part in "_(), []" for part in wanted):
        return False
    try:
        return bool(tables.execute(f"SELECT typeof(CAST(NULL AS {wanted})) = ?", (actual,))[0])
    except Exception:  # noqa: BLE001 - a name that DuckDB does not know is another type
        return False


def _invalid(field: str, message: str) -> StageError:
    return StageError("TASK_INVALID", message, field=field)
