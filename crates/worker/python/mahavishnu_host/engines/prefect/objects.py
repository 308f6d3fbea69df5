"""Object stores of the catalogue: where one is, and how a file becomes an object.

Invariant: an object is replaced as a whole or not at all.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx

from ...api import StageError
from . import s3
from .catalogue import Source

#: What S3 takes in one request.
MAX_OBJECT = 5 * 1024**3
_BLOCK = 1024 * 1024
#: Seconds; a write is answered when it is stored.
_TIMEOUT = httpx.Timeout(120.0, connect=5.0)


def store(place: Source) -> tuple[s3.Store, str, str]:
    """The store of an entry of the catalogue, the bucket, and what its address says of keys."""
    options = {key: place.filled(str(value)) for key, value in place.options.items()}
    region = options.get("region", "us-east-1")
    endpoint = options.get("endpoint", f"https://s3.{region}.amazonaws.com")
    bucket, _, keys = options["url"].removeprefix("s3://").partition("/")
    return s3.Store(endpoint, region, options.get("access_key", ""), options.get("secret_key", "")), bucket, keys


def put(place: Source, key: str, path: Path) -> None:
    """Writes a file as the object `key`, below the prefix of the place. Raises `StageError`."""
    where, bucket, prefix = store(place)
    key = "/".join([*filter(None, prefix.split("/")), key])
    size = path.stat().st_size
    if size > MAX_OBJECT:
        raise _failed(f"{key} would have more than {MAX_OBJECT // 2**30} GiB", False)
    url, headers = where.request(bucket, key, method="PUT", content=_hash(path))
    try:
        with path.open("rb") as file:
            blocks = iter(lambda: file.read(_BLOCK), b"")
            answer = httpx.put(url, content=blocks, headers={**headers, "content-length": str(size)}, timeout=_TIMEOUT)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # Not the error's own text: it may quote the address.
        raise _failed(f"{place.name} cannot be reached: {type(error).__name__}", True) from None
    if answer.status_code not in (200, 201, 204):
        busy = answer.status_code >= 500 or answer.status_code in (408, 429)
        raise _failed(f"{place.name} answered {answer.status_code} {s3.code(answer.content)} to {key}", busy)


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _failed(message: str, retryable: bool) -> StageError:
    return StageError("LOAD_FAILED", message, retryable=retryable, field="target")
