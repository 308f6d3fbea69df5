"""Shell commands of a `dag`, when the worker allows them (`--allow-shell`, which it hands on as `MAHAVISHNU_ALLOW_SHELL`).

Invariant: a command sees none of the worker's environment but PATH, HOME and LANG, so no secret of it.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from typing import Any

from ...api import StageError
from ...framing import plain

ALLOWED = "MAHAVISHNU_ALLOW_SHELL"
#: Bounds of what a command may print, in bytes.
MAX_OUTPUT = 4 * 1024 * 1024


async def run(command: str, parameters: Mapping[str, Any], inputs: Mapping[str, Any], project: str, field: str) -> Any:
    """What the command prints: a JSON value if it is one, otherwise a text."""
    if os.environ.get(ALLOWED, "").lower() not in ("1", "true", "yes"):
        message = f"this worker runs no shell commands; whoever runs it allows them with --allow-shell or {ALLOWED}=true"
        raise StageError("SHELL_NOT_ALLOWED", message, field=field)
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment |= {name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()}
    pipe = asyncio.subprocess.PIPE
    # In the group of the attempt, which is killed as a whole when the attempt ends.
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", command, cwd=project, env=environment, stdin=pipe, stdout=pipe, stderr=pipe
    )
    try:
        printed, complained = await process.communicate(json.dumps(plain(dict(inputs))).encode())
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode != 0:
        said = complained.decode(errors="replace").strip()[-1_500:]
        raise StageError("SHELL_FAILED", f"it ended with {process.returncode}: {said}", field=field)
    if len(printed) > MAX_OUTPUT:
        raise StageError("SHELL_FAILED", f"it prints more than {MAX_OUTPUT // 2**20} MiB", field=field)
    text = printed.decode(errors="replace")
    try:
        return json.loads(text)
    except ValueError:
        return text.rstrip("\n")
