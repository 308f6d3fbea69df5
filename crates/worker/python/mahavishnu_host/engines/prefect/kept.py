"""What a stage has finished, for the attempt that goes on after it was killed, on this machine or another one.

By Prefect's own result persistence the values of finished tasks are files; each is stored as a checkpoint of the stage as
well, and so is each extracted table of some size. An attempt on a machine that lacks them puts them back first. The cache keys of
declared tasks name execution, stage, task and what the task does, so nothing else is ever served.

Invariant: what is kept of a declared task goes when the stage has succeeded or failed for good; what nobody came back for,
after a week. Results of the user's own flows stay where Prefect keeps them, as other runs may use them.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import shutil
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prefect._internal.compatibility.async_dispatch import async_dispatch
from prefect.filesystems import LocalFileSystem
from pydantic import PrivateAttr

from ...api import Link, StageError, Task
from ...failures import is_retryable
from .tables import Tables

#: Seconds after which nobody comes back.
ABANDONED = 7 * 24 * 3600.0
#: Bytes of a packed table that goes to other machines; a larger one is extracted again there.
MAX_TABLE = 16 * 1024 * 1024
#: Under which checkpoint all of this is.
_CHECKPOINT = "finished"


class Results(LocalFileSystem):
    """Prefect's files of results, each of which is a checkpoint too."""

    _block_type_name = "Mahavishnu results"
    _block_type_slug = "mahavishnu-results"
    _kept: Kept = PrivateAttr()
    _loop: asyncio.AbstractEventLoop = PrivateAttr()
    _held: bool = PrivateAttr()
    _stored: list[Any] = PrivateAttr(default_factory=list)

    @classmethod
    def of(cls, kept: Kept, directory: Path, held: bool = False) -> Results:
        """To be called on the attempt's event loop. `held`: plain tasks hold that loop while they write, as in an async flow of
        the user, so nobody may wait for it but itself."""
        results = cls(basepath=str(directory))
        results._kept, results._loop, results._held = kept, asyncio.get_running_loop(), held
        return results

    async def settled(self) -> None:
        """Waits for what nobody has waited for."""
        await asyncio.gather(*map(asyncio.wrap_future, self._stored), return_exceptions=True)

    async def awrite_path(self, path: str, content: bytes) -> str:
        written = await super().awrite_path(path, content)
        stored = self._store(written, content)
        if not self._held or asyncio.get_running_loop() is self._loop:
            await asyncio.wrap_future(stored)
        return written

    @async_dispatch(awrite_path)
    def write_path(self, path: str, content: bytes) -> str:
        written: str = super().write_path(path, content, _sync=True)
        stored = self._store(written, content)
        if not self._held:
            stored.result()
        return written

    def _store(self, written: str, content: bytes) -> Any:
        # Flows that are not async run in a thread.
        name = Path(written).relative_to(Path(self.basepath or ".").resolve()).as_posix()
        self._stored.append(asyncio.run_coroutine_threadsafe(self._kept.result(name, content), self._loop))
        return self._stored[-1]


class Kept:
    """The directory of a stage, and what of it other machines have too."""

    def __init__(self, task: Task, link: Link, directory: Path, results: Path, held: bool = False) -> None:
        self.directory = directory
        self._task, self._link = task, link
        self._files = {"results": results, "tables": directory / "tables"}
        self._here_only: set[str] = set()
        self.results = Results.of(self, results, held)

    async def fetch(self) -> None:
        """Puts back what other machines have finished."""
        opened = await self._link.call("checkpoints_open", {})
        there = {entry["task"]: entry["position"] for entry in opened["entries"] if entry["checkpoint"] == _CHECKPOINT}
        for name, position in there.items():
            kind, _, rest = name.partition("/")
            path = (self._files[kind] / rest).resolve()
            if not path.is_relative_to(self._files[kind].resolve()) or path.exists():
                continue
            body = base64.b64decode((await self._link.call("checkpoints_read", {"position": position}))["body"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)

    async def result(self, name: str, content: bytes) -> None:
        """Stores the result of a task."""
        if name not in self._here_only:
            await self._store(f"results/{name}", content)

    async def table(self, tables: Tables, name: str, what: Any) -> None:
        """Stores a table that was extracted, so that its extract counts as finished on other machines."""
        packed = await asyncio.to_thread(lambda: zlib.compress(tables.packed(name, self.directory), 1))
        if len(packed) > MAX_TABLE or not await self._store(f"tables/{name}", packed):
            self._here_only.add(self._key(f"extract {name}", what))

    def restore(self, tables: Tables) -> None:
        """The tables that other machines have extracted."""
        for path in sorted(self._files["tables"].glob("*")):
            if not tables.has(path.name):
                tables.unpack(path.name, zlib.decompress(path.read_bytes()), self.directory)

    def caching(self, name: str, what: Any, here_only: bool = False) -> dict[str, Any]:
        """Options of a Prefect task that is not done again once its result, which is JSON, is kept."""
        key = self._key(name, what)
        if here_only:
            self._here_only.add(key)
        return {"cache_key_fn": lambda _context, _parameters: key, "persist_result": True, "result_serializer": "json"}

    def _key(self, name: str, what: Any) -> str:
        given = [self._task.execution, self._task.stage, name, what]
        return hashlib.sha256(json.dumps(given, default=str).encode()).hexdigest()

    async def _store(self, name: str, content: bytes) -> bool:
        """Whether other machines have it now. Without that the attempt goes on, and a later one elsewhere does it again."""
        body = base64.b64encode(content).decode("ascii")
        record = {"checkpoint": _CHECKPOINT, "task": name, "view": {"bytes": len(content)}, "body": body}
        try:
            await self._link.call("checkpoints_save", record)
        except StageError as error:
            print(f"{name} is kept on this machine only: {error.message}", flush=True)
            return False
        return True


@asynccontextmanager
async def workplace(task: Task, link: Link) -> AsyncIterator[Kept]:
    """The stage's directory, with what was finished already."""
    parent = Path(task.data) / "work"
    place = parent / f"{task.execution}-{task.stage}"
    place.mkdir(parents=True, exist_ok=True)
    _sweep(parent, place)
    kept = Kept(task, link, place, place / "results")
    try:
        await kept.fetch()
        yield kept
    except (asyncio.CancelledError, GeneratorExit):
        raise  # the lease may be lost, and another process at work here
    except Exception as error:
        if not is_retryable(error):
            shutil.rmtree(place, ignore_errors=True)
        raise
    else:
        shutil.rmtree(place, ignore_errors=True)


async def own_results(task: Task, link: Link, storage: LocalFileSystem, held: bool) -> Results:
    """Where Prefect keeps results on this machine, with those that an attempt elsewhere has left. `held`: see `Results.of`."""
    directory = Path(storage.basepath or ".").expanduser().resolve()
    kept = Kept(task, link, directory, directory, held)
    await kept.fetch()
    return kept.results


def _sweep(parent: Path, own: Path) -> None:
    """Removes what nobody came back for."""
    for other in parent.iterdir():
        try:
            if other != own and time.time() - other.stat().st_mtime > ABANDONED:
                shutil.rmtree(other, ignore_errors=True)
        except OSError:
            pass  # another attempt was quicker
