"""Temporal: a workflow of three activities on the development server with a SQLite file."""

import asyncio
import socket
import subprocess
import tempfile
from datetime import timedelta

from measure import measure
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker


@activity.defn
async def noop(n: int) -> int:
    """A stage."""
    return n + 1


@workflow.defn
class Three:
    """Three stages."""

    @workflow.run
    async def run(self, n: int) -> int:
        """One after the other."""
        for _ in range(3):
            n = await workflow.execute_activity(noop, n, start_to_close_timeout=timedelta(seconds=60))
        return n


async def connect(address: str) -> Client:
    """Waits for the server."""
    for _ in range(600):
        try:
            return await Client.connect(address)
        except RuntimeError:
            await asyncio.sleep(0.1)
    raise TimeoutError("the server does not answer")


async def main() -> None:
    """Starts everything, measures, stops."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        command = ["temporal", "server", "start-dev", "--headless", "--port", str(port), "--log-level", "error"]
        server = subprocess.Popen([*command, "--db-filename", f"{directory}/temporal.db"], stdout=subprocess.DEVNULL)
        try:
            client = await connect(f"127.0.0.1:{port}")
            ids = iter(range(1_000_000))

            async def once() -> None:
                result = await client.execute_workflow(Three.run, 0, id=f"w{next(ids)}", task_queue="q")
                assert result == 3

            runner = UnsandboxedWorkflowRunner()
            async with Worker(client, task_queue="q", workflows=[Three], activities=[noop], workflow_runner=runner):
                await measure("Temporal development server, SQLite file", once, times=40)
        finally:
            server.terminate()
            server.wait()


asyncio.run(main())
