"""The fork-server of `process` isolation: one warm process, one child per attempt.

Invariants: the parent has one thread and no event loop, so forking is safe. No child outlives the
worker or this process. What a child leaves behind in its process group is killed when it ends.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
import socket
import threading
import sys
from typing import Any, NoReturn

from . import system
from .attempt import Host, serve
from .framing import Decoder, encode


class ForkServer:
    """Serves `open` until the worker is gone."""

    def __init__(self, host: Host, connection: socket.socket, forker: system.Forker) -> None:
        self._host = host
        self._forker = forker
        self._connection = connection
        self._tokens: dict[int, str] = {}
        self._wake, self._waker = socket.socketpair()

    def run(self) -> None:
        """Returns when the worker has closed the connection."""
        self._watch_children()
        decoder = Decoder()
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._wake in ready:
                    self._wake.recv(4096)
                    self._reap()
                if self._connection not in ready:
                    continue
                data = system.receive(self._connection)
                if not data:
                    return
                for frame in decoder.feed(data):
                    self._handle(frame, selector)

    def stop(self) -> None:
        """Kills all children and waits for them."""
        for pid in list(self._tokens):
            system.kill_group(pid)
            try:
                os.kill(pid, signal.SIGKILL)  # it may not have its own group yet
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        self._tokens.clear()

    def _watch_children(self) -> None:
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)

    def _handle(self, frame: dict[str, Any], selector: selectors.BaseSelector) -> None:
        if frame["t"] != "open":
            raise ValueError(f"unexpected frame {frame['t']}")
        token = frame["token"]
        if threading.active_count() > 1:
            left = ", ".join(thread.name for thread in threading.enumerate() if thread is not threading.main_thread())
            print(f"the engine left threads behind; forking may not be safe: {left}", file=sys.stderr)
        pid = self._forker.fork()
        if pid == 0:
            selector.close()
            self._become_child(token)
        self._tokens[pid] = token

    def _become_child(self, token: str) -> NoReturn:
        """Runs one attempt and exits, whatever happens. Never returns into the parent's code."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for inherited in (self._connection, self._wake, self._waker):
                inherited.close()
            run_attempt(self._host, token)
            status = 0
        except BaseException:  # noqa: BLE001
            sys.excepthook(*sys.exc_info())
        finally:
            system.flush_standard_streams()
            # Not sys.exit: threads that still run user code would hold the process.
            os._exit(status)

    def _reap(self) -> None:
        while (ended := _next_ended()) is not None:
            pid, status = ended
            token = self._tokens.pop(pid, None)
            if token is None:
                continue
            killed = os.WIFSIGNALED(status)
            frame = {
                "t": "exited",
                "token": token,
                "pid": pid,
                "status": None if killed else os.WEXITSTATUS(status),
                "signal": os.WTERMSIG(status) if killed else None,
            }
            try:
                self._connection.sendall(encode(frame))
            except ConnectionError:
                return  # the end of file follows


def run_attempt(host: Host, token: str) -> None:
    """Runs one attempt on a loop of its own. Leaves the loop as it is: the process ends after this."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    run_to_end(loop, loop.create_task(serve(host, token, rehearses=True)))


def run_to_end(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    """`run_until_complete`, even when user code in another task of the loop raises `SystemExit`.

    asyncio lets that exception out of the loop at once; the task that awaits it sees it only after that.
    """
    while not task.done():
        try:
            loop.run_until_complete(asyncio.wait({task}))
        except (SystemExit, KeyboardInterrupt):
            continue
    task.result()


def _next_ended() -> tuple[int, int] | None:
    """The next child that has ended, its group cleaned up, then reaped."""
    try:
        if hasattr(os, "waitid"):
            # Looking first keeps the process id, and so the group id, from being used again.
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return None
            system.kill_group(ended.si_pid)
            return os.waitpid(ended.si_pid, 0)
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    if pid == 0:
        return None
    system.kill_group(pid)
    return pid, status
