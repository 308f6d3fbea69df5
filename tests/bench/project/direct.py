"""Calls an object of this directory again and again in one warm process; prints each call's milliseconds as JSON.

    python direct.py langgraph|llamaindex|prefect COUNT
"""

import asyncio
import json
import sys
import time


def call(engine: str):
    """What is called: a coroutine function without parameters."""
    if engine == "langgraph":
        from graph import graph

        return lambda: graph.ainvoke({"n": 1})
    if engine == "llamaindex":
        from steps import workflow

        async def run():
            return await workflow.run(n=1)

        return run
    from flows import add

    return lambda: asyncio.to_thread(add, 1)


async def main(engine: str, count: int) -> None:
    """Warms up, measures, prints."""
    once = call(engine)
    times = []
    for n in range(count + 5):
        began = time.perf_counter()
        result = await once()
        if n >= 5:
            times.append((time.perf_counter() - began) * 1000)
        assert result["n"] == 2, result
    print(json.dumps(times))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
