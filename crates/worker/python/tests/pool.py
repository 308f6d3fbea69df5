"""Hosts, the model and one event loop for all tests of a module: importing an engine takes longer than most tests.

A test module has `from .pool import Case, host, tearDownModule`.
"""

from __future__ import annotations

import asyncio
import functools
import unittest
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from . import driver
from .driver import Host

_loop = asyncio.new_event_loop()
#: Hosts that wait for the next test, by what they were started from.
_hosts: dict[Any, Host] = {}
_model: list[tuple[asyncio.subprocess.Process, dict[str, Any]]] = []
#: As many hosts may wait.
_MOST = 4


class Case(unittest.TestCase):
    """As `IsolatedAsyncioTestCase`, but all tests are on one loop, so what they start can outlive them."""

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        for name, test in list(vars(cls).items()):
            if name.startswith("test") and asyncio.iscoroutinefunction(test):
                setattr(cls, name, _on_the_loop(test))

    def setUp(self) -> None:
        _loop.run_until_complete(self.asyncSetUp())

    async def asyncSetUp(self) -> None:
        pass

    def addAsyncCleanup(self, work: Any, /, *given: Any) -> None:
        self.addCleanup(lambda: _loop.run_until_complete(work(*given)))


def _on_the_loop(test: Any) -> Any:
    @functools.wraps(test)
    def run(self: Case) -> None:
        _loop.run_until_complete(test(self))

    return run


@asynccontextmanager
async def host(engine: str, isolation: str = "process", stderr: Path | None = None, **environment: str):
    """A host that is ready: one that an earlier test had and left whole, or a new one. With a log it is the test's own."""
    key = (driver.interpreter(engine), engine, isolation, tuple(sorted(environment.items())))
    running = None if stderr else _hosts.pop(key, None)
    if running is None or not running.is_as_new():
        running = await driver.start_host(engine, isolation, stderr, environment)
    try:
        yield running
    except BaseException:
        await running.kill()
        raise
    if stderr or key in _hosts or not running.is_as_new():
        await running.end()
        return
    running.forget()
    _hosts[key] = running
    if len(_hosts) > _MOST:
        await _hosts.pop(next(iter(_hosts))).end()


@asynccontextmanager
async def model_server():
    """The real local model; yields the `model` member of a task."""
    if not _model:
        _model.append(await driver.start_model())
    yield _model[0][1]


def tearDownModule() -> None:
    _loop.run_until_complete(_end())


async def _end() -> None:
    while _hosts:
        await _hosts.popitem()[1].end()
    while _model:
        process, _ = _model.pop()
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 30)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
