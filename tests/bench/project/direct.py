"""Calls an object of this directory again and again in one warm process; prints each call's milliseconds as JSON.

    python direct.py agno|langgraph|llamaindex|prefect COUNT
"""

import asyncio
import json
import sys
import time


def calls(engine: str):
    """What is called: coroutine functions without parameters, by name."""
    if engine == "agno":
        from flow import workflow

        return {"called": lambda: workflow.arun("add")}
    if engine == "langgraph":
        from graph import builder, graph
        from langgraph.checkpoint.memory import InMemorySaver

        kept = builder.compile(checkpointer=InMemorySaver())
        threads = iter(range(1_000_000))

        async def keep():
            config = {"configurable": {"thread_id": str(next(threads))}}
            return await kept.ainvoke({"n": 1}, config, durability="sync")

        return {"called": lambda: graph.ainvoke({"n": 1}), "kept": keep}
    if engine == "llamaindex":
        from steps import workflow

        async def run():
            return await workflow.run(n=1)

        return {"called": run}
    # As a stage has it: on the same server, without the heartbeat that makes each flow wait for a second, told to the end.
    from flows import add
    from prefect.logging.handlers import APILogHandler
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    settings = temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
    settings.__enter__()  # for good; they end with the last reference, so `told` has one

    async def told(_settings=settings):
        result = await asyncio.to_thread(add, 1)
        await APILogHandler.aflush()
        return result

    return {"called": told}


async def main(engine: str, count: int) -> None:
    """Warms up, measures, prints."""
    times = {}
    for name, once in calls(engine).items():
        times[name] = []
        for n in range(count + 5):
            began = time.perf_counter()
            result = await once()
            if n >= 5:
                times[name].append((time.perf_counter() - began) * 1000)
            assert engine == "agno" or result["n"] == 2, result
    print(json.dumps(times))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
