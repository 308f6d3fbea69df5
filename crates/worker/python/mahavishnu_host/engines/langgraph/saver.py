"""LangGraph's checkpoints in the worker's store, by way of the attempt's connection.

The store is a log of records that belongs to the stage and is fenced by attempt and delivery: a process that
another has superseded cannot write, and its attempt ends. This module keeps the log's index and reads bodies when
they are asked for.

Before a node starts, what the nodes before it did is stored, and before the stage ends, everything. What does not decide this
is on its way while the graph goes on: records are sent in order, so none is there without those before it.

The newest checkpoint is the one that was written last, not the one with the largest id: ids tell the time of the
machine that made them, and the machines that work on a stage one after the other have different clocks.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
    writes_sort_key,
)

from ...api import Link, StageError
from ...framing import FrameError, plain
from ...summary import summarise

#: With more records than this, old checkpoints go; each namespace keeps its newest ones.
MAX_RECORDS = 4096
KEPT = 64
#: What people see of a checkpoint, in characters of JSON.
MAX_VIEW = 8 * 1024
#: Values of the state that are larger are shown in short only, in bytes of JSON.
MAX_VALUES = 256 * 1024

Place = tuple[str, str]


@dataclass(frozen=True)
class Record:
    """One record of the log. `task` is empty for a checkpoint; else this is what that task wrote after it."""

    position: int
    thread: str
    namespace: str
    checkpoint: str
    parent: str = ""
    task: str = ""
    view: Mapping[str, Any] = field(default_factory=dict)
    attempt: int = 0
    resume: int = 0


class Saver(BaseCheckpointSaver[int]):
    """`own` is the thread of the stage's graph. `notes` gives what is to be kept with every record."""

    def __init__(self, link: Link, own: str, notes: Callable[[], Mapping[str, Any]] = dict) -> None:
        super().__init__()
        self._link, self._own, self._notes = link, own, notes
        self._loop = asyncio.get_running_loop()
        # Clones with another serialiser share these.
        self._checkpoints: dict[Place, dict[str, Record]] = {}
        self._writes: dict[tuple[str, str, str], list[Record]] = {}
        #: Saves that are on their way, and
        self._saving: set[asyncio.Task[None]] = set()
        #: the body of the last checkpoint, which is often asked for next, by its position.
        self._last: dict[int, bytes] = {}

    async def open(self) -> None:
        """Claims the stage's checkpoints and learns which there are."""
        answer = await self._link.call("checkpoints_open", {})
        for entry in answer["entries"]:
            self._add(Record(**entry))

    def newest(self, namespace: str = "") -> tuple[Record | None, list[Record]]:
        """The stage's newest checkpoint in a namespace and what was written after it."""
        known = self._checkpoints.get(("", namespace))
        if not known:
            return None, []
        last = next(reversed(known.values()))
        return last, list(self._writes.get(("", namespace, last.checkpoint), ()))

    async def aput(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:
        thread, namespace = self._place(config)
        metadata = get_checkpoint_metadata(config, metadata)
        body = self._pack({"checkpoint": checkpoint, "metadata": metadata})
        view = _view(checkpoint, metadata) | self._notes()
        parent = get_checkpoint_id(config) or ""
        record = Record(0, thread, namespace, checkpoint["id"], parent, view=view)
        saving = self._save(record, body, _values(checkpoint))
        if metadata.get("step", 0) > 0 and view["next"]:
            await saving  # the next nodes wait for what others have done, not for what follows from the input
        await self._bound()
        return self._config(thread, namespace, checkpoint["id"])

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        thread, namespace = self._place(config)
        numbered = [(WRITES_IDX_MAP.get(channel, n), channel, value) for n, (channel, value) in enumerate(writes)]
        body = self._pack({"path": task_path, "writes": numbered})
        view = {"channels": [channel for _, channel, _ in numbered]} | self._notes()
        await self._save(Record(0, thread, namespace, str(get_checkpoint_id(config)), task=task_id, view=view), body)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        await self.saved()
        known = self._checkpoints.get(self._place(config), {})
        wanted = get_checkpoint_id(config)
        record = known.get(wanted) if wanted else next(reversed(known.values()), None)
        return None if record is None else await self._tuple(record)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        await self.saved()
        wanted = get_checkpoint_id(config) if config else None
        earlier = get_checkpoint_id(before) if before else None
        for record in self._listed(config):
            if wanted and record.checkpoint != wanted or earlier and not self._is_before(record, earlier):
                continue
            if limit is not None and limit <= 0:
                return
            entry = await self._tuple(record)
            if filter and any(entry.metadata.get(key) != value for key, value in filter.items()):
                continue
            limit = None if limit is None else limit - 1
            yield entry

    async def adelete_thread(self, thread_id: str) -> None:
        await self.saved()
        thread = self._stored(thread_id)
        await self._delete([record for record in self._records() if record.thread == thread])

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        await self.saved()
        wanted = set(run_ids)
        checkpoints = [record for known in self._checkpoints.values() for record in known.values()]
        for record in checkpoints if wanted else ():
            if (await self._body(record))["metadata"].get("run_id") in wanted:
                await self._delete(self._with_writes(record))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await self.saved()
        source, target = self._stored(source_thread_id), self._stored(target_thread_id)
        for record in sorted(self._records(), key=lambda record: record.position):
            if record.thread == source:
                body = (await self._link.call("checkpoints_read", {"position": record.position}))["body"]
                await self._save(Record(**vars(record) | {"thread": target}), base64.b64decode(body))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        if strategy not in ("keep_latest", "delete"):
            raise ValueError(f"unknown strategy {strategy!r}: keep_latest or delete")
        await self.saved()
        for thread_id in thread_ids:
            if strategy == "delete":
                await self.adelete_thread(thread_id)
                continue
            for place in [place for place in self._checkpoints if place[0] == self._stored(thread_id)]:
                await self._delete(self._older(place, 1))

    # The same for code that is not asynchronous, such as a node that is a plain function in its thread.

    def put(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:
        return self._wait(self.aput(config, checkpoint, metadata, new_versions))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        self._wait(self.aput_writes(config, writes, task_id, task_path))

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self._wait(self.aget_tuple(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        entries = self.alist(config, filter=filter, before=before, limit=limit)
        ended = object()
        while (entry := self._wait(anext(entries, ended))) is not ended:
            yield entry

    def delete_thread(self, thread_id: str) -> None:
        self._wait(self.adelete_thread(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        self._wait(self.adelete_for_runs(run_ids))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        self._wait(self.acopy_thread(source_thread_id, target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        self._wait(self.aprune(thread_ids, strategy=strategy))

    def _wait(self, work: Any) -> Any:
        """The result of `work`, which runs on the attempt's loop; to be called in another thread."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            if isinstance(work, Coroutine):
                work.close()
            raise RuntimeError("this thread serves the checkpoints; here only aget_tuple, aput and so on work")

        async def awaited() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result()

    # The log and its index.

    async def saved(self) -> None:
        """Waits until all that was given to this saver is stored, and raises what was not."""
        if self._saving:
            for saving in (await asyncio.wait(self._saving))[0]:
                saving.result()

    def _save(self, record: Record, body: bytes, values: Mapping[str, Any] | None = None) -> asyncio.Task[None]:
        """Stores a record after those before it."""
        saving = self._loop.create_task(self._store(record, body, values))
        saving.add_done_callback(self._settled)
        self._saving.add(saving)
        return saving

    def _settled(self, saving: asyncio.Task[None]) -> None:
        if saving.cancelled() or saving.exception() is None:  # a failure stays, for `saved`
            self._saving.discard(saving)

    async def _store(self, record: Record, body: bytes, values: Mapping[str, Any] | None) -> None:
        # Up to the sending nothing is awaited, so tasks send in the order in which they were made.
        frame = {
            "values": values,
            "thread": record.thread,
            "namespace": record.namespace,
            "checkpoint": record.checkpoint,
            "parent": record.parent,
            "task": record.task,
            "view": record.view,
            "body": base64.b64encode(body).decode("ascii"),
        }
        answer = await self._link.call("checkpoints_save", frame)
        self._add(Record(**vars(record) | {"position": answer["position"]}))
        if not record.task:
            self._last = {answer["position"]: body}

    def _add(self, record: Record) -> None:
        if record.task:
            self._writes.setdefault((record.thread, record.namespace, record.checkpoint), []).append(record)
        else:
            self._checkpoints.setdefault((record.thread, record.namespace), {})[record.checkpoint] = record

    async def _delete(self, records: Sequence[Record]) -> None:
        if not records:
            return
        await self._link.call("checkpoints_delete", {"positions": [record.position for record in records]})
        for record in records:
            place = (record.thread, record.namespace)
            if record.task:
                self._writes.pop((*place, record.checkpoint), None)
            else:
                self._checkpoints.get(place, {}).pop(record.checkpoint, None)

    async def _bound(self) -> None:
        """Keeps the log small: of long runs the oldest checkpoints go, then the graphs inside that ended long ago."""
        if sum(1 for _ in self._records()) <= MAX_RECORDS:
            return
        await self.saved()
        await self._delete([record for place in self._checkpoints for record in self._older(place, KEPT)])
        inner = [(next(reversed(known.values())).position, place) for place, known in self._checkpoints.items() if known and place[1]]
        for _, place in sorted(inner)[: len(inner) // 2]:
            if sum(1 for _ in self._records()) <= MAX_RECORDS // 2:
                return
            await self._delete([record for record in self._records() if (record.thread, record.namespace) == place])

    def _older(self, place: Place, kept: int) -> Sequence[Record]:
        """All but the newest checkpoints of a namespace, with their writes. None of them where a channel's value is
        spread over its checkpoints (LangGraph's delta channels)."""
        known = list(self._checkpoints[place].values())
        if any(record.view.get("delta") for record in known):
            return []
        return [record for checkpoint in known[:-kept] for record in self._with_writes(checkpoint)]

    def _with_writes(self, checkpoint: Record) -> Sequence[Record]:
        key = (checkpoint.thread, checkpoint.namespace, checkpoint.checkpoint)
        return [checkpoint, *self._writes.get(key, ())]

    def _records(self) -> Iterator[Record]:
        for known in self._checkpoints.values():
            yield from known.values()
        for written in self._writes.values():
            yield from written

    def _listed(self, config: RunnableConfig | None) -> Sequence[Record]:
        """The checkpoints that `config` names, the newest first."""
        given = config["configurable"] if config else {}
        thread = self._stored(given["thread_id"]) if "thread_id" in given else None
        namespace = given.get("checkpoint_ns")
        found = [
            record
            for place, known in self._checkpoints.items()
            if (thread is None or place[0] == thread) and (namespace is None or place[1] == namespace)
            for record in known.values()
        ]
        return sorted(found, key=lambda record: record.position, reverse=True)

    def _is_before(self, record: Record, checkpoint: str) -> bool:
        known = self._checkpoints[record.thread, record.namespace].get(checkpoint)
        return record.checkpoint < checkpoint if known is None else record.position < known.position

    async def _tuple(self, record: Record) -> CheckpointTuple:
        body = await self._body(record)
        writes: dict[tuple[str, int], tuple[str, str, Any]] = {}
        for written in self._writes.get((record.thread, record.namespace, record.checkpoint), ()):
            of_task = await self._body(written)
            for number, channel, value in of_task["writes"]:
                # A task that runs again does not write again; what is special replaces what was.
                if number < 0 or (written.task, number) not in writes:
                    writes[written.task, number] = (of_task["path"], channel, value)
        ordered = sorted(writes, key=lambda key: writes_sort_key(writes[key][0], *key))
        place = (record.thread, record.namespace)
        return CheckpointTuple(
            self._config(*place, record.checkpoint),
            body["checkpoint"],
            body["metadata"],
            self._config(*place, record.parent) if record.parent else None,
            [(task, *writes[task, number][1:]) for task, number in ordered],
        )

    async def _body(self, record: Record) -> Any:
        body = self._last.get(record.position)
        if body is None:
            answer = await self._link.call("checkpoints_read", {"position": record.position})
            body = base64.b64decode(answer["body"])
        try:
            kind, _, data = body.partition(b"\0")
            return self.serde.loads_typed((kind.decode("ascii"), data))
        except Exception as error:  # whatever a class of the user's raises when it is made again
            raise StageError("CHECKPOINT_UNREADABLE", f"a checkpoint cannot be read: {error}") from error

    def _pack(self, value: Any) -> bytes:
        kind, data = self.serde.dumps_typed(value)
        return kind.encode("ascii") + b"\0" + data

    def _place(self, config: RunnableConfig) -> Place:
        given = config["configurable"]
        return self._stored(given["thread_id"]), given.get("checkpoint_ns", "")

    def _stored(self, thread_id: str) -> str:
        """The stage's own thread has no name in the log, which may be copied to another execution."""
        return "" if thread_id == self._own else str(thread_id)

    def _config(self, thread: str, namespace: str, checkpoint: str) -> RunnableConfig:
        given = {"thread_id": thread or self._own, "checkpoint_ns": namespace, "checkpoint_id": checkpoint}
        return {"configurable": given}


def _view(checkpoint: Checkpoint, metadata: CheckpointMetadata) -> dict[str, Any]:
    """What people see of a checkpoint: where it stands, and the state in short."""
    state = _state(checkpoint)
    view: dict[str, Any] = {"source": metadata.get("source"), "step": metadata.get("step"), "next": _next(checkpoint)}
    if metadata.get("counters_since_delta_snapshot"):
        view["delta"] = True
    for levels in (4, 2, 1, 0):
        view["values"] = summarise(state, levels)
        if len(json.dumps(view["values"], ensure_ascii=False)) <= MAX_VIEW:
            break
    return view


def _state(checkpoint: Checkpoint) -> Mapping[str, Any]:
    values = checkpoint["channel_values"]
    own = {name: value for name, value in values.items() if ":" not in name and not name.startswith("__")}
    state = values.get("__root__", own)
    return state if isinstance(state, Mapping) else {"value": state}


def _values(checkpoint: Checkpoint) -> Mapping[str, Any] | None:
    """The state for people, as an output has it; None when it is too large or has no form in JSON."""
    try:
        values: Mapping[str, Any] = plain(_state(checkpoint))
        text = json.dumps(values, ensure_ascii=False, allow_nan=False)
        return values if len(text.encode("utf-8", "replace")) <= MAX_VALUES else None
    except (FrameError, ValueError, RecursionError):
        return None


def _next(checkpoint: Checkpoint) -> Sequence[str]:
    """The nodes that come next, by what channels hold: an edge's or a route's, the last of several that meet, a `Send`."""
    values = checkpoint["channel_values"]
    following = ["__start__"] if "__start__" in values else []
    for name, value in values.items():
        kind, _, rest = name.partition(":")
        if name.startswith("branch:to:"):
            following.append(name.removeprefix("branch:to:"))
        elif kind == "join" and isinstance(value, Set):
            sources, _, node = rest.rpartition(":")
            if len("+".join(map(str, value))) == len(sources):
                following.append(node)
    following += [str(send.node) for send in values.get("__pregel_tasks") or () if hasattr(send, "node")]
    return following
