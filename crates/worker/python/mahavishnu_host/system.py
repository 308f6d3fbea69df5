"""What the host asks of the operating system: streams, and not outliving its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def redirect_standard_streams() -> None:
    """Standard input is empty and standard output goes to standard error, for C code as well."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        # A killed child must not take its last lines with it.
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]


def flush_standard_streams() -> None:
    """Empties the buffers: before a fork, which would copy them, and before `_exit`, which drops them."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when `parent` ends. Linux only; elsewhere end of file must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the kernel knew
        os._exit(1)


def kill_group(leader: int) -> None:
    """Kills all that a child has left in its process group."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
