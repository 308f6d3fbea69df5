"""What a run leaves behind: the session that later runs remember, and the state in which a run waits for people.

A session is Agno's JSON files, in the engine's state, so that all workers know it. A run works on a copy of them in a
directory, where one run of this machine is at a time; what a run elsewhere wrote meanwhile is merged, row by row. A run
without a session has its tables in memory, and a workflow none, as it cannot wait and nobody looks back at it.

Invariants: a run that waits goes on from its checkpoint alone, on any machine; no run of a session is lost to another one.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...api import Approval, Decision, Link, Paused, State, StageError, Task
from . import steps, tables

#: Runs of a session that a later one is shown.
REMEMBERED = 5
#: Seconds between looks at a session in which another run is at work.
_TURN = 0.1


@dataclass
class Memory:
    """The tables of one session."""

    session: str
    tables: tables.Directory | tables.Rows
    remembers: bool

    def give(self, runnable: Any) -> None:
        """Lets an agent, team or workflow keep its runs here, unless it has a database of its own or no use for one."""
        if not self.remembers and steps.is_workflow(runnable) and not steps.looks_back(runnable):
            return
        if getattr(runnable, "db", self) is None:
            runnable.db = self.tables.database()
            if self.remembers:
                runnable.add_history_to_context = True
                runnable.num_history_runs = REMEMBERED


@dataclass
class Waiting:
    """A run that waits: its id, its files, and what was decided so far by requirement."""

    run_id: str
    files: tables.Files
    decided: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, checkpoint: bytes) -> Waiting:
        return cls(**json.loads(checkpoint))

    def restore(self, memory: Memory) -> None:
        """Puts back what is missing, as on another machine."""
        memory.tables.write(tables.merge(self.files, memory.tables.read()))


@asynccontextmanager
async def opened(task: Task, link: Link) -> AsyncIterator[Memory]:
    """The session that the task names, when nobody else is in it; or one for this run only."""
    name = task.task.get("session")
    if name is None:
        yield Memory(f"{task.execution}:{task.stage}", tables.Rows(), False)
        return
    if not isinstance(name, str) or not name.strip():
        raise StageError("TASK_INVALID", "session must be a name", field="session")
    directory = Path(task.data) / "sessions" / hashlib.sha256(name.encode()).hexdigest()[:32]
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_TURN)
        files = tables.Directory(directory)
        shared = _Shared(link, f"sessions/{name}", files)
        await shared.fetch()
        try:
            try:
                yield Memory(name, files, True)
            finally:
                _strike(directory, task.secrets)
        except Exception:  # a pause too; a run that is cancelled leaves nothing
            await shared.store()
            raise
        await shared.store()


def _strike(directory: Path, secrets: Sequence[str]) -> None:
    """Takes the task's secrets out of what later runs remember; one that waits has them in its checkpoint, sealed."""
    for path in directory.glob("*.json") if secrets else ():
        kept = clean = path.read_text("utf-8")
        for secret in sorted(secrets, key=len, reverse=True):
            for form in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
                clean = clean.replace(form, "***")
        if clean != kept:
            path.write_text(clean, "utf-8")


class _Shared:
    """A session's files as all workers of the engine have them."""

    def __init__(self, link: Link, key: str, tables: tables.Directory) -> None:
        self._link, self._key, self._tables = link, key, tables
        self._state = State()

    async def fetch(self) -> None:
        """Puts the files into the directory; what is there stays when nobody has any."""
        self._state = await self._link.read_state(self._key)
        if self._state.body is not None:
            self._tables.write(json.loads(self._state.body))

    async def store(self) -> None:
        """Gives the files to all, with what others wrote meanwhile."""
        while True:
            files = tables.newest(self._tables.read())
            body = json.dumps(files).encode()
            if body == self._state.body:
                return
            try:
                await self._link.write_state(self._key, body, self._state.revision)
                return
            except StageError as error:
                if error.reason != "STATE_CONFLICT":
                    raise
            self._state = await self._link.read_state(self._key)
            if self._state.body is not None:
                self._tables.write(tables.merge(json.loads(self._state.body), files))


def pause(final: Any, memory: Memory, decided: dict[str, dict[str, Any]]) -> Paused:
    """The question of a run that waits for people: one at a time, the rest when this one is answered."""
    for requirement in final.requirements or ():
        if requirement.id in decided:
            continue
        tool = requirement.tool_execution
        if not (requirement.needs_confirmation or requirement.needs_user_input):
            message = f"the run waits for {tool.tool_name} to be run elsewhere, which nobody here does"
            raise StageError("PAUSE_UNSUPPORTED", message)
        payload: dict[str, Any] = {"tool": tool.tool_name, "arguments": tool.tool_args or {}}
        if requirement.member_agent_name:
            payload["agent"] = requirement.member_agent_name
        if requirement.needs_user_input:
            wanted = requirement.user_input_schema or []
            payload["values"] = {f.name: f.description or "" for f in wanted if f.value is None}
        checkpoint = Waiting(final.run_id, memory.tables.read(), decided)
        question = Approval(requirement.id, f"{tool.tool_name}?", payload)
        return Paused([question], json.dumps(checkpoint.__dict__).encode())
    raise StageError("PAUSE_UNSUPPORTED", "the run waits without saying for what")


def decide(waiting: Waiting, decision: Decision | None) -> None:
    """Notes a person's answer."""
    if decision is not None:
        answer = {"approved": decision.approved, "reason": decision.reason, "values": dict(decision.values)}
        waiting.decided[decision.approval_key] = answer


def apply(final: Any, waiting: Waiting) -> None:
    """Puts the answers into the run's requirements."""
    for requirement in final.requirements or ():
        answer = waiting.decided.get(requirement.id)
        if answer is None:
            continue
        if requirement.needs_confirmation:
            requirement.confirm() if answer["approved"] else requirement.reject(answer["reason"] or "a person said no")
        if requirement.needs_user_input:
            requirement.provide_user_input(answer["values"])
