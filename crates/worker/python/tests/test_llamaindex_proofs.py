"""LlamaIndex against the plain library, killed, cancelled, and measured."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from .driver import TESTS, interpreter, wait_for, within
from .pool import tearDownModule  # noqa: F401
from .test_llamaindex import NOT_ASKED, OBJECTS, Engine

RECALL = TESTS.parents[3] / "crates" / "worker-llamaindex" / "recall"

#: What a user's script would do with the same objects, without us.
PLAIN = """
import asyncio, json, sys
from llama_index.core import Settings
from mahavishnu_host.engines.llamaindex.embedding import MiniLM
Settings.embed_model = MiniLM()
sys.path.insert(0, sys.argv[1])
import mine

async def main():
    response = await mine.engine().aquery("When does the ferry leave?")
    hits = [hit.node.get_content() for hit in response.source_nodes]
    handler = mine.Count().run(upto=4)
    events = [[type(event).__name__, event.model_dump()] async for event in handler.stream_events()]
    print(json.dumps({"answer": str(response), "hits": hits, "events": events, "result": await handler}, default=str))

asyncio.run(main())
"""

MINE = OBJECTS + """
class Tick(Event):
    n: int

class Count(Workflow):
    @step
    async def count(self, ctx: Context, ev: StartEvent | Tick) -> Tick | StopEvent:
        n = getattr(ev, "n", 0)
        ctx.write_event_to_stream(Tick(n=n))
        return StopEvent(result={"counted": n}) if n == getattr(ev, "upto", 4) or n == 4 else Tick(n=n + 1)
"""

OFFICE = """
import sys
from openpyxl import Workbook
from pptx import Presentation
book = Workbook()
book.active.title = "Berths"
for row in (("berth", "depth"), ("north", 9), ("south", 12)):
    book.active.append(row)
book.save(sys.argv[1] + "/berths.xlsx")
show = Presentation()
for title, text in (("Tides", "Pilots must board at the outer buoy."), ("Winds", "Sails are reefed at 24 knots.")):
    slide = show.slides.add_slide(show.slide_layouts[1])
    slide.shapes.title.text, slide.placeholders[1].text = title, text
