"""The checkpoint of a paused graph as bytes, and back.

It holds the newest checkpoint of each namespace with its pending writes, through LangGraph's own
serialiser and public saver interface, and what the attempt has counted so far. No pickle.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver

from ...api import StageError

VERSION = 1
#: Bytes before compression.
MAX_SIZE = 48 * 1024 * 1024


async def dump(saver: BaseCheckpointSaver, config: Mapping[str, Any], counted: Mapping[str, Any]) -> bytes:
    """What another process needs to go on where this one paused."""
    newest: dict[str, CheckpointTuple] = {}
    thread = {"configurable": {"thread_id": config["configurable"]["thread_id"]}}
    async for entry in saver.alist(thread):
        namespace = entry.config["configurable"].get("checkpoint_ns", "")
        known = newest.get(namespace)
        if known is None or entry.checkpoint["id"] > known.checkpoint["id"]:
            newest[namespace] = entry
    entries = [
        {
            "namespace": namespace,
            "checkpoint": _pack(saver, entry.checkpoint),
            "metadata": _pack(saver, entry.metadata),
            "writes": [[task, channel, _pack(saver, value)] for task, channel, value in entry.pending_writes or ()],
        }
        for namespace, entry in newest.items()
    ]
    data = json.dumps({"version": VERSION, "counted": counted, "entries": entries}).encode()
    if len(data) > MAX_SIZE:
        message = f"the graph's state takes {len(data)} bytes, more than the {MAX_SIZE} that a checkpoint may have"
        raise StageError("CHECKPOINT_TOO_LARGE", message)
    return zlib.compress(data)


async def load(data: bytes, saver: InMemorySaver, thread: str) -> dict[str, Any]:
    """Fills `saver`; returns what the paused attempt had counted."""
    try:
        unpacker = zlib.decompressobj()
        stored = json.loads(unpacker.decompress(data, MAX_SIZE))
        if stored["version"] != VERSION:
            raise ValueError(f"version {stored['version']}, not {VERSION}")
        for entry in stored["entries"]:
            checkpoint = _unpack(saver, entry["checkpoint"])
            config = {"configurable": {"thread_id": thread, "checkpoint_ns": entry["namespace"]}}
            metadata = _unpack(saver, entry["metadata"])
            placed = await saver.aput(config, checkpoint, metadata, checkpoint["channel_versions"])  # type: ignore[arg-type]
            writes: dict[str, list[tuple[str, Any]]] = {}
            for task, channel, value in entry["writes"]:
                writes.setdefault(task, []).append((channel, _unpack(saver, value)))
            for task, of_task in writes.items():
                await saver.aput_writes(placed, of_task, task)
        return stored["counted"]
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise StageError("CHECKPOINT_UNREADABLE", f"the checkpoint cannot be read: {error}") from error


def _pack(saver: BaseCheckpointSaver, value: Any) -> list[str]:
    kind, data = saver.serde.dumps_typed(value)
    return [kind, base64.b64encode(data).decode("ascii")]


def _unpack(saver: BaseCheckpointSaver, packed: list[str]) -> Any:
    kind, data = packed
    return saver.serde.loads_typed((kind, base64.b64decode(data)))
