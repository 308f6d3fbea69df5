"""A query engine and a workflow in LlamaIndex's own way; `llamaindex.yaml` runs them by reference."""

from pathlib import Path

from llama_index.core import SimpleDirectoryReader, VectorStoreIndex
from llama_index.core.response_synthesizers import ResponseMode
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

DOCS = Path(__file__).with_name("docs")


def passages():
    """Retrieves, with the embedding model that the worker provides; no language model is asked."""
    index = VectorStoreIndex.from_documents(SimpleDirectoryReader(str(DOCS)).load_data())
    return index.as_query_engine(response_mode=ResponseMode.NO_TEXT, similarity_top_k=2)


def answers():
    """The same, and the configured model says it in its own words."""
    return VectorStoreIndex.from_documents(SimpleDirectoryReader(str(DOCS)).load_data()).as_query_engine(similarity_top_k=1)


class Counted(Event):
    file: str
    words: int


class WordCount(Workflow):
    """Counts the words of the documents, one event for each."""

    @step
    async def count(self, ctx: Context, ev: StartEvent) -> StopEvent:
        total = 0
        for path in sorted(DOCS.glob(ev.pattern)):
            words = len(path.read_text("utf-8").split())
            total += words
            ctx.write_event_to_stream(Counted(file=path.name, words=words))
        return StopEvent(result={"words": total})
