"""The Agno engine: the catalogue, real answers, the user's own agents, failures."""

from __future__ import annotations

import json
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .driver import PROJECT, within
from .pool import Case, host, model_server, tearDownModule  # noqa: F401

NOWHERE = {"base_url": "http://127.0.0.1:9/v1", "name": "m", "api_key": "none", "provider": "local"}


class Agents(Case):
    async def test_the_seeds_forms_are_answered_by_the_model(self):
        tasks = [
            {"agents": ["tester"], "task": "Run tests"},
            {"agents": ["implementer"], "input": {"requirement": "A login page."}},
            {"agents": ["python-pro"], "task": "Generate code from spec", "input": {"spec": "Adds two numbers."}},
            {"agents": ["poet"], "task": "Write about rivers.", "instructions": "Use the word water."},
        ]
        async with model_server() as model, host("agno") as running:
            for task in tasks:
                attempt = await running.run(task=task, model=model, dependencies={"docs": {"summary": "None."}})
                output = attempt.ended["output"]
                self.assertEqual((output["agents"], output["ran"]), (task["agents"], task["agents"]))
                self.assertEqual(output["model"], model["name"])
                self.assertGreater(output["tokens"]["input"], 20)
                streamed = "".join(f["text"] for f in attempt.of("delta"))
                self.assertEqual(streamed, output["content"])
                self.assertEqual([f["data"]["event"] for f in attempt.of("progress")], ["started", "completed"])

    async def test_several_agents_are_a_team(self):
        async with model_server() as model, host("agno") as running:
            for mode in ("coordinate", "broadcast"):
                task = {"agents": ["researcher", "writer"], "mode": mode, "task": "Summarise: TLS encrypts traffic."}
                output = (await running.run(task=task, model=model)).ended["output"]
                self.assertEqual(output["agents"], ["researcher", "writer"])
                self.assertTrue(output["content"])

    async def test_the_users_own_agents(self):
        async with model_server() as model, host("agno") as running:
            task = {"agent": "agents.py:tester", "task": "What is the capital of France?"}
            output = (await running.run(task=task, model=model)).ended["output"]
            self.assertEqual((output["agents"], output["ran"]), (["own-tester"], ["own-tester"]))
            output = (await running.run(task={"team": "agents:pair", "task": "Say hello."}, model=model)).ended["output"]
            self.assertEqual(output["agents"], ["one", "two"])

    async def test_refusals(self):
        cases = [
            ({"agents": ["testr"]}, "UNKNOWN_AGENT", "agents[0]"),
            ({"agents": []}, "TASK_INVALID", "agents"),
            ({"agents": ["tester"], "agent": "agents.py:tester"}, "TASK_INVALID", "agents"),
            ({"agents": ["tester", "writer"], "mode": "broadcst"}, "TASK_INVALID", "mode"),
            ({"agents": ["tester"], "tsk": "x"}, "TASK_INVALID", "tsk"),
            ({"agent": "agents.py:not_an_agent"}, "REFERENCE_INVALID", "agent"),
        ]
        async with host("agno") as running:
            for task, reason, field in cases:
                ended = (await running.run(task=task, model=NOWHERE)).ended
                self.assertEqual((ended["reason"], ended["field"], ended["retryable"]), (reason, field, False))
            message = (await running.run(task=cases[0][0], model=NOWHERE)).ended["message"]
            self.assertIn("did you mean tester?", message)
            self.assertIn("python-pro", message)
            ended = (await running.run(task={"agents": ["tester"]}, model=NOWHERE, repos=["../.."])).ended
            self.assertEqual((ended["reason"], ended["field"]), ("REPO_OUTSIDE", "repos[0]"))

    async def test_what_agno_swallows_is_a_failure_with_its_traceback(self):
        async with host("agno") as running:
            ended = (await running.run(task={"agents": ["tester"]}, model=NOWHERE)).ended
            self.assertEqual((ended["reason"], ended["retryable"]), ("MODEL_UNAVAILABLE", True))
            self.assertIn("openai", ended["traceback"])
            ended = (await running.run(task={"agents": ["tester"]})).ended
            self.assertEqual(ended["reason"], "MODEL_UNAVAILABLE")
            ended = (await running.run(task={"agent": "agents.py:failing"}, model=NOWHERE)).ended
            self.assertEqual((ended["reason"], ended["retryable"]), ("ENGINE_ERROR", False))
            self.assertIn("the instructions of the user failed", ended["message"])
            self.assertIn("agents.py", ended["traceback"])


class Scripted(Case):
    """A model server of the test's own, for what a small model does by chance."""

    async def test_tools_read_the_repository_and_nothing_else(self):
        calls = [
            ("list_files", {"directory": "."}),
            ("read_file", {"path": "agents.yaml"}),
            ("read_file", {"path": "../driver.py"}),
            ("search_files", {"text": "makes a TEXT loud"}),
        ]
        with _scripted(calls) as (base_url, requests):
            async with host("agno") as running:
                model = {"base_url": base_url, "name": "scripted", "api_key": "none", "provider": "test"}
                attempt = await running.run(task={"agents": ["tester"]}, model=model, repos=["."])
                self.assertEqual(attempt.ended["output"]["content"], "finished")
        results = [f["data"]["result"] for f in attempt.of("progress") if f["data"].get("event") == "completed" and "result" in f["data"]]
        self.assertIn("agents.py", results[0])
        self.assertIn("Poet", results[1])
        self.assertEqual(results[2], "there is no file ../driver.py")
        self.assertIn("agents.py:8:", results[3])
        self.assertEqual([f["name"] for f in attempt.of("progress") if f["kind"] == "tool_call"][::2], [c[0] for c in calls])
        self.assertTrue((PROJECT / "agents.yaml").exists())

    async def test_cancel_in_mid_call(self):
        with _scripted([], hang=True) as (base_url, requests):
            async with host("agno") as running:
                model = {"base_url": base_url, "name": "scripted", "api_key": "none", "provider": "test"}

                async def once() -> float:
                    attempt = await running.open()
                    await attempt.start(task={"agents": ["tester"]}, model=model, execution=attempt.token)
                    await attempt.until(lambda frame: frame["t"] == "progress")
                    return await running.cancel(attempt)

                await within(1.0, once)


class _scripted:
    """Answers chat completions with tool calls in order, a list of them being one answer, then with `finished`; with `hang` only when it is let go."""

    def __init__(self, calls, hang=False, hang_after=None):
        script, requests, release = iter(calls), [], threading.Event()
        self.requests, self._release, self._over = requests, release, False
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                requests.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                if hang or len(requests) - 1 == hang_after:
                    release.wait()
                if server._over:
                    return
                call = next(script, None)
                delta = {"role": "assistant", "content": "finished"}
                if call:
                    tools = [
                        {"index": n, "id": f"c{len(requests)}-{n}", "type": "function",
                         "function": {"name": name, "arguments": json.dumps(arguments)}}
                        for n, (name, arguments) in enumerate(call if isinstance(call, list) else [call])
                    ]
                    delta = {"role": "assistant", "tool_calls": tools}
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.end_headers()
                for choice in ({"index": 0, "delta": delta, "finish_reason": None},
                               {"index": 0, "delta": {}, "finish_reason": "tool_calls" if call else "stop"}):
                    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "scripted", "choices": [choice]}
                    self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                self.wfile.write(b"data: [DONE]\n\n")

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}/v1", self.requests

    def let_go(self):
        self._release.set()

    def __exit__(self, *exception):
        self._over = True
        self._release.set()
        self._server.shutdown()
        self._server.server_close()
