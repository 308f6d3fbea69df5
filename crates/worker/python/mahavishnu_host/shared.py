"""`shared` isolation: attempts are tasks of one event loop in one process, for trusted short work.

Invariant: when the worker is gone this process ends, even if user code blocks the loop. That is why the
server connection is read in a thread of its own.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

from . import system
from .attempt import ABANDONED_GRACE, Host, serve
from .framing import Decoder
from .server import run_to_end

#: Threads of the loop, made as they are needed. Nothing ends one whose attempt was stopped while it blocks, so there must be more
#: than such code comes to hold: an event loop by itself has six on two cores, and stands still when they are gone.
THREADS = 4_096


class SharedServer:
    """Serves `open` until the worker is gone."""

    def __init__(self, host: Host, connection: socket.socket) -> None:
        self._host = host
        self._connection = connection
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(THREADS, "attempt"))
        self._gone = asyncio.Event()
        self._attempts: set[asyncio.Task[None]] = set()

    def run(self) -> None:
        """Returns when the worker has closed the connection and the attempts have ended."""
        asyncio.set_event_loop(self._loop)
        threading.Thread(target=self._read, name="server connection", daemon=True).start()
        run_to_end(self._loop, self._loop.create_task(self._serve()))

    def stop(self) -> None:
        """Ends the process at once: threads of user code would hold it."""
        system.flush_standard_streams()
        os._exit(0)

    async def _serve(self) -> None:
        await self._gone.wait()
        if self._attempts:
            await asyncio.wait(self._attempts)

    def _read(self) -> None:
        decoder = Decoder()
        try:
            while data := system.receive(self._connection):
                for frame in decoder.feed(data):
                    if frame["t"] != "open":
                        raise ValueError(f"unexpected frame {frame['t']}")
                    self._loop.call_soon_threadsafe(self._open, frame["token"])
        except Exception:  # noqa: BLE001 - whatever is wrong with the connection, it is over
            traceback.print_exc()
        self._loop.call_soon_threadsafe(self._gone.set)
        threading.Event().wait(ABANDONED_GRACE + 1)
        self.stop()

    def _open(self, token: str) -> None:
        attempt = self._loop.create_task(serve(self._host, token))
        self._attempts.add(attempt)
        attempt.add_done_callback(self._ended)

    def _ended(self, attempt: asyncio.Task[None]) -> None:
        self._attempts.discard(attempt)
        if not attempt.cancelled() and (error := attempt.exception()) is not None:
            traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
