"""The LlamaIndex engine: what stands in the documents comes out, and nothing else.

The documents are those of tests/workflows; the words asked for stand in one of them only.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import unittest
from pathlib import Path

from .driver import TESTS, resumed
from .pool import Case, host, model_server, tearDownModule  # noqa: F401

WORKFLOWS = TESTS.parents[3] / "tests" / "workflows"
PROJECT = WORKFLOWS / "project"
UNREACHABLE = {"base_url": "http://127.0.0.1:9/v1", "name": "absent", "api_key": "none", "provider": "local"}


def analysis(*names: str, **more):
    documents = {name: str(WORKFLOWS / name) for name in names}
    return {"task": {"type": "document_analysis", "docs": list(names), **more}, "documents": documents}


def rag(query: str, *names: str, **more):
    task = {"type": "rag_workflow", "query": query, **({"docs": list(names)} if names else {}), **more}
    return {"task": task, "documents": {name: str(WORKFLOWS / name) for name in names}, "project": str(PROJECT)}


class Engine(Case):
    """Tests share one host: importing takes longer than all of them."""

    async def asyncSetUp(self):
        self.data = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.data)
        context = host("llamaindex")
        self.host = await context.__aenter__()
        self.addAsyncCleanup(context.__aexit__, None, None, None)

    async def run_task(self, **task):
        attempt = await self.host.run(**{"data": self.data, **task})
        return attempt, attempt.ended

    async def output(self, **task):
        attempt, ended = await self.run_task(**task)
        self.assertEqual(ended["t"], "done", ended.get("traceback"))
        return attempt, ended["output"]

    async def error(self, **task):
        _, ended = await self.run_task(**task)
        self.assertEqual(ended["t"], "error", ended)
        return ended


class Analysis(Engine):
    async def test_pdf_and_docx_yield_pages_outline_requirements_tables(self):
        attempt, output = await self.output(**analysis("requirements.pdf", "requirements.docx"))
        pdf, docx = output["documents"]
        self.assertEqual((pdf["name"], pdf["pages"]), ("requirements.pdf", 2))
        self.assertGreater(pdf["words"], 250)
        self.assertIn({"title": "3. Releases and approval", "level": 2, "page": 2}, pdf["outline"])
        self.assertEqual([heading["title"] for heading in docx["outline"]][1:], ["Access", "Documents", "Languages"])
        self.assertEqual(docx["tables"][0]["rows"][2], ["buyer", "orders, invoices", "up to 7,300 euro"])
        ids = [requirement["id"] for requirement in output["requirements"]]
        self.assertEqual(ids, [f"KG-{n}" for n in range(1, 10)] + [f"CP-{n}" for n in range(1, 5)])
        sixth = output["requirements"][5]
        self.assertEqual((sixth["document"], sixth["page"]), ("requirements.pdf", 2))
        self.assertIn("must approve every Brindlewick deployment", sixth["text"])
        self.assertIsNone(output["model"])
        shown = [(frame["kind"], frame["name"]) for frame in attempt.of("progress")]
        self.assertEqual(
            [name for kind, name in shown if kind == "document"], ["requirements.pdf", "requirements.docx"]
        )
        self.assertIn(("retrieval", "requirements.pdf"), shown)

    async def test_summary_and_passages_are_sentences_of_the_document(self):
        _, output = await self.output(**analysis("spec.pdf"))
        (document,) = output["documents"]
        self.assertEqual(output["summary"], document["summary"])
        # The document in its own words: the same text by another way.
        whole = _text_of("spec.pdf")
        for passage in document["key_passages"]:
            self.assertLessEqual(len(passage["text"]), 600)
            self.assertIn(_squeezed(passage["text"].removesuffix(" …")), whole)
        for sentence in document["summary"].split(". "):
            self.assertIn(_squeezed(sentence), whole)
        self.assertLessEqual(len(document["key_passages"]), 8)

    async def test_questions_are_answered_with_citations(self):
        asked = ["How long is an access token valid?", "How old may a clock be?", "What is the capital of Mongolia?"]
        _, output = await self.output(**analysis("requirements.pdf", "spec.pdf", questions=asked))
        token, clock, none = output["answers"]
        self.assertEqual(token["question"], asked[0])
        self.assertIn("847 seconds", token["answer"])
        self.assertIn("11 seconds", clock["answer"])
        self.assertEqual(clock["sources"][0]["file"], "spec.pdf")
        self.assertEqual(len(token["sources"]), 5)
        self.assertEqual(set(token["sources"][0]), {"file", "page", "score", "text"})
        self.assertEqual((none["answered"], none["answer"]), (False, "No passage of the documents answers this."))

    async def test_a_broken_document_is_told_and_the_rest_goes_on(self):
        broken = Path(self.data, "broken.pdf")
        broken.write_bytes(b"%PDF-1.7\nthis is not a document")
        scanned = Path(self.data, "scanned.pdf")
        scanned.write_bytes(_empty_page())
        task = analysis("doc1.pdf")
        task["task"]["docs"] += ["broken.pdf", "scanned.pdf", "sheet.numbers"]
        task["documents"] |= {"broken.pdf": str(broken), "scanned.pdf": str(scanned), "sheet.numbers": str(broken)}
        _, output = await self.output(**task)
        good, *bad = output["documents"]
        self.assertIn("Larkspur", good["summary"] + str(good["key_passages"]))
        reasons = [entry["error"]["reason"] for entry in bad]
        self.assertEqual(reasons, ["DOCUMENT_BROKEN", "DOCUMENT_WITHOUT_TEXT", "DOCUMENT_UNSUPPORTED"])
        task["task"]["docs"] = ["broken.pdf"]
        error = await self.error(**task)
        self.assertEqual((error["reason"], error["field"]), ("DOCUMENTS_UNREADABLE", "docs"))

    async def test_other_formats(self):
        files = {
            "a.md": "# Tides\n\nThe harbour must be dredged\nevery 31 months.\n\n"
            "| port | depth |\n|---|---|\n| Ula | 9 m |\n",
            "b.html": "<h1>Winds</h1><script>var x = 1</script><p>Sails shall be reefed at 24 knots.</p>",
            "c.csv": "ship,master\nAurora,Ingrid\nBorea,Otto\n",
            "d.txt": "Lamps are required on deck.\n\nNothing else.\n",
        }
        for name, content in files.items():
            Path(self.data, name).write_text(content, "utf-8")
        documents = {name: str(Path(self.data, name)) for name in files}
        _, output = await self.output(task={"type": "document_analysis", "docs": list(files)}, documents=documents)
        tides, winds, ships, lamps = output["documents"]
        self.assertEqual(tides["requirements"], [{"text": "The harbour must be dredged every 31 months.", "page": 1}])
        self.assertEqual(tides["tables"][0]["rows"], [["port", "depth"], ["Ula", "9 m"]])
        self.assertEqual(winds["outline"], [{"title": "Winds", "level": 1, "page": 1}])
        self.assertNotIn("var x", str(winds))
        self.assertIn("ship: Borea; master: Otto", str(ships["key_passages"]))
        self.assertEqual(lamps["requirements"], [{"text": "Lamps are required on deck.", "page": 1}])

    async def test_wrong_tasks_name_the_field(self):
        for task, field in (
            ({"type": "document_analysis"}, "docs"),
            ({"type": "document_analysis", "docs": ["absent.pdf"]}, "docs[0]"),
            ({"type": "rag_workflow"}, "query"),
            ({"type": "rag_workflow", "query": "x", "top_k": 0}, "top_k"),
            ({"type": "summary"}, "type"),
        ):
            error = await self.error(task=task)
            self.assertEqual((error["field"], error["retryable"]), (field, False), error)


class Processes(unittest.IsolatedAsyncioTestCase):
    async def test_the_host_has_one_thread_so_that_forking_is_safe(self):
        with tempfile.TemporaryDirectory() as directory:
            log = Path(directory, "log")
            async with host("llamaindex", stderr=log) as running:
                await running.run(**rag("When does the ferry leave?"))
                self.assertEqual(os.listdir(f"/proc/{running.process.pid}/task"), [str(running.process.pid)])
            self.assertNotIn("threads", log.read_text())


class Retrieval(Engine):
    async def test_the_default_index_answers_and_its_vectors_are_kept(self):
        attempt, output = await self.output(**rag("How do I implement auth?"))
        self.assertIn("gatekeeper-lite", output["answer"])
        self.assertEqual(output["sources"][0]["file"], "auth.md")
        self.assertEqual([entry["name"] for entry in output["documents"]], ["auth.md", "releases.md"])
        self.assertTrue(attempt.of("progress"))
        kept = {path: path.read_bytes() for path in Path(self.data, "vectors").iterdir()}
        self.assertEqual(len(kept), 2)
        _, again = await self.output(**rag("Who decides in an emergency?"))
        self.assertIn("Nightjar", again["answer"])
        self.assertEqual({path: path.read_bytes() for path in Path(self.data, "vectors").iterdir()}, kept)

    async def test_a_changed_file_is_read_again(self):
        project = Path(self.data, "project")
        (project / "docs").mkdir(parents=True)
        note = project / "docs" / "note.md"
        task = {"task": {"type": "rag_workflow", "query": "What colour is the gate?"}, "project": str(project)}
        for colour in ("vermilion", "turquoise"):
            note.write_text(f"The gate of the northern depot is painted {colour}.\n", "utf-8")
            _, output = await self.output(**task)
            self.assertIn(colour, output["answer"])
        self.assertNotIn("vermilion", str(output))

    async def test_documents_and_a_width(self):
        _, output = await self.output(
            **rag("Which code answers a used nonce?", "spec.pdf", "requirements.pdf", top_k=2)
        )
        self.assertIn("KG_STALE_NONCE", output["answer"])
        self.assertEqual([len(output["sources"]), output["sources"][0]["file"]], [2, "spec.pdf"])

    async def test_words_and_meaning_are_both_found(self):
        # A name that no model knows is found by its letters, a paraphrase by its meaning.
        for query, said in (("Quillfeather", "Quillfeather"), ("Who decides whether a release goes live?", "steward")):
            _, output = await self.output(**rag(query, "spec.pdf", "requirements.pdf"))
            self.assertIn(said, output["answer"], query)

    async def test_an_empty_index_says_what_to_do(self):
        error = await self.error(task={"type": "rag_workflow", "query": "x"}, project=self.data)
        self.assertEqual(error["reason"], "INDEX_EMPTY")
        self.assertIn("docs/", error["message"])

    async def test_a_named_index_is_a_part_of_it(self):
        for place, port in (("docs/north", "Ula"), ("docs/south", "Bren"), ("private", "Nowhere")):
            Path(self.data, place).mkdir(parents=True)
            Path(self.data, place, "ports.txt").write_text(f"The largest port is {port}.", "utf-8")
        task = {"type": "rag_workflow", "query": "Which port is the largest?"}
        _, output = await self.output(task={**task, "index": "south"}, project=self.data)
        self.assertEqual((output["answer"], len(output["sources"])), ("The largest port is Bren.", 1))
        for index, reason in (("east", "INDEX_EMPTY"), ("../private", "TASK_INVALID")):
            error = await self.error(task={**task, "index": index}, project=self.data)
            self.assertEqual((error["reason"], error["field"]), (reason, "index"))

    async def test_the_index_does_not_leave_the_project(self):
        project, outside = Path(self.data, "project"), Path(self.data, "outside.md")
        (project / "docs").mkdir(parents=True)
        outside.write_text("The password is swordfish.", "utf-8")
        (project / "docs" / "link.md").symlink_to(outside)
        error = await self.error(task={"type": "rag_workflow", "query": "the password"}, project=str(project))
        self.assertEqual(error["reason"], "INDEX_EMPTY")


class Models(Engine):
    async def test_the_local_model_adds_text_and_is_named(self):
        async with model_server() as model:
            attempt, output = await self.output(
                **rag("How long is an access token valid?", "requirements.pdf"), model=model
            )
        self.assertIn("847 seconds", output["answer"])
        self.assertEqual(output["model"], model["name"])
        self.assertTrue(output["generated"])
        self.assertGreater(output["tokens"]["input"], 100)
        self.assertGreater(output["tokens"]["output"], 0)
        deltas = attempt.of("delta")
        self.assertGreater(len(deltas), 1)
        self.assertEqual("".join(frame["text"] for frame in deltas).strip(), output["generated"])

    async def test_a_model_that_is_away_is_told_and_the_answer_stands(self):
        _, output = await self.output(
            **rag("How long is an access token valid?", "requirements.pdf"), model=UNREACHABLE
        )
        self.assertIn("847 seconds", output["answer"])
        self.assertIsNone(output["model"])
        self.assertIn("absent", output["model_error"])
        self.assertNotIn("generated", output)


OBJECTS = """
from llama_index.core import VectorStoreIndex, Document
from llama_index.core.llms import MockLLM
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

