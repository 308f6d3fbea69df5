"""`shared` isolation: attempts are tasks of one event loop in one process, for trusted short work.

Invariant: when the worker is gone this process ends, even if user code blocks the loop. That is why the
server connection is read in a thread of its own. It also interrupts an attempt whose code holds the loop.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

from . import system
from .attempt import ABANDONED_GRACE, Host, serve
from .framing import Decoder
from .server import run_to_end

#: Threads of the loop, made as they are needed. Nothing ends one whose attempt was stopped while it blocks, so there must be more
#: than such code comes to hold: an event loop by itself has six on two cores, and stands still when they are gone.
THREADS = 4_096
#: Whose code is running, by token; tasks that an engine makes inherit it.
_RUNNING: ContextVar[str | None] = ContextVar("running", default=None)


class SharedServer:
    """Serves `open` until the worker is gone."""

    def __init__(self, host: Host, connection: socket.socket) -> None:
        self._host = host
        self._connection = connection
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(THREADS, "attempt"))
        self._gone = asyncio.Event()
        self._attempts: dict[str, asyncio.Task[None]] = {}
        #: Attempts that are to let go of the loop.
        self._interrupted: set[str] = set()

    def run(self) -> None:
        """Returns when the worker has closed the connection and the attempts have ended."""
        asyncio.set_event_loop(self._loop)
        signal.signal(signal.SIGUSR2, self._interrupt)
        threading.Thread(target=self._read, name="server connection", daemon=True).start()
        run_to_end(self._loop, self._loop.create_task(self._serve()))

    def stop(self) -> None:
        """Ends the process at once: threads of user code would hold it."""
        system.flush_standard_streams()
        os._exit(0)

    async def _serve(self) -> None:
        await self._gone.wait()
        if self._attempts:
            await asyncio.wait(self._attempts.values())

    def _read(self) -> None:
        decoder = Decoder()
        try:
            while data := system.receive(self._connection):
                for frame in decoder.feed(data):
                    self._handle(frame["t"], frame["token"])
        except Exception:  # noqa: BLE001 - whatever is wrong with the connection, it is over
            traceback.print_exc()
        self._loop.call_soon_threadsafe(self._gone.set)
        threading.Event().wait(ABANDONED_GRACE + 1)
        self.stop()

    def _handle(self, order: str, token: str) -> None:
        if order == "open":
            self._loop.call_soon_threadsafe(self._open, token)
        elif order == "interrupt":
            if token not in self._attempts:
                return  # it has ended
            self._interrupted.add(token)
            # To this very thread: a signal ends what it waits for in the system, and Python handles it there.
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR2)
        else:
            raise ValueError(f"unexpected frame {order}")

    def _interrupt(self, *_: Any) -> None:
        """Raised out of the code that the signal finds running, if that is of an attempt which is to let go; others never see it.

        It is what code that waits on the loop is cancelled with, so `finally` and `async with` do what they do there.
        """
        if _RUNNING.get() in self._interrupted:
            raise asyncio.CancelledError("the attempt was stopped")

    def _open(self, token: str) -> None:
        attempt = self._attempts[token] = self._loop.create_task(self._serve_one(token))
        attempt.add_done_callback(self._ended)

    async def _serve_one(self, token: str) -> None:
        _RUNNING.set(token)
        try:
            await serve(self._host, token)
        finally:
            del self._attempts[token]
            self._interrupted.discard(token)

    @staticmethod
    def _ended(attempt: asyncio.Task[None]) -> None:
        if not attempt.cancelled() and (error := attempt.exception()) is not None:
            traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
