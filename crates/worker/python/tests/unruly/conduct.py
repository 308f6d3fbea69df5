"""What a worker must survive, whatever the engine. `place` is a directory in which each case tells of itself.

Every engine here has an object of two parts: `first`, which is counted, and `second`, which does what its case says. The
tests: `test_unruly.py` on a host, `tests/e2e/unruly.rs` on the whole system.
"""

import asyncio
import os
import subprocess
import threading
import time
from pathlib import Path

#: Events of a flood, where the engine has any, and characters of its result.
EVENTS, RESULT = 6_000, 3_000_000
#: Bytes of a hoard: with what the engine holds more than the ceiling of the tests and less than half as much again.
HOARD = 480 << 20


def first(place, case):
    with Path(place, f"{case}.first").open("a") as log:
        log.write("x")


def second(place, case, tell=lambda event: None):
    """`tell` is the engine's own way of saying something on the way."""
    return {
        "fine": lambda: "fine",
        "hang": lambda: _hang(place, case),
        "deaf": lambda: _hang(place, case),
        "defiant": lambda: _defy(place, case),
        "held": lambda: _hang(place, case) if not Path(place, case).exists() else "passed",
        "who": os.getpid,
        "wait": lambda: _wait(place, case),
        "hoard": lambda: _hoard(),
        "flood": lambda: _flood(tell),
        "print": _print,
        "leak": lambda: _leak(place, case),
    }[case]()


async def asleep(place, case):
    _say(place, case)
    await asyncio.sleep(3600)


def _say(place, case):
    """In which process the case is."""
    part = Path(place, f"{case}.part")
    part.write_text(str(os.getpid()))
    part.rename(Path(place, case))


def _hang(place, case):
    """Holds its thread. Only the main one can be interrupted."""
    _say(place, case)
    try:
        threading.Event().wait()
    finally:
        Path(place, f"{case}.ended").touch()


def _defy(place, case):
    """Nothing that is raised ends it."""
    _say(place, case)
    while True:
        try:
            threading.Event().wait()
        except BaseException:  # noqa: BLE001
            pass


def _wait(place, case):
    """Until the test says so."""
    _say(place, case)
    while not Path(place, f"{case}.go").exists():
        time.sleep(0.01)
    return os.getpid()


#: What a process that outlives its attempts never lets go of.
_hoarded = []


def _hoard():
    _hoarded.append(b"x" * HOARD)
    return os.getpid()


def _flood(tell):
    for n in range(EVENTS):
        tell({"n": n, "text": "x" * 500})
    return "y" * RESULT


def _print():
    for n in range(20_000):
        print("a line on standard output", n)
    os.write(1, b"\x00\x00\x00\x05bytes that look like a frame\n" * 1000)
    os.write(1, b"z" * 1_000_000)
    subprocess.run(["sh", "-c", "echo; echo a child; echo an error >&2"], check=True)
    return "printed"


def _leak(place, case):
    _say(place, case)
    kept = []
    while True:
        kept.append(os.urandom(1 << 20))
