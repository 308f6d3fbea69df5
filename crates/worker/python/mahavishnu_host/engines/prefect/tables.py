"""Tables in DuckDB: rows of the sources in, SQL over them, rows out.

Invariant: between `seal` and `unseal` SQL reaches nothing but these tables: no file, no network, no extension.
"""

from __future__ import annotations

import datetime
import decimal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb

from ...api import StageError

#: Rows in memory at a time.
BATCH = 5_000
_READERS = {
    "csv": "read_csv({files}, union_by_name = true)",
    "json": "read_json({files}, format = 'auto', union_by_name = true, maximum_object_size = 67108864)",
    "parquet": "read_parquet({files}, union_by_name = true)",
}


class Tables:
    """One database of one attempt, in `directory`, or in memory."""

    def __init__(self, directory: Path | None = None) -> None:
        self._place = str(directory / "tables.duckdb") if directory else ":memory:"
        self._config = {"threads": "2", "memory_limit": "512MB", "autoinstall_known_extensions": "false"}
        if directory:
            self._config["temp_directory"] = str(directory / "spill")
        try:
            self._connection = duckdb.connect(self._place, config=self._config)
        except duckdb.IOException as error:
            # An attempt that lost its lease may still be about to end.
            message = f"the stage's tables cannot be opened: {error}"[:1000]
            raise StageError("TABLES_UNAVAILABLE", message, retryable=True) from error
        self._lock = threading.Lock()

    def __enter__(self) -> Tables:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._connection.interrupt()
        with self._lock:
            self._connection.close()

    def load(self, name: str, form: str, files: list[Path]) -> int:
        """Makes the table `name` of what the files say; the number of its rows."""
        listed = "[" + ", ".join(text(str(path)) for path in files) + "]"
        reader = _READERS[form].format(files=listed)
        with self._lock:
            self._connection.execute(f"CREATE OR REPLACE TABLE {quoted(name)} AS SELECT * FROM {reader}")
        return self.count(name)

    def create(self, name: str, columns: list[str]) -> None:
        """A table without rows."""
        listed = ", ".join(f"{quoted(column)} VARCHAR" for column in columns) or "nothing VARCHAR"
        with self._lock:
            self._connection.execute(f"CREATE OR REPLACE TABLE {quoted(name)} ({listed})")

    def seal(self) -> None:
        """From here on, SQL of a workflow's author may run."""
        with self._lock:
            self._connection.execute("SET enable_external_access = false")
            self._connection.execute("SET lock_configuration = true")

    def unseal(self) -> None:
        """From here on, only our own SQL runs. A sealed connection stays sealed, so this is another one."""
        with self._lock:
            self._connection.close()
            self._connection = duckdb.connect(self._place, config=self._config)

    def has(self, name: str) -> bool:
        return bool(self.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = ?", (name,))[0])

    def packed(self, name: str, directory: Path) -> bytes:
        """A table as a database of its own, which keeps its types; made in `directory`."""
        path = directory / f"{name}.packed"
        path.unlink(missing_ok=True)
        with self._lock:
            self._connection.execute(f"ATTACH {text(str(path))} AS packed")
            try:
                self._connection.execute(f"CREATE TABLE packed.{quoted(name)} AS SELECT * FROM {quoted(name)}")
            finally:
                self._connection.execute("DETACH packed")
        try:
            return path.read_bytes()
        finally:
            path.unlink()

    def unpack(self, name: str, content: bytes, directory: Path) -> None:
        """Makes a table of what `packed` gave."""
        path = directory / f"{name}.packed"
        path.write_bytes(content)
        with self._lock:
            self._connection.execute(f"ATTACH {text(str(path))} AS packed (READ_ONLY)")
            try:
                self._connection.execute(f"CREATE TABLE {quoted(name)} AS SELECT * FROM packed.{quoted(name)}")
            finally:
                self._connection.execute("DETACH packed")
        path.unlink()

    def execute(self, sql: str, values: tuple[Any, ...] = ()) -> Any:
        """One of our own statements; its first row, if it has any."""
        with self._lock:
            cursor = self._connection.execute(sql, values)
            return cursor.fetchone() if cursor.description else None

    def transform(self, name: str, sql: str) -> int:
        """Makes the table `name` of a query's result; the number of its rows."""
        with self._lock:
            statements = self._connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise ValueError("it must be one SELECT")
            self._connection.execute(f"CREATE OR REPLACE TABLE {quoted(name)} AS {sql.rstrip().rstrip(';')}")
        return self.count(name)

    def query(self, sql: str, limit: int | None = None) -> list[dict[str, Any]]:
        """Rows as objects of JSON's own types."""
        with self._lock:
            cursor = self._connection.execute(sql)
            names = [column[0] for column in cursor.description or []]
            rows = cursor.fetchall() if limit is None else cursor.fetchmany(limit)
        return [dict(zip(names, map(simple, row))) for row in rows]

    def sample(self, name: str, limit: int) -> list[dict[str, Any]]:
        """The first rows of a table."""
        return self.query(f"SELECT * FROM {quoted(name)}", limit)

    def count(self, name: str) -> int:
        return int(self.execute(f"SELECT count(*) FROM {quoted(name)}")[0])

    def schema(self, name: str) -> list[dict[str, str]]:
        with self._lock:
            rows = self._connection.execute(f"DESCRIBE {quoted(name)}").fetchall()
        return [{"name": row[0], "type": row[1]} for row in rows]

    def rows(self, name: str, plain: bool = True) -> Iterator[list[tuple[Any, ...]]]:
        """All rows of a table, in batches; in types that SQLite takes, or as they are."""
        with self._lock:
            cursor = self._connection.cursor()
        try:
            cursor.execute(f"SELECT * FROM {quoted(name)}")
            while batch := cursor.fetchmany(BATCH):
                yield [tuple(map(simple, row)) for row in batch] if plain else batch
        finally:
            cursor.close()

    def interrupt(self) -> None:
        """Stops a query that another thread waits for."""
        self._connection.interrupt()


def quoted(name: str) -> str:
    """A name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


def simple(value: Any) -> Any:
    """A value of DuckDB as JSON and SQLite know it: dates as ISO text, decimals as numbers when exact."""
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        if value == value.to_integral_value():
            return int(value)
        return float(value)
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, (list, tuple)):
        return [simple(item) for item in value]
    if isinstance(value, dict):
        return {str(key): simple(item) for key, item in value.items()}
    return str(value)


def text(value: str) -> str:
    """A text as SQL takes it."""
    return "'" + value.replace("'", "''") + "'"
