"""The Prefect engine and its server: rows really arrive, states are really in Prefect, and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import textwrap
import threading
import time
import unittest
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from .driver import PATIENCE, TESTS, interpreter, is_alive, wait_for
from .pool import Case, host, tearDownModule  # noqa: F401
from .prefect_server import Server, spawn

WORKFLOWS = TESTS.parents[3] / "tests" / "workflows"
PROJECT = WORKFLOWS / "project"
RATES = {"items": [{"account": "ada", "plan": "gold"}, {"account": "ben", "plan": "tin"}]}


def setUpModule() -> None:
    Server.start()


@contextmanager
def http(answers: dict[str, list]):
    """A server that gives the listed (status, body) of a path, the last one for ever."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            waiting = answers[self.path.split("?")[0]]
            status, body = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()


class Engine(Case):
    environment: dict[str, str] = {}

    async def asyncSetUp(self):
        self.data = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.data)
        await self.start()

    async def start(self, **environment: str):
        # What Prefect keeps is for all tests, so each has executions of its own.
        context = host("prefect", **{**Server.environment(), **environment})
        self.host = await context.__aenter__()
        self.addAsyncCleanup(context.__aexit__, None, None, None)

    def project(self, sources: str, **files: str) -> str:
        directory = Path(tempfile.mkdtemp(dir=self.data))
        (directory / "sources.yaml").write_text(sources, "utf-8")
        for name, content in files.items():
            (directory / f"{name}.py").write_text(content, "utf-8")
        return str(directory)

    async def run_task(self, task: dict, **more):
        given = {"task": task, "data": self.data, "project": str(PROJECT), "execution": self._testMethodName}
        attempt = await self.host.run(**{**given, **more})
        return attempt, attempt.ended

    async def output(self, task: dict, **more):
        attempt, ended = await self.run_task(task, **more)
        self.assertEqual(ended["t"], "done", ended.get("traceback"))
        return attempt, ended["output"]

    async def error(self, task: dict, **more):
        _, ended = await self.run_task(task, **more)
        self.assertEqual(ended["t"], "error", ended)
        return ended

    def rows(self, output: dict, sql: str) -> list[tuple]:
        connection = sqlite3.connect(output["target"]["path"])
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()


