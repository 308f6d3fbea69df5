"""Node functions that do what a host must survive."""

import os
import subprocess
import sys
import threading

BLOCK = threading.Event()


def chatty(state):
    print("a line on standard output")
    os.write(1, b"bytes on descriptor 1\n")
    subprocess.run(["echo", "a child's output"], check=True)
    return {"stdin": sys.stdin.read() if sys.stdin else ""}


def fail(state):
    return {}[state["missing_key"]]


def connection_lost(state):
    raise ConnectionResetError("the database went away")


def block(state):
    """Holds its thread; no cancellation reaches it."""
    BLOCK.wait()


async def block_loop(state):
    """Holds the event loop itself."""
    BLOCK.wait()


async def sleep(state):
    import asyncio

    await asyncio.sleep(3600)


def leave_child(state):
    child = subprocess.Popen(["sleep", "3600"])
    return {"child": child.pid}


def block_with_child(state):
    state_file = state["file"]
    child = subprocess.Popen(["sleep", "3600"])
    with open(state_file + ".new", "w") as out:
        out.write(str(child.pid))
    os.rename(state_file + ".new", state_file)
    BLOCK.wait()


def exit_now(state):
    sys.exit(7)


async def exit_in_task(state):
    sys.exit(7)


def crash(state):
    os._exit(41)


def odd_values(state):
    return {"nan": float("nan"), "surrogate": "a\ud800b", "set": {1}, "bytes": b"x", 5: "five", "big": "y" * 200_000}


def deep(state):
    value = []
    for _ in range(500):
        value = [value]
    return {"deep": value}


def count(state):
    with open(state["file"], "a") as out:
        out.write("x")
    return {"pid_of_count": os.getpid()}




def hold_once(state):
    """Holds its process the first time; passes when it runs again."""
    if not os.path.exists(state["held"]):
        open(state["held"], "w").close()
        BLOCK.wait()
    return {"held": "passed"}


def fail_once(state):
    if not os.path.exists(state["held"]):
        open(state["held"], "w").close()
        raise ConnectionResetError("the database went away")
    return {}
