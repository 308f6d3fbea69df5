"""One attempt: its connection, its task, its one last frame.

Invariants: exactly one last frame is sent unless the worker is gone. `cancel` and end of file both
cancel the engine's coroutine. Nothing that the engine raises leaves this module.
"""

from __future__ import annotations

import asyncio
import base64
import os
import traceback
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from .api import Paused, StageError, Task
from .failures import error_frame
from .framing import FrameError
from .tracing import Tracer
from .wire import Wire

#: How long a cancelled engine may clean up when the worker is gone, in seconds.
ABANDONED_GRACE = 2.0
#: Seconds after which a process that has no task takes the time to rehearse.
IDLE = 0.02


@dataclass(frozen=True)
class Host:
    """What every attempt of one host shares."""

    engine: ModuleType
    tracer: Tracer
    socket_path: str


async def serve(host: Host, token: str, rehearses: bool = False) -> None:
    """Connects, waits for the task, runs it and reports how it ended. A process of its own may rehearse meanwhile."""
    reader, writer = await asyncio.open_unix_connection(host.socket_path)
    wire = Wire(reader, writer)
    try:
        await wire.send({"t": "hello", "token": token, "pid": os.getpid()})
        arriving = asyncio.ensure_future(wire.receive())
        if rehearses and not (await asyncio.wait({arriving}, timeout=IDLE))[0]:
            await _rehearse(host)
        await _answer(host, wire, await arriving)
    except FrameError as error:
        await wire.send(error_frame(StageError("PROTOCOL_ERROR", str(error))))
    finally:
        await wire.close()


async def _rehearse(host: Host) -> None:
    try:
        if (rehearse := getattr(host.engine, "rehearse", None)) is not None:
            await rehearse()
    except Exception:  # noqa: BLE001 - what is wrong shows in earnest
        traceback.print_exc()


async def _answer(host: Host, wire: Wire, frame: dict[str, Any] | None) -> None:
    if frame is None:
        return
    if frame["t"] == "cancel":
        await wire.send({"t": "cancelled"})
        return
    if frame["t"] != "task":
        raise FrameError(f"expected a task, not {frame['t']}")
    try:
        task = Task.from_frame(frame)
    except (KeyError, TypeError, ValueError) as error:
        raise FrameError(f"the task cannot be read: {error!r}") from error
    await _Attempt(host, wire, task).run()


class _Attempt:
    """The engine's coroutine and the watch on the worker, side by side."""

    def __init__(self, host: Host, wire: Wire, task: Task) -> None:
        self._host = host
        self._wire = wire
        self._task = task
        self._cancelled = False

    async def run(self) -> None:
        with self._host.tracer.attempt(self._task) as spans:
            engine = asyncio.ensure_future(self._engine(spans))
            watch = asyncio.ensure_future(self._watch(engine))
            await asyncio.wait({engine, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not engine.done():
                # The worker is gone, or does not keep the protocol: nobody reads a last frame.
                await asyncio.wait({engine}, timeout=ABANDONED_GRACE)
                watch.result()
                return
            watch.cancel()
            # Cancelled before its first step, the coroutine could not say so itself.
            last = {"t": "cancelled"} if engine.cancelled() else engine.result()
            for frame in spans.frames():
                await self._wire.send(frame)
            await self._send_last(last)

    async def _watch(self, engine: asyncio.Future[Any]) -> None:
        """Cancels `engine` at the worker's word and at its end. Returns when the worker is gone."""
        try:
            while (frame := await self._wire.receive()) is not None:
                if frame["t"] != "cancel":
                    raise FrameError(f"unexpected frame {frame['t']}")
                self._cancelled = True
                engine.cancel()
        finally:
            self._cancelled = True
            engine.cancel()

    async def _engine(self, spans: Any) -> dict[str, Any]:
        """Runs the engine; the last frame, whatever happens."""
        try:
            with spans.run():
                output = await self._host.engine.run(self._task, self._wire)
                if not isinstance(output, dict):
                    raise StageError("OUTPUT_UNUSABLE", f"the output is a {type(output).__name__}, not an object")
                return {"t": "done", "output": output}
        except Paused as pause:
            last = _paused_frame(pause)
        except BaseException as error:  # noqa: BLE001 - SystemExit too: user code does not end the host
            last = error_frame(error)
        # An engine may turn its cancellation into any error of its own.
        return {"t": "cancelled"} if self._cancelled else last

    async def _send_last(self, last: dict[str, Any]) -> None:
        try:
            await self._wire.send(last)
        except Exception as error:  # noqa: BLE001 - values of user code are turned into JSON here
            await self._wire.send(error_frame(FrameError(f"the output cannot be sent: {error}")))


def _paused_frame(pause: Paused) -> dict[str, Any]:
    approvals = [{"key": a.key, "title": a.title, "payload": a.payload} for a in pause.approvals]
    frame: dict[str, Any] = {"t": "paused", "approvals": approvals}
    if pause.checkpoint is not None:
        frame["checkpoint"] = base64.b64encode(pause.checkpoint).decode("ascii")
    return frame