class Etl(Engine):
    async def test_a_database_and_a_server_are_loaded(self):
        with http({"/rates": [(200, RATES)]}) as (url, _):
            await self.start(API1_URL=f"{url}/rates")
            task = {"type": "scheduled_etl", "schedule": "0 2 * * *", "sources": ["database1", "api1"]}
            attempt, output = await self.output(task)
        self.assertEqual(output["rows"], {"database1": 5, "api1": 2})
        self.assertEqual((output["loaded"], output["target"]["kind"]), (7, "sqlite"))
        self.assertTrue(output["target"]["path"].startswith(self.data))
        self.assertEqual(
            self.rows(output, "SELECT account, plan FROM api1 ORDER BY 1"), [("ada", "gold"), ("ben", "tin")]
        )
        self.assertEqual(self.rows(output, "SELECT sum(millis), max(_stage) FROM database1"), [(491, "s1")])
        self.assertEqual(len(output["next_fire_times"]), 5)
        self.assertIn("T02:00:00", output["next_fire_times"][0])
        states = [(frame["name"], frame["data"]["state"]) for frame in attempt.of("progress")]
        for step in ("extract database1", "extract api1", "load"):
            self.assertLess(states.index((step, "Running")), states.index((step, "Completed")))
        self.assertEqual(states[-1], ("load", "Completed"))

    async def test_the_run_is_in_prefect_with_its_tasks(self):
        _, output = await self.output({"type": "etl", "sources": ["releases"]}, execution="e-seen")
        flow_run = output["flow_run"]
        self.assertTrue(flow_run["url"].endswith(flow_run["id"]))
        (seen,) = Server.post("/flow_runs/filter", {"flow_runs": {"id": {"any_": [flow_run["id"]]}}})
        self.assertEqual((seen["state"]["name"], seen["name"]), ("Completed", "s1-1"))
        self.assertIn("execution:e-seen", seen["tags"])

        def tasks() -> dict[str, str]:
            found = Server.post("/task_runs/filter", {"flow_runs": {"id": {"any_": [flow_run["id"]]}}})
            return {task["name"]: task["state"]["name"] for task in found}

        await wait_for(lambda: tasks() == {"extract releases": "Completed", "load": "Completed"}, 60, "task runs")

    async def test_again_changes_nothing_and_others_stay(self):
        task = {"type": "etl", "sources": ["database1"], "target": {"path": "shared.sqlite", "table": "sign_ins"}}
        for attempt, execution in ((1, "again-1"), (2, "again-1"), (1, "again-2")):
            _, output = await self.output(task, attempt=attempt, execution=execution)
            self.assertEqual(output["loaded"], 5)
        counts = self.rows(output, "SELECT _execution, count(*) FROM sign_ins GROUP BY 1 ORDER BY 1")
        self.assertEqual(counts, [("again-1", 5), ("again-2", 5)])

    async def test_sql_transforms_and_reaches_nothing_else(self):
        sql = "SELECT account, count(*) AS n FROM database1 WHERE succeeded = 1 GROUP BY 1 ORDER BY 1"
        _, output = await self.output({"type": "etl", "sources": ["database1"], "transform": {"good": sql}})
        self.assertEqual(self.rows(output, "SELECT account, n FROM good"), [("ada", 1), ("ben", 2), ("eva", 1)])
        self.assertEqual(output["sample"]["good"][1], {"account": "ben", "n": 2})
        self.assertEqual(output["schema"]["good"][0], {"name": "account", "type": "VARCHAR"})
        secret = Path(self.data, "secret.csv")
        secret.write_text("a\n1\n", "utf-8")
        for sql in (
            f"SELECT * FROM read_csv('{secret}')",
            f"COPY database1 TO '{secret}'",
            "SELECT 1; DROP TABLE database1",
            "ATTACH 'x.duckdb' AS x",
            "SELECT * FROM absent",
        ):
            error = await self.error({"type": "etl", "sources": ["database1"], "transform": sql})
            self.assertEqual(
                (error["reason"], error["field"], error["retryable"]), ("TRANSFORM_FAILED", "transform", False)
            )
        self.assertEqual(secret.read_text("utf-8"), "a\n1\n")

    async def test_other_targets(self):
        for kind in ("csv", "parquet", "duckdb"):
            task = {"type": "etl", "sources": ["releases"], "target": {"kind": kind, "path": f"out.{kind}"}}
            for _ in range(2):
                _, output = await self.output(task)
            self.assertEqual(output["target"]["tables"], ["releases"])
            check = {
                "csv": "SELECT count(*), max(steward) FROM read_csv(?)",
                "parquet": "SELECT count(*), max(steward) FROM read_parquet(?)",
                "duckdb": "SELECT count(*), max(steward) FROM target.releases",
            }[kind]
            self.assertEqual(_duckdb(check, output["target"]["path"], kind), [3, "tomas"])
        error = await self.error({"type": "etl", "sources": ["releases"], "target": {"kind": "sqlite", "path": "../x"}})
        self.assertEqual(error["field"], "target.path")

    async def test_files_of_every_format(self):
        project = self.project(
            "sources:\n"
            "  lines: {kind: file, path: 'in/*.ndjson'}\n"
            "  table: {kind: sqlite, path: in/a.sqlite, query: 'SELECT 1 AS one, NULL AS none, x''00ff'' AS blob'}\n"
            "  empty: {kind: sqlite, path: in/a.sqlite, table: bare}\n"
        )
        inside = Path(project, "in")
        inside.mkdir()
        (inside / "a.ndjson").write_text('{"a": 1}\n{"a": 2, "b": [1, 2]}\n', "utf-8")
        (inside / "b.ndjson").write_text('{"a": 3}\n', "utf-8")
        connection = sqlite3.connect(inside / "a.sqlite")
        connection.execute("CREATE TABLE bare (x, y)")
        connection.close()
        _, output = await self.output({"type": "etl"}, project=project)
        self.assertEqual(output["rows"], {"lines": 3, "table": 1, "empty": 0})
        self.assertEqual(self.rows(output, "SELECT a, b FROM lines ORDER BY a"), [(1, None), (2, "[1, 2]"), (3, None)])
        self.assertEqual(self.rows(output, 'SELECT one, none, blob FROM "table"'), [(1, None, "AP8=")])


