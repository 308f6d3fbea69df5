"""LangGraph's development server: a graph of three nodes, each run by itself on a thread of its own."""

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from langgraph_sdk import get_client
from measure import measure

GRAPH = """
from typing import TypedDict
from langgraph.graph import END, START, StateGraph


class State(TypedDict):
    n: int


builder = StateGraph(State)
names = ["first", "second", "third"]
for name in names:
    builder.add_node(name, lambda state: {"n": state["n"] + 1})
for one, other in zip([START, *names], [*names, END]):
    builder.add_edge(one, other)
graph = builder.compile()
"""


async def main() -> None:
    """Starts the server, measures, stops."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "graph.py").write_text(GRAPH)
        config = {"dependencies": ["."], "graphs": {"three": "./graph.py:graph"}}
        Path(directory, "langgraph.json").write_text(json.dumps(config))
        command = [str(Path(sys.executable).with_name("langgraph")), "dev", "--no-browser", "--no-reload", "--port", str(port)]
        quiet = subprocess.DEVNULL
        server = subprocess.Popen([*command, "--n-jobs-per-worker", "64"], cwd=directory, stdout=quiet, stderr=quiet)
        try:
            client = get_client(url=f"http://127.0.0.1:{port}")

            async def once() -> None:
                thread = await client.threads.create()
                result = await client.runs.wait(thread["thread_id"], "three", input={"n": 0})
                assert result["n"] == 3, result

            for _ in range(600):
                try:
                    await once()
                    break
                except Exception:  # noqa: BLE001  whatever a server that is not ready does
                    await asyncio.sleep(0.1)
            await measure("LangGraph development server", once, times=20)
        finally:
            server.terminate()
            server.wait()


asyncio.run(main())
