"""Reads one source into a table.

Invariants: a source is only read; work and memory are bounded; a source that may come back (a server that is
down or busy) is a retryable failure, any other is not.
"""

from __future__ import annotations

import base64
import json
import math
import sqlite3
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import asyncpg
import duckdb
import httpx

from . import objects, postgres, s3
from .catalogue import Source
from .tables import Tables, quoted, simple

#: Bounds of an answer over HTTP.
MAX_BYTES = 256 * 1024 * 1024
TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


def extract(source: Source, tables: Tables, work: Path) -> int:
    """Makes the table of the source's name; the number of its rows. Raises `StageError`."""
    try:
        return _EXTRACT[source.kind](source, tables, work)
    except (sqlite3.Error, duckdb.Error, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise source.error("SOURCE_UNREADABLE", f"{type(error).__name__}: {error}"[:1000]) from error


def _sqlite(source: Source, tables: Tables, work: Path) -> int:
    (path,) = source.files()[:1]
    sql = source.options.get("query") or 'SELECT * FROM "' + source.options["table"].replace('"', '""') + '"'
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        cursor = connection.execute(sql)
        names = [column[0] for column in cursor.description or []]
        return _objects(source, tables, work, names, (dict(zip(names, row)) for row in cursor))
    finally:
        connection.close()


def _file(source: Source, tables: Tables, work: Path) -> int:
    files = source.files()
    return tables.load(source.name, source.form([file.name for file in files]), files)


def _postgres(source: Source, tables: Tables, work: Path) -> int:
    sql = source.options.get("query") or f"SELECT * FROM {quoted(source.options['table'])}"
    url = source.filled(source.options["url"])
    try:
        path = work / f"{source.name}.ndjson"
        names, count = postgres.read(url, sql, path, _line)
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        told, passing = postgres.failure(error)
        reason = "SOURCE_UNAVAILABLE" if passing else "SOURCE_UNREADABLE"
        raise source.error(reason, told, retryable=passing) from None
    return _loaded(source, tables, path, names, count)


def _s3(source: Source, tables: Tables, work: Path) -> int:
    store, bucket, pattern = objects.store(source)
    names = [pattern]
    if any(mark in pattern for mark in "*?["):
        names = [name for name in _listed(source, store, bucket, pattern) if fnmatchcase(name, pattern)]
    if not names:
        raise source.error("SOURCE_UNAVAILABLE", f"no object matches {source.options['url']}")
    files = []
    for number, name in enumerate(names):
        files.append(work / f"{source.name}-{number}{Path(name).suffix}")
        files[-1].write_bytes(_get(source, *store.request(bucket, name)))
    return tables.load(source.name, source.form(names), files)


def _listed(source: Source, store: s3.Store, bucket: str, pattern: str) -> Iterator[str]:
    """The keys that begin like the pattern, page by page."""
    prefix = min((pattern.split(mark)[0] for mark in "*?["), key=len)
    query = {"list-type": "2", "prefix": prefix}
    while True:
        found, more = s3.keys(_get(source, *store.request(bucket, query=query)))
        yield from found
        if not more:
            return
        query = {**query, "continuation-token": more}


def _http(source: Source, tables: Tables, work: Path) -> int:
    content = _fetched(source)
    if source.options.get("format", "json") == "csv":
        path = work / f"{source.name}.csv"
        path.write_bytes(content)
        return tables.load(source.name, "csv", [path])
    records = _records(source, json.loads(content))
    names = list(dict.fromkeys(name for record in records for name in record))
    return _objects(source, tables, work, names, records)


def _fetched(source: Source) -> bytes:
    # Messages show the address as it is written: filled in, it may hold a secret.
    written = source.options["url"]
    url = source.filled(written)
    if not url.startswith(("http://", "https://")):
        raise source.error("SOURCE_MISCONFIGURED", f"{written} is not an http address")
    headers = {str(name): source.filled(str(value)) for name, value in (source.options.get("headers") or {}).items()}
    return _get(source, url, headers)


def _get(source: Source, url: str, headers: dict[str, str]) -> bytes:
    written = source.options["url"]
    content = bytearray()
    try:
        with httpx.stream("GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=True) as answer:
            if answer.status_code != 200:
                busy = answer.status_code in _BUSY
                reason = "SOURCE_UNAVAILABLE" if busy else "SOURCE_REFUSED"
                raise source.error(reason, f"{written} answered {answer.status_code}", retryable=busy)
            for block in answer.iter_bytes():
                content += block
                if len(content) > MAX_BYTES:
                    raise source.error("SOURCE_TOO_LARGE", f"{written} sends more than {MAX_BYTES // 2**20} MiB")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # Not the error's own text: it may quote the address.
        message = f"{written} cannot be reached: {type(error).__name__}"
        raise source.error("SOURCE_UNAVAILABLE", message, retryable=True) from None
    return bytes(content)


def _records(source: Source, content: Any) -> list[dict[str, Any]]:
    """The list of objects in an answer, where `records` says that it is."""
    for name in filter(None, source.options.get("records", "").split(".")):
        if not isinstance(content, dict) or name not in content:
            raise source.error("SOURCE_UNREADABLE", f"the answer has no {source.options['records']}")
        content = content[name]
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list) or not all(isinstance(record, dict) for record in content):
        raise source.error("SOURCE_UNREADABLE", "the answer is not a list of objects; `records` says where it is")
    return content


def _objects(source: Source, tables: Tables, work: Path, names: list[str], rows: Iterable[dict[str, Any]]) -> int:
    """Rows by way of a file of JSON lines, which DuckDB reads faster than it takes single rows."""
    path = work / f"{source.name}.ndjson"
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(_line(row))
            count += 1
    return _loaded(source, tables, path, names, count)


def _loaded(source: Source, tables: Tables, path: Path, names: list[str], count: int) -> int:
    if count == 0:
        tables.create(source.name, names)
        return 0
    return tables.load(source.name, "json", [path])


def _line(row: dict[str, Any]) -> str:
    return json.dumps({name: _plain(simple(value)) for name, value in row.items()}, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


_EXTRACT = {"sqlite": _sqlite, "http": _http, "file": _file, "postgres": _postgres, "s3": _s3}
