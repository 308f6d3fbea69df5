"""What a stage has finished, kept on this machine for the attempt that goes on after it was killed.

A directory for each stage of an execution holds the tables and, by Prefect's own result persistence, the values of
finished tasks. Their cache keys name execution, stage, task and what the task does, so nothing else is ever served.

Invariant: what is kept goes when the stage has succeeded or failed for good; what nobody came back for, after a week.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...api import Task
from ...failures import is_retryable

#: Seconds after which nobody comes back.
ABANDONED = 7 * 24 * 3600.0


@contextmanager
def workplace(task: Task) -> Iterator[Path]:
    """The stage's directory."""
    parent = Path(task.data) / "work"
    place = parent / f"{task.execution}-{task.stage}"
    place.mkdir(parents=True, exist_ok=True)
    _sweep(parent, place)
    try:
        yield place
    except (asyncio.CancelledError, GeneratorExit):
        raise  # the lease may be lost, and another process at work here
    except Exception as error:
        if not is_retryable(error):
            shutil.rmtree(place, ignore_errors=True)
        raise
    else:
        shutil.rmtree(place, ignore_errors=True)


def caching(task: Task, place: Path, name: str, what: Any) -> dict[str, Any]:
    """Options of a Prefect task that is not done again once its result, which is JSON, is kept."""
    digest = hashlib.sha256(json.dumps([task.execution, task.stage, name, what], default=str).encode()).hexdigest()
    return {
        "cache_key_fn": lambda _context, _parameters: digest,
        "persist_result": True,
        "result_storage": place / "results",
        "result_serializer": "json",
    }


def _sweep(parent: Path, own: Path) -> None:
    """Removes what nobody came back for."""
    for other in parent.iterdir():
        try:
            if other != own and time.time() - other.stat().st_mtime > ABANDONED:
                shutil.rmtree(other, ignore_errors=True)
        except OSError:
            pass  # another attempt was quicker
