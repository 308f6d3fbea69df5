"""Agno: confirmations, sessions, the project's own catalogue, writing tools; against the plain library; killed."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

from .driver import interpreter, resumed, wait_for
from .pool import Case, host, tearDownModule  # noqa: F401
from .test_agno import _scripted

AGENTS = '''
import os
from pathlib import Path
from agno.agent import Agent
from agno.team import Team
from agno.tools import tool

LOG = Path(__file__).with_name("deployed.log")

@tool(requires_confirmation=True)
def deploy(target: str) -> str:
    """Deploys to a target."""
    with LOG.open("a") as log:
        log.write(target + " ")
    return f"deployed to {target}"

def rhymes(word: str) -> str:
    """Finds a rhyme."""
    return {"tide": "pride"}.get(word, "none")

deployer = Agent(name="deployer", tools=[deploy])
def launch(target: str) -> str:
    """Launches a target, once."""
    with LOG.open("a") as log:
        log.write(target + " ")
    return f"launched {target} from {os.getpid()}"

async def alaunch(target: str) -> str:
    """Launches a target, once."""
    return launch(target)

launcher = Agent(name="launcher", tools=[launch, alaunch])
fleet = Team(name="fleet", members=[Agent(id="pilot", name="pilot", role="launches", tools=[launch])])
simple = Agent(name="simple", tools=[rhymes])
crew = Team(name="crew", members=[Agent(id="hand", name="hand", role="deploys", tools=[deploy])])
'''

STEPS = '''
from pathlib import Path
from agno.agent import Agent
from agno.workflow import Condition, Router, Step, Workflow
from agno.workflow.types import StepInput, StepOutput

def shout(step_input: StepInput) -> StepOutput:
    return StepOutput(content=str(step_input.previous_step_content).upper())

def fail(step_input: StepInput) -> StepOutput:
    raise LookupError("the step failed")

def launch(target: str) -> str:
    """Launches a target, once."""
    with Path(__file__).with_name("deployed.log").open("a") as log:
        log.write(target + " ")
    return f"launched {target}"

first, second = (Step(name=name, agent=Agent(name=name, tools=[launch])) for name in ("first", "second"))
routed = Router(name="route", choices=[second], selector=lambda _given: [second])
flight = Workflow(name="flight", steps=[first, Condition(name="if", evaluator=False, steps=[shout], else_steps=[routed])])
talk = Workflow(name="talk", steps=[Step(name="speak", agent=Agent(name="speaker")), shout])
broken = Workflow(name="broken", steps=[Step(name="fail", executor=fail, max_retries=0)])
recalling = Workflow(name="recalling", steps=[Step(name="shout", executor=shout, add_workflow_history=True)])
'''

PLAIN = """
import asyncio, json, sys
sys.path.insert(0, sys.argv[1])
import agents
from agno.models.openai.like import OpenAILike
agents.simple.model = OpenAILike(id="scripted", base_url=sys.argv[2], api_key="none", temperature=0)

async def main():
    events, content = [], None
    async for event in agents.simple.arun("Rhyme!", stream=True, stream_events=True):
        events.append(event.event)
        content = getattr(event, "content", None) if event.event == "RunCompleted" else content
    print(json.dumps({"events": events, "content": content}))

