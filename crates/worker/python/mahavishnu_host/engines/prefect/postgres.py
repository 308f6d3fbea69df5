"""Reads from and loads into PostgreSQL. Addresses come from the project's catalogue and are never shown.

Invariant: reading is one read-only transaction, loading one transaction.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg

from .tables import BATCH, Tables, quoted

#: Seconds to connect.
CONNECT = 10.0


def failure(error: Exception) -> tuple[str, bool]:
    """What to tell of an error, and whether it may pass. Not the text of a failed connection: it may quote the address."""
    passing = isinstance(error, (OSError, asyncio.TimeoutError, asyncpg.PostgresConnectionError))
    passing |= isinstance(error, (asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError))
    passing |= isinstance(error, (asyncpg.SerializationError, asyncpg.DeadlockDetectedError))
    told = type(error).__name__ if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: {error}"
    return told[:1000], passing


def connected(url: str, work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Does `work` with a connection, on an event loop of this thread."""

    async def all_of_it() -> Any:
        connection = await asyncpg.connect(url, timeout=CONNECT)
        try:
            return await work(connection)
        finally:
            await connection.close(timeout=CONNECT)

    return asyncio.run(all_of_it())


def read(url: str, sql: str, path: Path, line: Callable[[dict[str, Any]], str]) -> tuple[list[str], int]:
    """Writes all rows of a query to a file, one line each; the columns, and how many rows."""

    async def work(connection: Any) -> tuple[list[str], int]:
        count = 0
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            statement = await connection.prepare(sql)
            names = [attribute.name for attribute in statement.get_attributes()]
            with path.open("w", encoding="utf-8") as file:
                async for row in statement.cursor(prefetch=BATCH):
                    file.write(line(dict(zip(names, row))))
                    count += 1
        return names, count

    return connected(url, work)


def load(url: str, tables: Tables, names: dict[str, str], ours: tuple[str, str]) -> dict[str, int]:
    """Replaces the rows of this execution and stage in each table; how many it has now."""

    async def work(connection: Any) -> dict[str, int]:
        loaded = {}
        async with connection.transaction():
            for name, table in names.items():
                columns = tables.schema(name)
                typed = [f"{quoted(column['name'])} {_type(column['type'])}" for column in columns]
                typed += ["_execution TEXT", "_stage TEXT"]
                await connection.execute(f"CREATE TABLE IF NOT EXISTS {quoted(table)} ({', '.join(typed)})")
                where = "_execution = $1 AND _stage = $2"
                await connection.execute(f"DELETE FROM {quoted(table)} WHERE {where}", *ours)
                listed = [*(column["name"] for column in columns), "_execution", "_stage"]
                kinds = [_type(column["type"]) for column in columns]
                for batch in tables.rows(name, plain=False):
                    records = [(*map(_cell, row, kinds), *ours) for row in batch]
                    await connection.copy_records_to_table(table, records=records, columns=listed)
                loaded[table] = await connection.fetchval(f"SELECT count(*) FROM {quoted(table)} WHERE {where}", *ours)
        return loaded

    return connected(url, work)


def _type(of: str) -> str:
    """PostgreSQL's type for one of DuckDB's; nested values are loaded as JSON text."""
    if of in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"):
        return "BIGINT"
    if of.startswith("DECIMAL") and not of.endswith("]") or of in ("HUGEINT", "UBIGINT", "UHUGEINT"):
        return "NUMERIC"
    same = {"BOOLEAN": "BOOLEAN", "DATE": "DATE", "TIMESTAMP": "TIMESTAMP", "BLOB": "BYTEA"}
    same |= {"FLOAT": "DOUBLE PRECISION", "DOUBLE": "DOUBLE PRECISION", "TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ"}
    return same.get(of, "TEXT")


def _cell(value: Any, kind: str) -> Any:
    if value is None or kind != "TEXT" or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, (list, dict)) else str(value)

