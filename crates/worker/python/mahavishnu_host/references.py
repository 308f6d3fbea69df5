"""Resolves a reference to a user's object: `path.py:attr` or `pkg.mod:attr`.

Invariant: the code that is imported lies inside the project directory, also after links are followed.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from .api import StageError

#: Modules by project and place, with the path that led inside and the file that it led to.
_loaded: dict[tuple[str, str], tuple[Path, tuple[int, ...], ModuleType]] = {}


def resolve(reference: Any, project: str, field: str) -> Any:
    """The object that `reference` names. `field` is where it stands in the task, for the failure."""
    if not isinstance(reference, str) or reference.count(":") != 1:
        raise StageError("REFERENCE_INVALID", f"{reference!r} is neither path.py:attr nor pkg.mod:attr", field=field)
    place, _, attribute = reference.partition(":")
    return _attribute(load(place, project, field), attribute, reference, field)


def is_loaded(reference: Any, project: str) -> bool:
    """Whether `resolve` finds the module in memory, and so needs no thread of its own."""
    return isinstance(reference, str) and _known(reference.partition(":")[0], project) is not None


def load(place: str, project: str, field: str) -> ModuleType:
    """The module that `path.py` or `pkg.mod` means. A `path.py` that has changed is imported again."""
    if (known := _known(place, project)) is not None:
        return known
    root = Path(project).resolve()
    path = _locate(place, root, field)
    stamp = _stamp(path)
    try:
        module = _load_file(path.resolve(), root) if place.endswith(".py") else _load_module(place, root)
    except Exception as error:
        message = f"{place} cannot be imported: {type(error).__name__}: {error}"
        raise StageError("REFERENCE_FAILED", message, field=field) from error
    if not place.endswith(".py") and not _is_inside(module, root):
        raise StageError("REFERENCE_OUTSIDE", f"{place} names a module outside the project", field=field)
    if stamp is not None:
        _loaded[place, project] = path, stamp, module
    return module


def forget(project: str) -> None:
    """As if no file of the project had ever been imported."""
    for known in [known for known in _loaded if known[1] == project]:
        _, _, module = _loaded.pop(known)
        sys.modules.pop(module.__name__, None)
    root = Path(project).resolve()
    sys.path[:] = [place for place in sys.path if not Path(place).is_relative_to(root)]


def _known(place: str, project: str) -> ModuleType | None:
    """The module, if its path still leads to the file that was found to be inside, unchanged."""
    path, stamp, module = _loaded.get((place, project), (None, None, None))
    return module if path is not None and _stamp(path) == stamp else None


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _locate(place: str, root: Path, field: str) -> Path:
    """The path that `place` means; it leads to a file in the project."""
    if "\0" in place or not place:
        raise StageError("REFERENCE_INVALID", f"{place!r} names no file", field=field)
    if place.endswith(".py"):
        candidates = [root / place]
    elif all(part.isidentifier() for part in place.split(".")):
        base = root.joinpath(*place.split("."))
        candidates = [base.with_suffix(".py"), base / "__init__.py"]
    else:
        raise StageError("REFERENCE_INVALID", f"{place!r} is neither path.py nor pkg.mod", field=field)
    for candidate in candidates:
        file = candidate.resolve()
        if not file.is_relative_to(root):
            raise StageError("REFERENCE_OUTSIDE", f"{place} is outside the project directory", field=field)
        if file.is_file():
            return candidate
    raise StageError("REFERENCE_NOT_FOUND", f"{place} is not in the project directory {root}", field=field)


def _load_file(file: Path, root: Path) -> ModuleType:
    """Imports a file by its place; again when it has changed, which matters in a `shared` host.

    The name depends on the place alone, because checkpoints name the modules of what they hold.
    """
    _search(file.parent)
    _search(root)
    stamp = file.stat().st_mtime_ns
    name = "mahavishnu_project_" + "_".join(file.relative_to(root).with_suffix("").parts)
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__mahavishnu_stamp__", None) == stamp:
        return known
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.name} is not Python source")
    module = importlib.util.module_from_spec(spec)
    module.__mahavishnu_stamp__ = stamp  # type: ignore[attr-defined]
    sys.modules[name] = module  # dataclasses and pickles look their module up by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _load_module(place: str, root: Path) -> ModuleType:
    _search(root)
    importlib.invalidate_caches()
    return importlib.import_module(place)


def _search(directory: Path) -> None:
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))


def _is_inside(module: ModuleType, root: Path) -> bool:
    file = getattr(module, "__file__", None)
    return bool(file) and Path(os.path.realpath(file)).is_relative_to(root)


def _attribute(module: ModuleType, path: str, reference: str, field: str) -> Any:
    value: Any = module
    for name in path.split("."):
        if not hasattr(value, name):
            known = [known for known in dir(value) if not known.startswith("_")]
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise StageError("REFERENCE_NOT_FOUND", f"{reference} has no {name!r}{hint}", field=field)
        value = getattr(value, name)
    return value
