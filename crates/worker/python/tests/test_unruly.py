"""Cancelled in mid-call, on every engine and in both isolations, with what the worker does: a word, half a second, a kill.

The other faults are the worker's to bear: `tests/e2e/unruly.rs`, which uses the same objects. Against the plain library:
`test_the_same_as_the_plain_library` of each engine.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path

from .driver import TESTS, kill, wait_for, within
from .pool import Case, host, tearDownModule  # noqa: F401
from .prefect_server import Server

#: The task of each engine that runs one of its objects.
TASKS = {
    "agno": lambda name, place, case: {"agent": f"steps.py:{name}", "task": f"{case} {place}"},
    "langgraph": lambda name, place, case: {"graph": f"graph.py:{name}", "input": {"place": place, "case": case}},
    "llamaindex": lambda name, place, case: {"workflow": f"events.py:{name}", "input": {"place": place, "case": case}},
    "prefect": lambda name, place, case: {"flow": f"pipes.py:{name}", "parameters": {"place": place, "case": case}},
}
#: The object of each engine whose second part is on the event loop; plain functions of the others are in a thread, and a host in
#: `shared` isolation goes on with its other attempts while one blocks.
ON_THE_LOOP = {"agno": "unruly", "langgraph": "stuck", "llamaindex": "unruly", "prefect": "stuck"}
#: Between the worker's word and its kill or interruption, in seconds.
GRACE = 0.5


class Cancelled(Case):
    def setUp(self):
        self.place = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.place)

    async def begun(self, running, engine: str, name: str, case: str, isolation: str):
        """An attempt in the middle of its second part."""
        attempt = await running.open()
        task = TASKS[engine](name, self.place, case)
        await attempt.start(task=task, project=str(TESTS / "unruly"), data=self.place, execution=f"{engine}-{case}-{isolation}")
        await wait_for(lambda: Path(self.place, case).exists(), 60, f"{engine} begins {case}")
        Path(self.place, case).unlink()
        return attempt

    async def stopped(self, running, attempt, isolation: str) -> tuple[str | None, float]:
        """Stops it as the worker does; its last frame, and how long it took until the host is there for others."""
        began = time.monotonic()
        await attempt.connection.send({"t": "cancel", "reason": "test"})
        try:
            last = (await asyncio.wait_for(attempt.last(), GRACE))["t"]
        except (asyncio.TimeoutError, AssertionError):
            last = None
        if isolation == "process":
            kill(attempt.pid)
            await running.exit_of(attempt)
        elif last is None:
            await running.server.send({"t": "interrupt", "token": attempt.token})
            (await running.open()).connection.close()
        attempt.connection.close()
        return last, time.monotonic() - began

    async def all_ways(self, engine: str, **environment: str):
        for isolation in ("process", "shared"):
            async with host(engine, isolation, **environment) as running:
                for name, case in (("sleepy", "asleep"), ("unruly", "hang"), (ON_THE_LOOP[engine], "deaf")):
                    with self.subTest(isolation=isolation, case=case):
                        lasts = []

                        async def once() -> float:
                            attempt = await self.begun(running, engine, name, case, isolation)
                            last, seconds = await self.stopped(running, attempt, isolation)
                            lasts.append(last)
                            return seconds

                        await within(1.0, once)
                        if case == "asleep" and len(lasts) == 1:
                            self.assertEqual(lasts, ["cancelled"])
                task = TASKS[engine]("unruly", self.place, "fine")
                after = await running.run(task=task, project=str(TESTS / "unruly"), data=self.place, execution="after")
                self.assertEqual(after.ended["t"], "done", after.ended)
                if isolation == "shared":
                    running.server.close()  # a thread of it may still block

    async def test_threads_that_never_end_take_no_room_from_other_attempts(self):
        async with host("langgraph", "shared") as running:
            for _ in range(33):  # more than the threads that an event loop has by itself
                attempt = await self.begun(running, "langgraph", "unruly", "hang", "shared")
                await self.stopped(running, attempt, "shared")
            attempt = await running.run(task=TASKS["langgraph"]("unruly", self.place, "fine"), project=str(TESTS / "unruly"))
            self.assertEqual(attempt.ended["t"], "done", attempt.ended)
            running.server.close()

    async def test_agno(self):
        await self.all_ways("agno")

    async def test_langgraph(self):
        await self.all_ways("langgraph")

    async def test_llamaindex(self):
        await self.all_ways("llamaindex")

    async def test_prefect(self):
        await self.all_ways("prefect", **Server.environment())
