"""An engine of a project's own: it says a line once for each voice. See PROTOCOL.md of the engine host."""

from __future__ import annotations

from mahavishnu_host.api import Link, StageError, Task

NAME = "chorus"
PACKAGES = ()


def prewarm() -> None:
    """There is nothing to warm."""


async def run(task: Task, link: Link) -> dict:
    line = task.task.get("line")
    if not isinstance(line, str):
        raise StageError("TASK_INVALID", "a chorus needs a line", field="line")
    voices = int(task.task.get("voices", 3))
    for voice in range(1, voices + 1):
        await link.progress("message", f"voice {voice}", {"line": line})
    return {"sung": [line] * voices}