show.save(sys.argv[1] + "/talk.pptx")
"""


def python(code: str, *arguments: str) -> str:
    command = [interpreter("llamaindex"), "-c", code, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=120).stdout


class Proofs(Engine):
    async def test_the_same_as_the_plain_library(self):
        Path(self.data, "mine.py").write_text(MINE, "utf-8")
        plain = json.loads(await asyncio.to_thread(python, PLAIN, self.data))
        task = {"query_engine": "mine.py:engine", "input": "When does the ferry leave?"}
        _, output = await self.output(task=task, project=self.data)
        self.assertEqual(output["answer"], plain["answer"])
        self.assertEqual([source["text"] for source in output["sources"]], plain["hits"])
        task = {"workflow": "mine.py:Count", "input": {"upto": 4}}
        attempt, output = await self.output(task=task, project=self.data)
        self.assertEqual(output, {**plain["result"], **NOT_ASKED})
        shown = [[frame["name"], frame["data"]["n"]] for frame in attempt.of("progress")]
        self.assertEqual(shown, [[name, event["n"]] for name, event in plain["events"] if name == "Tick"])

    async def test_killed_in_mid_index_the_rest_is_done_by_another(self):
        documents = {}
        for number in range(12):
            path = Path(self.data, f"log{number}.txt")
            lines = [f"On day {day} the ship of berth {number} carried {day * number} crates.\n\n" for day in range(80)]
            path.write_text("".join(lines), "utf-8")
            documents[path.name] = str(path)
        task = {"type": "rag_workflow", "query": "What was carried on day 7?", "docs": list(documents)}
        first = await self.host.open()
        await first.start(task=task, documents=documents, data=self.data)
        await first.until(lambda frame: frame["t"] == "progress" and frame["name"] == "log2.txt")
        os.kill(first.pid, signal.SIGKILL)
        await self.host.exit_of(first)
        # The other is on another machine: it has the engine's state and not this directory.
        with tempfile.TemporaryDirectory() as elsewhere:
            _, output = await self.output(task=task, documents=documents, data=elsewhere, delivery=2)
            vectors = Path(self.data, "vectors")
            for file in vectors.glob("*.npz"):
                self.assertEqual(Path(elsewhere, "vectors", file.name).read_bytes(), file.read_bytes())
        kept = [entry["name"] for entry in output["documents"] if entry["kept"]]
        self.assertEqual(kept[:3], ["log0.txt", "log1.txt", "log2.txt"])
        self.assertLess(len(kept), 12)
        self.assertIn("day 7", output["answer"])

    async def test_cancelled_in_mid_call(self):
        path = Path(self.data, "long.txt")
        path.write_text("".join(f"Paragraph {n} tells of the mill on stream {n}.\n\n" for n in range(6000)), "utf-8")
        task = {"type": "rag_workflow", "query": "mills", "docs": ["long.txt"]}

        async def once() -> float:
            attempt = await self.host.open()
            await attempt.start(task=task, documents={"long.txt": str(path)}, data=self.data, execution=attempt.token)
            # It embeds for minutes in a thread that nothing can interrupt: the worker kills what does not obey.
            await wait_for(lambda: _is_busy(attempt.pid), 30, "the attempt works")
            began = time.monotonic()
            await attempt.connection.send({"t": "cancel", "reason": "test"})
            try:
                ended = await asyncio.wait_for(attempt.last(), 0.8)
                self.assertEqual(ended["t"], "cancelled")
            except asyncio.TimeoutError:
                pass
            try:
                os.killpg(attempt.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            await self.host.exit_of(attempt)
            return time.monotonic() - began

        await within(1.5, once)
        self.assertFalse(list(Path(self.data, "vectors").glob("*.npz")))

    async def test_filters_choose_files_and_pages(self):
        files = {"a.txt": "The gate is red.\fThe gate is blue.", "b.md": "The gate is green."}
        for name, content in files.items():
            Path(self.data, name).write_text(content, "utf-8")
        documents = {name: str(Path(self.data, name)) for name in files}
        task = {"type": "rag_workflow", "query": "What colour is the gate?", "docs": list(files)}
        for filters, said in (
            ({"file": "*.md"}, {"The gate is green."}),
            ({"file": ["a.*"], "pages": [2, 2]}, {"The gate is blue."}),
            ({"pages": [1, 1.0]}, {"The gate is red.", "The gate is green."}),
        ):
            _, output = await self.output(task={**task, "filters": filters}, documents=documents)
            self.assertEqual({source["text"] for source in output["sources"]}, said)
        _, output = await self.output(task={**task, "filters": {"pages": [9, 9]}}, documents=documents)
        self.assertEqual((output["answered"], output["sources"]), (False, []))
        for filters, reason, field in (
            ({"file": "*.pdf"}, "FILTERED_OUT", "filters.file"),
            ({"fil": "x"}, "TASK_INVALID", "filters.fil"),
            ({"pages": [2]}, "TASK_INVALID", "filters.pages"),
        ):
            error = await self.error(task={**task, "filters": filters}, documents=documents)
            self.assertEqual((error["reason"], error["field"]), (reason, field))

    async def test_slides_and_sheets(self):
        await asyncio.to_thread(python, OFFICE, self.data)
        documents = {name: str(Path(self.data, name)) for name in ("talk.pptx", "berths.xlsx")}
        task = {"type": "document_analysis", "docs": list(documents), "questions": ["Where do pilots board?"]}
        _, output = await self.output(task=task, documents=documents)
        talk, berths = output["documents"]
        self.assertEqual([(entry["title"], entry["page"]) for entry in talk["outline"]], [("Tides", 1), ("Winds", 2)])
        self.assertEqual(talk["requirements"], [{"text": "Pilots must board at the outer buoy.", "page": 1}])
        self.assertEqual(berths["tables"], [{"page": 1, "rows": [["berth", "depth"], ["north", "9"], ["south", "12"]], "total_rows": 3}])
        (answer,) = output["answers"]
        self.assertEqual((answer["answer"], answer["sources"][0]["page"]), ("Pilots must board at the outer buoy.", 1))

    async def test_recall_of_hybrid_retrieval(self):
        measured = json.loads(await asyncio.to_thread(_measure, RECALL / "measure.py"))
        hybrid, bm25, vectors = (measured[way] for way in ("hybrid", "bm25", "vectors"))
        self.assertGreaterEqual(measured["questions"], 50)
        self.assertGreaterEqual(hybrid["recall@5"], 0.85)
        for other in (bm25, vectors):
            self.assertGreater(hybrid["recall@1"], other["recall@1"])
            self.assertGreaterEqual(hybrid["recall@5"], other["recall@5"])


def _measure(script: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
    command = [interpreter("llamaindex"), str(script), "--json"]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=180).stdout


def _is_busy(pid: int) -> bool:
    """Whether the process has used some tenths of a second of a processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]) > 30


if __name__ == "__main__":
    unittest.main()
