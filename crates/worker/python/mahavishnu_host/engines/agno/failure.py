"""Finds the exception behind an Agno run that failed.

Agno turns what goes wrong in a run into an event with the message alone. It logs the error while it
still handles the exception, so a log handler can see the exception itself, with its traceback.
"""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar

_LOGGERS = ("agno", "agno-agent", "agno-team", "agno-workflow")
_seen: ContextVar[list[BaseException] | None] = ContextVar("exceptions of the run", default=None)


class _Keep(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        error, kept = sys.exc_info()[1], _seen.get()
        if error is not None and kept is not None:
            kept.append(error)


def install() -> None:
    """Once per process, before the first run."""
    handler = _Keep(logging.WARNING)
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(handler)


def watch() -> list[BaseException]:
    """The exceptions of this task's run, filled as they are handled."""
    kept: list[BaseException] = []
    _seen.set(kept)
    return kept
