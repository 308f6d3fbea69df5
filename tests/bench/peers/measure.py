"""What all peers have in common: one client after the other, then 64 at once."""

import asyncio
import json
import time

STAGES = 3


async def measure(system: str, once, *, times: int = 100, clients: int = 64, seconds: float = 8.0) -> None:
    """Prints a line of JSON; `once` runs one workflow of three stages to its end."""
    for _ in range(5):
        await once()
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await once()
        took.append((time.perf_counter() - began) * 1000)
    took.sort()
    begin, end = time.perf_counter() + seconds / 4, time.perf_counter() + seconds
    done = 0

    async def client() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await once()
            if begin <= time.perf_counter() < end:
                done += 1

    await asyncio.gather(*(client() for _ in range(clients)))
    print(
        json.dumps(
            {
                "system": system,
                "p50_ms": round(took[len(took) // 2], 2),
                "p99_ms": round(took[len(took) * 99 // 100], 2),
                "clients": clients,
                "stages_per_s": round(done * STAGES / (end - begin), 1),
            }
        ),
        flush=True,
    )
