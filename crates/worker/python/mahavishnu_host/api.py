"""What an engine module sees: the task that it runs, the link that it reports on, how it fails or pauses.

An engine module has `NAME`, `PACKAGES`, `prewarm() -> None` and `async run(task, link) -> dict`; it may have
`async rehearse() -> None`, which an attempt's process runs while it waits for its task. `run` returns the stage's output, raises `StageError` for a failure that it understands, or `Paused` when people
must decide. Any other exception is reported as `ENGINE_ERROR` with its traceback. Being cancelled means
`asyncio.CancelledError`: clean up and let it through.

Invariant: nothing here imports an engine or does input and output.
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: The kinds of progress that the protocol knows.
PROGRESS_KINDS = frozenset({"node_update", "retrieval", "tool_call", "agent", "document", "task_state", "message"})


class StageError(Exception):
    """A failure that the engine module understands.

    `reason` is stable and UPPER_SNAKE. `retryable` says whether the same task may succeed later. `field`
    is the path in the stage's task that is at fault, such as `docs[0]`.
    """

    def __init__(self, reason: str, message: str, retryable: bool = False, field: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retryable = retryable
        self.field = field


@dataclass(frozen=True)
class Approval:
    """One question to people. `key` comes back in `Decision.approval_key`."""

    key: str
    title: str
    payload: Mapping[str, Any] = field(default_factory=dict)


class Paused(Exception):
    """Raised by `run` when the attempt waits for people.

    `checkpoint` is all that another process needs to go on; it comes back as `Task.checkpoint`. None for an
    engine that keeps its checkpoints in the worker's store.
    """

    def __init__(self, approvals: Sequence[Approval], checkpoint: bytes | None = None) -> None:
        super().__init__(", ".join(approval.title for approval in approvals))
        self.approvals = tuple(approvals)
        self.checkpoint = checkpoint


@dataclass(frozen=True)
class Model:
    """An OpenAI-compatible model server."""

    base_url: str
    name: str
    api_key: str = "none"
    provider: str = ""


@dataclass(frozen=True)
class State:
    """What this engine keeps under a key. `revision` is 0 where nothing stands; `body` is None also where it was too old to
    be kept."""

    revision: int = 0
    body: bytes | None = None


@dataclass(frozen=True)
class Decision:
    """What a person answered."""

    approval_key: str
    approved: bool
    reason: str = ""
    decided_by: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Update:
    """What is changed in the state that a fork goes on from. An empty `as_node` leaves it to the engine."""

    values: Mapping[str, Any] = field(default_factory=dict)
    as_node: str = ""


@dataclass(frozen=True)
class Task:
    """One attempt of a stage. `task` is the stage's own task, its templates already resolved; `model` is the one that
    the stage names, or the worker's.

    `secrets` are the values in `task` that came from the worker's secrets: a store that this engine fills by itself must
    not hold them. `dependencies` maps each needed stage to its output. `documents` maps each name in `docs` to a
    readable file. `data` is where this engine may keep what outlives the attempt.
    """

    execution: str
    stage: str
    attempt: int
    task: Mapping[str, Any]
    secrets: Sequence[str] = field(default=(), repr=False)
    resume: int = 0
    delivery: int = 1
    deadline_ms: int | None = None
    input: Any = None
    dependencies: Mapping[str, Any] = field(default_factory=dict)
    repos: Sequence[str] = ()
    documents: Mapping[str, str] = field(default_factory=dict)
    project: str = "."
    data: str = "."
    model: Model | None = None
    trace: Mapping[str, str] = field(default_factory=dict)
    decision: Decision | None = None
    checkpoint: bytes | None = None
    update: Update | None = None

    def require_model(self) -> Model:
        """The model, or the failure that says there is none."""
        if self.model is None:
            raise StageError("MODEL_UNAVAILABLE", "this stage needs a model and none is configured", retryable=True)
        return self.model

    @classmethod
    def from_frame(cls, frame: Mapping[str, Any]) -> Task:
        """Reads a `task` frame; members that are not known here are ignored."""
        decision, model, checkpoint = frame.get("decision"), frame.get("model"), frame.get("checkpoint")
        return cls(
            execution=frame["execution"],
            stage=frame["stage"],
            attempt=frame["attempt"],
            task=frame["task"],
            secrets=tuple(frame.get("secrets") or ()),
            resume=frame.get("resume") or 0,
            delivery=frame.get("delivery") or 1,
            deadline_ms=frame.get("deadline_ms"),
            input=frame.get("input"),
            dependencies=frame.get("dependencies") or {},
            repos=tuple(frame.get("repos") or ()),
            documents=frame.get("documents") or {},
            project=frame.get("project") or ".",
            data=frame.get("data") or ".",
            model=read_model(model) if model else None,
            trace=frame.get("trace") or {},
            decision=_known(Decision, decision) if decision else None,
            checkpoint=base64.b64decode(checkpoint) if checkpoint else None,
            update=_known(Update, frame["update"]) if frame.get("update") else None,
        )


class Link(ABC):
    """The way back to the worker. To be used on the attempt's event loop only."""

    @abstractmethod
    async def progress(self, kind: str, name: str, data: Mapping[str, Any] | None = None) -> None:
        """Reports engine-native progress, which the history keeps. `kind` is one of `PROGRESS_KINDS`;
        `data` is small JSON."""

    @abstractmethod
    async def delta(self, source: str, text: str) -> None:
        """Shows text of a model as it arrives. Lossy: the full text belongs in the output."""

    @abstractmethod
    async def call(self, method: str, params: Mapping[str, Any]) -> Any:
        """Asks the worker; see the protocol for what there is to ask. Raises `StageError` when it refuses."""

    def after(self, work: Callable[[], None]) -> None:
        """Has `work`, such as cleaning up, done in a thread once the last frame has left, so that nobody waits for it."""
        work()

    async def model(self, name: str) -> Model:
        """The model that `name` means, in any form of the worker's own setting. Raises `StageError` when it means none."""
        return read_model(await self.call("model", {"name": name}))

    async def evaluate(self, expression: str, variables: Mapping[str, Any]) -> Any:
        """The value of a CEL expression, a missing key being null. Raises `StageError` when it has none."""
        return await self.call("evaluate", {"expression": expression, "variables": variables})

    async def read_state(self, key: str) -> State:
        """What this engine keeps under `key` beyond its stages, the same on every worker of it."""
        kept = await self.call("state_read", {"key": key})
        return State(kept["revision"], None if kept["body"] is None else base64.b64decode(kept["body"]))

    async def write_state(self, key: str, body: bytes, revision: int | None = None) -> int:
        """Keeps `body` under `key`; the new revision. With `revision` only if that is still the last one, else
        `StageError` with `STATE_CONFLICT`."""
        given: dict[str, Any] = {"key": key, "body": base64.b64encode(body).decode("ascii")}
        written = await self.call("state_write", given if revision is None else given | {"revision": revision})
        return int(written["revision"])


def read_model(members: Mapping[str, Any]) -> Model:
    """A model as the worker describes it."""
    model: Model = _known(Model, members)
    return model


def _known(cls: type, members: Mapping[str, Any]) -> Any:
    """Builds `cls` from the members that it has; null means the default."""
    names = cls.__dataclass_fields__  # type: ignore[attr-defined]
    return cls(**{name: value for name, value in members.items() if name in names and value is not None})