def index():
    return VectorStoreIndex.from_documents([Document(text="The ferry leaves at 7:42.", metadata={"file_name": "f.txt"})])

def retriever():
    return index().as_retriever(similarity_top_k=1)

def engine():
    return index().as_query_engine(llm=MockLLM())

class Read(Event):
    pages: int

class Ask(Workflow):
    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Read:
        ctx.write_event_to_stream(Read(pages=3))
        return Read(pages=ev.pages)

    @step
    async def ask(self, ev: Read) -> InputRequiredEvent:
        return InputRequiredEvent(prefix=f"publish {ev.pages} pages?")

    @step
    async def end(self, ev: HumanResponseEvent) -> StopEvent:
        return StopEvent(result={"response": ev.response, "approved": ev.approved})
"""

TALK = """
from llama_index.core import Settings
from llama_index.core.llms import ChatMessage
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

ASKED = [ChatMessage(role="user", content="Name a river.")]

class Half(Event):
    read: int
    written: int

def counted(answer):
    return {"read": answer.raw.usage.prompt_tokens, "written": answer.raw.usage.completion_tokens}

class Talk(Workflow):
    @step
    async def first(self, ev: StartEvent) -> Half:
        return Half(**counted(await Settings.llm.achat(ASKED)))

    @step
    def in_a_thread(self, ev: Half) -> InputRequiredEvent:
        more = counted(Settings.llm.complete("Name a sea."))
        return InputRequiredEvent(prefix="more?", read=ev.read + more["read"], written=ev.written + more["written"])

    @step
    async def streamed(self, ev: HumanResponseEvent) -> StopEvent:
        async for answer in await Settings.llm.astream_chat(ASKED):
            pass
        more = counted(answer)
        return StopEvent(result={"read": ev.read + more["read"], "written": ev.written + more["written"]})
