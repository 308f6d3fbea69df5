"""`shared` isolation: attempts of one loop, side by side; the host still ends with the worker."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
import unittest

from .driver import resumed, wait_for
from .pool import Case, host, tearDownModule  # noqa: F401


def python_node(function: str, **given):
    node = {"name": "n", "kind": "python", "ref": f"misbehave.py:{function}"}
    return {"task": {"workflow": {"nodes": [node]}, "input": given}}


class Shared(Case):
    async def test_attempts_run_side_by_side_in_one_process(self):
        async with host("langgraph", "shared") as running:
            slow = await running.open()
            await slow.start(**python_node("sleep"))
            for _ in range(5):
                quick = await running.run(**python_node("chatty"))
                self.assertEqual((quick.ended["t"], quick.pid), ("done", running.hello["pid"]))
            began = time.monotonic()
            await slow.connection.send({"t": "cancel", "reason": "test"})
            self.assertEqual((await slow.last())["t"], "cancelled")
            self.assertLess(time.monotonic() - began, 1.0)

    async def test_failures_stay_with_their_attempt(self):
        async with host("langgraph", "shared") as running:
            for function, reason in (("fail", "ENGINE_ERROR"), ("exit_now", "ENGINE_EXITED"), ("exit_in_task", "ENGINE_EXITED")):
                ended = (await running.run(**python_node(function))).ended
                self.assertEqual((ended["t"], ended["reason"]), ("error", reason), function)
            lost = await running.open()
            await lost.start(**python_node("sleep"))
            lost.connection.close()
            self.assertEqual((await running.run(**python_node("chatty"))).ended["t"], "done")

    async def test_pause_and_resume(self):
        task = {"task": {"workflow": {"nodes": ["approve"]}}}
        async with host("langgraph", "shared") as running:
            paused = (await running.run(**task)).ended
            output = (await running.run(**task, **resumed(paused, True))).ended["output"]
            self.assertEqual((output["approved"], output["path"]), (True, ["approve"]))

    async def test_the_host_ends_with_the_worker_even_when_blocked(self):
        for function in ("block_loop", "block", "sleep"):
            with tempfile.TemporaryDirectory() as directory:
                async with host("langgraph", "shared") as running:
                    attempt = await running.open()
                    count = {"name": "first", "kind": "python", "ref": "misbehave.py:count"}
                    node = {"name": "n", "kind": "python", "ref": f"misbehave.py:{function}"}
                    file = os.path.join(directory, "began")
                    await attempt.start(task={"workflow": {"nodes": [count, node]}, "input": {"file": file}})
                    await wait_for(lambda: os.path.exists(file), 60, "the graph runs")
                    running.server.close()
                    self.assertEqual(await asyncio.wait_for(running.process.wait(), 30), 0, function)

    async def test_a_changed_file_is_read_again(self):
        with tempfile.TemporaryDirectory() as project:
            file = os.path.join(project, "nodes.py")
            task = {"workflow": {"nodes": [{"name": "n", "kind": "python", "ref": "nodes.py:f"}]}}
            async with host("langgraph", "shared") as running:
                for version in (1, 2):
                    with open(file, "w") as out:
                        out.write(f"def f(state):\n    return {{'version': {version}}}\n")
                    os.utime(file, ns=(version * 10**9, version * 10**9))
                    output = (await running.run(task=task, project=project)).ended["output"]
                    self.assertEqual(output["state"]["version"], version)
