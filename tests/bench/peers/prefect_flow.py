"""Prefect: a flow of three tasks in this process, against the temporary server that Prefect starts for it."""

import asyncio
import os

os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "true")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")

from measure import measure  # noqa: E402
from prefect import flow, task  # noqa: E402


@task
async def stage(n: int) -> int:
    """A stage."""
    return n + 1


@flow
async def three() -> int:
    """One after the other."""
    n = 0
    for _ in range(3):
        n = await stage(n)
    return n


async def once() -> None:
    """One run."""
    assert await three() == 3


asyncio.run(measure("Prefect in process", once, times=10, clients=8, seconds=20))
