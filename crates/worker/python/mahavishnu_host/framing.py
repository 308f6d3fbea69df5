"""Frames: a 4-byte big-endian length and that many bytes of UTF-8 JSON.

Invariant: what `encode` makes, a strict JSON reader accepts: no NaN, no lone surrogate, no nesting
beyond `MAX_DEPTH`, no frame beyond `MAX_FRAME`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import struct
from collections.abc import Iterator, Mapping, Set
from typing import Any

#: The protocol's limit, in bytes.
MAX_FRAME = 64 * 1024 * 1024
#: The worker's JSON reader stops at 128 levels; an output sits inside a frame inside an event.
MAX_DEPTH = 100

_LENGTH = struct.Struct(">I")
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class FrameError(Exception):
    """The peer does not keep the protocol, or a value cannot be framed."""


def encode(frame: Mapping[str, Any]) -> bytes:
    """One frame, ready to be sent. Raises `FrameError` for a value that no frame can hold."""
    text = _quickly(frame)
    body = (_JSON.encode(plain(frame)) if text is None else text).encode("utf-8", "replace")
    if len(body) > MAX_FRAME:
        raise FrameError(f"a frame of {len(body)} bytes is over the limit of {MAX_FRAME}")
    return _LENGTH.pack(len(body)) + body


def _quickly(frame: Mapping[str, Any]) -> str | None:
    """The text of a frame that is of JSON's own types already and not deep, as most are."""
    try:
        text = _JSON.encode(frame)
    except (TypeError, ValueError, RecursionError):
        return None
    return text if text.count("{") + text.count("[") <= MAX_DEPTH else None


def plain(value: Any, depth: int = 0) -> Any:
    """The same value out of JSON's own types. What JSON lacks becomes its text; NaN becomes null."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth >= MAX_DEPTH:
        raise FrameError(f"a value is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {_key(key): plain(member, depth + 1) for key, member in value.items()}
    if isinstance(value, (list, tuple, Set)):
        return [plain(member, depth + 1) for member in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, depth)
    if hasattr(value, "model_dump"):  # a pydantic model, without importing pydantic
        return plain(value.model_dump(), depth + 1)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "replace")
    return str(value)


class Decoder:
    """Cuts a byte stream into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The frames that are complete once `data` has arrived."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            end = _LENGTH.size + _length(self._buffer)
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield _decode(body)


async def read(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next frame, or None at the end of the stream, also when it ends within a frame."""
    try:
        head = await reader.readexactly(_LENGTH.size)
        return _decode(await reader.readexactly(_length(head)))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def _length(head: bytes | bytearray) -> int:
    (length,) = _LENGTH.unpack_from(head)
    if length > MAX_FRAME:
        raise FrameError(f"a frame of {length} bytes is over the limit of {MAX_FRAME}")
    return length


def _decode(body: bytes) -> dict[str, Any]:
    try:
        frame = json.loads(body)
    except ValueError as error:
        raise FrameError(f"a frame is not JSON: {error}") from error
    if not isinstance(frame, dict) or not isinstance(frame.get("t"), str):
        raise FrameError("a frame is not an object with a string member t")
    return frame


def _key(key: Any) -> str:
    return key if isinstance(key, str) else json.dumps(key) if key is None or isinstance(key, (bool, int)) else str(key)
