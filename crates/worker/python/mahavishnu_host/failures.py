"""Turns an exception into the `error` frame: reason, retryable, the engine's own traceback.

Retryable means that the same task may succeed later: the model or a server could not be reached, was
too slow or too busy. All else is not.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterator
from typing import Any

from .api import StageError
from .framing import FrameError

#: Bounds, in characters, so that a failure always fits an event.
MAX_MESSAGE = 4_000
MAX_TRACEBACK = 16_000

_AGNO_REMOTE = frozenset({"ModelProviderError", "ModelRateLimitError", "RemoteServerUnavailableError"})
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
# Class names of client libraries that are not imported here, by the first part of their module.
_UNREACHABLE = {
    "openai": {"APIConnectionError", "APITimeoutError"},
    "httpx": {"TransportError"},
    "httpx2": {"TransportError"},
    "httpcore": {"NetworkError", "TimeoutException"},
    "httpcore2": {"NetworkError", "TimeoutException"},
    "aiohttp": {"ClientConnectionError"},
}


def error_frame(error: BaseException) -> dict[str, Any]:
    """The last frame of an attempt that failed."""
    frame: dict[str, Any] = {"t": "error", "traceback": _bounded(_traceback(error), MAX_TRACEBACK)}
    if isinstance(error, StageError):
        frame.update(reason=error.reason, message=_bounded(error.message, MAX_MESSAGE), retryable=error.retryable)
        if error.field:
            frame["field"] = error.field
        return frame
    if isinstance(error, FrameError):
        return frame | {"reason": "OUTPUT_UNUSABLE", "message": str(error), "retryable": False}
    frame.update(
        reason=_reason(error),
        message=_bounded(_message(error), MAX_MESSAGE),
        retryable=is_retryable(error),
    )
    return frame


def is_retryable(error: BaseException) -> bool:
    """Whether the failure, or one that caused it, is likely to pass."""
    return any(_is_transient(link) for link in _chain(error))


def _reason(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return "ENGINE_EXITED"
    if isinstance(error, asyncio.CancelledError):
        return "ENGINE_CANCELLED"
    if any(_library(type(link)) == "openai" and _is_unreachable(link) for link in _chain(error)):
        return "MODEL_UNAVAILABLE"
    return "ENGINE_ERROR"


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, StageError):
        return error.retryable
    if isinstance(error, (ConnectionError, TimeoutError, asyncio.TimeoutError)):
        return True
    if _library(type(error)) == "agno" and type(error).__name__ not in _AGNO_REMOTE:
        return False  # its other errors claim status 500
    return _is_unreachable(error) or getattr(error, "status_code", None) in _TRANSIENT_STATUS


def _is_unreachable(error: BaseException) -> bool:
    return any(cls.__name__ in _UNREACHABLE.get(_library(cls), ()) for cls in type(error).__mro__)


def _library(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what caused it, and the members of groups; each once, and not without end."""
    seen: list[BaseException] = []
    queue = [error]
    while queue and len(seen) < 32:
        link = queue.pop(0)
        if any(link is other for other in seen):
            continue
        seen.append(link)
        yield link
        queue += [cause for cause in (link.__cause__, link.__context__) if cause is not None]
        queue += getattr(link, "exceptions", ())


def _message(error: BaseException) -> str:
    """What it is and says; where it says nothing, what that caused it says."""
    name, text = type(error).__name__, _text(error)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if not text and cause is not None and (said := _text(cause)):
        text = f"{type(cause).__name__}: {said}"
    return f"{name}: {text}" if text else name


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a user's exception may fail to print itself
        return ""


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def _bounded(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
