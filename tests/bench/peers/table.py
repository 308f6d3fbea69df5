"""The table of peers.

    python3 table.py ours <BENCH.json          # this system's line, from the benchmark's own figures
    python3 table.py table FILE <LINES         # lines of JSON, one per system: a table, and all as JSON in FILE
"""

import datetime
import json
import os
import platform
import sys

COLUMNS = ("system", "p50_ms", "p99_ms", "clients", "stages_per_s")
HEADINGS = ("3 no-op stages, one after the other", "p50 ms", "p99 ms", "clients", "stages/s")


def ours(bench: dict) -> dict:
    """Our line, out of the rows `latency` and `throughput`."""
    figures = {figure["name"]: figure["value"] for figure in bench["figures"]}
    return {
        "system": "Mahavishnu",
        "p50_ms": round(figures["3 stages end to end, p50"], 2),
        "p99_ms": round(figures["3 stages end to end, p99"], 2),
        "clients": 64,
        "stages_per_s": round(figures["64 clients, stages"]),
    }


def table(lines: list[dict], file: str) -> None:
    """Prints and writes."""
    rows = [HEADINGS, *([str(line[column]) for column in COLUMNS] for line in lines)]
    for row in rows:
        print(f"{row[0]:<42}" + "".join(f"{cell:>11}" for cell in row[1:]))
    found = {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} processors, {platform.system()} {platform.machine()}",
        "systems": lines,
    }
    with open(file, "w") as out:
        json.dump(found, out, indent=2)
        out.write("\n")


if __name__ == "__main__":
    if sys.argv[1] == "ours":
        print(json.dumps(ours(json.load(sys.stdin))))
    else:
        table([json.loads(line) for line in sys.stdin if line.strip()], sys.argv[2])