class Sources(Engine):
    async def test_an_empty_catalogue_says_what_to_do(self):
        for project in (self.data, self.project("sources: {}\n")):
            error = await self.error({"type": "etl"}, project=project)
            self.assertEqual((error["reason"], error["field"]), ("NO_SOURCES", "sources"))
            self.assertIn("sources.yaml", error["message"])

    async def test_an_unknown_source_lists_the_known_ones(self):
        error = await self.error({"type": "etl", "sources": ["database1", "databse1"]})
        self.assertEqual((error["reason"], error["field"]), ("SOURCE_UNKNOWN", "sources[1]"))
        self.assertIn("did you mean database1?", error["message"])
        self.assertIn("releases", error["message"])

    async def test_a_catalogue_that_leaves_the_project_is_refused(self):
        for entry in (
            "{kind: file, path: ../a.csv}",
            "{kind: file, path: /etc/passwd, format: csv}",
            "{kind: ftp, path: a.csv}",
            "{kind: file, paht: a.csv}",
            "{kind: sqlite, path: a}",
        ):
            error = await self.error({"type": "etl"}, project=self.project(f"sources:\n  a: {entry}\n"))
            self.assertEqual(error["reason"], "SOURCES_INVALID", error)

    async def test_a_link_out_of_the_project_is_not_followed(self):
        project = self.project("sources:\n  a: {kind: file, path: a.csv}\n")
        outside = Path(self.data, "outside.csv")
        outside.write_text("a\n1\n", "utf-8")
        Path(project, "a.csv").symlink_to(outside)
        error = await self.error({"type": "etl"}, project=project)
        self.assertEqual(error["reason"], "SOURCE_UNAVAILABLE")

    async def test_a_busy_server_is_asked_again_and_secrets_are_not_told(self):
        busy, fine = (503, b""), (200, RATES)
        project = self.project("sources:\n  api1: {kind: http, url: '${API1_URL}?key=${API1_KEY}', records: items}\n")
        with http({"/a": [busy, fine], "/b": [busy], "/c": [(200, b"<html>")], "/d": [(404, b"")]}) as (url, seen):
            for path, reason, retryable in (
                ("/a", None, None),
                ("/b", "SOURCE_UNAVAILABLE", True),
                ("/c", "SOURCE_UNREADABLE", False),
                ("/d", "SOURCE_REFUSED", False),
            ):
                await self.start(API1_URL=url + path, API1_KEY="sesame")
                _, ended = await self.run_task({"type": "etl"}, project=project)
                self.assertNotIn("sesame", str(ended))
                self.assertEqual((ended.get("reason"), ended.get("retryable")), (reason, retryable), ended)
        self.assertEqual([len([path for path in seen if path.startswith(f"/{name}")]) for name in "abcd"], [2, 3, 1, 1])

    async def test_a_missing_variable_is_named(self):
        error = await self.error({"type": "etl", "sources": ["api1"]})
        self.assertEqual(error["reason"], "SOURCE_MISCONFIGURED")
        self.assertIn("API1_URL", error["message"])


FLOWS = """
import asyncio
from prefect import flow, task

@task
def double(n):
    return 2 * n

@task
async def nap(seconds):
    await asyncio.sleep(seconds)

@flow
def nightly(n: int = 3):
    return {"total": sum(future.result() for future in [double.submit(i) for i in range(n)])}

@flow
async def sleepy():
    await nap(60)

@flow
def broken():
    raise RuntimeError("the moon is down")

def best(inputs, limit=1):
    return sorted(inputs["totals"], key=lambda row: (-row["n"], row["account"]))[:limit]

async def fail(inputs):
    raise ValueError("no such thing")
"""


