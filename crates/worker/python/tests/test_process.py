"""The fork-server: how attempts end, and that nothing is left behind. Real LangGraph nodes misbehave."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
import unittest
from pathlib import Path

from .driver import TESTS, is_alive, wait_for, within
from .pool import Case, host, tearDownModule  # noqa: F401


def python_node(function: str, **given):
    node = {"name": "n", "kind": "python", "ref": f"misbehave.py:{function}"}
    return {"task": {"workflow": {"nodes": [node]}, "input": given}}


class ProcessIsolation(Case):
    async def test_hello_tells_versions_and_children_are_reaped(self):
        async with host("langgraph") as running:
            self.assertEqual(running.hello["t"], "server_hello")
            self.assertIn("langgraph", running.hello["versions"])
            first, second = await running.open(), await running.open()
            self.assertNotEqual(first.pid, second.pid)
            for attempt in (first, second):
                await attempt.start(**python_node("chatty"))
                self.assertEqual((await attempt.last())["t"], "done")
                exited = await running.exit_of(attempt)
                self.assertEqual((exited["status"], exited["signal"]), (0, None))
                self.assertFalse(is_alive(attempt.pid))

    async def test_standard_output_goes_to_the_stage_log(self):
        with tempfile.TemporaryDirectory() as directory:
            log = Path(directory, "log")
            async with host("langgraph", stderr=log) as running:  # host() checks that stdout stays empty
                attempt = await running.run(**python_node("chatty"))
                self.assertEqual(attempt.ended["output"]["state"]["stdin"], "")
            text = log.read_text()
            for line in ("a line on standard output", "bytes on descriptor 1", "a child's output"):
                self.assertIn(line, text)

    async def test_an_error_has_the_engines_traceback(self):
        async with host("langgraph") as running:
            ended = (await running.run(**python_node("fail"))).ended
            self.assertEqual((ended["t"], ended["reason"], ended["retryable"]), ("error", "ENGINE_ERROR", False))
            self.assertIn("KeyError", ended["message"])
            self.assertIn("misbehave.py", ended["traceback"])
            self.assertIn("missing_key", ended["traceback"])
            ended = (await running.run(**python_node("connection_lost"))).ended
            self.assertEqual((ended["reason"], ended["retryable"]), ("ENGINE_ERROR", True))

    async def test_user_code_cannot_end_the_host(self):
        async with host("langgraph") as running:
            for function in ("exit_now", "exit_in_task"):
                ended = (await running.run(**python_node(function))).ended
                self.assertEqual((ended["t"], ended["reason"]), ("error", "ENGINE_EXITED"), function)
            attempt = await running.open()
            await attempt.start(**python_node("crash"), stage="crash")
            self.assertIsNone(await attempt.next())
            self.assertEqual((await running.exit_of(attempt))["status"], 41)
            self.assertEqual((await running.run(**python_node("chatty"))).ended["t"], "done")

    async def test_cancel_is_obeyed_within_a_second(self):
        async with host("langgraph") as running:
            for function in ("sleep", "block"):
                async def once() -> float:
                    attempt = await running.open()
                    await attempt.start(**python_node(function), execution=f"{function}-{attempt.token}")
                    return await running.cancel(attempt)

                await within(1.0, once)

    async def test_an_attempt_that_ends_while_its_call_is_answered_says_how(self):
        async with host("langgraph") as running:
            attempt, called, ended = await running.open(), asyncio.Event(), asyncio.Event()
            answer = attempt._answer

            async def late(call):
                called.set()
                await ended.wait()
                await answer(call)

            attempt._answer = late
            await attempt.start(**python_node("sleep"))
            await asyncio.wait_for(called.wait(), 60)
            await attempt.connection.send({"t": "cancel", "reason": "test"})
            await running.exit_of(attempt)
            ended.set()
            self.assertEqual((await attempt.last())["t"], "cancelled")

    async def test_cancel_before_the_task(self):
        async with host("langgraph") as running:
            spare = await running.open()
            await spare.connection.send({"t": "cancel", "reason": "not needed"})
            self.assertEqual((await spare.last())["t"], "cancelled")

    async def test_killing_the_group_ends_blocking_code(self):
        with tempfile.TemporaryDirectory() as directory:
            file = os.path.join(directory, "child")
            async with host("langgraph") as running:

                async def once() -> float:
                    attempt = await running.open()
                    await attempt.start(**python_node("block_with_child", file=file), execution=attempt.token)
                    await wait_for(lambda: os.path.exists(file), 60, "the node runs")
                    grandchild = int(Path(file).read_text())
                    os.unlink(file)
                    began = time.monotonic()
                    os.killpg(attempt.pid, signal.SIGKILL)
                    exited = await running.exit_of(attempt)
                    self.assertEqual(exited["signal"], signal.SIGKILL)
                    await wait_for(lambda: not is_alive(grandchild), 60, "the grandchild ends")
                    return time.monotonic() - began

                await within(1.0, once)

    async def test_what_a_child_leaves_behind_is_killed(self):
        async with host("langgraph") as running:
            attempt = await running.run(**python_node("leave_child"))
            grandchild = attempt.ended["output"]["state"]["child"]
            await running.exit_of(attempt)
            await wait_for(lambda: not is_alive(grandchild), 30, "the grandchild ends")

    async def test_end_of_file_on_the_attempt_cancels(self):
        async with host("langgraph") as running:
            attempt = await running.open()
            await attempt.start(**python_node("sleep"))
            attempt.connection.close()
            self.assertEqual((await running.exit_of(attempt))["status"], 0)

    async def test_no_child_outlives_the_worker(self):
        async with host("langgraph") as running:
            attempts = [await running.open() for _ in range(3)]
            await attempts[0].start(**python_node("block_loop"))
            await attempts[1].start(**python_node("sleep"))
            running.server.close()
            await asyncio.wait_for(running.process.wait(), 30)
            for attempt in attempts:
                await wait_for(lambda a=attempt: not is_alive(a.pid), 30, "the child ends")

    async def test_no_child_outlives_a_killed_host(self):
        async with host("langgraph") as running:
            attempts = [await running.open() for _ in range(2)]
            await attempts[0].start(**python_node("block_loop"))
            running.process.kill()
            await running.process.wait()
            for attempt in attempts:
                await wait_for(lambda a=attempt: not is_alive(a.pid), 30, "the child ends")

    async def test_termination_takes_the_children_along(self):
        async with host("langgraph") as running:
            attempt = await running.open()
            await attempt.start(**python_node("block_loop"))
            running.process.terminate()
            self.assertEqual(await asyncio.wait_for(running.process.wait(), 30), 143)
            await wait_for(lambda: not is_alive(attempt.pid), 30, "the child ends")

    async def test_odd_values_become_json(self):
        async with host("langgraph") as running:
            state = (await running.run(**python_node("odd_values"))).ended["output"]["state"]
            self.assertEqual((state["nan"], state["set"], state["bytes"], state["5"]), (None, [1], "x", "five"))
            self.assertEqual(state["surrogate"], "a?b")
            self.assertEqual(len(state["big"]), 200_000)
            ended = (await running.run(**python_node("deep"))).ended
            self.assertEqual(ended["t"], "error")  # LangGraph's own serialiser refuses it first
            self.assertEqual((await running.run(**python_node("chatty"))).ended["t"], "done")

    async def test_a_broken_frame_is_answered(self):
        async with host("langgraph") as running:
            attempt = await running.open()
            await attempt.connection.send({"t": "surprise"})
            self.assertEqual((await attempt.last())["reason"], "PROTOCOL_ERROR")
            attempt = await running.open()
            await attempt.connection.send({"t": "task", "execution": "e"})
            self.assertEqual((await attempt.last())["reason"], "PROTOCOL_ERROR")

    async def test_an_engine_that_is_not_there(self):
        # The agno engine in the langgraph environment: the package is really missing.
        from . import driver

        real, driver.interpreter = driver.interpreter, lambda engine: real("langgraph")
        try:
            async with host("agno") as running:
                self.assertEqual((running.hello["t"], running.hello["reason"]), ("server_error", "ENGINE_MISSING"))
                self.assertIn("-m pip install 'agno>=", running.hello["message"])
                self.assertEqual(await asyncio.wait_for(running.process.wait(), 30), 3)
        finally:
            driver.interpreter = real

    async def test_an_engine_of_another_version(self):
        with tempfile.TemporaryDirectory() as directory:
            found = Path(directory, "langgraph-0.6.1.dist-info", "METADATA")
            found.parent.mkdir()
            found.write_text("Metadata-Version: 2.1\nName: langgraph\nVersion: 0.6.1\n")
            async with host("langgraph", PYTHONPATH=f"{TESTS.parent}{os.pathsep}{directory}") as running:
                self.assertEqual((running.hello["t"], running.hello["reason"]), ("server_error", "ENGINE_UNSUPPORTED"))
                self.assertIn("langgraph 0.6.1 in ", running.hello["message"])
                self.assertIn("-m pip install 'langgraph>=1.2,<2'", running.hello["message"])
                self.assertEqual(await asyncio.wait_for(running.process.wait(), 30), 3)