"""


#: What the output of a workflow has beside what it returns.
NOT_ASKED = {"model": None, "tokens": {"input": 0, "output": 0}}


class References(Engine):
    async def asyncSetUp(self):
        await super().asyncSetUp()
        Path(self.data, "mine.py").write_text(OBJECTS, "utf-8")

    async def test_a_retriever_and_a_query_engine(self):
        for name in ("retriever", "engine"):
            task = {"query_engine": f"mine.py:{name}", "input": {"query": "When does the ferry leave?"}}
            _, output = await self.output(task=task, project=self.data)
            self.assertIn("7:42", output["answer"])
            self.assertEqual(output["sources"][0]["file"], "f.txt")

    async def test_a_workflow_waits_for_people_in_another_process(self):
        task = {"task": {"workflow": "mine.py:Ask", "input": {"pages": 5}}, "project": self.data}
        attempt, paused = await self.run_task(**task)
        self.assertEqual(paused["t"], "paused", paused)
        self.assertEqual(paused["approvals"][0]["title"], "publish 5 pages?")
        self.assertIn(("node_update", "Read"), [(frame["kind"], frame["name"]) for frame in attempt.of("progress")])
        _, output = await self.output(**task, **resumed(paused, False))
        self.assertEqual(output, {"response": "no", "approved": False, **NOT_ASKED})

    async def test_a_workflow_that_asks_the_configured_model_tells_what_it_read_and_wrote(self):
        Path(self.data, "talk.py").write_text(TALK, "utf-8")
        task = {"task": {"workflow": "talk.py:Talk"}, "project": self.data}
        async with model_server() as model:
            _, paused = await self.run_task(**task, model=model)
            self.assertEqual(paused["t"], "paused", paused)
            before = paused["approvals"][0]["payload"]
            decided = resumed(paused, True, values={name: before[name] for name in ("read", "written")})
            _, output = await self.output(**task, **decided, model=model)
        self.assertGreater(output["read"], before["read"] + 5)
        self.assertEqual(output["tokens"], {"input": output["read"], "output": output["written"]})
        self.assertEqual(output["model"], model["name"])

    async def test_what_is_not_there(self):
        error = await self.error(task={"query_engine": "mine.py:engin", "input": "x"}, project=self.data)
        self.assertEqual((error["reason"], error["field"]), ("REFERENCE_NOT_FOUND", "query_engine"))
        error = await self.error(task={"workflow": "mine.py:index"}, project=self.data)
        self.assertEqual((error["reason"], error["field"]), ("REFERENCE_FAILED", "workflow"))


def _text_of(name: str) -> str:
    """What the generator put into a document."""
    source = {}
    text = (WORKFLOWS / "make.py").read_text("utf-8")
    begin = text.index("REQUIREMENTS = [")
    exec(text[begin : text.index("def main")], source)  # its lists of texts, without the packages that it imports
    return _squeezed(" ".join(content for _, content in source[{"spec.pdf": "SPEC"}[name]]))


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _empty_page() -> bytes:
    """A valid PDF of one page without text."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] >>",
    ]
    content, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return (
        content
        + b"xref\n0 4\n0000000000 65535 f \n%strailer << /Size 4 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (table, len(content))
    )


if __name__ == "__main__":
    unittest.main()