class Flows(Engine):
    def flows(self) -> str:
        project = self.project(
            "sources:\n  database1: {kind: sqlite, path: database1.sqlite, table: sign_ins}\n", mine=FLOWS
        )
        shutil.copy(PROJECT / "database1.sqlite", project)
        return project

    async def test_a_flow_of_the_user(self):
        task = {"flow": "mine.py:nightly", "parameters": {"n": 4}}
        attempt, output = await self.output(task, project=self.flows())
        self.assertEqual(output["total"], 12)
        states = [frame["data"]["state"] for frame in attempt.of("progress")]
        self.assertEqual((states.count("Running"), states.count("Completed")), (4, 4))

    async def test_what_is_wrong_with_a_flow(self):
        project = self.flows()
        for task, reason, field in (
            ({"flow": "mine.py:nightly", "parameters": {"m": 4}}, "TASK_INVALID", "parameters"),
            ({"flow": "mine.py:nightly", "parameters": {"n": "many"}}, "TASK_INVALID", "parameters"),
            ({"flow": "mine.py:double"}, "REFERENCE_FAILED", "flow"),
            ({"flow": "mine.py:broken"}, "FLOW_FAILED", None),
        ):
            error = await self.error(task, project=project)
            self.assertEqual((error["reason"], error.get("field")), (reason, field))
        self.assertIn("the moon is down", error["traceback"])
        self.assertIn("mine.py", error["traceback"])

    async def test_cancel_is_quick_and_known_to_prefect(self):
        attempt = await self.host.open()
        await attempt.start(task={"flow": "mine.py:sleepy"}, project=self.flows(), data=self.data, execution="e-cancel")
        await attempt.until(lambda frame: frame["t"] == "progress" and frame["data"]["state"] == "Running")
        began = time.monotonic()
        await attempt.connection.send({"t": "cancel", "reason": "test"})
        self.assertEqual((await attempt.last())["t"], "cancelled")
        self.assertLess(time.monotonic() - began, 5)
        (seen,) = Server.post("/flow_runs/filter", {"flow_runs": {"tags": {"all_": ["execution:e-cancel"]}}})
        self.assertEqual(seen["state"]["type"], "CRASHED")

    async def test_a_graph_of_tasks(self):
        tasks = [
            {"name": "best", "python": "mine.py:best", "needs": ["totals"], "parameters": {"limit": 2}},
            {"name": "totals", "sql": "SELECT account, count(*) AS n FROM database1 GROUP BY account"},
            {
                "name": "top",
                "sql": "SELECT max(n) AS n, (SELECT count(*) FROM best) AS rows FROM totals",
                "needs": ["best", "totals"],
            },
        ]
        with http({"/rates": [(200, RATES)]}) as (url, _):
            tasks.append({"name": "rates", "http": f"{url}/rates"})
            task = {"type": "dag", "sources": ["database1"], "tasks": tasks}
            attempt, output = await self.output(task, project=self.flows())
        self.assertEqual(output["tasks"]["best"], [{"account": "ada", "n": 2}, {"account": "ben", "n": 2}])
        self.assertEqual(output["tasks"]["top"], [{"n": 2, "rows": 2}])
        self.assertEqual(output["tasks"]["rates"], RATES)
        order = output["order"]
        self.assertEqual([name for name in order if name != "rates"], ["totals", "best", "top"])

    async def test_a_graph_that_fails_or_cannot_be(self):
        project = self.flows()
        failing = [{"name": "a", "python": "mine.py:fail"}, {"name": "b", "sql": "SELECT 1", "needs": ["a"]}]
        attempt, error = await self.run_task({"type": "dag", "tasks": failing}, project=project)
        self.assertEqual((error["reason"], error["message"]), ("FLOW_FAILED", "ValueError: no such thing"))
        self.assertEqual([frame["name"] for frame in attempt.of("progress")], ["a", "a"])
        for tasks, field in (
            ([], "tasks"),
            ([{"name": "a", "sql": "x", "needs": ["b"]}], "tasks[0].needs[0]"),
            ([{"name": "a", "sql": "x", "needs": ["b"]}, {"name": "b", "sql": "x", "needs": ["a"]}], "tasks"),
            ([{"name": "a", "sql": "x", "python": "y"}], "tasks[0]"),
            ([{"name": "a", "http": "file:///etc/passwd"}], "tasks[0].http"),
            ([{"name": "a", "sql": "SELECT * FROM read_text('/etc/hostname')"}], "tasks[0].sql"),
            ([{"name": "a", "sql": "SELECT * FROM range(10001)"}], "tasks[0].sql"),
        ):
            error = await self.error({"type": "dag", "tasks": tasks}, project=project)
            self.assertEqual((error["field"], error["retryable"]), (field, False), error)
        self.assertEqual(error["reason"], "TABLE_TOO_LARGE")


