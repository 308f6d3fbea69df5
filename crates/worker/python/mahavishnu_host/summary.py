"""Makes values small enough for progress, approvals and prompts, and says what was left out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from .api import Model
from .framing import FrameError, plain

MAX_TEXT = 400
MAX_ITEMS = 12
MAX_LEVELS = 4

#: Context for a model, in characters. The local model has 4,096 tokens for prompt and answer and reads
#: some 250 of them a second; others read far more.
LOCAL_CONTEXT = 2_400
REMOTE_CONTEXT = 48_000


def summarise(value: Any, levels: int = MAX_LEVELS) -> Any:
    """A small JSON value in the shape of `value`."""
    try:
        return _shrink(plain(value), levels)
    except FrameError as error:
        return str(error)


def render_context(parts: Mapping[str, Any], model: Model | None) -> str:
    """The named values as plain text for a model; each that is too long is cut, with a note.

    Not as JSON: a small model goes on with the notation instead of the content.
    """
    parts = {name: value for name, value in parts.items() if value not in (None, "", {}, [], ())}
    if not parts:
        return ""
    budget = LOCAL_CONTEXT if model is not None and model.provider == "local" else REMOTE_CONTEXT
    share = budget // len(parts)
    return "\n\n".join(f"{name}:\n{cut(_text(value), share)}" for name, value in parts.items())


def cut(text: str, limit: int) -> str:
    """`text`, or its beginning with a note of how much is missing."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}... ({len(text) - limit} more characters)"


def nearest(name: Any, known: Iterable[str]) -> str:
    """A hint with the known name that is closest, or nothing."""
    near = difflib.get_close_matches(str(name), list(known), 1, 0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _shrink(value: Any, levels: int) -> Any:
    if isinstance(value, str):
        return cut(value, MAX_TEXT)
    if isinstance(value, dict):
        if levels == 0:
            return f"an object of {len(value)} members"
        small = {cut(key, 80): _shrink(member, levels - 1) for key, member in list(value.items())[:MAX_ITEMS]}
        return small if len(value) <= MAX_ITEMS else small | {"...": f"{len(value) - MAX_ITEMS} more members"}
    if isinstance(value, list):
        if levels == 0:
            return f"a list of {len(value)} items"
        items = [_shrink(item, levels - 1) for item in value[:MAX_ITEMS]]
        return items if len(value) <= MAX_ITEMS else [*items, f"{len(value) - MAX_ITEMS} more items"]
    return value


def _text(value: Any) -> str:
    return "\n".join(_lines(plain(value)))


def _lines(value: Any) -> list[str]:
    """A JSON value as people would write it down: names with what belongs to them indented below, lists with dashes."""
    if isinstance(value, dict):
        lines: list[str] = []
        for name, member in value.items():
            below = _lines(member)
            if below:
                title = f"{name.replace('_', ' ')}:"
                lines += [f"{title} {below[0]}"] if _is_short(member, below) else [title, *(f"  {line}" for line in below)]
        return lines
    if isinstance(value, list):
        items = [_lines(item) for item in value]
        return [("- " if n == 0 else "  ") + line for item in items for n, line in enumerate(item)]
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    return [line for line in str(value).splitlines() if line.strip()] if value is not None else []


def _is_short(value: Any, lines: list[str]) -> bool:
    return len(lines) == 1 and not isinstance(value, (dict, list))