asyncio.run(main())
"""


class Agno(Case):
    isolation = "process"

    async def asyncSetUp(self):
        self.data = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.data)
        self.project = Path(self.data, "project")
        self.project.mkdir()
        (self.project / "agents.py").write_text(AGENTS, "utf-8")
        context = host("agno", self.isolation)
        self.host = await context.__aenter__()
        self.addAsyncCleanup(context.__aexit__, None, None, None)

    async def run_task(self, task: dict, calls: list, **more):
        """With a model that makes these calls; what it was asked is in `self.requests`."""
        with _scripted(calls) as (url, self.requests):
            attempt = await self.host.run(task=task, **self.given(url), **more)
        return attempt, attempt.ended

    def given(self, url: str) -> dict:
        model = {"base_url": url, "name": "scripted", "api_key": "none", "provider": "test"}
        return {"model": model, "project": str(self.project), "data": self.data}

    def deployed(self) -> str:
        log = self.project / "deployed.log"
        return log.read_text() if log.exists() else ""


class Confirmation(Agno):
    async def test_a_tool_waits_for_a_person(self):
        task = {"agent": "agents.py:deployer", "task": "Ship it."}
        for approved, said in ((True, "deployed to prod"), (False, "not on a Friday")):
            _, paused = await self.run_task(task, [("deploy", {"target": "prod"})])
            self.assertEqual(paused["t"], "paused", paused)
            (question,) = paused["approvals"]
            self.assertEqual(question["title"], "deploy?")
            self.assertEqual(question["payload"], {"tool": "deploy", "arguments": {"target": "prod"}})
            before = self.deployed()
            attempt, ended = await self.run_task(task, [], **resumed(paused, approved, reason="not on a Friday"))
            self.assertEqual(ended["output"]["content"], "finished", ended)
            self.assertIn(said, json.dumps(self.requests[0]["messages"]))
            self.assertEqual(self.deployed() != before, approved)
        self.assertEqual(self.deployed(), "prod ")

    async def test_two_tools_of_one_answer_are_asked_one_after_the_other(self):
        task = {"agent": "agents.py:deployer", "task": "Ship it."}
        with _scripted([[("deploy", {"target": "east"}), ("deploy", {"target": "west"})]]) as (url, _):
            paused = (await self.host.run(task=task, **self.given(url))).ended
            again = (await self.host.run(task=task, **self.given(url), **resumed(paused, True))).ended
            self.assertEqual((again["t"], self.deployed()), ("paused", ""), again)
            self.assertNotEqual(again["approvals"][0]["key"], paused["approvals"][0]["key"])
            ended = (await self.host.run(task=task, **self.given(url), **resumed(again, False))).ended
        self.assertEqual((ended["output"]["content"], self.deployed()), ("finished", "east "))

    async def test_a_member_of_a_team_waits_too(self):
        task = {"team": "agents.py:crew", "task": "Ship it."}
        delegate = ("delegate_task_to_member", {"member_id": "hand", "task": "deploy to prod"})
        _, paused = await self.run_task(task, [delegate, ("deploy", {"target": "prod"})])
        self.assertEqual(paused["t"], "paused", paused)
        self.assertEqual(paused["approvals"][0]["payload"]["agent"], "hand")
        _, ended = await self.run_task(task, [], **resumed(paused, True))
        self.assertEqual((ended["t"], self.deployed()), ("done", "prod "), ended)
        self.assertEqual(ended["output"]["content"], "finished")

    async def test_killed_after_the_approval_it_goes_on_from_there(self):
        task = {"agent": "agents.py:deployer", "task": "Ship it."}
        _, paused = await self.run_task(task, [("deploy", {"target": "prod"})])
        with _scripted([], hang=True) as (url, requests):
            attempt = await self.host.open()
            await attempt.start(task=task, **self.given(url), **resumed(paused, True))
            await wait_for(lambda: requests, 30, "the model is asked")
            os.kill(attempt.pid, signal.SIGKILL)
            await self.host.exit_of(attempt)
        _, ended = await self.run_task(task, [], delivery=2, **resumed(paused, True))
        self.assertEqual(ended["output"]["content"], "finished")
        # It began with the person's answer, not with the task: one request, which tells of the tool.
        self.assertEqual([message["role"] for message in self.requests[0]["messages"]][-2:], ["assistant", "tool"])


class Repeated(Agno):
    async def killed(self, task: dict, script: list, asked: int) -> None:
        """Runs until the model is asked for the last of so many answers, and kills the attempt there."""
        with _scripted(script, hang_after=len(script)) as (url, requests):
            attempt = await self.host.open()
            await attempt.start(task=task, **self.given(url), execution="e-killed")
            await wait_for(lambda: len(requests) == asked, 30, "the model is asked again")
            os.kill(attempt.pid, signal.SIGKILL)
            await self.host.exit_of(attempt)

    async def test_what_a_killed_run_has_called_is_not_called_again(self):
        script = [("launch", {"target": "kite"}), ("launch", {"target": "kite"}), ("alaunch", {"target": "moon"})]
        task = {"agent": "agents.py:launcher", "task": "Launch!"}
        await self.killed(task, script, 4)
        self.assertEqual(self.deployed(), "kite kite moon ")
        # What the model had answered it is not asked again; then it wants another one.
        again = {"execution": "e-killed", "delivery": 2}
        attempt, ended = await self.run_task(task, [("launch", {"target": "kite"})], **again)
        self.assertEqual((ended["t"], len(self.requests)), ("done", 2), ended)
        self.assertEqual(self.deployed(), "kite kite moon kite ")
        results = [f["data"]["result"] for f in attempt.of("progress") if "result" in f["data"]]
        self.assertNotIn(str(attempt.pid), results[0])
        self.assertIn(str(attempt.pid), results[3])
        # Another execution shares nothing with it.
        await self.run_task(task, script[:1], execution="e-other")
        self.assertEqual(self.deployed(), "kite kite moon kite kite ")

    async def test_so_in_a_team(self):
        script = [("delegate_task_to_member", {"member_id": "pilot", "task": "Launch the kite."}), ("launch", {"target": "kite"})]
        task = {"team": "agents.py:fleet", "task": "Launch!"}
        await self.killed(task, script, 3)
        self.assertEqual(self.deployed(), "kite ")
        _, ended = await self.run_task(task, [], execution="e-killed", delivery=2)
        self.assertEqual((ended["t"], self.deployed(), len(self.requests)), ("done", "kite ", 2), ended)

    async def test_so_in_a_workflow(self):
        (self.project / "steps.py").write_text(STEPS, "utf-8")
        script = [("launch", {"target": "kite"}), None, ("launch", {"target": "kite"})]
        task = {"agent": "steps.py:flight", "task": "Launch!"}
        await self.killed(task, script, 4)
        self.assertEqual(self.deployed(), "kite kite ")
        attempt, ended = await self.run_task(task, [], execution="e-killed", delivery=2)
        self.assertEqual((ended["t"], self.deployed(), len(self.requests)), ("done", "kite kite ", 1), ended)
        self.assertEqual((ended["output"]["content"], ended["output"]["ran"]), ("finished", ["first", "second"]))
        results = [f["data"]["result"] for f in attempt.of("progress") if "result" in f["data"]]
        self.assertEqual(results, ["launched kite"] * 2)


class Writing(Agno):
    async def test_writing_is_off_asked_for_or_allowed(self):
        outside = Path(self.data, "outside.txt")
        outside.write_text("safe")
        (self.project / "out").symlink_to(outside)
        write = ("write_file", {"path": "notes/a.txt", "content": "hello"})
        task = {"agents": ["writer"], "task": "Write."}
        _, ended = await self.run_task(task, [write], repos=["."])
        self.assertFalse((self.project / "notes").exists())
        self.assertNotIn("write_file", json.dumps(self.requests[0]["tools"]))
        _, paused = await self.run_task({**task, "writes": "ask"}, [write], repos=["."])
        self.assertEqual(paused["approvals"][0]["payload"]["arguments"], write[1])
        _, ended = await self.run_task({**task, "writes": "ask"}, [], repos=["."], **resumed(paused, True))
        self.assertEqual((self.project / "notes/a.txt").read_text(), "hello")
        calls = [
            ("replace_text", {"path": "notes/a.txt", "old": "hello", "new": "goodbye"}),
            *[("write_file", {"path": path, "content": "x"}) for path in ("../outside.txt", "out", ".git/config", "/etc/x")],
        ]
        attempt, ended = await self.run_task({**task, "writes": "allow"}, calls, repos=["."])
        self.assertEqual(ended["output"]["content"], "finished")
        self.assertEqual((self.project / "notes/a.txt").read_text(), "goodbye")
        self.assertEqual(outside.read_text(), "safe")
        results = [f["data"]["result"] for f in attempt.of("progress") if f["data"].get("event") == "completed" and "result" in f["data"]]
        self.assertEqual([result.split(":")[0].split(" ")[-3:] for result in results[1:]], [["cannot", "be", "written"]] * 4)


class Sessions(Agno):
    async def test_a_session_is_remembered_and_others_are_not(self):
        for session, told in (("harbour", False), ("harbour", True), ("mill", False), (None, False)):
            task = {"agents": ["tester"], "task": f"The word is {'heron' if not told else 'what?'}."}
            task |= {"session": session} if session else {}
            _, ended = await self.run_task(task, [], execution=f"e-{session}-{told}")
            self.assertEqual(ended["output"].get("session"), session)
            said = [message["content"] for message in self.requests[0]["messages"] if message["role"] == "user"]
            self.assertEqual(len(said), 2 if told else 1)
            self.assertIn("heron", said[0])
        task = {"agents": ["tester"], "task": "What was the word?", "session": "harbour"}
        with tempfile.TemporaryDirectory() as elsewhere:
            with _scripted([]) as (url, self.requests):
                await self.host.run(task=task, **{**self.given(url), "data": elsewhere}, execution="e-elsewhere")
        said = [message["content"] for message in self.requests[0]["messages"] if message["role"] == "user"]
        self.assertEqual(len(said), 3, "another machine knows both runs")
        _, ended = await self.run_task({"agents": ["tester"], "session": " "}, [])
        self.assertEqual((ended["reason"], ended["field"]), ("TASK_INVALID", "session"))


    async def test_two_machines_at_once_lose_no_run(self):
        def task(word: str) -> dict:
            return {"agents": ["tester"], "task": f"The word is {word}.", "session": "mill"}

        server = _scripted([], hang=True)
        with tempfile.TemporaryDirectory() as elsewhere, server as (url, requests):
            slow = await self.host.open()
            await slow.start(task=task("heron"), **{**self.given(url), "data": elsewhere}, execution="slow")
            await wait_for(lambda: requests, 30, "the model is asked")
            await self.run_task(task("otter"), [], execution="quick")
            server.let_go()
            ended = await slow.last()
        self.assertEqual(ended["t"], "done", ended)
        await self.run_task(task("what?"), [], execution="later")
        said = " ".join(message["content"] for message in self.requests[0]["messages"] if message["role"] == "user")
        self.assertIn("heron", said)
        self.assertIn("otter", said)


class Steps(Agno):
    async def test_a_workflow_of_the_user(self):
        (self.project / "steps.py").write_text(STEPS, "utf-8")
        attempt, ended = await self.run_task({"agent": "steps.py:talk", "task": "Speak!"}, [])
        output = ended["output"]
        self.assertEqual((output["content"], output["agents"], output["ran"]), ("FINISHED", ["speaker"], ["speaker"]))
        self.assertEqual(output["model"], "scripted")
        shown = [(f["name"], f["data"]["state"]) for f in attempt.of("progress") if f["kind"] == "task_state"]
        self.assertEqual(shown, [(name, state) for name in ("speak", "shout") for state in ("started", "completed")])
        _, ended = await self.run_task({"agent": "steps.py:broken", "task": "Speak!"}, [])
        self.assertEqual(ended["reason"], "AGENT_FAILED")
        self.assertIn("the step failed", ended["message"])
        # Without a database Agno would leave out a step that looks back.
        attempt, ended = await self.run_task({"agent": "steps.py:recalling", "task": "Speak!"}, [])
        self.assertEqual(ended["output"]["content"], "NONE")
        self.assertEqual([f["name"] for f in attempt.of("progress")], ["shout", "shout"])


class Together(Agno):
    isolation = "shared"

    async def test_in_one_process_sessions_and_calls_stay_with_their_stage(self):
        for session, told in (("ann", 1), ("ben", 1), ("ann", 2)):
            task = {"agent": "agents.py:launcher", "task": f"I am {session}.", "session": session}
            _, ended = await self.run_task(task, [("launch", {"target": "kite"})], execution=f"e-{session}-{told}")
            self.assertEqual(ended["t"], "done", ended)
            said = [message["content"] for message in self.requests[0]["messages"] if message["role"] == "user"]
            self.assertEqual(len(said), told)
            self.assertTrue(all(session in text for text in said), said)
        self.assertEqual(self.deployed(), "kite kite kite ")
        for session, other in (("ann", "ben"), ("ben", "ann")):
            kept = base64.b64decode(self.host.states.kept[f"sessions/{session}"]["body"]).decode()
            self.assertIn(f"I am {session}.", kept)
            self.assertNotIn(f"I am {other}.", kept)


class Catalogue(Agno):
    async def test_agents_of_the_project_have_models_tools_and_knowledge(self):
        (self.project / "agents.yaml").write_text(
            "bard:\n  role: poet\n  instructions: Rhyme.\n  model: other:big\n"
            "  tools: [agents.py:rhymes]\n  knowledge: [lore]\n",
            "utf-8",
        )
        (self.project / "lore").mkdir()
        (self.project / "lore/sea.md").write_text("The tide is led by the moon.\n\nHerrings are shy.\n", "utf-8")
        calls = [("rhymes", {"word": "tide"}), ("search_knowledge", {"question": "Who leads the tide?"})]
        with _scripted(calls) as (url, requests):
            given = self.given("http://127.0.0.1:9/v1")
            other = given["model"] | {"base_url": url, "name": "big"}
            attempt = await self.host.run(task={"agents": ["bard"]}, models={"other:big": other}, **given)
        self.assertEqual(attempt.ended["output"]["content"], "finished", attempt.ended)
        self.assertEqual((attempt.ended["output"]["model"], requests[0]["model"]), ("big", "big"))
        results = [f["data"]["result"] for f in attempt.of("progress") if "result" in f["data"]]
        self.assertEqual(results, ["pride", "lore/sea.md: The tide is led by the moon."])
        (self.project / "agents.yaml").write_text("bard: {knowledge: [../..]}\n", "utf-8")
        _, ended = await self.run_task({"agents": ["bard"]}, [])
        self.assertEqual(ended["reason"], "CATALOGUE_INVALID")


class Plain(Agno):
    async def test_the_same_as_the_plain_library(self):
        calls = [("rhymes", {"word": "tide"})]
        with _scripted(calls) as (url, _):
            command = [interpreter("agno"), "-c", PLAIN, str(self.project), url]
            environment = {**os.environ, "AGNO_TELEMETRY": "false"}
            done = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60)
        plain = json.loads(done.stdout)
        attempt, ended = await self.run_task({"agent": "agents.py:simple", "task": "Rhyme!"}, calls)
        self.assertEqual(ended["output"]["content"], plain["content"])
        known = {
            "RunStarted": ("agent", "started"), "RunCompleted": ("agent", "completed"),
            "ToolCallStarted": ("tool_call", "started"), "ToolCallCompleted": ("tool_call", "completed"),
        }
        shown = [(frame["kind"], frame["data"]["event"]) for frame in attempt.of("progress")]
        self.assertEqual(shown, [known[event] for event in plain["events"] if event in known])


if __name__ == "__main__":
    unittest.main()