class Warm(unittest.TestCase):
    """What a process has ready for its next flow."""

    def run_in_host(self, program: str) -> list:
        done = subprocess.run(
            [interpreter("prefect"), "-c", textwrap.dedent(program)],
            env={**os.environ, **Server.environment(), "PYTHONPATH": str(TESTS.parent)},
            capture_output=True,
            text=True,
        )
        self.assertEqual((done.returncode, "Traceback" in done.stderr), (0, False), done.stderr)
        return json.loads(done.stdout)

    def test_a_rehearsal_is_a_whole_flow_of_which_the_server_hears_nothing(self):
        def kept() -> list[int]:
            return [len(Server.post(f"/{what}/filter", {})) for what in ("flows", "flow_runs", "logs")]

        before = kept()
        asked, ready = self.run_in_host("""
            import asyncio, json
            from mahavishnu_host.engines import prefect as engine

            engine.prewarm()
            from mahavishnu_host.engines.prefect import client, rehearsed

            class Server(rehearsed.Server):
                def __call__(self, request):
                    asked.append(request.url.path.rpartition("/")[2])
                    return super().__call__(request)

            asked, rehearsed.Server = [], Server
            asyncio.run(engine.rehearse())
            print(json.dumps([asked, [str(idle.client.api_url) for idle in client._idle]]))
        """)
        self.assertEqual((asked.count("set_state"), [url.rstrip("/") for url in ready]), (2, [Server.url]))
        self.assertEqual(kept(), before)

    def test_a_client_serves_one_flow_after_the_other(self):
        served, after_failure = self.run_in_host("""
            import asyncio, json
            from mahavishnu_host.engines.prefect import client

            client.prepare()
            served = []

            def flow(fails=False):
                def begin(used):
                    served.append(id(used))
                    assert used.read_flows(limit=1) is not None
                return client.connected(begin, lambda: 1 / 0 if fails else 1)

            with client.settings():
                flow(), flow()
                try:
                    flow(fails=True)
                except ZeroDivisionError:
                    pass
                # Another flow while one is under way.
                client.connected(lambda _: flow(), lambda: None)
            print(json.dumps([[served.index(one) for one in served], len(client._idle)]))
        """)
        self.assertEqual((served, after_failure), ([0, 0, 0, 3], 2))


class Absent(Engine):
    async def test_no_server_and_no_setting_are_retryable(self):
        began = time.monotonic()
        await self.start(PREFECT_API_URL="http://127.0.0.1:9/api")
        error = await self.error({"type": "etl", "sources": ["releases"]})
        self.assertEqual((error["reason"], error["retryable"]), ("PREFECT_UNAVAILABLE", True))
        self.assertLess(time.monotonic() - began, 60)
        await self.start(PREFECT_API_URL="")
        began = time.monotonic()
        error = await self.error({"type": "etl", "sources": ["releases"]})
        self.assertEqual((error["reason"], error["retryable"]), ("PREFECT_UNAVAILABLE", True))
        # Prefect would have started a server of its own, which takes longer.
        self.assertLess(time.monotonic() - began, 5)


class Child(Case):
    def setUp(self):
        self.data = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.data)
        shutil.copy(Path(Server.directory, "prefect.db"), self.data)

    async def test_it_ends_with_its_parent(self):
        # A parent that starts the server, tells its process id and is killed.
        program = (
            "import subprocess, sys; p = subprocess.Popen([sys.executable, '-m', 'mahavishnu_host.prefect_server',"
            " '--data', sys.argv[1]], stdout=subprocess.PIPE); print(p.stdout.readline().decode(), flush=True); p.wait()"
        )
        parent = await asyncio.create_subprocess_exec(
            interpreter("prefect"),
            "-c",
            program,
            self.data,
            env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert parent.stdout is not None
        ready = json.loads(await asyncio.wait_for(parent.stdout.readline(), PATIENCE))
        with urllib.request.urlopen(ready["health"], timeout=10) as answer:
            self.assertEqual(json.load(answer), True)
        parent.send_signal(signal.SIGKILL)
        await parent.wait()
        await wait_for(lambda: not is_alive(ready["pid"]), 30, "the server outlives its parent")

    async def test_one_directory_has_one_server_and_the_next_waits(self):
        first, _ = spawn("--data", self.data)
        starting = asyncio.to_thread(spawn, "--data", self.data)
        second = asyncio.ensure_future(starting)
        first.terminate()
        first.wait(20)
        first.stdout.close()
        process, ready = await asyncio.wait_for(second, PATIENCE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait, 20)
        self.addCleanup(process.terminate)
        self.assertNotEqual(ready["pid"], first.pid)


def _duckdb(sql: str, path: str, kind: str) -> list:
    program = (
        "import duckdb, json, sys; c = duckdb.connect(); sql, path, kind = sys.argv[1:]\n"
        "if kind == 'duckdb': c.execute(f\"ATTACH '{path}' AS target (READ_ONLY)\"); path = None\n"
        "print(json.dumps(c.execute(sql, [path] if path else []).fetchone()))"
    )
    done = subprocess.run([interpreter("prefect"), "-c", program, sql, path, kind], capture_output=True, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    unittest.main()
