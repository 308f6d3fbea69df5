"""The attempt connection as the engine's `Link`: frames out, replies in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from . import framing
from .api import PROGRESS_KINDS, Link, StageError

#: Progress is kept in the history and stays small; an output is where much belongs. In bytes.
MAX_PROGRESS = 32 * 1024
#: One shown piece of text, in characters.
MAX_DELTA = 16 * 1024
#: Frames that leave together, in bytes.
TOGETHER = 64 * 1024


class Wire(Link):
    """Writes are awaited until the worker has room, so a flood slows its own attempt only."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._last_call = 0
        #: Frames of this turn of the loop, which leave together.
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._after: list[Callable[[], None]] = []

    async def receive(self) -> dict[str, Any] | None:
        """The next frame that is not a reply, or None when the worker is gone."""
        while True:
            frame = await framing.read(self._reader)
            if frame is None:
                self._fail_calls()
                return None
            if frame["t"] != "reply":
                return frame
            self._resolve(frame)

    async def send(self, frame: Mapping[str, Any]) -> None:
        """Sends a frame. A worker that is gone is noticed by `receive`, not here."""
        await self._write(framing.encode(frame))

    async def close(self) -> None:
        """Ends the connection after everything sent has left, then does what was to come after that."""
        self._leave()
        try:
            self._writer.close()
            await self._writer.wait_closed()
        except ConnectionError:
            pass
        for work in self._after:
            await asyncio.to_thread(work)

    async def progress(self, kind: str, name: str, data: Mapping[str, Any] | None = None) -> None:
        if kind not in PROGRESS_KINDS:
            raise ValueError(f"unknown kind of progress: {kind}")
        frame = {"t": "progress", "kind": kind, "name": name, "data": data or {}}
        encoded = framing.encode(frame)
        if len(encoded) > MAX_PROGRESS:
            encoded = framing.encode(frame | {"name": name[:256], "data": {"omitted_bytes": len(encoded)}})
        await self._write(encoded)

    async def delta(self, source: str, text: str) -> None:
        for start in range(0, len(text), MAX_DELTA):
            await self.send({"t": "delta", "source": source, "text": text[start : start + MAX_DELTA]})

    def after(self, work: Callable[[], None]) -> None:
        self._after.append(work)

    async def call(self, method: str, params: Mapping[str, Any]) -> Any:
        self._last_call += 1
        number = self._last_call
        answer = self._calls[number] = asyncio.get_running_loop().create_future()
        try:
            await self.send({"t": "call", "id": number, "method": method, "params": params})
            return await answer
        finally:
            self._calls.pop(number, None)

    async def _write(self, data: bytes) -> None:
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._leave)
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._unsent_bytes > TOGETHER:  # who never lets the loop turn is held up by `drain`
            self._leave()
        try:
            await self._writer.drain()
        except ConnectionError:
            pass

    def _leave(self) -> None:
        if self._unsent:
            self._writer.write(b"".join(self._unsent))
            self._unsent.clear()
            self._unsent_bytes = 0

    def _resolve(self, frame: Mapping[str, Any]) -> None:
        answer = self._calls.get(frame.get("id", 0))
        if answer is None or answer.done():
            return
        error = frame.get("error")
        if error is None:
            answer.set_result(frame.get("result"))
        else:
            reason, message = error.get("reason", "CALL_FAILED"), error.get("message", "")
            answer.set_exception(StageError(reason, message, retryable=bool(error.get("retryable"))))

    def _fail_calls(self) -> None:
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(ConnectionError("the worker is gone"))
                answer.exception()  # who asked may be gone as well, and that is no news
