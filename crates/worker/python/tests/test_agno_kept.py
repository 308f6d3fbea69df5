"""Agno after a kill: the real local model is not asked again what it has answered."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import tempfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from .driver import wait_for
from .pool import Case, host, model_server, tearDownModule  # noqa: F401

STEPS = """
import asyncio
from pathlib import Path
from agno.agent import Agent
from agno.workflow import Step, Workflow
from agno.workflow.types import StepInput, StepOutput

HERE = Path(__file__).parent

async def hold(step_input: StepInput) -> StepOutput:
    if not (HERE / "held").exists():
        (HERE / "held").write_text("")
        await asyncio.sleep(3600)
    return StepOutput(content=step_input.previous_step_content)

one = Agent(name="one", instructions="Answer in one short sentence.")
two = Agent(name="two", instructions="Say the same in other words.")
talk = Workflow(name="talk", steps=[Step(name="say", agent=one), hold, Step(name="again", agent=two)])
"""


@contextmanager
def counted(model: dict):
    """The same model by a way on which requests are counted: their bodies, as they came."""
    place, requests = urlsplit(model["base_url"]), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            requests.append(json.loads(body))
            server = http.client.HTTPConnection(place.hostname, place.port, timeout=120)
            server.request("POST", self.path, body, {"content-type": "application/json"})
            answer = server.getresponse()
            self.send_response(answer.status)
            self.send_header("content-type", answer.headers["content-type"])
            self.end_headers()
            try:
                while piece := answer.read1(4096):
                    self.wfile.write(piece)
            except ConnectionError:
                pass  # who asked was killed
            server.close()

        def log_message(self, *_):
            pass

    way = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    way.daemon_threads = True
    threading.Thread(target=way.serve_forever, daemon=True).start()
    try:
        yield {**model, "base_url": f"http://127.0.0.1:{way.server_port}{place.path}"}, requests
    finally:
        way.shutdown()
        way.server_close()


class Kept(Case):
    def setUp(self):
        self.project = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.project)
        Path(self.project, "steps.py").write_text(STEPS, "utf-8")

    async def test_a_killed_run_is_given_the_answers_that_it_had(self):
        for isolation in ("process", "shared"):
            Path(self.project, "held").unlink(missing_ok=True)
            async with model_server() as model, host("agno", isolation) as running:
                with counted(model) as (way, requests):
                    task = {"task": {"agent": "steps.py:talk", "task": "What is the capital of France?"}}
                    given = {**task, "project": self.project, "data": self.project, "model": way, "execution": isolation}
                    first = await running.open()
                    await first.start(**given)
                    await wait_for(Path(self.project, "held").exists, 60, "the first agent has answered")
                    said = await self.said(first)
                    self.assertEqual(len(requests), 1)
                    if isolation == "process":
                        os.kill(first.pid, signal.SIGKILL)
                        await running.exit_of(first)
                    else:
                        first.connection.close()
                    second = await running.run(**given, delivery=2)
                    output = second.ended["output"]
                    # The second agent's call is the only new one.
                    self.assertEqual(len(requests), 2)
                    self.assertIn(said, json.dumps(requests[1]["messages"], ensure_ascii=False))
                    shown = "".join(frame["text"] for frame in second.of("delta") if frame["source"] == "one")
                    self.assertEqual((shown, output["ran"]), (said, ["one", "two"]))
                    self.assertGreater(output["tokens"]["input"], 20)
                    # Another stage shares nothing with it.
                    await running.run(**{**given, "execution": f"{isolation}-other"})
                    self.assertEqual(len(requests), 4)

    async def said(self, attempt) -> str:
        """What the first agent was heard to say, up to its end."""
        await attempt.until(lambda frame: frame["t"] == "progress" and frame["data"].get("event") == "completed")
        return "".join(frame["text"] for frame in attempt.of("delta") if frame["source"] == "one")
