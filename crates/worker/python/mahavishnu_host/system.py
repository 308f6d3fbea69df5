"""What the host asks of the operating system: streams, and not outliving its parent."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import socket
import sys

_PR_SET_PDEATHSIG = 1


def redirect_standard_streams() -> None:
    """Standard input is empty and standard output goes to standard error, for C code as well."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    # Opened anew: the old objects remember what kind of file they were made for. Line by line, as a killed
    # child must not take its last lines with it.
    sys.stdin = open(0, closefd=False)
    sys.stdout = open(1, "w", buffering=1, errors="backslashreplace", closefd=False)
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)


def explain_crashes() -> None:
    """A crash, and SIGUSR1 from anyone who wonders why nothing moves, writes all stacks to the stage log."""
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)


def flush_standard_streams() -> None:
    """Empties the buffers: before a fork, which would copy them, and before `_exit`, which drops them."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass


class Forker:
    """Forks children that cannot outlive this process, each leader of a session of its own.

    To be made before anything else is imported: hooks of other libraries run in the child too, some may
    hang, and even then the child must end with its parent. Forks by others are left alone.
    """

    def __init__(self) -> None:
        self._parent: int | None = None
        self._prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None
        os.register_at_fork(after_in_child=self._after_in_child)

    def fork(self) -> int:
        """As `os.fork`."""
        flush_standard_streams()
        self._parent = os.getpid()
        try:
            return os.fork()
        finally:
            self._parent = None

    def _after_in_child(self) -> None:
        if self._parent is None:
            return
        os.setsid()
        if self._prctl is not None:
            self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != self._parent:  # it ended before the kernel knew
            os._exit(1)


def receive(connection: socket.socket) -> bytes:
    """What has arrived; nothing when the peer is gone, however it went."""
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""


def kill_group(leader: int) -> None:
    """Kills all that a child has left in its process group."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
